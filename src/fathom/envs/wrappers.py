"""Environments made of environments: time limits, stacked frames, other forms of actions and observations."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, PyTree

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Dict, Discrete, Masked, MultiBinary, MultiDiscrete, Space, Tuple, flatten
from fathom.core.types import Masked as MaskedObs
from fathom.core.types import Stack, TimeStep
from fathom.envs.base import Env


class TimeLimitState(eqx.Module):
    """The state of the environment within, and the steps of this episode."""

    env: PyTree
    steps: Int[Array, ""]


class TimeLimit(Env):
    """Cuts episodes: `truncated` from the `max_steps`-th step on, also where that step terminates.

    As Gymnasium's `TimeLimit`, both flags may be true: then the task ended, and nothing is bootstrapped.
    """

    env: Env
    max_steps: int  # steps of an episode at most, ≥ 1

    def __check_init__(self) -> None:
        if self.max_steps < 1:
            raise FathomError(f"max_steps is {self.max_steps}; an episode has at least 1 step.")

    @property
    def obs_space(self) -> Space:
        """That of the environment within."""
        return self.env.obs_space

    @property
    def action_space(self) -> Space:
        """That of the environment within."""
        return self.env.action_space

    @property
    def stack(self) -> Stack | None:
        """That of the environment within."""
        return self.env.stack

    def reset(self, key: Key[Array, ""]) -> tuple[TimeLimitState, PyTree]:
        """Start, with no steps made."""
        state, obs = self.env.reset(key)
        return TimeLimitState(state, jnp.zeros((), jnp.int32)), obs

    def step(self, key: Key[Array, ""], state: TimeLimitState, action: PyTree) -> tuple[PyTree, TimeStep]:
        """Step and count."""
        inner, step = self.env.step(key, state.env, action)
        steps = state.steps + 1
        truncated = step.truncated | (steps >= self.max_steps)
        step = TimeStep(step.obs, step.reward, step.terminated, truncated, step.info)
        return TimeLimitState(inner, steps), step

    def view(self, state: TimeLimitState) -> Any:
        """The picture of the environment within."""
        return self.env.view(state.env)

    def ascii(self, state: TimeLimitState) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state.env)


class FrameStackState(eqx.Module):
    """The state of the environment within, and the observation as it was last given out."""

    env: PyTree
    stack: Array


class FrameStack(Env):
    """Observations are the last `num` ones, joined along the last axis, oldest first.

    Vectors [d] become [num·d], pictures [h, w, c] become [h, w, num·c], scalars [num]. An episode starts
    with its first observation repeated, so nothing of the last episode is seen. The mask of a masked
    observation is the newest one. Raises FathomError for spaces other than Box.
    """

    env: Env
    num: int  # observations in a stack, ≥ 1; 4 is usual for pixels

    def __check_init__(self) -> None:
        if self.num < 1:
            raise FathomError(f"num is {self.num}; a stack holds at least 1 observation.")
        if not isinstance(_bare(self.env.obs_space), Box):
            raise FathomError(
                f"observations of {_bare(self.env.obs_space)!r} cannot be stacked; put FlattenObs within."
            )

    @property
    def obs_space(self) -> Space:
        """The box within, `num` times along its last axis."""
        box = _require_box(_bare(self.env.obs_space), "FrameStack")
        shape = (*box.shape[:-1], self.num * (box.shape[-1] if box.shape else 1))
        repeats = (*(1 for _ in box.shape[:-1]), self.num)
        stacked = Box(np.tile(box.low, repeats), np.tile(box.high, repeats), shape, box.dtype)
        return _as_masked(self.env.obs_space, stacked)

    @property
    def action_space(self) -> Space:
        """That of the environment within."""
        return self.env.action_space

    @property
    def stack(self) -> Stack:
        """`num` along the last axis, an episode's first one repeated."""
        return Stack(self.num, -1)

    def reset(self, key: Key[Array, ""]) -> tuple[FrameStackState, PyTree]:
        """Start, with a stack of first observations."""
        state, obs = self.env.reset(key)
        newest = jnp.atleast_1d(_content(obs))
        stack = jnp.concatenate([newest] * self.num, axis=-1)
        return FrameStackState(state, stack), _with_content(obs, stack)

    def step(self, key: Key[Array, ""], state: FrameStackState, action: PyTree) -> tuple[PyTree, TimeStep]:
        """Step, drop the oldest observation and add the newest."""
        inner, step = self.env.step(key, state.env, action)
        newest = jnp.atleast_1d(_content(step.obs))
        stack = jnp.concatenate([state.stack[..., newest.shape[-1] :], newest], axis=-1)
        obs = _with_content(step.obs, stack)
        step = TimeStep(obs, step.reward, step.terminated, step.truncated, step.info)
        return FrameStackState(inner, stack), step

    def view(self, state: FrameStackState) -> Any:
        """The picture of the environment within."""
        return self.env.view(state.env)

    def ascii(self, state: FrameStackState) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state.env)


