"""The exact table: values of well-known problems, each by two solvers of different methods."""

from typing import TYPE_CHECKING

import numpy as np

from fathom.envs.finite import FiniteEnv, mdp_of
from fathom.envs.grid import maps
from fathom.envs.grid.taxi import Taxi
from fathom.envs.toy.car_rental import CarRental
from fathom.envs.toy.three_state import ThreeState
from fathom.mdp import (
    MDP,
    backward_induction,
    evaluate_policy,
    evaluate_within,
    policy_iteration,
    value_iteration,
)
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, Readings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Both = tuple[float, float]  # one value by two solvers

# What was published: the label and the value, with as many decimals as are given.
PUBLISHED = (
    ("FrozenLake, 100 steps: success of the policy greedy at γ = 0.99", "0.7402"),
    ("FrozenLake, 100 steps: success of the best policy that sees the clock", "0.7442"),
    ("FrozenLake, γ = 0.99: V*(start)", "0.542026"),
    ("FrozenLake8x8, 200 steps: success of the policy greedy at γ = 0.99", "0.86296"),
    ("Taxi: mean return of the best policy", "7.93"),
    ("CliffWalking: return of the best policy", "-13"),
    ("CliffWalking: return of the safe path", "-17"),
    ("Windy grid: least steps", "15"),
    ("Windy grid, king's moves: least steps", "7"),
    ("Dyna maze: least steps", "14"),
    ("Jack's car rental, γ = 0.9: V*(10, 10)", "574.95"),
    ("Jack's car rental: most cars moved to the second place", "5"),
    ("Jack's car rental: most cars moved to the first place", "4"),
    ("Three states, γ = 0.9: V*(A)", "14.9"),
    ("Three states, γ = 0.9: V*(B)", "11"),
    ("Three states, γ = 0.9: V*(C)", "10"),
)


def _compute(runs: int, seed: int) -> Outcome:
    """No chance is involved: `runs` and `seed` change nothing."""
    values = [*_lakes(), _start(Taxi()), *_cliff(), *_paths(), *_cars(), *_three()]
    labels = [label for label, _ in PUBLISHED]
    found = dict(zip(labels, values, strict=True))
    worst = max(abs(a - b) for a, b in values)
    figures = {label: Estimate(first) for label, (first, _) in found.items()}
    figures["greatest difference of two solvers"] = Estimate(worst)
    return Outcome(figures, {"solvers": found})


def _start(env: FiniteEnv, gamma: float = 1.0) -> Both:
    """The best value of a start, by policy iteration and by value iteration."""
    mdp = mdp_of(env)
    return (
        float(mdp.start @ policy_iteration(mdp, gamma).values),
        float(mdp.start @ value_iteration(mdp, gamma, tol=1e-10).values),
    )


def _lakes() -> tuple[Both, ...]:
    small, large = mdp_of(maps.frozen_lake()), mdp_of(maps.frozen_lake_8x8())
    timed = backward_induction(small, 100)
    return (
        _success(small, 100),
        (float(small.start @ timed.values[0]), _follow(small, timed.policy)),
        _start(maps.frozen_lake(), 0.99),
        _success(large, 200),
    )


def _success(mdp: MDP, limit: int) -> Both:
    """Success within the limit of the policy greedy at γ = 0.99: as its value, and as mass at the goal."""
    policy = policy_iteration(mdp, 0.99).policy
    return float(mdp.start @ evaluate_within(mdp, policy, limit)), _follow(mdp, np.tile(policy, (limit, 1)))


def _follow(mdp: MDP, policy: np.ndarray) -> float:
    """What a policy [step, state] earns, by following the distribution over states forwards."""
    at, earned, states = mdp.start.copy(), 0.0, np.arange(mdp.num_states)
    for actions in policy:
        prob, following = mdp.prob[states, actions], mdp.next_state[states, actions]
        earned += float(at @ (prob * mdp.reward[states, actions]).sum(axis=-1))
        flow = np.where(mdp.terminated[states, actions], 0.0, prob * at[:, None])
        at = np.bincount(following.ravel(), flow.ravel(), mdp.num_states)
    return earned


