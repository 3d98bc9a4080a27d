"""Groups of neighbouring states, and the evaluation of policies that they make quick."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int

STEPS = 40  # of the linear solver at most
DIRECT = 20_000  # up to so many transitions between groups their equations are solved exactly
CYCLES = 2  # times that groups of groups, and those above, correct what is left
SMOOTHING = 3  # sweeps of the policy after each correction
DAMPING = 0.8  # part of such a sweep that is made: full ones keep errors that swap signs between neighbours


def groups(graph: scipy.sparse.csr_matrix) -> Int[np.ndarray, " state"]:
    """The group of each state, from 0, by the steps that may be made, taken in both directions.

    Some states, none within two steps of another, have their neighbours with them; what is left goes with a
    neighbour. On a grid a group has about 7 states; where all states are near each other groups are few. The
    grouping is that of Vaněk, Mandel & Brezina 1996; those states are found in rounds, as by Luby 1986: by a
    number in a random order that is the greatest within two steps.
    """
    states = graph.indptr.size - 1
    near: Any = (graph + graph.T + scipy.sparse.eye_array(states, format="csr")).tocsr()
    near.data[:] = 1.0

    def greatest(x: np.ndarray) -> np.ndarray:
        """Of a state and its neighbours."""
        return np.maximum.reduceat(x[near.indices], near.indptr[:-1])

    order = 1 + np.random.default_rng(0).permutation(states)
    chosen, left = np.zeros(states, np.bool_), np.ones(states, np.bool_)
    while left.any():
        new = left & (greatest(greatest(np.where(left, order, 0))) == order)
        chosen |= new
        left &= near @ (near @ new.astype(np.float64)) == 0
    nearest = greatest(np.where(chosen, np.cumsum(chosen), 0))
    return np.where(nearest > 0, nearest, greatest(nearest)) - 1


def mean_over(
    group: Int[np.ndarray, " state"], transitions: scipy.sparse.csr_matrix
) -> scipy.sparse.csr_matrix:
    """γp from group to group, the mean over the states of each; where rows go by action, for each action."""
    size = np.bincount(group)
    actions = (transitions.indptr.size - 1) // group.size
    row = (np.arange(actions)[:, None] * size.size + group).ravel()
    weight = np.tile(1 / size[group], actions)
    each = np.diff(transitions.indptr)
    where = (np.repeat(row, each), group[transitions.indices])
    entries = transitions.data * np.repeat(weight, each)
    return scipy.sparse.csr_matrix((entries, where), shape=(actions * size.size, size.size))


class Evaluator:
    """Approximate solution of (I − γP_π) d = b with the help of groups of states, groups of these, and so on.

    BiCGSTAB (van der Vorst 1992), preconditioned by the same equations for the mean over each group, which
    carry far what sweeps carry one step (Bertsekas & Castañon 1989), and sweeps. The equations for groups are
    solved in the same rough way, by those for groups of groups, and the last ones exactly.
    """

    def __init__(self, levels: Sequence[Int[np.ndarray, " state"]]) -> None:
        self.levels = levels  # the group of each state, the group of each group, …

    def solve(
        self, transitions: scipy.sparse.csr_matrix, right: Float[np.ndarray, " state"], enough: float
    ) -> Float[np.ndarray, " state"]:
        """A d with |b − (I − γP_π) d| ≤ `enough` everywhere, or the best of `STEPS` steps; 0 if none is."""
        correction = self._correction(transitions, 0)
        d, rest, direction = np.zeros_like(right), right.copy(), right.copy()
        best, least = d, abs(rest).max()
        along = right @ rest
        for _ in range(STEPS):
            if least <= enough:
                break
            moved = correction(direction)
            change = moved - transitions @ moved
            alpha = _ratio(along, right @ change)
            d = d + alpha * moved
            rest -= alpha * change
            moved = correction(rest)
            turn = moved - transitions @ moved
            omega = _ratio(turn @ rest, turn @ turn)
            d += omega * moved
            rest -= omega * turn
            before, along = along, right @ rest
            direction = rest + _ratio(along, before) * _ratio(alpha, omega) * (direction - omega * change)
            if (error := abs(rest).max()) < least:
                best, least = d, error
        return best

    def _correction(
        self, transitions: scipy.sparse.csr_matrix, level: int
    ) -> Callable[[Float[np.ndarray, " state"]], Float[np.ndarray, " state"]]:
        """What finds a rough d for a right-hand side."""
        if level == len(self.levels) or (level and transitions.nnz <= DIRECT):
            found = factors(transitions)
            return np.zeros_like if found is None else found.solve
        group = self.levels[level]
        size = np.bincount(group)
        coarser = self._correction(mean_over(group, transitions), level + 1)

        def correction(right: np.ndarray) -> np.ndarray:
            d = np.zeros_like(right)
            for cycle in range(CYCLES if level else 1):
                rest = right + transitions @ d - d if cycle else right
                d += coarser(np.bincount(group, rest) / size)[group]
                for _ in range(SMOOTHING):
                    d += DAMPING * (right + transitions @ d - d)
            return d

        return correction


def factors(transitions: scipy.sparse.csr_matrix) -> Any:
    """Sparse LU factors of I − P, where P is discounted or leads to an end; None if it is singular.

    Rows are diagonally dominant: pivots may stay on the diagonal, and an order for the symmetric pattern
    fills in half as much as the default.
    """
    system = (scipy.sparse.eye_array(transitions.indptr.size - 1, format="csc") - transitions.tocsc()).tocsc()
    try:
        return scipy.sparse.linalg.splu(
            system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
    except RuntimeError:
        return None


def _ratio(a: Any, b: Any) -> float:
    """The ratio a / b; 0 where it is none, so that the step is not made."""
    ratio = float(a / b) if b else 0.0
    return ratio if math.isfinite(ratio) else 0.0
