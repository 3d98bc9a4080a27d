"""What all environments share in which an agent stands in a cell of a grid: cells, pictures, text."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.base import Env
from fathom.envs.finite import FiniteEnv
from fathom.envs.scene import Scene

Index = Int[Array, ""] | int

ARROWS = {
    "up": "↑",
    "right": "→",
    "down": "↓",
    "left": "←",
    "up-right": "↗",
    "down-right": "↘",
    "down-left": "↙",
    "up-left": "↖",
    "stay": "·",
}


class Plan(NamedTuple):
    """What there is in the cells of a grid besides the agent; every list is [row][col]."""

    acts: Bool[np.ndarray, "row col"]  # where the agent can come to choose an action
    letters: list[list[str]]  # one for each cell, "" for none
    roles: list[list[str]]  # a colour's role (see `envs.scene.Scene`) for each cell, "" for none
    walls: Bool[np.ndarray, "row col"]  # between a cell and the one to its right
    told: str = ""  # what else is in the state, in words


class Board(FiniteEnv):
    """A finite environment whose agent stands in one cell of a grid; row 0 is at the top.

    Whatever is drawn over the cells (values, a policy's arrows, a path) needs only `shape`, `cell_of`,
    `state_at` and `plan`, and `arrows` for the actions.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    @abc.abstractmethod
    def arrows(self) -> tuple[str, ...]:
        """One character for each action, by number."""

    @abc.abstractmethod
    def cell_of(self, state: Index) -> tuple[Index, Index]:
        """The row and column in which the agent stands."""

    @abc.abstractmethod
    def state_at(self, row: Index, col: Index, state: Index) -> Index:
        """The state with the agent in that cell, and all else as in `state`."""

    @abc.abstractmethod
    def ascii(self, state: Index, marks: Sequence[Sequence[str]] | None = None) -> str:
        """The grid as lines of text, the agent as `@`.

        `marks` [row][col] holds a character for each cell, such as an arrow, to show where there is neither
        the agent nor anything that matters more; "" for none.
        """

    @abc.abstractmethod
    def plan(self, state: Index) -> Plan:
        """What there is in the cells, for a concrete state."""

    @abc.abstractmethod
    def view(self, state: Any, tints: Sequence[Any] = (), marks: Sequence[Any] = ()) -> Scene:
        """The grid and the agent.

        `tints` are shapes to paint on the ground of free cells, `marks` shapes to paint on all but the agent.
        """

    def center(self, row: Any, col: Any) -> Float[Array, "2"]:
        """The middle of a cell in a scene's coordinates: cells have sides of 1, the lowest row is at 0."""
        x, y = jnp.asarray(col, jnp.float32), jnp.asarray(self.shape[0] - 1 - row, jnp.float32)
        return jnp.stack([x, y]) + jnp.float32(0.5)


def board_of(env: Env, state: Any) -> tuple[Board, Index] | None:
    """The grid within an environment's wrappers and its state there, or None where there is no grid."""
    inner: Any = env
    while not isinstance(inner, Board):
        if not isinstance(getattr(inner, "env", None), Env):
            return None
        inner, state = inner.env, getattr(state, "env", state)
    return inner, state
