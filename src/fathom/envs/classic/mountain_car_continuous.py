"""The weak car with a throttle."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fathom.core.spaces import Box
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.mountain_car import MountainCarState, at_flag, drive, picture, start_at_rest
from fathom.envs.scene import Scene


class MountainCarContinuous(Env):
    """Rock a car out of a valley with as little effort as will do: +100 at the flag, −0.1·a² for each step.

    Observation [position, velocity]; action [throttle] in [−1, 1]. The engine's pull is clipped to that box,
    the cost is that of the action as given. The limit of 999 steps of `MountainCarContinuous-v0` is a
    wrapper's. Moore 1990; step for step equal to Gymnasium's `MountainCarContinuous-v0`.
    """

    power: float = 0.0015  # pull of full throttle, velocity a step; 0.001 to 0.003
    gravity: float = 0.0025  # pull of the slope at its steepest, velocity a step; 0.001 to 0.004
    goal_position: float = 0.45  # where the flag stands; 0.3 to 0.6
    goal_velocity: float = 0.0  # the least velocity with which the flag counts; 0 to 0.05
    goal_reward: float = 100.0  # earned at the flag
    effort_cost: float = 0.1  # weight of a² in the cost of each step; 0 to 0.5
    min_position: float = eqx.field(static=True, default=-1.2)  # the wall; bounds the observations
    max_position: float = eqx.field(static=True, default=0.6)  # the right end; bounds the observations
    max_speed: float = eqx.field(static=True, default=0.07)  # velocity is clipped to ± this

    @property
    def obs_space(self) -> Box:
        """Position and velocity between their limits."""
        return Box(
            np.array([self.min_position, -self.max_speed]), np.array([self.max_position, self.max_speed])
        )

    @property
    def action_space(self) -> Box:
        """The throttle: full reverse to full ahead."""
        return Box(-1.0, 1.0, (1,))

    def reset(self, key: Key[Array, ""]) -> tuple[MountainCarState, Float[Array, "2"]]:
        """At rest near the bottom of the valley."""
        state = start_at_rest(key)
        return state, jnp.stack([state.position, state.velocity])

    def step(
        self, key: Key[Array, ""], state: MountainCarState, action: Float[Array, "1"]
    ) -> tuple[MountainCarState, TimeStep]:
        """One unit of time at the given throttle."""
        pull = jnp.clip(action[0], -1.0, 1.0) * self.power
        low, high = self.min_position, self.max_position
        state = drive(state, pull, self.gravity, low, high, self.max_speed)
        terminated = at_flag(state, self.goal_position, self.goal_velocity)
        goal = terminated.astype(jnp.float32) * self.goal_reward
        effort = -self.effort_cost * action[0] ** 2
        obs = jnp.stack([state.position, state.velocity])
        info = {"reward_goal": goal, "reward_effort": effort}
        return state, TimeStep(obs, goal + effort, terminated, jnp.zeros((), jnp.bool_), info)

    def view(self, state: MountainCarState) -> Scene:
        """The hill, the car and the flag."""
        return picture(state, self.goal_position, self.min_position, self.max_position)
