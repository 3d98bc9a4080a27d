"""Atari games stepped by EnvPool: C++ threads that run all games of a vector at once."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt32

from fathom.core.errors import FathomError
from fathom.core.types import VecStep
from fathom.envs.atari import Atari, require

_NOT_COPYABLE = "EnvPool has no way to copy a game; engine='ale' has"


class PoolVec:
    """A vector of Atari games in EnvPool, which does what `host.HostVec` does but for exact copies.

    EnvPool resets a game in the step after its end, and that step's action is lost. Here every game that is
    over is reset at once, by a call for these games alone: no step is lost, and `final_obs` is what the last
    step showed. Each game has its own seed, and what it yields does not depend on its neighbours. Stacks are
    made here, so that one starts anew with a life; so are the learner's rewards and ends, because EnvPool's
    own `episodic_life` begins a new game when it is reset.

    Ends are seen after whole skips, and sticky actions are drawn by the emulator. Raises FathomError for
    settings that EnvPool has not.
    """

    def __init__(self, settings: Atari, num_envs: int) -> None:
        if num_envs < 1:
            raise FathomError(f"num_envs is {num_envs}; a vector needs at least one environment.")
        self.settings = settings
        self.num_envs = num_envs
        self.told = ""
        self._envpool = require("envpool", "envpool")
        name = settings.id.removeprefix("ALE/")
        # The two spell "3D" in different cases.
        self._name = next((n for n in self._envpool.list_all_envs() if n.lower() == name.lower()), "")
        if not self._name:
            raise FathomError(f"EnvPool has not the game {settings.game!r}; ale-py has, with engine='ale'.")
        if not settings.noop_max:
            raise FathomError("noop_max is 0, which EnvPool cannot; give at least 1, or engine='ale'.")
        self._pool: Any = None

    def _make(self, seeds: list[int]) -> Any:
        settings = self.settings
        return self._envpool.make(
            self._name,
            env_type="gymnasium",
            num_envs=self.num_envs,
            env_seed=[seed % 2**31 for seed in seeds],  # theirs are signed
            frame_skip=settings.frame_skip,
            stack_num=1,
            noop_max=settings.noop_max,
            use_fire_reset=settings.fire_on_reset,
            img_height=settings.screen_size,
            img_width=settings.screen_size,
            full_action_space=settings.full_actions,
            repeat_action_probability=float(settings.sticky),
            max_episode_steps=math.ceil(settings.max_frames / settings.frame_skip),
        )

    def reset(self, seeds: UInt32[np.ndarray, " env"]) -> UInt8[np.ndarray, "env height width frame"]:
        """Begin anew, each game from its seed. Returns the first observations."""
        if len(seeds) != self.num_envs:
            raise FathomError(f"{len(seeds)} seeds for {self.num_envs} environments; pass one for each.")
        if self._pool is not None:
            self._pool.close()
        self._pool = self._make([int(seed) for seed in seeds])
        pictures, info = self._pool.reset()
        self._lives = np.array(info["lives"])
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs)
        self._stacks = self._started(pictures)
        return self._stacks.copy()

    def _started(self, pictures: np.ndarray) -> np.ndarray:
        """Stacks of first pictures, [env, height, width, frame]."""
        return np.repeat(pictures[:, 0, :, :, None], self.settings.frame_stack, axis=3)

    def step(self, actions: Any) -> VecStep:
        """Step every game with its action [env], and reset those whose episode ended; see `host.HostVec`."""
        if self._pool is None:
            raise FathomError("step before reset; call reset(seeds) first.")
        acts = np.array(actions, np.int32)
        if acts.shape != (self.num_envs,):
            raise FathomError(f"actions of shape {acts.shape} for {self.num_envs} environments.")
        pictures, reward, ended, cut, info = self._pool.step(acts)
        ended, cut, reward = np.array(ended, bool), np.array(cut, bool), np.array(reward, np.float32)
        lives = np.array(info["lives"])
        over = ended | cut
        self._returns += reward
        self._lengths += 1
        told = {
            "lives": lives.astype(np.float32),
            "episode_return": _where_over(over, self._returns),
            "episode_length": _where_over(over, self._lengths),
        }
        lost = (lives < self._lives) & ~over & self.settings.life_loss_ends
        self._lives = lives
        final = np.concatenate([self._stacks[..., 1:], pictures[:, 0, :, :, None]], axis=3)
        obs = final.copy()
        obs[lost] = self._started(pictures[lost])
        if over.any():
            games = np.flatnonzero(over).astype(np.int32)
            fresh, first = self._pool.reset(games)
            # What comes back is in an order of EnvPool's own.
            at = np.array(first["env_id"])
            obs[at] = self._started(fresh)
            self._lives[at] = first["lives"]
            self._returns[at], self._lengths[at] = 0.0, 0.0
        self._stacks = obs
        gain = np.sign(reward) if self.settings.clip_rewards else reward
        return VecStep(obs.copy(), gain, ended | lost, cut & ~ended, final, told)  # pyright: ignore[reportArgumentType]

    def snapshot(self) -> None:
        """None: see `why_not_copyable`."""
        return None

    def restore(self, snapshot: dict[str, Any]) -> None:
        """FathomError, always: there is no snapshot of EnvPool's games."""
        raise FathomError(f"this run's games cannot be put back: {_NOT_COPYABLE}.")

    def why_not_copyable(self) -> str:
        """The reason, for people."""
        return _NOT_COPYABLE

    def close(self) -> None:
        """End EnvPool's threads. May be called twice."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None


def _where_over(over: np.ndarray, values: np.ndarray) -> Float[np.ndarray, " env"]:
    """The values of games that are over, NaN for others."""
    return np.where(over, values, math.nan).astype(np.float32)
