import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from fathom.core.errors import UnknownName
from fathom.ops import exploration
from fathom.ops.exploration import (
    LONGEST,
    Held,
    epsilon_greedy,
    epsilon_greedy_probabilities,
    expected_value,
    ez_greedy,
    greedy,
)

ROWS = 20_000
KEY = jax.random.key(0)


def rows(*values, dtype=jnp.float32):
    return jnp.broadcast_to(jnp.asarray(values, dtype), (ROWS, len(values)))


@pytest.fixture(scope="module")
def explore():
    return jax.jit(epsilon_greedy, static_argnames="ties")


def fits(actions, probabilities):
    """Whether actions were drawn with these probabilities (χ²), and none where it is 0."""
    counts = np.bincount(np.asarray(actions), minlength=len(probabilities))
    p = np.array(probabilities)
    if counts[p == 0].any():
        return False
    return (p > 0).sum() == 1 or chisquare(counts[p > 0], len(actions) * p[p > 0]).pvalue > 1e-3


def test_epsilon_is_spread_over_all_actions(explore):
    actions = explore(KEY, rows(0, 3, 1, 2), jnp.float32(0.4))
    assert actions.dtype == jnp.int32
    assert fits(actions, [0.1, 0.7, 0.1, 0.1])


def test_ties_are_broken_at_random_by_default(explore):
    assert fits(explore(KEY, rows(2, 2, 1, 2), jnp.float32(0.0)), [1 / 3, 1 / 3, 0, 1 / 3])
    assert fits(greedy(KEY, rows(2, 2, 1, 2)), [1 / 3, 1 / 3, 0, 1 / 3])
    # The draw that decides on exploring tells nothing of the action then chosen.
    assert fits(explore(KEY, rows(2, 2, 1, 2), jnp.float32(0.4)), [0.3, 0.3, 0.1, 0.3])


def test_first_tie_rule(explore):
    q = rows(1, 2, 2)
    assert fits(explore(KEY, q, jnp.float32(0.0), ties="first"), [0, 1, 0])
    assert fits(explore(KEY, q, jnp.float32(0.3), ties="first"), [0.1, 0.8, 0.1])
    assert fits(greedy(KEY, q, ties="first"), [0, 1, 0])


def test_illegal_actions_are_never_taken(explore):
    q, mask = rows(9, 1, 1, 0), rows(False, True, True, True, dtype=bool)
    assert fits(explore(KEY, q, jnp.float32(1.0), mask), [0, 1 / 3, 1 / 3, 1 / 3])
    assert fits(explore(KEY, q, jnp.float32(0.0), mask), [0, 0.5, 0.5, 0])
    assert fits(explore(KEY, q, jnp.float32(0.3), mask, ties="first"), [0, 0.8, 0.1, 0.1])
    assert fits(greedy(KEY, q, mask), [0, 0.5, 0.5, 0])
    assert fits(greedy(KEY, q, mask, "first"), [0, 1, 0, 0])


def test_many_actions(explore):
    q = jax.random.normal(KEY, (3, 2000))
    mask = jnp.zeros((3, 2000), bool).at[:, 1500].set(True)
    np.testing.assert_array_equal(explore(KEY, q, jnp.float32(0.0)), jnp.argmax(q, -1))
    np.testing.assert_array_equal(explore(KEY, q, jnp.float32(0.5), mask), [1500] * 3)


@pytest.mark.parametrize("ties", ["random", "first"])
def test_no_legal_action_or_nan_is_minus_one(ties):
    q = jnp.asarray([[1.0, 2.0], [jnp.nan, 2.0], [1.0, 2.0]])
    mask = jnp.asarray([[False, False], [True, True], [True, False]])
    np.testing.assert_array_equal(greedy(KEY, q, mask, ties), [-1, -1, 0])
    np.testing.assert_array_equal(epsilon_greedy(KEY, q, 0.0, mask, ties), [-1, -1, 0])
    np.testing.assert_array_equal(epsilon_greedy(KEY, q, 1.0, mask, ties), [-1, -1, 0])


def test_vmapped_over_seeds_and_unbatched(explore):
    keys = jax.random.split(KEY, 3)
    q = jnp.broadcast_to(jnp.asarray([2.0, 2.0, 1.0]), (3, 50, 3))
    many = jax.jit(jax.vmap(lambda k, x: epsilon_greedy(k, x, 0.5)))(keys, q)
    for key, x, actions in zip(keys, q, many, strict=True):
        np.testing.assert_array_equal(actions, explore(key, x, jnp.float32(0.5)))
    assert not (many[0] == many[1]).all()
    assert greedy(KEY, jnp.asarray([0.0, 5.0])) == 1


def test_an_unknown_tie_rule_is_named():
    with pytest.raises(UnknownName, match=r"'fist'.*first"):
        greedy(KEY, jnp.ones((1, 2)), ties="fist")


@pytest.fixture(scope="module")
def persist():
    return jax.jit(ez_greedy, static_argnames="ties")


def held(action, left, batch=ROWS):
    return Held(jnp.full(batch, action, jnp.int32), jnp.full(batch, left, jnp.int32))


