"""Fathom on one workload; run with the Python of the environment that Fathom is installed in."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clock

if TYPE_CHECKING:
    from fathom import DQN, PPO, SAC, TD3, Agent

# Fathom is imported inside the workloads: `import` and `cold-cli` measure other processes and need none.

ENV = "CartPole-v1"


def native_ppo() -> "PPO":
    """The schedule of the native workloads; the value is clipped because rejax clips it."""
    from fathom import PPO

    return PPO(num_envs=64, num_steps=128, epochs=4, minibatches=4, entropy_coef=0.01, value_clip=0.2)


def sb3_ppo() -> "PPO":
    """Stable-Baselines3's defaults with 8 environments: 2,560 minibatches of 64 per rollout."""
    from fathom import PPO

    return PPO(num_envs=8, num_steps=2048, epochs=10, minibatches=256)


def zoo_dqn() -> "DQN":
    """The Zoo's schedule. Its 10 steps between target copies fall within a rollout of 256: a copy a round."""
    from fathom import DQN

    return DQN(
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1000,
        train_every=256,
        gradient_steps=128,
        target_every=128,
        exploration_fraction=0.16,
        epsilon_end=0.04,
        hidden=(256, 256),
    )


def learn(agent: "Agent", steps: int, horizon: int | None = None) -> tuple[int, float]:
    """Learns for `steps` more steps, rounded up to whole updates; schedules end at `horizon` steps.

    Returns the env steps of each seed and the seconds, which include whatever is compiled or allocated.
    """
    began = time.perf_counter()
    before = agent.env_steps
    agent.learn(steps, horizon=horizon)
    return agent.env_steps - before, time.perf_counter() - began


def ppo_figures(ppo: "PPO", agent: "Agent", steps: int, seconds: float) -> clock.Figures:
    """The figures of `steps` env steps of each seed that took `seconds`; rates count all seeds."""
    rate = steps * agent.seeds / seconds
    return {
        "env_steps": steps * agent.seeds,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": rate,
        "updates_per_second": rate * ppo.epochs * ppo.minibatches / (ppo.num_envs * ppo.num_steps),
    }


def ppo_native(settings: dict[str, Any]) -> clock.Figures:
    """PPO on the native CartPole: a second `learn` of `steps` steps per seed; rates count all seeds."""
    from fathom import Agent

    ppo, seeds, steps = native_ppo(), settings.get("seeds", 1), settings.get("steps", 2_097_152)
    agent = Agent(ppo, ENV, seeds=seeds, seed=settings.get("seed", 0), backend="native")
    learn(agent, steps)
    return ppo_figures(ppo, agent, *learn(agent, steps))


def ppo_host(settings: dict[str, Any]) -> clock.Figures:
    """PPO on 8 Gymnasium environments, learning included, after a first iteration that is not counted."""
    from fathom import Agent

    ppo = sb3_ppo()
    agent = Agent(ppo, ENV, seeds=1, seed=settings.get("seed", 0), backend="gymnasium")
    learn(agent, 1)
    return ppo_figures(ppo, agent, *learn(agent, settings.get("steps", 65_536)))


def dqn_host(settings: dict[str, Any]) -> clock.Figures:
    """DQN on a Gymnasium environment, after 2,048 steps that are not counted."""
    from fathom import Agent

    dqn, warmup = zoo_dqn(), 2048
    horizon = max(settings.get("steps", 50_000), 2 * warmup)
    agent = Agent(dqn, ENV, seeds=1, seed=settings.get("seed", 0), backend="gymnasium")
    learn(agent, warmup, horizon)
    steps, seconds = learn(agent, horizon - warmup)
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": steps / seconds,
        "updates_per_second": steps * dqn.gradient_steps / dqn.train_every / seconds,
    }


def pendulum_figures(algorithm: "SAC | TD3", backend: str, settings: dict[str, Any]) -> clock.Figures:
    """An update every step on Pendulum, after 500 steps that are not counted."""
    from fathom import Agent

    warmup = 500
    horizon = max(settings.get("steps", 5_000), 2 * warmup)
    agent = Agent(algorithm, "Pendulum-v1", seeds=1, seed=settings.get("seed", 0), backend=backend)
    learn(agent, warmup, horizon)
    steps, seconds = learn(agent, horizon - warmup)
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": steps / seconds,
        "updates_per_second": steps * algorithm.gradient_steps / algorithm.train_every / seconds,
    }


def sac_pendulum(settings: dict[str, Any], backend: str = "gymnasium") -> clock.Figures:
    """SAC with Stable-Baselines3's defaults: 256-256 units, batch 256."""
    from fathom import SAC

    return pendulum_figures(SAC(learning_starts=100), backend, settings)


