"""What is known exactly of well-known problems, by two solvers that share no arithmetic."""

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv

from fathom.mdp import (
    MDP,
    backward_induction,
    epsilon_greedy,
    evaluate_policy,
    evaluate_within,
    policy_iteration,
    value_iteration,
)

from .problems import CROSS, KING, SOLVERS, car_rental, moves, three_states

DYNA = {"walls": [9 + 2, 18 + 2, 27 + 2, 36 + 5, 7, 9 + 7, 18 + 7]}
WIND = {"wind": [0, 0, 0, 1, 1, 1, 2, 2, 1, 0]}


def solved_twice(mdp: MDP, gamma: float) -> float:
    """The value of the start by sweeps and by linear solves, which have to agree."""
    by_sweeps, by_solves = value_iteration(mdp, gamma, tol=1e-10), policy_iteration(mdp, gamma)
    assert by_sweeps.values == pytest.approx(by_solves.values, abs=1e-6)
    return float(mdp.start @ by_solves.values)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_three_states(solver) -> None:
    solution = solver(three_states(), 0.9)
    assert solution.values == pytest.approx([14.9, 11, 10], abs=1e-8)
    assert solution.policy.tolist() == [1, 1, 1]


def test_three_states_by_linear_solve_and_by_sweeps() -> None:
    for method in ("linear", "sweeps"):
        evaluation = evaluate_policy(three_states(), [1, 1, 1], 0.9, method=method)
        assert evaluation.values == pytest.approx([14.9, 11, 10], abs=1e-8)


def test_frozen_lake() -> None:
    mdp = MDP.from_table(gymnasium.make("FrozenLake-v1"))
    assert solved_twice(mdp, 0.99) == pytest.approx(0.542026, abs=5e-7)
    greedy = policy_iteration(mdp, 0.99).policy
    assert mdp.start @ evaluate_within(mdp, greedy, 100) == pytest.approx(0.7402, abs=5e-5)
    assert mdp.start @ backward_induction(mdp, 100).values[0] == pytest.approx(0.7442, abs=5e-5)


def test_frozen_lake_8x8() -> None:
    mdp = MDP.from_table(gymnasium.make("FrozenLake8x8-v1"))
    greedy = policy_iteration(mdp, 0.99).policy
    solved_twice(mdp, 0.99)
    assert mdp.start @ evaluate_within(mdp, greedy, 200) == pytest.approx(0.86296, abs=5e-6)


def test_the_policy_that_ends_is_chosen_among_equals() -> None:
    # At γ = 1 many actions of FrozenLake 8×8 are best, among them some that would go round for ever.
    mdp = MDP.from_table(gymnasium.make("FrozenLake8x8-v1"))
    solution = policy_iteration(mdp, 1.0)
    assert solution.values[0] == pytest.approx(1.0, abs=1e-9)
    assert evaluate_within(mdp, solution.policy, 100_000)[0] == pytest.approx(1.0, abs=1e-6)


def test_cliff_walking() -> None:
    mdp = MDP.from_table(CliffWalkingEnv())
    assert solved_twice(mdp, 1.0) == pytest.approx(-13, abs=1e-9)
    shortest = policy_iteration(mdp, 1.0)
    up, right, down = 0, 1, 2
    safe = np.full((4, 12), up)
    safe[0], safe[:, 11] = right, down
    assert evaluate_policy(mdp, safe.ravel(), 1.0).values[36] == pytest.approx(-17)
    careless = epsilon_greedy(shortest.policy, 0.1, 4)
    careful = epsilon_greedy(safe.ravel(), 0.1, 4)
    found = [evaluate_policy(mdp, policy, 1.0, method="sweeps").values[36] for policy in (careless, careful)]
    exact = [evaluate_policy(mdp, policy, 1.0).values[36] for policy in (careless, careful)]
    assert found == pytest.approx(exact, abs=1e-6)
    # Figure 6.4: online at ε = 0.1 the shortest path earns about −50, the safe one about −25.
    assert exact == pytest.approx([-50, -25], abs=5)


def test_taxi() -> None:
    assert solved_twice(MDP.from_table(TaxiEnv()), 1.0) == pytest.approx(7.93, abs=0.005)


@pytest.mark.parametrize(
    ("mdp", "steps"),
    [
        (moves(7, 10, CROSS, 30, 37, **WIND), 15),
        (moves(7, 10, KING, 30, 37, **WIND), 7),
        (moves(6, 9, CROSS, 18, 8, **DYNA), 14),
    ],
    ids=["windy", "windy king", "dyna maze"],
)
def test_shortest_paths(mdp: MDP, steps: int) -> None:
    assert solved_twice(mdp, 1.0) == pytest.approx(-steps)


def test_gamblers_problem_with_a_stake_of_nothing() -> None:
    # Staking 0 is as good as any best stake and never ends; the policy has to end all the same.
    prob = np.zeros((101, 51, 101))
    for capital in range(101):
        for stake in range(51):
            bet = min(stake, capital, 100 - capital)
            prob[capital, stake, capital + bet] += 0.4
            prob[capital, stake, capital - bet] += 0.6
    mdp = MDP.from_arrays(prob, (np.arange(101) == 100).astype(float), terminal=[0, 100])
    solved_twice(mdp, 1.0)
    solution = policy_iteration(mdp, 1.0)
    # Bold play: 0.4 from 50; from 25 it has to win twice, from 75 once or twice.
    assert solution.values[[25, 50, 75]] == pytest.approx([0.16, 0.4, 0.64], abs=1e-12)
    assert solution.optimal[1:100, 0].all()
    assert evaluate_policy(mdp, solution.policy, 1.0).values == pytest.approx(solution.values, abs=1e-9)


def test_jacks_car_rental() -> None:
    mdp = car_rental()
    state = 10 * 21 + 10
    by_sweeps, by_solves = value_iteration(mdp, 0.9), policy_iteration(mdp, 0.9)
    assert by_sweeps.values == pytest.approx(by_solves.values, abs=1e-6)
    assert by_solves.values[state] == pytest.approx(574.95, abs=0.005)
    here, there = np.divmod(np.arange(441), 21)
    moved = np.clip(by_solves.policy - 5, -there, here)
    assert sorted({*moved.tolist()}) == list(range(-4, 6))
