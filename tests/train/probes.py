"""Environments whose returns, lengths and faults are known beforehand."""

from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.core.spaces import Box, Discrete, Masked
from fathom.core.types import Masked as MaskedObs
from fathom.core.types import TimeStep
from fathom.envs.base import Env


class Metronome(Env):
    """Episodes of `length` steps that truncate; the t-th step earns t. Faults can be put in at one step."""

    length: float = 5.0  # steps of an episode; 0 for no end
    nan_obs_at: float = -1.0  # step of the episode whose observation is NaN
    inf_reward_at: float = -1.0  # step of the episode whose reward is infinite

    @property
    def obs_space(self) -> Box:
        """The step, and noise that the reset draws."""
        return Box(-np.inf, np.inf, (2,))

    @property
    def action_space(self) -> Discrete:
        """Without effect."""
        return Discrete(3)

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Float[Array, "2"]]:
        """Step 0."""
        state = (jnp.asarray(0, jnp.int32), jax.random.normal(key))
        return state, self.observe(state)

    def step(self, key: Key[Array, ""], state: Any, action: Int[Array, ""]) -> tuple[Any, TimeStep]:
        """One step on."""
        state = (state[0] + 1, state[1])
        t = state[0].astype(jnp.float32)
        reward = jnp.where(t == self.inf_reward_at, jnp.inf, t)
        obs = jnp.where(t == self.nan_obs_at, jnp.nan, self.observe(state))
        return state, TimeStep(obs, reward, jnp.asarray(False), t == self.length)

    def observe(self, state: Any) -> Float[Array, "2"]:
        """The step, and the noise."""
        return jnp.stack([state[0].astype(jnp.float32), state[1]])


class Diary(gymnasium.Env):
    """Random rewards and lengths, written down as they are given: `episodes` holds each instance's rewards.

    Give each vector a diary of its own: `Diary.keeping(episodes)` is a constructor.
    """

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, diary: list["Diary"]) -> None:
        self.episodes: list[list[float]] = []
        diary.append(self)

    @staticmethod
    def keeping(diary: list["Diary"]) -> Callable[[], "Diary"]:
        return lambda: Diary(diary)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.length = int(self.np_random.integers(1, 9))
        self.episodes.append([])
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        reward = float(np.float32(self.np_random.normal())) + float(action)
        rewards = self.episodes[-1]
        rewards.append(reward)
        over = len(rewards) == self.length
        return self.observe(), reward, over and self.length % 2 == 0, over and self.length % 2 == 1, {}

    def observe(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    @property
    def finished(self) -> list[list[float]]:
        """The rewards of the episodes that are over."""
        return [e for e in self.episodes[:-1] if e] + [
            e for e in self.episodes[-1:] if len(e) == self.length and e
        ]


class Endless(gymnasium.Env):
    """Earns 1 for ever."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 1.0, False, False, {}


class Faulty(gymnasium.Env):
    """From its 40th step on one number is no number; that is after the checks of the first steps."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, what: str) -> None:
        self.what, self.steps = what, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        bad = self.steps == 40
        obs = np.full(1, np.nan if bad and self.what == "obs" else 0.5, np.float32)
        return obs, float("inf") if bad and self.what == "reward" else 0.25, False, False, {}


class Cornered(Env):
    """Never ends, and from its 21st step on no action is legal."""

    @property
    def obs_space(self) -> Masked:
        """Nothing worth seeing, and the mask."""
        return Masked(Box(0.0, 1.0, (1,)), 3)

    @property
    def action_space(self) -> Discrete:
        """Without effect."""
        return Discrete(3)

    def reset(self, key: Key[Array, ""]) -> tuple[Any, Any]:
        """Step 0."""
        t = jnp.asarray(0, jnp.int32)
        return t, self.observe(t)

    def step(self, key: Key[Array, ""], state: Any, action: Int[Array, ""]) -> tuple[Any, TimeStep]:
        """One step on."""
        t = state + 1
        return t, TimeStep(self.observe(t), jnp.ones(()), jnp.asarray(False), jnp.asarray(False))

    def observe(self, t: Int[Array, ""]) -> Any:
        """The mask of this step."""
        return MaskedObs(jnp.zeros(1), jnp.broadcast_to(t < 21, (3,)))