def td3_pendulum(settings: dict[str, Any]) -> clock.Figures:
    """TD3 with 256-256 units and batch 256."""
    from fathom import TD3

    return pendulum_figures(TD3(learning_starts=100), "gymnasium", settings)


def rate(algorithm: Any, env: Any, warmup: int, settings: dict[str, Any], **options: Any) -> clock.Figures:
    """Env steps per second of one seed, learning included, after `warmup` steps that are not counted."""
    from fathom import Agent

    agent = Agent(algorithm, env, seeds=1, seed=settings.get("seed", 0), **options)
    steps = settings.get("steps", 10_000)
    learn(agent, warmup, horizon=warmup + steps)
    compiled = agent.compile_seconds
    done, seconds = learn(agent, steps, horizon=warmup + steps)
    seconds -= agent.compile_seconds - compiled
    agent.close()
    return {
        "env_steps": done,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": done / seconds,
    }


def dqn_native(settings: dict[str, Any]) -> clock.Figures:
    """DQN on the native CartPole, an update of 64 transitions every step, 128-128 units."""
    from fathom import DQN

    dqn = DQN(batch_size=64, hidden=(128, 128), train_every=1, learning_starts=1_000)
    return rate(dqn, ENV, 2_000, settings, backend="native")


def pqn_breakout(settings: dict[str, Any]) -> clock.Figures:
    """PQN with its own settings on the native Breakout."""
    from fathom import PQN

    return rate(PQN(), "MinAtar/Breakout-v1", 8_192, settings)


def dqn_pong(settings: dict[str, Any]) -> clock.Figures:
    """DQN on Pong: 8 games, an update of 32 stacks for every 4 steps. Rates count the game's frames."""
    from fathom import DQN
    from fathom.envs.atari import Atari

    dqn = DQN(
        learning_rate=1e-4,
        num_envs=8,
        train_every=8,
        gradient_steps=2,
        batch_size=32,
        buffer_size=10_000,
        learning_starts=100,
        target_every=250,
        epsilon_end=0.01,
        hidden=(512,),
    )
    game = Atari(game="pong", sticky=0.0, engine=settings.get("engine", "envpool"))
    figures = rate(dqn, game, 200, settings)
    return figures | {"frames_per_second": figures["steps_per_second"] * game.frame_skip}


def replay_updates(settings: dict[str, Any]) -> clock.Figures:
    """DQN's gradient steps on a full replay of `size` random transitions, prioritised or uniform.

    256 transitions each, CartPole's spaces, two layers of 128 units; nothing is collected. `sampling_seconds`
    are of a step that draws and gathers a batch, and sets its priorities anew, without learning.
    """
    import jax
    import jax.numpy as jnp

    from fathom import DQN, Agent
    from fathom.core.module import lift
    from fathom.data import replay as replays
    from fathom.data import sum_tree
    from fathom.train import loop

    size, rounds = settings["size"], settings.get("rounds", 400)
    dqn = DQN(
        batch_size=256,
        hidden=(128, 128),
        buffer_size=size,
        train_every=rounds,
        gradient_steps=rounds,
        prioritized=settings["prioritized"],
    )
    agent = Agent(dqn, ENV, seeds=1, backend="native")
    seed = agent.engine.carry.seeds
    plan, learner, replay = agent.engine.plan, seed.learner, seed.replay
    rows = plan.ring_rows
    ring = replays.Ring(jnp.int32(0), jnp.int32(rows))
    key = jax.random.key(0)
    obs = jax.random.normal(key, replay.obs.shape)
    tree = replay.tree
    if tree is not None:
        weights = jax.random.uniform(key, (rows,), minval=0.1)
        tree = jax.jit(sum_tree.write)(tree, jnp.arange(rows, dtype=jnp.int32), weights)
    action = jax.random.randint(key, replay.action.shape, 0, 2, replay.action.dtype)
    final = jnp.copy(obs)
    replay = replays.Replay(obs, action, replay.reward, replay.terminated, replay.truncated, final, tree)
    algorithm, clock_now = lift(dqn), loop.clock_of(agent.engine.carry.shared, jnp.int32(1_000), plan)

    def learning(learner: Any, replay: Any, key: Any) -> tuple[Any, Any]:
        learner, replay, _ = loop.learn_from_replay(
            algorithm, plan, learner, replay, ring, key, clock_now, jnp.asarray(True)
        )
        return learner, replay

    def sampling(learner: Any, replay: Any, key: Any) -> tuple[Any, Any]:
        def once(carry: tuple, key: Any) -> tuple[tuple, None]:
            tree, total = carry
            if tree is None:
                drawn = replays.draw(rows, 1, ring, key, 256, 1)
            else:
                uniform = jax.random.uniform(key, (256,))
                ask = algorithm.prioritisation(clock_now)
                drawn, _ = replays.draw_prioritized(tree, rows, 1, ring, uniform, ask, 1)
            batch = replays.gather(replay, drawn, 1, jnp.float32(0.99), ring)
            if tree is not None:
                tree = replays.reprioritise(tree, 1, drawn, batch.obs[:, 0], 0.6)
            return (tree, total + batch.obs.sum() + batch.next_obs.sum()), None

        (tree, total), _ = jax.lax.scan(once, (replay.tree, 0.0), jax.random.split(key, rounds))
        return (learner, total), replays.Replay(
            replay.obs,
            replay.action,
            replay.reward,
            replay.terminated,
            replay.truncated,
            replay.final_obs,
            tree,
        )

    def seconds(program: Any) -> float:
        nonlocal replay
        run = jax.jit(program, donate_argnums=1)
        spent = []
        for i in range(6):
            began = time.perf_counter()
            _, replay = jax.block_until_ready(run(learner, replay, jax.random.key(i)))
            spent.append(time.perf_counter() - began)
        return statistics.median(spent[1:]) / rounds

    learning_seconds, sampling_seconds = seconds(learning), seconds(sampling)
    return {
        "env_steps": 0,
        "seconds": learning_seconds,
        "sampling_seconds": sampling_seconds,
        "updates_per_second": 1.0 / learning_seconds,
    }


