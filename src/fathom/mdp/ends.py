"""Where episodes end: what is needed to know whether undiscounted values exist and which they are.

Everything is decided on the graph of possible steps, whatever their probabilities.
"""

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int
from scipy.sparse import csgraph

from fathom.core.errors import FathomError
from fathom.mdp.model import MDP


class UnreachableEnd(UserWarning):
    """Episodes can end in this MDP, but not from a state in which they start."""


class Quotient(NamedTuple):
    """An MDP in which no policy can go round for ever without paying, and the class of each state in it.

    `idle` are the actions that it leaves out: those by which the MDP it is of goes round at no reward.
    """

    mdp: MDP
    of_state: Int[np.ndarray, " state"]
    idle: Bool[np.ndarray, "state action"]


def can_end(mdp: MDP, allowed: Bool[np.ndarray, "state action"] | None = None) -> Bool[np.ndarray, " state"]:
    """The states from which an end can be reached by the allowed actions (all of them by default)."""
    reached = csgraph.breadth_first_order(_backwards(mdp, allowed), mdp.num_states, return_predecessors=False)
    found = np.zeros(mdp.num_states + 1, np.bool_)
    found[reached] = True
    return found[:-1]


def steps_to_end(
    mdp: MDP,
    allowed: Bool[np.ndarray, "state action"] | None = None,
    also: Bool[np.ndarray, " state"] | None = None,
) -> np.ndarray:
    """The least number of steps in which an end may be reached by the allowed actions, [S]; ∞ where never.

    States named by `also` are a step away from an end.
    """
    states = mdp.num_states
    graph = _backwards(mdp, allowed)
    if also is not None:
        near = np.flatnonzero(also)
        edges = (np.ones(near.size, np.int8), (np.full(near.size, states), near))
        graph = graph + scipy.sparse.csr_matrix(edges, shape=graph.shape)
    order, before = csgraph.breadth_first_order(graph, states)
    distance = np.full(states + 1, np.inf)
    distance[states] = 0
    for node in order[1:]:
        distance[node] = distance[before[node]] + 1
    return distance[:states]


def _backwards(mdp: MDP, allowed: Bool[np.ndarray, "state action"] | None) -> scipy.sparse.csr_matrix:
    """The possible steps turned round, with one node more, S, that stands for the end."""
    states = mdp.num_states
    possible = mdp.prob > 0 if allowed is None else (mdp.prob > 0) & allowed[:, :, None]
    s = np.broadcast_to(np.arange(states)[:, None, None], possible.shape)[possible]
    target = np.where(mdp.terminated, states, mdp.next_state)[possible]
    return scipy.sparse.csr_matrix((np.ones(s.size, np.int8), (target, s)), shape=(states + 1, states + 1))


def ending_policy(
    mdp: MDP,
    allowed: Bool[np.ndarray, "state action"],
    resting: Bool[np.ndarray, "state action"] | None = None,
) -> Int[np.ndarray, " state"]:
    """Of the allowed actions the one likeliest to come closer to an end: it ends wherever these can.

    Where no end can be reached by allowed actions it goes to where one of the `resting` can be taken for
    ever, and takes it; where there is none, it is the first of the allowed.
    """
    distance = steps_to_end(mdp, allowed)
    policy = _approach(mdp, allowed, distance)
    lost = np.isinf(distance)
    if resting is None or not (rest := resting & allowed & lost[:, None]).any():
        return policy
    here = np.asarray(rest.any(axis=-1))
    there = _approach(mdp, allowed, steps_to_end(mdp, allowed, here))
    return np.where(here, rest.argmax(axis=-1), np.where(lost, there, policy))


def _approach(
    mdp: MDP, allowed: Bool[np.ndarray, "state action"], distance: np.ndarray
) -> Int[np.ndarray, " state"]:
    """Of the allowed actions the one likeliest to lessen the distance."""
    closer = mdp.terminated | (distance[mdp.next_state] < distance[:, None, None])
    score = np.where(allowed, np.where(closer, mdp.prob, 0.0).sum(axis=-1), -1.0)
    return score.argmax(axis=-1)


def end_components(
    mdp: MDP, allowed: Bool[np.ndarray, "state action"]
) -> tuple[Int[np.ndarray, " state"], Bool[np.ndarray, "state action"]]:
    """The maximal sets of states that allowed actions can keep for ever, all of each set visited.

    Returns the number of each state's set (−1 for none) and the actions that stay in it for certain.
    de Alfaro 1997, "Formal verification of probabilistic systems", Algorithm 3.1.
    """
    states = mdp.num_states
    possible = mdp.prob > 0
    staying = allowed & ~(possible & mdp.terminated).any(axis=-1)
    s = np.broadcast_to(np.arange(states)[:, None, None], possible.shape)
    while True:
        edges = possible & staying[:, :, None]
        graph = scipy.sparse.csr_matrix(
            (np.ones(int(edges.sum()), np.int8), (s[edges], mdp.next_state[edges])), shape=(states, states)
        )
        _, label = csgraph.connected_components(graph, connection="strong")
        leaving = (edges & (label[mdp.next_state] != label[:, None, None])).any(axis=-1)
        if not leaving.any():
            return np.where(staying.any(axis=-1), label, -1), staying
        staying &= ~leaving


