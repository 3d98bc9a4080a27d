"""A car too weak for its hill."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.shapes import place, rounded_box, segment
from fathom.envs.scene import Circle, Line, Polygon, Scene


class MountainCarState(eqx.Module):
    """Where the car is and how fast it goes, along the horizontal."""

    position: Float[Array, ""]
    velocity: Float[Array, ""]  # position a step


class MountainCar(Env):
    """Rock a car out of a valley with an engine too weak to climb; −1 for each step until the flag.

    Observation [position, velocity]; actions 0 (left), 1 (coast), 2 (right). The left end is a wall that
    stops the car. The limit of 200 steps of `MountainCar-v0` is a wrapper's. Moore 1990; step for step equal
    to Gymnasium's `MountainCar-v0`.
    """

    force: float = 0.001  # pull of the engine, velocity a step; 0.0005 to 0.002
    gravity: float = 0.0025  # pull of the slope at its steepest, velocity a step; 0.001 to 0.004
    goal_position: float = 0.5  # where the flag stands; 0.3 to 0.6
    goal_velocity: float = 0.0  # the least velocity with which the flag counts; 0 to 0.05
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
    def action_space(self) -> Discrete:
        """Left, coast, right."""
        return Discrete(3)

    def reset(self, key: Key[Array, ""]) -> tuple[MountainCarState, Float[Array, "2"]]:
        """At rest near the bottom of the valley."""
        state = start_at_rest(key)
        return state, jnp.stack([state.position, state.velocity])

    def step(
        self, key: Key[Array, ""], state: MountainCarState, action: Int[Array, ""]
    ) -> tuple[MountainCarState, TimeStep]:
        """One unit of time with the engine pulling left, not at all, or right."""
        pull = (action - 1).astype(jnp.float32) * self.force
        low, high = self.min_position, self.max_position
        state = drive(state, pull, self.gravity, low, high, self.max_speed)
        terminated = at_flag(state, self.goal_position, self.goal_velocity)
        obs = jnp.stack([state.position, state.velocity])
        return state, TimeStep(obs, jnp.full((), -1.0, jnp.float32), terminated, jnp.zeros((), jnp.bool_))

    def view(self, state: MountainCarState) -> Scene:
        """The hill, the car and the flag."""
        return picture(state, self.goal_position, self.min_position, self.max_position)


def start_at_rest(key: Key[Array, ""]) -> MountainCarState:
    """Standing still, the position uniform in [−0.6, −0.4]."""
    position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
    return MountainCarState(position, jnp.zeros((), jnp.float32))


def drive(
    state: MountainCarState,
    pull: Float[Array, ""],
    gravity: float | Float[Array, ""],
    min_position: float,
    max_position: float,
    max_speed: float,
) -> MountainCarState:
    """The state a unit of time later, on the hill sin 3x: speed clipped, a wall at the left."""
    velocity = state.velocity + pull - gravity * jnp.cos(3 * state.position)
    velocity = jnp.clip(velocity, -max_speed, max_speed)
    position = jnp.clip(state.position + velocity, min_position, max_position)
    at_wall = (position <= min_position) & (velocity < 0)
    return MountainCarState(position, jnp.where(at_wall, 0.0, velocity))


def at_flag(
    state: MountainCarState,
    goal_position: float | Float[Array, ""],
    goal_velocity: float | Float[Array, ""],
) -> Bool[Array, ""]:
    """Whether the car has reached the flag, fast enough."""
    return (state.position >= goal_position) & (state.velocity >= goal_velocity)


def picture(
    state: MountainCarState, goal_position: float | Float[Array, ""], min_position: float, max_position: float
) -> Scene:
    """The hill, the car on its slope and the flag."""
    margin = 0.16
    left, right = min_position - margin, max_position + margin
    xs = np.linspace(left, right, 97, dtype=np.float32)
    surface = np.stack([xs, _height(xs, np)], axis=-1).astype(np.float32)
    floor = np.array([[right, -0.2], [left, -0.2]], np.float32)
    wall = np.float32(min_position - 0.1)
    foot = (goal_position, _height(jnp.asarray(goal_position, jnp.float32), jnp))
    top = (foot[0], foot[1] + 0.2)
    slope = jnp.arctan(1.35 * jnp.cos(3 * state.position))
    base = (state.position, _height(state.position, jnp))
    cabin = np.array([[-0.052, 0.085], [-0.03, 0.137], [0.026, 0.137], [0.056, 0.085]], np.float32)
    wheels = place(np.array([[-0.05, 0.03], [0.05, 0.03]], np.float32), base, slope)
    chassis = rounded_box(0.18, 0.058, 0.022) + np.array([0.0, 0.067], np.float32)
    shapes = (
        Polygon(np.concatenate([surface, floor]), "ground"),
        Line(surface, 0.012, "muted"),
        Line(segment((wall, _height(wall, np)), (wall, _height(wall, np) + 0.16)), 0.016, "danger"),
        Line(segment(foot, top), 0.012, "muted"),
        Polygon(segment(top, (top[0] + 0.1, top[1] - 0.035), (top[0], top[1] - 0.07)), "goal"),
        Polygon(place(cabin, base, slope), "body"),
        Polygon(place(chassis, base, slope), "accent"),
        Circle(wheels[0], 0.03, "body"),
        Circle(wheels[1], 0.03, "body"),
        Circle(wheels[0], 0.012, "ground"),
        Circle(wheels[1], 0.012, "ground"),
    )
    return Scene(shapes, (left, right, -0.02, 1.28))


def _height(x, xp):
    return 0.45 * xp.sin(3 * x) + 0.55
