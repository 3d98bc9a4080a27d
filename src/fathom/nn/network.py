"""A whole network: from an observation, or an observation and an action, to numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core.spaces import Space, to_unit
from fathom.core.types import Obs
from fathom.nn.encoder import Encoder
from fathom.nn.heads import LOG_STD_LIMITS
from fathom.nn.layers import Linear
from fathom.ops.distributions import TanhGaussian
from fathom.ops.exploration import NoiseMatrix, matrix_log_std


class Network(eqx.Module):
    """An encoder for the elements of a space, and a linear layer."""

    encoder: Encoder
    head: Linear
    scale_obs: bool = eqx.field(static=True)  # numbers mapped from their bounds, where finite, to [−1, 1]

    @staticmethod
    def init(
        key: Key[Array, ""],
        space: Space,
        outputs: int,
        hidden: tuple[int, ...],
        activation: str,
        scale_obs: bool = False,
        gain: float = 1.0,
        layer_norm: bool = False,
    ) -> "Network":
        """Orthogonal weights; those of the last layer times `gain`."""
        encoder_key, head_key = jax.random.split(key)
        encoder = Encoder.init(encoder_key, space, hidden, activation, layer_norm)
        return Network(encoder, Linear.init(head_key, encoder.features, outputs, gain), scale_obs)

    def features(self, x: Obs) -> Float[Array, "*batch features"]:
        """What the last layer is given."""
        return self.encoder(to_unit(self.encoder.space, x) if self.scale_obs else x)

    def __call__(self, x: Obs) -> Float[Array, "*batch outputs"]:
        return self.head(self.features(x))


Critics = tuple[Network, ...]
"""Networks of one shape. Products of stacked weights, [critic, inputs, outputs], are slower: two critics with
256-256 units and a batch of 256 take 4.1 ms forward and backward as one stacked network, 3.4 as two."""


def init_critics(
    key: Key[Array, ""],
    critics: int,
    space: Space,
    outputs: int,
    hidden: tuple[int, ...],
    activation: str,
    scale_obs: bool = False,
) -> Critics:
    """Several networks, each with weights of its own."""
    keys = jax.random.split(key, critics)
    return tuple(Network.init(k, space, outputs, hidden, activation, scale_obs) for k in keys)


def judge(critics: Critics, x: Obs) -> Float[Array, "critic *batch outputs"]:
    """What each critic gives."""
    return jnp.stack([critic(x) for critic in critics])


class NoisyActor(eqx.Module):
    """A policy's means, and the deviations of the noise matrices it explores by (gSDE)."""

    network: Network
    log_std: Float[Array, "... features component"]

    def start(self, num_envs: int) -> NoiseMatrix:
        """The matrices of environments at the start of an episode."""
        return NoiseMatrix.none(num_envs, *self.log_std.shape[-2:])

    def noise(self, obs: Obs, noise: NoiseMatrix) -> Float[Array, "env component"]:
        """What is added to the mean, before tanh."""
        return noise.noise(self.network.features(obs), self.log_std)


Actor = Network | NoisyActor


def init_actor(
    key: Key[Array, ""],
    space: Space,
    components: int,
    hidden: tuple[int, ...],
    activation: str,
    scale_obs: bool,
    std: str,
    log_std: float,
) -> Actor:
    """A network for `tanh_gaussian`: `std` "state" or "gsde", `log_std` what its log σ are at first.

    Orthogonal weights, those of the last layer times 0.01.
    """
    outputs = components if std == "gsde" else 2 * components
    network = Network.init(key, space, outputs, hidden, activation, scale_obs, gain=0.01)
    if std == "gsde":
        return NoisyActor(network, jnp.full((network.encoder.features, components), log_std, jnp.float32))
    bias = network.head.bias.at[components:].add(log_std)
    return eqx.tree_at(lambda n: n.head.bias, network, bias)


def tanh_gaussian(actor: Actor, obs: Obs) -> TanhGaussian:
    """The policy of a network whose outputs are the means and then the log σ of the action's components.

    With gSDE the log σ are what the noise matrices make of the features, which learn from them too.
    """
    if isinstance(actor, NoisyActor):
        features = actor.network.features(obs)
        return TanhGaussian(actor.network.head(features), matrix_log_std(features, actor.log_std))
    mean, log_std = jnp.split(actor(obs), 2, axis=-1)
    return TanhGaussian(mean, jnp.clip(log_std, *LOG_STD_LIMITS))
