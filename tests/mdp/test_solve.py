import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.core.errors import FathomError, UnknownName
from fathom.mdp import (
    MDP,
    UnreachableEnd,
    backward_induction,
    bellman_residual,
    epsilon_greedy,
    evaluate_policy,
    evaluate_within,
    policy_iteration,
    value_iteration,
)
from fathom.mdp.backup import Backup

from .problems import SOLVERS, random_mdp, three_states

seeds = st.integers(0, 2**32 - 1)
small = {"states": st.integers(1, 4), "actions": st.integers(1, 2), "outcomes": st.integers(1, 3)}


def best_of_all_policies(mdp: MDP, gamma: float) -> np.ndarray | None:
    """The greatest value of any stationary policy, by evaluating each; None where none has a finite one."""
    best = None
    for policy in itertools.product(range(mdp.num_actions), repeat=mdp.num_states):
        try:
            values = evaluate_policy(mdp, np.array(policy), gamma).values
        except FathomError:
            continue
        best = values if best is None else np.maximum(best, values)
    return best


@pytest.mark.filterwarnings("ignore::fathom.mdp.UnreachableEnd")
@given(seed=seeds, **small, ends=st.sampled_from([0.0, 0.2]), gamma=st.sampled_from([0.0, 0.5, 0.9]))
def test_all_solvers_agree_with_trying_all_policies(
    seed: int, states: int, actions: int, outcomes: int, ends: float, gamma: float
) -> None:
    mdp = random_mdp(np.random.default_rng(seed), states, actions, outcomes, ends)
    truth = best_of_all_policies(mdp, gamma)
    for solver in SOLVERS.values():
        solution = solver(mdp, gamma)
        assert solution.converged
        assert solution.values == pytest.approx(truth, abs=1e-8)
        assert abs(solution.values - truth).max() <= solution.error_bound + 1e-12
        assert bellman_residual(mdp, solution.values, gamma) < 1e-8
        assert evaluate_policy(mdp, solution.policy, gamma).values == pytest.approx(truth, abs=1e-6)
        assert solution.optimal[np.arange(states), solution.policy].all()
        assert evaluate_policy(mdp, epsilon_greedy(solution.optimal, 0.0), gamma).values == pytest.approx(
            truth, abs=1e-5
        )


@pytest.mark.filterwarnings("ignore::fathom.mdp.UnreachableEnd")
@given(seed=seeds, **small)
def test_undiscounted_values_are_those_of_the_best_policy_or_an_error(
    seed: int, states: int, actions: int, outcomes: int
) -> None:
    rng = np.random.default_rng(seed)
    mdp = random_mdp(rng, states, actions, outcomes, ends=0.3)
    going_on = rng.choice([-1.0, 0.0, 0.0], size=mdp.prob.shape)
    reward = np.where(mdp.terminated, rng.integers(-2, 3, size=mdp.prob.shape), going_on).astype(np.float64)
    mdp = MDP(mdp.prob, mdp.next_state, reward, mdp.terminated, mdp.start)
    truth = best_of_all_policies(mdp, 1.0)
    for solver in SOLVERS.values():
        if truth is None:
            with pytest.raises(FathomError, match="can never end and cost for ever"):
                solver(mdp, 1.0)
            continue
        solution = solver(mdp, 1.0)
        assert solution.values == pytest.approx(truth, abs=1e-6)
        assert evaluate_policy(mdp, solution.policy, 1.0).values == pytest.approx(truth, abs=1e-6)
        assert solution.error_bound == np.inf


