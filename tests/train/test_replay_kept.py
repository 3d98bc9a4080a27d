"""How replay is kept must not show in what is learnt: frames once or whole stacks, on the device or not."""

import dataclasses
from functools import partial
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation

from fathom.agent import Agent
from fathom.core.errors import FathomError
from fathom.core.types import Stack
from fathom.data import frames
from fathom.envs.bridge import as_env, to_gymnasium
from fathom.envs.host import HostEnv
from fathom.envs.wrappers import FrameStack, TimeLimit
from fathom.train import memory
from fathom.train.engine import HostEngine, make_engine
from tests.contract.subjects import HORIZON, SUBJECTS, bits

DQN = dataclasses.replace(SUBJECTS["dqn"].algorithm, buffer_size=64, train_every=4)  # 32 rows, 2 a write
RICH = dataclasses.replace(DQN, n_step=3, prioritized=True, gradient_steps=2)
UPDATES = 24  # the ring is full after 16


class Whole(FrameStack):
    """A stack that does not tell of its frames."""

    @property
    def stack(self) -> None:
        return None


@pytest.fixture(autouse=True)
def _room_for_truncations(monkeypatch):
    """One place for each 4 rows: episodes here are cut far more often than a ring this small allows for."""
    monkeypatch.setattr(frames, "_ROWS_A_CUT", 4)


def once_and_whole(algorithm: Any, seeds: int) -> tuple[Any, Any]:
    """Two runs over the wrap, with truncations: frames kept once, and whole stacks."""
    ran = []
    for kind in (FrameStack, Whole):
        engine = make_engine(algorithm, TimeLimit(kind(as_env("CartPole-v1"), 4), 13), seeds, seed=0)
        engine.start()
        engine.advance(UPDATES, HORIZON)
        ran.append(engine)
    assert np.asarray(ran[0].carry.seeds.replay.truncated).any()
    assert ran[0].replay_bytes < ran[1].replay_bytes / 2
    return ran[0], ran[1]


def test_frames_kept_once_learn_what_whole_stacks_do():
    """Quick tests compile in a haste in which XLA rounds the two programs now and then otherwise."""
    once, whole = once_and_whole(RICH, 2)
    a, b = once.carry.seeds.replay, whole.carry.seeds.replay
    assert bits((a.action, a.reward, a.truncated)) == bits((b.action, b.reward, b.truncated))
    nearly(once.learner, whole.learner)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "seeds"), [(DQN, 1), (RICH, 2)], ids=["plain", "rich"])
def test_frames_kept_once_learn_the_very_same_bits(algorithm, seeds):
    once, whole = once_and_whole(algorithm, seeds)
    assert bits(once.learner) == bits(whole.learner)
    assert bits(once.carry.seeds.replay.tree) == bits(whole.carry.seeds.replay.tree)


def nearly(a: Any, b: Any) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


def stacked(limit: int = 13, padding: str = "reset") -> Any:
    env = gymnasium.make("CartPole-v1", max_episode_steps=limit)
    return FrameStackObservation(env, 3, padding_type=padding)


def agent_of(replay: str, algorithm: Any = RICH, env: Any = stacked, **more: Any) -> Agent:
    return Agent(algorithm, env, replay=replay, workers="in-process", **more)


@pytest.mark.parametrize(
    ("algorithm", "env"),
    [
        pytest.param(RICH, stacked, marks=pytest.mark.slow, id="frames"),
        pytest.param(DQN, partial(gymnasium.make, "CartPole-v1"), id="whole"),
    ],
)
def test_the_hosts_memory_and_the_device_give_the_same_bits(algorithm, env, tmp_path):
    """And a run goes on from one in the other."""
    steps = 4 * UPDATES
    agents = [agent_of(where, algorithm, env) for where in ("device", "host")]
    for agent in agents:
        agent.learn(steps, horizon=2 * steps)
    device, host = agents
    assert isinstance(host.engine, HostEngine)
    assert host.engine.store is not None
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(host.engine.store.arrays))
    assert bits(host.engine.carry) == bits(device.engine.carry)
    assert host.engine.replay_bytes == device.engine.replay_bytes
    host.save(tmp_path / "run")
    fork = host.fork()
    assert fork.engine.store is not None
    assert not any(
        np.shares_memory(a, b)
        for a, b in zip(*(jax.tree.leaves(x.engine.store.arrays) for x in (fork, host)), strict=True)
    )
    others = [Agent.load(tmp_path / "run", env, replay=where) for where in (None, "device")]
    assert [agent.engine.plan.apart for agent in others] == [True, False]
    every = [*agents, fork, *others]
    metrics = [agent.engine.advance(6, agent.horizon) for agent in every]
    for agent, told in zip(every, metrics, strict=True):
        assert bits(agent.engine.carry) == bits(device.engine.carry)
        jax.tree.map(np.testing.assert_array_equal, told, metrics[0])
        agent.close()