def test_an_exploring_action_is_kept_for_n_steps_with_probability_n_to_the_minus_mu(persist):
    """P(n) = n^−2 / Σ_{i≤1000} i^−2, and Σ i^−2 = 1.643935."""
    action, after = persist(KEY, rows(0, 3, 1, 2), jnp.float32(1.0), jnp.float32(2.0), Held.none(ROWS))
    assert action.dtype == after.action.dtype == after.left.dtype == jnp.int32
    assert fits(action, [0.25] * 4)
    np.testing.assert_array_equal(action, after.action)
    steps = np.asarray(after.left) + 1
    assert steps.min() >= 1
    assert steps.max() <= LONGEST
    p = np.array([1.0, 1 / 4, 1 / 9, 1 / 16]) / 1.643935
    assert fits(np.minimum(steps, 5), [0.0, *p, 1.0 - p.sum()])
    # How long it is kept tells nothing of the action.
    assert fits(np.asarray(action)[steps == 1], [0.25] * 4)


def test_exploring_begins_with_probability_epsilon_and_else_the_step_is_greedy(persist):
    q = rows(0, 3, 1, 2)
    action, after = persist(KEY, q, jnp.float32(0.4), jnp.float32(9.0), Held.none(ROWS))
    assert fits(action, [0.1, 0.7, 0.1, 0.1])
    action, after = persist(KEY, q, jnp.float32(0.0), jnp.float32(2.0), Held.none(ROWS))
    assert set(np.asarray(action)) == {1}
    assert not np.asarray(after.left).any()


def test_what_is_under_way_is_kept_to_its_end_whatever_epsilon(persist):
    q, under_way, seen = rows(0, 3, 1, 2)[:2], held(2, 2, 2), []
    for _ in range(3):
        action, under_way = persist(KEY, q, jnp.float32(0.0), jnp.float32(2.0), under_way)
        seen.append(np.asarray(action).tolist())
    assert seen == [[2, 2], [2, 2], [1, 1]]


def test_a_kept_action_that_is_no_longer_legal_is_given_up(persist):
    q, mask = rows(9, 1, 3, 0), rows(False, True, True, True, dtype=bool)
    zero, mu = jnp.float32(0.0), jnp.float32(2.0)
    action, after = persist(KEY, q, zero, mu, held(0, 5), mask)
    assert set(np.asarray(action)) == {2}
    assert not np.asarray(after.left).any()
    action, _ = persist(KEY, q, jnp.float32(1.0), mu, Held.none(ROWS), mask)
    assert fits(action, [0, 1 / 3, 1 / 3, 1 / 3])
    none = rows(False, False, False, False, dtype=bool)
    action, _ = persist(KEY, q, jnp.float32(1.0), mu, held(2, 5), none)
    assert set(np.asarray(action)) == {-1}


@pytest.mark.parametrize("ties", ["random", "first"])
def test_probabilities_are_those_with_which_actions_are_drawn(explore, ties):
    q, mask = rows(2, 2, 9, 1), rows(True, True, False, True, dtype=bool)
    chance = epsilon_greedy_probabilities(q[:1], jnp.float32(0.3), mask[:1], ties)[0]
    expected = [0.45, 0.45, 0.0, 0.1] if ties == "random" else [0.8, 0.1, 0.0, 0.1]
    np.testing.assert_allclose(chance, expected, rtol=1e-6)
    assert fits(explore(KEY, q, jnp.float32(0.3), mask, ties=ties), expected)


def test_expected_value_by_hand():
    q = jnp.array([[1.0, 3.0, 3.0, 5.0]])
    np.testing.assert_allclose(expected_value(q, 0.4), [0.4 * 3.0 + 0.6 * 5.0], rtol=1e-6)
    mask = jnp.array([[True, True, True, False]])
    np.testing.assert_allclose(expected_value(q, 0.3, mask), [0.3 * 7 / 3 + 0.7 * 3.0], rtol=1e-6)
    illegal = jnp.array([[1.0, -jnp.inf]])
    np.testing.assert_allclose(expected_value(illegal, 1.0, jnp.array([[True, False]])), [1.0])


def test_nothing_has_a_chance_where_nothing_can_be_chosen():
    q, mask = jnp.array([[1.0, 2.0], [jnp.nan, 1.0]]), jnp.array([[False, False], [True, True]])
    np.testing.assert_array_equal(epsilon_greedy_probabilities(q, 0.5, mask), np.zeros((2, 2)))


def test_ornstein_uhlenbeck_forgets_a_part_at_each_step_and_settles_at_its_deviation():
    noise = jnp.full((3, 2), 4.0)
    later = exploration.ornstein_uhlenbeck(jax.random.key(0), noise, 0.25, 0.0)
    np.testing.assert_allclose(later, jnp.full((3, 2), 3.0))
    noise, seen = jnp.zeros(4000), []
    step = jax.jit(exploration.ornstein_uhlenbeck)
    for key in jax.random.split(jax.random.key(1), 60):
        noise = step(key, noise, jnp.float32(0.15), jnp.float32(0.2))
        seen.append(np.asarray(noise))
    assert seen[0].std() == pytest.approx(0.2, rel=0.05)
    assert seen[-1].std() == pytest.approx(0.2 / np.sqrt(0.15 * 1.85), rel=0.05)
    assert np.corrcoef(seen[-1], seen[-4])[0, 1] == pytest.approx(0.85**3, abs=0.04)