@given(seed=seeds, gamma=st.sampled_from([0.5, 0.95]))
def test_a_sweep_contracts_and_keeps_order(seed: int, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    backup = Backup.of(random_mdp(rng, 6, 3, 3, ends=0.1), gamma)
    u, v = rng.normal(size=6), rng.normal(size=6)
    assert abs(backup.best(u) - backup.best(v)).max() <= gamma * abs(u - v).max() + 1e-14
    assert (backup.best(np.minimum(u, v)) <= backup.best(v) + 1e-14).all()


def test_residuals_of_value_iteration_shrink_by_gamma_or_better() -> None:
    solution = value_iteration(random_mdp(np.random.default_rng(1), 20, 3, 4, ends=0.0), 0.9)
    large = solution.residuals[solution.residuals > 1e-9]
    assert solution.sweeps == solution.residuals.size > 50
    assert (large[1:] <= 0.9 * large[:-1] + 1e-14).all()
    assert solution.error_bound == pytest.approx(9 * solution.residual)


def test_a_sparse_linear_solve_agrees_with_sweeps() -> None:
    mdp = random_mdp(np.random.default_rng(2), 800, 2, 3, ends=0.1)
    policy = np.random.default_rng(3).dirichlet(np.ones(2), size=800)
    linear = evaluate_policy(mdp, policy, 0.95)
    swept = evaluate_policy(mdp, policy, 0.95, method="sweeps")
    assert linear.values == pytest.approx(swept.values, abs=1e-8)
    assert linear.residual < 1e-12 < swept.residual
    assert (linear.q * policy).sum(axis=-1) == pytest.approx(linear.values)


def test_ties_are_visible() -> None:
    mdp = MDP.from_arrays(np.ones((1, 3, 1)), [[1.0, 0.0, 1.0]])
    solution = policy_iteration(mdp, 0.5)
    assert solution.optimal.tolist() == [[True, False, True]]
    assert epsilon_greedy(solution.optimal, 0.3)[0] == pytest.approx([0.45, 0.1, 0.45])


@pytest.mark.parametrize("name", [n for n in SOLVERS if n != "policy_iteration"])
def test_a_limit_of_sweeps_is_told(name: str) -> None:
    solution = SOLVERS[name](three_states(), 0.99, max_sweeps=3)
    assert not solution.converged
    assert solution.sweeps == 3
    assert abs(solution.values - [104.99, 101, 100]).max() <= solution.error_bound + 1e-9


def test_rounding_ends_what_no_tolerance_would() -> None:
    solution = value_iteration(three_states(), 0.9, tol=0.0)
    assert solution.converged
    assert solution.values == pytest.approx([14.9, 11, 10], abs=1e-12)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_a_discount_that_is_none_is_refused(solver) -> None:
    for gamma in (1.01, -0.1, np.nan):
        with pytest.raises(FathomError, match=r"the discount has to lie in \[0, 1\]"):
            solver(three_states(), gamma)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_an_endless_task_without_discount_is_refused(solver) -> None:
    with pytest.raises(FathomError, match="state 2, action 1 can be earned again and again") as caught:
        solver(three_states(), 1.0)
    assert "Take gamma below 1" in str(caught.value)
    paying = MDP.from_arrays(np.ones((1, 1, 1)), [[-1.0]])
    with pytest.raises(FathomError, match="from state 0 episodes can never end and cost for ever"):
        solver(paying, 1.0)


def test_undiscounted_evaluation_needs_a_policy_that_ends() -> None:
    prob = np.zeros((2, 2, 2))
    prob[0, 0, 0] = prob[0, 1, 1] = 1
    mdp = MDP.from_arrays(prob, [[-1.0, -1.0], [0, 0]], terminal=[1])
    assert evaluate_policy(mdp, [1, 0], 1.0).values.tolist() == [-1.0, 0.0]
    assert evaluate_policy(mdp, [[0.75, 0.25], [1, 0]], 1.0).values[0] == pytest.approx(-4)
    with pytest.raises(FathomError, match="from state 0 this policy never ends"):
        evaluate_policy(mdp, [0, 0], 1.0)
    free = MDP.from_arrays(prob, [[0.0, -1.0], [0, 0]], terminal=[1])
    assert evaluate_policy(free, [0, 0], 1.0).values.tolist() == [0.0, 0.0]


def absorbing(prob: dict[tuple[int, int], int], reward: dict[tuple[int, int], float], states: int) -> MDP:
    """Two actions; those not named stay. No state is said to be terminal."""
    p = np.zeros((states, 2, states))
    for s in range(states):
        for a in range(2):
            p[s, a, prob.get((s, a), s)] = 1
    return MDP.from_arrays(p, [[reward.get((s, a), 0.0) for a in range(2)] for s in range(states)])


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
@pytest.mark.parametrize(
    ("mdp", "values", "policy"),
    [
        (absorbing({(0, 1): 1}, {(0, 1): 5.0}, 2), [5, 0], [1, None]),
        # A corridor whose last state absorbs: left and right, +1 for entering it.
        (
            absorbing(
                {(s, a): min(max(s + 2 * a - 1, 0), 4) for s in range(4) for a in range(2)}, {(3, 1): 1.0}, 5
            ),
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, None],
        ),
        # To stay for nothing is best where all that leads on costs.
        (absorbing({(0, 1): 1}, {(0, 1): -1.0}, 2), [0, 0], [0, None]),
    ],
    ids=["two states", "corridor", "better not"],
)
def test_a_state_that_absorbs_is_an_end_though_nobody_calls_it_one(solver, mdp, values, policy) -> None:
    solution = solver(mdp, 1.0)
    assert solution.values == pytest.approx(values)
    for chosen, wanted in zip(solution.policy, policy, strict=True):
        assert wanted is None or chosen == wanted
    assert evaluate_policy(mdp, solution.policy, 1.0).values == pytest.approx(values)


