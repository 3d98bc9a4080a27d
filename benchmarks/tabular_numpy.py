"""Q-learning as textbooks and tutorials write it: a NumPy table and a Python loop over Gymnasium.

    python benchmarks/tabular_numpy.py FrozenLake-v1 50000

The peer of the group "tabular" in speed.py. Nothing in it is slower than it need be for a loop of this kind:
the greedy action is a plain argmax.
"""

import sys
import time

import gymnasium
import numpy as np

ALPHA, GAMMA, EPSILON = 0.1, 0.99, 0.1


def q_learning(env_id: str, steps: int, seed: int) -> np.ndarray:
    """Q after `steps` steps; Sutton & Barto 2018, Section 6.5, p. 131."""
    env = gymnasium.make(env_id)
    rng = np.random.default_rng(seed)
    actions = int(env.action_space.n)  # pyright: ignore[reportAttributeAccessIssue]
    q = np.zeros((int(env.observation_space.n), actions))  # pyright: ignore[reportAttributeAccessIssue]
    state, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = int(rng.integers(actions)) if rng.random() < EPSILON else int(np.argmax(q[state]))
        reached, reward, terminated, truncated, _ = env.step(action)
        following = 0.0 if terminated else q[reached].max()
        q[state, action] += ALPHA * (float(reward) + GAMMA * following - q[state, action])
        state = env.reset()[0] if terminated or truncated else reached
    env.close()
    return q


def rate(env_id: str, steps: int, seed: int) -> tuple[float, float]:
    """Seconds of `steps` steps after some that are not counted, and steps per second."""
    q_learning(env_id, max(1, steps // 10), seed)
    began = time.perf_counter()
    q_learning(env_id, steps, seed)
    seconds = time.perf_counter() - began
    return seconds, steps / seconds


if __name__ == "__main__":
    print(f"{rate(sys.argv[1], int(sys.argv[2]), 0)[1]:,.0f} steps/s")
