"""A whole network: from an observation, or an observation and an action, to numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core.spaces import Space, to_unit
from fathom.core.types import Obs
from fathom.nn.encoder import Encoder
from fathom.nn.layers import Linear
from fathom.ops.distributions import TanhGaussian

_LOG_STD = (-20.0, 2.0)  # limits of log σ of a Gaussian policy, far from where float32 would fail


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
    ) -> "Network":
        """Orthogonal weights; those of the last layer times `gain`."""
        encoder_key, head_key = jax.random.split(key)
        encoder = Encoder.init(encoder_key, space, hidden, activation)
        return Network(encoder, Linear.init(head_key, encoder.features, outputs, gain), scale_obs)

    def __call__(self, x: Obs) -> Float[Array, "*batch outputs"]:
        if self.scale_obs:
            x = to_unit(self.encoder.space, x)
        return self.head(self.encoder(x))


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


def tanh_gaussian(actor: Network, obs: Obs) -> TanhGaussian:
    """The policy of a network whose outputs are the means and then the log σ of the action's components."""
    mean, log_std = jnp.split(actor(obs), 2, axis=-1)
    return TanhGaussian(mean, jnp.clip(log_std, *_LOG_STD))
