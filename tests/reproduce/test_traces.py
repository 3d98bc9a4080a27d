"""The off-line λ-return by hand, the shape of the figures on small runs, and whole ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from fathom.reproduce import registry, traces
from fathom.reproduce.base import reproduce


@pytest.mark.parametrize(("td_lambda", "first"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)])
def test_the_off_line_return_is_that_of_the_values_before(td_lambda, first):
    """States 1, 2, end, from values of 0: G₁ = 1 and G₀ = λ, whatever V(2) has become; α = ½."""
    after = traces.off_line(
        jnp.zeros(4, jnp.float32),
        jnp.asarray([1, 2, 1]),
        jnp.asarray([0.0, 1.0, 9.0]),
        jnp.asarray([False, True, False]),
        jnp.asarray([2, 3, 2]),
        jnp.asarray(td_lambda, jnp.float32),
        jnp.asarray(0.5, jnp.float32),
    )
    np.testing.assert_allclose(after, [0.0, first, 0.5, 0.0], rtol=1e-6)


def test_a_state_met_twice_moves_twice():
    """State 1 stays once, then ends with 1: λ = 1 gives both returns 1, and V = 1 − ½·½."""
    after = traces.off_line(
        jnp.zeros(3, jnp.float32),
        jnp.asarray([1, 1]),
        jnp.asarray([0.0, 1.0]),
        jnp.asarray([False, True]),
        jnp.asarray([1, 2]),
        jnp.asarray(1.0, jnp.float32),
        jnp.asarray(0.5, jnp.float32),
    )
    np.testing.assert_allclose(after, [0.0, 0.75, 0.0], rtol=1e-6)


def test_every_walk_is_whole():
    steps = traces.walks(runs=2, seed=0)
    ends = np.asarray(steps.terminated)
    assert ends.shape[1] == 2 * traces.WALKS
    assert ends.any(axis=0).all()
    assert ends.argmax(axis=0).max() + 1 == ends.shape[0]
    last = np.asarray(steps.final_obs)[ends.argmax(axis=0), np.arange(ends.shape[1])]
    assert set(last) <= {0, 20}


def test_some_lambda_between_0_and_1_is_best(monkeypatch, tmp_path):
    monkeypatch.setattr(traces, "LAMBDAS", (0.0, 0.8, 1.0))
    monkeypatch.setattr(traces, "ALPHAS", (0.1, 0.4, 0.8))
    report = reproduce(registry.get("figure-12.8"), runs=12)
    for curves in report.outcome.data["panels"].values():
        low, best, high = (one.y[one.best].value for one in curves.values())
        assert best < low
        assert best < high
    picture, _ = report.write(tmp_path)
    assert picture.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure-12.3", "figure-12.6", "figure-12.8"])
def test_intermediate_traces_are_best_on_whole_runs(name):
    for curves in reproduce(registry.get(name)).outcome.data["panels"].values():
        errors = [one.y[one.best].value for one in curves.values()]
        assert 0 < int(np.argmin(errors)) < len(errors) - 1
