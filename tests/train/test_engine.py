import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.core.errors import FathomError
from fathom.envs.base import Env
from fathom.envs.bridge import as_env
from fathom.runs.folder import RunFolder
from fathom.train import loop, memory
from fathom.train.engine import HostEngine, NonFinite, make_engine
from fathom.train.report import Report
from tests.contract.finite import Steered, Unseen
from tests.contract.subjects import FINITE, HORIZON, NETWORKS, STEERED, SUBJECTS, bits, every_algorithm

from .probes import Cornered, Diary, Faulty, Metronome

PPO = SUBJECTS["ppo"].algorithm  # 4 environments × 8 steps an update
DQN = SUBJECTS["dqn"].algorithm  # 2 environments × 2 steps an update


class Recorder:
    def __init__(self) -> None:
        self.reports: list[Report] = []

    def phase(self, name: str, detail: str = "") -> None: ...

    def chunk(self, report: Report) -> None:
        self.reports.append(report)


def fit(name: str, env: Any) -> Any:
    """The environment, or what the algorithm can take of it."""
    if SUBJECTS[name].env == FINITE:
        return Unseen(env) if isinstance(env, Env) else as_env(partial(UnseenOnHost, env.make))
    if SUBJECTS[name].env == STEERED:
        return Steered(env) if isinstance(env, Env) else as_env(partial(SteeredOnHost, env.make))
    return env


class UnseenOnHost(gymnasium.Wrapper):
    """The environment made, whatever its observations, seen as one state."""

    def __init__(self, make: Any) -> None:
        super().__init__(make())
        self.observation_space = gymnasium.spaces.Discrete(1)

    def reset(self, **kwargs: Any) -> Any:
        return 0, self.env.reset(**kwargs)[1]

    def step(self, action: Any) -> Any:
        return (0, *self.env.step(action)[1:])


