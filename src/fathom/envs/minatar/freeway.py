"""MinAtar's Freeway: a chicken, a road of eight lanes, and cars of five speeds."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.minatar.game import DOWN, FULL, NOOP, SIDE, UP, Channel, Game, Rows, counted, pick, rows_at

_LANES, _SPEEDS = 8, 5
_COLUMN = 1 << 4  # the chicken's, as bits
_PACE = 3  # steps from one move of the chicken to the next
_STEPS = 2500  # of a game


class FreewayState(eqx.Module):
    """The chicken, the cars by lane, and the time left."""

    y: Int[Array, ""]  # the chicken's row: 9 at the start, 0 across the road
    cars: Int[Array, " lane"]  # bit c: the car of the lane is in column c
    timers: Int[Array, " lane"]  # steps until it moves
    slowness: Int[Array, " lane"]  # 1 to 5, as many steps lie between two moves
    right: Bool[Array, " lane"]  # it drives to the right
    rest: Int[Array, ""]  # steps until the chicken can move
    left: Int[Array, ""]  # steps left


class Freeway(Game):
    """Lead a chicken up across eight lanes; +1 each time it gets there, and it starts anew below.

    The chicken can move at every third step; hit by a car it is back at the start. Cars drive round and
    round, one cell at every 2nd to 6th step. How fast each one is, and which way it goes, is drawn at the
    start and each time that the chicken gets across. The game ends after 2,501 steps, the package's count.
    Young & Tian 2019, arXiv:1903.03176; step for step equal to the package `minatar` 1.0.15.
    """

    controls: ClassVar = (NOOP, UP, DOWN)
    channels: ClassVar = (
        Channel("chicken", "accent", "@"),
        Channel("car", "body", "#"),
        *(Channel(f"speed{i + 1}", f"value{2 * i}", str(i + 1), 0.6) for i in range(_SPEEDS)),
    )
    luck: ClassVar = (2 * _LANES, 2 * _LANES)

    def begin(self, luck: Float[Array, "16"]) -> FreewayState:
        """All cars in the leftmost column."""
        slowness, right = self.traffic(luck)
        cars = jnp.ones(_LANES, jnp.int32)
        start, rest, left = (jnp.asarray(n, jnp.int32) for n in (SIDE - 1, _PACE, _STEPS))
        return FreewayState(start, cars, slowness, slowness, right, rest, left)

    def traffic(self, luck: Float[Array, "16"]) -> tuple[Int[Array, " lane"], Bool[Array, " lane"]]:
        """How slow each car is, and whether it drives to the right."""
        return pick(luck[:_LANES], _SPEEDS) + 1, luck[_LANES:] >= 0.5

    def play(
        self, game: FreewayState, action: Int[Array, ""], luck: Float[Array, "16"]
    ) -> tuple[FreewayState, Int[Array, ""], Bool[Array, ""]]:
        """Move the chicken, then the cars."""
        walks = (game.rest == 0) & ((action == UP) | (action == DOWN))
        rest = jnp.where(walks, _PACE, game.rest)
        y = jnp.where(walks, game.y + jnp.where(action == UP, -1, 1), game.y)
        y = jnp.clip(y, 0, SIDE - 1)
        across = y == 0
        y = jnp.where(across, SIDE - 1, y)
        fresh_slowness, fresh_right = self.traffic(luck)
        slowness = jnp.where(across, fresh_slowness, game.slowness)
        right = jnp.where(across, fresh_right, game.right)
        timers = jnp.where(across, fresh_slowness, game.timers)

        lane = jnp.arange(1, _LANES + 1, dtype=jnp.int32) == y
        moves = timers == 0
        cars = jnp.where(moves, round_the_board(game.cars, right), game.cars)
        hit = (lane & (((game.cars | cars) & _COLUMN) != 0)).any()
        after = FreewayState(
            jnp.where(hit, SIDE - 1, y),
            cars,
            jnp.where(moves, slowness, timers - 1),
            slowness,
            right,
            counted(rest),
            game.left - 1,
        )
        return after, across.astype(jnp.int32), after.left < 0

    def planes(self, game: FreewayState) -> tuple[Rows, ...]:
        """The chicken, cars, and for each speed the cells behind the cars that have it."""
        behind = round_the_board(game.cars, ~game.right)
        speeds = (jnp.pad(jnp.where(game.slowness == i + 1, behind, 0), 1) for i in range(_SPEEDS))
        return rows_at(game.y, jnp.asarray(_COLUMN, jnp.int32)), jnp.pad(game.cars, 1), *speeds


def round_the_board(row: Int[Array, "..."], right: Bool[Array, "..."]) -> Int[Array, "..."]:
    """Cells moved by one column; those that leave the board come back on the other side."""
    last = SIDE - 1
    return jnp.where(right, ((row << 1) | (row >> last)) & FULL, (row >> 1) | ((row & 1) << last))
