"""The invariants of the design, over every registered algorithm and both paths (kill -9 is in tests/runs)."""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.envs.bridge import as_env, to_gymnasium
from fathom.envs.registry import make
from fathom.train import engine as engines
from fathom.train.engine import make_engine

from .finite import sample
from .subjects import (
    COMPARED,
    HORIZON,
    KINDS,
    NETWORKS,
    SUBJECTS,
    bits,
    changed,
    engine_of,
    every_algorithm,
    learnt,
)

ALGORITHMS = sorted(SUBJECTS)
PATHS = ("native", "gymnasium")

both_paths = pytest.mark.parametrize("path", PATHS)


def trained(name: str, path: str, splits: list[int], seeds: int = 1, seed: int = 0) -> Any:
    engine = engine_of(name, path, seeds, seed)
    try:
        for n in splits:
            engine.advance(n, HORIZON)
        return engine.carry
    finally:
        engine.close()


@every_algorithm
@both_paths
def test_same_seed_gives_same_bits_and_another_seed_other_parameters(name: str, path: str) -> None:
    first, again, other = (trained(name, path, [12], seed=s) for s in (3, 3, 4))
    assert bits(first) == bits(again)
    params = [bits(learnt(c.seeds.learner)) for c in (first, other)]
    assert params[0] != params[1]


@pytest.mark.parametrize("name", NETWORKS)  # a finite environment has few first observations
@both_paths
def test_neighbouring_seeds_share_no_environment_stream(name: str, path: str) -> None:
    engine = engine_of(name, path, seeds=4, seed=7)
    try:
        obs = np.asarray(engine.carry.seeds.obs)
        obs = obs.reshape(-1, obs.shape[-1])
    finally:
        engine.close()
    assert len({row.tobytes() for row in obs}) == len(obs)


def unless_quick(name: str, quick: bool) -> Any:
    return () if name in KINDS or (quick and name in COMPARED) else pytest.mark.slow


def unless_few(name: str, path: str, seeds: int) -> Any:
    """Seeds side by side are another program than one alone; each in the quick set on one path."""
    quick = COMPARED if (path, seeds) == ("native", 2) else KINDS if (path, seeds) == ("gymnasium", 1) else ()
    return () if name in quick else pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "path", "seeds"),
    [
        pytest.param(name, path, seeds, marks=unless_few(name, path, seeds))
        for name in ALGORITHMS
        for path in PATHS
        for seeds in (1, 2)
    ],
)
def test_chunking_does_not_matter(name: str, path: str, seeds: int) -> None:
    whole = trained(name, path, [12], seeds)
    for splits in ([1, 11], [5, 1, 6], [1] * 12):
        assert bits(trained(name, path, splits, seeds)) == bits(whole)


@every_algorithm
@both_paths
def test_evaluating_and_watching_change_nothing(name: str, path: str, tmp_path: Any) -> None:
    subject, env = SUBJECTS[name].algorithm, SUBJECTS[name].env
    quiet = Agent(subject, env, seeds=2, backend=path)
    steps = quiet.engine.plan.steps
    quiet.learn(steps * 12, chunk_seconds=1e-9)

    class Watcher:
        agent: Agent

        def phase(self, name: str, detail: str = "") -> None: ...

        def chunk(self, report: Any) -> None:
            self.agent.evaluate(3)
            self.agent.predict(sample(self.agent.env.obs_space, 0), deterministic=False)

    watcher = Watcher()
    watched = Agent(subject, env, seeds=2, backend=path, out=tmp_path / "run")
    watcher.agent = watched
    watched.learn(steps * 12, chunk_seconds=1e-9, checkpoint_seconds=0.0, listeners=[watcher])
    assert bits(watched.engine.carry) == bits(quiet.engine.carry)
    quiet.close()
    watched.close()


@every_algorithm
@both_paths
def test_a_fork_without_a_change_equals_its_parent(name: str, path: str) -> None:
    parent = Agent(SUBJECTS[name].algorithm, SUBJECTS[name].env, seeds=2, backend=path)
    steps = parent.engine.plan.steps
    parent.learn(steps * 6, horizon=steps * 12)
    child = parent.fork()
    untouched = parent.fork()
    parent.learn(steps * 6)
    child.learn(steps * 6)
    assert bits(child.engine.carry) == bits(parent.engine.carry)
    assert bits(untouched.engine.carry) != bits(parent.engine.carry)
    for agent in (parent, child, untouched):
        agent.close()


