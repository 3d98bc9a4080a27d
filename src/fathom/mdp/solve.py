"""The values of policies and of the best policy, exactly: dynamic programming in float64 on the host.

Notation: v(s) and q(s, a) are values, r(s, a) the mean reward, p the probabilities of the steps after which
the episode goes on. A step that ends the episode is worth its reward and nothing more.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from fathom.core.errors import FathomError, UnknownName
from fathom.mdp.backup import Backup
from fathom.mdp.ends import ending_policy, for_ever, undiscounted, warn_if_unreachable
from fathom.mdp.model import MDP
from fathom.mdp.multilevel import Evaluator, factors, groups

TIE = 1e-8  # actions whose values differ by less than this part of the largest value count as equally good
SWEEPS = 4  # of all actions between two corrections of values: they settle what is local
ROUGH = 0.05  # part of the error that a rough evaluation leaves
GAIN = 0.9  # part of the Bellman error that a correction and its sweeps may leave
PATIENCE = 6  # corrections in turn that may leave more; after one further they are undone
DENSE = 500  # up to so many states a dense linear solve is the quicker one


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The values of one policy and how they were found."""

    values: Float[np.ndarray, " state"]  # v_π(s)
    q: Float[np.ndarray, "state action"]  # q_π(s, a)
    sweeps: int  # times that all states were computed anew; 0 for a linear solve
    residuals: Float[np.ndarray, " sweep"]  # greatest change of a value in each sweep
    residual: float  # greatest difference of the two sides of Bellman's equation, before one last backup
    error_bound: float  # no value is further from the truth: γ/(1 − γ) · residual; ∞ at γ = 1
    converged: bool  # False where `max_sweeps` came before `tol`


@dataclass(frozen=True, eq=False)
class Solution:
    """The values of the best policy, the policy, and how they were found."""

    values: Float[np.ndarray, " state"]  # v*(s)
    q: Float[np.ndarray, "state action"]  # q*(s, a)
    policy: Int[np.ndarray, " state"]  # one best action for each state; at γ = 1 one that also ends
    optimal: Bool[np.ndarray, "state action"]  # all best actions: ties are where a row has several
    sweeps: int  # times that all states were computed anew; for prioritised sweeping backups / S, rounded up
    residuals: Float[np.ndarray, " sweep"]  # greatest Bellman error found in each sweep
    residual: float  # greatest difference of the two sides of Bellman's equation, before one last backup
    error_bound: float  # no value is further from the truth: γ/(1 − γ) · residual; ∞ at γ = 1
    converged: bool  # False where `max_sweeps` came before `tol`


class _Found(NamedTuple):
    """What a method hands back."""

    values: np.ndarray
    residuals: list[float]
    converged: bool
    sweeps: int


def bellman_residual(mdp: MDP, values: Any, gamma: float) -> float:
    """max_s |max_a q(s, a) − v(s)|, by which v misses Bellman's optimality equation.

    Sutton & Barto 2018, Eq. 3.19. For γ < 1 no value is further than residual / (1 − γ) from the true one.
    """
    given = np.asarray(values, np.float64)
    return float(abs(Backup.of(mdp, _checked(gamma)).best(given) - given).max())


def epsilon_greedy(
    policy: Any, epsilon: float, num_actions: int | None = None
) -> Float[np.ndarray, "state action"]:
    """π(a | s) of the policy that takes any action with probability ε, else that of `policy`.

    `policy` is `Solution.optimal` (equally good actions are taken alike) or an action for each state, with
    `num_actions`.
    """
    if not 0 <= epsilon <= 1:
        raise FathomError(f"epsilon is a probability; {epsilon} is none.")
    given = np.asarray(policy)
    if given.ndim == 1:
        if num_actions is None:
            raise FathomError("say how many actions there are (`num_actions`), or give `Solution.optimal`.")
        given = np.arange(num_actions) == given[:, None]
    greedy = given / given.sum(axis=-1, keepdims=True)
    return (1 - epsilon) * greedy + epsilon / given.shape[-1]


