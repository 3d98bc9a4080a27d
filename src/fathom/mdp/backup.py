"""One step of looking ahead from all states at once."""

import functools
import operator

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from fathom.mdp.model import MDP
from fathom.mdp.multilevel import mean_over


class Backup:
    """q(s, a) = r(s, a) + γ Σ p(s' | s, a) v(s') of all states and actions.

    The sum is one product with a sparse matrix whose rows go by action, so that the maximum over actions runs
    along memory.
    """

    def __init__(self, matrix: scipy.sparse.csr_matrix, reward: Float[np.ndarray, "action state"]) -> None:
        self.matrix = matrix  # γp; row a·S + s, column s'
        self.reward = reward

    @staticmethod
    def of(mdp: MDP, gamma: float) -> "Backup":
        """That of an MDP discounted by γ."""
        matrix = mdp.transitions()
        matrix.data *= gamma
        return Backup(matrix, np.ascontiguousarray(mdp.expected_reward.T))

    def q(self, values: Float[np.ndarray, " state"]) -> Float[np.ndarray, "action state"]:
        """The value of each action, [A, S]."""
        out = (self.matrix @ values).reshape(self.reward.shape)
        out += self.reward
        return out

    def best(self, values: Float[np.ndarray, " state"]) -> Float[np.ndarray, " state"]:
        """max_a q(s, a): one sweep of value iteration. Sutton & Barto 2018, Eq. 4.10."""
        return self.q(values).max(axis=0)

    def greedy(
        self, values: Float[np.ndarray, " state"]
    ) -> tuple[Float[np.ndarray, " state"], Int[np.ndarray, " state"]]:
        """max_a q(s, a) and the first action that has it."""
        q = self.q(values)
        best, policy = q[0].copy(), np.zeros(values.size, np.intp)
        # Action by action along memory: `argmax` over the first axis takes twice as long.
        for action in range(1, len(q)):
            policy[q[action] > best] = action
            np.maximum(best, q[action], out=best)
        return best, policy

    def following(
        self, policy: Int[np.ndarray, " state"]
    ) -> tuple[scipy.sparse.csr_matrix, Float[np.ndarray, " state"]]:
        """γP_π, [S, S], and r_π of a policy of one action for each state."""
        states = np.arange(policy.size)
        return self.matrix[policy * policy.size + states], self.reward[policy, states]

    def steps(self) -> scipy.sparse.csr_matrix:
        """The steps that some action may make: [S, S], positive where there is one."""
        actions, states = self.reward.shape
        each = [self.matrix[a * states : (a + 1) * states] for a in range(actions)]
        return functools.reduce(operator.add, each)

    def grouped(self, group: Int[np.ndarray, " state"]) -> "Backup":
        """That of the MDP whose states are groups, numbered from 0: the mean over the states of each.

        An action of a group is the same action in all its states. Bertsekas & Castañon 1989.
        """
        size = np.bincount(group)
        return Backup(
            mean_over(group, self.matrix), np.stack([np.bincount(group, r) / size for r in self.reward])
        )
