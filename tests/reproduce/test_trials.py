"""The trace of many runs is that of each run made alone, step by step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.tabular.monte_carlo import MonteCarloPrediction
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.tabular.sarsa import Sarsa
from fathom.algos.tabular.td import TD
from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named
from fathom.core.module import lift
from fathom.core.types import Clock, Transition
from fathom.envs.base import spec_of, vec_reset, vec_step
from fathom.envs.grid.world import GridWorld
from fathom.envs.toy.random_walk import RandomWalk
from fathom.reproduce.trials import Trials
from fathom.train.loop import act_online, learn_from_step

ENV = GridWorld.from_map(["S.G", "..#"], slip=0.2, reward_step=-1.0)
LEARNERS = [Sarsa(learning_rate=a, epsilon_start=0.3, epsilon_end=0.3) for a in (0.1, 0.7)]


def watch_values(learner, step):
    return learner.q.values.sum()


@pytest.fixture(scope="module")
def trials():
    return Trials(LEARNERS, ENV, runs=3, seed=5, watch=watch_values)


@pytest.fixture(scope="module")
def trace(trials):
    return trials.steps(ENV, 40)


def alone(learner, env, key, count):
    """The same run by a plain loop; rewards, ends of episodes and the sum of all values after each step."""

    @jax.jit
    def row(env_state, obs, state, memory, t):
        clock = Clock(t, jnp.int32(1), jnp.float32(1.0), jnp.int32(0))
        action, memory, extras = act_online(learner, state, memory, obs, key, clock)
        env_state, vec = vec_step(env, env_state, action)
        step = Transition(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras)
        state, memory, _ = learn_from_step(learner, state, memory, step, key, clock)
        return (env_state, vec.obs, state, memory), (
            vec.reward[0],
            vec.terminated[0],
            watch_values(state, step),
        )

    env_state, obs = vec_reset(env, env_seeds(key, 1))
    state = learner.init(spec_of(env), key)
    carry, rows = (env_state, obs, state, learner.init_memory(state, 1)), []
    for t in range(count):
        carry, kept = row(*carry, jnp.int32(t))
        rows.append(kept)
    return (np.array(x) for x in zip(*rows, strict=True))


def test_every_run_is_what_it_is_alone(trace):
    keys = jax.random.split(named(jax.random.key(5), "runs"), 3)
    for number, run in ((0, 2), (1, 1)):
        reward, over, seen = alone(lift(LEARNERS[number]), lift(ENV), keys[run], 40)
        np.testing.assert_array_equal(trace.reward[number, run], reward)
        np.testing.assert_array_equal(trace.over[number, run], over)
        np.testing.assert_allclose(trace.seen[number, run], seen, rtol=1e-5)
    assert trace.over.any(axis=-1).all()


def test_episodes_are_the_trace_cut_at_their_ends(trace):
    """Whatever number of steps is made at a time, and though runs end theirs at different times."""
    found = Trials(LEARNERS, ENV, runs=3, seed=5, watch=watch_values).episodes(ENV, 2, at_a_time=8)
    for number, run in np.ndindex(2, 3):
        ends = np.flatnonzero(trace.over[number, run])[:2] + 1
        assert ends.size == 2
        np.testing.assert_array_equal(found.length[number, run], np.diff(ends, prepend=0))
        parts = np.split(trace.reward[number, run], ends)[:2]
        np.testing.assert_allclose(found.total[number, run], [part.sum() for part in parts], rtol=1e-6)
        np.testing.assert_allclose(found.seen[number, run], trace.seen[number, run, ends - 1], rtol=1e-5)


def test_the_world_may_change_between_calls(trials, trace):
    """Once the goal is walled in no episode ends any more."""
    closed = ENV.paint(0, 1, "#")
    before = np.asarray(trials.steps(closed, 40).over)
    assert not before[..., 1:].any()
    assert trials.steps(ENV, 40).over.any()


def test_one_after_the_other_is_the_same_as_abreast():
    env = RandomWalk()
    learners = [TD(learning_rate=a, gamma=1.0, n=3) for a in (0.2, 0.9)]
    abreast, singly = (
        Trials(learners, env, 4, watch=lambda learner, step: learner.v.values, abreast=flag).steps(env, 30)
        for flag in (True, False)
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), abreast, singly)
    assert abreast.seen.shape == (2, 4, 30, 7)


def test_what_cannot_be_played_together_is_said():
    env = RandomWalk()
    with pytest.raises(FathomError, match="differ in numbers alone"):
        Trials([TD(), MonteCarloPrediction()], env, 2)
    with pytest.raises(FathomError, match="num_envs is 2"):
        Trials([TD(num_envs=2)], env, 2)
    with pytest.raises(FathomError, match="learning_rate"):
        Trials([QLearning(learning_rate=-1.0)], env, 2)
