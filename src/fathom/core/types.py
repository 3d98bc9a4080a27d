"""The values that pass between environments, loops and algorithms."""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

Obs = PyTree
Action = PyTree


class Masked(NamedTuple):
    """An observation that comes with the actions that are legal in it.

    Wherever an observation travels (rollout, replay, final observation) its mask travels with it.
    """

    obs: Obs
    mask: Bool[Array, "*batch action"]  # True where the action is legal


class TimeStep(eqx.Module):
    """What one step of one environment yields."""

    obs: Obs
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]  # the task ended: the value of what follows is 0
    truncated: Bool[Array, ""]  # the episode was cut: what follows still has a value
    info: dict[str, Any] = eqx.field(default_factory=dict)  # named reward terms and the like


class VecStep(eqx.Module):
    """What one step of a vector of environments yields, after auto-reset."""

    obs: Obs  # [env, ...] where an episode ended, the first observation of the next one
    reward: Float[Array, " env"]
    terminated: Bool[Array, " env"]
    truncated: Bool[Array, " env"]
    final_obs: Obs  # [env, ...] the observation reached, before any reset
    info: dict[str, Any]


class Rollout(eqx.Module):
    """Consecutive steps of a vector of environments; every leaf is [time, env, ...]."""

    obs: Obs
    action: Action
    reward: Float[Array, "time env"]
    terminated: Bool[Array, "time env"]
    truncated: Bool[Array, "time env"]
    final_obs: Obs  # s_{t+1} as it was before any reset
    extras: dict[str, Any]  # what `act` wants `update` to have, as the log-probability
    memory: PyTree  # the policy's memory before the first step, [env, ...]


class Transition(eqx.Module):
    """The step that a vector of environments has just made; every leaf is [env, ...]."""

    obs: Obs
    action: Action
    reward: Float[Array, " env"]
    terminated: Bool[Array, " env"]
    truncated: Bool[Array, " env"]
    final_obs: Obs  # s_{t+1} as it was before any reset
    extras: dict[str, Any]  # what `act` wants `update` to have


class Batch(eqx.Module):
    """Transitions drawn from a replay buffer; every leaf is [batch, ...].

    With n-step returns the transition spans the k ≤ n steps that were really used.
    """

    obs: Obs
    action: Action
    reward: Float[Array, " batch"]  # Σ_{i<k} γ^i r_{t+i}
    discount: Float[Array, " batch"]  # γ^k, and 0 where the task terminated
    next_obs: Obs  # s_{t+k} as it was before any reset
    weight: Float[Array, " batch"]  # importance-sampling weight, 1 for uniform replay
    index: Int[Array, " batch"] | None = None  # where in the replay it starts


class Prioritisation(eqx.Module):
    """How replay prefers some transitions: P(i) ∝ p_i^α, weighed by (N P(i))^−β over the batch's largest."""

    exponent: Float[Array, ""] | float  # α; 0 is uniform
    correction: Float[Array, ""] | float  # β; 1 undoes what the preference does to the mean


class Clock(eqx.Module):
    """Where in its horizon a run is. One clock serves all seeds, so that a `cond` on it stays a branch."""

    update: Int[Array, ""]  # updates done before this one
    horizon: Int[Array, ""]  # updates of the whole run, to which schedules refer
    steps_per_update: Float[Array, ""]  # environment steps of one seed in one update
    gradient_step: Int[Array, ""]  # gradient steps done, for those who learn from a replay buffer

    @property
    def progress(self) -> Float[Array, ""]:
        """The part of the horizon that is behind, in [0, 1]."""
        horizon = jnp.maximum(self.horizon, 1).astype(jnp.float32)
        return jnp.clip(self.update.astype(jnp.float32) / horizon, 0.0, 1.0)

    @property
    def env_steps(self) -> Float[Array, ""]:
        """Environment steps of one seed so far (float32: for schedules, not for counting)."""
        return self.update.astype(jnp.float32) * self.steps_per_update


class Metric(eqx.Module):
    """A mean in the making: sums and counts add up over updates, chunks and files."""

    sum: Float[Array, "..."]
    count: Float[Array, "..."]

    @staticmethod
    def of(value: Array) -> "Metric":
        """The mean over all elements of `value` (any shape)."""
        value = jnp.asarray(value, jnp.float32)
        return Metric(value.sum(), jnp.asarray(value.size, jnp.float32))

    @staticmethod
    def where(value: Array, mask: Array) -> "Metric":
        """The mean of the elements of `value` at which `mask` (same shape) is true."""
        return Metric(jnp.where(mask, value, 0.0).sum(), mask.sum().astype(jnp.float32))

    @staticmethod
    def none() -> "Metric":
        """The mean of nothing yet."""
        return Metric(jnp.zeros(()), jnp.zeros(()))

    def __add__(self, other: "Metric") -> "Metric":
        return Metric(self.sum + other.sum, self.count + other.count)


class Stack(eqx.Module):
    """What observations are that join the newest frames of their episode, so that a frame need be kept once.

    The environment vouches for it: each step drops the oldest frame and adds one. A mask is not stacked.
    """

    num: int = eqx.field(static=True)  # frames in an observation
    axis: int = eqx.field(static=True)  # along which they are joined, oldest first; below 0: from the last
    # What stands before an episode's first frame: that frame again, or zeros.
    padding: Literal["repeat", "zero"] = eqx.field(static=True, default="repeat")

    def __check_init__(self) -> None:
        if self.num < 1 or self.axis >= 0:
            raise ValueError(
                f"a stack of {self.num} along axis {self.axis}; give at least 1, and one below 0"
            )


class EnvSpec(eqx.Module):
    """What an algorithm may know of an environment before it meets it."""

    obs_space: Any
    action_space: Any
    id: str = eqx.field(static=True, default="")
    stack: Stack | None = None  # how observations are made of frames, where that is known
