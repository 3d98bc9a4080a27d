"""An environment of your own in JAX: it trains inside one compiled loop, and its physics can be turned."""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fathom import PPO, Agent, Env, check
from fathom.core.spaces import Box
from fathom.core.types import TimeStep
from fathom.envs.wrappers import TimeLimit

steps = int(os.environ.get("STEPS", 200_000))


class Flight(NamedTuple):
    """All that changes in an episode."""

    height: Array  # m
    speed: Array  # m/s, upwards


class Drone(Env):
    """Fly to a height of ten metres and stay there; to touch the ground ends the flight."""

    gravity: float = 9.8  # g, m/s²; float fields are numbers in the program: changing one compiles nothing
    dt: float = 0.05  # s between two actions

    @property
    def obs_space(self) -> Box:
        return Box(-np.inf, np.inf, (2,))

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,))  # from no power to full power

    def reset(self, key):
        state = Flight(height=jax.random.uniform(key, minval=2.0, maxval=18.0), speed=jnp.zeros(()))
        return state, self.observe(state)

    def step(self, key, state, action):
        power = (jnp.clip(action[0], -1.0, 1.0) + 1.0) / 2.0
        speed = state.speed + self.dt * (20.0 * power - self.gravity)
        state = Flight(state.height + self.dt * speed, speed)
        reward = jnp.exp(-jnp.abs(state.height - 10.0))  # 1 for a step spent at the height, less off it
        return state, TimeStep(self.observe(state), reward, state.height <= 0.0, jnp.asarray(False))

    def observe(self, state):
        return jnp.stack([(state.height - 10.0) / 5.0, state.speed / 5.0])


print(check(TimeLimit(Drone(), 200)).text())

for planet, gravity in (("Earth", 9.8), ("Mars", 3.7)):
    settings = PPO(learning_rate=1e-3, num_envs=32, num_steps=128, minibatches=16)
    agent = Agent(settings, TimeLimit(Drone(gravity=gravity), 200), seeds=3).learn(steps)
    print(f"{planet}: return of each seed {agent.evaluate(episodes=50).per_seed.round(1)} of at most 200")
