"""Bugs that really shipped in this field, each looked for in whole runs; the parts have tests of their own.

A test is named by the trap's number. Seeds and native against Gymnasium are in tests/contract and tests/envs.
"""

import dataclasses
import itertools
from functools import partial
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.algos.actor_critic.common import OffPolicyActorCritic as FromReplay
from fathom.algos.actor_critic.common import from_env
from fathom.algos.actor_critic.ddpg import DDPG
from fathom.algos.actor_critic.discrete_sac import DiscreteSAC
from fathom.algos.actor_critic.sac import SAC
from fathom.algos.actor_critic.td3 import TD3
from fathom.algos.actor_critic.tqc import TQC
from fathom.algos.base import ActionValues, OffPolicy, Online
from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.algos.policy.common import ActorCritic
from fathom.algos.policy.ppo import PPO
from fathom.algos.policy.reinforce import Reinforce
from fathom.algos.policy.trpo import TRPO
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.value.bootstrapped_dqn import BootstrappedDQN
from fathom.algos.value.c51 import C51
from fathom.algos.value.dqn import DQN
from fathom.algos.value.iqn import IQN
from fathom.algos.value.pqn import PQN
from fathom.algos.value.qr_dqn import QRDQN
from fathom.algos.value.rainbow import Rainbow
from fathom.algos.value.soft_q import SoftQ
from fathom.core.keys import env_seeds
from fathom.core.spaces import Box
from fathom.core.types import TimeStep
from fathom.data import frames
from fathom.data import replay as replays
from fathom.envs.base import Env
from fathom.envs.bridge import as_env, to_gymnasium
from fathom.envs.probe.counting import CountingEnv
from fathom.envs.probe.value import TruncationProbe
from fathom.envs.wrappers import FrameStack, TimeLimit
from fathom.nn.network import judge
from fathom.runs import checkpoint
from fathom.train import loop
from fathom.train.engine import Engine, make_engine
from fathom.train.loop import Plan

from ..contract.finite import Steered, Unseen
from ..contract.subjects import KINDS, SUBJECTS, bits, every_algorithm, learnt
from .recorder import Recorder

PATHS = ("native", "gymnasium")
GAMMA = 0.9
ONE = jnp.ones((1, 1))

both_paths = pytest.mark.parametrize("path", PATHS)


def started(algorithm: Any, env: Any, path: str = "native", seeds: int = 1, seed: int = 0) -> Engine:
    engine = make_engine(algorithm, as_env(env, path), seeds, seed, "in-process")
    engine.start()
    return engine


class HardEnd(Env):
    """Ends each episode of the environment within for good where it would be cut, if `hard` is above 0."""

    env: Env
    hard: float  # 0 or 1

    @property
    def obs_space(self) -> Any:
        return self.env.obs_space

    @property
    def action_space(self) -> Any:
        return self.env.action_space

    def reset(self, key: Any) -> tuple[Any, Any]:
        return self.env.reset(key)

    def step(self, key: Any, state: Any, action: Any) -> tuple[Any, TimeStep]:
        state, step = self.env.step(key, state, action)
        over, hard = step.truncated, jnp.asarray(self.hard) > 0
        return state, TimeStep(step.obs, step.reward, over & hard, over & ~hard)


class Throttled(Steered):
    """The environment within, whatever the action, which is a real number of a box that is not symmetric."""

    @property
    def action_space(self) -> Box:
        return Box(-0.4, 2.0, (1,))

    def step(self, key: Any, state: Any, action: Any) -> tuple[Any, TimeStep]:
        return self.env.step(key, state, jnp.zeros((), jnp.int32))


