"""What all MinAtar games share: sticky actions, pictures of channels, colours and text."""

import abc
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs import chance
from fathom.envs.base import Env
from fathom.envs.scene import Scene, Tiles

SIDE = 10
FULL = 2**SIDE - 1  # a row of cells that are all taken
NOOP, LEFT, UP, RIGHT, DOWN, FIRE = range(6)

Rows = Int[Array, "10"]  # a channel: bit c of element r is the cell in row r, column c


class Channel(NamedTuple):
    """One kind of thing on the board, and how it looks."""

    name: str
    role: str  # its colour, see `envs.scene.Scene`
    mark: str  # its character in a text
    size: float = 0.94  # side or diameter, in cells
    round: bool = False


class Played(eqx.Module):
    """A game under way, and the action done last."""

    game: PyTree
    last: Int[Array, ""]  # one of the six, NOOP at first


class Game(Env):
    """A game on 10 × 10 cells, seen as one binary channel for each kind of thing, after Young & Tian 2019.

    Six actions: 0 nothing, 1 left, 2 up, 3 right, 4 down, 5 fire. By default only those that a game knows are
    offered, in this order. With probability `sticky` the action done in the step before is done again.
    """

    sticky: float = 0.1  # probability that the last action is repeated, whatever is chosen; 0 to 1
    all_actions: bool = False  # offer all six actions, also those that do nothing here

    controls: ClassVar[tuple[int, ...]]  # the actions that do something, and NOOP
    channels: ClassVar[tuple[Channel, ...]]  # in the observation's order; later ones are on top
    luck: ClassVar[tuple[int, int]]  # how many random numbers a start and a step take

    @abc.abstractmethod
    def begin(self, luck: Float[Array, " start"]) -> PyTree:
        """A game at its start, by random numbers in [0, 1)."""

    @abc.abstractmethod
    def play(
        self, game: PyTree, action: Int[Array, ""], luck: Float[Array, " draw"]
    ) -> tuple[PyTree, Int[Array, ""], Bool[Array, ""]]:
        """The game one step later, the points made and whether it is over."""

    @abc.abstractmethod
    def planes(self, game: PyTree) -> tuple[Rows, ...]:
        """Where there is something, for each channel."""

    @classmethod
    def with_all_actions(cls) -> Self:
        """The game as its v0: all six actions, also those that do nothing in it."""
        return cls(all_actions=True)

    @property
    def obs_space(self) -> Box:
        """Ten rows of ten cells, 1 in the channels of what is there."""
        return Box(0, 1, (SIDE, SIDE, len(self.channels)), np.uint8)

    @property
    def action_space(self) -> Discrete:
        """The six actions, or those among them that do something."""
        return Discrete(6 if self.all_actions else len(self.controls))

    def reset(self, key: Key[Array, ""]) -> tuple[Played, UInt8[Array, "10 10 channel"]]:
        """A new game."""
        game = self.begin(chance.uniforms(key, self.luck[0]))
        return Played(game, jnp.asarray(NOOP, jnp.int32)), self.observe(game)

    def step(self, key: Key[Array, ""], state: Played, action: Int[Array, ""]) -> tuple[Played, TimeStep]:
        """The chosen action or the last one, and all else that moves."""
        luck = chance.uniforms(key, 1 + self.luck[1])
        done = jnp.where(luck[0] < self.sticky, state.last, self.named(action))
        game, points, over = self.play(state.game, done, luck[1:])
        reward = points.astype(jnp.float32)
        return Played(game, done), TimeStep(self.observe(game), reward, over, jnp.zeros((), jnp.bool_))

    def named(self, action: Int[Array, ""]) -> Int[Array, ""]:
        """Which of the six actions an element of the action space is."""
        if self.all_actions:
            return action
        done = jnp.asarray(NOOP, jnp.int32)
        for i, name in enumerate(self.controls):
            done = jnp.where(action == i, name, done)
        return done

    def observe(self, game: PyTree) -> UInt8[Array, "10 10 channel"]:
        """The picture of a game."""
        return self.apart(picture, self.apart(lambda game: jnp.stack(self.planes(game), axis=-1), game))

    def apart(self, stage: Callable[[PyTree], PyTree], given: PyTree) -> PyTree:
        """`stage(given)`, computed after `given` and not with it.

        XLA on a CPU fuses the stages of a step into one, and works out the first ones anew for each of the
        hundreds of numbers that the last one yields. It cannot fuse what is in a branch, nor know that this
        one is always taken.
        """
        like = jax.eval_shape(stage, given)

        def branch(given: PyTree) -> PyTree:
            return jax.lax.cond(self.sticky > -jnp.inf, stage, never, given)

        def never(given: PyTree) -> PyTree:
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

        return jax.lax.platform_dependent(given, cpu=branch, default=stage)

    def view(self, state: Played) -> Scene:
        """The board, a colour for each channel."""
        floor = Tiles(np.zeros((SIDE, SIDE), np.int32), ("ground",))
        seen = self.observe(state.game).astype(jnp.int32)
        layers = [
            Tiles(seen[..., i], ("", channel.role), channel.size, channel.round)
            for i, channel in enumerate(self.channels)
        ]
        return Scene((floor, *layers), (-0.2, SIDE + 0.2, -0.2, SIDE + 0.2))

    def ascii(self, state: Played) -> str:
        """The board in ten lines, the last of the channels in each cell, a dot where there is none."""
        cells, seen = np.full((SIDE, SIDE), "."), np.asarray(self.observe(state.game))
        for i, channel in enumerate(self.channels):
            cells[seen[..., i] == 1] = channel.mark
        return "\n".join("".join(row) for row in cells)


def picture(rows: Int[Array, "10 channel"]) -> UInt8[Array, "10 10 channel"]:
    """Rows of bits as cells."""
    columns = jnp.arange(SIDE, dtype=jnp.int32)[None, :, None]
    return ((rows[:, None, :] >> columns) & 1).astype(jnp.uint8)


def bit(x: Int[Array, "..."]) -> Int[Array, "..."]:
    """A row of cells with only the one in column x taken, none for x outside of the board."""
    inside = (x >= 0) & (x < SIDE)
    return jnp.where(inside, 1 << jnp.where(inside, x, 0), 0)


def rows_at(y: Int[Array, ""], row: Int[Array, ""]) -> Rows:
    """A channel with the cells of `row` in row y and no others."""
    return jnp.where(jnp.arange(SIDE, dtype=jnp.int32) == y, row, 0)


def row_of(rows: Rows, y: Int[Array, ""]) -> Int[Array, ""]:
    """The cells of row y."""
    return jnp.where(jnp.arange(SIDE, dtype=jnp.int32) == y, rows, 0).sum(dtype=jnp.int32)


def shifted(row: Int[Array, "..."], right: Bool[Array, "..."]) -> Int[Array, "..."]:
    """Cells moved by one column; those that leave the board are gone."""
    return jnp.where(right, (row << 1) & FULL, row >> 1)


def pick(luck: Float[Array, ""], n: Int[Array, ""] | int) -> Int[Array, ""]:
    """One of 0, …, n − 1, alike likely, by a number in [0, 1)."""
    return jnp.floor(luck * jnp.asarray(n, jnp.float32)).astype(jnp.int32)


def counted(timer: Int[Array, ""]) -> Int[Array, ""]:
    """A timer one step later, which stops at 0."""
    return jnp.maximum(timer - 1, 0)
