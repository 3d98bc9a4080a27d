"""Grid worlds drawn as text: walls, goals, cliffs, holes, slippery ground and wind."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError, UnknownName
from fathom.core.spaces import Discrete
from fathom.envs.finite import Outcomes
from fathom.envs.grid.board import ARROWS, Board, Index, Plan
from fathom.envs.scene import Circle, Scene, Text, Tiles

FREE, WALL, GOAL, CLIFF, HOLE = range(5)  # what a cell may be

LEGEND = {"S": FREE, ".": FREE, "F": FREE, "#": WALL, "G": GOAL, "C": CLIFF, "H": HOLE}
_LETTERS = ".#GCH"  # by kind
_ROLES = ("", "muted", "goal", "danger", "danger")  # by kind

_DIRECTIONS = {
    "up": (-1, 0),
    "right": (0, 1),
    "down": (1, 0),
    "left": (0, -1),
    "up-right": (-1, 1),
    "down-right": (1, 1),
    "down-left": (1, -1),
    "up-left": (-1, -1),
    "stay": (0, 0),
}
_NAMES = tuple(_DIRECTIONS)

MOVE_SETS = {"four": _NAMES[:4], "king": _NAMES[:8], "king+stay": _NAMES}


def _whole(x: Any) -> Array:
    return jnp.asarray(x, jnp.int32)


def _real(x: Any) -> Array:
    return jnp.asarray(x, jnp.float32)


class GridWorld(Board):
    """Walk over a grid from a start to a goal. State and observation: row · columns + column.

    A move leads to the neighbouring cell, shifted upwards by the wind of the column that is left; what would
    lead off the grid ends at its edge, what would end in a wall leaves the agent where it is. Both are a
    bump. A goal and a hole end the episode; a cliff sends the agent back to the start (the likeliest start
    cell, the first of several). The reward is the sum of the named terms that apply.

    `GridWorld.from_map` makes one from text. Cells, starts and wind are arrays: painting a cell
    (`env.paint(...)`) changes numbers in a compiled program, not the program. Slip as in Gymnasium's
    FrozenLake, wind as in Sutton & Barto 2018, Example 6.5 and Exercise 6.10.
    """

    cells: Int[Array, "row col"] = eqx.field(converter=_whole)  # FREE, WALL, GOAL, CLIFF or HOLE
    starts: Float[Array, "row col"] = eqx.field(converter=_real)  # weight of each cell as the first one
    wind: Int[Array, " col"] | None = eqx.field(  # cells upwards (below 0: downwards) in each column
        default=None, converter=lambda wind: None if wind is None else _whole(wind)
    )
    moves: tuple[str, ...] = _NAMES[:4]  # the directions of actions 0, 1, …, of MOVE_SETS or one's own
    slip: float = 0.0  # probability of going to one side of the direction chosen, half for each; 0 to 1
    gust: float = 0.0  # probability that a wind is one stronger or one weaker, half for each; 0 to 1
    reward_step: float = 0.0  # of every step; −1 to 0
    reward_goal: float = 1.0  # of reaching a goal
    reward_bump: float = 0.0  # of being held up by a wall or the edge; −1 to 0
    reward_cliff: float = -1.0  # of falling off a cliff; −100 to 0
    reward_hole: float = 0.0  # of falling into a hole; −1 to 0
    cliff_ends: bool = False  # a cliff ends the episode instead of sending the agent back
    ends_absorb: bool = True  # from where an episode has ended nothing leads away and nothing is earned

    def __check_init__(self) -> None:
        if self.cells.ndim != 2 or self.cells.size == 0 or self.starts.shape != self.cells.shape:
            raise FathomError(
                f"cells are {list(self.cells.shape)} and starts {list(self.starts.shape)}; both are "
                "[row, col]."
            )
        if self.wind is not None and self.wind.shape != self.cells.shape[1:]:
            raise FathomError(
                f"wind has the shape {list(self.wind.shape)}; give one strength for each of the "
                f"{self.cells.shape[1]} columns."
            )
        if not self.moves:
            raise FathomError("moves is empty; give at least one direction.")
        for name in self.moves:
            if name not in _DIRECTIONS:
                raise UnknownName("direction", name, _DIRECTIONS)
        for name in ("slip", "gust"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not 0 <= value <= 1:
                raise FathomError(f"{name} is {value}; it is a probability between 0 and 1.")

    @classmethod
    def from_map(
        cls,
        text: str | Sequence[str],
        *,
        moves: Literal["four", "king", "king+stay"] | Sequence[str] = "four",
        start: Any = None,
        **settings: Any,
    ) -> "GridWorld":
        """The grid drawn in `text`, one line for each row: a string, or a sequence of lines.

        `S` start, `.` (or `F`) free, `#` wall, `G` goal, `C` cliff, `H` hole. Several starts are equally
        likely; `start` [row, col] gives other weights, also where there is no `S`. `moves` names a set of
        directions, or lists them in the order of the actions. `settings` are the fields of GridWorld.

        Raises FathomError for a map with an unknown character (it says where), ragged rows, no start or no
        goal, or with a cliff and several starts to go back to. Warns where no goal can be reached.
        """
        rows = _rows(text)
        kinds = np.array([[LEGEND[letter] for letter in row] for row in rows], np.int32)
        drawn = np.array([[letter == "S" for letter in row] for row in rows], np.float32)
        starts = drawn if start is None else _start_weights(start, kinds)
        if not starts.any():
            raise FathomError("the map has no start; mark a cell S, or give `start` weights.")
        if not (kinds == GOAL).any():
            raise FathomError("the map has no goal; mark a cell G.")
        if (kinds == CLIFF).any() and (starts > 0).sum() > 1 and not settings.get("cliff_ends", False):
            raise FathomError(
                f"the map has a cliff and {(starts > 0).sum()} starts: where does a fall lead? Mark one S, "
                "or set cliff_ends=True."
            )
        known = {f.name for f in dataclasses.fields(cls)} - {"cells", "starts", "moves"}
        for name in settings:
            if name not in known:
                raise UnknownName("setting of GridWorld", name, known)
        if isinstance(moves, str):
            if moves not in MOVE_SETS:
                raise UnknownName("set of moves", moves, MOVE_SETS)
            moves = MOVE_SETS[moves]
        made = cls(kinds, starts, moves=tuple(moves), **settings)
        if not made._goal_in_reach():
            warnings.warn("no goal of this map can be reached from a start.", stacklevel=2)
        return made

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, cols = self.cells.shape
        return rows, cols

    @property
    def num_states(self) -> int:
        """One for each cell, walls included."""
        return self.cells.size

    @property
    def num_actions(self) -> int:
        """One for each direction in `moves`."""
        return len(self.moves)

    @property
    def obs_space(self) -> Discrete:
        """The cells, by number."""
        return Discrete(self.num_states)

    @property
    def arrows(self) -> tuple[str, ...]:
        """An arrow for each move."""
        return tuple(ARROWS[name] for name in self.moves)

    def cell_of(self, state: Index) -> tuple[Index, Index]:
        """Row and column of a state."""
        cols = self.shape[1]
        return state // cols, state % cols

    def state_at(self, row: Index, col: Index, state: Index = 0) -> Index:
        """The number of a cell; there is nothing else in a state."""
        return row * self.shape[1] + col

    def start(self) -> Float[Array, " state"]:
        """The weights of `starts`, made to sum to 1."""
        return (self.starts / self.starts.sum()).reshape(-1)

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The number of the cell."""
        return state

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """Ahead, to the left and to the right; with wind, each at its mean, one stronger and one weaker."""
        (rows, cols), cells = self.shape, self.cells.reshape(-1)
        row, col = self.cell_of(state)
        ahead = np.array([_DIRECTIONS[name] for name in self.moves], np.int32)
        sides = np.stack([ahead, ahead[:, ::-1] * [-1, 1], ahead[:, ::-1] * [1, -1]], 1)
        move = jnp.asarray(sides, jnp.int32)[action]
        prob = jnp.stack([1 - self.slip, self.slip / 2, self.slip / 2])
        row, col = row + move[:, 0], col + move[:, 1]
        if self.wind is not None:
            mean = self.wind[self.cell_of(state)[1]]
            varies = jnp.where(mean != 0, self.gust, 0.0)
            push = mean + jnp.where(mean != 0, jnp.array([0, 1, -1], jnp.int32), 0)
            prob = (prob[:, None] * jnp.stack([1 - varies, varies / 2, varies / 2])[None]).reshape(-1)
            row, col = (row[:, None] - push[None]).reshape(-1), jnp.repeat(col, 3)
        reached = jnp.clip(row, 0, rows - 1), jnp.clip(col, 0, cols - 1)
        target = reached[0] * cols + reached[1]
        walled = cells[target] == WALL
        bumped = walled | (reached[0] != row) | (reached[1] != col)
        target = jnp.where(walled, state, target)
        kind = jnp.where(walled, cells[state], cells[target])
        fell = kind == CLIFF
        if not self.cliff_ends:
            target = jnp.where(fell, jnp.argmax(self.starts).astype(jnp.int32), target)
        earned = {
            "reward_step": (jnp.ones_like(fell), self.reward_step),
            "reward_goal": (kind == GOAL, self.reward_goal),
            "reward_bump": (bumped, self.reward_bump),
            "reward_cliff": (fell, self.reward_cliff),
            "reward_hole": (kind == HOLE, self.reward_hole),
        }
        terminated, over = self._ends(kind), jnp.zeros((), jnp.bool_)
        if self.ends_absorb:
            over = self._ends(cells[state])
            target, terminated = jnp.where(over, state, target), terminated | over
        rewards = {name: jnp.where(applies & ~over, value, 0.0) for name, (applies, value) in earned.items()}
        return Outcomes(prob, target, rewards, terminated)

    def _ends(self, kind: Int[Array, "..."]) -> Array:
        ends = (kind == GOAL) | (kind == HOLE)
        return ends | (kind == CLIFF) if self.cliff_ends else ends

    def paint(self, row: int, col: int, letter: str) -> "GridWorld":
        """The grid with another cell there: a letter of the map, `S` for a further start.

        What is painted over is a start no longer. Raises FathomError outside the grid, for an unknown letter,
        or where no start is left.
        """
        (rows, cols), cell = self.shape, (row, col)
        if not (0 <= row < rows and 0 <= col < cols):
            raise FathomError(f"cell {cell} is outside the grid of {rows} rows and {cols} columns.")
        if letter not in LEGEND:
            raise FathomError(_unknown(letter, row, col))
        cells = self.cells.at[cell].set(LEGEND[letter])
        starts = self.starts.at[cell].set(1.0 if letter == "S" else 0.0)
        if not starts.any():
            raise FathomError(f"cell {cell} is the only start; paint another S first.")
        return eqx.tree_at(lambda env: (env.cells, env.starts), self, (cells, starts))

    def ascii(self, state: Index, marks: Sequence[Sequence[str]] | None = None) -> str:
        """The map in the letters of `from_map`, with the agent as `@`; `marks` show in free cells."""
        cells, starts = np.asarray(self.cells), np.asarray(self.starts)
        lines = [[_LETTERS[kind] for kind in row] for row in cells]
        for row, col in zip(*np.nonzero((cells == FREE) & (starts > 0)), strict=True):
            lines[row][col] = "S"
        if marks is not None:
            for row, col in zip(*np.nonzero(cells == FREE), strict=True):
                lines[row][col] = marks[row][col] or lines[row][col]
        row, col = self.cell_of(int(state))
        lines[int(row)][int(col)] = "@"
        return "\n".join("".join(line) for line in lines)

    def plan(self, state: Index) -> Plan:
        """The letters of the map where a cell is not free; there is nothing else in a state."""
        kinds = np.asarray(self.cells)
        letters = [["" if kind == FREE else _LETTERS[kind] for kind in row] for row in kinds]
        roles = [[_ROLES[kind] for kind in row] for row in kinds]
        return Plan(kinds == FREE, letters, roles, np.zeros_like(kinds, bool))

    def view(self, state: Int[Array, ""], tints: Sequence[Any] = (), marks: Sequence[Any] = ()) -> Scene:
        """The cells, the goal, the agent, and the wind under its columns."""
        rows, cols = self.shape
        at = self.center(*self.cell_of(state))
        shapes: list[Any] = [
            Tiles(self.cells, ("ground", "muted", "goal", "danger", "ground")),
            Tiles((self.starts > 0).astype(jnp.int32), ("", "muted"), 0.24, round=True),
            *tints,
            Tiles(self.cells, ("", "", "", "", "danger"), 0.66, round=True),
            Tiles(self.cells, ("", "", "background", "", ""), 0.3, round=True),
            *marks,
            Circle(at, 0.32, "background"),
            Circle(at, 0.27, "accent"),
        ]
        below = 0.1
        if self.wind is not None:
            below = 0.8
            shapes += [
                Text(jnp.asarray([col + 0.5, -0.4], jnp.float32), value=self.wind[col]) for col in range(cols)
            ]
        return Scene(tuple(shapes), (-0.1, cols + 0.1, -below, rows + 0.1))

    def _goal_in_reach(self) -> bool:
        """Whether any chain of moves, with whatever wind blows, leads from a start to a goal."""
        (rows, cols), cells = self.shape, np.asarray(self.cells)
        moves = np.array([_DIRECTIONS[name] for name in self.moves])
        if float(self.slip) > 0:
            moves = np.concatenate([moves, moves[:, ::-1] * [-1, 1], moves[:, ::-1] * [1, -1]])
        wind = np.zeros(cols, np.int32) if self.wind is None else np.asarray(self.wind)
        varies = np.array([0, 1, -1] if float(self.gust) > 0 else [0])
        seen = np.asarray(self.starts) > 0
        front = np.argwhere(seen)
        while len(front):
            push = wind[front[:, 1]][:, None] + varies * (wind[front[:, 1]][:, None] != 0)
            row = np.clip(front[:, 0, None, None] + moves[:, 0, None] - push[:, None], 0, rows - 1)
            col = np.clip(front[:, 1, None, None] + moves[:, 1, None], 0, cols - 1)
            row, col = (x.reshape(-1) for x in np.broadcast_arrays(row, col))
            if (cells[row, col] == GOAL).any():
                return True
            fresh = np.zeros_like(seen)
            fresh[row, col] = True
            fresh &= ~seen & (cells == FREE)
            seen |= fresh
            front = np.argwhere(fresh)
        return False


