"""Frames kept once, against a replay that keeps whole stacks: the same draws give the same batches."""

import dataclasses
import math
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Dict, Discrete, Masked
from fathom.core.types import EnvSpec, Prioritisation, Rollout, Stack
from fathom.core.types import Masked as MaskedObs
from fathom.data import frames, store
from fathom.data import replay as replays

SHAPES = ((4, 1, 1), (6, 3, 2), (12, 2, 3))  # rows of the ring, environments, rows of a write

add = partial(jax.jit, static_argnames="n_step")(replays.add)
add_rows = partial(jax.jit, static_argnames="n_step")(replays.add_rows)
gather = partial(jax.jit, static_argnames="n_step")(replays.gather)
find = partial(jax.jit, static_argnames="n_step")(replays.find)
prioritized = partial(jax.jit, static_argnames=("rows", "num_envs", "n_step"))(replays.draw_prioritized)
reprioritise = partial(jax.jit, static_argnames="num_envs")(replays.reprioritise)


class World:
    """Environments whose frames are whole numbers, counted up, and whose ends are drawn."""

    def __init__(self, stack: Stack, num_envs: int, seed: int, ends: float, frame: tuple[int, ...] = (1,)):
        self.stack, self.frame, self.ends = stack, frame, ends
        self.rng = np.random.default_rng(seed)
        self.count = 0
        self.obs = [self.reset() for _ in range(num_envs)]

    def picture(self) -> np.ndarray:
        self.count += 1
        return np.full(self.frame, self.count, np.float32)

    def reset(self) -> np.ndarray:
        first = self.picture()
        other = first if self.stack.padding == "repeat" else np.zeros_like(first)
        return np.concatenate([other] * (self.stack.num - 1) + [first], axis=self.stack.axis)

    def rollout(self, rows: int) -> Rollout:
        steps = []
        for _ in range(rows):
            seen, reached, flags = list(self.obs), [], self.rng.random((2, len(self.obs))) < self.ends
            for e, obs in enumerate(seen):
                size = self.frame[self.stack.axis]
                kept = np.split(obs, [size], axis=self.stack.axis)[1]
                reached.append(np.concatenate([kept, self.picture()], axis=self.stack.axis))
                self.obs[e] = self.reset() if flags[:, e].any() else reached[-1]
            reward = self.rng.normal(size=len(seen)).astype(np.float32)
            action = self.rng.integers(0, 1000, len(seen)).astype(np.int32)
            steps.append((np.stack(seen), action, reward, flags[0], flags[1], np.stack(reached)))
        return Rollout(*(jnp.asarray(np.stack(column)) for column in zip(*steps, strict=True)), {}, ())


def spec_of(stack: Stack, frame: tuple[int, ...] = (1,), known: bool = True) -> EnvSpec:
    shape = list(frame)
    shape[stack.axis] *= stack.num
    box = Box(-np.inf, np.inf, tuple(shape))
    return EnvSpec(box, Discrete(1000), "World", stack if known else None)


class Pair(NamedTuple):
    """The same transitions with whole stacks and with frames kept once."""

    whole: replays.Replay
    once: replays.Replay
    ring: replays.Ring


def pair(
    stack: Stack,
    shape: tuple,
    writes: int,
    seed: int,
    ends: float,
    spare: int | None = None,
    n: int = 1,
    to_turn: int | None = None,
) -> Pair:
    """Filled by some writes; no truncated step's frame is given up, unless there are only `spare` places.

    With `to_turn`, so many truncated steps before their numbers start again.
    """
    rows, num_envs, per_write = shape
    world = World(stack, num_envs, seed, ends)
    whole = replays.init(spec_of(stack, known=False), rows, num_envs, True)
    once = with_spare(spec_of(stack), rows, num_envs, rows if spare is None else spare, True)
    if to_turn is not None:
        cuts = jnp.full_like(once.obs.cuts, once.obs._turn - to_turn)
        once = eqx.tree_at(lambda r: r.obs.cuts, once, cuts)
    ring = replays.Ring(jnp.int32(0), jnp.int32(0))
    for _ in range(writes):
        rollout = world.rollout(per_write)
        whole, once = (add(buffer, rollout, ring, n_step=n) for buffer in (whole, once))
        ring = replays.advance(ring, per_write, rows)
    return Pair(whole, once, ring)


def with_spare(spec: EnvSpec, rows: int, num_envs: int, spare: int, *rest: Any) -> replays.Replay:
    """An empty buffer with so many places for frames that truncated steps reached."""
    before, frames._ROWS_A_CUT = frames._ROWS_A_CUT, rows / spare
    try:
        return replays.init(spec, rows, num_envs, *rest)
    finally:
        frames._ROWS_A_CUT = before


