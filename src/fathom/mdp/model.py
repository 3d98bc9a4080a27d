"""A finite Markov decision process as the list of what may follow each state and action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from fathom.core.errors import FathomError

SLACK = 1e-6  # by which given probabilities may miss a sum of 1: float32 and rounded decimals pass


@dataclass(frozen=True, eq=False)
class MDP:
    """States 0, …, S − 1, actions 0, …, A − 1, and at most K outcomes of each pair; float64 on the host.

    Outcomes that cannot happen have probability 0. An outcome that is `terminated` ends the episode: what
    follows it is worth 0, whatever its next state. Raises FathomError where the arrays do not fit together,
    a row of `prob` does not sum to 1, a probability is negative, a reward is not finite or a next state is
    none of the S.
    """

    prob: Float[np.ndarray, "state action outcome"]  # each row sums to 1
    next_state: Int[np.ndarray, "state action outcome"]
    reward: Float[np.ndarray, "state action outcome"]
    terminated: Bool[np.ndarray, "state action outcome"]
    start: Float[np.ndarray, " state"]  # probability that an episode starts there

    def __post_init__(self) -> None:
        shape = self.prob.shape
        if len(shape) != 3 or 0 in shape:
            raise FathomError(
                f"prob is [state, action, outcome], none of them empty, but its shape is {shape}."
            )
        for name in ("next_state", "reward", "terminated"):
            if getattr(self, name).shape != shape:
                raise FathomError(f"{name} has shape {getattr(self, name).shape}, but prob has {shape}.")
        if self.start.shape != shape[:1]:
            raise FathomError(
                f"start has shape {self.start.shape}; it needs one number for each of {shape[0]} states."
            )
        _check_rows(self.prob)
        if (bad := _first((self.next_state < 0) | (self.next_state >= shape[0]))) is not None:
            raise FathomError(
                f"state {bad[0]}, action {bad[1]} leads to state {self.next_state[bad]}: "
                f"states are 0 to {shape[0] - 1}."
            )
        if (bad := _first(~np.isfinite(self.reward))) is not None:
            raise FathomError(
                f"the reward of state {bad[0]}, action {bad[1]} is {self.reward[bad]}: give a number."
            )
        if not (self.start >= 0).all() or not abs(self.start.sum() - 1) <= SLACK:
            raise FathomError(
                f"start has to be probabilities that sum to 1; they sum to {self.start.sum():.6g}."
            )

    @property
    def num_states(self) -> int:
        """S."""
        return self.prob.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.prob.shape[1]

    @property
    def expected_reward(self) -> Float[np.ndarray, "state action"]:
        """The mean reward r(s, a) of a step. Sutton & Barto 2018, Eq. 3.5."""
        return np.einsum("sak,sak->sa", self.prob, self.reward)

    @property
    def continuing(self) -> Float[np.ndarray, "state action outcome"]:
        """The probability of each outcome after which the episode goes on, 0 for those that end it."""
        return np.where(self.terminated, 0.0, self.prob)

    @staticmethod
    def from_arrays(prob: Any, reward: Any, start: Any = None, terminal: Any = None) -> "MDP":
        """An MDP from the full transition tensor p(s' | s, a) of shape [S, A, S'].

        `reward` is r(s, a) as [S, A], r(s, a, s') as [S, A, S'] or r(s') as [S']. `terminal` names the states
        in which episodes end (numbers, or a mask [S]): reaching one terminates; its own rows are not read.
        `start` is a probability for each state; without it episodes start in every non-terminal state alike.
        """
        dense, given = np.array(prob, np.float64), np.asarray(reward, np.float64)
        if dense.ndim != 3 or dense.shape[0] != dense.shape[2] or 0 in dense.shape:
            raise FathomError(f"prob is [state, action, next state], but its shape is {dense.shape}.")
        states, actions, _ = dense.shape
        if given.shape not in {(states, actions), dense.shape, (states,)}:
            raise FathomError(
                f"reward has shape {given.shape}; it has to be [state, action] {(states, actions)}, "
                f"[state, action, next state] {dense.shape} or [next state] {(states,)}."
            )
        ends = _mask_of(terminal, states)
        dense[ends] = np.eye(states)[ends][:, None]
        _check_rows(dense, SLACK)

        s, a, following = np.nonzero(dense)
        counts = (dense > 0).sum(axis=-1)
        slot = np.arange(s.size) - (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)[s, a]
        shape = (states, actions, int(counts.max()))
        listed, nxt, rew = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape)
        listed[s, a, slot], nxt[s, a, slot] = dense[s, a, following], following
        rew[s, a, slot] = (
            given[s, a]
            if given.shape == (states, actions)
            else np.broadcast_to(given, dense.shape)[s, a, following]
        )
        rew[ends] = 0.0
        if start is None:
            start = ~ends if not ends.all() else np.ones(states)
            start = start / start.sum()
        total = listed.sum(axis=-1, keepdims=True)
        return MDP(listed / total, nxt, rew, ends[nxt] & (listed > 0), np.asarray(start, np.float64))

    @staticmethod
    def from_table(table: Any, start: Any = None) -> "MDP":
        """An MDP from Gymnasium's `P[state][action] = [(prob, next_state, reward, terminated), …]`.

        `table` may be the environment itself: its `unwrapped.P` is read, and for `start` its
        `unwrapped.initial_state_distrib` where it has one. Without it episodes start in every state alike.
        """
        if not isinstance(table, Mapping | Sequence):
            bare = getattr(table, "unwrapped", table)
            if not hasattr(bare, "P"):
                raise FathomError(
                    f"{type(bare).__name__} has no table P of its transitions: give the table itself."
                )
            start = getattr(bare, "initial_state_distrib", None) if start is None else start
            table = bare.P
        states, actions = len(table), len(table[0])
        if isinstance(table, Mapping) and sorted(table) != list(range(states)):
            raise FathomError(
                f"the states of the table have to be 0 to {states - 1}; they are {sorted(table)[:5]}, …."
            )
        rows = [[table[s][a] for a in sorted(_keys(table[s]))] for s in range(states)]
        if (odd := next((s for s, row in enumerate(rows) if len(row) != actions), None)) is not None:
            raise FathomError(
                f"state {odd} has {len(rows[odd])} actions, state 0 has {actions}: all need the same."
            )
        shape = (states, actions, max(max(len(outcomes) for outcomes in row) for row in rows))
        prob, reward = np.zeros(shape), np.zeros(shape)
        nxt, terminated = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        for s, row in enumerate(rows):
            for a, outcomes in enumerate(row):
                for k, outcome in enumerate(outcomes):
                    prob[s, a, k], nxt[s, a, k], reward[s, a, k], terminated[s, a, k] = outcome
        _check_rows(prob, SLACK)
        start = np.full(states, 1 / states) if start is None else np.asarray(start, np.float64)
        return MDP(prob / prob.sum(axis=-1, keepdims=True), nxt, reward, terminated, start)

    def to_dense(self) -> tuple[Float[np.ndarray, "state action next"], Float[np.ndarray, "state action"]]:
        """The tensor p(s' | s, a), steps that end the episode left out, and the mean reward r(s, a).

        A row sums to the probability that the episode goes on: v = max_a (r + γ p v) holds as it stands.
        """
        dense = np.zeros((self.num_states, self.num_actions, self.num_states))
        s, a, _ = np.indices(self.prob.shape)
        np.add.at(dense, (s, a, self.next_state), self.continuing)
        return dense, self.expected_reward

    def transitions(self) -> scipy.sparse.csr_matrix:
        """p(s' | s, a) of the steps after which the episode goes on; row a·S + s, column s'."""
        states, actions = self.num_states, self.num_actions
        return _csr(self.continuing.swapaxes(0, 1), self.next_state.swapaxes(0, 1), actions * states, states)

    def policy_transitions(self, policy: Any) -> scipy.sparse.csr_matrix:
        """p_π(s' | s), [S, S], of the steps after which the episode goes on. See `action_probs`."""
        weights = self.action_probs(policy)[:, :, None] * self.continuing
        return _csr(weights, self.next_state, self.num_states, self.num_states)

    def policy_reward(self, policy: Any) -> Float[np.ndarray, " state"]:
        """r_π(s), the mean reward of a step by the policy. Policies as in `action_probs`."""
        return (self.action_probs(policy) * self.expected_reward).sum(axis=-1)

    def action_probs(self, policy: Any) -> Float[np.ndarray, "state action"]:
        """π(a | s) of a policy given so, or as one action for each state, [S]. FathomError if neither."""
        given = np.asarray(policy)
        states, actions = self.num_states, self.num_actions
        if given.shape == (states,) and np.issubdtype(given.dtype, np.integer):
            if (bad := _first((given < 0) | (given >= actions))) is not None:
                raise FathomError(
                    f"the policy's action in state {bad[0]} is {given[bad]}: they are 0 to {actions - 1}."
                )
            return np.eye(actions)[given]
        if given.shape != (states, actions):
            raise FathomError(
                f"a policy is an action for each of {states} states (whole numbers), or the probability of "
                f"each action, {(states, actions)}; this one is {given.dtype} of shape {given.shape}."
            )
        probs = given.astype(np.float64)
        bad = _first(
            (abs(probs.sum(axis=-1) - 1) > SLACK) | (probs < 0).any(axis=-1) | np.isnan(probs).any(axis=-1)
        )
        if bad is not None:
            raise FathomError(
                f"the policy's probabilities in state {bad[0]} are {probs[bad]}: they have to sum to 1."
            )
        return probs / probs.sum(axis=-1, keepdims=True)


def _csr(weights: np.ndarray, columns: np.ndarray, rows: int, states: int) -> scipy.sparse.csr_matrix:
    """The matrix whose row i has the i-th run of `weights` in `columns`; zeros left out, repeats added up."""
    each = weights.size // rows
    entries = (
        np.ravel(weights).astype(np.float64),
        np.ravel(columns).astype(np.int32),
        np.arange(0, weights.size + 1, each, dtype=np.int64 if weights.size >= 2**31 else np.int32),
    )
    matrix = scipy.sparse.csr_matrix(entries, shape=(rows, states))
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def _first(bad: np.ndarray) -> tuple[int, ...] | None:
    """The place of the first True, None where there is none."""
    return tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape)) if bad.any() else None


def _check_rows(prob: np.ndarray, slack: float = 1e-9) -> None:
    """Raises FathomError at the first state and action whose probabilities are none."""
    if (bad := _first(~(prob >= 0))) is not None:
        raise FathomError(
            f"state {bad[0]}, action {bad[1]} has a probability of {prob[bad]}: none may be below 0."
        )
    total = prob.sum(axis=-1)
    if (bad := _first(~(abs(total - 1) <= slack))) is not None:
        raise FathomError(
            f"the probabilities of state {bad[0]}, action {bad[1]} sum to {total[bad]:.9g}: "
            "they have to sum to 1."
        )


def _mask_of(terminal: Any, states: int) -> Bool[np.ndarray, " state"]:
    given = np.asarray(() if terminal is None else terminal)
    if given.dtype == np.bool_ and given.shape == (states,):
        return given
    numbers = given.astype(np.int64).ravel()
    if (bad := _first((numbers < 0) | (numbers >= states))) is not None:
        raise FathomError(f"terminal state {numbers[bad]} is none: states are 0 to {states - 1}.")
    return np.isin(np.arange(states), numbers)


def _keys(row: Any) -> Any:
    return row if isinstance(row, Mapping) else range(len(row))
