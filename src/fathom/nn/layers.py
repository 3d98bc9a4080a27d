"""Layers that hold arrays only. They act on the last axis, with any leading axes before it."""

import itertools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

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

    def __call__(
        self, x: Float[Array, "*batch inputs"] | Int[Array, "*batch"]
    ) -> Float[Array, "*batch outputs"]:
        """Integers stand for the one-hot vectors that are 1 there."""
        if jnp.issubdtype(x.dtype, jnp.integer):
            out = _rows(self.weight, x)
        elif _is_narrow(x, self.weight):
            out = _narrow_matmul(x, self.weight)
        else:
            out = jnp.matmul(x, self.weight)
        return out + jnp.broadcast_to(self.bias, out.shape)


@jax.custom_jvp
def _rows(weight: Float[Array, "inputs outputs"], index: Int[Array, "*batch"]) -> Array:
    """The product with one-hot vectors, to the bit for finite weights: rows are read, 0 is given outside.

    Its gradient is that of the product, since the gradient of reading is a scatter, slow on CPU. Ten networks
    of 401 inputs and 50 units learn from 64 in 0.46 ms so, in 1.95 by the product.
    """
    return weight.at[index].get(mode="fill", fill_value=0, wrap_negative_indices=False)


_rows.defjvps(
    lambda change, _out, weight, index: jnp.matmul(jax.nn.one_hot(index, len(weight)), change),
    None,
)


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

    def __call__(
        self, x: Float[Array, "*batch inputs"] | Int[Array, "*batch"]
    ) -> Float[Array, "*batch outputs"]:
        """Integers stand for one-hot vectors where there is a layer."""
        for layer, norm in itertools.zip_longest(self.layers, self.norms):
            x = layer(x) if norm is None else norm(layer(x))
            x = activate(self.activation, x)
        return x


class Conv(eqx.Module):
    """A 2-D convolution over [*batch, height, width, channels], valid padding.

    Computed as one matrix product over patches: within a scan XLA's convolution on CPU has a gradient that
    takes thirty times as long as outside of one, and several seeds' weights it takes one after another.
    """

    weight: Float[Array, "... height width inputs outputs"]
    bias: Float[Array, "... outputs"]
    stride: int = eqx.field(static=True)

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, outputs: int, size: int, stride: int) -> "Conv":
        """Orthogonal weight over the flattened patch, zero bias."""
        flat = orthogonal(key, (size * size * inputs, outputs), math.sqrt(2))
        return Conv(flat.reshape(size, size, inputs, outputs), jnp.zeros(outputs, jnp.float32), stride)

    def __call__(self, x: Float[Array, "*batch height width inputs"]) -> Float[Array, "*batch h w outputs"]:
        size, stride = self.weight.shape[-4], self.stride
        rows, columns = ((n - size) // stride + 1 for n in x.shape[-3:-1])
        if size % stride == 0:  # blocks of stride × stride are whole in every patch: these become channels
            size //= stride
            x = _blocks(x, rows + size - 1, columns + size - 1, stride)
            stride = 1
        patches = [
            x[..., i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride, :]
            for i in range(size)
            for j in range(size)
        ]
        out = jnp.matmul(jnp.concatenate(patches, axis=-1), self._matrix())
        return out + jnp.broadcast_to(self.bias, out.shape)

    def _matrix(self) -> Float[Array, "patch outputs"]:
        """The weights in the order of a patch's numbers."""
        *_, size, _, inputs, outputs = self.weight.shape
        if size % self.stride:
            return self.weight.reshape(size * size * inputs, outputs)
        block = self.stride
        split = self.weight.reshape(size // block, block, size // block, block, inputs, outputs)
        return split.transpose(0, 2, 1, 3, 4, 5).reshape(size * size * inputs, outputs)


def _blocks(x: Array, rows: int, columns: int, block: int) -> Array:
    """The channels of every block × block pixels in a row: [..., rows, columns, block · block · channels]."""
    *batch, _, _, channels = x.shape
    x = x[..., : rows * block, : columns * block, :]
    x = x.reshape(*batch, rows, block, columns, block, channels)
    n = len(batch)
    x = x.transpose(*range(n), n, n + 2, n + 1, n + 3, n + 4)
    return x.reshape(*batch, rows, columns, block * block * channels)


class SmallCNN(eqx.Module):
    """One convolution, 3 × 3 with 16 channels, for small pictures: Young & Tian 2019, arXiv:1903.03176.

    Takes uint8 pictures [*batch, height, width, channels] of at least 3 × 3, whose largest number is `top`,
    and gives [*batch, features].
    """

    conv: Conv
    norm: LayerNorm | None
    top: int = eqx.field(static=True)

    SIZE = 3
    CHANNELS = 16

    @staticmethod
    def init(
        key: Key[Array, ""], shape: tuple[int, ...], top: int = 255, layer_norm: bool = False
    ) -> "SmallCNN":
        """For pictures of this shape (height, width, channels)."""
        conv = Conv.init(key, shape[-1], SmallCNN.CHANNELS, SmallCNN.SIZE, 1)
        return SmallCNN(conv, LayerNorm.init(SmallCNN.CHANNELS) if layer_norm else None, top)

    @staticmethod
    def features(shape: tuple[int, ...]) -> int:
        """Length of the output."""
        return (shape[0] - SmallCNN.SIZE + 1) * (shape[1] - SmallCNN.SIZE + 1) * SmallCNN.CHANNELS

    def __call__(self, x: Array) -> Float[Array, "*batch features"]:
        out = self.conv(x.astype(jnp.float32) / self.top)
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
