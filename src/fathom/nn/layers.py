"""Layers that hold arrays only. They act on the last axis, with any leading axes before it."""

import itertools
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


class NoisyLinear(eqx.Module):
    """A linear layer with noise on its weights that learns how large it is.

    Fortunato et al. 2018, arXiv:1706.10295, Eq. 9 to 11, factorised: x (μ_W + σ_W ∘ f(ε) f(ε′)ᵀ) + μ_b +
    σ_b ∘ f(ε′), with f(x) = sgn(x) √|x|, and ε, ε′ standard normal, one number for each input and output.
    """

    weight: Float[Array, "... inputs outputs"]  # μ_W
    bias: Float[Array, "... outputs"]  # μ_b
    weight_scale: Float[Array, "... inputs outputs"]  # σ_W
    bias_scale: Float[Array, "... outputs"]  # σ_b

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int, scale: float = 0.5) -> "NoisyLinear":
        """μ uniform within ± 1/√inputs, σ = scale/√inputs: Section 3.2 there, with σ_0 = `scale`."""
        weight_key, bias_key = jax.random.split(key)
        bound = 1.0 / math.sqrt(inputs)
        weight = jax.random.uniform(weight_key, (inputs, outputs), minval=-bound, maxval=bound)
        bias = jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)
        return NoisyLinear(
            weight, bias, jnp.full_like(weight, scale * bound), jnp.full_like(bias, scale * bound)
        )

    def __call__(
        self, x: Float[Array, "*batch inputs"], key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch outputs"]:
        """With the noise that `key` draws, one for all elements of the batch or `each` its own; or without.

        The noise of W is never built: x (σ_W ∘ f(ε) f(ε′)ᵀ) = ((x ∘ f(ε)) σ_W) ∘ f(ε′).
        """
        mean = jnp.matmul(x, self.weight)
        bias = jnp.broadcast_to(self.bias, mean.shape)
        if key is None:
            return mean + bias
        inputs, outputs = self.weight.shape[-2:]
        drawn = jax.random.normal(key, (*(x.shape[:-1] if each else ()), inputs + outputs))
        noise = jnp.sign(drawn) * jnp.sqrt(jnp.abs(drawn))
        into = jnp.broadcast_to(noise[..., :inputs], x.shape)
        out = jnp.broadcast_to(noise[..., inputs:], mean.shape)
        scale = jnp.matmul(x * into, self.weight_scale) + jnp.broadcast_to(self.bias_scale, mean.shape)
        return mean + bias + scale * out


class LayerNorm(eqx.Module):
    """The last axis to mean 0 and deviation 1, then a scale and an offset that are learnt.

    Ba, Kiros & Hinton 2016, arXiv:1607.06450.
    """

    scale: Float[Array, "... features"]
    offset: Float[Array, "... features"]

    @staticmethod
    def init(features: int) -> "LayerNorm":
        """Scale 1, offset 0."""
        return LayerNorm(jnp.ones(features), jnp.zeros(features))

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        centred = x - x.mean(axis=-1, keepdims=True)
        unit = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
        return unit * jnp.broadcast_to(self.scale, x.shape) + jnp.broadcast_to(self.offset, x.shape)


class MLP(eqx.Module):
    """Linear layers, each followed by the activation, with layer norm between where there is one."""

    layers: tuple[Linear, ...]
    activation: str = eqx.field(static=True)
    norms: tuple[LayerNorm, ...] = ()

    @staticmethod
    def init(
        key: Key[Array, ""], inputs: int, hidden: tuple[int, ...], activation: str, layer_norm: bool = False
    ) -> "MLP":
        """One layer per entry of `hidden`; none gives the identity."""
        keys = jax.random.split(key, max(len(hidden), 1))
        sizes = (inputs, *hidden)
        gain = math.sqrt(2)
        layers = [Linear.init(k, i, o, gain) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=False)]
        return MLP(tuple(layers), activation, tuple(LayerNorm.init(n) for n in hidden) if layer_norm else ())

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for layer, norm in itertools.zip_longest(self.layers, self.norms):
            x = layer(x) if norm is None else norm(layer(x))
            x = activate(self.activation, x)
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


