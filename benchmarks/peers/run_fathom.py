"""Fathom on one workload; run with the Python of the environment that Fathom is installed in."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clock

if TYPE_CHECKING:
    from fathom import DQN, PPO, Agent

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


def learn(agent: "Agent", steps: int) -> float:
    """Seconds to learn for `steps` more steps, compilation included."""
    began = time.perf_counter()
    agent.learn(steps)
    return time.perf_counter() - began


def ppo_native(settings: dict[str, Any]) -> clock.Figures:
    """PPO on the native CartPole: a second `learn` of `steps` steps per seed; rates count all seeds."""
    from fathom import Agent

    ppo, seeds = native_ppo(), settings.get("seeds", 1)
    iteration = ppo.num_envs * ppo.num_steps
    steps = max(1, settings.get("steps", 2_097_152) // iteration) * iteration
    agent = Agent(ppo, ENV, seeds=seeds, seed=settings.get("seed", 0), backend="native")
    learn(agent, steps)
    compile_seconds = agent.compile_seconds
    seconds = learn(agent, steps)
    updates = steps // iteration * ppo.epochs * ppo.minibatches
    return {
        "env_steps": steps * seeds,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps * seeds / seconds,
        "updates_per_second": updates * seeds / seconds,
        "own_steps_per_second": agent.steps_per_second,
    }


def ppo_host(settings: dict[str, Any]) -> clock.Figures:
    """PPO on 8 Gymnasium environments, learning included, after a first iteration that is not counted."""
    from fathom import Agent

    ppo = sb3_ppo()
    iteration = ppo.num_envs * ppo.num_steps
    steps = max(2, settings.get("steps", 0) // iteration) * iteration
    agent = Agent(ppo, ENV, seeds=1, seed=settings.get("seed", 0), backend="gymnasium")
    learn(agent, iteration)
    compile_seconds = agent.compile_seconds
    seconds = learn(agent, steps)
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps / seconds,
        "updates_per_second": steps / iteration * ppo.epochs * ppo.minibatches / seconds,
    }


def dqn_host(settings: dict[str, Any]) -> clock.Figures:
    """DQN on a Gymnasium environment, after 2,048 steps that are not counted."""
    from fathom import Agent

    dqn, warmup = zoo_dqn(), 2048
    steps = max(settings.get("steps", 50_000), 2 * warmup) - warmup
    agent = Agent(dqn, ENV, seeds=1, seed=settings.get("seed", 0), backend="gymnasium")
    learn(agent, warmup)
    compile_seconds = agent.compile_seconds
    seconds = learn(agent, steps)
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps / seconds,
        "updates_per_second": steps * dqn.gradient_steps / dqn.train_every / seconds,
    }


def ppo_solve(settings: dict[str, Any]) -> clock.Figures:
    """Training seconds until the mean greedy return of 20 episodes is 475, with the preset.

    Evaluation and compilation are excluded; `fresh_seconds` includes compilation.
    """
    from fathom import Agent, presets

    budget, every = settings.get("steps", 100_000), settings.get("every", 2048)
    seconds: list[float | None] = []
    steps: list[int] = []
    compiling: list[float] = []
    spent = fresh = 0.0
    for seed in range(settings.get("seed", 0), settings.get("seed", 0) + settings.get("seeds", 3)):
        ppo = presets.load("ppo", ENV)
        agent = Agent(ppo, ENV, seeds=1, seed=seed, backend="native")
        done, used, evaluating, solved = 0, 0.0, 0.0, False
        while not solved and done < budget:
            used += learn(agent, every)
            done += every
            began = time.perf_counter()
            evaluation = agent.evaluate(episodes=20)
            solved = evaluation.mean >= settings.get("target", 475.0)
            evaluating += time.perf_counter() - began
        training = used - agent.compile_seconds
        seconds.append(training if solved else None)
        steps.append(done)
        compiling.append(agent.compile_seconds)
        spent += training
        fresh = fresh or clock.since_start() - evaluating
    return clock.solved(seconds, steps, spent, fresh) | {"compile_seconds": compiling[0]}


def scaling(settings: dict[str, Any]) -> clock.Figures:
    """One native training of `steps` steps in a new process; its rate without compilation, its memory."""
    from fathom import Agent

    agent = Agent(native_ppo(), ENV, seeds=1, seed=settings.get("seed", 0), backend="native")
    seconds = learn(agent, settings.get("steps", 100_000)) - agent.compile_seconds
    return {
        "env_steps": settings.get("steps", 100_000),
        "seconds": seconds,
        "compile_seconds": agent.compile_seconds,
        "steps_per_second": settings.get("steps", 100_000) / seconds,
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
        "scaling": scaling,
        "import": importing,
        "cold-cli": cold_cli,
    }
    clock.answer("fathom", ["fathom-rl", "jax", "jaxlib", "gymnasium", "numpy"], workloads)