REPLAYED: dict[str, Any] = {
    "num_envs": 2, "buffer_size": 320, "batch_size": 32, "learning_starts": 20, "train_every": 10,
    "gradient_steps": 20, "tau": 0.05, "hidden": (), "learning_rate": 0.05, "gamma": GAMMA, "anneal_lr": True,
}  # fmt: skip
VALUED: dict[str, Any] = REPLAYED | {"target_every": 1}
CRITICS = {
    # Squares: Huber's loss would move the value towards the median of targets that differ.
    # Ten steps are two whole episodes; with λ = 0 the target is the one-step target, as DQN's.
    "ppo": PPO(
        num_envs=4, num_steps=10, epochs=4, minibatches=2, hidden=(), learning_rate=0.1, gamma=GAMMA,
        gae_lambda=0.0, anneal_lr=True,
    ),
    "a2c": A2C(
        num_envs=4, num_steps=10, hidden=(), learning_rate=0.2, gamma=GAMMA, gae_lambda=0.0, anneal_lr=True,
    ),
    "a3c": A3C(
        num_workers=2, num_envs=4, num_steps=10, hidden=(), learning_rate=0.1, gamma=GAMMA, gae_lambda=0.0,
        anneal_lr=True,
    ),
    "trpo": TRPO(
        num_envs=4, num_steps=10, value_epochs=4, value_minibatches=2, hidden=(), learning_rate=0.1,
        gamma=GAMMA, gae_lambda=0.0, anneal_lr=True,
    ),
    "reinforce": Reinforce(
        num_envs=4, num_steps=10, value_epochs=4, value_minibatches=2, hidden=(), value_learning_rate=0.1,
        gamma=GAMMA, anneal_lr=True,
    ),
    "dqn": DQN(
        num_envs=2, buffer_size=320, batch_size=32, learning_starts=20, train_every=10, gradient_steps=20,
        target_every=20, hidden=(), learning_rate=0.05, gamma=GAMMA, anneal_lr=True, huber=False,
    ),
    "c51": C51(**VALUED, atoms=41, v_min=0.0, v_max=20.0),
    "qr_dqn": QRDQN(**VALUED, quantiles=4),
    "iqn": IQN(**VALUED, quantiles=4, target_quantiles=4, policy_quantiles=4, cosines=4),
    "rainbow": Rainbow(**VALUED, atoms=41, v_min=0.0, v_max=20.0, noisy=False, epsilon_start=0.5),
    "soft_q": SoftQ(**VALUED, alpha=1e-3),
    "bootstrapped_dqn": BootstrappedDQN(**VALUED, members=2, prior_scale=0.5),
    "pqn": PQN(
        num_envs=4, num_steps=16, epochs=4, minibatches=4, hidden=(), learning_rate=0.05, gamma=GAMMA,
        td_lambda=0.0, layer_norm=False,
    ),
    "q_learning": QLearning(num_envs=2, num_steps=40, gamma=GAMMA, learning_rate=0.2, anneal_lr=True),
    # A temperature near 0: entropy would be worth something too.
    "sac": SAC(**REPLAYED, alpha=1e-6),
    "discrete_sac": DiscreteSAC(**REPLAYED, alpha=1e-6),
    "tqc": TQC(**REPLAYED, alpha=1e-6, critics=2, quantiles=4, dropped=0),
    "td3": TD3(**REPLAYED),
    "ddpg": DDPG(**REPLAYED),
}  # fmt: skip
QUICK = (("ppo", "native"), ("dqn", "gymnasium"), ("q_learning", "native"), ("sac", "native"))