def _rows(text: str | Sequence[str]) -> list[str]:
    lines = text.strip().splitlines() if isinstance(text, str) else list(text)
    rows = [line.strip() for line in lines]
    if not rows or not rows[0]:
        raise FathomError("the map is empty; draw at least a start S and a goal G.")
    for row, line in enumerate(rows):
        for col, letter in enumerate(line):
            if letter not in LEGEND:
                raise FathomError(_unknown(letter, row, col))
        if len(line) != len(rows[0]):
            raise FathomError(
                f"row {row} of the map has {len(line)} cells and row 0 has {len(rows[0])}; all need as many."
            )
    return rows


def _unknown(letter: str, row: int, col: int) -> str:
    return (
        f"row {row}, column {col} of the map is {letter!r}, which stands for nothing (both count from 0). "
        "Use S start, . or F free, # wall, G goal, C cliff, H hole."
    )


def _start_weights(start: Any, kinds: np.ndarray) -> np.ndarray:
    weights = np.asarray(start, np.float32)
    if weights.shape != kinds.shape:
        raise FathomError(f"start has the shape {list(weights.shape)}; the map is {list(kinds.shape)}.")
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise FathomError(f"start holds {weights.min()}; weights are finite and at least 0.")
    for row, col in np.argwhere((weights > 0) & (kinds != FREE)):
        raise FathomError(f"start gives weight to row {row}, column {col}, which is not free.")
    return weights
