"""A pole balanced on a cart."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.shapes import place, rounded_box, segment
from fathom.envs.scene import Circle, Line, Polygon, Scene


class CartPoleState(eqx.Module):
    """Where the cart and the pole are, and how fast they move."""

    x: Float[Array, ""]  # cart position, m
    x_dot: Float[Array, ""]  # m/s
    theta: Float[Array, ""]  # pole angle from upright, rad, clockwise
    theta_dot: Float[Array, ""]  # rad/s


class CartPole(Env):
    """Push a cart left or right so that the pole on it stays up; +1 for each step, the last one included.

    Observation [x, ẋ, θ, θ̇]; actions 0 (left) and 1 (right). The task ends when the cart leaves the track or
    the pole leans too far; the limit of 500 steps of `CartPole-v1` is a wrapper's. Barto, Sutton and Anderson
    1983, with the corrected dynamics of Florian 2007 and explicit Euler steps; step for step equal to
    Gymnasium's `CartPole-v1`.
    """

    gravity: float = 9.8  # g, m/s²; 1.6 (Moon) to 25 (Jupiter)
    cart_mass: float = 1.0  # mass of the cart, kg; 0.5 to 2
    pole_mass: float = 0.1  # mass of the pole, kg; 0.05 to 0.5
    half_length: float = 0.5  # half the pole's length, m; 0.25 to 1
    force: float = 10.0  # push of either action, N; 5 to 20
    dt: float = 0.02  # time between two actions, s; 0.005 to 0.05
    start_spread: float = 0.05  # every component starts uniformly in ± this
    x_threshold: float = eqx.field(static=True, default=2.4)  # half the track, m; bounds the observations
    theta_threshold: float = eqx.field(static=True, default=math.pi / 15)  # the lean that ends it, rad (12°)
    sutton_barto_reward: bool = False  # 0 for each step and −1 for the last, instead of +1 for each

    @property
    def obs_space(self) -> Box:
        """Twice the thresholds, so that the observation that ends an episode is inside."""
        high = np.array([2 * self.x_threshold, np.inf, 2 * self.theta_threshold, np.inf], np.float32)
        return Box(-high, high)

    @property
    def action_space(self) -> Discrete:
        """Push left, push right."""
        return Discrete(2)

    def reset(self, key: Key[Array, ""]) -> tuple[CartPoleState, Float[Array, "4"]]:
        """Nearly upright, nearly at rest, near the middle."""
        start = jax.random.uniform(key, (4,), minval=-self.start_spread, maxval=self.start_spread)
        return CartPoleState(start[0], start[1], start[2], start[3]), start

    def step(
        self, key: Key[Array, ""], state: CartPoleState, action: Int[Array, ""]
    ) -> tuple[CartPoleState, TimeStep]:
        """One push of `dt` seconds."""
        state = self.move(state, jnp.where(action == 1, self.force, -self.force))
        terminated = (jnp.abs(state.x) > self.x_threshold) | (jnp.abs(state.theta) > self.theta_threshold)
        reward = -terminated.astype(jnp.float32) if self.sutton_barto_reward else jnp.ones((), jnp.float32)
        obs = jnp.stack([state.x, state.x_dot, state.theta, state.theta_dot])
        return state, TimeStep(obs, reward, terminated, jnp.zeros((), jnp.bool_))

    def move(self, state: CartPoleState, force: Float[Array, ""]) -> CartPoleState:
        """The state `dt` seconds later under a constant force in N. Florian 2007, Eqs. 23 and 24."""
        total_mass = self.cart_mass + self.pole_mass
        pole_moment = self.pole_mass * self.half_length
        cos, sin = jnp.cos(state.theta), jnp.sin(state.theta)
        push = (force + pole_moment * state.theta_dot**2 * sin) / total_mass
        inertia = self.half_length * (4.0 / 3.0 - self.pole_mass * cos**2 / total_mass)
        theta_acc = (self.gravity * sin - cos * push) / inertia
        x_acc = push - pole_moment * theta_acc * cos / total_mass
        return CartPoleState(
            state.x + self.dt * state.x_dot,
            state.x_dot + self.dt * x_acc,
            state.theta + self.dt * state.theta_dot,
            state.theta_dot + self.dt * theta_acc,
        )

    def view(self, state: CartPoleState) -> Scene:
        """The cart on its track, between the stops that end the episode."""
        half = self.x_threshold
        hinge = (state.x, 0.34)
        tip = (
            state.x + 2 * self.half_length * jnp.sin(state.theta),
            hinge[1] + 2 * self.half_length * jnp.cos(state.theta),
        )
        shapes = (
            Polygon(segment((-half - 4, 0), (half + 4, 0), (half + 4, -4), (-half - 4, -4)), "ground"),
            Line(segment((-half, 0), (half, 0)), 0.03, "muted"),
            Line(segment((0, 0), (0, -0.1)), 0.025, "muted"),
            Line(segment((-half, 0), (-half, 0.2)), 0.05, "danger"),
            Line(segment((half, 0), (half, 0.2)), 0.05, "danger"),
            Circle(jnp.stack([state.x - 0.17, jnp.float32(0.085)]), 0.085, "muted"),
            Circle(jnp.stack([state.x + 0.17, jnp.float32(0.085)]), 0.085, "muted"),
            Polygon(place(rounded_box(0.6, 0.24, 0.06), (state.x, 0.24)), "body"),
            Line(segment(hinge, tip), 0.09, "accent"),
            Circle(segment(hinge)[0], 0.025, "body"),
        )
        return Scene(shapes, (-half - 0.3, half + 0.3, -0.45, 1.75))