def evaluate_policy(
    mdp: MDP,
    policy: Any,
    gamma: float,
    *,
    method: Literal["linear", "sweeps"] = "linear",
    tol: float = 1e-9,
    max_sweeps: int | None = None,
) -> Evaluation:
    """v_π of a policy given as an action for each state, [S], or as probabilities π(a | s), [S, A].

    "linear" solves (I − γ P_π) v = r_π, sparse above a few hundred states; "sweeps" is iterative policy
    evaluation (Sutton & Barto 2018, Section 4.1), until the error bound (at γ = 1 the change) is below `tol`.
    FathomError where γ is outside [0, 1], or 1 and the policy neither ends nor stops earning.
    """
    gamma, backup = _checked(gamma), Backup.of(mdp, gamma)
    transitions, reward = gamma * mdp.policy_transitions(policy), mdp.policy_reward(policy)
    if gamma == 1:
        chain = mdp.action_probs(policy)[:, :, None] * mdp.prob
        shape = (mdp.num_states, 1, -1)
        rest = (mdp.next_state, mdp.reward, mdp.terminated)
        prob, next_state, gained, terminated = (x.reshape(shape) for x in (chain, *rest))
        endless = for_ever(MDP(prob, next_state, gained, terminated, mdp.start))
        earns = endless & ((chain > 0) & (mdp.reward != 0)).any(axis=(1, 2))
        if earns.any():
            raise FathomError(
                f"gamma = 1, but from state {earns.argmax()} this policy never ends, and its rewards "
                "go on for ever: its value is not finite. Take gamma below 1, or `evaluate_within` a number "
                "of steps."
            )
        transitions = scipy.sparse.diags_array((~endless).astype(np.float64)) @ transitions
    if method == "linear":
        found = _Found(_solve_linear(transitions, reward), [], True, 0)
    elif method == "sweeps":
        start = np.zeros(mdp.num_states)
        found = _iterate(lambda v: transitions @ v + reward, start, gamma, tol, max_sweeps)
    else:
        raise UnknownName("method", method, ("linear", "sweeps"))
    values = transitions @ found.values + reward
    residual = float(abs(values - found.values).max())
    q = backup.q(found.values).T
    bound = _bound(gamma, residual)
    return Evaluation(values, q, found.sweeps, np.array(found.residuals), residual, bound, found.converged)


def value_iteration(
    mdp: MDP, gamma: float, *, tol: float = 1e-9, max_sweeps: int | None = None, initial: Any = None
) -> Solution:
    """V ← max_a (r + γ p v) over all states until the error bound (at γ = 1 the change) is below `tol`.

    Sutton & Barto 2018, Section 4.4. Errors shrink by γ or better in each sweep. `initial` are the values to
    begin with, 0 if not given. FathomError as in `policy_iteration`.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        return _iterate(backup.best, first, gamma, tol, max_sweeps)

    return _solve(mdp, gamma, method, initial)


def q_value_iteration(
    mdp: MDP, gamma: float, *, tol: float = 1e-9, max_sweeps: int | None = None
) -> Solution:
    """Q ← r + γ p max_a' q over all states and actions: value iteration whose table is q.

    Sutton & Barto 2018, Eq. 3.20. Its record is of changes of q. FathomError as in `policy_iteration`.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        def sweep(flat: np.ndarray) -> np.ndarray:
            return backup.q(flat.reshape(backup.reward.shape).max(axis=0)).ravel()

        found = _iterate(sweep, np.tile(first, backup.reward.shape[0]), gamma, tol, max_sweeps)
        return found._replace(values=found.values.reshape(backup.reward.shape).max(axis=0))

    return _solve(mdp, gamma, method)


