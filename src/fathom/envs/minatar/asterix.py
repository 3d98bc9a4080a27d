"""MinAtar's Asterix: gold and enemies that cross the board from both sides."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.minatar.game import (
    DOWN,
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    UP,
    Channel,
    Game,
    Rows,
    bit,
    pick,
    shifted,
)

_LANES = 8  # rows 1 to 8, one thing in each at most
_SPAWN, _MOVE, _RAMP = 10, 5, 100  # steps between two spawns, moves and ramps at the start


class AsterixState(eqx.Module):
    """The player, what crosses each lane, and the timers."""

    x: Int[Array, ""]  # of the player
    y: Int[Array, ""]
    place: Int[Array, " lane"]  # bit c: it is in column c; 0 where the lane is free
    right: Bool[Array, " lane"]  # it moves to the right
    gold: Bool[Array, " lane"]  # it is gold and no enemy
    spawn_interval: Int[Array, ""]  # steps between two spawns
    spawn_timer: Int[Array, ""]  # steps until the next one
    move_interval: Int[Array, ""]
    move_timer: Int[Array, ""]
    ramp_timer: Int[Array, ""]
    ramps: Int[Array, ""]  # how often it became harder


class Asterix(Game):
    """Walk over eight lanes and collect gold, +1 each; touching an enemy ends the game.

    Every 10 steps gold (probability `gold_share`) or an enemy comes in from the left or the right, in a lane
    drawn from the free ones, and every 5 steps all of them move by one cell. With `ramping`, every 101 steps
    one step less lies between two spawns and, every other time, between two moves, down to 1. The
    player cannot leave rows 1 to 8. Young & Tian 2019, arXiv:1903.03176; step for step equal to the
    package `minatar` 1.0.15.
    """

    gold_share: float = 1 / 3  # probability that what comes in is gold; 0 to 1
    ramping: bool = True  # it becomes harder with time

    controls: ClassVar = (NOOP, LEFT, UP, RIGHT, DOWN)
    channels: ClassVar = (
        Channel("player", "accent", "@"),
        Channel("enemy", "danger", "x"),
        Channel("trail", "muted", ",", 0.4),
        Channel("gold", "goal", "$", 0.8, True),
    )
    luck: ClassVar = (0, 3)

    def begin(self, luck: Float[Array, "0"]) -> AsterixState:
        """The player alone, in the middle."""
        middle, zero = jnp.asarray(SIDE // 2, jnp.int32), jnp.zeros((), jnp.int32)
        spawn, move = jnp.asarray(_SPAWN, jnp.int32), jnp.asarray(_MOVE, jnp.int32)
        nothing, never = jnp.zeros(_LANES, jnp.int32), jnp.zeros(_LANES, jnp.bool_)
        ramp = jnp.asarray(_RAMP, jnp.int32)
        return AsterixState(middle, middle, nothing, never, never, spawn, spawn, move, move, ramp, zero)

    def play(
        self, game: AsterixState, action: Int[Array, ""], luck: Float[Array, "3"]
    ) -> tuple[AsterixState, Int[Array, ""], Bool[Array, ""]]:
        """Spawn, move the player, move all others, and count the timers down."""
        spawns = game.spawn_timer == 0
        lane, rightwards = self.lane(game, luck[2]), luck[0] < 0.5
        comes = spawns & lane
        place = jnp.where(comes, jnp.where(rightwards, 1, 1 << (SIDE - 1)), game.place)
        right = jnp.where(comes, rightwards, game.right)
        gold = jnp.where(comes, luck[1] < self.gold_share, game.gold)
        spawn_timer = jnp.where(spawns, game.spawn_interval, game.spawn_timer)

        x = game.x + (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
        y = game.y + (action == DOWN).astype(jnp.int32) - (action == UP).astype(jnp.int32)
        x, y = jnp.clip(x, 0, SIDE - 1), jnp.clip(y, 1, _LANES)
        player = jnp.where(jnp.arange(1, _LANES + 1, dtype=jnp.int32) == y, bit(x), 0)

        met = (place & player) != 0
        place = jnp.where(met & gold, 0, place)
        moves = game.move_timer == 0
        place = jnp.where(moves, shifted(place, right), place)
        met_later = (place & player) != 0
        place = jnp.where(met_later & gold, 0, place)
        met = met | met_later
        move_timer = jnp.where(moves, game.move_interval, game.move_timer)

        hardest = (game.spawn_interval == 1) & (game.move_interval == 1)
        counts = (not self.ramping) | hardest
        ramps = ~hardest & (game.ramp_timer < 0) if self.ramping else jnp.zeros((), jnp.bool_)
        faster = ramps & (game.move_interval > 1) & (game.ramps % 2 == 1)
        after = AsterixState(
            x,
            y,
            place,
            right,
            gold,
            jnp.where(ramps, jnp.maximum(game.spawn_interval - 1, 1), game.spawn_interval),
            spawn_timer - 1,
            game.move_interval - faster.astype(jnp.int32),
            move_timer - 1,
            jnp.where(counts, game.ramp_timer, jnp.where(ramps, _RAMP, game.ramp_timer - 1)),
            game.ramps + ramps.astype(jnp.int32),
        )
        return after, (met & gold).sum(dtype=jnp.int32), (met & ~gold).any()

    def lane(self, game: AsterixState, luck: Float[Array, ""]) -> Bool[Array, " lane"]:
        """True for one of the free lanes, all False where there is none."""
        free = game.place == 0
        lanes = jnp.arange(_LANES, dtype=jnp.int32)
        taken = jnp.where(free, 1 << lanes, 0).sum(dtype=jnp.int32)
        before = jnp.bitwise_count(taken & ((1 << lanes) - 1)).astype(jnp.int32)
        return free & (before == pick(luck, free.sum(dtype=jnp.int32)))

    def planes(self, game: AsterixState) -> tuple[Rows, ...]:
        """The player, enemies, the cells behind all that moves, gold."""
        rows = jnp.arange(SIDE, dtype=jnp.int32)
        enemy = jnp.pad(jnp.where(game.gold, 0, game.place), 1)
        gold = jnp.pad(jnp.where(game.gold, game.place, 0), 1)
        trail = jnp.pad(shifted(game.place, ~game.right), 1)
        return jnp.where(rows == game.y, bit(game.x), 0), enemy, trail, gold
