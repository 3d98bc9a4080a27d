"""A replay buffer on the device: a ring of arrays whose position is kept outside, for all seeds alike."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.core import spaces
from fathom.core.types import Batch, EnvSpec, Obs, Prioritisation, Rollout
from fathom.data import sum_tree
from fathom.data.sum_tree import SumTree

_LEAST = 1e-6  # added to every priority, so that none is 0: ε of Schaul et al. 2016


class Replay(eqx.Module):
    """The newest transitions of each environment; every leaf is [row, env, ...].

    Both s_t and the observation reached from it are kept, so that the end of an episode, a truncation and
    the wrap of the ring need no exceptions.
    """

    obs: Obs
    action: PyTree
    reward: Float[Array, "... row env"]
    terminated: Bool[Array, "... row env"]
    truncated: Bool[Array, "... row env"]
    final_obs: Obs
    tree: SumTree | None = None  # p^α of the transition that starts in each [row, env], in a row; or uniform


class Ring(eqx.Module):
    """Where the ring stands. Shared by all seeds, so that writing stays a slice update under `vmap`."""

    cursor: Int[Array, ""]  # the row that is written next
    filled: Int[Array, ""]  # rows that hold data


def rows_needed(buffer_size: int, num_envs: int, rows_per_write: int) -> int:
    """Rows of a ring that holds at least `buffer_size` transitions and a whole number of writes."""
    return math.ceil(buffer_size / (num_envs * rows_per_write)) * rows_per_write


def init(spec: EnvSpec, rows: int, num_envs: int, prioritized: bool = False) -> Replay:
    """An empty buffer."""

    def ring(x: Array) -> Array:
        return jnp.zeros((rows, num_envs, *x.shape), x.dtype)

    obs = spaces.zeros(spec.obs_space)
    flags = jnp.zeros((rows, num_envs), jnp.bool_)
    return Replay(
        obs=jax.tree.map(ring, obs),
        action=jax.tree.map(ring, spaces.zeros(spec.action_space)),
        reward=jnp.zeros((rows, num_envs)),
        terminated=flags,
        truncated=jnp.copy(flags),
        final_obs=jax.tree.map(ring, obs),
        tree=sum_tree.init(rows * num_envs) if prioritized else None,
    )


def nbytes(spec: EnvSpec, rows: int, num_envs: int, prioritized: bool = False) -> int:
    """Bytes that `init` would take, known without taking them."""
    shapes = jax.eval_shape(lambda: init(spec, rows, num_envs, prioritized))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def add(replay: Replay, rollout: Rollout, ring: Ring, n_step: int = 1) -> Replay:
    """Write a rollout [time, env, ...] at the cursor; the rows of the ring are a multiple of its length.

    With priorities, those transitions whose n-step window is complete with it get the greatest there was.
    """
    fresh = Replay(
        rollout.obs,
        rollout.action,
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        rollout.final_obs,
    )

    def write(old: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), ring.cursor, axis=0)

    plain = eqx.tree_at(lambda r: r.tree, replay, None, is_leaf=lambda x: x is None)
    written = jax.tree.map(write, plain, fresh)
    if replay.tree is None:
        return written
    written_rows, num_envs = rollout.reward.shape
    tree = _admit(replay.tree, ring, written_rows, num_envs, replay.reward.shape[0], n_step)
    return eqx.tree_at(lambda r: r.tree, written, tree, is_leaf=lambda x: x is None)


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
    return SumTree(tree.levels, greatest)


def gather(replay: Replay, drawn: Draw, n_step: int, gamma: Float[Array, ""]) -> Batch:
    """The transitions drawn, [batch, ...].

    A window ends early where its episode does: R = Σ_{i<k} γ^i r_{t+i}, and the discount is γ^k for the k
    steps really used, 0 where the k-th terminated. It never crosses an episode's end nor the ring's cursor.
    """
    rows, num_envs = replay.reward.shape
    first, env = drawn.first, drawn.env
    batch_size = first.shape[0]

    reward = jnp.zeros(batch_size)
    discount = jnp.ones(batch_size)
    last = first
    running = jnp.ones(batch_size, jnp.bool_)
    for i in range(n_step):
        row = (first + i) % rows
        terminated = replay.terminated[row, env]
        reward = reward + jnp.where(running, discount * replay.reward[row, env], 0.0)
        discount = jnp.where(running, discount * gamma * (~terminated).astype(jnp.float32), discount)
        last = jnp.where(running, row, last)
        running = running & ~(terminated | replay.truncated[row, env])
    return Batch(
        obs=jax.tree.map(lambda x: x[first, env], replay.obs),
        action=jax.tree.map(lambda x: x[first, env], replay.action),
        reward=reward,
        discount=discount,
        next_obs=jax.tree.map(lambda x: x[last, env], replay.final_obs),
        weight=jnp.ones(batch_size),
        index=first * num_envs + env,
    )


def sample(
    replay: Replay, ring: Ring, key: Key[Array, ""], batch_size: int, n_step: int, gamma: Float[Array, ""]
) -> Batch:
    """One batch: `draw`, then `gather`."""
    rows, num_envs = replay.reward.shape
    return gather(replay, draw(rows, num_envs, ring, key, batch_size, n_step), n_step, gamma)
