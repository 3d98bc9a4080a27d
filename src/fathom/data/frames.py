"""Observations that are stacks of frames, each frame kept once; stacks are put together as they are drawn."""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.types import EnvSpec, Masked, Obs, Stack

_ROWS_A_CUT = 64  # rows of the ring for each frame kept of those that truncated steps reached


class Frames(eqx.Module):
    """Frames of the newest R transitions of each environment, of which their stacks of k are made again.

    A row's own frame is the newest of its observation. The one that its step reached is the next row's, as
    long as the episode goes on; after a terminated step it is never read. In `kept`, [place, env, ...], are

        0 … R − 1         the frame of each row of the ring
        R … R + k − 2     the k − 1 frames before the oldest row, so that no stack crosses the ring's cursor
        R + k − 1         the frame that the newest row's step reached
        R + k …           the frames that truncated steps reached, the newest `spare` of each environment
        the last place    zeros, where these stand before an episode's first frame

    The k − 1 frames are held a second time, as they are and as they will be once the next rows are written:
    XLA writes to an array in place only where nothing reads it before.
    """

    kept: Obs | None  # one frame a place, masks with it; None where the host's memory holds them
    older: Obs  # [k − 1, env, ...], those before the oldest row
    coming: Obs  # [k − 1, env, ...], those before it after the next write, if the ring is full
    age: Int[Array, "... row env"]  # frames of the episode before this row's, counted to k − 1
    number: Int[Array, "... row env"]  # of a truncated step among those of its environment
    cuts: Int[Array, "... env"]  # truncated steps so far, the next one's number
    next_age: Int[Array, "... env"]  # of the row that is written next
    stack: Stack
    spare: int = eqx.field(static=True)

    @property
    def rows(self) -> int:
        """R."""
        return self.age.shape[-2]

    @property
    def places(self) -> int:
        """Places of `kept`."""
        return self.rows + self.stack.num + self.spare + (self.stack.padding == "zero")

    @property
    def _turn(self) -> int:
        """Numbers of truncated steps start again at 0 after so many: a multiple of `spare`, far above R."""
        return 2**30 // self.spare * self.spare


def init(spec: EnvSpec, rows: int, num_envs: int, within: bool = True) -> Frames:
    """Room for a ring of this many rows; without the frames themselves where they are kept elsewhere."""
    stack = spec.stack
    assert stack is not None, "the observations are no stack"
    space = spec.obs_space.obs if isinstance(spec.obs_space, spaces.Masked) else spec.obs_space
    if (
        not isinstance(space, spaces.Box)
        or -stack.axis > len(space.shape)
        or space.shape[stack.axis] % stack.num
    ):
        raise FathomError(
            f"{spec.id or 'the environment'} says that its observations are {stack.num} frames along axis "
            f"{stack.axis}, and they are of {space!r}; mend its `stack`, or let it be None."
        )
    age = jnp.zeros((rows, num_envs), jnp.uint8 if stack.num <= 2**8 else jnp.int32)
    none = jnp.zeros(num_envs, jnp.int32)
    nothing: Any = None
    frames = Frames(
        nothing,
        nothing,
        nothing,
        age,
        jnp.zeros((rows, num_envs), jnp.int32),
        none,
        jnp.copy(none),
        stack,
        math.ceil(rows / _ROWS_A_CUT),
    )
    like, most = room(spec, frames), stack.num - 1
    older, coming = (jax.tree.map(lambda s: jnp.zeros((most, *s.shape[1:]), s.dtype), like) for _ in range(2))
    kept = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), like) if within else None
    return dataclasses.replace(frames, kept=kept, older=older, coming=coming)


def room(spec: EnvSpec, frames: Frames) -> Obs:
    """Shapes and dtypes of `kept`."""
    num_envs = frames.age.shape[-1]
    frame = jax.eval_shape(lambda: newest(frames.stack, spaces.zeros(spec.obs_space)))
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct((frames.places, num_envs, *s.shape), s.dtype), frame)


