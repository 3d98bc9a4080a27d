"""The grids that everyone knows, and random ones."""

from typing import Literal

import numpy as np

from fathom.core.errors import FathomError
from fathom.envs.grid.world import GridWorld

FROZEN_LAKES = {
    "4x4": """
        SFFF
        FHFH
        FFFH
        HFFG
    """,
    "8x8": """
        SFFFFFFF
        FFFFFFFF
        FFFHFFFF
        FFFFFHFF
        FFFHFFFF
        FHHFFFHF
        FHFFHFHF
        FFFHFFFG
    """,
}


def frozen_lake(map: str = "4x4", slip: float = 2 / 3) -> GridWorld:
    """Cross a frozen lake to the goal, +1, past holes that end the episode; two moves in three slip.

    `map` is "4x4", "8x8" or a map of one's own; `slip` is 1 − Gymnasium's `success_rate`, 0 for ice that is
    not slippery. Actions: left, down, right, up. As Gymnasium's `FrozenLake-v1`, state by state.
    """
    text = FROZEN_LAKES.get(map, map)
    return GridWorld.from_map(text, moves=("left", "down", "right", "up"), slip=slip)


def frozen_lake_8x8() -> GridWorld:
    """The frozen lake of 8 by 8. As Gymnasium's `FrozenLake8x8-v1`, state by state."""
    return frozen_lake("8x8")


def random_frozen_lake(size: int = 8, free: float = 0.8, seed: int = 0, slip: float = 2 / 3) -> GridWorld:
    """A frozen lake of a random map: the one that Gymnasium's `generate_random_map` draws from that seed."""
    return frozen_lake(random_map(size, size, free, seed), slip)


def cliff_walking(slip: float = 0.0) -> GridWorld:
    """Walk along a cliff at −1 a step; a fall costs 100 and leads back to the start.

    Actions: up, right, down, left. Sutton & Barto 2018, Example 6.6; as Gymnasium's `CliffWalking-v1`, state
    by state.
    """
    return GridWorld.from_map(
        """
        ............
        ............
        ............
        SCCCCCCCCCCG
        """,
        slip=slip,
        reward_step=-1.0,
        reward_goal=0.0,
        reward_cliff=-99.0,  # and −1 for the step
        ends_absorb=False,
    )


def cliff_walking_slippery() -> GridWorld:
    """The cliff when two moves in three slip. As Gymnasium's `CliffWalkingSlippery-v1`, state by state."""
    return cliff_walking(slip=2 / 3)


def windy_grid(moves: Literal["four", "king", "king+stay"] = "four", gust: float = 0.0) -> GridWorld:
    """Reach the goal at −1 a step across a wind that blows upwards; 15 steps at best.

    Sutton & Barto 2018, Example 6.5. King's moves, with or without staying, are Exercise 6.9 (7 steps at
    best); `gust=2/3` is the stochastic wind of Exercise 6.10.
    """
    return GridWorld.from_map(
        """
        ..........
        ..........
        ..........
        S......G..
        ..........
        ..........
        ..........
        """,
        moves=moves,
        wind=(0, 0, 0, 1, 1, 1, 2, 2, 1, 0),
        gust=gust,
        reward_step=-1.0,
        reward_goal=0.0,
    )


def windy_grid_kings() -> GridWorld:
    """The windy grid with king's moves. Sutton & Barto 2018, Exercise 6.9."""
    return windy_grid("king")


def windy_grid_kings_stay() -> GridWorld:
    """The windy grid with king's moves and staying. Sutton & Barto 2018, Exercise 6.9."""
    return windy_grid("king+stay")


def windy_grid_stochastic() -> GridWorld:
    """The windy grid with king's moves and a wind that varies by one. Sutton & Barto 2018, Exercise 6.10."""
    return windy_grid("king", gust=2 / 3)


def dyna_maze() -> GridWorld:
    """Find the way through a maze, +1 at the goal and 14 steps at best. Sutton & Barto 2018, Example 8.1."""
    return GridWorld.from_map(
        """
        .......#G
        ..#....#.
        S.#....#.
        ..#......
        .....#...
        .........
        """
    )


def blocking_maze(after: bool = False) -> GridWorld:
    """A barrier with a way round its right end, 10 steps; `after`, round its left end only, 16 steps.

    Sutton & Barto 2018, Example 8.2, in which the one becomes the other after 1,000 steps: the two differ in
    the array `cells` alone.
    """
    return _barrier(".########" if after else "########.")


def blocking_maze_after() -> GridWorld:
    """The blocking maze once the short way is blocked. Sutton & Barto 2018, Example 8.2."""
    return blocking_maze(after=True)


def shortcut_maze(after: bool = False) -> GridWorld:
    """A barrier with a way round its left end, 16 steps; `after`, also round its right end, 10 steps.

    Sutton & Barto 2018, Example 8.3, in which the one becomes the other after 3,000 steps: the two differ in
    the array `cells` alone.
    """
    return _barrier(".#######." if after else ".########")


def shortcut_maze_after() -> GridWorld:
    """The shortcut maze once the shortcut is open. Sutton & Barto 2018, Example 8.3."""
    return shortcut_maze(after=True)


def _barrier(row: str) -> GridWorld:
    free = "........."
    return GridWorld.from_map([free[:-1] + "G", free, free, row, free, "...S....."])


def grid_5x5() -> GridWorld:
    """A small maze: +1 at the goal, −1 for bumping into a wall or the edge; 8 steps at best."""
    return GridWorld.from_map(
        """
        S....
        .#.#.
        ...#.
        .#...
        ...#G
        """,
        reward_bump=-1.0,
    )


def random_map(rows: int = 8, cols: int = 8, free: float = 0.8, seed: int = 0, obstacle: str = "H") -> str:
    """A random map with a way from its start, top left, to its goal, bottom right.

    Each other cell is free with probability `free`, else an `obstacle` (a letter of the map: H for a lake, #
    for a maze). Maps without a way are drawn again. Square maps are those of Gymnasium's
    `generate_random_map` at the same seed. Raises FathomError where 10,000 maps had no way.
    """
    if rows < 1 or cols < 1 or rows * cols < 2:
        raise FathomError(f"a map of {rows} by {cols} has no room for a start and a goal.")
    if not 0 < free <= 1:
        raise FathomError(f"free is {free}; it is the probability that a cell is free, above 0 and up to 1.")
    rng = np.random.default_rng(seed)
    for _ in range(10_000):
        board = rng.choice([".", obstacle], (rows, cols), p=[free, 1 - free])
        board[0, 0], board[-1, -1] = "S", "G"
        if _has_way(board != obstacle):
            return "\n".join("".join(row) for row in board)
    raise FathomError(f"10,000 maps of {rows} by {cols} with free={free} had no way to the goal; raise free.")


def _has_way(passable: np.ndarray) -> bool:
    rows, cols = passable.shape
    seen, front = {(0, 0)}, [(0, 0)]
    while front:
        row, col = front.pop()
        for cell in ((row + 1, col), (row, col + 1), (row - 1, col), (row, col - 1)):
            if 0 <= cell[0] < rows and 0 <= cell[1] < cols and passable[cell] and cell not in seen:
                seen.add(cell)
                front.append(cell)
    return (rows - 1, cols - 1) in seen