def critic(engine: Engine) -> np.ndarray:
    if isinstance(engine.algorithm, Online):
        return np.asarray(engine.learner.q.values)
    params = engine.learner.params
    if isinstance(engine.algorithm, FromReplay):  # of what the policy does
        space = engine.spec.action_space
        if not isinstance(space, Box):
            return np.asarray(judge(params.critics, ONE).max(axis=-1))
        memory = engine.algorithm.init_memory(engine.learner, 1)
        clock = loop.clock_of(engine.carry.shared, jnp.int32(1), engine.plan)
        action, _, _ = engine.algorithm.act(engine.learner, memory, ONE, jax.random.key(0), clock, False)
        return np.asarray(judge(params.critics, (ONE, from_env(space, action))))
    if isinstance(engine.algorithm, ActionValues):
        return np.asarray(engine.algorithm.action_values(engine.learner, ONE)).max(axis=-1)
    return np.asarray(params.values(ONE) if isinstance(params, ActorCritic) else params(ONE))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        pytest.param(name, path, marks=() if (name, path) in QUICK else pytest.mark.slow)
        for name in sorted(CRITICS)
        for path in PATHS
    ],
)
def test_trap_1_a_cut_episode_is_worth_what_would_have_followed(name: str, path: str) -> None:
    """Reward 1, γ = 0.9, cut at 5: 10. Ended there: V = 1 + γ·4/5·V, as nothing shows which step it is.

    REINFORCE takes whole returns, and their mean over the five steps.
    """
    limited = TimeLimit(TruncationProbe(), 5)
    whole = np.mean([(1 - GAMMA**left) / (1 - GAMMA) for left in range(1, 6)])
    ended = whole if name == "reinforce" else 1 / (1 - GAMMA * 0.8)
    # Targets that differ leave DQN, which draws its batches, some noise.
    cases = ((0.0, 10.0, 0.01), (1.0, ended, 0.06))
    # Where the episode may end, the quantiles of the return differ: they are not their mean.
    for hard, expected, rtol in cases[: 1 if name in ("tqc", "qr_dqn", "iqn") else 2]:
        env: Env = HardEnd(limited, hard)
        env = Unseen(env) if isinstance(CRITICS[name], Online) else env
        env = Throttled(env) if name in ("sac", "tqc", "td3", "ddpg") else env
        engine = started(CRITICS[name], env, path)
        try:
            engine.advance(120, 120)
            np.testing.assert_allclose(critic(engine), expected, rtol=rtol)
        finally:
            engine.close()


@both_paths
def test_trap_1_holds_for_advantages_over_several_steps(path: str) -> None:
    algorithm = dataclasses.replace(CRITICS["ppo"], gae_lambda=0.95)
    engine = started(algorithm, HardEnd(TimeLimit(TruncationProbe(), 5), 0.0), path)
    try:
        engine.advance(120, 120)
        np.testing.assert_allclose(critic(engine), 10.0, rtol=0.01)
    finally:
        engine.close()


def by_hand(env: Env, seed: int, actions: np.ndarray) -> dict[str, np.ndarray]:
    """The transitions of one environment stepped by a plain loop, reset by hand."""
    lone = to_gymnasium(env)
    obs, _ = lone.reset(seed=seed)
    rows = []
    for action in actions:
        reached, reward, terminated, truncated, _ = lone.step(action)
        rows.append((obs, reward, terminated, truncated, reached))
        obs = lone.reset()[0] if terminated or truncated else reached
    names = ("obs", "reward", "terminated", "truncated", "final_obs")
    return {n: np.array(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)}


@both_paths
@pytest.mark.parametrize("seeds", [1, 2])
def test_trap_3_the_rollouts_of_a_run_are_those_of_a_loop_by_hand(path: str, seeds: int) -> None:
    env = CountingEnv()
    engine = started(Recorder(), env, path, seeds, seed=5)
    try:
        chunks = []
        for _ in range(4):
            engine.advance(1, 4)
            chunks.append(jax.device_get(engine.learner))
        keys = engine.keys
    finally:
        engine.close()
    whole = jax.tree.map(lambda *x: np.concatenate(x, axis=int(seeds > 1)), *chunks)
    for seed in range(seeds):
        got = jax.tree.map(lambda x, s=seed: x[s] if seeds > 1 else x, whole)
        judged = (got.obs, got.action, got.reward, got.terminated, got.truncated, got.final_obs)
        assert bool(env.consistent(*map(jnp.asarray, judged)).all())
        assert got.terminated.any()
        assert got.truncated.any()
        streams = env_seeds(keys[seed] if seeds > 1 else keys, 3)
        for column, stream in enumerate(np.asarray(streams)):
            wanted = by_hand(env, int(stream), got.action[:, column])
            for name, rows in wanted.items():
                np.testing.assert_array_equal(getattr(got, name)[:, column], rows, err_msg=name)