def all_starts(ring: replays.Ring, rows: int, num_envs: int, n: int) -> replays.Draw:
    """Every transition whose window of n steps is complete, oldest first."""
    count = int(ring.filled) - n + 1
    first = (int(ring.cursor) - int(ring.filled) + np.arange(count)) % rows
    first, env = np.repeat(first, num_envs), np.tile(np.arange(num_envs), count)
    # Of one length whatever the ring holds, so that one program does: some are there more than once.
    index = np.resize(np.arange(len(first)), rows * num_envs)
    return replays.Draw(jnp.asarray(first[index], jnp.int32), jnp.asarray(env[index], jnp.int32))


def same(a: Any, b: Any) -> None:
    """Two batches agree to the bit, in what is reached as far as it counts."""
    going = np.asarray(b.discount) > 0.0
    jax.tree.map(np.testing.assert_array_equal, drop(a), drop(b))
    pick = lambda tree: jax.tree.map(lambda x: np.asarray(x)[going], tree)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, pick(a.next_obs), pick(b.next_obs))


def drop(batch: Any) -> Any:
    return dataclasses.replace(batch, next_obs=None)


@pytest.mark.parametrize(
    ("k", "n", "shape", "padding"),
    [
        (2, 1, SHAPES[0], "repeat"),
        (2, 2, SHAPES[1], "zero"),
        (2, 3, SHAPES[2], "repeat"),
        (2, 5, SHAPES[1], "repeat"),
        (4, 1, SHAPES[1], "repeat"),
        (4, 2, SHAPES[2], "zero"),
        (4, 3, SHAPES[0], "zero"),
        (4, 5, SHAPES[2], "repeat"),
    ],
)
@settings(max_examples=12)
@given(
    writes=st.integers(1, 16),
    seed=st.integers(0, 2**31),
    ends=st.sampled_from([0.0, 0.05, 0.3, 0.8]),
)
def test_every_batch_is_that_of_whole_stacks(k, n, shape, padding, writes, seed, ends):
    """Trap 4: over the wrap, at truncations, at the oldest row, whose older frames are overwritten."""
    rows, num_envs, per_write = shape
    writes = max(writes, math.ceil(n / per_write))
    whole, once, ring = pair(Stack(k, -1, padding), shape, writes, seed, ends, n=n)
    gamma = jnp.float32(0.9)
    starts = all_starts(ring, rows, num_envs, n)
    same(gather(once, starts, n, gamma, ring), gather(whole, starts, n, gamma, ring))
    jax.tree.map(np.testing.assert_array_equal, once.tree, whole.tree)


@pytest.mark.parametrize(("spare", "n", "shape"), [(1, 1, SHAPES[2]), (1, 3, SHAPES[1]), (2, 3, SHAPES[2])])
@settings(max_examples=15)
@given(writes=st.integers(3, 16), seed=st.integers(0, 2**31))
def test_a_frame_that_is_given_up_ends_windows_before_its_step(spare, n, shape, writes, seed):
    """Of each environment's truncated steps the newest `spare` are known; others are as if never made."""
    rows, num_envs, _ = shape
    whole, once, ring = pair(Stack(2, -1), shape, writes, seed, 0.4, spare)
    starts = all_starts(ring, rows, num_envs, n)
    batch = gather(once, starts, n, jnp.float32(0.5), ring)
    order = (int(ring.cursor) - int(ring.filled) + np.arange(int(ring.filled))) % rows
    ended, cut, reward, obs, reached = (
        np.asarray(x)[order]
        for x in (whole.terminated, whole.truncated, whole.reward, whole.obs, whole.final_obs)
    )
    cut &= ~ended
    known = cut & (np.cumsum(cut[::-1], axis=0)[::-1] <= spare)
    position = (np.asarray(starts.first) - order[0]) % rows
    for i, (t, e) in enumerate(zip(position, np.asarray(starts.env), strict=True)):
        if cut[t, e] and not known[t, e]:
            assert batch.weight[i] == 0.0
            continue
        total, discount, last = 0.0, 1.0, obs[t, e]
        for row in range(t, t + n):
            if cut[row, e] and not known[row, e]:
                last = obs[row, e]
                break
            total, last = total + discount * reward[row, e], reached[row, e]
            discount *= 0.0 if ended[row, e] else 0.5
            if ended[row, e] or cut[row, e]:
                break
        assert batch.weight[i] == 1.0
        assert batch.discount[i] == np.float32(discount)
        np.testing.assert_allclose(batch.reward[i], total, rtol=1e-6)
        if discount > 0.0:
            np.testing.assert_array_equal(batch.next_obs[i], last)


