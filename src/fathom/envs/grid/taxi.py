"""A taxi that fetches a passenger and brings them to where they want to go."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fathom.core.spaces import Discrete, Masked, Space
from fathom.core.types import Masked as MaskedObs
from fathom.envs.classic.shapes import place, rounded_box
from fathom.envs.finite import Outcomes
from fathom.envs.grid.board import ARROWS, Board, Index, Plan
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text, Tiles

_MAP = (
    "+---------+",
    "|R: | : :G|",
    "| : | : : |",
    "| : : : : |",
    "| | : | : |",
    "|Y| : |B: |",
    "+---------+",
)
_PADS = ((0, 0), (0, 4), (4, 0), (4, 3))
_NAMES = "RGYB"
_ABOARD = 4
_PICKUP, _DROPOFF = 4, 5
_HEADINGS = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)], np.int32)  # south, north, east, west

# Whether a move in each heading leaves the cell: [row, col, heading].
_OPEN = np.array(
    [
        [
            (row < 4, row > 0, _MAP[row + 1][2 * col + 2] == ":", _MAP[row + 1][2 * col] == ":")
            for col in range(5)
        ]
        for row in range(5)
    ]
)
# The headings ahead, to the left and to the right of each.
_TURNS = np.array([(0, 2, 3), (1, 3, 2), (2, 1, 0), (3, 0, 1)], np.int32)


class Taxi(Board):
    """Fetch a passenger at one of four pads and bring them to another, in a grid of 5 by 5 with walls.

    Observation ((row · 5 + column) · 5 + passenger) · 4 + destination, with passenger and destination 0 to 3
    for the pads R, G, Y, B and passenger 4 aboard. Actions: south, north, east, west, pick up, drop off. The
    reward is one of three named terms. Dietterich 2000, doi:10.1613/jair.639; as Gymnasium's `Taxi-v4`, state
    by state, and without rain and fickleness as its `Taxi-v3`, whose rules are the same.

    A fickle passenger's mind is part of the state and not of the observation: states from 500 on are those in
    which the passenger will choose another destination at the first move after being fetched.
    """

    reward_step: float = -1.0  # of a step that earns nothing else; −1 is usual
    reward_delivery: float = 20.0  # of dropping the passenger at the destination
    reward_illegal: float = -10.0  # of picking up or dropping off where that cannot be done
    rainy_probability: float = 0.8  # that a move in the rain goes ahead; else to either side, half for each
    fickle_probability: float = 0.3  # that a fickle passenger changes their mind, once in an episode
    is_rainy: bool = False  # moves go astray
    fickle_passenger: bool = False  # the destination may change
    masked: bool = False  # observations carry the mask of Gymnasium's info: the actions that change something

    @property
    def shape(self) -> tuple[int, int]:
        """Five rows, five columns."""
        return 5, 5

    @property
    def num_states(self) -> int:
        """500, twice that with a fickle passenger."""
        return 1000 if self.fickle_passenger else 500

    @property
    def num_actions(self) -> int:
        """Four headings, pick up, drop off."""
        return 6

    @property
    def obs_space(self) -> Space:
        """500 numbers, with a mask if `masked`."""
        return Masked(Discrete(500), 6) if self.masked else Discrete(500)

    @property
    def arrows(self) -> tuple[str, ...]:
        """Four arrows, P and D."""
        return (*(ARROWS[name] for name in ("down", "up", "right", "left")), "P", "D")

    def cell_of(self, state: Index) -> tuple[Index, Index]:
        """Where the taxi is."""
        return state // 100 % 5, state // 20 % 5

    def state_at(self, row: Index, col: Index, state: Index) -> Index:
        """The taxi there; passenger, destination and the passenger's mind as they were."""
        return state // 500 * 500 + (row * 5 + col) * 20 + state % 20

    def start(self) -> Float[Array, " state"]:
        """Uniform over the taxi's cell, the passenger's pad and another pad as destination."""
        passenger, destination = np.divmod(np.arange(500) % 20, 4)
        allowed = (passenger != _ABOARD) & (passenger != destination)
        calm = jnp.asarray(allowed / allowed.sum(), jnp.float32)
        if not self.fickle_passenger:
            return calm
        return jnp.concatenate([calm * (1 - self.fickle_probability), calm * self.fickle_probability])

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""] | MaskedObs:
        """The state but for the passenger's mind."""
        obs = state % 500
        return MaskedObs(obs, self.mask(obs)) if self.masked else obs

    def mask(self, state: Int[Array, ""]) -> Bool[Array, "6"]:
        """The actions that change something: moves that no wall stops, legal pick-ups and drop-offs."""
        row, col = self.cell_of(state)
        passenger = state // 4 % 5
        pad = _pad_of(row, col)
        pickup = (passenger != _ABOARD) & (passenger == pad)
        dropoff = (passenger == _ABOARD) & (pad < 4)
        return jnp.concatenate([jnp.asarray(_OPEN)[row, col], jnp.stack([pickup, dropoff])])

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """Ahead, and in the rain to the left and right; each by the destination if a mind may change."""
        row, col = self.cell_of(state)
        passenger, destination = state // 4 % 5, state % 4
        pad = _pad_of(row, col)
        moves, open_ways = action < 4, jnp.asarray(_OPEN)[row, col]
        headings = jnp.asarray(_TURNS)[jnp.minimum(action, 3)]
        prob = jnp.ones(1, jnp.float32)
        if self.is_rainy:
            astray = jnp.where(moves, (1 - self.rainy_probability) / 2, 0.0)
            prob = jnp.stack([1 - 2 * astray, astray, astray])
        headings = headings[: len(prob)]
        # A way that is blocked ahead keeps the taxi from going astray as well.
        go = moves & open_ways[headings] & open_ways[headings[0]]
        step = jnp.where(go[:, None], jnp.asarray(_HEADINGS)[headings], 0)
        cell = (row + step[:, 0]) * 5 + col + step[:, 1]

        fetched = (action == _PICKUP) & (passenger == pad) & (passenger != _ABOARD)
        left = (action == _DROPOFF) & (passenger == _ABOARD) & (pad < 4)
        delivered = left & (pad == destination)
        illegal = ~moves & ~fetched & ~left
        passenger_after = jnp.where(fetched, _ABOARD, jnp.where(left, pad, passenger))
        after = (cell * 5 + passenger_after) * 4 + destination
        if self.fickle_passenger:
            undecided = state >= 500
            changes = undecided & (passenger == _ABOARD) & go
            other = (destination + jnp.arange(1, 4, dtype=jnp.int32)) % 4
            changed = (after - destination)[:, None] + other[None]
            kept = after + jnp.where(undecided, 500, 0)
            after = jnp.where(changes[:, None], changed, kept[:, None]).reshape(-1)
            prob = jnp.repeat(prob / 3, 3)
        rewards = {
            "reward_step": jnp.where(delivered | illegal, 0.0, self.reward_step),
            "reward_delivery": jnp.where(delivered, self.reward_delivery, 0.0),
            "reward_illegal": jnp.where(illegal, self.reward_illegal, 0.0),
        }
        rewards = {name: jnp.broadcast_to(value, prob.shape) for name, value in rewards.items()}
        return Outcomes(prob, after, rewards, jnp.broadcast_to(delivered, prob.shape))

    def ascii(self, state: Index, marks: Sequence[Sequence[str]] | None = None) -> str:
        """Gymnasium's map with the taxi as `@`, and below it who waits where and wants to go where."""
        lines = [list(line) for line in _MAP]
        if marks is not None:
            for row, col in np.ndindex(5, 5):
                at = lines[row + 1], 2 * col + 1
                if at[0][at[1]] == " ":
                    at[0][at[1]] = marks[row][col] or " "
        row, col = self.cell_of(int(state))
        lines[int(row) + 1][2 * int(col) + 1] = "@"
        told = self.plan(state).told
        return "\n".join(["".join(line) for line in lines] + [told])

    def plan(self, state: Index) -> Plan:
        """The pads, the destination's as a goal, and who waits where and wants to go where."""
        passenger, destination = divmod(int(state) % 20, 4)
        letters, roles = [[""] * 5 for _ in range(5)], [[""] * 5 for _ in range(5)]
        for name, (row, col) in zip(_NAMES, _PADS, strict=True):
            letters[row][col] = name
        row, col = _PADS[destination]
        roles[row][col] = "goal"
        where = "aboard" if passenger == _ABOARD else f"at {_NAMES[passenger]}"
        walls = np.array([[line[2 * col + 2] == "|" for col in range(5)] for line in _MAP[1:6]])
        walls[:, 4] = False  # the edge
        return Plan(
            np.ones((5, 5), bool), letters, roles, walls, f"passenger {where}, to {_NAMES[destination]}"
        )

    def view(self, state: Int[Array, ""], tints: Sequence[Any] = (), marks: Sequence[Any] = ()) -> Scene:
        """The streets and their walls, the pads, the destination in green, the passenger and the taxi."""
        passenger, destination = state // 4 % 5, state % 4
        pads = jnp.stack([self.center(*pad) for pad in _PADS])
        taxi = self.center(*self.cell_of(state))
        ground = jnp.zeros((5, 5), jnp.int32)
        goal = (jnp.arange(25, dtype=jnp.int32) == _pad_cells()[destination]).astype(jnp.int32)
        aboard = passenger == _ABOARD
        waits = jnp.concatenate([pads, taxi[None]])[passenger]
        letters = [
            Text(pads[i] + jnp.asarray([-0.33, 0.32], jnp.float32), _NAMES[i], color="body") for i in range(4)
        ]
        shapes: tuple[Any, ...] = (
            Tiles(ground, ("ground",)),
            *tints,
            Tiles(goal.reshape(5, 5), ("", "goal")),
            *letters,
            *_walls(),
            *marks,
            Polygon(place(rounded_box(0.64, 0.44, 0.1), taxi), "accent"),
            Polygon(place(rounded_box(0.3, 0.28, 0.06), taxi), "background"),
            Circle(waits, jnp.where(aboard, 0.1, 0.15), "body"),
        )
        return Scene(shapes, (-0.1, 5.1, -0.1, 5.1))


def _pad_cells() -> Int[Array, "4"]:
    return jnp.asarray([row * 5 + col for row, col in _PADS], jnp.int32)


def _pad_of(row: Index, col: Index) -> Int[Array, ""]:
    """The number of the pad in a cell, 5 where there is none."""
    table = np.full((5, 5), 5, np.int32)
    for number, pad in enumerate(_PADS):
        table[pad] = number
    return jnp.asarray(table)[row, col]


def _walls() -> tuple[Line, ...]:
    walls = [(row, col) for row in range(5) for col in range(1, 5) if _MAP[row + 1][2 * col] == "|"]
    return tuple(
        Line(np.array([(col, 4 - row + 0.06), (col, 4 - row + 0.94)], np.float32), 0.1, "body")
        for row, col in walls
    )