class Counted(gymnasium.Wrapper):
    """Counts the steps and resets of all its instances."""

    steps = resets = 0

    def step(self, action: Any) -> Any:
        Counted.steps += 1
        return self.env.step(action)

    def reset(self, **kwargs: Any) -> Any:
        Counted.resets += 1
        return self.env.reset(**kwargs)


@both_paths
def test_trap_3_steps_counted_are_steps_made(path: str) -> None:
    env: Any = CountingEnv()
    if path == "gymnasium":
        env = lambda: Counted(to_gymnasium(CountingEnv()))  # noqa: E731
    engine = started(Recorder(), env, path)
    try:
        Counted.steps = Counted.resets = 0
        metrics = engine.advance(5, 5)
        steps = engine.update * engine.plan.steps
        assert steps == 5 * 16 * 3
        if path == "gymnasium":
            assert Counted.steps == steps
            assert Counted.resets == metrics["episode_length"].count.sum()
        else:
            assert int(engine.carry.seeds.env.steps.sum()) == steps
        under_way = int(engine.carry.seeds.episode_length.sum())
        assert int(metrics["episode_length"].sum[0]) + under_way == steps
        assert metrics["reward"].count[0] == steps
        assert metrics["ends"].sum[0] == metrics["episode_length"].count[0]
        earned = metrics["episode_return"].sum[0] + engine.carry.seeds.episode_return.sum()
        assert float(earned) == pytest.approx(float(metrics["reward"].sum[0]), rel=1e-6)
    finally:
        engine.close()


class Untold(FrameStack):
    """A stack that does not tell of its frames, so that replay keeps it whole."""

    stack = None


STACKED = FrameStack(CountingEnv(num_actions=1), 2)  # observations: the one before, then this one
COLLECTOR = DQN(
    num_envs=3, buffer_size=36, batch_size=4, learning_starts=36, train_every=6, hidden=(), learning_rate=1e-6
)
DRAWS = 512

sample = partial(jax.jit, static_argnames=("batch_size", "n_step"))(replays.sample)
gather = partial(jax.jit, static_argnames="n_step")(replays.gather)


