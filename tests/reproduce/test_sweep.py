"""Whole episodes of several learners: what is counted, and that settings differ by nothing but themselves."""

import numpy as np
import pytest

from fathom.algos.tabular.td_lambda import TDLambda
from fathom.envs.toy.random_walk import RandomWalk
from fathom.envs.wrappers import TimeLimit
from fathom.reproduce import sweep
from fathom.reproduce.base import Estimate


def middle(state):
    return state.v.values[1]


@pytest.mark.parametrize("batch", [None, 1])
def test_the_state_after_each_episode_is_measured(batch):
    """One state that always earns 1: V is 1 − (1 − α)^k after k episodes of one step."""
    learners = sweep.stack(TDLambda(gamma=1.0), learning_rate=[0.5, 0.25])
    env = RandomWalk(1, left_reward=1.0)
    played = sweep.play(learners, env, runs=2, episodes=3, measure=middle, batch=batch)
    assert played.length.shape == played.truncated.shape == (2, 2, 3)
    assert (played.length == 1).all()
    assert not played.truncated.any()
    k = np.arange(1, 4)
    np.testing.assert_allclose(played.measured[0], np.tile(1 - 0.5**k, (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(played.measured[1], np.tile(1 - 0.75**k, (2, 1)), rtol=1e-6)


def test_runs_differ_and_learners_share_their_chance():
    learners = sweep.stack(TDLambda(gamma=1.0), learning_rate=[0.5, 0.1])
    env = RandomWalk(5)
    first, other = (sweep.play(learners, env, runs=3, episodes=8, seed=seed).length for seed in (0, 1))
    np.testing.assert_array_equal(first[0], first[1])
    assert len(np.unique(first[0], axis=0)) == 3
    assert not np.array_equal(first, other)
    # From the middle of five states an end is an odd number of steps away, at least three.
    assert (first >= 3).all()
    assert (first % 2 == 1).all()


def test_an_episode_that_is_cut_is_known_as_such():
    learners = sweep.stack(TDLambda(gamma=1.0), learning_rate=[0.1])
    played = sweep.play(learners, TimeLimit(RandomWalk(19), 4), runs=2, episodes=5)
    assert (played.length == 4).all()
    assert played.truncated.all()


def test_the_best_point_is_the_lowest_that_is_finite():
    curve = sweep.Curve(np.arange(3.0), [Estimate(np.nan), Estimate(2.0), Estimate(3.0)])
    assert curve.best == 1
