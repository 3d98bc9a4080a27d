"""Actions that are not always legal: DQN learns Nim against an opponent that plays at random.

Two players take one, two or three stones in turn; who takes the last one wins. Whoever leaves a multiple of
four wins against anybody. With fewer than three stones left not every move is legal, and the environment
says so by an `action_mask` in its infos: illegal actions are neither explored, nor chosen, nor learned from.
"""

import os

import gymnasium
import numpy as np

from fathom import DQN, Agent
from fathom.core.types import Masked

steps = int(os.environ.get("STEPS", 80_000))
STONES = 12


class Nim(gymnasium.Env):
    """Action a takes a + 1 stones; then the opponent moves."""

    observation_space = gymnasium.spaces.Discrete(STONES + 1)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.stones = int(self.np_random.integers(4, STONES + 1))
        return self.stones, {"action_mask": legal(self.stones)}

    def step(self, action):
        self.stones -= int(action) + 1
        reward = 1.0 if self.stones == 0 else 0.0
        if self.stones:
            self.stones -= int(self.np_random.integers(1, min(3, self.stones) + 1))
            reward = -1.0 if self.stones == 0 else 0.0
        return self.stones, reward, self.stones == 0, False, {"action_mask": legal(self.stones)}


def legal(stones: int) -> np.ndarray:
    """Which of the three moves the stones allow."""
    return np.arange(1, 4) <= stones


agent = Agent(DQN(gamma=0.95, num_envs=8, train_every=8, gradient_steps=2, hidden=(64,)), Nim).learn(steps)
print(f"won minus lost, a game: {agent.evaluate(episodes=200).mean:+.2f}")

stones = np.arange(1, STONES + 1)
moves = agent.predict(Masked(stones, np.stack([legal(n) for n in stones]))) + 1
for n, move in zip(stones, moves, strict=True):
    verdict = "lost anyway" if n % 4 == 0 else "right" if (n - move) % 4 == 0 else "wrong"
    print(f"{n:2} stones: take {move}  {verdict}")
