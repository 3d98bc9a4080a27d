"""Two links and a motor at the elbow."""

import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.pendulum import wrap
from fathom.envs.classic.shapes import segment
from fathom.envs.scene import Circle, Line, Scene


class AcrobotState(eqx.Module):
    """The angles of the two links and how fast they turn."""

    theta1: Float[Array, ""]  # upper link from hanging, rad, in [−π, π]
    theta2: Float[Array, ""]  # lower link from the line of the upper one, rad, in [−π, π]
    theta1_dot: Float[Array, ""]  # rad/s
    theta2_dot: Float[Array, ""]  # rad/s


class Acrobot(Env):
    """Swing the free end of a two-link chain above a line; −1 for each step, 0 for the one that gets there.

    Observation [cos θ1, sin θ1, cos θ2, sin θ2, θ̇1, θ̇2]; actions 0, 1, 2 are torques −1, 0, +1 at the elbow.
    The limit of 500 steps of `Acrobot-v1` is a wrapper's. Sutton 1996; Sutton and Barto 2018, §11.3 of the
    first edition; Runge-Kutta of the fourth order; step for step equal to Gymnasium's `Acrobot-v1`.
    """

    gravity: float = 9.8  # g, m/s²; 1.6 (Moon) to 25 (Jupiter)
    mass1: float = 1.0  # m1 of the upper link, kg; 0.5 to 2
    mass2: float = 1.0  # m2 of the lower link, kg; 0.5 to 2
    length1: float = 1.0  # l1 of the upper link, m; 0.5 to 1.5
    length2: float = 1.0  # l2 of the lower link, m; 0.5 to 1.5; moves the free end, not the masses
    center1: float = 0.5  # l_c1, hinge to centre of mass of the upper link, m
    center2: float = 0.5  # l_c2, elbow to centre of mass of the lower link, m
    inertia: float = 1.0  # I of each link, kg·m²; 0.5 to 2
    torque: float = 1.0  # torque of the actions 0 and 2, N·m; 0.5 to 2
    goal_height: float = 1.0  # of the line above the hinge, m; 0 to 1.8
    dt: float = 0.2  # time between two actions, s; 0.05 to 0.2
    max_speed1: float = eqx.field(static=True, default=4 * math.pi)  # rad/s; θ̇1 is clipped to ± this
    max_speed2: float = eqx.field(static=True, default=9 * math.pi)  # rad/s; θ̇2 is clipped to ± this
    dynamics: Literal["book", "nips"] = "book"  # the equations of the book, or those of the 1996 paper

    @property
    def obs_space(self) -> Box:
        """Cosines, sines and angular velocities."""
        high = np.array([1.0, 1.0, 1.0, 1.0, self.max_speed1, self.max_speed2])
        return Box(-high, high)

    @property
    def action_space(self) -> Discrete:
        """Torque against, none, with the sense of θ2."""
        return Discrete(3)

    def reset(self, key: Key[Array, ""]) -> tuple[AcrobotState, Float[Array, "6"]]:
        """Hanging, nearly at rest."""
        start = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        state = AcrobotState(start[0], start[1], start[2], start[3])
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: AcrobotState, action: Int[Array, ""]
    ) -> tuple[AcrobotState, TimeStep]:
        """`dt` seconds of constant torque."""
        state = self.move(state, (action - 1).astype(jnp.float32) * self.torque)
        both = state.theta1 + state.theta2
        height = -self.length1 * jnp.cos(state.theta1) - self.length2 * jnp.cos(both)
        terminated = height > self.goal_height
        reward = terminated.astype(jnp.float32) - 1.0
        return state, TimeStep(self.observe(state), reward, terminated, jnp.zeros((), jnp.bool_))

    def move(self, state: AcrobotState, torque: Float[Array, ""]) -> AcrobotState:
        """The state `dt` seconds later: one Runge-Kutta step, then angles wrapped and speeds clipped."""

        def slope(at: AcrobotState) -> AcrobotState:
            acc1, acc2 = self.accelerations(at, torque)
            return AcrobotState(at.theta1_dot, at.theta2_dot, acc1, acc2)

        def ahead(rate: AcrobotState, time: Array | float) -> AcrobotState:
            return jax.tree.map(lambda x, dx: x + time * dx, state, rate)

        k1 = slope(state)
        k2 = slope(ahead(k1, self.dt / 2))
        k3 = slope(ahead(k2, self.dt / 2))
        k4 = slope(ahead(k3, self.dt))
        rate = jax.tree.map(lambda a, b, c, d: a + 2 * b + 2 * c + d, k1, k2, k3, k4)
        new = ahead(rate, self.dt / 6)
        return AcrobotState(
            wrap(new.theta1),
            wrap(new.theta2),
            jnp.clip(new.theta1_dot, -self.max_speed1, self.max_speed1),
            jnp.clip(new.theta2_dot, -self.max_speed2, self.max_speed2),
        )

    def accelerations(
        self, state: AcrobotState, torque: Float[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The angular accelerations θ̈1 and θ̈2, rad/s²."""
        m1, m2, l1, lc1, lc2 = self.mass1, self.mass2, self.length1, self.center1, self.center2
        speed1, speed2 = state.theta1_dot, state.theta2_dot
        sin2, cos2 = jnp.sin(state.theta2), jnp.cos(state.theta2)
        coupling = m2 * l1 * lc2
        d1 = m1 * lc1**2 + m2 * (l1**2 + lc2**2) + 2 * coupling * cos2 + 2 * self.inertia
        d2 = m2 * lc2**2 + coupling * cos2 + self.inertia
        phi2 = m2 * lc2 * self.gravity * jnp.sin(state.theta1 + state.theta2)
        phi1 = (
            -coupling * speed2 * (speed2 + 2 * speed1) * sin2
            + (m1 * lc1 + m2 * l1) * self.gravity * jnp.sin(state.theta1)
            + phi2
        )
        centrifugal = coupling * speed1**2 * sin2 if self.dynamics == "book" else 0.0
        acc2 = (torque + d2 / d1 * phi1 - centrifugal - phi2) / (m2 * lc2**2 + self.inertia - d2**2 / d1)
        return -(d2 * acc2 + phi1) / d1, acc2

    def observe(self, state: AcrobotState) -> Float[Array, "6"]:
        """[cos θ1, sin θ1, cos θ2, sin θ2, θ̇1, θ̇2]."""
        cos1, sin1 = jnp.cos(state.theta1), jnp.sin(state.theta1)
        cos2, sin2 = jnp.cos(state.theta2), jnp.sin(state.theta2)
        return jnp.stack([cos1, sin1, cos2, sin2, state.theta1_dot, state.theta2_dot])

    def view(self, state: AcrobotState) -> Scene:
        """The two links, and the line that the free end is to pass."""
        both = state.theta1 + state.theta2
        elbow = (self.length1 * jnp.sin(state.theta1), -self.length1 * jnp.cos(state.theta1))
        tip = (elbow[0] + self.length2 * jnp.sin(both), elbow[1] - self.length2 * jnp.cos(both))
        goal = self.goal_height
        starts = np.arange(-2.35, 2.3, 0.235)
        dashes = tuple(Line(segment((x, goal), (x + 0.12, goal)), 0.03, "goal") for x in starts.tolist())
        shapes = (
            *dashes,
            Circle(segment((0.0, 0.0))[0], 0.17, "ground"),
            Line(segment((0.0, 0.0), elbow), 0.17, "body"),
            Line(segment(elbow, tip), 0.13, "accent"),
            Circle(segment((0.0, 0.0))[0], 0.045, "ground"),
            Circle(segment(elbow)[0], 0.12, "muted"),
            Circle(segment(elbow)[0], 0.045, "body"),
            Circle(segment(tip)[0], 0.11, "goal"),
        )
        return Scene(shapes, (-2.45, 2.45, -2.3, 2.3))
