"""The off-line λ-return by hand, the shape of the figures on small runs, and whole ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from fathom.reproduce import registry, traces
from fathom.reproduce.base import reproduce
from fathom.reproduce.traces import Walk
from fathom.reproduce.trials import Episodes, Trials

LIKE = Walk(jnp.int32(0), jnp.float32(0), jnp.bool_(0), jnp.int32(0))


def after(values, walk, td_lambda):
    lam, alpha = (jnp.asarray(x, jnp.float32) for x in (td_lambda, 0.5))
    walk = Walk(*(jnp.asarray(x, like.dtype) for x, like in zip(walk, LIKE, strict=True)))
    return traces.off_line(jnp.asarray(values, jnp.float32), walk, lam, alpha)


@pytest.mark.parametrize(("td_lambda", "first"), [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5)])
def test_the_off_line_return_is_that_of_the_values_before(td_lambda, first):
    """States 1, 2, end, from values of 0: G₁ = 1 and G₀ = λ, whatever V(2) has become; α = ½."""
    walk = ([1, 2, 1], [0.0, 1.0, 9.0], [False, True, False], [2, 3, 2])
    np.testing.assert_allclose(after([0.0] * 4, walk, td_lambda), [0.0, first, 0.5, 0.0], rtol=1e-6)


def test_a_state_met_twice_moves_twice():
    """State 1 stays once, then ends with 1: λ = 1 gives both returns 1, and V = 1 − ½·½."""
    walk = ([1, 1], [0.0, 1.0], [False, True], [1, 2])
    np.testing.assert_allclose(after([0.0] * 3, walk, 1.0), [0.0, 0.75, 0.0], rtol=1e-6)


def test_every_walk_is_whole():
    made = traces.walks(runs=2, seed=0)
    ends = np.asarray(made.terminated)
    assert ends.shape[:2] == (2, traces.WALKS)
    assert ends.any(axis=-1).all()
    assert ends.argmax(axis=-1).max() + 1 == ends.shape[-1]
    last = np.take_along_axis(np.asarray(made.next_state), ends.argmax(axis=-1)[..., None], axis=-1)
    assert set(last.ravel()) <= {0, 20}
    assert (np.asarray(made.state)[..., 0] == 10).all()
    np.testing.assert_array_equal(np.abs(made.next_state - made.state)[..., 0], 1)


def test_each_method_is_judged_at_its_best_step_size(monkeypatch, tmp_path):
    """Of two settings a λ the first is the better; λ = 0.4 diverges at the other."""
    monkeypatch.setattr(traces, "LAMBDAS", (0.0, 0.4))
    monkeypatch.setattr(traces, "ALPHAS", (0.1, 0.2))
    errors = np.array([[0.4], [0.5], [0.3], [np.inf]]) + np.zeros(3)
    monkeypatch.setattr(traces, "_off_line_errors", lambda *_: errors)
    monkeypatch.setattr(traces, "walks", lambda *_: None)
    monkeypatch.setattr(Trials, "__init__", lambda *_: None)
    seen = np.broadcast_to(errors[..., None] / 2, (4, 3, traces.WALKS))
    monkeypatch.setattr(Trials, "episodes", lambda *_: Episodes(seen, seen, seen))
    report = reproduce(registry.get("figure-12.8"), runs=3)
    assert {label: e.value for label, e in report.outcome.figures.items()} == pytest.approx(
        {
            "true online TD(λ), λ = 0, best α = 0.1: RMS error of the first 10 episodes": 0.2,
            "true online TD(λ), λ = 0.4, best α = 0.1: RMS error of the first 10 episodes": 0.15,
            "off-line λ-return, λ = 0, best α = 0.1: RMS error of the first 10 episodes": 0.4,
            "off-line λ-return, λ = 0.4, best α = 0.1: RMS error of the first 10 episodes": 0.3,
        }
    )
    assert report.write(tmp_path)[0].stat().st_size > 5_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["figure-12.3", "figure-12.6", "figure-12.8"])
def test_intermediate_traces_are_best_on_whole_runs(name):
    for curves in reproduce(registry.get(name)).outcome.data["panels"].values():
        errors = [one.at(one.lowest).value for one in curves.values()]
        assert 0 < int(np.argmin(errors)) < len(errors) - 1
