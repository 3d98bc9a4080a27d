"""CartPole whose velocities are not seen, for Gymnasium: the same task for all who run it."""

import gymnasium
import numpy as np


class Positions(gymnasium.ObservationWrapper):
    """The cart's position and the pole's angle alone."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        whole = env.observation_space
        assert isinstance(whole, gymnasium.spaces.Box)
        self.observation_space = gymnasium.spaces.Box(whole.low[::2], whole.high[::2], dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Components 0 and 2."""
        return observation[::2]


def cartpole() -> gymnasium.Env:
    """CartPole-v1 without velocities."""
    return Positions(gymnasium.make("CartPole-v1"))
