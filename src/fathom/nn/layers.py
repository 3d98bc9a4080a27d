"""Layers that hold arrays only. They act on the last axis, with any leading axes before it."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core.errors import UnknownName

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}


def activate(name: str, x: Array) -> Array:
    """Apply the activation of this name; UnknownName if there is none."""
    if name not in ACTIVATIONS:
        raise UnknownName("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name](x)


def orthogonal(key: Key[Array, ""], shape: tuple[int, ...], gain: float) -> Array:
    """An orthogonal matrix times `gain` (Saxe et al. 2014, arXiv:1312.6120), outputs last."""
    return jax.nn.initializers.orthogonal(gain)(key, shape, jnp.float32)


class Linear(eqx.Module):
    """x W + b, with W of shape [in, out]: the layout in which a batch of rows multiplies fastest."""

    weight: Float[Array, "... inputs outputs"]
    bias: Float[Array, "... outputs"]

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int, gain: float = math.sqrt(2)) -> "Linear":
        """Orthogonal weight, zero bias."""
        return Linear(orthogonal(key, (inputs, outputs), gain), jnp.zeros(outputs, jnp.float32))

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        out = _narrow_matmul(x, self.weight) if _is_narrow(x, self.weight) else jnp.matmul(x, self.weight)
        return out + jnp.broadcast_to(self.bias, out.shape)


def _is_narrow(x: Array, weight: Array) -> bool:
    """Whether a product has so few columns that XLA's matrix product on CPU is slower than its columns.

    Measured with gradients on 2 cores, 64 inputs: 2 columns of 2048 rows take 541 µs whole and 171 µs by
    columns, 64 rows 29 and 11; at 4 columns and more only large batches gain.
    """
    columns, rows = weight.shape[-1], math.prod(x.shape[:-1])
    return columns == 2 or (2 < columns <= 8 and rows >= 512)


def _narrow_matmul(x: Array, weight: Array) -> Array:
    return jnp.stack([jnp.matmul(x, weight[:, j]) for j in range(weight.shape[-1])], axis=-1)


class MLP(eqx.Module):
    """Linear layers, each followed by the activation."""

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, hidden: tuple[int, ...], activation: str) -> "MLP":
        """One layer per entry of `hidden`; none gives the identity."""
        keys = jax.random.split(key, max(len(hidden), 1))
        sizes = (inputs, *hidden)
        gain = math.sqrt(2)
        layers = [Linear.init(k, i, o, gain) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=False)]
        return MLP(tuple(layers), activation)

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for layer in self.layers:
            x = activate(self.activation, layer(x))
        return x


class Conv(eqx.Module):
    """A 2-D convolution over [*batch, height, width, channels], valid padding."""

    weight: Float[Array, "... height width inputs outputs"]
    bias: Float[Array, "... outputs"]
    stride: int = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int, size: int, stride: int) -> "Conv":
        """Orthogonal weight over the flattened patch, zero bias."""
        flat = orthogonal(key, (size * size * inputs, outputs), math.sqrt(2))
        return Conv(flat.reshape(size, size, inputs, outputs), jnp.zeros(outputs, jnp.float32), stride)

    def __call__(self, x: Float[Array, "*batch height width inputs"]) -> Float[Array, "*batch h w outputs"]:
        batch, picture = x.shape[:-3], x.shape[-3:]
        flat = x.reshape(-1, *picture)
        out = jax.lax.conv_general_dilated(
            flat,
            self.weight,
            (self.stride, self.stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        out = out + jnp.broadcast_to(self.bias, out.shape)
        return out.reshape(*batch, *out.shape[1:])


class NatureCNN(eqx.Module):
    """The three convolutions of Mnih et al. 2015 (Nature 518, Methods) and their 512-unit layer.

    Takes uint8 pictures [*batch, height, width, channels] of at least 36 × 36 and gives [*batch, features].
    """

    convs: tuple[Conv, ...]
    out: Linear

    LEAST = 36  # the smallest side that the three convolutions leave something of

    @staticmethod
    def init(key: Key[Array, ""], shape: tuple[int, ...], features: int = 512) -> "NatureCNN":
        """For pictures of this shape (height, width, channels)."""
        *conv_keys, out_key = jax.random.split(key, 4)
        height, width, channels = shape
        convs, inputs = [], channels
        for conv_key, (outputs, size, stride) in zip(
            conv_keys, ((32, 8, 4), (64, 4, 2), (64, 3, 1)), strict=True
        ):
            convs.append(Conv.init(conv_key, inputs, outputs, size, stride))
            height, width, inputs = (height - size) // stride + 1, (width - size) // stride + 1, outputs
        return NatureCNN(tuple(convs), Linear.init(out_key, height * width * inputs, features))

    def __call__(self, x: Array) -> Float[Array, "*batch features"]:
        x = x.astype(jnp.float32) / 255.0
        for conv in self.convs:
            x = jax.nn.relu(conv(x))
        return jax.nn.relu(self.out(x.reshape(*x.shape[:-3], -1)))
