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
from fathom.reproduce.trials import Trials, episodes_apart
from fathom.train.loop import act_online, learn_from_step

ENV = GridWorld.from_map(["S.G", "..#"], slip=0.2, reward_step=-1.0)
LEARNERS = [Sarsa(learning_rate=a, epsilon_start=0.3, epsilon_end=0.3) for a in (0.1, 0.7)]
RUNS, ROWS, BLOCKS, SEED = 3, 24, 4, 5


def watch_values(learner, step):
    return learner.q.values.sum()


begun = partial(Trials, LEARNERS, ENV, RUNS, SEED, watch_values)


@pytest.fixture(scope="module")
def trace():
    """Of `BLOCKS` times `ROWS` steps, made in one after the other."""
    trials = begun()
    parts = [trials.steps(ENV, ROWS) for _ in range(BLOCKS)]
    return jax.tree.map(lambda *x: np.concatenate(x, axis=2), *parts)


@partial(jax.jit, static_argnames="count")
def alone(learner, env, key, count):
    """The same run by a plain scan; rewards, ends of episodes and the sum of all values after each step."""

    def row(carry, t):
        env_state, obs, state, memory = carry
        clock = Clock(t, jnp.int32(1), jnp.float32(1.0), jnp.int32(0))
        action, memory, extras = act_online(learner, state, memory, obs, key, clock)
        env_state, vec = vec_step(env, env_state, action)
        step = Transition(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras)
        state, memory, _ = learn_from_step(learner, state, memory, step, key, clock)
        seen = (vec.reward[0], vec.terminated[0], watch_values(state, step))
        return (env_state, vec.obs, state, memory), seen

    env_state, obs = vec_reset(env, env_seeds(key, 1))
    state = learner.init(spec_of(env), key)
    start = (env_state, obs, state, learner.init_memory(state, 1))
    return jax.lax.scan(row, start, jnp.arange(count, dtype=jnp.int32))[1]


def test_every_run_is_what_it_is_alone(trace):
    keys = jax.random.split(named(jax.random.key(SEED), "runs"), RUNS)
    for number, run in ((0, 2), (1, 1)):
        reward, over, seen = alone(lift(LEARNERS[number]), lift(ENV), keys[run], ROWS * BLOCKS)
        np.testing.assert_array_equal(trace.reward[number, run], reward)
        np.testing.assert_array_equal(trace.over[number, run], over)
        np.testing.assert_allclose(trace.seen[number, run], seen, rtol=1e-5)


def test_episodes_are_the_trace_cut_at_their_ends(trace):
    """Though runs end theirs at different times, and go on beyond the number that is asked for."""
    found = begun().episodes(ENV, 2, at_a_time=ROWS)
    lengths = set()
    for number, run in np.ndindex(2, RUNS):
        ends = np.flatnonzero(trace.over[number, run])[:2] + 1
        assert ends.size == 2
        lengths |= set(ends)
        np.testing.assert_array_equal(found.length[number, run], np.diff(ends, prepend=0))
        parts = np.split(trace.reward[number, run], ends)[:2]
        np.testing.assert_allclose(found.total[number, run], [part.sum() for part in parts], rtol=1e-6)
        np.testing.assert_allclose(found.seen[number, run], trace.seen[number, run, ends - 1], rtol=1e-5)
    assert min(lengths) <= ROWS < max(lengths)


def test_the_world_may_change_between_calls():
    """Once the goal is walled in no episode ends any more."""
    trials, closed = begun(), ENV.paint(0, 1, "#")
    trials.steps(closed, ROWS)
    assert not trials.steps(closed, ROWS).over.any()
    assert sum(trials.steps(ENV, ROWS).over.any() for _ in range(BLOCKS)) > 0


def test_one_after_the_other_is_the_same_as_abreast(trace):
    singly = begun(abreast=False).steps(ENV, ROWS)
    assert singly.seen.shape == (2, RUNS, ROWS)
    first = jax.tree.map(lambda x: x[:, :, :ROWS], trace)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), singly, first)


def test_learners_apart_are_the_same_as_together():
    env, learners = RandomWalk(5), [TD(learning_rate=a, gamma=1.0) for a in (0.2, 0.9)]
    watch = lambda learner, step: learner.v.values[1:-1].mean()  # noqa: E731
    together = Trials(learners, env, 2, watch=watch).episodes(env, 3)
    apart = episodes_apart(learners, env, 2, 3, watch=watch)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), apart, together)
    # What no learner can change is the same for both: from the middle an end is an odd number of steps away.
    np.testing.assert_array_equal(together.length[0], together.length[1])
    assert (together.length >= 3).all()
    assert (together.length % 2 == 1).all()
    assert not np.array_equal(together.seen[0], together.seen[1])


def test_what_cannot_be_played_together_is_said():
    env = RandomWalk()
    with pytest.raises(FathomError, match="differ in numbers alone"):
        Trials([TD(), MonteCarloPrediction()], env, 2)
    with pytest.raises(FathomError, match="num_envs is 2"):
        Trials([TD(num_envs=2)], env, 2)
    with pytest.raises(FathomError, match="learning_rate"):
        Trials([QLearning(learning_rate=-1.0)], env, 2)
