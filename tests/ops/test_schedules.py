import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.ops import schedules

MOVING = (schedules.linear, schedules.exponential, schedules.cosine)


@pytest.fixture(params=["plain", "jit", "vmap"], scope="module")
def way(request):
    if request.param == "vmap":
        return lambda f: jax.vmap(f, in_axes=(None, None, 0, None))
    return jax.jit if request.param == "jit" else lambda f: f


@pytest.mark.parametrize(
    ("schedule", "start", "end", "expected"),
    [
        (schedules.linear, 1.0, 0.1, [1.0, 0.55, 0.1, 0.1]),
        (schedules.exponential, 1.0, 0.01, [1.0, 0.1, 0.01, 0.01]),
        (schedules.cosine, 1.0, 0.0, [1.0, 0.5, 0.0, 0.0]),
        (schedules.cosine, 2.0, 4.0, [2.0, 3.0, 4.0, 4.0]),
    ],
)
def test_by_hand(way, schedule, start, end, expected):
    progress = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    values = way(schedule)(jnp.float32(start), jnp.float32(end), progress, jnp.float32(0.5))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)
    assert values.dtype == jnp.float32


@pytest.mark.parametrize("schedule", MOVING)
def test_the_whole_run_is_the_default_and_beyond_it_nothing_changes(schedule):
    assert float(schedule(3e-4, 1e-5, 0.0)) == pytest.approx(3e-4)
    assert float(schedule(3e-4, 1e-5, 1.0)) == pytest.approx(1e-5)
    assert float(schedule(3e-4, 1e-5, 7.0)) == pytest.approx(1e-5)
    assert 1e-5 < float(schedule(3e-4, 1e-5, 0.9)) < float(schedule(3e-4, 1e-5, 0.1)) < 3e-4


@pytest.mark.parametrize("schedule", MOVING)
def test_a_fraction_of_zero_is_over_at_once(schedule):
    assert float(schedule(1.0, 0.5, 0.0, 0.0)) == pytest.approx(0.5)


def test_linear_is_exact_at_its_ends_and_where_both_are_the_same():
    x = jnp.linspace(0.0, 1.0, 101)
    line = schedules.linear(1.0, 0.05, x)
    assert (line[0], line[-1]) == (1.0, jnp.float32(0.05))
    np.testing.assert_array_equal(schedules.linear(3e-4, 3e-4, x), np.full(101, 3e-4, np.float32))


def test_cosine_a_quarter_on():
    assert float(schedules.cosine(1.0, 0.0, 0.25)) == pytest.approx(0.5 + 0.25 * 2**0.5)


def test_constant():
    values = schedules.constant(jnp.float32(0.3), jnp.linspace(0.0, 1.0, 4))
    np.testing.assert_array_equal(values, np.full(4, 0.3, np.float32))


@pytest.mark.parametrize(("start", "end", "named"), [(0.0, 1.0, "start is 0.0"), (1.0, -0.1, "end is -0.1")])
def test_exponential_needs_positive_ends(start, end, named):
    with pytest.raises(FathomError, match=named):
        schedules.exponential(start, end, 0.5)


def test_annealed_falls_to_0_over_the_whole_run_or_stays():
    progress = jnp.asarray([0.0, 0.25, 1.0])
    np.testing.assert_allclose(schedules.annealed(2.0, True, progress), [2.0, 1.5, 0.0])
    np.testing.assert_allclose(schedules.annealed(2.0, False, progress), [2.0, 2.0, 2.0])