class SmallCNN(eqx.Module):
    """One convolution, 3 × 3 with 16 channels, for small pictures: Young & Tian 2019, arXiv:1903.03176.

    Takes uint8 pictures [*batch, height, width, channels] of at least 3 × 3, whose largest number is `top`,
    and gives [*batch, features].
    """

    weight: Float[Array, "... patch outputs"]
    bias: Float[Array, "... outputs"]
    norm: LayerNorm | None
    top: int = eqx.field(static=True)

    SIZE = 3
    CHANNELS = 16

    @staticmethod
    def init(
        key: Key[Array, ""], shape: tuple[int, ...], top: int = 255, layer_norm: bool = False
    ) -> "SmallCNN":
        """For pictures of this shape (height, width, channels)."""
        patch = SmallCNN.SIZE**2 * shape[-1]
        weight = orthogonal(key, (patch, SmallCNN.CHANNELS), math.sqrt(2))
        norm = LayerNorm.init(SmallCNN.CHANNELS) if layer_norm else None
        return SmallCNN(weight, jnp.zeros(SmallCNN.CHANNELS), norm, top)

    @staticmethod
    def features(shape: tuple[int, ...]) -> int:
        """Length of the output."""
        return (shape[0] - SmallCNN.SIZE + 1) * (shape[1] - SmallCNN.SIZE + 1) * SmallCNN.CHANNELS

    def __call__(self, x: Array) -> Float[Array, "*batch features"]:
        x = x.astype(jnp.float32) / self.top
        size, (height, width) = self.SIZE, x.shape[-3:-1]
        rows, columns = height - size + 1, width - size + 1
        # One matrix product over patches: XLA's convolution on CPU takes each seed's weights by themselves.
        patches = [x[..., i : i + rows, j : j + columns, :] for i in range(size) for j in range(size)]
        out = jnp.matmul(jnp.concatenate(patches, axis=-1), self.weight)
        out = out + jnp.broadcast_to(self.bias, out.shape)
        out = out if self.norm is None else self.norm(out)
        return jax.nn.relu(out).reshape(*x.shape[:-3], -1)


class NatureCNN(eqx.Module):
    """The three convolutions of Mnih et al. 2015 (Nature 518, Methods) and their 512-unit layer.

    Takes uint8 pictures [*batch, height, width, channels] of at least 36 × 36 and gives [*batch, features].
    """

    convs: tuple[Conv, ...]
    out: Linear
    norms: tuple[LayerNorm, ...] = ()  # after each of them, where there are any

    LEAST = 36  # the smallest side that the three convolutions leave something of

    @staticmethod
    def init(
        key: Key[Array, ""], shape: tuple[int, ...], features: int = 512, layer_norm: bool = False
    ) -> "NatureCNN":
        """For pictures of this shape (height, width, channels)."""
        *conv_keys, out_key = jax.random.split(key, 4)
        height, width, channels = shape
        convs, inputs = [], channels
        for conv_key, (outputs, size, stride) in zip(
            conv_keys, ((32, 8, 4), (64, 4, 2), (64, 3, 1)), strict=True
        ):
            convs.append(Conv.init(conv_key, inputs, outputs, size, stride))
            height, width, inputs = (height - size) // stride + 1, (width - size) // stride + 1, outputs
        sizes = [*(len(conv.bias) for conv in convs), features]
        norms = tuple(LayerNorm.init(n) for n in sizes) if layer_norm else ()
        return NatureCNN(tuple(convs), Linear.init(out_key, height * width * inputs, features), norms)

    def __call__(self, x: Array) -> Float[Array, "*batch features"]:
        x = x.astype(jnp.float32) / 255.0
        norms = self.norms or (lambda x: x,) * (len(self.convs) + 1)
        for conv, norm in zip(self.convs, norms, strict=False):
            x = jax.nn.relu(norm(conv(x)))
        return jax.nn.relu(norms[-1](self.out(x.reshape(*x.shape[:-3], -1))))