class ScaleAction(Env):
    """Actions in [−1, 1], mapped linearly onto the box of the environment within.

    Nothing is clipped. Raises FathomError where the actions are not a Box with finite bounds.
    """

    env: Env

    def __check_init__(self) -> None:
        box = _require_box(self.env.action_space, "ScaleAction")
        if not box.bounded:
            raise FathomError(
                f"ScaleAction needs finite bounds, not {box.low.tolist()} … {box.high.tolist()}."
            )

    @property
    def obs_space(self) -> Space:
        """That of the environment within."""
        return self.env.obs_space

    @property
    def action_space(self) -> Box:
        """The box within, with all bounds at ±1."""
        box = _require_box(self.env.action_space, "ScaleAction")
        return Box(-1.0, 1.0, box.shape, box.dtype)

    @property
    def stack(self) -> Stack | None:
        """That of the environment within."""
        return self.env.stack

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        """Start the environment within."""
        return self.env.reset(key)

    def step(self, key: Key[Array, ""], state: PyTree, action: Array) -> tuple[PyTree, TimeStep]:
        """Step with the action's image: −1 gives exactly the lower bound, +1 exactly the upper."""
        box = _require_box(self.env.action_space, "ScaleAction")
        return self.env.step(key, state, (1 - action) / 2 * box.low + (1 + action) / 2 * box.high)

    def view(self, state: PyTree) -> Any:
        """The picture of the environment within."""
        return self.env.view(state)

    def ascii(self, state: PyTree) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state)


class ClipAction(Env):
    """Takes any real action and gives the environment within the nearest one of its box.

    Raises FathomError where the actions are not a Box.
    """

    env: Env

    def __check_init__(self) -> None:
        _require_box(self.env.action_space, "ClipAction")

    @property
    def obs_space(self) -> Space:
        """That of the environment within."""
        return self.env.obs_space

    @property
    def action_space(self) -> Box:
        """All of the reals, as Gymnasium's `ClipAction` has it."""
        box = _require_box(self.env.action_space, "ClipAction")
        return Box(-np.inf, np.inf, box.shape, box.dtype)

    @property
    def stack(self) -> Stack | None:
        """That of the environment within."""
        return self.env.stack

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        """Start the environment within."""
        return self.env.reset(key)

    def step(self, key: Key[Array, ""], state: PyTree, action: Array) -> tuple[PyTree, TimeStep]:
        """Step with the action clipped."""
        box = _require_box(self.env.action_space, "ClipAction")
        return self.env.step(key, state, jnp.clip(action, box.low, box.high))

    def view(self, state: PyTree) -> Any:
        """The picture of the environment within."""
        return self.env.view(state)

    def ascii(self, state: PyTree) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state)