def newest(stack: Stack, obs: Obs) -> Obs:
    """The newest frame of observations [..., obs], with their mask if they have one."""
    if isinstance(obs, Masked):
        return Masked(newest(stack, obs.obs), obs.mask)
    size = obs.shape[stack.axis]
    return obs[(..., slice(size - size // stack.num, None), *[slice(None)] * (-stack.axis - 1))]


def mark(
    frames: Frames, terminated: Bool[Array, "time env"], truncated: Bool[Array, "time env"], cursor: Array
) -> tuple[Frames, Int[Array, "time env"]]:
    """Note what rows [time, env] written at the cursor are; the place of the frame each reached, or none.

    Only truncated steps have such a place; what has none is at the number of places, which is out of range.
    """
    most = frames.stack.num - 1

    def follow(age: Array, over: Array) -> tuple[Array, Array]:
        return jnp.where(over, 0, jnp.minimum(age + 1, most)), age

    next_age, age = jax.lax.scan(follow, frames.next_age, terminated | truncated)
    cut = (truncated & ~terminated).astype(jnp.int32)
    before = jnp.cumsum(cut, axis=0) - cut
    number = (frames.cuts[None] + before) % frames._turn
    total = cut.sum(axis=0, dtype=jnp.int32)
    # Of more than there are places for only the newest: a scatter must not name one place twice.
    has_place = (cut == 1) & (total[None] - before <= frames.spare)
    place = jnp.where(has_place, _cut_place(frames, number), frames.places)

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), cursor, axis=0)

    marked = (
        write(frames.age, age),
        write(frames.number, number),
        (frames.cuts + total) % frames._turn,
        next_age,
    )
    return eqx.tree_at(lambda f: (f.age, f.number, f.cuts, f.next_age), frames, marked), place


def _cut_place(frames: Frames, number: Array) -> Array:
    return frames.rows + frames.stack.num + number % frames.spare


def write(frames: Frames, obs: Obs, final_obs: Obs, cursor: Array, full: Array, place: Array) -> Frames:
    """Keep the frames of rows [time, env, ...], and those reached that have a place, as `mark` told."""
    rows, written = frames.rows, place.shape[0]
    env = jnp.arange(place.shape[1], dtype=jnp.int32)[None]

    def one(kept: Array, seen: Array, reached: Array, older: Array) -> Array:
        kept = jax.lax.dynamic_update_slice_in_dim(kept, seen.astype(kept.dtype), cursor, axis=0)
        edge = jnp.concatenate([older, reached[-1:].astype(kept.dtype)])
        kept = jax.lax.dynamic_update_slice_in_dim(kept, edge, rows, axis=0)
        return kept.at[place, env].set(reached.astype(kept.dtype), mode="drop")

    seen, reached = newest(frames.stack, obs), newest(frames.stack, final_obs)
    older = jax.tree.map(lambda late, now: jnp.where(full, late, now), frames.coming, frames.older)
    kept = jax.tree.map(one, frames.kept, seen, reached, older)
    older, coming = edges(frames, kept, (cursor + written) % rows, written)
    return dataclasses.replace(frames, kept=kept, older=older, coming=coming)


def edges(frames: Frames, kept: Obs, cursor: Any, written: int) -> tuple[Obs, Obs]:
    """What `older` and `coming` are, where so many rows are written next at the cursor; JAX's or NumPy's."""
    rows, most = frames.rows, frames.stack.num - 1
    gone = min(written, most)
    last = (cursor + written - gone + np.arange(gone)) % rows  # of the rows that are overwritten next
    older = jax.tree.map(lambda x: x[rows : rows + most], kept)

    def coming(x: Any, now: Any) -> Any:
        join = np.concatenate if isinstance(x, np.ndarray) else jnp.concatenate
        return join([now, x[last]])[gone:]

    return older, jax.tree.map(coming, kept, older)


def cut(frames: Frames, newest_row: Array, going: Bool[Array, " env"]) -> tuple[Frames, Int[Array, " env"]]:
    """The frames once the episodes `going` on after the newest row are given up, as by truncation there.

    Also the place that the frame reached by that row belongs to now, out of range for the others.
    """
    number = jnp.where(going, frames.cuts, frames.number[newest_row])
    place = jnp.where(going, _cut_place(frames, number), frames.places)
    after = (frames.cuts + going.astype(jnp.int32)) % frames._turn
    changed = (frames.number.at[newest_row].set(number), after, jnp.zeros_like(frames.next_age))
    return eqx.tree_at(lambda f: (f.number, f.cuts, f.next_age), frames, changed), place


def seen_at(
    frames: Frames, cursor: Array, filled: Array, row: Array, env: Array
) -> Int[Array, "batch frame"]:
    """The places of the frames of observations, oldest first."""
    back = jnp.arange(frames.stack.num - 1, -1, -1, dtype=jnp.int32)[None]
    return _stacked(frames, cursor, filled, row, env, back)


def reached_at(
    frames: Frames, cursor: Array, filled: Array, row: Array, env: Array, cut: Array
) -> Int[Array, "batch frame"]:
    """The places of the frames of the observations that steps reached; `cut` tells which were truncated."""
    rows = frames.rows
    following = jnp.where(row == (cursor - 1) % rows, rows + frames.stack.num - 1, (row + 1) % rows)
    last = jnp.where(cut, _cut_place(frames, frames.number[row, env]), following)
    back = jnp.arange(frames.stack.num - 2, -1, -1, dtype=jnp.int32)[None]
    return jnp.concatenate([_stacked(frames, cursor, filled, row, env, back), last[:, None]], axis=1)


def _stacked(
    frames: Frames, cursor: Array, filled: Array, row: Array, env: Array, back: Array
) -> Int[Array, "batch frame"]:
    """The places of the frames so many rows back, and what stands there before the episode's first one."""
    rows = frames.rows
    age = frames.age[row, env].astype(jnp.int32)[:, None]
    behind = jnp.minimum(back, age)
    position = ((row - (cursor - filled)) % rows)[:, None]  # counted from the oldest row
    there = jnp.where(
        behind <= position, (row[:, None] - behind) % rows, rows + frames.stack.num - 1 + position - behind
    )
    return there if frames.stack.padding == "repeat" else jnp.where(back > age, frames.places - 1, there)


def lost(frames: Frames, row: Array, env: Array, cut: Array) -> Bool[Array, " batch"]:
    """Whether the frame that a truncated step reached has since given way to those of later ones."""
    later = (frames.cuts[env] - frames.number[row, env]) % frames._turn
    return cut & (later > frames.spare)


def fetch(stack: Stack, kept: Obs, places: Any, env: Any) -> Obs:
    """Stacks [batch, ...] from the frames at places [batch, frame], on arrays of JAX or of NumPy alike."""
    if isinstance(kept, Masked):
        return Masked(fetch(stack, kept.obs, places, env), kept.mask[places[:, -1], env])
    parts = kept[places, env[:, None]]  # [batch, frame, ...]
    order = [axis for axis in range(parts.ndim) if axis != 1]
    order.insert(parts.ndim - 1 + stack.axis, 1)
    shape = [*parts.shape[:1], *parts.shape[2:]]
    shape[stack.axis] *= stack.num
    return parts.transpose(order).reshape(shape)


def move(frames: Frames, place: Int[Array, " env"]) -> Frames:
    """The frames, that which the newest row's step reached also at a place, as `cut` told."""
    env = jnp.arange(place.shape[0], dtype=jnp.int32)
    at = frames.rows + frames.stack.num - 1
    kept = jax.tree.map(lambda x: x.at[place, env].set(x[at], mode="drop"), frames.kept)
    return eqx.tree_at(lambda f: f.kept, frames, kept)


def clear(frames: Frames, cursor: Array, filled: Array) -> Frames:
    """The frames where the ring is emptied: those that the next rows' stacks need stay in reach."""
    older = frames.stack.num - 1
    back = jnp.arange(older - 1, -1, -1, dtype=jnp.int32)
    there = jnp.where(
        back < filled, (cursor - 1 - back) % frames.rows, frames.rows + older + filled - 1 - back
    )
    found = jax.tree.map(lambda x: x[there], frames.kept)
    put = lambda x, new: x.at[frames.rows : frames.rows + older].set(new)  # noqa: E731
    kept = jax.tree.map(put, frames.kept, found)
    return dataclasses.replace(frames, kept=kept, older=found, coming=found)
