"""Recurrent cells against Equinox's, and along rollouts against a plain loop."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import UnknownName
from fathom.nn.recurrent import init_cell, unroll

FEATURES, UNITS, TIME, ENVS = 3, 5, 7, 2
KEY = jax.random.key(0)


def random(key, *shape):
    return jax.random.normal(jax.random.fold_in(KEY, key), shape)


@pytest.fixture(scope="module", params=["gru", "lstm"])
def cell(request):
    made = init_cell(request.param, KEY, FEATURES, UNITS)
    # Biases that are not 0, or a mistake in them would not show.
    biases = (random(1, *made.inputs.bias.shape), random(2, *made.hidden.bias.shape))
    return eqx.tree_at(lambda c: (c.inputs.bias, c.hidden.bias), made, biases)


def memories(cell, count):
    return jax.tree.map(lambda x: random(3, *x.shape), cell.start(count))


def reference(cell, x, memory):
    """The same step by Equinox's cell."""
    kind, name = (eqx.nn.GRUCell, "gru") if not isinstance(memory, tuple) else (eqx.nn.LSTMCell, "lstm")
    theirs = kind(FEATURES, UNITS, key=KEY)
    bias = cell.inputs.bias + cell.hidden.bias
    extra = cell.hidden.bias[2 * UNITS :]
    if name == "gru":
        bias = jnp.concatenate([bias[: 2 * UNITS], cell.inputs.bias[2 * UNITS :]])
    theirs = eqx.tree_at(
        lambda c: (c.weight_ih, c.weight_hh, c.bias),
        theirs,
        (cell.inputs.weight.T, cell.hidden.weight.T, bias),
    )
    if name == "gru":
        theirs = eqx.tree_at(lambda c: c.bias_n, theirs, extra)
    return theirs(x, memory)


def test_a_step_is_equinox_s(cell):
    x, memory = random(4, FEATURES), jax.tree.map(lambda m: m[0], memories(cell, 1))
    for ours, theirs in zip(
        jax.tree.leaves(cell(x, memory)), jax.tree.leaves(reference(cell, x, memory)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_unrolled_it_is_step_by_step_and_forgets_where_episodes_end(cell):
    x, start = random(5, TIME, ENVS, FEATURES), memories(cell, ENVS)
    over = np.zeros((TIME, ENVS), np.bool_)
    over[2, 0] = over[4, 1] = over[6, 1] = True
    got = jax.jit(unroll)(cell, x, start, jnp.asarray(over))
    memory = start
    for t in range(TIME):
        memory = cell(x[t], memory)
        for ours, plain in zip(jax.tree.leaves(got), jax.tree.leaves(memory), strict=True):
            np.testing.assert_allclose(ours[t], plain, rtol=1e-5, atol=1e-6)
        going_on = 1.0 - over[t][:, None]
        memory = jax.tree.map(lambda m: m * going_on, memory)  # noqa: B023
    np.testing.assert_array_equal(cell.output(got).shape, (TIME, ENVS, UNITS))


def test_what_came_before_the_end_of_an_episode_does_not_matter_after_it(cell):
    x = random(6, TIME, ENVS, FEATURES)
    over = jnp.zeros((TIME, ENVS), jnp.bool_).at[3].set(True)
    one = unroll(cell, x, cell.start(ENVS), over)
    other = unroll(cell, x.at[:4].add(1.0), memories(cell, ENVS), over)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a[4:], b[4:])
        assert np.abs(a[3] - b[3]).min() > 0


def test_the_forget_gate_is_open_at_first_and_weights_are_orthogonal():
    lstm = init_cell("lstm", KEY, FEATURES, UNITS)
    np.testing.assert_array_equal(lstm.inputs.bias, np.repeat([0, 1, 0, 0], UNITS))
    for gate in np.split(np.asarray(lstm.hidden.weight), 4, axis=-1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(UNITS), atol=1e-5)


def test_an_unknown_cell_is_named():
    with pytest.raises(UnknownName, match="rnn"):
        init_cell("rnn", KEY, FEATURES, UNITS)
