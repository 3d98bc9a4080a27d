import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.core.errors import FathomError
from fathom.ops import returns

TIME, ENV = 9, 4
GAMMA, LAMBDA = 0.9, 0.8


def column(*values, dtype=jnp.float32):
    return jnp.asarray(values, dtype).reshape(-1, 1)


def flags(*values):
    return column(*values, dtype=bool)


def random_rollout(seed):
    """Rewards, flags and values of a rollout in which every kind of end occurs, both at once too."""
    rng = np.random.default_rng(seed)
    end_rate = rng.choice([0.0, 0.2, 0.6])
    terminated, truncated = rng.random((2, TIME, ENV)) < end_rate
    reward, value, final_value = rng.normal(size=(3, TIME, ENV)).astype(np.float32)
    value_next = np.concatenate([value[1:], value[:1]])
    # s_{t+1} is the next row's observation except where the episode was reset.
    final_value = np.where(terminated | truncated, final_value, value_next)
    final_value[-1] = rng.normal(size=ENV)
    return tuple(jnp.asarray(x) for x in (reward, terminated, truncated, value, final_value))


def loop_n_step(reward, terminated, truncated, final_value, t, e, n):
    """One element by the definition: (sum of rewards, discount, last row)."""
    total, power = 0.0, 1.0
    for row in range(t, min(t + n, TIME)):
        total += power * float(reward[row, e])
        power *= GAMMA
        if terminated[row, e]:
            return total, 0.0, row
        if truncated[row, e]:
            break
    return total, power, row


def loop_return(reward, terminated, truncated, final_value, t, e, n=TIME):
    total, power, row = loop_n_step(reward, terminated, truncated, final_value, t, e, n)
    return total + (power * float(final_value[row, e]) if power else 0.0)


def loop_lambda(reward, terminated, truncated, final_value, t, e):
    """The λ-return as a weighted sum of n-step returns, over the steps that the episode has left."""
    left = 1
    while t + left < TIME and not (terminated[t + left - 1, e] or truncated[t + left - 1, e]):
        left += 1
    args = (reward, terminated, truncated, final_value, t, e)
    head = sum((1 - LAMBDA) * LAMBDA ** (n - 1) * loop_return(*args, n) for n in range(1, left))
    return head + LAMBDA ** (left - 1) * loop_return(*args, left)


def by_loop(element, *args):
    return np.array([[element(*args, t, e) for e in range(ENV)] for t in range(TIME)], np.float32)


def close(actual, expected, atol=2e-5):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-5, atol=atol)


@pytest.fixture(scope="module")
def compiled():
    names = ("discounted_returns", "gae", "lambda_returns", "running_discounted_return")
    programs = {name: jax.jit(getattr(returns, name)) for name in names}
    return programs | {"n_step_returns": jax.jit(returns.n_step_returns, static_argnums=5)}


def test_returns_by_hand():
    # 1 + 0.5·(2 + 0.5·4) = 3 with a termination after the third reward; then a cut worth 8: 1 + 0.5·8 = 5;
    # then the rollout ends with a value of 2: 3 + 0.5·2 = 4.
    result = returns.discounted_returns(
        column(1, 2, 4, 1, 3), flags(0, 0, 1, 0, 0), flags(0, 0, 0, 1, 0), column(9, 9, 9, 8, 2), 0.5
    )
    close(result, column(3, 4, 4, 5, 4))


def test_gae_by_hand():
    # δ = [1 + 0.5·2 − 1, 1 + 0.5·3 − 2, 1 − 3] = [1, 0.5, −2]; γλ = 0.25.
    result = returns.gae(
        column(1, 1, 1), flags(0, 0, 1), flags(0, 0, 0), column(1, 2, 3), column(2, 3, 7), 0.5, 0.5
    )
    close(result, column(1.0, 0.0, -2.0))
    # The same cut instead of ended: δ_2 = 1 + 0.5·7 − 3 = 1.5.
    result = returns.gae(
        column(1, 1, 1), flags(0, 0, 0), flags(0, 0, 1), column(1, 2, 3), column(2, 3, 7), 0.5, 0.5
    )
    close(result, column(1.21875, 0.875, 1.5))


