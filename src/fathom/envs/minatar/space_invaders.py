"""MinAtar's Space Invaders: a cannon below a block of aliens."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.minatar.game import (
    FIRE,
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    Channel,
    Game,
    Rows,
    bit,
    counted,
    rows_at,
    shifted,
)

_BLOCK = 0b0011111100  # columns 2 to 7
_DEEP = 4  # rows of aliens
_LAST = SIDE - 1  # the cannon's row
_COOL = 5  # steps from one shot of the cannon to the next
_SALVO = 10  # steps from one shot of the aliens to the next
_MOVE, _FASTEST = (
    12,
    6,
)  # steps at most between two moves of the aliens, first and last


class SpaceInvadersState(eqx.Module):
    """The cannon, the aliens, shots of both sides, and the timers."""

    x: Int[Array, ""]  # the cannon's column
    aliens: Rows
    shots: Rows  # the cannon's
    bombs: Rows  # the aliens'
    right: Bool[Array, ""]  # the aliens move to the right
    interval: Int[Array, ""]  # most steps between two moves of the aliens
    move_timer: Int[Array, ""]
    bomb_timer: Int[Array, ""]
    shot_timer: Int[Array, ""]
    ramps: Int[Array, ""]  # how often it became harder


class SpaceInvaders(Game):
    """Shoot at a block of 4 × 6 aliens, +1 for each; to be hit by a bomb or reached by them ends the game.

    Aliens move by one column or, at an edge, down by one row, turning round. They rest as many steps in
    between as there are aliens, at most 12. Every 10 steps the lowest alien of the column nearest to the
    cannon, the left one of two, drops a bomb; the cannon can fire every 5 steps. When no alien is left, a new
    block comes, and with `ramping` the 12 becomes one less, down to 6. Young & Tian 2019, arXiv:1903.03176;
    step for step equal to the package `minatar` 1.0.15.
    """

    ramping: bool = True  # each wave moves sooner than the one before

    controls: ClassVar = (NOOP, LEFT, RIGHT, FIRE)
    channels: ClassVar = (
        Channel("cannon", "accent", "A"),
        Channel("alien", "body", "W"),
        Channel("alien_left", "value2", "<", 0.45),
        Channel("alien_right", "value6", ">", 0.45),
        Channel("friendly_bullet", "goal", "'", 0.5, True),
        Channel("enemy_bullet", "danger", "!", 0.5, True),
    )
    luck: ClassVar = (0, 0)

    def begin(self, luck: Float[Array, "0"]) -> SpaceInvadersState:
        """The cannon in the middle, the aliens on their way to the left."""
        nothing, no = jnp.zeros(SIDE, jnp.int32), jnp.zeros((), jnp.bool_)
        x, interval, bomb, zero = (jnp.asarray(n, jnp.int32) for n in (SIDE // 2, _MOVE, _SALVO, 0))
        return SpaceInvadersState(x, block(), nothing, nothing, no, interval, interval, bomb, zero, zero)

    def play(
        self, game: SpaceInvadersState, action: Int[Array, ""], luck: Float[Array, "0"]
    ) -> tuple[SpaceInvadersState, Int[Array, ""], Bool[Array, ""]]:
        """The cannon's action, then shots, bombs, aliens, what is hit, and the next wave."""
        rows = jnp.arange(SIDE, dtype=jnp.int32)
        fires = (action == FIRE) & (game.shot_timer == 0)
        shot_timer = jnp.where(fires, _COOL, game.shot_timer)
        shots = jnp.where(fires & (rows == _LAST), game.shots | bit(game.x), game.shots)
        x = game.x + (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
        x = jnp.clip(x, 0, SIDE - 1)
        here = bit(x)
        shots = jnp.append(shots[1:], 0)
        bombs = jnp.append(jnp.int32(0), game.bombs[:-1])
        over = ((bombs[_LAST] | game.aliens[_LAST]) & here) != 0

        moves = game.move_timer == 0
        alive = jnp.bitwise_count(game.aliens).sum(dtype=jnp.int32)
        move_timer = jnp.where(moves, jnp.minimum(alive, game.interval), game.move_timer)
        edge = (occupied(game.aliens) & jnp.where(game.right, 1 << _LAST, 1)) != 0
        turns = moves & edge
        right = game.right ^ turns
        over = over | (turns & (game.aliens[_LAST] != 0))
        down = jnp.append(game.aliens[-1:], game.aliens[:-1])
        aliens = jnp.where(turns, down, jnp.where(moves, shifted(game.aliens, right), game.aliens))
        over = over | ((aliens[_LAST] & here) != 0)

        drops = game.bomb_timer == 0
        bomb_timer = jnp.where(drops, _SALVO, game.bomb_timer)
        bombs = jnp.where(drops, bombs | self.bomb(aliens, x), bombs)
        hit = aliens & shots
        aliens, shots = aliens & ~hit, shots & ~hit

        done = (aliens == 0).all()
        harder = done & (game.interval > _FASTEST) & self.ramping
        after = SpaceInvadersState(
            x,
            jnp.where(done, block(), aliens),
            shots,
            bombs,
            right,
            game.interval - harder.astype(jnp.int32),
            move_timer - 1,
            bomb_timer - 1,
            counted(shot_timer),
            game.ramps + harder.astype(jnp.int32),
        )
        return after, jnp.bitwise_count(hit).sum(dtype=jnp.int32), over

    def bomb(self, aliens: Rows, x: Int[Array, ""]) -> Rows:
        """A bomb in place of the lowest alien of the column nearest to x."""
        columns = occupied(aliens)
        near = columns & ((bit(x) << 1) - 1)  # from x to the left
        far = columns & -(bit(x) << 1)
        to_left = x - last_column(near)
        to_right = last_column(far & -far) - x
        takes_left = (near != 0) & ((far == 0) | (to_left <= to_right))
        column = bit(jnp.where(takes_left, x - to_left, x + to_right))
        rows = jnp.arange(SIDE, dtype=jnp.int32)
        lowest = jnp.where((aliens & column) != 0, rows, -1).max()
        return rows_at(lowest, column)

    def planes(self, game: SpaceInvadersState) -> tuple[Rows, ...]:
        """The cannon, aliens, these again by their direction, the cannon's shots, the aliens' bombs."""
        left = jnp.where(game.right, 0, game.aliens)
        cannon = rows_at(jnp.asarray(_LAST), bit(game.x))
        return cannon, game.aliens, left, game.aliens & ~left, game.shots, game.bombs


def block() -> Rows:
    """A wave of aliens at its start."""
    return jnp.where(jnp.arange(SIDE, dtype=jnp.int32) < _DEEP, _BLOCK, 0)


def occupied(rows: Rows) -> Int[Array, ""]:
    """The columns, as bits, in which there is something."""
    return jax.lax.reduce(rows, jnp.int32(0), jax.lax.bitwise_or, (0,))


def last_column(row: Int[Array, ""]) -> Int[Array, ""]:
    """The rightmost column in which there is something; −1 where there is nothing."""
    return 31 - jax.lax.clz(row)