@pytest.fixture(scope="module", params=[f"{path}-{kept}" for path in PATHS for kept in ("once", "whole")])
def collected(request):
    """Replay buffers of a run at two moments, before the ring is full and after it has wrapped.

    Frames are kept once or stacks whole; of frames, those that truncated steps reached are all kept.
    """
    path, kept = request.param.split("-")
    env = STACKED if kept == "once" else Untold(CountingEnv(num_actions=1), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_ROWS_A_CUT", 1)
        engine = started(COLLECTOR, env, path)
    moments = []
    for n in (5, 5):
        engine.advance(n, 10)
        carry = jax.tree.map(jnp.copy, engine.carry)
        moments.append((carry.seeds.replay, carry.shared.ring))
    engine.close()
    assert [int(ring.filled) for _, ring in moments] == [10, 12]
    assert [int(ring.cursor) for _, ring in moments] == [10, 8]
    assert all((replays.stack_of(replay) is not None) == (kept == "once") for replay, _ in moments)
    return moments


def looked_up(replay: Any, ring: Any) -> tuple[Any, Any]:
    """The observations of all rows, oldest first, and those reached, [row, env, ...]."""
    first = (int(ring.cursor) - int(ring.filled) + np.arange(int(ring.filled))) % 12
    drawn = replays.Draw(jnp.repeat(jnp.asarray(first), 3), jnp.tile(jnp.arange(3), len(first)))
    batch = jax.device_get(gather(replay, drawn, 1, jnp.float32(GAMMA), ring))
    return (x.reshape(len(first), 3, -1) for x in (batch.obs, batch.next_obs))


def parts(stacked: Any) -> tuple[Any, Any]:
    """The older and the newer observation of a stack."""
    return stacked[..., :4], stacked[..., 4:]


def test_trap_3_and_4_the_replay_holds_what_happened_in_order(collected) -> None:
    for replay, ring in collected:
        rows = (int(ring.cursor) - int(ring.filled) + np.arange(int(ring.filled))) % 12
        obs, reached = (parts(x)[1] for x in looked_up(replay, ring))
        flags = (replay.action, replay.reward, replay.terminated, replay.truncated)
        action, reward, terminated, truncated = (np.asarray(x)[rows] for x in flags)
        good = STACKED.env.consistent(
            *map(jnp.asarray, (obs, action, reward, terminated, truncated, reached))
        )
        # Of frames kept once that which a terminated step reached is not among them: it is worth nothing.
        known = ~terminated if replays.stack_of(replay) is not None else np.ones_like(terminated)
        assert bool(np.asarray(good)[known].all())
        over = (terminated | truncated)[:-1]
        np.testing.assert_array_equal(obs[1:][~over], reached[:-1][~over])
        assert np.all(obs[1:][over][:, 2] == 0)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_trap_4_and_5_samples_stay_in_their_episode_and_discount_what_they_used(collected, n: int) -> None:
    for replay, ring in collected:
        batch = jax.device_get(sample(replay, ring, jax.random.key(n), DRAWS, n, jnp.float32(GAMMA)))
        (older, first), (before, last) = parts(batch.obs), parts(batch.next_obs)
        np.testing.assert_array_equal(first[:, [0, 1, 3]], last[:, [0, 1, 3]])  # the same episode
        count, length = first[:, 2], first[:, 3]
        used = np.minimum(n, length - count)
        # Of frames kept once that which a terminated step reached is not among them: it is worth nothing.
        known = batch.discount > 0.0 if replays.stack_of(replay) is not None else np.ones(DRAWS, bool)
        np.testing.assert_array_equal(last[known, 2], (count + used)[known])
        ended = (count + used == length) & (length % 2 == 0)
        np.testing.assert_allclose(batch.discount, np.where(ended, 0.0, GAMMA**used), rtol=1e-6)
        total = sum(np.where(i < used, GAMMA**i * (count + 1 + i), 0.0) for i in range(n))
        np.testing.assert_allclose(batch.reward, total, rtol=1e-5)
        # Stacks: the older frame is of the same episode, or the first one again.
        np.testing.assert_array_equal(older[:, [0, 1, 3]], first[:, [0, 1, 3]])
        np.testing.assert_array_equal(older[:, 2], np.maximum(count - 1, 0))
        np.testing.assert_array_equal(before[known, 2], last[known, 2] - 1)
        assert {bool(e) for e in ended} == {True, False}


NORMALISED = SUBJECTS["ppo"].every_switch
STEPS = Plan.of(NORMALISED).steps
NORMALISING = sorted(n for n, subject in SUBJECTS.items() if hasattr(subject.algorithm, "normalize_obs"))
every_normaliser = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in (*KINDS, "sac") else pytest.mark.slow) for n in NORMALISING]
)


@every_normaliser
def test_trap_8_statistics_are_saved_and_loaded(name: str, tmp_path: Any) -> None:
    algorithm, env = SUBJECTS[name].every_switch, SUBJECTS[name].env
    steps = Plan.of(algorithm).steps * 6
    agent = Agent(algorithm, env).learn(steps)
    agent.save(tmp_path / "run")
    loaded = Agent.load(tmp_path / "run")
    stats = loaded.engine.learner.normaliser.obs_stats
    assert float(stats.count) == steps
    assert bits(stats) == bits(agent.engine.learner.normaliser.obs_stats)
    obs = np.random.default_rng(0).normal(size=(500, *agent.engine.spec.obs_space.shape)).astype(np.float32)
    for deterministic in (True, False):
        again = Agent.load(tmp_path / "run")
        agent._predictions = again._predictions = 0  # the same draw of the same stream
        assert agent.predict(obs, deterministic).tobytes() == again.predict(obs, deterministic).tobytes()
    assert len(np.unique(loaded.predict(obs))) > 1


