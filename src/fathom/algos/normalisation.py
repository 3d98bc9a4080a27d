"""Observations and rewards on the scale that networks learn from; the learner keeps the statistics."""

from typing import Any, Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fathom.algos.base import require
from fathom.core.spaces import zeros
from fathom.core.types import EnvSpec, Obs, Rollout
from fathom.ops import returns
from fathom.ops.statistics import RunningStats


class Settings(Protocol):
    """The settings of normalisation, named alike in all algorithms."""

    num_envs: int
    normalize_obs: bool
    normalize_reward: bool


class Normaliser(eqx.Module):
    """Running statistics of what is normalised; None for what is not. Engstrom et al. 2020, section 3."""

    obs_stats: RunningStats | None  # mean and variance of observations
    return_stats: RunningStats | None  # variance of the running discounted return
    running_return: Float[Array, "... env"] | None  # Σ γ^k r of the episodes under way

    @staticmethod
    def init(settings: Settings, spec: EnvSpec) -> "Normaliser":
        """Statistics of nothing yet: what is normalised by them stays as it is, but for the cut."""
        scaled = settings.normalize_reward
        return Normaliser(
            RunningStats.init(zeros(spec.obs_space)) if settings.normalize_obs else None,
            RunningStats.init(jnp.zeros(())) if scaled else None,
            jnp.zeros(settings.num_envs) if scaled else None,
        )

    def normalize(self, obs: Obs, clip: Any) -> Obs:
        """Observations to mean 0 and deviation 1, cut at ± `clip`, where that is wanted."""
        return obs if self.obs_stats is None else self.obs_stats.normalize(obs, clip)

    def scale(self, reward: Float[Array, "*batch"], clip: Any) -> Float[Array, "*batch"]:
        """Rewards over the deviation of Σ γ^k r, cut at ± `clip`, where that is wanted; their sign stays."""
        return reward if self.return_stats is None else self.return_stats.scale(reward, clip)

    def restart(self) -> "Normaliser":
        """The same where the episodes under way are given up: what they have earned belongs to no other."""
        running = None if self.running_return is None else jnp.zeros_like(self.running_return)
        return Normaliser(self.obs_stats, self.return_stats, running)

    def follow(self, rollout: Rollout, gamma: Any) -> "Normaliser":
        """The statistics with a rollout [time, env, ...] joined in.

        arXiv:2005.12729: the deviation is that of the running sum of discounted rewards, which starts anew
        with each episode.
        """
        obs_stats = None if self.obs_stats is None else self.obs_stats.update(rollout.obs)
        if self.return_stats is None or self.running_return is None:
            return Normaliser(obs_stats, None, None)
        over = rollout.terminated | rollout.truncated
        carry, running = returns.running_discounted_return(self.running_return, rollout.reward, over, gamma)
        return Normaliser(obs_stats, self.return_stats.update(running), carry)


class Normalising(Protocol):
    """A learner's state that holds a normaliser."""

    @property
    def normaliser(self) -> Normaliser:
        """The statistics of observations and rewards."""
        ...


T = TypeVar("T", bound=Normalising)


def restarted(state: T) -> T:
    """A learner's state whose normaliser has given up the episodes under way."""
    return eqx.tree_at(lambda s: s.normaliser, state, state.normaliser.restart())


def require_normalisable(settings: Settings, spec: EnvSpec) -> None:
    """Raise FathomError where observations are to be normalised and hold no real numbers."""
    floats = [x for x in jax.tree.leaves(zeros(spec.obs_space)) if x.dtype == jnp.float32]
    require(
        not settings.normalize_obs or bool(floats),
        f"normalize_obs needs observations that hold real numbers, and these are {spec.obs_space!r}; "
        "turn it off.",
    )