@pytest.mark.parametrize(
    ("stack", "frame"),
    [
        (Stack(3, -1), (2, 2, 2)),
        (Stack(3, -3), (1, 2, 3)),
        (Stack(2, -2, "zero"), (2, 2, 1)),
        (Stack(1, -1), (3,)),
    ],
)
def test_stacks_are_joined_along_their_axis(stack, frame):
    world, ring = World(stack, 2, 0, 0.2, frame), replays.Ring(jnp.int32(0), jnp.int32(0))
    whole = replays.init(spec_of(stack, frame, known=False), 8, 2)
    once = with_spare(spec_of(stack, frame), 8, 2, 8)
    for _ in range(5):
        rollout = world.rollout(2)
        whole, once = (add(buffer, rollout, ring) for buffer in (whole, once))
        ring = replays.advance(ring, 2, 8)
    starts = all_starts(ring, 8, 2, 1)
    batch = gather(once, starts, 1, jnp.float32(0.9), ring)
    same(batch, gather(whole, starts, 1, jnp.float32(0.9), ring))
    assert batch.obs.shape[1:] == spec_of(stack, frame).obs_space.shape


def test_masks_go_with_the_newest_frame_and_bytes_stay_bytes():
    stack = Stack(2, -1)
    space = Masked(Box(0, 255, (2,), np.uint8), 3)
    known = EnvSpec(space, Discrete(3), stack=stack)
    world, ring = World(stack, 2, 3, 0.2), replays.Ring(jnp.int32(0), jnp.int32(0))
    whole, once = replays.init(EnvSpec(space, Discrete(3)), 6, 2), with_spare(known, 6, 2, 6)
    legal = lambda x: jnp.asarray(np.asarray(x)[..., -1:] > np.arange(0, 90, 30))  # noqa: E731
    masked = lambda x: MaskedObs(x.astype(jnp.uint8), legal(x))  # noqa: E731
    for _ in range(5):
        rollout = world.rollout(2)
        rollout = dataclasses.replace(rollout, obs=masked(rollout.obs), final_obs=masked(rollout.final_obs))
        whole, once = (add(buffer, rollout, ring) for buffer in (whole, once))
        ring = replays.advance(ring, 2, 6)
    assert once.obs.kept.obs.dtype == jnp.uint8
    starts = all_starts(ring, 6, 2, 3)
    batch = gather(once, starts, 3, jnp.float32(0.9), ring)
    assert batch.obs.obs.dtype == jnp.uint8
    same(batch, gather(whole, starts, 3, jnp.float32(0.9), ring))


@pytest.mark.parametrize("writes", [3, 9], ids=["half full", "wrapped"])
def test_draws_by_priority_are_those_of_whole_stacks(writes):
    whole, once, ring = pair(Stack(4, -1), (12, 3, 2), writes, 0, 0.2, n=2)
    how = Prioritisation(jnp.float32(0.7), jnp.float32(0.4))
    uniform, error = np.random.default_rng(0).random((2, 32)).astype(np.float32)
    found = []
    for buffer in (whole, once):
        drawn, _ = prioritized(buffer.tree, 12, 3, ring, jnp.asarray(uniform), how, 2)
        tree = reprioritise(buffer.tree, 3, drawn, jnp.asarray(error), jnp.float32(0.7))
        found.append(prioritized(tree, 12, 3, ring, jnp.asarray(uniform), how, 2))
    jax.tree.map(np.testing.assert_array_equal, *found)


@pytest.mark.parametrize("writes", [2, 5], ids=["half full", "wrapped"])
def test_episodes_given_up_are_truncated_where_they_are(writes):
    stack, ring = Stack(3, -1), replays.Ring(jnp.int32(0), jnp.int32(0))
    world = World(stack, 3, 1, 0.2)
    whole, once = replays.init(spec_of(stack, known=False), 6, 3), with_spare(spec_of(stack), 6, 3, 6)
    for write in range(writes + 2):
        if write == writes:
            whole, once = (replays.cut(buffer, ring)[0] for buffer in (whole, once))
            world.obs = [world.reset() for _ in world.obs]
        rollout = world.rollout(2)
        whole, once = (add(buffer, rollout, ring) for buffer in (whole, once))
        ring = replays.advance(ring, 2, 6)
    starts = all_starts(ring, 6, 3, 3)
    batch = gather(once, starts, 3, jnp.float32(0.9), ring)
    same(batch, gather(whole, starts, 3, jnp.float32(0.9), ring))


