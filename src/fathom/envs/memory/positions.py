"""The classic tasks without their velocities, which must be told from two observations."""

from fathom.envs.classic.cartpole import CartPole
from fathom.envs.classic.pendulum import Pendulum
from fathom.envs.wrappers import Components


def cartpole_positions() -> Components:
    """CartPole of which only the cart's position and the pole's angle are seen."""
    return Components(CartPole(), (0, 2))


def pendulum_positions() -> Components:
    """Pendulum of which only the angle is seen, as cosine and sine."""
    return Components(Pendulum(), (0, 1))