@pytest.mark.parametrize("path", PATHS)
def test_learners_at_every_step_do_not_depend_on_how_many_steps_are_an_update(path: str) -> None:
    carries = []
    for num_steps, updates in ((4, 6), (12, 2)):
        subject = SUBJECTS["q_learning"]
        algorithm = dataclasses.replace(subject.every_switch, num_steps=num_steps)
        engine = make_engine(algorithm, as_env(subject.env, path), 1, 0)
        engine.start()
        engine.advance(updates, 120 // num_steps)
        carries.append(dataclasses.replace(engine.carry, shared=None))
        engine.close()
    if "optimization_level=1" not in os.environ.get("XLA_FLAGS", ""):
        assert bits(carries[0]) == bits(carries[1])
        return
    # At this level, which only the quick tests on a later jax use, two programs may round a product apart.
    for one, other in zip(*map(jax.tree.leaves, carries), strict=True):
        if jnp.issubdtype(one.dtype, jnp.floating):
            np.testing.assert_allclose(one, other, rtol=1e-6)
        else:
            assert bits(one) == bits(other)


@pytest.mark.parametrize(
    ("name", "seeds"),
    [pytest.param(n, seeds, marks=unless_quick(n, seeds == 2)) for n in ALGORITHMS for seeds in (1, 2)],
)
def test_native_path_equals_host_path(name: str, seeds: int) -> None:
    native = engine_of(name, "native", seeds)
    subject = SUBJECTS[name]
    gymnasium = lambda: to_gymnasium(make(subject.env, "native"))  # noqa: E731
    host = make_engine(subject.algorithm, as_env(gymnasium, "gymnasium"), seeds, seed=0)
    host.start()
    try:
        for _ in range(6):
            native_metrics, host_metrics = native.advance(1, HORIZON), host.advance(1, HORIZON)
            np.testing.assert_allclose(
                np.asarray(native.carry.seeds.obs), np.asarray(host.carry.seeds.obs), rtol=1e-5, atol=1e-6
            )
            for key in ("episode_return", "episode_length", "reward"):
                # Rewards of both signs cancel in a sum: it is as exact as its largest term.
                np.testing.assert_allclose(
                    native_metrics[key].sum, host_metrics[key].sum, rtol=1e-5, atol=1e-6
                )
                np.testing.assert_array_equal(native_metrics[key].count, host_metrics[key].count)
        learners = (learnt(native.learner), learnt(host.learner))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4), *learners)
    finally:
        host.close()


def of_its_own(name: str) -> Any:
    """The algorithm in a form whose programs no other test compiles."""
    algorithm = SUBJECTS[name].algorithm
    size = {"hidden": (7,)} if hasattr(algorithm, "hidden") else {"num_steps": 7}
    return dataclasses.replace(algorithm, **size)


def one_number(name: str) -> dict[str, float]:
    """A setting that can be changed in the middle of a run, with another value."""
    algorithm = SUBJECTS[name].algorithm
    field = next(f for f in dataclasses.fields(algorithm) if isinstance(getattr(algorithm, f.name), float))
    return {field.name: changed(getattr(algorithm, field.name), field)}


HOST_PROGRAMS = (engines._act_host, engines._learn_host, engines._online_host, engines._account_host)


@every_algorithm
def test_one_compilation_per_program_native(name: str, tmp_path: Any) -> None:
    agent = Agent(of_its_own(name), SUBJECTS[name].env, out=tmp_path / "run")
    steps = agent.engine.plan.steps
    agent.learn(steps * 5)
    compiled = engines._run_native._cache_size()
    agent.learn(steps * 7)
    agent.set(**one_number(name)).learn(steps * 3)
    resumed = Agent.resume(tmp_path / "run")
    resumed.learn(steps * 3)
    assert engines._run_native._cache_size() == compiled


@every_algorithm
def test_one_compilation_per_program_host(name: str, tmp_path: Any) -> None:
    agent = Agent(of_its_own(name), SUBJECTS[name].env, backend="gymnasium", out=tmp_path / "run")
    steps = agent.engine.plan.steps
    agent.learn(steps * 5)
    compiled = [program._cache_size() for program in HOST_PROGRAMS]
    agent.learn(steps * 7)
    agent.set(**one_number(name)).learn(steps * 3)
    resumed = Agent.resume(tmp_path / "run")
    resumed.learn(steps * 3)
    assert [program._cache_size() for program in HOST_PROGRAMS] == compiled
    agent.close()
    resumed.close()
