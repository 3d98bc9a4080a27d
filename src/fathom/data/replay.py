"""A replay buffer on the device: a ring of arrays whose position is kept outside, for all seeds alike."""

import dataclasses
import math
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.core import spaces
from fathom.core.types import Action, Batch, EnvSpec, Obs, Prioritisation, Rollout, Stack
from fathom.data import frames, sum_tree
from fathom.data.frames import Frames
from fathom.data.sum_tree import SumTree

_LEAST = 1e-6  # added to every priority, so that none is 0: ε of Schaul et al. 2016


class Replay(eqx.Module):
    """The newest transitions of each environment; every leaf is [row, env, ...].

    Both s_t and the observation reached from it are kept, so that the end of an episode, a truncation and
    the wrap of the ring need no exceptions. Of stacks of frames each frame is kept once: see `Frames`. Where
    observations are kept elsewhere (see `store.Store`) they are None here.
    """

    obs: Obs | Frames | None
    action: PyTree
    reward: Float[Array, "... row env"]
    terminated: Bool[Array, "... row env"]
    truncated: Bool[Array, "... row env"]
    final_obs: Obs | None
    tree: SumTree | None = None  # p^α of the transition that starts in each [row, env], in a row; or uniform


class Ring(eqx.Module):
    """Where the ring stands. Shared by all seeds, so that writing stays a slice update under `vmap`."""

    cursor: Int[Array, ""]  # the row that is written next
    filled: Int[Array, ""]  # rows that hold data


def rows_needed(buffer_size: int, num_envs: int, rows_per_write: int) -> int:
    """Rows of a ring that holds at least `buffer_size` transitions and a whole number of writes."""
    return math.ceil(buffer_size / (num_envs * rows_per_write)) * rows_per_write


def init(spec: EnvSpec, rows: int, num_envs: int, prioritized: bool = False, within: bool = True) -> Replay:
    """An empty buffer; without its observations unless they are to be kept `within` it."""

    def ring(x: Array) -> Array:
        return jnp.zeros((rows, num_envs, *x.shape), x.dtype)

    obs, final_obs = None, None
    if spec.stack is not None:
        obs = frames.init(spec, rows, num_envs, within)
    elif within:
        obs = jax.tree.map(ring, spaces.zeros(spec.obs_space))
        final_obs = jax.tree.map(ring, spaces.zeros(spec.obs_space))
    flags = jnp.zeros((rows, num_envs), jnp.bool_)
    return Replay(
        obs=obs,
        action=jax.tree.map(ring, spaces.zeros(spec.action_space)),
        reward=jnp.zeros((rows, num_envs)),
        terminated=flags,
        truncated=jnp.copy(flags),
        final_obs=final_obs,
        tree=sum_tree.init(rows * num_envs) if prioritized else None,
    )


def nbytes(spec: EnvSpec, rows: int, num_envs: int, prioritized: bool = False, within: bool = True) -> int:
    """Bytes that `init` would take, known without taking them."""
    shapes = jax.eval_shape(lambda: init(spec, rows, num_envs, prioritized, within))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def observations(replay: Replay) -> PyTree:
    """The arrays of observations: what makes a replay large. None for those that are kept elsewhere."""
    return replay.obs.kept if isinstance(replay.obs, Frames) else (replay.obs, replay.final_obs)


def stack_of(replay: Replay) -> Stack | None:
    """How its observations are made of frames, None where they are kept as they are."""
    return replay.obs.stack if isinstance(replay.obs, Frames) else None


def with_observations(replay: Replay, arrays: PyTree) -> Replay:
    """The replay with these for its `observations`; with None they are elsewhere."""
    if isinstance(replay.obs, Frames):
        return eqx.tree_at(lambda r: r.obs.kept, replay, arrays, is_leaf=lambda x: x is None)
    obs, final_obs = (None, None) if arrays is None else arrays
    return dataclasses.replace(replay, obs=obs, final_obs=final_obs)


