import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.types import Clock, Metric


def clock(update, horizon, steps=32.0):
    return Clock(jnp.int32(update), jnp.int32(horizon), jnp.float32(steps), jnp.int32(0))


@pytest.mark.parametrize(
    ("update", "horizon", "progress"),
    [(0, 200, 0.0), (50, 200, 0.25), (200, 200, 1.0), (900, 200, 1.0), (0, 0, 0.0)],
)
def test_progress_is_the_part_of_the_horizon_behind(update, horizon, progress):
    value = clock(update, horizon).progress
    assert float(value) == progress
    assert value.dtype == jnp.float32


def test_progress_is_finite_and_exact_at_the_end_of_very_long_runs():
    assert float(clock(2**31 - 1, 2**31 - 1).progress) == 1.0
    assert 0.999 < float(clock(2**31 - 10**6, 2**31 - 1).progress) < 1.0


def test_env_steps():
    assert float(clock(50, 200, 128.0).env_steps) == 6400.0
    # 2³¹ updates of 128 steps would overflow an int32.
    assert float(clock(2**31 - 1, 2**31 - 1, 128.0).env_steps) == 2.0**38


def test_a_metric_is_the_sum_and_the_count():
    metric = Metric.of(jnp.asarray([[1.0, 2.0], [3.0, 6.0]]))
    assert (float(metric.sum), float(metric.count)) == (12.0, 4.0)
    single = Metric.of(jnp.asarray(3, jnp.int32))
    assert (float(single.sum), float(single.count)) == (3.0, 1.0)
    assert single.sum.dtype == single.count.dtype == jnp.float32


def test_a_metric_of_some_elements():
    value, mask = jnp.asarray([1.0, jnp.nan, 5.0]), jnp.asarray([True, False, True])
    metric = Metric.where(value, mask)
    assert (float(metric.sum), float(metric.count)) == (6.0, 2.0)
    nothing = Metric.where(value, jnp.zeros(3, bool))
    assert (float(nothing.sum), float(nothing.count)) == (0.0, 0.0)


def test_metrics_add_up_to_the_metric_of_the_whole():
    value = jnp.asarray([1.0, 4.0, 7.0, -2.0])
    parts = Metric.of(value[:1]) + Metric.of(value[1:])
    np.testing.assert_array_equal(jax.tree.leaves(parts), jax.tree.leaves(Metric.of(value)))


def test_metrics_add_up_inside_a_compiled_loop():
    def step(total, x):
        return total + Metric.of(x), None

    start = Metric(jnp.zeros(()), jnp.zeros(()))
    total, _ = jax.jit(lambda xs: jax.lax.scan(step, start, xs))(jnp.arange(6.0).reshape(3, 2))
    assert (float(total.sum), float(total.count)) == (15.0, 6.0)
