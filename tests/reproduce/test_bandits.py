"""The testbed's bookkeeping on tiny runs, and the published readings on whole ones."""

import numpy as np
import pytest

from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
from fathom.algos.bandit.ucb import UCB
from fathom.envs.toy.bandit import Bandit
from fathom.reproduce import bandits, registry, testbed
from fathom.reproduce.base import reproduce


def test_means_over_runs_and_over_steps_agree():
    greedy, ucb = testbed.play((EpsilonGreedy(epsilon=0.0), UCB()), Bandit(arms=4), runs=7, steps=12, last=12)
    for one in (greedy, ucb):
        assert one.reward.shape == one.optimal.shape == one.reward_std.shape == (12,)
        assert one.last_reward.shape == (7,)
        np.testing.assert_allclose(one.last_reward, one.all_reward, rtol=1e-5)
        np.testing.assert_allclose(one.reward.mean(), one.all_reward.mean(), rtol=1e-5)
        np.testing.assert_allclose(one.optimal.mean(), one.last_optimal.mean(), rtol=1e-5)
    # UCB tries each of four arms once: in four steps each run takes its best arm once.
    np.testing.assert_allclose(ucb.optimal[:4].sum(), 1.0, rtol=1e-5)


def test_every_learner_meets_the_same_problems_and_other_seeds_others():
    env = Bandit(arms=1, noise=0.0)
    learners = (EpsilonGreedy(), UCB())
    first, second = testbed.play(learners, env, runs=5, steps=2, last=1)
    other, _ = testbed.play(learners, env, runs=5, steps=2, last=1, seed=1)
    np.testing.assert_array_equal(first.last_reward, second.last_reward)
    assert len(np.unique(first.last_reward)) == 5
    assert not np.isin(other.last_reward, first.last_reward).any()


def test_the_last_steps_are_the_last():
    """One arm that pays 1 each time, in a world whose values drift by 0: all means are 1."""
    env = Bandit(arms=2, values=(1.0, 0.0), noise=0.0)
    (one,) = testbed.play((EpsilonGreedy(epsilon=0.0),), env, runs=3, steps=9, last=2)
    np.testing.assert_allclose(one.reward[-2:].mean(), one.last_reward.mean(), rtol=1e-6)
    np.testing.assert_allclose(one.reward.mean(), one.all_reward.mean(), rtol=1e-6)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(bandits, "STEPS", 20)
    monkeypatch.setattr(bandits, "LAST", 5)


@pytest.mark.parametrize("name", ["figure-2.2", "figure-2.3", "figure-2.4", "figure-2.5"])
def test_each_figure_is_judged_by_its_readings_and_drawn(name, short, tmp_path):
    experiment = registry.get(name)
    report = reproduce(experiment, runs=4)
    assert {r.label for r in experiment.readings} <= set(report.outcome.figures)
    picture, record = report.write(tmp_path)
    assert picture.stat().st_size > 5_000
    assert record.exists()


def test_the_published_readings_are_those_of_the_book():
    published = {name: {r.label: r.value for r in e.readings} for name, e in registry.experiments().items()}
    assert published["figure-2.2"] == {
        "greedy: average reward": 1.04,
        "greedy: % optimal action": 37.0,
        "ε = 0.1: average reward": 1.38,
        "ε = 0.1: % optimal action": 80.0,
        "ε = 0.01: average reward": 1.31,
        "ε = 0.01: % optimal action": 61.0,
    }
    assert published["figure-2.3"] == {"optimistic, greedy, Q₁ = 5: % optimal action": 85.0}
    assert published["figure-2.4"] == {"UCB, c = 2: average reward": 1.5}
    assert published["figure-2.5"] == published["figure-2.6"] == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure-2.2", "figure-2.3", "figure-2.4"])
def test_the_readings_are_met(name):
    record = reproduce(registry.get(name)).record()
    missed = [r for r in record["readings"] if not r["met"]]
    assert not missed