class SteeredOnHost(gymnasium.ActionWrapper):
    """The environment made, its first two actions chosen by the sign of a real number."""

    def __init__(self, make: Any) -> None:
        super().__init__(make())
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def action(self, action: Any) -> int:
        return int(action[0] > 0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chunk", [1, 40])
def test_a_nan_observation_stops_the_run_at_that_very_update(name: str, chunk: int) -> None:
    algorithm = SUBJECTS[name].algorithm
    env = fit(name, Metronome(length=0.0, nan_obs_at=21.0))
    engine = make_engine(algorithm, env, seeds=1, seed=5)
    engine.start()
    rows = engine.plan.rows
    expected = -(-21 // rows)  # the update that makes the 21st step of every environment
    whole = (expected - 1) // chunk
    for _ in range(whole):
        engine.advance(chunk, HORIZON)
    with pytest.raises(NonFinite) as caught:
        engine.advance(chunk, HORIZON)
    assert engine.update == expected
    text = str(caught.value)
    assert (
        f"update {expected}, environment step {expected * engine.plan.steps:,}, seed 5, first in obs" in text
    )
    assert f"Finite rewards of that update were in [{(expected - 1) * rows + 1}, {expected * rows}]" in text
    assert "The environment gave it: check it with `fathom check`" in text


@every_algorithm
def test_an_infinite_reward_names_the_reward_and_the_seeds(name: str) -> None:
    env = fit(name, Metronome(length=0.0, inf_reward_at=21.0))
    engine = make_engine(SUBJECTS[name].algorithm, env, seeds=2, seed=5)
    engine.start()
    with pytest.raises(NonFinite, match="seeds 5, 6, first in reward") as caught:
        engine.advance(40, HORIZON)
    assert engine.update == -(-21 // engine.plan.rows)
    rows = engine.plan.rows
    finite = range(rows * (engine.update - 1) + 1, rows * engine.update + 1)
    earned = [t for t in finite if t != 21]
    assert f"Finite rewards of that update were in [{earned[0]}, {earned[-1]}]" in str(caught.value)
    assert "`fathom check`" in str(caught.value)


def test_only_the_seeds_that_went_wrong_are_named() -> None:
    engine = make_engine(PPO, Metronome(), seeds=2, seed=10)
    engine.start()
    engine.carry = eqx.tree_at(
        lambda c: c.seeds.learner.params.value.bias, engine.carry, replace_fn=lambda b: b.at[1].set(jnp.nan)
    )
    with pytest.raises(NonFinite, match="seed 11, first in metrics") as caught:
        engine.advance(3, HORIZON)
    assert "now also in learner.params" in str(caught.value)
    assert engine.update == 1


@pytest.mark.parametrize("what", ["obs", "reward"])
def test_the_guard_watches_host_environments_too(what: str) -> None:
    engine = make_engine(PPO, as_env(partial(Faulty, what)), seeds=1, seed=0, workers="in-process")
    engine.start()
    try:
        with pytest.raises(NonFinite, match=f"update 5, environment step 160, seed 0, first in {what}"):
            engine.advance(10, HORIZON)
        assert engine.update == 5
    finally:
        engine.close()


@pytest.mark.parametrize("path", ["native", "gymnasium"])
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
def test_a_policy_that_gives_no_action_is_blamed_and_not_the_environment(env: str, path: str) -> None:
    """Its NaN goes through the environment, or makes it fail, before any metric shows it."""
    engine = make_engine(PPO, as_env(env, path), seeds=2, seed=10, workers="in-process")
    engine.start()
    try:
        engine.advance(2, HORIZON)
        engine.carry = eqx.tree_at(
            lambda c: c.seeds.learner.params.head.layer.bias,
            engine.carry,
            replace_fn=lambda b: b.at[1].set(jnp.nan),
        )
        with pytest.raises(NonFinite, match=r"seed 11, first in (action|metrics)") as caught:
            engine.advance(1, HORIZON)
    finally:
        engine.close()
    assert "It arose in learning: lower learning_rate" in str(caught.value)
    assert "now also in learner.params." in str(caught.value)
    assert ("first in action" in str(caught.value)) == ((env, path) != ("CartPole-v1", "native"))


def test_rows_that_are_not_finite_are_found_by_environment() -> None:
    a, b = np.zeros((4, 3, 2), np.float32), np.zeros((4, 3), np.float32)
    a[2, 0, 1], b[1, 0], b[3, 2] = np.nan, np.inf, np.nan
    found = loop.first_not_finite((jnp.asarray(a), jnp.asarray(b), jnp.zeros((4, 3), jnp.int32)))
    np.testing.assert_array_equal(found, [1, loop.NEVER, 3])


def test_a_native_observation_without_a_legal_action_is_named() -> None:
    engine = make_engine(PPO, Cornered(), seeds=1, seed=5)
    engine.start()
    with pytest.raises(NonFinite, match="without a legal action at update 3, environment step 96, seed 5"):
        engine.advance(40, HORIZON)
    assert engine.update == 3


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("path", ["native", "gymnasium"])
def test_an_absurd_learning_rate_is_said_to_be_one(name: str, path: str, tmp_path: Path) -> None:
    """The last good checkpoint stays, loads, and with a sane learning rate the run goes on from it."""
    subject = SUBJECTS[name]
    agent = Agent(subject.algorithm, subject.env, backend=path, out=tmp_path / "run")
    steps = agent.engine.plan.steps
    agent.learn(steps * 8, horizon=steps * 40)
    good = bits(agent.engine.carry)
    agent.set(learning_rate=1e38)
    recorder = Recorder()
    with pytest.raises(NonFinite) as caught:
        agent.learn(chunk_seconds=1e-9, listeners=[recorder])
    text = str(caught.value)
    assert "lower learning_rate" in text
    assert "metrics['" in text or "first in action" in text
    assert "now also in learner.params" in text or "after update" in text  # huge, and finite still
    assert f"update {agent.engine.update}," in text
    # No chunk with a NaN in it was told to anybody, nor kept.
    assert all(np.all(np.isfinite(s)) for r in recorder.reports for s in r.sums.values())
    agent.close()

    loaded = Agent.resume(tmp_path / "run")
    assert bits(loaded.engine.carry) == good
    loaded.set(learning_rate=1e-3).learn(steps * 2)
    updates = [line["update"] for line in RunFolder.open(tmp_path / "run").read_metrics()]
    assert updates == sorted(set(updates))
    assert updates[-1] == 10
    loaded.close()


@pytest.mark.parametrize("path", ["native", "gymnasium"])
def test_a_replay_too_large_is_refused_with_the_size_that_fits(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("free_bytes", "host_free_bytes"):  # neither the device nor the host can hold it
        monkeypatch.setattr(memory, where, lambda: 10_000_000)
    huge = dataclasses.replace(DQN, buffer_size=50_000_000)
    made: list[Any] = []
    monkeypatch.setattr(HostEngine, "start", lambda self: made.append(self))
    agent = Agent(huge, "CartPole-v1", seeds=2, backend=path)
    with pytest.raises(FathomError, match=r"50,000,000 × 2 seeds.*10 MB are free") as caught:
        agent.learn(100)
    assert not made
    fits = int(str(caught.value).partition("Set buffer_size to ")[2].split()[0].replace(",", ""))
    make_engine(dataclasses.replace(DQN, buffer_size=fits), agent.env, seeds=2, seed=0).close()
    with pytest.raises(FathomError):
        make_engine(dataclasses.replace(DQN, buffer_size=fits * 2), agent.env, seeds=2, seed=0)


def test_a_horizon_beyond_the_counters_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    agent = Agent(PPO, Metronome(), out=tmp_path / "run")
    steps = agent.engine.plan.steps
    with pytest.raises(FathomError, match=r"2,147,483,648 updates.*raise num_envs"):
        agent.learn(steps, horizon=steps * 2**31)
    with pytest.raises(FathomError, match="31 bits"):
        agent.engine.advance(1, 2**31)
    assert not (tmp_path / "run").exists()
    assert agent.engine.update == 0
    agent.learn(steps, horizon=steps * (2**31 - 1))
    assert agent.engine.update == 1


@every_algorithm
@pytest.mark.parametrize("seeds", [1, 2])
def test_sums_and_counts_add_up_over_chunks(name: str, seeds: int) -> None:
    totals = []
    for splits in ([12], [1] * 12, [5, 1, 6]):
        engine = make_engine(SUBJECTS[name].algorithm, fit(name, Metronome()), seeds, seed=0)
        engine.start()
        chunks = [engine.advance(n, HORIZON) for n in splits]
        assert all(m.sum.shape == m.count.shape == (seeds,) for c in chunks for m in c.values())
        totals.append({
            metric: (sum(c[metric].sum for c in chunks), sum(c[metric].count for c in chunks))
            for metric in chunks[0]
        })  # fmt: skip
    for other in totals[1:]:
        for metric, (total, count) in totals[0].items():
            np.testing.assert_array_equal(other[metric][1], count, err_msg=metric)
            np.testing.assert_allclose(other[metric][0], total, rtol=1e-4, atol=1e-5, err_msg=metric)


@every_algorithm
def test_native_episodes_are_counted_once_and_whole(name: str) -> None:
    """Episodes of 5 steps that earn 1 + … + 5; episodes span updates, whose rows 5 does not divide."""
    engine = make_engine(SUBJECTS[name].algorithm, fit(name, Metronome(length=5.0)), seeds=2, seed=0)
    engine.start()
    finished = 0
    for update in range(1, 8):
        metrics = engine.advance(1, HORIZON)
        episodes = engine.plan.num_envs * (update * engine.plan.rows // 5)
        new, finished = episodes - finished, episodes
        np.testing.assert_array_equal(metrics["episode_return"].count, [new] * 2)
        np.testing.assert_array_equal(metrics["episode_return"].sum, [15.0 * new] * 2)
        np.testing.assert_array_equal(metrics["episode_length"].sum, [5.0 * new] * 2)
        np.testing.assert_array_equal(metrics["reward"].count, [engine.plan.steps] * 2)
    assert finished


@every_algorithm
@pytest.mark.parametrize("seeds", [1, 2])
def test_host_episodes_equal_what_the_environments_wrote_down(name: str, seeds: int) -> None:
    diary: list[Diary] = []
    env = fit(name, as_env(Diary.keeping(diary)))
    env.obs_space  # noqa: B018  a first look makes an environment of its own
    diary.clear()
    engine = make_engine(SUBJECTS[name].algorithm, env, seeds, seed=0, workers="in-process")
    engine.start()
    try:
        metrics = engine.advance(11, HORIZON)
    finally:
        engine.close()
    assert len(diary) == seeds * engine.plan.num_envs
    for seed in range(seeds):
        own = diary[seed * engine.plan.num_envs : (seed + 1) * engine.plan.num_envs]
        episodes = [rewards for env in own for rewards in env.finished]
        rewards = [r for env in own for episode in env.episodes for r in episode]
        assert metrics["episode_return"].count[seed] == len(episodes) > 5
        assert metrics["episode_length"].sum[seed] == sum(map(len, episodes))
        np.testing.assert_allclose(
            metrics["episode_return"].sum[seed], sum(map(sum, episodes)), rtol=1e-5, atol=1e-4
        )
        assert metrics["reward"].count[seed] == len(rewards) == 11 * engine.plan.steps
        np.testing.assert_allclose(metrics["reward"].sum[seed], sum(rewards), rtol=1e-5, atol=1e-4)


def test_off_policy_learning_begins_when_enough_is_collected() -> None:
    engine = make_engine(DQN, Metronome(), seeds=1, seed=0)
    engine.start()
    before = bits(engine.learner.params)
    waiting = DQN.learning_starts // engine.plan.steps - 1
    metrics = engine.advance(waiting, HORIZON)
    assert metrics["loss"].count.item() == 0
    assert bits(engine.learner.params) == before
    metrics = engine.advance(1, HORIZON)
    assert metrics["loss"].count.item() == engine.plan.gradient_steps
    assert bits(engine.learner.params) != before


@pytest.mark.parametrize("num_envs", [1, 2, 3, 8])
def test_gradient_steps_per_environment_step_do_not_depend_on_num_envs(num_envs: int) -> None:
    algorithm = dataclasses.replace(DQN, num_envs=num_envs, train_every=4, gradient_steps=3)
    plan = make_engine(algorithm, Metronome(), seeds=1, seed=0).plan
    assert plan.gradient_steps * 4 == plan.steps * 3
    assert plan.ring_rows * num_envs >= algorithm.buffer_size
