"""From features to action distributions, values and Q-values."""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Space
from fathom.core.types import Action
from fathom.nn.layers import Linear
from fathom.ops.distributions import Bernoulli, Categorical, DiagGaussian, MultiCategorical


class PolicyHead(eqx.Module):
    """A linear layer whose outputs parameterise the distribution that fits the action space.

    Discrete: categorical. MultiDiscrete: independent categoricals. MultiBinary: independent Bernoullis.
    Box: a diagonal Gaussian with a global log standard deviation; a bounded box is mapped to [−1, 1], in
    which the policy works, and draws beyond it are clipped on their way to the environment.
    """

    layer: Linear
    log_std: Float[Array, "... action"] | None
    action_space: Space  # holds no arrays

    @staticmethod
    def init(key: Key[Array, ""], inputs: int, action_space: Space, log_std: float = 0.0) -> "PolicyHead":
        """Small weights (gain 0.01), so that the first policy is near uniform (Andrychowicz et al. 2021)."""
        match action_space:
            case spaces.Discrete(n=n) | spaces.MultiBinary(n=n):
                return PolicyHead(Linear.init(key, inputs, n, 0.01), None, action_space)
            case spaces.MultiDiscrete(nvec=nvec):
                return PolicyHead(Linear.init(key, inputs, sum(nvec), 0.01), None, action_space)
            case spaces.Box():
                size = math.prod(action_space.shape)
                std = jnp.full((size,), log_std, jnp.float32)
                return PolicyHead(Linear.init(key, inputs, size, 0.01), std, action_space)
        raise FathomError(
            f"a policy has no distribution for actions of {action_space!r}; "
            "it takes Discrete, MultiDiscrete, MultiBinary and Box action spaces."
        )

    def __call__(self, features: Float[Array, "*batch features"], mask: Array | None = None) -> Any:
        """The distribution of the policy's own actions, to be sent through `to_env`."""
        out = self.layer(features)
        match self.action_space:
            case spaces.Discrete():
                return Categorical(out, mask)
            case spaces.MultiDiscrete(nvec=nvec):
                return MultiCategorical(out, nvec, mask)
            case spaces.MultiBinary():
                return Bernoulli(out)
        assert self.log_std is not None
        return DiagGaussian(out, jnp.broadcast_to(self.log_std, out.shape))

    def to_env(self, action: Array) -> Action:
        """The policy's action as the environment takes it."""
        return to_env(self.action_space, action)


def to_env(space: Space, action: Array) -> Action:
    """A policy's action (0-based integers; boxes flat, bounded ones in [−1, 1]) in the units of `space`."""
    match space:
        case spaces.Discrete(start=start):
            return action + start
        case spaces.Box(shape=shape) if space.bounded:
            low, high = jnp.asarray(space.low.ravel()), jnp.asarray(space.high.ravel())
            unit = (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0
            low, high = jnp.broadcast_to(low, unit.shape), jnp.broadcast_to(high, unit.shape)
            scaled = jnp.clip(low * (1.0 - unit) + high * unit, low, high)
            return scaled.reshape(*action.shape[:-1], *shape)
        case spaces.Box(shape=shape):
            low = jnp.broadcast_to(jnp.asarray(space.low.ravel()), action.shape)
            high = jnp.broadcast_to(jnp.asarray(space.high.ravel()), action.shape)
            return jnp.clip(action, low, high).reshape(*action.shape[:-1], *shape)
    return action