def _cliff() -> tuple[Both, Both]:
    mdp = mdp_of(maps.cliff_walking())
    up, right, down = 0, 1, 2
    safe = np.full((4, 12), up)
    safe[0], safe[:, -1] = right, down
    by = [
        float(mdp.start @ evaluate_policy(mdp, safe.ravel(), 1.0, method=method).values)
        for method in ("linear", "sweeps")
    ]
    return _start(maps.cliff_walking()), (by[0], by[1])


def _paths() -> tuple[Both, ...]:
    """The least steps to the goal: at −1 a step, and in the maze by the discount of its one reward."""
    windy, king = _start(maps.windy_grid()), _start(maps.windy_grid_kings())
    gamma = 0.95
    maze = _start(maps.dyna_maze(), gamma)
    steps = [1 + float(np.log(value) / np.log(gamma)) for value in maze]
    return (-windy[0], -windy[1]), (-king[0], -king[1]), (steps[0], steps[1])


def _cars() -> tuple[Both, Both, Both]:
    env = CarRental()
    mdp, cars = mdp_of(env), env.capacity + 1
    by_solves, by_sweeps = policy_iteration(mdp, 0.9), value_iteration(mdp, 0.9, tol=1e-10)
    here, there = np.divmod(np.arange(env.num_states), cars)
    moved = [
        np.clip(s.policy - env.max_moves, -np.minimum(there, env.max_moves), here)
        for s in (by_solves, by_sweeps)
    ]
    ten = 10 * cars + 10
    return (
        (float(by_solves.values[ten]), float(by_sweeps.values[ten])),
        (float(moved[0].max()), float(moved[1].max())),
        (float(-moved[0].min()), float(-moved[1].min())),
    )


def _three() -> tuple[Both, ...]:
    mdp = mdp_of(ThreeState())
    by_solves, by_sweeps = policy_iteration(mdp, 0.9).values, value_iteration(mdp, 0.9, tol=1e-10).values
    return tuple((float(a), float(b)) for a, b in zip(by_solves, by_sweeps, strict=True))


def tolerance(published: str) -> float:
    """Half of the last decimal that was published; where none was, as good as exact."""
    decimals = len(published.partition(".")[2])
    return 0.5 * 10.0**-decimals if decimals else 1e-6


def _draw(figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    axes = figure.add_subplot(111)
    axes.axis("off")
    rows = []
    for label, published in PUBLISHED:
        first, second = outcome.data["solvers"][label]
        rows.append([label, published.replace("-", "−"), _digits(first), _digits(second)])
    table = axes.table(
        cellText=rows,
        colLabels=["", "published", "one solver", "another"],
        colWidths=[0.58, 0.12, 0.15, 0.15],
        cellLoc="right",
        loc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8.5)
    table.scale(1, 1.5)
    for (row, col), cell in table.get_celld().items():
        cell.set_edgecolor("#e4e7ec")
        cell.visible_edges = "B"
        if col == 0:
            cell.PAD = 0.0
            cell.get_text().set_horizontalalignment("left")
        if row == 0:
            cell.get_text().set_color(drawing.MUTED)
    drawing.footnote(figure, "from the transition tables of the native environments, in float64")


def _digits(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".").replace("-", "−")


EXPERIMENTS = (
    Experiment(
        "exact-table",
        "exact values of well-known problems",
        "transition tables; Sutton & Barto 2018, Chapters 4, 6 and 8, for the problems",
        1,
        _compute,
        _draw,
        tuple(Reading(label, float(value), tolerance=tolerance(value)) for label, value in PUBLISHED),
        size=(8.4, 5.2),
        notes=(
            "exact: --runs and --seed change nothing",
            "success within a limit of steps is found backwards from the goal, and forwards from the start",
        ),
    ),
)