@pytest.mark.parametrize("writes", [1, 5], ids=["half full", "wrapped"])
def test_emptied_in_the_middle_of_episodes_stacks_are_whole_all_the_same(writes):
    stack, ring = Stack(4, -1), replays.Ring(jnp.int32(0), jnp.int32(0))
    world = World(stack, 2, 1, 0.05)
    whole, once = (
        replays.init(spec_of(stack, known=False), 6, 2, True),
        with_spare(spec_of(stack), 6, 2, 6, True),
    )
    for write in range(writes + 1):
        if write == writes:
            whole, once = (replays.clear(buffer, ring) for buffer in (whole, once))
            assert not np.asarray(once.tree.levels[0]).any()
            ring = jax.tree.map(jnp.zeros_like, ring)
        rollout = world.rollout(2)
        whole, once = (add(buffer, rollout, ring) for buffer in (whole, once))
        ring = replays.advance(ring, 2, 6)
    starts = all_starts(ring, 6, 2, 1)
    batch = gather(once, starts, 1, jnp.float32(0.9), ring)
    same(batch, gather(whole, starts, 1, jnp.float32(0.9), ring))


@pytest.mark.parametrize(
    ("shape", "padding", "spare"),
    [(SHAPES[0], "repeat", 1), (SHAPES[1], "zero", 2), (SHAPES[2], "repeat", 2), (SHAPES[1], None, 1)],
)
@settings(max_examples=10)
@given(writes=st.integers(1, 10), seed=st.integers(0, 2**31))
def test_the_hosts_twin_holds_what_the_device_would(shape, padding, spare, writes, seed):
    """Frames (padding) or whole observations (None): the same arrays, and the same observations fetched."""
    rows, num_envs, per_write = shape
    stack = Stack(3, -1, padding or "repeat")
    spec = spec_of(stack, known=padding is not None)
    world, ring = World(stack, num_envs, seed, 0.3), replays.Ring(jnp.int32(0), jnp.int32(0))
    whole = with_spare(spec, rows, num_envs, spare)
    apart = with_spare(spec, rows, num_envs, spare, False, False)
    twin = store.Store(spec, rows, num_envs, 1)
    twin.arrays = jax.tree.map(np.array, replays.observations(whole))
    for _ in range(writes):
        rollout = world.rollout(per_write)
        whole = add(whole, rollout, ring)
        apart, place = add_rows(apart, rollout, ring)
        host = jax.device_get((rollout.obs, rollout.final_obs))
        twin.write(*host, int(ring.cursor), int(ring.filled), np.asarray(place))
        ring = replays.advance(ring, per_write, rows)
    whole, _ = replays.cut(whole, ring)
    apart, place = replays.cut(apart, ring)
    twin.move(np.asarray(place))
    jax.tree.map(np.testing.assert_array_equal, twin.arrays, replays.observations(whole))
    joined = twin.joined(apart, int(ring.cursor), per_write)
    jax.tree.map(np.testing.assert_array_equal, joined, whole)
    starts = all_starts(ring, rows, num_envs, 1)
    found = find(apart, starts, 1, jnp.float32(0.9), ring)
    batch = gather(whole, starts, 1, jnp.float32(0.9), ring)
    seen = replays.fetch(spec.stack, *twin.fetch(found))
    jax.tree.map(np.testing.assert_array_equal, seen, (batch.obs, batch.next_obs))


def test_frames_kept_once_take_what_is_told_and_nearly_an_eighth():
    box = Box(0, 255, (84, 84, 4), np.uint8)
    whole, once = EnvSpec(box, Discrete(6)), EnvSpec(box, Discrete(6), stack=Stack(4, -1))
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(replays.init(once, 64, 2)))
    assert replays.nbytes(once, 64, 2) == taken
    assert replays.nbytes(whole, 10**6, 1) / replays.nbytes(once, 10**6, 1) == pytest.approx(8.0, rel=0.02)
    small = replays.nbytes(once, 10**6, 1, within=False)
    assert small < 20 * 10**6
    assert store.nbytes(once, 10**6, 1) == replays.nbytes(once, 10**6, 1) - small
    twin = store.Store(once, 64, 2, 3)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(twin.arrays)) == 3 * store.nbytes(once, 64, 2)


@pytest.mark.parametrize("space", [Box(0.0, 1.0, (3,)), Discrete(4), Dict({"a": Box(0.0, 1.0, (4,))})])
def test_observations_that_are_no_such_stack_are_refused(space):
    with pytest.raises(FathomError, match=r"(?s)2 frames along axis -1.*mend its `stack`"):
        replays.init(EnvSpec(space, Discrete(2), stack=Stack(2, -1)), 4, 1)