def policy_iteration(mdp: MDP, gamma: float, *, max_sweeps: int | None = None) -> Solution:
    """Evaluate a policy by a linear solve, act greedily on its values, until no action changes.

    Sutton & Barto 2018, Section 4.3; Howard 1960. The first policy is the one that makes for an end, so that
    at γ = 1 every policy in turn ends (Bertsekas & Tsitsiklis 1991). An action is changed only for a better.
    FathomError where γ is outside [0, 1], or 1 and values are not finite.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        return _improve(backup, _first_policy(problem), max_sweeps)

    return _solve(mdp, gamma, method)


def modified_policy_iteration(
    mdp: MDP, gamma: float, *, evaluations: int = 20, tol: float = 1e-9, max_sweeps: int | None = None
) -> Solution:
    """Value iteration whose greedy policy is then followed for `evaluations` cheaper sweeps, of one action.

    Puterman & Shin 1978. 0 evaluations are value iteration, very many policy iteration. A sweep, here, is one
    of all actions. FathomError as in `policy_iteration`.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        values, residuals = first, []
        while True:
            best, policy = backup.greedy(values)
            residuals.append(float(abs(best - values).max()))
            values = best
            if _bound(gamma, residuals[-1], tol) <= tol or residuals[-1] <= _rounding(values):
                return _Found(values, residuals, True, len(residuals))
            if len(residuals) == max_sweeps:
                return _Found(values, residuals, False, len(residuals))
            chosen, reward = backup.following(policy)
            for _ in range(evaluations):
                values = chosen @ values + reward

    return _solve(mdp, gamma, method)


