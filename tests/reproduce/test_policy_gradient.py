"""REINFORCE by hand on two steps, the corridor's cap, and that nothing beats the optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.envs.toy.corridor import ShortCorridor
from fathom.reproduce import policy_gradient, registry
from fathom.reproduce.base import reproduce
from fathom.reproduce.policy_gradient import Episode, Learner


def learn(learner: Learner):
    """Right, right and the end at −1 a step, from θ = 0; what is in the row after the end must not count."""
    episode = Episode(
        jnp.asarray([1, 1, 0]), jnp.asarray([-1.0, -1.0, 0.0]), jnp.asarray([False, True, False])
    )
    zero = jnp.zeros((), jnp.float32)
    theta, w = policy_gradient.reinforce(jnp.zeros(2, jnp.float32), zero, episode, learner)
    return np.asarray(theta), float(w)


def test_each_step_follows_the_policy_that_the_one_before_left():
    """G = −2, −1. At θ = 0 right has probability ½; then θ = (0.1, −0.1), and left 1/(1 + e^−0.2)."""
    theta, w = learn(Learner(0.1))
    second = 0.1 + 0.1 / (1 + np.exp(-0.2))
    np.testing.assert_allclose(theta, [second, -second], rtol=1e-5)
    assert w == 0.0


def test_a_baseline_takes_away_what_was_expected():
    """α^w = ½ makes w = −1 after the first step, which is the second return: δ = 0."""
    theta, w = learn(Learner(0.1, 0.5))
    np.testing.assert_allclose(theta, [0.1, -0.1], rtol=1e-5)
    assert w == -1.0


def test_a_walk_without_end_is_cut_and_one_that_ends_earns_nothing_after():
    theta = jnp.asarray([[50.0, 0.0], [0.0, 0.0]], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 2)
    episode = policy_gradient.walk(ShortCorridor(), theta, keys)
    left, even = np.asarray(episode.reward).T
    assert left.sum() == -policy_gradient.CAP
    assert not np.asarray(episode.terminated)[:, 0].any()
    (end,) = np.flatnonzero(np.asarray(episode.terminated)[:, 1])
    np.testing.assert_array_equal(even, np.where(np.arange(policy_gradient.CAP) <= end, -1.0, 0.0))
    assert end >= 2


def test_runs_that_no_longer_end_are_told_apart(monkeypatch, tmp_path):
    """Of three runs of each learner one walks for ever from its 800th episode on."""

    def play(learners, runs, episodes, seed):
        rewards = np.full((runs, episodes), -12.0)
        rewards[1, 800:] = -policy_gradient.CAP
        return dict.fromkeys(learners, rewards), 200

    monkeypatch.setattr(policy_gradient, "play", play)
    report = reproduce(registry.get("figure-13.1"), runs=3)
    figures = {label: e.value for label, e in report.outcome.figures.items()}
    late = "reward of the last 100 of 1,000 episodes"
    assert figures[f"α = 2⁻¹²: {late}"] == pytest.approx((-12 - 12 - 1_000) / 3)
    assert figures["α = 2⁻¹²: the same without the 1 of 3 runs that no longer end"] == -12
    assert figures["episodes cut at 1,000 steps, of 9,000"] == 200
    assert report.write(tmp_path)[0].stat().st_size > 5_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure-13.1", "figure-13.2"])
def test_the_optimum_bounds_what_is_learnt(name):
    rewards = reproduce(registry.get(name)).outcome.data["rewards"]
    last = {label: x[:, -policy_gradient.LAST :].mean(axis=-1) for label, x in rewards.items()}
    for runs in last.values():
        error = runs.std(ddof=1) / np.sqrt(runs.size)
        assert runs.mean() <= policy_gradient.OPTIMUM + 3 * error
    assert max(runs.mean() for runs in last.values()) > -16.0
