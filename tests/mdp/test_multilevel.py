import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fathom.mdp import MDP, multilevel_policy_iteration, policy_iteration, value_iteration
from fathom.mdp.backup import Backup
from fathom.mdp.multilevel import Evaluator, factors, groups

from .problems import CROSS, moves, random_mdp

seeds = st.integers(0, 2**32 - 1)


def slippery(side: int, goal: float, step: float) -> MDP:
    """A move goes astray to either side with probability 1/3 each; the last cell ends the episode."""
    straight = moves(side, side, [(-1, 0), (0, 1), (1, 0), (0, -1)], start=0, goal=side * side - 1)
    to = straight.next_state[:, :, 0]
    following = np.stack([np.roll(to, turn, axis=1) for turn in (-1, 0, 1)], axis=-1)
    ends = following == side * side - 1
    reward = np.where(ends, goal, step)
    ends[-1], reward[-1] = True, 0.0
    return MDP(np.full(following.shape, 1 / 3), following, reward, ends, straight.start)


def path(states: int) -> scipy.sparse.csr_matrix:
    return scipy.sparse.csr_matrix(np.eye(states, k=1))


@pytest.mark.parametrize("coarsest", [1, 30])
@pytest.mark.parametrize(("goal", "step", "gamma"), [(0.0, -1.0, 0.99), (1.0, 0.0, 0.99), (0.0, -1.0, 1.0)])
def test_a_grid_is_solved_as_by_policy_iteration_in_a_few_sweeps(
    goal: float, step: float, gamma: float, coarsest: int
) -> None:
    mdp = slippery(24, goal, step)
    truth = policy_iteration(mdp, gamma)
    solution = multilevel_policy_iteration(mdp, gamma, coarsest=coarsest)
    assert solution.converged
    assert solution.values == pytest.approx(truth.values, abs=1e-7)
    assert (solution.optimal == truth.optimal).all()
    assert solution.sweeps == solution.residuals.size <= 60
    assert value_iteration(mdp, gamma).sweeps > 300


@given(seed=seeds, states=st.integers(5, 60), outcomes=st.integers(1, 3), gamma=st.sampled_from([0.9, 0.99]))
def test_random_graphs_are_solved_within_the_bound(
    seed: int, states: int, outcomes: int, gamma: float
) -> None:
    mdp = random_mdp(np.random.default_rng(seed), states, 2, outcomes, ends=0.0)
    solution = multilevel_policy_iteration(mdp, gamma, tol=1e-6, coarsest=4)
    assert solution.converged
    assert solution.error_bound <= 1e-6
    truth = policy_iteration(mdp, gamma).values
    assert abs(solution.values - truth).max() <= solution.error_bound + 1e-10


@pytest.mark.parametrize("gamma", [0.95, 1.0])
def test_corrections_that_mislead_are_undone(monkeypatch: pytest.MonkeyPatch, gamma: float) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setattr(Evaluator, "solve", lambda self, p, right, enough: 100 * rng.normal(size=right.size))
    mdp = slippery(6, 0.0, -1.0)
    solution = multilevel_policy_iteration(mdp, gamma, coarsest=1)
    assert solution.converged
    assert solution.values == pytest.approx(policy_iteration(mdp, gamma).values, abs=1e-6)


def test_states_that_nothing_links_are_each_a_group() -> None:
    mdp = MDP.from_arrays(np.eye(4)[:, None], [[1.0], [2.0], [3.0], [4.0]])
    assert multilevel_policy_iteration(mdp, 0.5, coarsest=1).values == pytest.approx([2, 4, 6, 8])


def test_groups_are_neighbours_around_states_more_than_two_steps_apart() -> None:
    group = groups(path(50))
    sizes = np.bincount(group)
    assert (np.diff(group) != 0).sum() == sizes.size - 1  # each is one stretch of the path
    assert sizes[1:-1].min() >= 2
    assert sizes.max() <= 5
    assert groups(scipy.sparse.csr_matrix(np.ones((5, 5)))).tolist() == [0] * 5
    assert sorted(groups(scipy.sparse.csr_matrix((3, 3)))) == [0, 1, 2]


def test_the_mdp_of_groups_has_mean_rewards_and_steps() -> None:
    # 0 → 1 → 2 → 2, and a second action that stays; rewards 1 to 6.
    prob = np.zeros((3, 2, 3))
    prob[[0, 1, 2], 0, [1, 2, 2]] = prob[[0, 1, 2], 1, [0, 1, 2]] = 1
    backup = Backup.of(MDP.from_arrays(prob, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), 0.5)
    whole = backup.grouped(np.array([0, 0, 1]))
    assert whole.reward.tolist() == [[2.0, 5.0], [3.0, 6.0]]
    assert whole.matrix.toarray().tolist() == [[0.25, 0.25], [0, 0.5], [0.5, 0], [0, 0.5]]
    assert (backup.steps().toarray() > 0).tolist() == [
        [True, True, False],
        [False, True, True],
        [False, False, True],
    ]


@given(seed=seeds)
def test_the_first_best_action_is_the_greedy_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    backup = Backup.of(random_mdp(rng, 9, 4, 2, ends=0.5), 0.5)
    backup.reward = backup.reward.round()  # so that some actions tie
    values = np.zeros(9)
    best, policy = backup.greedy(values)
    q = backup.q(values)
    assert (policy == q.argmax(axis=0)).all()
    assert (best == q.max(axis=0)).all()
    transitions, reward = backup.following(policy)
    assert transitions @ values + reward == pytest.approx(best)


def test_an_evaluation_is_as_good_as_asked() -> None:
    backup = Backup.of(slippery(20, 0.0, -1.0), 0.99)
    group = groups(backup.steps())
    evaluator = Evaluator([group, groups(backup.grouped(group).steps())])
    rng = np.random.default_rng(1)
    for enough in (1e-2, 1e-8):
        transitions, reward = backup.following(rng.integers(4, size=400))
        values = evaluator.solve(transitions, reward, enough)
        assert abs(reward + transitions @ values - values).max() <= enough


def test_equations_without_one_solution_give_no_correction() -> None:
    never = scipy.sparse.csr_matrix(np.eye(4))
    assert Evaluator([np.array([0, 0, 1, 1])]).solve(never, np.ones(4), 1e-3).tolist() == [0.0] * 4
    assert factors(never) is None


def test_a_maze_without_discount() -> None:
    mdp = moves(12, 12, CROSS, start=0, goal=143)
    solution = multilevel_policy_iteration(mdp, 1.0, coarsest=1)
    distance = np.add.outer(np.arange(12)[::-1], np.arange(12)[::-1]).ravel()
    assert solution.values == pytest.approx(-distance)
