"""Random keys by purpose.

A key is consumed once and never rebound: give each purpose its own name and fold the name in.
"""

import zlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, UInt32


def named(key: Key[Array, ""], purpose: str) -> Key[Array, ""]:
    """The key for one purpose: distinct names give independent streams of the same run."""
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


def numbered(key: Key[Array, ""], index: Int[Array, ""] | int) -> Key[Array, ""]:
    """The key of the index-th repetition (an update, a chunk of evaluation) of one purpose."""
    return jax.random.fold_in(key, index)


def env_seeds(key: Key[Array, ""], num_envs: int) -> UInt32[Array, " env"]:
    """A 31-bit seed for each environment, so that native and Gymnasium environments start from the same.

    Counted up from a hash of the run's key: no two environments of a run share one, and neighbouring run
    seeds start far apart.
    """
    first = jax.random.bits(named(key, "environments"), (), "uint32")
    return (first + jnp.arange(num_envs, dtype=jnp.uint32)) & jnp.uint32(2**31 - 1)