def add(replay: Replay, rollout: Rollout, ring: Ring, n_step: int = 1) -> Replay:
    """Write a rollout [time, env, ...] at the cursor; the rows of the ring are a multiple of its length.

    With priorities, those transitions whose n-step window is complete with it get the greatest there was.
    """
    replay, place = add_rows(replay, rollout, ring, n_step)
    if isinstance(replay.obs, Frames):
        full = ring.filled == replay.reward.shape[0]
        obs = frames.write(replay.obs, rollout.obs, rollout.final_obs, ring.cursor, full, place)
        return eqx.tree_at(lambda r: r.obs, replay, obs)
    old = (replay.obs, replay.final_obs)
    fresh = jax.tree.map(partial(_write, ring), old, (rollout.obs, rollout.final_obs))
    return eqx.tree_at(lambda r: (r.obs, r.final_obs), replay, fresh)


def add_rows(
    replay: Replay, rollout: Rollout, ring: Ring, n_step: int = 1
) -> tuple[Replay, Int[Array, "time env"]]:
    """`add`, but for the observations; the places of frames that `frames.mark` tells, 0 where it need not."""
    written_rows, num_envs = rollout.reward.shape
    fresh: tuple[Action, Array, Array, Array]
    fresh = (rollout.action, rollout.reward, rollout.terminated, rollout.truncated)
    rows = lambda r: (r.action, r.reward, r.terminated, r.truncated)  # noqa: E731
    written = eqx.tree_at(rows, replay, jax.tree.map(partial(_write, ring), rows(replay), fresh))
    place = jnp.zeros((written_rows, num_envs), jnp.int32)
    if isinstance(replay.obs, Frames):
        marked, place = frames.mark(replay.obs, rollout.terminated, rollout.truncated, ring.cursor)
        written = eqx.tree_at(lambda r: r.obs, written, marked)
    if replay.tree is None:
        return written, place
    tree = _admit(replay.tree, ring, written_rows, num_envs, replay.reward.shape[0], n_step)
    return eqx.tree_at(lambda r: r.tree, written, tree), place


def _write(ring: Ring, old: Array, new: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), ring.cursor, axis=0)


def cut(replay: Replay, ring: Ring) -> tuple[Replay, Int[Array, " env"]]:
    """The replay where the episodes under way are given up: they count as truncated in the newest row.

    Also the place that the frame reached there has now, as `frames.cut` tells, 0 where there are no frames.
    """
    rows, num_envs = replay.reward.shape
    last = (ring.cursor - 1) % rows
    place = jnp.zeros(num_envs, jnp.int32)
    if isinstance(replay.obs, Frames):
        # Before the first row there is none whose episode could go on.
        going = ~(replay.terminated[last] | replay.truncated[last]) & (ring.filled > 0)
        obs, place = frames.cut(replay.obs, last, going)
        if obs.kept is not None:
            obs = frames.move(obs, place)
        replay = eqx.tree_at(lambda r: r.obs, replay, obs)
    return eqx.tree_at(lambda r: r.truncated, replay, replay.truncated.at[last].set(True)), place


def clear(replay: Replay, ring: Ring) -> Replay:
    """The replay for a ring that is emptied: nothing in it is drawn, and episodes under way go on."""
    if isinstance(replay.obs, Frames):
        replay = eqx.tree_at(lambda r: r.obs, replay, frames.clear(replay.obs, ring.cursor, ring.filled))
    if replay.tree is None:
        return replay
    return eqx.tree_at(lambda r: r.tree.nodes, replay, jnp.zeros_like(replay.tree.nodes))


