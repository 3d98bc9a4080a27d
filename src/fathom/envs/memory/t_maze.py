"""A corridor whose end calls for what was seen at its start."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.classic.shapes import segment
from fathom.envs.scene import Circle, Line, Polygon, Scene
from fathom.envs.toy.shapes import block, point, shown

_NORTH, _EAST, _WEST = 0, 1, 3


class TMazeState(eqx.Module):
    """Where the agent is, and which way the sign pointed."""

    x: Int[Array, ""]  # cells from the start; `length` is the junction
    north: Bool[Array, ""]


class TMaze(Env):
    """A sign at the start says whether to turn north or south at the junction, `length` steps further on.

    Actions 0 (north), 1 (east), 2 (south), 3 (west). Observation of three bits: [0, 1, 1] at the start where
    the sign says north, [1, 1, 0] where it says south, [1, 0, 1] in the corridor, [0, 1, 0] at the junction.
    Turning at the junction ends the episode, either way. `info["success"]` is 1 where that turn was right.
    Without memory no policy is right more than half of the time. Bakker 2002, "Reinforcement learning with
    long short-term memory", NIPS 14.
    """

    reward_goal: float = 4.0  # for the right turn
    reward_wrong: float = -0.1  # for the wrong one
    reward_bump: float = -0.1  # for a step that moves nowhere
    length: int = 10  # steps from the start to the junction, ≥ 1

    def __check_init__(self) -> None:
        if self.length < 1:
            raise FathomError(f"length is {self.length}; the corridor needs at least 1 step.")

    @property
    def obs_space(self) -> Box:
        """Three bits, as float32."""
        return Box(0.0, 1.0, (3,))

    @property
    def action_space(self) -> Discrete:
        """North, east, south, west."""
        return Discrete(4)

    def reset(self, key: Key[Array, ""]) -> tuple[TMazeState, Float[Array, "3"]]:
        """At the start, with a sign that points either way as likely."""
        state = TMazeState(jnp.zeros((), jnp.int32), jax.random.bernoulli(key))
        return state, self.observe(state)

    def step(
        self, key: Key[Array, ""], state: TMazeState, action: Int[Array, ""]
    ) -> tuple[TMazeState, TimeStep]:
        """One step; nothing is left to chance."""
        at_junction = state.x == self.length
        along = (action == _EAST).astype(jnp.int32) - (action == _WEST).astype(jnp.int32)
        x = jnp.clip(state.x + along, 0, self.length)
        turned = at_junction & (along == 0)
        right = turned & ((action == _NORTH) == state.north)
        stayed = ~turned & (x == state.x)
        turn = jnp.where(right, self.reward_goal, self.reward_wrong)
        reward = jnp.where(turned, turn, jnp.where(stayed, self.reward_bump, 0.0))
        state = TMazeState(x, state.north)
        info = {"success": right.astype(jnp.float32)}
        return state, TimeStep(self.observe(state), reward, turned, jnp.zeros((), jnp.bool_), info)

    def observe(self, state: TMazeState) -> Float[Array, "3"]:
        """What stands at this place: sign, corridor or junction."""
        sign = jnp.where(state.north, jnp.array([0.0, 1.0, 1.0]), jnp.array([1.0, 1.0, 0.0]))
        corridor, junction = jnp.array([1.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0])
        beyond = jnp.where(state.x == self.length, junction, corridor)
        return jnp.where(state.x == 0, sign, beyond)

    def view(self, state: TMazeState) -> Scene:
        """The maze from above, the sign's arrow at the start, the right arm in the colour of goals."""
        end = float(self.length)
        up, down = block(end - 0.5, 0.5, end + 0.5, 1.5), block(end - 0.5, -1.5, end + 0.5, -0.5)
        arrow = jnp.where(state.north, 0.4, -0.4)
        shapes = (
            Polygon(block(-0.5, -0.5, end + 0.5, 0.5), "ground"),
            Polygon(up, "ground"),
            Polygon(down, "ground"),
            Polygon(shown(up, state.north), "goal"),
            Polygon(shown(down, ~state.north), "goal"),
            Line(segment((-1.0, -arrow), (-1.0, arrow)), 0.08, "body"),
            Line(segment((-1.25, 0.3 * arrow), (-1.0, arrow), (-0.75, 0.3 * arrow)), 0.08, "body"),
            Circle(point(state.x, 0.0), 0.3, "accent"),
        )
        return Scene(shapes, (-1.7, end + 0.8, -1.8, 1.8))

    def ascii(self, state: TMazeState) -> str:
        """Three lines; ^ or v is the sign, @ the agent, G the right arm."""
        cells = np.full(self.length + 1, ".")
        cells[0] = "^" if bool(state.north) else "v"
        cells[int(state.x)] = "@"
        arms = ("G", " ") if bool(state.north) else (" ", "G")
        edge = " " * self.length
        return f"{edge}{arms[0]}\n{''.join(cells)}\n{edge}{arms[1]}"
