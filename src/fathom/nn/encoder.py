"""From an observation of any space to a feature vector."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Space
from fathom.core.types import Masked, Obs
from fathom.nn.layers import MLP, NatureCNN, SmallCNN


def action_mask(obs: Obs) -> Array | None:
    """The mask that comes with an observation, or None where every action is legal."""
    return obs.mask if isinstance(obs, Masked) else None


class Encoder(eqx.Module):
    """Pictures through a CNN, everything else flattened; concatenated, then an MLP.

    The CNN is Nature's, or the small one where a side is too short for it. Integers become one-hot vectors;
    the leaves of Dict and Tuple spaces are taken in order.
    """

    cnns: tuple[NatureCNN | SmallCNN, ...]
    mlp: MLP
    space: Space  # holds no arrays

    @staticmethod
    def init(
        key: Key[Array, ""],
        space: Space,
        hidden: tuple[int, ...],
        activation: str,
        layer_norm: bool = False,
    ) -> "Encoder":
        """An encoder for the observations of `space`, whose output has hidden[-1] features."""
        cnn_key, mlp_key = jax.random.split(key)
        pictures, flat = _parts(space)
        too_small = [p.shape for p in pictures if min(p.shape[:2]) < SmallCNN.SIZE]
        if too_small:
            raise FathomError(
                f"pictures of shape {too_small[0]} are too small for a convolution of {SmallCNN.SIZE}×"
                f"{SmallCNN.SIZE}; enlarge them, or give them as a float Box to have them flattened."
            )
        keys = jax.random.split(cnn_key, max(len(pictures), 1))
        cnns = tuple(_init_cnn(k, p, layer_norm) for k, p in zip(keys, pictures, strict=False))
        mlp = MLP.init(mlp_key, _size(pictures, flat), hidden, activation, layer_norm)
        return Encoder(cnns, mlp, space)

    @property
    def features(self) -> int:
        """Length of the output."""
        if self.mlp.layers:
            return self.mlp.layers[-1].bias.shape[-1]
        return _size(*_parts(self.space))

    def __call__(self, obs: Obs) -> Float[Array, "*batch features"]:
        if not self.cnns:
            (space, x), *more = _leaves(self.space, obs)
            if isinstance(space, spaces.Discrete) and not more and self.mlp.layers:
                return self.mlp(x - space.start)
            return self.mlp(spaces.flatten(self.space, obs))
        cnns = iter(self.cnns)
        parts = [
            next(cnns)(x) if spaces.is_image(s) else spaces.flatten(s, x) for s, x in _leaves(self.space, obs)
        ]
        return self.mlp(jnp.concatenate(parts, axis=-1))


def _is_small(picture: spaces.Box) -> bool:
    """Whether the three convolutions of Nature's CNN would leave nothing of a picture."""
    return min(picture.shape[:2]) < NatureCNN.LEAST


def _init_cnn(key: Key[Array, ""], picture: spaces.Box, layer_norm: bool) -> NatureCNN | SmallCNN:
    if _is_small(picture):
        return SmallCNN.init(key, picture.shape, max(int(picture.high.max()), 1), layer_norm)
    return NatureCNN.init(key, picture.shape, layer_norm=layer_norm)


def _size(pictures: list[spaces.Box], flat: list[Space]) -> int:
    """Length of what the MLP is given."""
    seen = [SmallCNN.features(p.shape) if _is_small(p) else 512 for p in pictures]
    return sum(seen) + sum(spaces.flat_size(s) for s in flat)


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