def test_lambda_returns_by_hand():
    # G_1 = 1 + 0.5·4 = 3; G_0 = 1 + 0.5·(0.5·2 + 0.5·3) = 2.25.
    result = returns.lambda_returns(column(1, 1), flags(0, 0), flags(0, 0), column(2, 4), 0.5, 0.5)
    close(result, column(2.25, 3.0))


def test_n_step_by_hand():
    result = returns.n_step_returns(
        column(1, 2, 4, 8), flags(0, 0, 1, 0), flags(0, 0, 0, 0), column(10, 20, 30, 40), 0.5, 2
    )
    close(result.reward, column(1 + 1, 2 + 2, 4, 8))
    close(result.discount, column(0.25, 0.0, 0.0, 0.5))
    close(result.last, column(1, 2, 2, 3, dtype=jnp.int32))
    close(result.target, column(2 + 0.25 * 20, 4, 4, 8 + 0.5 * 40))


def test_a_cut_stream_of_ones_is_worth_ten():
    """Trap 1: reward 1, γ 0.9, cut every 5 steps, never terminated; a critic that says 10 is right."""
    ones, ten = jnp.ones((10, 1)), jnp.full((10, 1), 10.0)
    never = jnp.zeros((10, 1), bool)
    cut = (jnp.arange(10) % 5 == 4).reshape(10, 1)
    close(returns.discounted_returns(ones, never, cut, ten, 0.9), ten)
    close(returns.gae(ones, never, cut, ten, ten, 0.9, 0.95), 0 * ten)
    close(returns.lambda_returns(ones, never, cut, ten, 0.9, 0.95), ten)
    close(returns.n_step_returns(ones, never, cut, ten, 0.9, 3).target, ten)
    # Terminated instead, only the rewards up to the end count.
    finite = [sum(0.9**i for i in range(5 - t)) for t in range(5)] * 2
    close(returns.discounted_returns(ones, cut, never, ten, 0.9), column(*finite))


@given(st.integers(0, 10**6))
def test_against_loops(compiled, seed):
    reward, terminated, truncated, value, final_value = random_rollout(seed)
    ends = (reward, terminated, truncated)
    plain = tuple(np.asarray(x) for x in (*ends, final_value))
    gamma, trace = jnp.float32(GAMMA), jnp.float32(LAMBDA)
    close(
        compiled["discounted_returns"](*ends, final_value, gamma),
        by_loop(loop_return, *plain),
    )
    lambda_returns = by_loop(loop_lambda, *plain)
    close(compiled["lambda_returns"](*ends, final_value, gamma, trace), lambda_returns)
    close(compiled["gae"](*ends, value, final_value, gamma, trace), lambda_returns - np.asarray(value))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 100])
@given(st.integers(0, 10**6))
def test_n_step_against_loops(compiled, n, seed):
    reward, terminated, truncated, _, final_value = random_rollout(seed)
    result = compiled["n_step_returns"](reward, terminated, truncated, final_value, jnp.float32(GAMMA), n)
    plain = tuple(np.asarray(x) for x in (reward, terminated, truncated, final_value))
    expected = [[loop_n_step(*plain, t, e, n) for e in range(ENV)] for t in range(TIME)]
    total, discount, last = np.moveaxis(np.array(expected), -1, 0)
    close(result.reward, total)
    close(result.discount, discount)
    np.testing.assert_array_equal(result.last, last)
    close(result.target, total + discount * np.take_along_axis(plain[3], last.astype(int), axis=0))


@given(st.integers(0, 10**6))
def test_running_return_against_a_loop(compiled, seed):
    reward, terminated, truncated, value, _ = random_rollout(seed)
    over = terminated | truncated
    carry, result = compiled["running_discounted_return"](value[0], reward, over, jnp.float32(GAMMA))
    total = np.array(value[0])
    for t in range(TIME):
        total = GAMMA * total + np.asarray(reward[t])
        close(result[t], total)
        total = np.where(over[t], 0.0, total)
    close(carry, total)


