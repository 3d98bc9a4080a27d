"""The contract of a native environment, and the vectoriser that resets it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, UInt32

from fathom.core.module import Config
from fathom.core.spaces import Space
from fathom.core.types import EnvSpec, TimeStep, VecStep


class Env(Config):
    """An environment as pure functions. Physical constants and reward weights are float fields.

    `reset` and `step` take one environment, unbatched, are jit- and vmap-able, and keep everything that
    changes in `state`, a pytree of arrays. An observation may be a `core.types.Masked`: then `obs_space` is a
    `spaces.Masked`.
    """

    @property
    @abc.abstractmethod
    def obs_space(self) -> Space:
        """The space of observations."""

    @property
    @abc.abstractmethod
    def action_space(self) -> Space:
        """The space of actions."""

    @abc.abstractmethod
    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        """A first state and its observation."""

    @abc.abstractmethod
    def step(self, key: Key[Array, ""], state: PyTree, action: PyTree) -> tuple[PyTree, TimeStep]:
        """The next state and what was seen and earned on the way. Never resets."""

    def view(self, state: PyTree) -> Any:
        """A `envs.scene.Scene` to draw for `state`, or None where there is nothing to see."""
        return None


def spec_of(env: Any, id: str = "") -> EnvSpec:
    """The spaces of an environment, as an algorithm's `init` takes them."""
    return EnvSpec(env.obs_space, env.action_space, id)


class VecState(eqx.Module):
    """The state of a vector of native environments; every leaf is [env, ...]."""

    env: PyTree
    key: Key[Array, " env"]


def vec_reset(env: Env, seeds: UInt32[Array, " env"]) -> tuple[VecState, PyTree]:
    """Start one environment per seed. The stream of each is `jax.random.key(seed)` and nothing else."""

    def start(seed: Array) -> tuple[VecState, PyTree]:
        carry_key, reset_key = jax.random.split(jax.random.key(seed))
        state, obs = env.reset(reset_key)
        return VecState(state, carry_key), obs

    return jax.vmap(start)(seeds)


def vec_step(env: Env, state: VecState, action: PyTree) -> tuple[VecState, VecStep]:
    """Step every environment; reset those whose episode ended, with their last obs kept as `final_obs`."""

    def advance(key: Array, inner: PyTree, act: PyTree) -> tuple[VecState, VecStep]:
        carry_key, step_key, reset_key = jax.random.split(key, 3)
        inner, step = env.step(step_key, inner, act)
        fresh, fresh_obs = env.reset(reset_key)
        over = step.terminated | step.truncated
        inner, obs = jax.tree.map(
            lambda new, old: jnp.where(over, new, old), (fresh, fresh_obs), (inner, step.obs)
        )
        vec = VecStep(obs, step.reward, step.terminated, step.truncated, step.obs, step.info)
        return VecState(inner, carry_key), vec

    return jax.vmap(advance)(state.key, state.env, action)
