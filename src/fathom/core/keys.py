"""Random keys by purpose.

A key is consumed once and never rebound: give each purpose its own name and fold the name in.
"""

import zlib

import jax
from jaxtyping import Array, Int, Key, UInt32


def named(key: Key[Array, ""], purpose: str) -> Key[Array, ""]:
    """The key for one purpose: distinct names give independent streams of the same run."""
    return jax.random.fold_in(key, zlib.crc32(purpose.encode()))


def numbered(key: Key[Array, ""], index: Int[Array, ""] | int) -> Key[Array, ""]:
    """The key of the index-th repetition (an update, a chunk of evaluation) of one purpose."""
    return jax.random.fold_in(key, index)


def env_seeds(key: Key[Array, ""], num_envs: int) -> UInt32[Array, " env"]:
    """A 31-bit seed for each environment, so that native and Gymnasium environments start from the same.

    Hashed from the run's key: neighbouring run seeds share no environment seed.
    """
    return jax.random.bits(named(key, "environments"), (num_envs,), "uint32") >> 1
