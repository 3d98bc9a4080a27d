import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import UnknownName
from fathom.ops import traces

DECAY, ALPHA = 0.5, 0.2
Z = jnp.array([[4.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
X = traces.features(jnp.array([[0], [1]], jnp.int32), 3)


def test_features_mark_every_active_cell():
    np.testing.assert_array_equal(X, [[1, 0, 0], [0, 1, 0]])
    two = traces.features(jnp.array([[0, 2], [1, 3]], jnp.int32), 4)
    np.testing.assert_array_equal(two, [[1, 0, 1, 0], [0, 1, 0, 1]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("accumulating", [[3.0, 1.0, 0.0], [0.0, 1.0, 0.5]]),
        ("replacing", [[1.0, 1.0, 0.0], [0.0, 1.0, 0.5]]),
        ("dutch", [[2.0 + 1.0 - 0.2 * 2.0, 1.0, 0.0], [0.0, 1.0, 0.5]]),
    ],
)
def test_marks_by_hand(kind, expected):
    np.testing.assert_allclose(traces.mark(Z, X, DECAY, ALPHA, kind), expected, rtol=1e-6)


def test_the_dutch_trace_sums_over_the_active_features():
    x = traces.features(jnp.array([[0, 1]], jnp.int32), 3)
    z = traces.mark(Z[:1], x, DECAY, ALPHA, "dutch")
    np.testing.assert_allclose(z, [[2.0 + (1 - 0.2 * 3.0), 1.0 + (1 - 0.2 * 3.0), 0.0]], rtol=1e-6)


def test_another_kind_is_an_error():
    with pytest.raises(UnknownName, match="dutch"):
        traces.mark(Z, X, DECAY, ALPHA, "duch")


def test_credit_by_hand_is_the_mean_of_those_who_change_a_weight():
    w = traces.credit(jnp.ones(3), Z, X, jnp.array([1.0, 2.0]), jnp.array([0.5, 0.0]), ALPHA)
    first = 1.5 * np.array([4.0, 2.0, 0.0]) - 0.5 * np.array([1.0, 0.0, 0.0])
    second = 2.0 * np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(w, 1.0 + 0.2 * (first + second), rtol=1e-6)  # no feature is both's
    both = traces.credit(jnp.ones(3), jnp.stack([Z[0], Z[0]]), jnp.stack([X[0], X[0]]), jnp.array([1.0, 2.0]),
                         jnp.zeros(2), ALPHA)  # fmt: skip
    np.testing.assert_allclose(both, 1.0 + 0.2 * 1.5 * Z[0], rtol=1e-6)
