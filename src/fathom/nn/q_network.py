"""Networks of action values: dueling streams, noisy layers, and values at drawn quantiles."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core.spaces import Space, to_unit
from fathom.core.types import Obs
from fathom.nn.encoder import Encoder
from fathom.nn.layers import Linear, NoisyLinear, activate
from fathom.nn.network import Network


class Stream(eqx.Module):
    """A hidden layer, where there is one, and the outputs; both noisy or neither."""

    hidden: Linear | NoisyLinear | None
    out: Linear | NoisyLinear
    activation: str = eqx.field(static=True)

    @staticmethod
    def init(
        key: Key[Array, ""], inputs: int, hidden: int | None, outputs: int, activation: str, noisy: bool
    ) -> "Stream":
        """Orthogonal weights, or those of `NoisyLinear`."""
        hidden_key, out_key = jax.random.split(key)
        units = inputs if hidden is None else hidden
        if noisy:
            first = None if hidden is None else NoisyLinear.init(hidden_key, inputs, hidden)
            return Stream(first, NoisyLinear.init(out_key, units, outputs), activation)
        first = None if hidden is None else Linear.init(hidden_key, inputs, hidden)
        return Stream(first, Linear.init(out_key, units, outputs, 1.0), activation)

    def __call__(
        self, x: Float[Array, "*batch features"], key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch outputs"]:
        """With the noise that `key` draws, `each` element of the batch its own; or without noise."""
        keys = (None, None) if key is None else jax.random.split(key)
        if self.hidden is not None:
            x = activate(self.activation, _through(self.hidden, x, keys[0], each))
        return _through(self.out, x, keys[1], each)


class Streams(eqx.Module):
    """An encoder and then one stream of action values, or two: the state's value and the actions' advantages.

    Two are joined by Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a'), for each atom where there are several
    to an action: Wang et al. 2016, arXiv:1511.06581, Eq. 9.
    """

    encoder: Encoder
    streams: tuple[Stream, ...]
    actions: int = eqx.field(static=True)
    scale_obs: bool = eqx.field(static=True)  # numbers mapped from their bounds, where finite, to [−1, 1]

    def __call__(
        self, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch outputs"]:
        """Action by action, the atoms of each in a row."""
        x = self.encoder(to_unit(self.encoder.space, obs) if self.scale_obs else obs)
        keys = (None, None) if key is None else jax.random.split(key)
        out = [stream(x, k, each) for stream, k in zip(self.streams, keys, strict=False)]
        if len(out) == 1:
            return out[0]
        advantage = out[1].reshape(*out[1].shape[:-1], self.actions, -1)
        q = out[0][..., None, :] + (advantage - advantage.mean(axis=-2, keepdims=True))
        return q.reshape(out[1].shape)


class QuantileNetwork(eqx.Module):
    """The quantiles of each action's return at given τ: Dabney et al. 2018, arXiv:1806.06923, Section 3.1.

    The features of the state are multiplied by φ(τ) = ReLU(Σ_{i<n} cos(π i τ) w_i + b), Eq. 4.
    """

    encoder: Encoder
    embedding: Linear  # w, b
    stream: Stream
    scale_obs: bool = eqx.field(static=True)

    def __call__(
        self, obs: Obs, tau: Float[Array, "*batch quantile"]
    ) -> Float[Array, "*batch quantile action"]:
        x = self.encoder(to_unit(self.encoder.space, obs) if self.scale_obs else obs)
        count = self.embedding.weight.shape[-2]
        frequency = jnp.pi * jnp.arange(count, dtype=jnp.float32).reshape(*(1,) * tau.ndim, count)
        phi = jax.nn.relu(self.embedding(jnp.cos(frequency * tau[..., None])))
        return self.stream(x[..., None, :] * phi)


QNetwork = Network | Streams


def init_q_network(
    key: Key[Array, ""],
    space: Space,
    actions: int,
    atoms: int,
    hidden: tuple[int, ...],
    activation: str,
    scale_obs: bool = False,
    dueling: bool = False,
    noisy: bool = False,
) -> QNetwork:
    """A network with `atoms` outputs to each action.

    With `dueling` or `noisy` the last hidden layer belongs to the streams: each has one of its own.
    """
    if not (dueling or noisy):
        return Network.init(key, space, actions * atoms, hidden, activation, scale_obs)
    encoder_key, value_key, advantage_key = jax.random.split(key, 3)
    encoder = Encoder.init(encoder_key, space, hidden[:-1], activation)
    last = hidden[-1] if hidden else None

    def stream(key: Key[Array, ""], outputs: int) -> Stream:
        return Stream.init(key, encoder.features, last, outputs * atoms, activation, noisy)

    advantage = stream(advantage_key, actions)
    streams = (stream(value_key, 1), advantage) if dueling else (advantage,)
    return Streams(encoder, streams, actions, scale_obs)


def q_outputs(
    network: QNetwork, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
) -> Float[Array, "*batch outputs"]:
    """What a network gives, action by action; `key` draws the noise of noisy layers."""
    return network(obs) if isinstance(network, Network) else network(obs, key, each)


def init_quantile_network(
    key: Key[Array, ""],
    space: Space,
    actions: int,
    cosines: int,
    hidden: tuple[int, ...],
    activation: str,
    scale_obs: bool = False,
) -> QuantileNetwork:
    """The last hidden layer follows the product of features and φ(τ)."""
    encoder_key, embedding_key, stream_key = jax.random.split(key, 3)
    encoder = Encoder.init(encoder_key, space, hidden[:-1], activation)
    embedding = Linear.init(embedding_key, cosines, encoder.features, math.sqrt(2))
    last = hidden[-1] if hidden else None
    stream = Stream.init(stream_key, encoder.features, last, actions, activation, noisy=False)
    return QuantileNetwork(encoder, embedding, stream, scale_obs)


def _through(
    layer: Linear | NoisyLinear, x: Float[Array, "*batch inputs"], key: Key[Array, ""] | None, each: bool
) -> Float[Array, "*batch outputs"]:
    return layer(x, key, each) if isinstance(layer, NoisyLinear) else layer(x)