def cheetah(name: str, settings: dict[str, Any]) -> clock.Figures:
    """SAC or TD3 with 256-256 units on HalfCheetah, an update every step from 1,000 steps on.

    Seeds go one after another, as the peers' do; evaluation and compilation are off the clock.
    """
    import fathom
    from fathom import Agent

    (steps, every), curves, seconds = clock.stretches(settings), [], 0.0
    first = settings.get("seed", 0)
    for seed in range(first, first + settings.get("seeds", 1)):
        agent = Agent(getattr(fathom, name)(learning_starts=1_000), "HalfCheetah-v5", seeds=1, seed=seed)
        returns, compiled = [], 0.0
        for _ in range(steps // every):
            seconds += learn(agent, every, horizon=steps)[1] - (agent.compile_seconds - compiled)
            compiled = agent.compile_seconds
            returns.append(float(agent.evaluate(settings.get("episodes", 10)).per_seed.mean()))
        curves.append(returns)
        agent.close()
    return clock.curve(curves, steps, every, seconds)


def a2c(backend: str, num_envs: int, num_steps: int, warmup: int, settings: dict[str, Any]) -> clock.Figures:
    """A2C on CartPole, learning included, after `warmup` steps that are not counted; steps of all seeds."""
    from fathom import A2C, Agent

    algorithm, seeds = A2C(num_envs=num_envs, num_steps=num_steps), settings.get("seeds", 1)
    agent = Agent(algorithm, ENV, seeds=seeds, seed=settings.get("seed", 0), backend=backend)
    learn(agent, warmup)
    steps, seconds = learn(agent, settings.get("steps", 100_000))
    steps *= seeds
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": steps / seconds,
        "updates_per_second": steps / (num_envs * num_steps) / seconds,
    }


def recurrent_ppo(settings: dict[str, Any]) -> clock.Figures:
    """PPO with an LSTM on 8 Gymnasium environments, after a first iteration that is not counted."""
    import positions

    from fathom import PPO, Agent

    ppo = PPO(
        memory="lstm", memory_units=64, hidden=(64,), num_envs=8, num_steps=128, epochs=10, minibatches=8
    )
    agent = Agent(ppo, positions.cartpole, seeds=1, seed=settings.get("seed", 0))
    learn(agent, 1)
    return ppo_figures(ppo, agent, *learn(agent, settings.get("steps", 20_480)))


def ppo_solve(settings: dict[str, Any]) -> clock.Figures:
    """Training seconds until the mean greedy return of 20 episodes is 475, with the preset.

    Evaluation and compilation are excluded; `fresh_seconds` includes compilation.
    """
    from fathom import Agent

    budget, every = settings.get("steps", 100_000), settings.get("every", 2048)
    seconds: list[float | None] = []
    steps: list[int] = []
    compiling: list[float] = []
    spent = fresh = 0.0
    for seed in range(settings.get("seed", 0), settings.get("seed", 0) + settings.get("seeds", 3)):
        agent = Agent("ppo", ENV, seeds=1, seed=seed, backend="native")
        # The first call compiles all that training needs; what evaluation compiles is off the clock.
        _, used = learn(agent, every, budget)
        compile_seconds = agent.compile_seconds
        training, evaluating = used - compile_seconds, 0.0
        while True:
            began = time.perf_counter()
            solved = agent.evaluate(episodes=20).mean >= settings.get("target", 475.0)
            evaluating += time.perf_counter() - began
            if solved or agent.env_steps >= budget:
                break
            training += learn(agent, every, budget)[1]
        seconds.append(training if solved else None)
        steps.append(agent.env_steps)
        compiling.append(compile_seconds)
        spent += training
        fresh = fresh or clock.since_start() - evaluating
    return clock.solved(seconds, steps, spent, fresh) | {"compile_seconds": compiling[0]}