class Components(Env):
    """Shows only some components of a vector: [positions and velocities] without velocities, say.

    Raises FathomError where observations are not a Box of vectors, or have no such component.
    """

    env: Env
    keep: tuple[int, ...] = ()  # numbers of the components, in the order in which they are shown

    def __check_init__(self) -> None:
        box = _require_box(self.env.obs_space, "Components")
        size = box.shape[0] if len(box.shape) == 1 else 0
        if not self.keep or not all(0 <= i < size for i in self.keep):
            raise FathomError(
                f"Components: keep is {self.keep}, of observations {box!r}; name at least one of the "
                f"components 0 to {size - 1} of a vector."
            )

    @property
    def obs_space(self) -> Box:
        """The bounds of the components kept."""
        box = _require_box(self.env.obs_space, "Components")
        keep = np.array(self.keep)
        return Box(box.low[keep], box.high[keep])

    @property
    def action_space(self) -> Space:
        """That of the environment within."""
        return self.env.action_space

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, Array]:
        """Start the environment within."""
        state, obs = self.env.reset(key)
        return state, self._kept(obs)

    def step(self, key: Key[Array, ""], state: PyTree, action: PyTree) -> tuple[PyTree, TimeStep]:
        """Step, with the observation cut down."""
        state, step = self.env.step(key, state, action)
        obs = self._kept(step.obs)
        return state, TimeStep(obs, step.reward, step.terminated, step.truncated, step.info)

    def _kept(self, obs: Array) -> Array:
        return jnp.stack([obs[i] for i in self.keep])

    def view(self, state: PyTree) -> Any:
        """The picture of the environment within."""
        return self.env.view(state)

    def ascii(self, state: PyTree) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state)


class FlattenObs(Env):
    """Observations as float32 vectors, as `core.spaces.flatten` makes them; masks are kept."""

    env: Env

    @property
    def obs_space(self) -> Space:
        """A box of vectors, with the bounds of the parts."""
        low, high = _flat_bounds(_bare(self.env.obs_space))
        return _as_masked(self.env.obs_space, Box(low, high))

    @property
    def action_space(self) -> Space:
        """That of the environment within."""
        return self.env.action_space

    def reset(self, key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
        """Start, with the observation flat."""
        state, obs = self.env.reset(key)
        return state, self.flat(obs)

    def step(self, key: Key[Array, ""], state: PyTree, action: PyTree) -> tuple[PyTree, TimeStep]:
        """Step, with the observation flat."""
        state, step = self.env.step(key, state, action)
        obs = self.flat(step.obs)
        return state, TimeStep(obs, step.reward, step.terminated, step.truncated, step.info)

    def flat(self, obs: PyTree) -> PyTree:
        """One observation of the environment within as a vector, with its mask if it has one."""
        return _with_content(obs, flatten(_bare(self.env.obs_space), _content(obs)))

    def view(self, state: PyTree) -> Any:
        """The picture of the environment within."""
        return self.env.view(state)

    def ascii(self, state: PyTree) -> str | None:
        """The text of the environment within."""
        return self.env.ascii(state)


def _bare(space: Space) -> Space:
    return space.obs if isinstance(space, Masked) else space


def _as_masked(like: Space, space: Space) -> Space:
    return Masked(space, like.num_actions) if isinstance(like, Masked) else space


def _content(obs: PyTree) -> PyTree:
    return obs.obs if isinstance(obs, MaskedObs) else obs


def _with_content(like: PyTree, content: PyTree) -> PyTree:
    return MaskedObs(content, like.mask) if isinstance(like, MaskedObs) else content


def _require_box(space: Space, wrapper: str) -> Box:
    if not isinstance(space, Box):
        raise FathomError(f"{wrapper} works on a Box, not on {space!r}.")
    return space


def _flat_bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    match space:
        case Box(low=low, high=high):
            return low.reshape(-1).astype(np.float32), high.reshape(-1).astype(np.float32)
        case Discrete(n=n) | MultiBinary(n=n):
            return np.zeros(n, np.float32), np.ones(n, np.float32)
        case MultiDiscrete(nvec=nvec):
            return np.zeros(sum(nvec), np.float32), np.ones(sum(nvec), np.float32)
        case Dict(spaces=spaces):
            parts = [_flat_bounds(part) for part in spaces.values()]
        case Tuple(spaces=spaces):
            parts = [_flat_bounds(part) for part in spaces]
        case _:
            raise FathomError(f"no flat form for the space {space!r}; use one of fathom.core.spaces.")
    lows, highs = zip(*parts, strict=True)
    return np.concatenate(lows), np.concatenate(highs)