@every_normaliser
def test_trap_8_statistics_are_not_touched_by_evaluation_and_prediction(name: str) -> None:
    algorithm = SUBJECTS[name].every_switch
    agent = Agent(algorithm, SUBJECTS[name].env).learn(Plan.of(algorithm).steps * 6)
    before = bits(agent.engine.learner)
    agent.evaluate(5)
    agent.evaluate(5, deterministic=False)
    agent.predict(np.full(agent.engine.spec.obs_space.shape, 100.0, np.float32))
    assert bits(agent.engine.learner) == before


@every_normaliser
def test_trap_8_statistics_are_those_of_each_observation_once(name: str) -> None:
    engine = started(SUBJECTS[name].every_switch, SUBJECTS[name].env)
    collect = partial(jax.jit, static_argnames="plan")(loop.collect)
    seen = []
    for update in range(3):
        carry = jax.tree.map(jnp.copy, engine.carry)
        clock = loop.clock_of(carry.shared, jnp.int32(3), engine.plan)
        seen.append(np.asarray(collect(engine.algorithm, engine.env, engine.plan, carry.seeds, clock)[1].obs))
        engine.advance(1, 3)
        stats = engine.learner.normaliser.obs_stats
        whole = np.concatenate(seen).reshape(-1, *engine.spec.obs_space.shape)
        assert float(stats.count) == len(whole) == (update + 1) * engine.plan.steps
        np.testing.assert_allclose(stats.mean, whole.mean(axis=0), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(stats.var, whole.var(axis=0), rtol=1e-3)


@every_algorithm
def test_trap_9_half_a_run_saved_and_loaded_goes_on_as_the_whole(name: str, tmp_path: Any) -> None:
    algorithm, env = SUBJECTS[name].every_switch, SUBJECTS[name].env
    steps = Plan.of(algorithm).steps * 40
    whole = Agent(algorithm, env).learn(steps)
    Agent(algorithm, env).learn(steps // 2, horizon=steps).save(tmp_path / "half")
    rest = Agent.load(tmp_path / "half").learn(steps // 2)
    assert bits(rest.engine.carry) == bits(whole.engine.carry)
    to_the_end = Agent.load(tmp_path / "half").learn()
    assert bits(to_the_end.engine.carry) == bits(whole.engine.carry)
    # Had the first half been a run of its own, its schedules would have ended there.
    other = Agent(algorithm, env).learn(steps // 2)
    half = Agent.load(tmp_path / "half")
    assert bits(learnt(other.engine.learner)) != bits(learnt(half.engine.learner))


NORMALISER = ("normaliser.obs_stats", "normaliser.return_stats", "normaliser.running_return")
HELD = {
    "ppo": ("params", "opt_state", *NORMALISER),
    "a2c": ("params", "opt_state", *NORMALISER),
    "a3c": ("params", "opt_state", *NORMALISER, "workers", "behind"),
    "reinforce": ("params", "opt_state", *NORMALISER, "waiting"),
    "trpo": ("params", "opt_state", *NORMALISER),
    "dqn": ("params", "opt_state", "target", "replay", "ring"),
    "q_learning": ("learner.q.values",),
    "sac": (
        "params.actor",
        "params.critics",
        "log_alpha",
        "opt_state",
        "target",
        *NORMALISER,
        "replay",
        "ring",
    ),
    "ddpg": ("params.actor", "params.critics", "opt_state", "target", "replay", "ring", "seeds.memory"),
}


@every_algorithm
def test_trap_10_a_checkpoint_holds_every_leaf_of_the_loop(name: str, tmp_path: Any) -> None:
    agent = Agent(SUBJECTS[name].every_switch, SUBJECTS[name].env)
    agent.learn(agent.engine.plan.steps * 6)
    agent.save(tmp_path / "run")
    files = sorted((tmp_path / "run").rglob("*.safetensors"))
    arrays = checkpoint.read_arrays(files[-1])
    leaves = checkpoint.named_leaves(agent.engine.carry)
    assert len({leaf_name for leaf_name, _ in leaves}) == len(jax.tree.leaves(agent.engine.carry))
    for leaf_name, leaf in leaves:
        assert bits(leaf) == [arrays[leaf_name].tobytes()], leaf_name
    names = " ".join(leaf_name for leaf_name, _ in leaves)
    wanted = ["seeds.env", "seeds.obs", "seeds.key", "episode_return", "shared.update", *HELD.get(name, ())]
    assert [part for part in wanted if part not in names] == []


@both_paths
def test_trap_13_runs_of_neighbouring_seeds_share_nothing(path: str) -> None:
    """Runs of their own, not seeds of one run: episodes and draws differ, also from update to update."""
    firsts, actions, draws = [], [], []
    for seed in range(4):
        engine = started(Recorder(), CountingEnv(), path, seed=seed)
        try:
            for update in range(3):
                metrics = engine.advance(1, 3)
                rollout = jax.device_get(engine.learner)
                draws.append(float(metrics["draw"].sum[0]))
                actions += [tuple(column) for column in rollout.action.T]
                if update == 0:
                    firsts += [tuple(row) for row in rollout.obs[0, :, :2]]
        finally:
            engine.close()
    assert len(set(firsts)) == len(firsts) == 12
    assert len(set(actions)) == len(actions) == 36
    assert len(set(draws)) == len(draws) == 12


def test_trap_13_a_seed_is_the_same_run_alone_and_among_others() -> None:
    alone = [started(Recorder(), CountingEnv(), seed=s) for s in (7, 8)]
    both = started(Recorder(), CountingEnv(), seeds=2, seed=7)
    for engine in (*alone, both):
        engine.advance(2, 2)
    for i, engine in enumerate(alone):
        assert bits(engine.learner) == bits(jax.tree.map(lambda x, i=i: x[i], both.learner))


@pytest.mark.parametrize("path", ["gymnasium", pytest.param("native", marks=pytest.mark.slow)])
def test_trap_18_the_ratio_is_one_on_the_first_minibatch(path: str) -> None:
    """One epoch of one minibatch: every minibatch is a first, and whatever is off by 1e-5 is counted."""
    algorithm = dataclasses.replace(
        NORMALISED, epochs=1, minibatches=1, clip=1e-5, anneal_clip=False, learning_rate=0.01
    )
    engine = started(algorithm, "CartPole-v1", path)
    try:
        metrics = engine.advance(10, 10)
        assert metrics["clip_fraction"].count[0] == 10
        assert metrics["clip_fraction"].sum[0] == 0
        assert float(engine.learner.normaliser.obs_stats.count) == 10 * STEPS
    finally:
        engine.close()


@pytest.mark.parametrize("name", [n for n, s in SUBJECTS.items() if isinstance(s.algorithm, OffPolicy)])
@pytest.mark.parametrize(("train_every", "gradient_steps"), [*itertools.product([1, 4, 6], [1, 3])])
def test_trap_19_gradient_steps_per_step_do_not_depend_on_the_environments(
    train_every: int, gradient_steps: int, name: str
) -> None:
    kind = type(SUBJECTS[name].algorithm)
    for num_envs in (1, 2, 3, 8):
        plan = Plan.of(kind(num_envs=num_envs, train_every=train_every, gradient_steps=gradient_steps))
        assert plan.gradient_steps * train_every == gradient_steps * plan.steps
        assert plan.steps == plan.rows * num_envs
        assert plan.ring_rows * num_envs >= kind().buffer_size
        assert plan.ring_rows % plan.rows == 0


def test_trap_19_a_run_makes_the_gradient_steps_it_planned() -> None:
    engine = started(COLLECTOR, STACKED)
    engine.advance(10, 10)
    # Two rows of three environments an update; the sixth update has the 36 transitions to learn from.
    assert int(engine.carry.shared.gradient_step) == 5
