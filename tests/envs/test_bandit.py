"""Bandits: the problems they draw, what they pay, and that they never end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.envs.render import draw
from fathom.envs.toy.bandit import Bandit

KEYS = jax.random.split(jax.random.key(0), 4_000)


def rewards(env, arm):
    state, _ = env.reset(jax.random.key(1))
    return state, jax.vmap(lambda key: env.step(key, state, jnp.int32(arm))[1])(KEYS)


def test_every_reset_is_another_problem_of_the_testbed():
    values = np.asarray(jax.vmap(lambda key: Bandit(mean=4.0).reset(key)[0].value)(KEYS))
    assert values.shape == (4_000, 10)
    assert len(np.unique(values[:, 0])) > 3_990
    np.testing.assert_allclose(values.mean(axis=0), 4.0, atol=0.08)
    np.testing.assert_allclose(values.std(axis=0), 1.0, atol=0.06)


def test_an_arm_pays_its_value_and_unit_noise():
    state, step = rewards(Bandit(), 3)
    np.testing.assert_allclose(step.reward.mean(), state.value[3], atol=0.08)
    np.testing.assert_allclose(step.reward.std(), 1.0, atol=0.06)
    assert not (step.terminated | step.truncated).any()
    np.testing.assert_array_equal(step.info["optimal"], float(state.value.argmax() == 3))


def test_bernoulli_arms_pay_zero_or_one():
    state, step = rewards(Bandit(rewards="bernoulli"), 3)
    assert set(np.unique(step.reward)) == {0.0, 1.0}
    np.testing.assert_allclose(step.reward.mean(), state.value[3], atol=0.04)


def test_given_values_are_the_problem_and_equal_best_arms_are_both_optimal():
    env = lift(Bandit(arms=3, values=(1.0, 0.5, 1.0), noise=0.0))
    for seed in range(2):
        state, obs = env.reset(jax.random.key(seed))
        np.testing.assert_array_equal(state.value, [1.0, 0.5, 1.0])
        assert obs == 0
    steps = [env.step(KEYS[0], state, jnp.int32(a))[1] for a in range(3)]
    assert [float(s.reward) for s in steps] == [1.0, 0.5, 1.0]
    assert [float(s.info["optimal"]) for s in steps] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli"])
def test_a_walk_has_its_step_and_stays_in_bounds(kind):
    env = Bandit(arms=2, rewards=kind, values=(0.5, 1.0), drifts=True, drift=0.1)
    start, _ = env.reset(KEYS[0])
    after = np.asarray(jax.vmap(lambda key: env.step(key, start, jnp.int32(0))[0].value)(KEYS))
    np.testing.assert_allclose(after[:, 0].std(), 0.1, atol=0.005)
    np.testing.assert_allclose(after[:, 0].mean(), 0.5, atol=0.01)
    assert (after[:, 1].max() <= 1.0) == (kind == "bernoulli")
    still, _ = Bandit(arms=2, values=(0.5, 1.0)).step(KEYS[0], start, jnp.int32(0))
    np.testing.assert_array_equal(still.value, start.value)


def test_what_cannot_be_is_said():
    with pytest.raises(FathomError, match="arms is 0"):
        Bandit(arms=0)
    with pytest.raises(FathomError, match="gives 2 arms and arms is 10"):
        Bandit(values=(0.0, 1.0))


@pytest.mark.parametrize("rewards", ["gaussian", "bernoulli"])
def test_the_picture_has_a_bar_for_each_arm_and_another_for_another_problem(rewards):
    env = lift(Bandit(arms=3, rewards=rewards))
    problems = [env.reset(jax.random.key(seed))[0] for seed in (0, 1)]
    view = jax.jit(lambda env, problem: env.view(problem))
    first, other = (draw(view(env, problem), width=120) for problem in problems)
    assert 0.01 < (first != other).any(-1).mean() < 0.6
    bars = view(env, problems[0]).shapes[1::3]
    heights = np.array([bar.points[2, 1] for bar in bars])
    assert heights.shape == (3,)
    np.testing.assert_array_equal(np.argsort(heights), np.argsort(problems[0].value))


def test_words_name_the_best_arm():
    state, _ = Bandit(arms=3, values=(0.5, -1.0, 0.25)).reset(jax.random.key(0))
    assert Bandit(arms=3).ascii(state) == "arm 0  +0.50 *\narm 1  -1.00\narm 2  +0.25"
