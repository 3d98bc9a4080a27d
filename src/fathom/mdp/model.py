"""A finite Markov decision process as the list of what may follow each state and action."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class MDP:
    """States 0, …, S − 1, actions 0, …, A − 1, and at most K outcomes of each pair; float64 on the host.

    Outcomes that cannot happen have probability 0. An outcome that is `terminated` ends the episode: what
    follows it is worth 0, whatever its next state.
    """

    prob: Float[np.ndarray, "state action outcome"]  # each row sums to 1
    next_state: Int[np.ndarray, "state action outcome"]
    reward: Float[np.ndarray, "state action outcome"]
    terminated: Bool[np.ndarray, "state action outcome"]
    start: Float[np.ndarray, " state"]  # probability that an episode starts there

    @property
    def num_states(self) -> int:
        """S."""
        return self.prob.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.prob.shape[1]
