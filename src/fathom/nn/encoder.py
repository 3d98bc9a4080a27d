"""From an observation of any space to a feature vector."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Space
from fathom.core.types import Masked, Obs
from fathom.nn.layers import MLP, NatureCNN


def action_mask(obs: Obs) -> Array | None:
    """The mask that comes with an observation, or None where every action is legal."""
    return obs.mask if isinstance(obs, Masked) else None


class Encoder(eqx.Module):
    """Pictures through the Nature CNN, everything else flattened; concatenated, then an MLP.

    Integers become one-hot vectors; the leaves of Dict and Tuple spaces are taken in order.
    """

    cnns: tuple[NatureCNN, ...]
    mlp: MLP
    space: Space  # holds no arrays

    @staticmethod
    def init(key: Key[Array, ""], space: Space, hidden: tuple[int, ...], activation: str) -> "Encoder":
        """An encoder for the observations of `space`, whose output has hidden[-1] features."""
        cnn_key, mlp_key = jax.random.split(key)
        pictures, flat = _parts(space)
        too_small = [p.shape for p in pictures if min(p.shape[:2]) < NatureCNN.LEAST]
        if too_small:
            raise FathomError(
                f"pictures of shape {too_small[0]} are too small for the Nature CNN, which takes "
                f"{NatureCNN.LEAST}×{NatureCNN.LEAST} and more; resize them, or give them as a float Box "
                "to have them flattened."
            )
        keys = jax.random.split(cnn_key, max(len(pictures), 1))
        cnns = tuple(NatureCNN.init(k, p.shape) for k, p in zip(keys, pictures, strict=False))
        size = 512 * len(cnns) + sum(spaces.flat_size(s) for s in flat)
        return Encoder(cnns, MLP.init(mlp_key, size, hidden, activation), space)

    @property
    def features(self) -> int:
        """Length of the output."""
        if self.mlp.layers:
            return self.mlp.layers[-1].bias.shape[-1]
        pictures, flat = _parts(self.space)
        return 512 * len(pictures) + sum(spaces.flat_size(s) for s in flat)

    def __call__(self, obs: Obs) -> Float[Array, "*batch features"]:
        if not self.cnns:
            return self.mlp(spaces.flatten(self.space, obs))
        cnns = iter(self.cnns)
        parts = [
            next(cnns)(x) if spaces.is_image(s) else spaces.flatten(s, x) for s, x in _leaves(self.space, obs)
        ]
        return self.mlp(jnp.concatenate(parts, axis=-1))


def _leaves(space: Space, obs: Obs) -> list[tuple[Space, Obs]]:
    match space:
        case spaces.Dict(spaces=inner):
            return [leaf for name, s in inner.items() for leaf in _leaves(s, obs[name])]
        case spaces.Tuple(spaces=inner):
            return [leaf for s, x in zip(inner, obs, strict=True) for leaf in _leaves(s, x)]
        case spaces.Masked(obs=inner):
            return _leaves(inner, obs.obs)
    return [(space, obs)]


def _parts(space: Space) -> tuple[list[spaces.Box], list[Space]]:
    leaves = [leaf for leaf, _ in _leaves(space, spaces.zeros(space))]
    pictures = [s for s in leaves if isinstance(s, spaces.Box) and spaces.is_image(s)]
    return pictures, [s for s in leaves if not spaces.is_image(s)]
