"""Action values in a table: one row for each observation of a finite space."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete, Space
from fathom.core.types import Action, EnvSpec, Obs

_MASKED_AT_MOST = 4096  # entries of a table that is written whole: up to there it is faster than a scatter


def require_finite(name: str, spec: EnvSpec) -> None:
    """FathomError where observations cannot be numbered, or actions are not Discrete.

    `name` is that of the algorithm.
    """
    spaces.cardinality(spec.obs_space)
    if not isinstance(spec.action_space, Discrete):
        raise FathomError(
            f"{name} keeps a value for each of finitely many actions and cannot take {spec.action_space!r}. "
            "PPO takes continuous, multi-discrete and binary actions; or discretise them in a wrapper."
        )


class QTable(eqx.Module):
    """Q(s, a) for every state and action; states are observations, numbered by `spaces.index`."""

    values: Float[Array, "*seed state action"]
    obs_space: Space  # holds no arrays
    action_space: Discrete

    @staticmethod
    def init(spec: EnvSpec, value: Float[Array, ""] | float) -> "QTable":
        """A table with the same value everywhere."""
        shape = (spaces.cardinality(spec.obs_space), spec.action_space.n)
        return QTable(jnp.full(shape, value, jnp.float32), spec.obs_space, spec.action_space)

    def __call__(self, obs: Obs) -> Float[Array, "*batch action"]:
        """The values of all actions in each observation."""
        return self.values[self.state(obs)]

    def state(self, obs: Obs) -> Int[Array, "*batch"]:
        """The number of each observation's row."""
        return spaces.index(self.obs_space, obs)

    def column(self, action: Action) -> Int[Array, "*batch"]:
        """The number of each action's column."""
        return action - self.action_space.start

    @property
    def size(self) -> int:
        """How many pairs there are."""
        return self.values.shape[-2] * self.values.shape[-1]

    def cell(self, obs: Obs, column: Int[Array, "*batch"]) -> Int[Array, "*batch"]:
        """The number of each pair among all, row by row, as in `cells`."""
        return self.state(obs) * self.action_space.n + column

    @property
    def cells(self) -> Float[Array, " cell"]:
        """All values in a row."""
        return self.values.reshape(-1)

    def with_cells(self, cells: Float[Array, " cell"]) -> "QTable":
        """The table with other values, given in a row."""
        return QTable(cells.reshape(self.values.shape), self.obs_space, self.action_space)

    def add(self, obs: Obs, action: Action, amount: Float[Array, " batch"]) -> "QTable":
        """The table with `amount` added at each pair; where pairs are equal, the mean of their amounts.

        The mean, lest environments side by side that meet in one state move its value several times as far.
        """
        return QTable(
            add_at(self.values, self.state(obs), self.column(action), amount),
            self.obs_space,
            self.action_space,
        )


def add_at(
    table: Float[Array, "state action"],
    state: Int[Array, " batch"],
    action: Int[Array, " batch"],
    amount: Float[Array, " batch"],
) -> Float[Array, "state action"]:
    """`table` with `amount` added at each pair, where pairs are equal the mean of their amounts."""
    if amount.shape[0] > 1:
        same = (state[:, None] == state[None, :]) & (action[:, None] == action[None, :])
        amount = amount / same.sum(axis=-1).astype(jnp.float32)
    return _summed_at(table, state, action, amount)


def count_at(
    counts: Int[Array, "state action"], state: Int[Array, " batch"], action: Int[Array, " batch"]
) -> Int[Array, "state action"]:
    """`counts` with 1 added for each pair, where pairs are equal for each of them."""
    return _summed_at(counts, state, action, jnp.ones_like(state))


def _summed_at(
    table: Shaped[Array, "state action"],
    state: Int[Array, " batch"],
    action: Int[Array, " batch"],
    amount: Shaped[Array, " batch"],
) -> Shaped[Array, "state action"]:
    """`table` with every amount added at its pair."""
    if table.size > _MASKED_AT_MOST:
        return table.at[state, action].add(amount)
    rows = jax.nn.one_hot(state, table.shape[0], dtype=jnp.bool_)
    columns = jax.nn.one_hot(action, table.shape[1], dtype=jnp.bool_)
    hit = rows[:, :, None] & columns[:, None, :]
    nothing = jnp.zeros((), amount.dtype)
    return table + jnp.where(hit, amount[:, None, None], nothing).sum(axis=0)


class VTable(eqx.Module):
    """V(s) for every state; states are observations, numbered by `spaces.index`."""

    values: Float[Array, "*seed state"]
    obs_space: Space  # holds no arrays
    action_space: Discrete

    @staticmethod
    def init(spec: EnvSpec, value: Float[Array, ""] | float) -> "VTable":
        """A table with the same value everywhere."""
        values = jnp.full(spaces.cardinality(spec.obs_space), value, jnp.float32)
        return VTable(values, spec.obs_space, spec.action_space)

    def __call__(self, obs: Obs) -> Float[Array, "*batch"]:
        """The value of each observation."""
        return self.values[self.state(obs)]

    def state(self, obs: Obs) -> Int[Array, "*batch"]:
        """The number of each observation's cell."""
        return spaces.index(self.obs_space, obs)

    @property
    def size(self) -> int:
        """How many cells there are."""
        return self.values.shape[-1]

    def with_cells(self, cells: Float[Array, " state"]) -> "VTable":
        """The table with other values."""
        return VTable(cells, self.obs_space, self.action_space)