def _admit(tree: SumTree, ring: Ring, written: int, num_envs: int, rows: int, n_step: int) -> SumTree:
    """Weight 0 for the newest n − 1 rows, whose windows are not complete, and the greatest for those due."""
    after = advance(ring, written, rows)
    back = jnp.arange(1, min(n_step - 1 + written, rows) + 1, dtype=jnp.int32)  # 1 is the newest row
    due = (back >= n_step) & (back <= after.filled)
    index = ((after.cursor - back) % rows)[:, None] * num_envs + jnp.arange(num_envs, dtype=jnp.int32)[None]
    weight = jnp.broadcast_to(jnp.where(due, tree.greatest, 0.0)[:, None], index.shape)
    return sum_tree.write(tree, index.ravel(), weight.ravel())


def advance(ring: Ring, written: int, rows: int) -> Ring:
    """The ring after `written` more rows."""
    return Ring((ring.cursor + written) % rows, jnp.minimum(ring.filled + written, rows))


class Draw(eqx.Module):
    """Which transitions a batch is made of."""

    first: Int[Array, "... batch"]  # the row in which the transition starts
    env: Int[Array, "... batch"]


def draw(rows: int, num_envs: int, ring: Ring, key: Key[Array, ""], batch_size: int, n_step: int) -> Draw:
    """Draw transitions uniformly, with replacement, from those whose n-step window has been collected.

    Apart from `gather`, so that the draws of a whole round can be made in one batch before it: inside a scan
    each Threefry call is a loop of its own.
    """
    row_key, env_key = jax.random.split(key)
    start = jax.random.randint(row_key, (batch_size,), 0, jnp.maximum(ring.filled - (n_step - 1), 1))
    env = jax.random.randint(env_key, (batch_size,), 0, num_envs)
    return Draw((ring.cursor - ring.filled + start) % rows, env)


