"""The learners of bandits: what they choose, what they learn, what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.bandit.arms import Averages
from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
from fathom.algos.bandit.gradient_bandit import GradientBandit, Preferences
from fathom.algos.bandit.thompson import Thompson
from fathom.algos.bandit.ucb import UCB
from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.core.types import Clock, EnvSpec, Transition
from fathom.envs.base import spec_of
from fathom.envs.toy.bandit import Bandit
from fathom.reproduce.testbed import play

F = jnp.float32
ZERO = jnp.zeros((), jnp.int32)
CLOCK = Clock(ZERO, ZERO, jnp.ones((), F), ZERO)
LEARNERS = {
    "greedy": EpsilonGreedy(epsilon=0.0),
    "epsilon_greedy": EpsilonGreedy(),
    "optimistic": EpsilonGreedy(epsilon=0.0, initial_value=5.0, sample_average=False),
    "ucb": UCB(),
    "gradient_bandit": GradientBandit(),
    "thompson": Thompson(),
}
every_learner = pytest.mark.parametrize("name", sorted(LEARNERS))


def spec(k: int, start: int = 0) -> EnvSpec:
    return EnvSpec(Discrete(1), Discrete(k, start))


def steps(actions: list[int], rewards: list[float]) -> Transition:
    n = len(actions)
    obs, never = jnp.zeros(n, jnp.int32), jnp.zeros(n, jnp.bool_)
    return Transition(obs, jnp.asarray(actions, jnp.int32), jnp.asarray(rewards, F), never, never, obs, {})


def acted(learner, state, n: int, explore: bool, seed: int = 0) -> np.ndarray:
    obs = jnp.zeros(n, jnp.int32)
    return np.asarray(learner.act(state, (), obs, jax.random.key(seed), CLOCK, explore)[0])


def averages(value: list[float], count: list[float], start: int = 0) -> Averages:
    return Averages(jnp.asarray(value, F), jnp.asarray(count, F), Discrete(len(value), start))


@pytest.mark.parametrize("name", sorted(set(LEARNERS) - {"gradient_bandit"}))
def test_several_plays_are_learnt_from_in_turn(name):
    learner = LEARNERS[name]
    actions, rewards = [2, 0, 2, 1], [1.0, -1.0, 4.0, 0.5]
    together, _, _ = learner.update(
        learner.init(spec(3), jax.random.key(0)), (), steps(actions, rewards), jax.random.key(1), CLOCK
    )
    one_by_one = learner.init(spec(3), jax.random.key(0))
    for a, r in zip(actions, rewards, strict=True):
        one_by_one, _, _ = learner.update(one_by_one, (), steps([a], [r]), jax.random.key(1), CLOCK)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), together, one_by_one)


@every_learner
def test_actions_count_from_where_the_space_starts(name):
    learner = LEARNERS[name]
    state = learner.init(spec(3, start=5), jax.random.key(0))
    for explore in (True, False):
        assert set(acted(learner, state, 200, explore)) == {5, 6, 7}
    state, _, _ = learner.update(
        state, (), steps([5, 6, 7] * 20, [0.0, 9.0, 0.0] * 20), jax.random.key(1), CLOCK
    )
    assert set(acted(learner, state, 20, False)) == {6}


def test_epsilon_is_the_part_of_random_actions():
    learner = EpsilonGreedy(epsilon=0.4)
    chosen = acted(learner, averages([0.0, 1.0, 0.5, 0.0], [1.0] * 4), 4_000, True)
    np.testing.assert_allclose(np.bincount(chosen) / 4_000, [0.1, 0.7, 0.1, 0.1], atol=0.03)


def test_the_mean_or_a_constant_step():
    state = EpsilonGreedy(initial_value=5.0).init(spec(2), jax.random.key(0))
    np.testing.assert_array_equal(state.value, [5.0, 5.0])
    one = jnp.asarray(1.0, F)
    np.testing.assert_allclose(EpsilonGreedy().learn(state, ZERO, one).value, [1.0, 5.0])
    constant = EpsilonGreedy(sample_average=False, step_size=0.25)
    np.testing.assert_allclose(constant.learn(state, ZERO, one).value, [4.0, 5.0])


def test_ties_are_random_unless_the_first_is_asked_for():
    for kind in (EpsilonGreedy, UCB):
        learner = kind(epsilon=0.0) if kind is EpsilonGreedy else kind()
        level = averages([1.0, 1.0, -9.0], [1.0, 1.0, 1.0])
        assert set(acted(learner, level, 100, True)) == {0, 1}
        assert set(acted(dataclasses.replace(learner, ties="first"), level, 100, True)) == {0}


def test_ucb_tries_each_arm_and_then_weighs_doubt_against_value():
    learner = UCB(c=2.0)
    assert set(acted(learner, averages([9.0, 0.0, 0.0], [3.0, 0.0, 0.0]), 100, True)) == {1, 2}
    doubtful = averages([1.0, 0.5], [99.0, 1.0])
    assert set(acted(learner, doubtful, 10, True)) == {1}
    assert set(acted(UCB(c=0.1), doubtful, 10, True)) == {0}
    # What was never tried has no mean to be trusted.
    assert set(acted(learner, averages([-1.0, 0.0], [3.0, 0.0]), 10, False)) == {0}


def test_preferences_are_the_policy_s_log_odds():
    learner = GradientBandit()
    zero = jnp.zeros((), F)
    state = Preferences(jnp.log(jnp.asarray([1.0, 3.0, 4.0], F)), zero, zero, Discrete(3))
    np.testing.assert_allclose(
        np.bincount(acted(learner, state, 8_000, True)) / 8_000, [0.125, 0.375, 0.5], atol=0.02
    )
    assert set(acted(learner, state, 10, False)) == {2}


def test_the_baseline_is_the_mean_of_the_rewards_before():
    learner = GradientBandit(step_size=0.1)
    state = learner.init(spec(2), jax.random.key(0))
    even = jnp.full(2, 0.5, F)
    state = learner.learn(state, even, ZERO, jnp.asarray(4.0, F))
    np.testing.assert_array_equal(state.preference, [0.0, 0.0])  # the first reward is its own baseline
    state = learner.learn(state, even, ZERO, jnp.asarray(6.0, F))
    np.testing.assert_allclose(state.preference, [0.1, -0.1], rtol=1e-6)  # 0.1 · (6 − 4) · (1 − ½)
    np.testing.assert_allclose(state.mean_reward, 5.0)
    bare = GradientBandit(step_size=0.1, baseline=False)
    state = bare.learn(bare.init(spec(2), jax.random.key(0)), even, ZERO, jnp.asarray(4.0, F))
    np.testing.assert_allclose(state.preference, [0.2, -0.2], rtol=1e-6)


def test_thompson_draws_from_its_posterior():
    mean = jnp.broadcast_to(jnp.asarray([0.25, 0.9], F), (4_000, 2))
    count = jnp.broadcast_to(jnp.asarray([4.0, 100.0], F), (4_000, 2))
    key = jax.random.key(0)
    gaussian = np.asarray(Thompson(reward_std=2.0).draw(key, mean, count))
    np.testing.assert_allclose(gaussian.mean(axis=0), [0.25, 0.9], atol=0.05)
    np.testing.assert_allclose(gaussian.std(axis=0), [1.0, 0.2], rtol=0.05)
    beta = np.asarray(Thompson(rewards="bernoulli", prior_mean=0.5).draw(key, mean, count))
    np.testing.assert_allclose(beta.mean(axis=0), [0.25, 0.9], atol=0.01)
    # Beta(1, 3): variance 3/80; Beta(90, 10): 900/(100²·101).
    np.testing.assert_allclose(beta.var(axis=0), [3 / 80, 900 / 1_010_000], rtol=0.1)


def test_bernoulli_thompson_finds_the_best_arm():
    env = Bandit(arms=3, rewards="bernoulli", values=(0.2, 0.8, 0.5))
    learner = Thompson(rewards="bernoulli", prior_mean=0.5, prior_count=2.0)
    (played,) = play((learner,), env, runs=20, steps=150, last=30, words=None)
    assert played.last_optimal.mean() > 0.9


@every_learner
def test_better_than_chance_on_the_testbed(name):
    """Random play earns 0 on average."""
    (played,) = play((LEARNERS[name],), Bandit(), runs=50, steps=120, last=20, words=10)
    assert played.last_reward.mean() > 0.6
    assert played.last_optimal.mean() > 0.2


BAD = [
    (EpsilonGreedy(epsilon=1.5), "epsilon is 1.5"),
    (EpsilonGreedy(step_size=0.0), "step_size is 0.0"),
    (UCB(c=-1.0), "c is -1.0"),
    (GradientBandit(step_size=-0.1), "step_size is -0.1"),
    (Thompson(prior_count=0.0), "prior_count is 0.0"),
    (Thompson(rewards="bernoulli"), "prior_mean is 0.0; a Bernoulli reward's lies between 0 and 1"),
]


@pytest.mark.parametrize(("learner", "words"), BAD, ids=lambda x: type(x).__name__)
def test_settings_that_cannot_work(learner, words):
    with pytest.raises(FathomError, match=words):
        learner.check(spec_of(Bandit()))


@every_learner
def test_problems_that_are_no_bandits(name):
    learner = LEARNERS[name]
    learner.check(spec_of(Bandit()))
    with pytest.raises(FathomError, match="more than one state"):
        learner.check(EnvSpec(Discrete(16), Discrete(4)))
    with pytest.raises(FathomError, match="finitely many actions"):
        learner.check(EnvSpec(Discrete(1), Box(-1.0, 1.0, (1,))))


def test_a_step_of_several_plays_is_one_up_the_gradient_of_the_policy_they_were_drawn_from():
    """E Σ (R − R̄)(1{A} − π) over plays of one policy: the same for both, whatever the first has moved."""
    bandit = GradientBandit(step_size=0.5, baseline=False)
    state = Preferences(jnp.array([0.3, -0.2, 0.0]), jnp.float32(0.0), jnp.float32(0.0), Discrete(3))
    policy = np.asarray(jax.nn.softmax(state.preference))
    arms, rewards = jnp.array([2, 0], jnp.int32), jnp.array([1.0, 3.0])
    over = jnp.zeros(2, bool)
    step = Transition(jnp.zeros(2, jnp.int32), arms, rewards, over, over, jnp.zeros(2, jnp.int32), {})
    after, _, _ = bandit.update(state, (), step, jax.random.key(0), None)
    wanted = np.asarray(state.preference)
    for arm, reward in zip(np.asarray(arms), np.asarray(rewards), strict=True):
        wanted = wanted + 0.5 * reward * (np.eye(3)[arm] - policy)
    np.testing.assert_allclose(after.preference, wanted, rtol=1e-5)
