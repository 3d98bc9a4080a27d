"""Small MDPs whose values are known, and random ones."""

from functools import partial

import numpy as np
from scipy import stats

from fathom.mdp import (
    MDP,
    modified_policy_iteration,
    multilevel_policy_iteration,
    policy_iteration,
    prioritised_sweeping,
    q_value_iteration,
    value_iteration,
)

SOLVERS = {
    f.__name__: f
    for f in (
        value_iteration,
        q_value_iteration,
        policy_iteration,
        modified_policy_iteration,
        prioritised_sweeping,
    )
} | {
    "multilevel_policy_iteration": partial(multilevel_policy_iteration, coarsest=1)
}  # few states, yet levels


def three_states() -> MDP:
    """Right: A→B earns 5, B→C earns 2, C→C earns 1; left stays and earns nothing."""
    prob = np.zeros((3, 2, 3))
    prob[[0, 1, 2], 0, [0, 1, 2]] = 1
    prob[[0, 1, 2], 1, [1, 2, 2]] = 1
    return MDP.from_arrays(prob, [[0, 5], [0, 2], [0, 1]])


def moves(
    rows: int, columns: int, steps: list[tuple[int, int]], start: int, goal: int, **layout: list
) -> MDP:
    """A grid of −1 a step. `wind` blows upwards by column, `walls` cannot be entered."""
    wind, walls = layout.get("wind", [0] * columns), layout.get("walls", [])
    row, column = np.divmod(np.arange(rows * columns), columns)
    prob = np.zeros((rows * columns, len(steps), rows * columns))
    for action, (down, right) in enumerate(steps):
        to_row = np.clip(row + down - np.array(wind)[column], 0, rows - 1)
        to = to_row * columns + np.clip(column + right, 0, columns - 1)
        to = np.where(np.isin(to, walls), row * columns + column, to)
        prob[np.arange(rows * columns), action, to] = 1
    reward = np.full(prob.shape[:2], -1.0)
    return MDP.from_arrays(prob, reward, start=np.arange(rows * columns) == start, terminal=[goal])


CROSS = [(-1, 0), (1, 0), (0, -1), (0, 1)]
KING = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


def car_rental() -> MDP:
    """Jack's car rental; action a moves a − 5 cars, or all there are. Sutton & Barto 2018, Example 4.2."""
    most, cars = 20, np.arange(21)

    def day(requests: float, returns: float) -> tuple[np.ndarray, np.ndarray]:
        """The chance of each number of cars in the evening, [morning, evening], and the rentals expected."""
        asked = stats.poisson(requests).pmf(cars)
        back = stats.poisson(returns).pmf(cars)
        evening, rented = np.zeros((21, 21)), np.zeros(21)
        for n in cars:
            rent = np.append(asked[:n], 1 - asked[:n].sum())
            rented[n] = rent @ np.arange(n + 1)
            for k, chance in enumerate(rent):
                left = n - k
                arrive = np.append(back[: most - left], 1 - back[: most - left].sum())
                evening[n, left:] += chance * arrive
        return evening, rented

    (first, earn_first), (second, earn_second) = day(3, 3), day(4, 2)
    here, there = (x.ravel() for x in np.meshgrid(cars, cars, indexing="ij"))
    moved = np.clip(np.arange(-5, 6)[None], -there[:, None], here[:, None])
    a, b = np.minimum(here[:, None] - moved, most), np.minimum(there[:, None] + moved, most)
    prob = np.einsum("sax,say->saxy", first[a], second[b]).reshape(441, 11, 441)
    return MDP.from_arrays(prob, 10 * (earn_first[a] + earn_second[b]) - 2 * abs(moved))


def random_mdp(rng: np.random.Generator, states: int, actions: int, outcomes: int, ends: float) -> MDP:
    """Some outcomes are impossible, some repeat a next state; each ends it with probability `ends`."""
    shape = (states, actions, outcomes)
    prob = rng.random(shape) * (rng.random(shape) < 0.7)
    prob[..., 0] += 0.1
    return MDP(
        prob / prob.sum(axis=-1, keepdims=True),
        rng.integers(states, size=shape),
        rng.normal(size=shape).round(1),
        rng.random(shape) < ends,
        np.full(states, 1 / states),
    )