def multilevel_policy_iteration(
    mdp: MDP, gamma: float, *, tol: float = 1e-9, max_sweeps: int | None = None, coarsest: int = DENSE
) -> Solution:
    """Policy iteration from the values of groups of states, each policy evaluated roughly, with their help.

    1. up to `coarsest` states: policy iteration
    2. group neighbouring states; v = the values of the MDP of the groups, found roughly in this same way
       (at γ = 1, where those need not be finite: v_π of a policy that ends)
    3. repeat v ← max_a (r + γ p v), with π its actions, `SWEEPS` times
    4. until the error bound (at γ = 1 the change) is below `tol`
    5.   solve (I − γP_π) d = r_π + γP_π v − v roughly; v ← v + d
    6.   where the Bellman error has not fallen for `PATIENCE` rounds: undo them, take twice as many sweeps

    Line 5 carries values far, where a sweep carries them one step. Errors may rise on the way, as in all
    policy iteration; line 6 makes the whole converge as value iteration does, whatever line 5 gives. A sweep,
    in `max_sweeps` and in the record, is one of line 3. Bertsekas & Castañon 1989 (groups), Puterman & Shin
    1978 (rough evaluation); see `Evaluator`. FathomError as in `policy_iteration`.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        if problem.num_states <= coarsest:  # line 1
            return _improve(backup, _first_policy(problem), max_sweeps)
        wholes, levels = _grouped(backup, coarsest)
        evaluator = Evaluator(levels)
        if gamma < 1:  # line 2
            values = _values_of_groups(problem.num_states, wholes, levels)
        else:
            chosen, reward = backup.following(_first_policy(problem))
            values = evaluator.solve(chosen, reward, ROUGH * abs(reward).max())

        def done(values: np.ndarray, residual: float) -> bool:
            return _bound(gamma, residual, tol) <= tol or residual <= _rounding(values)

        return _refine(backup, evaluator, values, done, max_sweeps)

    return _solve(mdp, gamma, method)


def prioritised_sweeping(
    mdp: MDP, gamma: float, *, tol: float = 1e-9, max_sweeps: int | None = None
) -> Solution:
    """Backs up the state of the greatest Bellman error, then looks anew at those that may lead to it.

    Moore & Atkeson 1993, on a known model; Sutton & Barto 2018, Section 8.4, with expected updates. It ends
    when no Bellman error is above (1 − γ)/γ · `tol` (at γ = 1: above `tol`). Its record has one entry for
    every S backups. FathomError as in `policy_iteration`.
    """

    def method(problem: MDP, backup: Backup, first: np.ndarray) -> _Found:
        states = problem.num_states
        rows, reward = gamma * problem.continuing, problem.expected_reward
        following = problem.next_state
        s, _, _ = np.nonzero(problem.continuing)
        towards = following[problem.continuing > 0]
        leads = scipy.sparse.csr_matrix((np.ones(s.size), (towards, s)), shape=(states, states))
        leads.sum_duplicates()

        values = first.copy()
        best = backup.best(values)
        error = abs(best - values)
        residuals = [float(error.max())]
        enough = tol if gamma in (0, 1) else tol * (1 - gamma) / gamma
        queue = [(-e, s) for s, e in enumerate(error.tolist()) if e > enough]
        heapq.heapify(queue)
        backups = 0
        while queue:
            priority, state = heapq.heappop(queue)
            if -priority != error[state]:
                continue  # its error has changed since it was put there
            values[state], error[state] = best[state], 0.0
            before = leads.indices[leads.indptr[state] : leads.indptr[state + 1]]
            ahead = (rows[before] * values[following[before]]).sum(axis=-1)
            best[before] = (reward[before] + ahead).max(axis=-1)
            error[before] = abs(best[before] - values[before])
            threshold = max(enough, _rounding(values[before]))
            for index, e in zip(before.tolist(), error[before].tolist(), strict=True):
                if e > threshold:
                    heapq.heappush(queue, (-e, index))
            backups += 1
            if backups % states == 0:
                residuals.append(float(error.max()))
                if max_sweeps is not None and backups >= max_sweeps * states:
                    return _Found(values, residuals, not queue, backups // states)
        residuals.append(float(error.max()))
        return _Found(values, residuals, True, -(-backups // states))

    return _solve(mdp, gamma, method)


def _solve(
    mdp: MDP, gamma: float, method: Callable[[MDP, Backup, np.ndarray], _Found], initial: Any = None
) -> Solution:
    """Runs a method on the MDP, at γ = 1 on its quotient, and reads the best policy off the values."""
    gamma = _checked(gamma)
    warn_if_unreachable(mdp)
    first = np.zeros(mdp.num_states) if initial is None else np.array(initial, np.float64)
    if first.shape != (mdp.num_states,):
        raise FathomError(
            f"initial has shape {first.shape}; it needs one value for each of {mdp.num_states} states."
        )
    backup = Backup.of(mdp, gamma)
    idle = None
    if gamma < 1:
        found = method(mdp, backup, first)
        values = found.values
    else:
        problem, of_state, idle = undiscounted(mdp)
        begin = np.zeros(problem.num_states)
        begin[of_state] = first
        found = method(problem, backup if problem is mdp else Backup.of(problem, gamma), begin)
        values = found.values[of_state]
    q = np.ascontiguousarray(backup.q(values).T)
    best = q.max(axis=-1)
    residual = float(abs(best - values).max())
    bound = _bound(gamma, residual)
    slack = 2 * bound if gamma < 1 else 2 * residual if found.converged else 0.0
    near = max(TIE * max(1.0, abs(best).max()), slack)
    optimal = q >= best[:, None] - near
    # To go round for ever at no reward is worth 0, and best where nothing better than 0 is to be had.
    policy = (
        q.argmax(axis=-1) if idle is None else ending_policy(mdp, optimal, idle & (best <= near)[:, None])
    )
    residuals = np.array(found.residuals)
    return Solution(best, q, policy, optimal, found.sweeps, residuals, residual, bound, found.converged)


def _first_policy(problem: MDP) -> np.ndarray:
    """One that ends wherever one can."""
    return ending_policy(problem, np.ones(problem.prob.shape[:2], np.bool_))


def _improve(backup: Backup, policy: np.ndarray, max_sweeps: int | None = None) -> _Found:
    """Policy iteration."""
    states = np.arange(policy.size)
    residuals: list[float] = []
    while True:
        values = _solve_linear(*backup.following(policy))
        q = backup.q(values)
        best = q.max(axis=0)
        residuals.append(float(abs(best - values).max()))
        better = best > q[policy, states] + _rounding(values)
        if not better.any():
            return _Found(values, residuals, True, len(residuals))
        if len(residuals) == max_sweeps:
            return _Found(values, residuals, False, len(residuals))
        policy = np.where(better, q.argmax(axis=0), policy)


def _grouped(backup: Backup, coarsest: int) -> tuple[list[Backup], list[np.ndarray]]:
    """The MDPs of groups, of groups of groups, and so on, and the group of each state of the one before."""
    wholes, levels = [], []
    while (count := backup.reward.shape[1]) > coarsest:
        group = groups(backup.steps())
        if group.max() == count - 1:
            break
        backup = backup.grouped(group)
        levels.append(group)
        wholes.append(backup)
    return wholes, levels


def _values_of_groups(states: int, wholes: list[Backup], levels: list[np.ndarray]) -> np.ndarray:
    """For each state the value of its group, found from those of groups of groups, and so on."""
    if not wholes:
        return np.zeros(states)
    last = wholes[-1]
    values = _improve(last, last.reward.argmax(axis=0)).values[levels[-1]]
    for level in range(len(levels) - 1, 0, -1):
        whole = wholes[level - 1]
        enough = ROUGH * float(abs(whole.best(values) - values).max())
        done = lambda v, residual, enough=enough: residual <= max(enough, _rounding(v))  # noqa: E731
        found = _refine(whole, Evaluator(levels[level:]), values, done, None)
        values = found.values[levels[level - 1]]
    return values


def _refine(
    backup: Backup,
    evaluator: Evaluator,
    values: np.ndarray,
    done: Callable[[np.ndarray, float], bool],
    max_sweeps: int | None,
) -> _Found:
    """Lines 3 to 6 of multilevel policy iteration; `done` judges values and the Bellman error before them."""
    residuals: list[float] = []
    times, kept, allowed, left = SWEEPS, values, math.inf, PATIENCE
    while True:
        for _ in range(times):  # line 3
            before, values = values, backup.best(values)
            residuals.append(float(abs(values - before).max()))
            if (converged := done(values, residuals[-1])) or len(residuals) == max_sweeps:  # line 4
                return _Found(values, residuals, converged, len(residuals))
        if residuals[-1] <= allowed:
            kept, allowed, left = values, GAIN * residuals[-1], PATIENCE
        elif left:
            left -= 1
        else:  # line 6
            values, times, allowed = kept, 2 * times, math.inf
            continue
        best, policy = backup.greedy(values)  # line 5
        right = best - values
        values = values + evaluator.solve(backup.following(policy)[0], right, ROUGH * abs(right).max())


def _iterate(
    sweep: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
    gamma: float,
    tol: float,
    max_sweeps: int | None,
) -> _Found:
    """Repeats a sweep until the bound on the error is below `tol` or the change is that of rounding."""
    residuals: list[float] = []
    while True:
        after = sweep(values)
        residuals.append(float(abs(after - values).max()))
        values = after
        if _bound(gamma, residuals[-1], tol) <= tol or residuals[-1] <= _rounding(values):
            return _Found(values, residuals, True, len(residuals))
        if len(residuals) == max_sweeps:
            return _Found(values, residuals, False, len(residuals))


def _solve_linear(transitions: scipy.sparse.csr_matrix, reward: np.ndarray) -> np.ndarray:
    """V = r + P v, where P is discounted or leads to an end."""
    if reward.size <= DENSE:
        return np.linalg.solve(np.eye(reward.size) - transitions.toarray(), reward)
    return factors(transitions).solve(reward)


def _bound(gamma: float, residual: float, undiscounted: float | None = None) -> float:
    """γ/(1 − γ) · residual; at γ = 1 there is no such bound: ∞, or the residual if that must serve."""
    if gamma < 1:
        return gamma / (1 - gamma) * residual
    return math.inf if undiscounted is None else residual


def _rounding(values: np.ndarray) -> float:
    """A change that float64 cannot tell from none."""
    return 8 * np.finfo(np.float64).eps * float(abs(values).max(initial=0.0))


def _checked(gamma: float) -> float:
    if not 0 <= gamma <= 1:
        raise FathomError(f"gamma is {gamma}; the discount has to lie in [0, 1].")
    return float(gamma)
