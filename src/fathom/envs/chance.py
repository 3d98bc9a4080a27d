"""Random numbers for a step, made of its key without another call of Threefry."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32


def uniform(key: Key[Array, ""]) -> Float[Array, ""]:
    """A number in [0, 1) from the two words of a key, by the finaliser of MurmurHash3 (Appleby 2011).

    `jax.random.uniform` would hash the key by Threefry, which XLA runs on a CPU as a loop inside the loop of
    steps, ten times slower than all the rest of a step. A step's key comes out of Threefry already.
    """
    return _fraction(_mix(_seed(key)))


def uniforms(key: Key[Array, ""], n: int) -> Float[Array, " n"]:
    """N numbers in [0, 1) from a key; the first is `uniform(key)`.

    The others hash the same word plus multiples of the golden ratio's, as SplitMix does (Steele et al. 2014).
    """
    ahead = jnp.arange(n, dtype=jnp.uint32) * jnp.uint32(_GOLDEN)
    return _fraction(_mix(jnp.broadcast_to(_seed(key), (n,)) + ahead))


_GOLDEN = 0x9E3779B9  # 2³²/φ, odd


def _seed(key: Key[Array, ""]) -> UInt32[Array, ""]:
    high, low = jax.random.key_data(key)
    return _mix(high + jnp.uint32(_GOLDEN)) ^ low


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _fraction(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    return (word >> 8).astype(jnp.float32) * jnp.float32(2**-24)