def test_running_return_in_two_parts_is_the_same():
    reward, terminated, truncated, _, _ = random_rollout(3)
    over, zero = terminated | truncated, jnp.zeros(ENV)
    _, whole = returns.running_discounted_return(zero, reward, over, GAMMA)
    carry, first = returns.running_discounted_return(zero, reward[:4], over[:4], GAMMA)
    _, second = returns.running_discounted_return(carry, reward[4:], over[4:], GAMMA)
    np.testing.assert_array_equal(whole, jnp.concatenate([first, second]))


def test_without_jit_and_with_vmap(compiled):
    batches = [random_rollout(seed) for seed in (1, 2)]
    stacked = [jnp.stack(parts) for parts in zip(*batches, strict=True)]
    reward, terminated, truncated, _, final_value = stacked
    many = {
        "gae": jax.vmap(lambda *a: returns.gae(*a, GAMMA, LAMBDA))(*stacked),
        "n_step_returns": jax.vmap(lambda *a: returns.n_step_returns(*a, GAMMA, 3).target)(
            reward, terminated, truncated, final_value
        ),
    }
    for i, (r, term, trunc, v, fv) in enumerate(batches):
        close(many["gae"][i], returns.gae(r, term, trunc, v, fv, GAMMA, LAMBDA))
        close(many["gae"][i], compiled["gae"](r, term, trunc, v, fv, jnp.float32(GAMMA), jnp.float32(LAMBDA)))
        close(many["n_step_returns"][i], returns.n_step_returns(r, term, trunc, fv, GAMMA, 3).target)


def test_terminated_rows_ignore_a_value_that_is_not_finite():
    reward, terminated, truncated, value, final_value = random_rollout(5)
    terminated = terminated.at[-1].set(True)
    truncated = truncated.at[2].set(True)
    final_value = jnp.where(terminated, jnp.nan, final_value)
    for result in (
        returns.discounted_returns(reward, terminated, truncated, final_value, GAMMA),
        returns.gae(reward, terminated, truncated, value, final_value, GAMMA, LAMBDA),
        returns.lambda_returns(reward, terminated, truncated, final_value, GAMMA, LAMBDA),
        returns.n_step_returns(reward, terminated, truncated, final_value, GAMMA, 3).target,
    ):
        assert np.isfinite(result).all()
        assert result.dtype == jnp.float32


def test_the_horizon_of_gamma():
    """Worked example 4: rewards of 1 for ever are worth 1/(1 − γ) = 100; the first 100 hold all but 0.366."""
    never = jnp.zeros((100, 1), bool)
    cut_at_zero = returns.discounted_returns(jnp.ones((100, 1)), never, never, jnp.zeros((100, 1)), 0.99)
    close(cut_at_zero[0], [100 * (1 - 0.36603)], atol=1e-2)
    to_the_horizon = returns.discounted_returns(
        jnp.ones((100, 1)), never, never, jnp.full((100, 1), 100.0), 0.99
    )
    close(to_the_horizon, jnp.full((100, 1), 100.0), atol=1e-2)
    assert returns.n_step_returns(jnp.ones((100, 1)), never, never, jnp.zeros((100, 1)), 0.99, 100).discount[
        0, 0
    ] == pytest.approx(0.366, abs=5e-4)


def test_n_below_one_is_refused():
    one, no = jnp.ones((2, 1)), jnp.zeros((2, 1), bool)
    with pytest.raises(FathomError, match="n is 0"):
        returns.n_step_returns(one, no, no, one, 0.9, 0)


def test_shapes_are_checked_in_tests():
    one, no = jnp.ones((2, 1)), jnp.zeros((2, 1), bool)
    with pytest.raises(TypeError, match="time env"):
        returns.discounted_returns(one, no, no, jnp.ones((3, 1)), 0.9)
