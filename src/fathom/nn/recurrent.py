"""Recurrent cells, and how they are run along the steps of a rollout."""

import abc
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from fathom.core.errors import UnknownName
from fathom.nn.layers import Linear, orthogonal

CellName = Literal["gru", "lstm"]


class Cell(eqx.Module):
    """A recurrent cell. What it takes of its input is linear, so that it is computed for all steps at once.

    Its memory is a pytree of [*batch, units] arrays, zeros at the start of an episode.
    """

    inputs: eqx.AbstractVar[Linear]
    hidden: eqx.AbstractVar[Linear]

    @abc.abstractmethod
    def start(self, batch: int) -> PyTree:
        """The memory at the start of an episode, [batch, units]."""

    @abc.abstractmethod
    def step(self, projected: Float[Array, "*batch gates"], memory: PyTree) -> PyTree:
        """The memory after an input, of which `projected` is what `inputs` gives."""

    @abc.abstractmethod
    def output(self, memory: PyTree) -> Float[Array, "*batch units"]:
        """What a memory gives to the layers that follow."""

    def __call__(self, x: Float[Array, "*batch features"], memory: PyTree) -> PyTree:
        """The memory after an input."""
        return self.step(self.inputs(x), memory)


class GRU(Cell):
    """Gated recurrent unit.

    r, z = σ(W x + U h), n = tanh(W_n x + r ⊙ (U_n h + b_n)), h ← (1 − z) ⊙ n + z ⊙ h. Cho et al. 2014,
    arXiv:1406.1078, with the reset gate after the product, as cuDNN has it.
    """

    inputs: Linear  # to r, z, n
    hidden: Linear

    def start(self, batch: int) -> Float[Array, "batch units"]:
        """Zeros."""
        return jnp.zeros((batch, self.hidden.weight.shape[-2]))

    def step(
        self, projected: Float[Array, "*batch gates"], memory: Float[Array, "*batch units"]
    ) -> Float[Array, "*batch units"]:
        """The last of the equations above."""
        (xr, xz, xn), (hr, hz, hn) = (jnp.split(x, 3, axis=-1) for x in (projected, self.hidden(memory)))
        update = jax.nn.sigmoid(xz + hz)
        new = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
        return (1.0 - update) * new + update * memory

    def output(self, memory: Float[Array, "*batch units"]) -> Float[Array, "*batch units"]:
        """That is h."""
        return memory


class LSTM(Cell):
    """Long short-term memory.

    i, f, o = σ(W x + U h), g = tanh(W_g x + U_g h), c ← f ⊙ c + i ⊙ g, h ← o ⊙ tanh c. Hochreiter &
    Schmidhuber 1997, with the forget gate of Gers et al. 2000, whose bias is 1 at first.
    """

    inputs: Linear  # to i, f, g, o
    hidden: Linear

    def start(self, batch: int) -> tuple[Float[Array, "batch units"], Float[Array, "batch units"]]:
        """Zeros for h and c."""
        zeros = jnp.zeros((batch, self.hidden.weight.shape[-2]))
        return zeros, zeros

    def step(
        self, projected: Float[Array, "*batch gates"], memory: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The equations above."""
        hidden, cell = memory
        i, f, g, o = jnp.split(projected + self.hidden(hidden), 4, axis=-1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(cell), cell

    def output(self, memory: tuple[Array, Array]) -> Float[Array, "*batch units"]:
        """That is h."""
        return memory[0]


def init_cell(name: str, key: Key[Array, ""], features: int, units: int) -> Cell:
    """The cell of that name: orthogonal weights, gate by gate, biases 0 but that of LSTM's forget gate, 1.

    UnknownName for a cell that is neither "gru" nor "lstm".
    """
    if name not in ("gru", "lstm"):
        raise UnknownName("memory", name, ("gru", "lstm"))
    gates = 3 if name == "gru" else 4
    input_key, hidden_key = jax.random.split(key)

    def weights(key: Key[Array, ""], inputs: int) -> Array:
        parts = [orthogonal(k, (inputs, units), 1.0) for k in jax.random.split(key, gates)]
        return jnp.concatenate(parts, axis=-1)

    zero = jnp.zeros(gates * units)
    bias = zero if name == "gru" else zero.at[units : 2 * units].set(1.0)
    inputs = Linear(weights(input_key, features), bias)
    hidden = Linear(weights(hidden_key, units), zero)
    return GRU(inputs, hidden) if name == "gru" else LSTM(inputs, hidden)


def unroll(
    cell: Cell, x: Float[Array, "time env features"], memory: PyTree, over: Bool[Array, "time env"]
) -> PyTree:
    """The memory after each step, [time, env, units]; `memory` [env, units] is that before the first.

    `over` tells after which steps an episode ended: the step that follows finds the memory of a start.
    """
    fresh = cell.start(over.shape[1])

    def step(memory: PyTree, row: tuple[Array, Array]) -> tuple[PyTree, PyTree]:
        projected, ended = row
        after = cell.step(projected, memory)
        return jax.tree.map(lambda new, m: jnp.where(ended[:, None], new, m), fresh, after), after

    return jax.lax.scan(step, memory, (cell.inputs(x), over))[1]