def test_a_choice_that_only_a_cut_would_favour_is_not_taken() -> None:
    # Idling is free; leaving earns 1 and then has to pay 2. Sweeps from 0 alone would take the 1 for good.
    prob = np.zeros((3, 2, 3))
    prob[0, 0, 0] = prob[0, 1, 1] = prob[1, :, 2] = 1
    mdp = MDP.from_arrays(prob, [[0.0, 1.0], [-2.0, -2.0], [0, 0]], terminal=[2])
    for solver in SOLVERS.values():
        solution = solver(mdp, 1.0)
        assert solution.values.tolist() == [0.0, -2.0, 0.0]
        assert solution.policy[0] == 0


def test_a_goal_out_of_reach_is_warned_of() -> None:
    prob = np.zeros((3, 1, 3))
    prob[0, 0, 0] = prob[1, 0, 2] = 1
    mdp = MDP.from_arrays(prob, [0.0, 0.0, 1.0], start=[1.0, 0.0, 0.0], terminal=[2])
    for gamma in (0.9, 1.0):
        with pytest.warns(UnreachableEnd, match="start in state 0 can never end: no goal can be reached"):
            assert value_iteration(mdp, gamma).values.tolist() == [0.0, 1.0, 0.0]


def test_bad_arguments_are_refused() -> None:
    mdp = three_states()
    with pytest.raises(UnknownName, match="linear"):
        evaluate_policy(mdp, [0, 0, 0], 0.9, method="liner")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FathomError, match="initial has shape"):
        value_iteration(mdp, 0.9, initial=[0.0])
    with pytest.raises(FathomError, match=r"epsilon is a probability; 1\.5 is none"):
        epsilon_greedy([0, 0], 1.5, 2)
    with pytest.raises(FathomError, match="how many actions"):
        epsilon_greedy([0, 0], 0.1)
    with pytest.raises(FathomError, match="horizon is -1"):
        backward_induction(mdp, -1)


def test_a_better_start_needs_fewer_sweeps() -> None:
    truth = [14.9, 11.0, 10.0]
    assert value_iteration(three_states(), 0.9, initial=truth).sweeps == 1


def test_time_matters_when_it_is_short() -> None:
    mdp = three_states()
    plan = backward_induction(mdp, 3)
    assert plan.values[:, 0].tolist() == [8.0, 7.0, 5.0, 0.0]
    assert plan.policy.shape == (3, 3)
    assert evaluate_within(mdp, [1, 1, 1], 3).tolist() == [8.0, 4.0, 3.0]
    assert evaluate_within(mdp, [1, 1, 1], 3, gamma=0.5)[0] == 5 + 1 + 0.25
    assert evaluate_within(mdp, [1, 1, 1], 0).tolist() == [0.0, 0.0, 0.0]
