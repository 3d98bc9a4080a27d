"""The contract of a native environment, and the vectoriser that resets it."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree, UInt32

from fathom.core.module import Config
from fathom.core.spaces import Space
from fathom.core.types import EnvSpec, Stack, TimeStep, VecStep


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

    @property
    def stack(self) -> Stack | None:
        """Of which frames observations are made, so that replay keeps each once; None where they are none."""
        return None

    @abc.abstractmethod
    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        """A first state and its observation."""

    @abc.abstractmethod
    def step(self, key: Key[Array, ""], state: PyTree, action: PyTree) -> tuple[PyTree, TimeStep]:
        """The next state and what was seen and earned on the way. Never resets."""

    def view(self, state: PyTree) -> Any:
        """A `envs.scene.Scene` to draw for `state`, or None where there is nothing to see."""
        return None

    def ascii(self, state: PyTree) -> str | None:
        """Lines of text that show `state` (concrete), or None where there are none."""
        return None


def spec_of(env: Any, id: str = "") -> EnvSpec:
    """The spaces and the stack of an environment, as an algorithm's `init` takes them."""
    return EnvSpec(env.obs_space, env.action_space, id, env.stack)


class VecState(eqx.Module):
    """The state of a vector of native environments; every leaf is [env, ...]."""

    env: PyTree
    key: Key[Array, " env"]  # each environment's own, never changed
    steps: UInt32[Array, " env"]  # steps made since the start, over all episodes


class Draws(eqx.Module):
    """All that one step of a vector needs of chance, drawn beforehand; every leaf is [..., env, ...]."""

    key: Key[Array, "... env"]  # for `Env.step`
    fresh: tuple[PyTree, PyTree]  # the state and observation that a reset in this step gives


def env_keys(key: Key[Array, ""], steps: UInt32[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
    """The keys of one environment's next step and of the reset that may follow it.

    `steps` counts the steps made before; `key` is the environment's own, `jax.random.key(seed)`.
    """
    step_key, reset_key = jax.random.split(jax.random.fold_in(key, steps + jnp.uint32(1)))
    return step_key, reset_key


def first_key(key: Key[Array, ""]) -> Key[Array, ""]:
    """The key of an environment's very first reset."""
    return jax.random.fold_in(key, 0)


def vec_reset(env: Env, seeds: UInt32[Array, " env"]) -> tuple[VecState, PyTree]:
    """Start one environment per seed. The stream of each is `jax.random.key(seed)` and nothing else."""

    def start(seed: Array) -> tuple[VecState, PyTree]:
        key = jax.random.key(seed)
        state, obs = env.reset(first_key(key))
        return VecState(state, key, jnp.uint32(0)), obs

    return jax.vmap(start)(seeds)


def vec_draws(env: Env, state: VecState, n: int) -> Draws:
    """The draws of the next n steps, [step, env, ...].

    One batch instead of one by one: inside a scan each Threefry call is a loop of its own.
    """

    def one(key: Array, steps: Array) -> Draws:
        step_key, reset_key = env_keys(key, steps)
        return Draws(step_key, env.reset(reset_key))

    ahead = jnp.arange(n, dtype=jnp.uint32)
    return jax.vmap(lambda i: jax.vmap(one)(state.key, state.steps + i))(ahead)


def vec_step(
    env: Env, state: VecState, action: PyTree, draws: Draws | None = None
) -> tuple[VecState, VecStep]:
    """Step every environment; reset those whose episode ended, the observation reached kept as `final_obs`.

    `draws` are this step's of `vec_draws`, made here where not given: the step is the same.
    """
    given = draws if draws is not None else jax.tree.map(lambda x: x[0], vec_draws(env, state, 1))

    def advance(draws: Draws, inner: PyTree, act: PyTree) -> tuple[PyTree, VecStep]:
        inner, step = env.step(draws.key, inner, act)
        over = step.terminated | step.truncated
        inner, obs = jax.tree.map(lambda new, old: jnp.where(over, new, old), draws.fresh, (inner, step.obs))
        return inner, VecStep(obs, step.reward, step.terminated, step.truncated, step.obs, step.info)

    inner, vec = jax.vmap(advance)(given, state.env, action)
    return VecState(inner, state.key, state.steps + jnp.uint32(1)), vec
