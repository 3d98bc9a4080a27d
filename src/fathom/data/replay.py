"""A replay buffer on the device: a ring of arrays whose position is kept outside, for all seeds alike."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.core import spaces
from fathom.core.types import Batch, EnvSpec, Obs, Rollout


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


class Ring(eqx.Module):
    """Where the ring stands. Shared by all seeds, so that writing stays a slice update under `vmap`."""

    cursor: Int[Array, ""]  # the row that is written next
    filled: Int[Array, ""]  # rows that hold data


def rows_needed(buffer_size: int, num_envs: int, rows_per_write: int) -> int:
    """Rows of a ring that holds at least `buffer_size` transitions and a whole number of writes."""
    return math.ceil(buffer_size / (num_envs * rows_per_write)) * rows_per_write


def init(spec: EnvSpec, rows: int, num_envs: int) -> Replay:
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
    )


def nbytes(spec: EnvSpec, rows: int, num_envs: int) -> int:
    """Bytes that `init` would take, known without taking them."""
    shapes = jax.eval_shape(lambda: init(spec, rows, num_envs))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def add(replay: Replay, rollout: Rollout, ring: Ring) -> Replay:
    """Write a rollout [time, env, ...] at the cursor; the rows of the ring are a multiple of its length."""
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

    return jax.tree.map(write, replay, fresh)


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


def gather(replay: Replay, drawn: Draw, n_step: int, gamma: Float[Array, ""]) -> Batch:
    """The transitions drawn, [batch, ...].

    A window ends early where its episode does: R = Σ_{i<k} γ^i r_{t+i}, and the discount is γ^k for the k
    steps really used, 0 where the k-th terminated. It never crosses an episode's end nor the ring's cursor.
    """
    rows = replay.reward.shape[0]
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
    )


def sample(
    replay: Replay, ring: Ring, key: Key[Array, ""], batch_size: int, n_step: int, gamma: Float[Array, ""]
) -> Batch:
    """One batch: `draw`, then `gather`."""
    rows, num_envs = replay.reward.shape
    return gather(replay, draw(rows, num_envs, ring, key, batch_size, n_step), n_step, gamma)
