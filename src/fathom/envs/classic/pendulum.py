"""A pendulum to swing up and hold."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from fathom.core.spaces import Box
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.shapes import segment
from fathom.envs.scene import Circle, Line, Polygon, Scene


class PendulumState(eqx.Module):
    """Where the pendulum is, how fast it turns, and the torque it was last given (for the picture only)."""

    theta: Float[Array, ""]  # angle from upright, rad, anticlockwise
    theta_dot: Float[Array, ""]  # rad/s
    torque: Float[Array, ""]  # N·m


class Pendulum(Env):
    """Swing a pendulum up with a motor too weak to lift it at once, and hold it there.

    Observation [cos θ, sin θ, θ̇]; action [torque], clipped to ± `max_torque`. The reward is
    −(θ² + 0.1 θ̇² + 0.001 u²) of the state before the step, θ in [−π, π]. Never terminates; the limit of 200
    steps of `Pendulum-v1` is a wrapper's. Step for step equal to Gymnasium's `Pendulum-v1`, but that the
    state keeps the angle in [−π, π], so that float32 loses no precision however long it turns.
    """

    gravity: float = 10.0  # g, m/s²; 1.6 (Moon) to 25 (Jupiter)
    mass: float = 1.0  # m of the rod, kg; 0.5 to 2
    length: float = 1.0  # l of the rod, m; 0.5 to 2
    dt: float = 0.05  # time between two actions, s; 0.01 to 0.05
    angle_cost: float = 1.0  # weight of θ² in the cost
    velocity_cost: float = 0.1  # weight of θ̇² in the cost; 0 to 1
    torque_cost: float = 0.001  # weight of u² in the cost; 0 to 0.1
    max_torque: float = eqx.field(static=True, default=2.0)  # N·m; bounds the actions
    max_speed: float = eqx.field(static=True, default=8.0)  # rad/s; θ̇ is clipped to ± this

    @property
    def obs_space(self) -> Box:
        """Cosine, sine and angular velocity."""
        high = np.array([1.0, 1.0, self.max_speed])
        return Box(-high, high)

    @property
    def action_space(self) -> Box:
        """The motor's torque."""
        return Box(-self.max_torque, self.max_torque, (1,))

    def reset(self, key: Key[Array, ""]) -> tuple[PendulumState, Float[Array, "3"]]:
        """Any angle, and up to 1 rad/s."""
        draw = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0)
        state = PendulumState(draw[0] * math.pi, draw[1], jnp.zeros((), jnp.float32))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: PendulumState, action: Float[Array, "1"]
    ) -> tuple[PendulumState, TimeStep]:
        """`dt` seconds of constant torque."""
        torque = jnp.clip(action[0], -self.max_torque, self.max_torque)
        angle = wrap(state.theta)
        info = {
            "reward_angle": -self.angle_cost * angle**2,
            "reward_velocity": -self.velocity_cost * state.theta_dot**2,
            "reward_torque": -self.torque_cost * torque**2,
        }
        reward = info["reward_angle"] + info["reward_velocity"] + info["reward_torque"]
        state = self.move(PendulumState(angle, state.theta_dot, state.torque), torque)
        never = jnp.zeros((), jnp.bool_)
        return state, TimeStep(self.observe(state), reward, never, never, info)

    def move(self, state: PendulumState, torque: Float[Array, ""]) -> PendulumState:
        """The state `dt` seconds later: a uniform rod hinged at its end, semi-implicit Euler."""
        fall = 3 * self.gravity / (2 * self.length) * jnp.sin(state.theta)
        drive = 3.0 / (self.mass * self.length**2) * torque
        theta_dot = jnp.clip(state.theta_dot + (fall + drive) * self.dt, -self.max_speed, self.max_speed)
        return PendulumState(wrap(state.theta + theta_dot * self.dt), theta_dot, torque)

    def observe(self, state: PendulumState) -> Float[Array, "3"]:
        """[cos θ, sin θ, θ̇]."""
        return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta), state.theta_dot])

    def view(self, state: PendulumState) -> Scene:
        """The pendulum, the place where it should stand, and the torque as an arc around the hinge."""
        sin, cos = jnp.sin(state.theta), jnp.cos(state.theta)
        bob = (-self.length * sin, self.length * cos)
        sweep = state.torque / self.max_torque * (0.75 * math.pi)
        angles = jnp.linspace(0.0, 1.0, 25) * sweep + math.pi / 2
        arc = 0.3 * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
        # The head shrinks with a small torque, where a full one would outgrow its arc.
        head = 0.085 * jnp.clip(jnp.abs(sweep) / 0.4, 0.0, 1.0)
        outward = arc[-1] / 0.3
        along = jnp.sign(sweep) * jnp.stack([-outward[1], outward[0]])
        arrow = jnp.stack([arc[-1] + head * outward, arc[-1] - head * outward, arc[-1] + 1.5 * head * along])
        ring = jnp.linspace(0.0, 2 * math.pi, 61)
        circle = self.length * jnp.stack([jnp.cos(ring), jnp.sin(ring)], axis=-1)
        shapes = (
            Line(circle, 0.012, "ground"),
            Circle(segment((0.0, self.length))[0], 0.17, "ground"),
            Circle(segment((0.0, self.length))[0], 0.05, "goal"),
            Line(segment((0.0, 0.0), bob), 0.1, "body"),
            Line(arc, 0.035, "accent"),
            Polygon(arrow, "accent"),
            Circle(segment(bob)[0], 0.14, "accent"),
            Circle(segment((0.0, 0.0))[0], 0.09, "muted"),
            Circle(segment((0.0, 0.0))[0], 0.035, "body"),
        )
        return Scene(shapes, (-1.35, 1.35, -1.35, 1.35))


def wrap(angle: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The same angle in [−π, π]."""
    return angle - 2 * math.pi * jnp.round(angle / (2 * math.pi))