def q_learning_native(settings: dict[str, Any]) -> clock.Figures:
    """Q-learning on the native FrozenLake: a second `learn` of `steps` steps per seed."""
    from fathom import Agent, QLearning

    seeds, steps = settings.get("seeds", 1), settings.get("steps", 1_000_000)
    algorithm = QLearning(learning_rate=0.1, gamma=0.99, epsilon_start=0.1, epsilon_end=0.1)
    seed = settings.get("seed", 0)
    agent = Agent(algorithm, "FrozenLake-v1", seeds=seeds, seed=seed, backend="native")
    learn(agent, steps)
    done, seconds = learn(agent, steps)
    return {
        "env_steps": done * seeds,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": done * seeds / seconds,
    }


def scaling(settings: dict[str, Any]) -> clock.Figures:
    """One native training of `steps` steps in a new process; its rate without compilation, its memory."""
    from fathom import Agent

    agent = Agent(native_ppo(), ENV, seeds=1, seed=settings.get("seed", 0), backend="native")
    steps, seconds = learn(agent, settings.get("steps", 100_000))
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": steps / (seconds - agent.compile_seconds),
    }


def importing(settings: dict[str, Any]) -> clock.Figures:
    """Seconds of a new Python process that imports Fathom and ends; the median of several.

    `seconds` is `import fathom`, `facade_seconds` is `from fathom import Agent, PPO`, and `python_seconds` a
    process that imports nothing.
    """

    def process(code: str) -> float:
        def once() -> float:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            return time.perf_counter() - began

        once()
        return statistics.median(once() for _ in range(settings.get("times", 5)))

    return {
        "seconds": process("import fathom"),
        "facade_seconds": process("from fathom import Agent, PPO"),
        "python_seconds": process("pass"),
    }


def cold_cli(settings: dict[str, Any]) -> clock.Figures:
    """`fathom train ppo CartPole-v1` over 10 seeds in a new process, with no compile cache and then with it.

    `seconds` and `warm_seconds` are the whole command's; the compile seconds are what it reports.
    """
    steps, seeds = settings.get("steps", 100_000), settings.get("seeds", 10)
    command = Path(sys.executable).with_name("fathom")
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
        env["FATHOM_CACHE_DIR"] = f"{folder}/cache"

        def process(out: str) -> tuple[float, dict[str, Any]]:
            began = time.perf_counter()
            train = [command, "train", "ppo", ENV, "--steps", str(steps), "--seeds", str(seeds)]
            to_folder = ["--out", f"{folder}/{out}", "--json"]
            subprocess.run([*train, *to_folder], check=True, env=env, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
            return seconds, json.loads(Path(folder, out, "summary.json").read_text())

        cold_seconds, cold = process("cold")
        warm_seconds, warm = process("warm")
    return {
        "env_steps": steps * seeds,
        "seconds": cold_seconds,
        "warm_seconds": warm_seconds,
        "compile_seconds": cold["compile_seconds"],
        "warm_compile_seconds": warm["compile_seconds"],
        "steps_per_second": cold["steps_per_second"],
        "mean": cold["mean"],
    }


if __name__ == "__main__":
    workloads: dict[str, clock.Workload] = {
        "ppo-cartpole-native": ppo_native,
        "ppo-cartpole-host": ppo_host,
        "ppo-cartpole-solve": ppo_solve,
        "dqn-cartpole-host": dqn_host,
        "sac-pendulum-host": sac_pendulum,
        "sac-pendulum-native": partial(sac_pendulum, backend="native"),
        "td3-pendulum-host": td3_pendulum,
        "dqn-cartpole-native": dqn_native,
        "replay-updates": replay_updates,
        "pqn-breakout": pqn_breakout,
        "dqn-pong": dqn_pong,
        "sac-cheetah": partial(cheetah, "SAC"),
        "td3-cheetah": partial(cheetah, "TD3"),
        "a2c-cartpole-host": partial(a2c, "gymnasium", 8, 5, 2_000),
        "a2c-cartpole-native": partial(a2c, "native", 8, 5, 400_000),
        "a2c-cartpole-native-long": partial(a2c, "native", 16, 16, 400_000),
        "recurrent-positions-host": recurrent_ppo,
        "q-learning-frozenlake": q_learning_native,
        "scaling": scaling,
        "import": importing,
        "cold-cli": cold_cli,
    }
    clock.answer("fathom", ["fathom-rl", "jax", "jaxlib", "gymnasium", "numpy"], workloads)