@pytest.mark.slow
@pytest.mark.parametrize("env", [stacked, partial(gymnasium.make, "CartPole-v1")], ids=["frames", "whole"])
def test_several_seeds_give_the_same_bits_on_both_sides(env):
    found = []
    for where in ("device", "host"):
        engine = make_engine(DQN, as_env(env), 2, 0, "in-process", where)
        engine.start()
        engine.advance(UPDATES, HORIZON)
        found.append(bits(engine.carry))
        engine.close()
    assert found[0] == found[1]


def test_several_seeds_draw_the_same_on_both_sides_and_learn_nearly_the_same():
    """See above for why nearly."""
    found = []
    for where in ("device", "host"):
        engine = make_engine(DQN, as_env(stacked), 2, 0, "in-process", where)
        engine.start()
        engine.advance(UPDATES, HORIZON)
        found.append(engine.carry.seeds)
        engine.close()
    assert bits(found[0].replay) == bits(found[1].replay)
    nearly(found[0].learner, found[1].learner)


class Opaque(gymnasium.Wrapper):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__(stacked())
        self.secret = object()


def test_episodes_given_up_on_resume_are_cut_alike_on_both_sides(tmp_path):
    env = HostEnv(Opaque, "Opaque")
    object.__setattr__(env, "_facts", dataclasses.replace(env._facts, stack=Stack(3, -2)))
    agent = agent_of("host", env=env)
    agent.learn(4 * UPDATES)
    agent.save(tmp_path / "run")
    agent.close()
    found = []
    for where in ("host", "device"):
        with pytest.warns(UserWarning, match="cannot be copied"):
            again = Agent.load(tmp_path / "run", env, replay=where)
        again.engine.advance(4, again.horizon)
        found.append(bits(again.engine.carry))
        again.close()
    assert found[0] == found[1]


def test_frames_are_known_where_wrappers_are():
    assert HostEnv(stacked).stack == Stack(3, -2)
    assert HostEnv(partial(stacked, 13, "zero")).stack == Stack(3, -2, "zero")
    assert HostEnv(lambda: gymnasium.wrappers.TimeLimit(stacked(), 5)).stack == Stack(3, -2)
    assert HostEnv(Opaque).stack is None
    assert HostEnv(partial(gymnasium.make, "CartPole-v1")).stack is None
    assert HostEnv(lambda: FrameStackObservation(OneArray(), 3)).stack is None
    native = FrameStack(as_env("CartPole-v1"), 4)
    assert HostEnv(lambda: to_gymnasium(native)).stack == native.stack == Stack(4, -1)
    assert TimeLimit(native, 5).stack == native.stack


class OneArray(gymnasium.Env):
    """Writes all its observations into one array."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    seen = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.seen[:] = 0.0
        return self.seen, {}

    def step(self, action: Any) -> Any:
        self.seen += 0.1
        return self.seen, 0.0, False, False, {}


def test_the_hosts_memory_is_taken_where_only_it_is_large_enough(monkeypatch):
    env = as_env("CartPole-v1", "gymnasium")
    large = dataclasses.replace(DQN, buffer_size=5_000)
    monkeypatch.setattr(memory, "free_bytes", lambda: 100_000)
    monkeypatch.setattr(memory, "host_free_bytes", lambda: 1_000_000)
    engine = make_engine(large, env, 1, 0, "in-process")
    assert engine.plan.apart
    assert "replay takes 210 kB and the device has 100 kB free" in engine.replay_told
    engine.close()
    small = make_engine(DQN, env, 1, 0, "in-process")
    assert not small.plan.apart
    assert small.replay_told == ""
    small.close()
    for where, advised in (("device", 100_000), ("auto", 100_000), ("host", 1_000_000)):
        huge = dataclasses.replace(DQN, buffer_size=10**9)
        with pytest.raises(FathomError, match="Set buffer_size to") as caught:
            make_engine(huge, env, 1, 0, "in-process", where)
        fits = int(str(caught.value).partition("Set buffer_size to ")[2].split()[0].replace(",", ""))
        apart = where == "host"
        per_item = 42 if not apart else 10  # on the device: all of a transition, or all but observations
        assert (
            fits * per_item <= 80_000 < (fits + 4) * per_item or fits * 32 <= 0.8 * advised < (fits + 4) * 32
        )


def test_where_replay_can_be_is_said():
    native, host = as_env("CartPole-v1"), as_env("CartPole-v1", "gymnasium")
    with pytest.raises(FathomError, match=r"replay='host' goes with environments .* backend='gymnasium'"):
        make_engine(DQN, native, 1, 0, replay="host")
    with pytest.raises(FathomError, match="PPO learns without replay"):
        make_engine(SUBJECTS["ppo"].algorithm, host, 1, 0, replay="host")
    with pytest.raises(FathomError, match="replay is 'disk'"):
        make_engine(DQN, host, 1, 0, replay="disk")  # pyright: ignore[reportArgumentType]
