"""MinAtar's Breakout: a ball, a paddle, and three rows of bricks."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.minatar.game import FULL, LEFT, NOOP, RIGHT, SIDE, Channel, Game, Rows, bit, rows_at

_TOP, _BRICK_ROWS = 1, 3  # the uppermost row of bricks, and how many there are
_WALL = 2 ** (_BRICK_ROWS * SIDE) - 1  # all bricks
_FLOOR = SIDE - 1  # the row of the paddle


class BreakoutState(eqx.Module):
    """Where everything is. Columns and rows count from the upper left cell."""

    x: Int[Array, ""]  # of the ball
    y: Int[Array, ""]
    last_x: Int[Array, ""]  # of the ball, one step before
    last_y: Int[Array, ""]
    dx: Int[Array, ""]  # where it flies: 1 right, −1 left
    dy: Int[Array, ""]  # 1 down, −1 up
    paddle: Int[Array, ""]  # its column
    bricks: Int[Array, ""]  # bit 10·k + c: the brick in column c of the k-th row of bricks
    struck: Bool[Array, ""]  # there was a brick where the ball went in the last step


class Breakout(Game):
    """Keep a ball in play with a paddle in the lowest row; +1 for each brick that it breaks.

    The ball flies diagonally, one cell a step, from row 3 at the left or right edge, and turns back at walls,
    ceiling and bricks. If it comes down above the paddle, it goes up again as from a floor; if the paddle is
    where it was going to, it goes back the way it came. After it broke a brick it flies through others until
    there is none in its cell. When the ball reaches the lowest row and no brick is left, there are three new
    rows. The game ends when the ball gets past the paddle. Young & Tian 2019, arXiv:1903.03176; step for step
    equal to the package `minatar` 1.0.15.
    """

    controls: ClassVar = (NOOP, LEFT, RIGHT)
    channels: ClassVar = (
        Channel("paddle", "body", "="),
        Channel("ball", "accent", "o", 0.8, True),
        Channel("trail", "muted", ",", 0.4, True),
        Channel("brick", "goal", "#"),
    )
    luck: ClassVar = (1, 0)

    def begin(self, luck: Float[Array, "1"]) -> BreakoutState:
        """The ball at the left or right edge, the paddle left of the middle."""
        right = luck[0] >= 0.5
        x, y = jnp.where(right, SIDE - 1, 0), jnp.asarray(3, jnp.int32)
        down, paddle = jnp.asarray(1, jnp.int32), jnp.asarray(4, jnp.int32)
        bricks, struck = jnp.asarray(_WALL, jnp.int32), jnp.zeros((), jnp.bool_)
        return BreakoutState(x, y, x, y, jnp.where(right, -1, 1), down, paddle, bricks, struck)

    def play(
        self, game: BreakoutState, action: Int[Array, ""], luck: Float[Array, "0"]
    ) -> tuple[BreakoutState, Int[Array, ""], Bool[Array, ""]]:
        """Move the paddle, then the ball."""
        paddle = game.paddle + (action == RIGHT).astype(jnp.int32) - (action == LEFT).astype(jnp.int32)
        paddle = jnp.clip(paddle, 0, SIDE - 1)
        x, y = game.x + game.dx, game.y + game.dy
        dx = jnp.where((x < 0) | (x >= SIDE), -game.dx, game.dx)
        x = jnp.clip(x, 0, SIDE - 1)

        among = (y >= _TOP) & (y < _TOP + _BRICK_ROWS)
        there = jnp.where(among, 1 << jnp.where(among, (y - _TOP) * SIDE + x, 0), 0)
        meets = (game.bricks & there) != 0
        hit = meets & ~game.struck
        low = y == _FLOOR
        bricks = jnp.where(low & (game.bricks == 0), _WALL, jnp.where(hit, game.bricks & ~there, game.bricks))
        above = low & (game.x == paddle)
        ahead = low & ~above & (x == paddle)

        back = hit | above | ahead
        dx = jnp.where(ahead, -dx, dx)
        dy = jnp.where(back | (y < 0), -game.dy, game.dy)
        y = jnp.where(back, game.y, jnp.maximum(y, 0))
        after = BreakoutState(x, y, game.x, game.y, dx, dy, paddle, bricks, meets)
        return after, hit.astype(jnp.int32), low & ~back

    def planes(self, game: BreakoutState) -> tuple[Rows, ...]:
        """Paddle, ball, where the ball was, bricks."""
        rows = jnp.arange(SIDE, dtype=jnp.int32)
        among = (rows >= _TOP) & (rows < _TOP + _BRICK_ROWS)
        bricks = jnp.where(among, game.bricks >> jnp.where(among, (rows - _TOP) * SIDE, 0), 0) & FULL
        return (
            rows_at(jnp.asarray(_FLOOR), bit(game.paddle)),
            rows_at(game.y, bit(game.x)),
            rows_at(game.last_y, bit(game.last_x)),
            bricks,
        )