def for_ever(chain: MDP) -> Bool[np.ndarray, " state"]:
    """The states of an MDP of one action that are come back to for ever, with no end."""
    _, staying = end_components(chain, np.ones((chain.num_states, 1), np.bool_))
    return staying[:, 0]


def warn_if_unreachable(mdp: MDP) -> None:
    """Warns where episodes can end in the MDP but not from each state in which they start."""
    if not ((mdp.prob > 0) & mdp.terminated).any():
        return
    if (lost := np.flatnonzero((mdp.start > 0) & ~can_end(mdp))).size:
        warnings.warn(
            f"episodes that start in state {lost[0]}{_more(lost)} can never end: no goal can be reached from "
            "there. Look for a wall or a missing transition, or give such states no probability in `start`.",
            UnreachableEnd,
            stacklevel=4,
        )


def undiscounted(mdp: MDP) -> Quotient:
    """The MDP whose Bellman equation at γ = 1 has one solution, the values of `mdp`; FathomError if none has.

    States among which one can go round for ever at no reward share one value: they become one state, whose
    actions are those that leave it, and to stop, at 0. What is left fulfils the conditions of stochastic
    shortest paths (Bertsekas & Tsitsiklis 1991): some policy ends from every state, and one that need not end
    is infinitely bad.
    """
    every = np.ones(mdp.prob.shape[:2], np.bool_)
    _, staying = end_components(mdp, every)
    if not staying.any():
        return Quotient(mdp, np.arange(mdp.num_states), staying)
    possible = mdp.prob > 0
    gain = staying & (possible & (mdp.reward > 0)).any(axis=-1)
    if gain.any():
        s, a = (int(i[0]) for i in np.nonzero(gain))
        raise FathomError(
            f"gamma = 1, but the reward of state {s}, action {a} can be earned again and again: "
            f"values need not be finite. {_ADVICE}"
        )
    idle, staying = end_components(mdp, staying & ~(possible & (mdp.reward != 0)).any(axis=-1))
    quotient = (
        _merge(mdp, idle, staying) if staying.any() else Quotient(mdp, np.arange(mdp.num_states), staying)
    )
    stuck = np.flatnonzero(~can_end(quotient.mdp)[quotient.of_state])
    if stuck.size:
        raise FathomError(
            f"gamma = 1, but from state {stuck[0]}{_more(stuck)} episodes can never end and cost for ever: "
            f"values are not finite. {_ADVICE}"
        )
    return quotient


_ADVICE = (
    "Take gamma below 1, say where episodes end (`terminal`), or bound their length (`backward_induction`)."
)


def _more(states: np.ndarray) -> str:
    return f" (and {states.size - 1} more)" if states.size > 1 else ""


def _merge(mdp: MDP, component: np.ndarray, staying: np.ndarray) -> Quotient:
    """Each component becomes one state, whose actions are those that may leave it, and to stop at 0."""
    states, actions, outcomes = mdp.prob.shape
    merged = component >= 0
    name = np.where(merged, component, component.max() + 1 + np.arange(states))
    _, of_state = np.unique(name, return_inverse=True)
    classes = int(of_state.max()) + 1

    s, a = np.nonzero(~staying)
    owner = of_state[s]
    order = np.argsort(owner, kind="stable")
    s, a, owner = s[order], a[order], owner[order]
    counts = np.bincount(owner, minlength=classes)
    stops = np.zeros(classes, np.bool_)
    stops[of_state[merged]] = True
    slot = np.arange(s.size) - (np.cumsum(counts) - counts)[owner]

    # A class with fewer actions than another repeats one of its own: no maximum changes by that.
    pair = np.full((classes, int((counts + stops).max())), -1)
    pair[owner, slot] = s * actions + a
    first = np.where(stops, -1, pair[:, 0])
    pair = np.where(pair < 0, first[:, None], pair)

    def take(x: np.ndarray, stop: np.ndarray) -> np.ndarray:
        return np.concatenate([x.reshape(-1, outcomes), stop[None]])[pair]

    sure = (np.arange(outcomes) == 0).astype(np.float64)
    none = np.zeros(outcomes)
    start = np.bincount(of_state, weights=mdp.start, minlength=classes)
    return Quotient(
        MDP(
            take(mdp.prob, sure),
            take(of_state[mdp.next_state], none.astype(np.int64)),
            take(mdp.reward, none),
            take(mdp.terminated, np.ones(outcomes, np.bool_)),
            start,
        ),
        of_state,
        staying,
    )
