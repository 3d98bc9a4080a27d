"""An environment of your own, by Gymnasium's interface: check it, train on it, compare it with a rule."""

import os

import gymnasium
import numpy as np

from fathom import PPO, Agent, check

steps = int(os.environ.get("STEPS", 50_000))


class Heating(gymnasium.Env):
    """Keep a room near 20 °C over a day of 96 quarters of an hour. Power costs ten times as much by day."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.room, self.t = self.np_random.uniform(16, 22), 0
        return self.observe(), {}

    def step(self, action):
        outside = 6 - 4 * np.cos(2 * np.pi * self.t / 96)
        self.room += 0.01 * (outside - self.room) + 0.6 * action + self.np_random.normal(0, 0.05)
        price = 2.0 if 28 <= self.t < 80 else 0.2
        reward = -0.1 * (self.room - 20) ** 2 - price * action
        self.t += 1
        # A day that is over is cut, not failed: the room goes on existing, and its value counts.
        return self.observe(), reward, False, self.t == 96, {}

    def observe(self):
        angle = 2 * np.pi * self.t / 96
        return np.array([self.room - 20, np.sin(angle), np.cos(angle)], np.float32)


print(check(Heating).text())

settings = PPO(learning_rate=1e-3, num_steps=192, minibatches=24, normalize_reward=True)
agent = Agent(settings, Heating).learn(steps)
learned = agent.evaluate(episodes=20).mean


def thermostat() -> float:
    """The return of the simple rule, to heat whenever it is too cold. It buys no power ahead of the day."""
    env = Heating()
    obs, _ = env.reset(seed=0)
    total, over = 0.0, False
    while not over:
        obs, reward, _, over, _ = env.step(int(obs[0] < 0))
        total += reward
    return total


print(f"PPO: {learned:.1f} · a thermostat: {np.mean([thermostat() for _ in range(20)]):.1f}")