def draw_prioritized(
    tree: SumTree,
    rows: int,
    num_envs: int,
    ring: Ring,
    uniform: Float[Array, " batch"],
    prioritisation: Prioritisation,
    n_step: int,
) -> tuple[Draw, Float[Array, " batch"]]:
    """Draw transitions with P(i) ∝ p_i^α, and their weights (N P(i))^−β over the largest of the batch.

    The i-th of a batch of k is drawn from the i-th of k equal parts of the sum of all: Schaul et al. 2016,
    arXiv:1511.05952, Algorithm 1 and Appendix B.2.1. `uniform` is in [0, 1).
    """
    batch_size = uniform.shape[0]
    part = jnp.arange(batch_size, dtype=jnp.float32)
    # Of float32 numbers below 1 the sum may round to 1, which belongs to no part.
    index = sum_tree.draw(tree, jnp.minimum((part + uniform) / batch_size, 1.0 - 2.0**-24))
    count = (jnp.maximum(ring.filled - (n_step - 1), 1) * num_envs).astype(jnp.float32)
    prob = sum_tree.weights(tree, index) / sum_tree.total(tree)
    weight = (count * prob) ** -jnp.asarray(prioritisation.correction, jnp.float32)
    return Draw(index // num_envs, index % num_envs), weight / weight.max()


def reprioritise(
    tree: SumTree, num_envs: int, drawn: Draw, priority: Float[Array, " batch"], exponent: Array | float
) -> SumTree:
    """The tree once the priorities of a batch, the sizes of its errors, are known."""
    weight = (jnp.abs(priority) + _LEAST) ** jnp.asarray(exponent, jnp.float32)
    greatest = jnp.maximum(tree.greatest, weight.max())
    tree = sum_tree.write(tree, drawn.first * num_envs + drawn.env, weight)
    return SumTree(tree.nodes, greatest, tree.sizes)


class Found(eqx.Module):
    """A batch but for its observations, and where these are; every leaf is [batch, ...].

    Places are rows of the ring, or of `Frames.kept`, [batch, frame].
    """

    batch: Batch | None  # without obs and next_obs
    obs: Int[Array, "batch ..."]
    next_obs: Int[Array, "batch ..."]
    env: Int[Array, " batch"]


def find(replay: Replay, drawn: Draw, n_step: int, gamma: Float[Array, ""], ring: Ring) -> Found:
    """The transitions drawn, and where their observations are.

    A window ends early where its episode does: R = Σ_{i<k} γ^i r_{t+i}, and the discount is γ^k for the k
    steps really used, 0 where the k-th terminated. It never crosses an episode's end nor the ring's cursor.

    Of frames, a window also ends before a truncated step whose reached frame was given up, bootstrapping in
    the observation in which that step was made; one that would begin with such a step has weight 0.
    """
    rows, num_envs = replay.reward.shape
    first, env = drawn.first, drawn.env
    batch_size = first.shape[0]

    reward = jnp.zeros(batch_size)
    discount = jnp.ones(batch_size)
    weight = jnp.ones(batch_size)
    last = first
    running = jnp.ones(batch_size, jnp.bool_)
    for i in range(n_step):
        row = (first + i) % rows
        terminated, truncated = replay.terminated[row, env], replay.truncated[row, env]
        if isinstance(replay.obs, Frames):
            lost = frames.lost(replay.obs, row, env, truncated & ~terminated)
            if i == 0:
                weight = (~lost).astype(jnp.float32)
            else:
                running = running & ~lost
        reward = reward + jnp.where(running, discount * replay.reward[row, env], 0.0)
        discount = jnp.where(running, discount * gamma * (~terminated).astype(jnp.float32), discount)
        last = jnp.where(running, row, last)
        running = running & ~(terminated | truncated)
    at, reached = first, last
    if isinstance(replay.obs, Frames):
        terminated, truncated = replay.terminated[last, env], replay.truncated[last, env]
        stood = frames.seen_at(replay.obs, ring.cursor, ring.filled, last, env)
        at = frames.seen_at(replay.obs, ring.cursor, ring.filled, first, env)
        reached = frames.reached_at(replay.obs, ring.cursor, ring.filled, last, env, truncated & ~terminated)
        reached = jnp.where(terminated[:, None] | (weight == 0.0)[:, None], stood, reached)
    batch = Batch(
        obs=None,
        action=jax.tree.map(lambda x: x[first, env], replay.action),
        reward=reward,
        discount=discount,
        next_obs=None,
        weight=weight,
        index=first * num_envs + env,
    )
    return Found(batch, at, reached, env)


def fetch(stack: Stack | None, kept: PyTree, found: Any) -> tuple[Obs, Obs]:
    """The observations found, and those reached, from what `observations` gives; also on NumPy's arrays."""
    if stack is not None:
        return (
            frames.fetch(stack, kept, found.obs, found.env),
            frames.fetch(stack, kept, found.next_obs, found.env),
        )
    obs, final_obs = kept
    return (
        jax.tree.map(lambda x: x[found.obs, found.env], obs),
        jax.tree.map(lambda x: x[found.next_obs, found.env], final_obs),
    )


def whole(found: Found, obs: Obs, next_obs: Obs) -> Batch:
    """The batch found, with its observations."""
    seen = (obs, next_obs)
    assert found.batch is not None
    return eqx.tree_at(lambda b: (b.obs, b.next_obs), found.batch, seen, is_leaf=lambda x: x is None)


def gather(replay: Replay, drawn: Draw, n_step: int, gamma: Float[Array, ""], ring: Ring) -> Batch:
    """The transitions drawn, [batch, ...]: `find`, then `fetch`."""
    found = find(replay, drawn, n_step, gamma, ring)
    return whole(found, *fetch(stack_of(replay), observations(replay), found))


def sample(
    replay: Replay, ring: Ring, key: Key[Array, ""], batch_size: int, n_step: int, gamma: Float[Array, ""]
) -> Batch:
    """One batch: `draw`, then `gather`."""
    rows, num_envs = replay.reward.shape
    return gather(replay, draw(rows, num_envs, ring, key, batch_size, n_step), n_step, gamma, ring)
