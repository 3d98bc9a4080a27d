"""A dive that pays only for who goes right every single time."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Circle, Line, Polygon, Scene
from fathom.envs.toy.shapes import block, point


class DeepSea(FiniteEnv):
    """Sink through a square sea, one row a step, moving left or right; a treasure lies at the lower right.

    State row·N + column, and N² when the bottom is reached, after N steps. Moving right costs `move_cost`/N;
    moving right in the lower right corner yields `treasure`, which only N moves to the right reach: the best
    return is treasure − move_cost, and a random diver finds it once in 2^N episodes. Which action is right
    differs from cell to cell. Osband et al. 2020, arXiv:1908.03568 (bsuite), of which it has the rules and,
    for the same `mapping_seed`, the mapping.

    With `stochastic`, a move to the right fails with probability 1/N, and the two corners of the last row pay
    noise of mean 0 and variance 1 on top: a fair ±1 here, where bsuite draws from a normal distribution,
    since outcomes are finite.
    """

    treasure: float = 1.0  # reward in the lower right corner
    move_cost: float = 0.01  # cost of N moves to the right
    size: int = 10  # N, rows and columns, ≥ 1; 10 to 50
    mapping_seed: int | None = 42  # draws which action is right in each cell; None: action 1 in all
    stochastic: bool = False  # moves to the right may fail, rewards of the last row are noisy
    picture: bool = False  # observe the sea, all 0 but 1 where the diver is (all 0 at the end)

    def __check_init__(self) -> None:
        if self.size < 1:
            raise FathomError(f"size is {self.size}; the sea has at least 1 row.")

    @property
    def num_states(self) -> int:
        """All cells, and the bottom."""
        return self.size**2 + 1

    @property
    def num_actions(self) -> int:
        """Left and right, or right and left."""
        return 2

    @property
    def obs_space(self) -> Discrete | Box:
        """The state, or the picture [N, N]."""
        return Box(0.0, 1.0, (self.size, self.size)) if self.picture else Discrete(self.num_states)

    def start(self) -> Float[Array, " state"]:
        """The upper left corner."""
        return jnp.asarray(np.arange(self.num_states) == 0, jnp.float32)

    def right(self) -> Int[np.ndarray, "row column"]:
        """The action that moves right in each cell."""
        cells = (self.size, self.size)
        if self.mapping_seed is None:
            return np.ones(cells, np.int32)
        # Numpy's old generator: bsuite's mapping, and the same numbers in all versions of NumPy.
        return np.random.RandomState(self.mapping_seed).binomial(1, 0.5, cells).astype(np.int32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """The one thing that happens; with `stochastic` moved or not, times noise of either sign."""
        n, over = self.size, state == self.size**2
        row, column = state // n, state % n
        right = action == jnp.asarray(np.append(self.right().ravel(), 0))[state]
        last, at_left, at_right = row == n - 1, column == 0, column == n - 1

        ways = 4 if self.stochastic else 1
        moved = np.array([True, True, False, False])[:ways]
        sign = np.array([1, -1, 1, -1], np.float32)[:ways]
        fails = jnp.where(right, jnp.float32(1 / n), jnp.float32(0))
        prob = jnp.where(moved, 1.0 - fails, fails) / 2 if self.stochastic else jnp.ones(1, jnp.float32)

        to = jnp.clip(jnp.where(right, column + moved.astype(np.int32), column - 1), 0, n - 1)
        after = jnp.where(over | last, n * n, (row + 1) * n + to)
        nothing, going = jnp.zeros(ways, jnp.float32), right & ~over
        rewards = {
            "treasure": jnp.where(going & at_right, self.treasure, nothing),
            "move": jnp.where(going, -self.move_cost / n, nothing),
        }
        if self.stochastic:
            rewards["noise"] = jnp.where(last & ~over & (at_left | at_right), sign, nothing)
        return Outcomes(prob, after, rewards, after == n * n)

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""] | Float[Array, "row column"]:
        """The state, or the picture."""
        if not self.picture:
            return state
        here: Bool[Array, " cell"] = jnp.arange(self.size**2) == state
        return here.astype(jnp.float32).reshape(self.size, self.size)

    def view(self, state: Int[Array, ""]) -> Scene:
        """The water that can be reached, the treasure and the diver."""
        n = self.size
        water = [block(x, 0, x + 1, n - x) for x in range(n)]
        grid = [Line(np.array([[0, y], [n - y, y]], np.float32), 0.02, "background") for y in range(1, n)]
        grid += [Line(np.array([[x, 0], [x, n - x]], np.float32), 0.02, "background") for x in range(1, n)]
        row = (state // n).astype(jnp.float32)
        column = jnp.where(state == n * n, -1, state % n).astype(jnp.float32)
        shapes = (
            *(Polygon(column, "ground") for column in water),
            *grid,
            Polygon(block(n - 0.75, 0.25, n - 0.25, 0.75), "goal"),
            Circle(point(column + 0.5, n - row - 0.5), 0.3, "accent"),
        )
        return Scene(shapes, (-0.5, n + 0.5, -0.5, n + 0.5))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The sea: o the diver, T the treasure, ~ what can be reached."""
        n, here = self.size, int(state)
        cells = [["~" if column <= row else " " for column in range(n)] for row in range(n)]
        cells[-1][-1] = "T"
        if here < n * n:
            cells[here // n][here % n] = "o"
        return "\n".join(" ".join(line).rstrip() for line in cells)


def deep_sea_20() -> DeepSea:
    """A dive of 20 rows that pays only for who goes right every single time. Osband et al. 2020."""
    return DeepSea(size=20)


def deep_sea_50() -> DeepSea:
    """A dive of 50 rows that pays only for who goes right every single time. Osband et al. 2020."""
    return DeepSea(size=50)
