"""Episodes of bounded length: the best that can be done, and what a policy earns, within them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fathom.core.errors import FathomError
from fathom.mdp.backup import Backup
from fathom.mdp.model import MDP
from fathom.mdp.solve import _checked


@dataclass(frozen=True, eq=False)
class TimedSolution:
    """The best values and actions where what is best may depend on the time."""

    values: Float[np.ndarray, "time state"]  # values[t, s]: the return from time t on, 0 at the last
    policy: Int[np.ndarray, "step state"]  # policy[t, s]: a best action at time t


def backward_induction(mdp: MDP, horizon: int, gamma: float = 1.0) -> TimedSolution:
    """The best policy for episodes that are cut after `horizon` steps, which may look at the clock.

    v_t = max_a (r + γ p v_{t+1}) from v_horizon = 0 backwards. Bellman 1957; Puterman 1994, Section 4.5.
    FathomError where γ is outside [0, 1] or the horizon below 0.
    """
    backup = Backup.of(mdp, _checked(gamma))
    values = np.zeros((_steps(horizon) + 1, mdp.num_states))
    policy = np.zeros((horizon, mdp.num_states), np.int64)
    for t in reversed(range(horizon)):
        q = backup.q(values[t + 1])
        values[t], policy[t] = q.max(axis=0), q.argmax(axis=0)
    return TimedSolution(values, policy)


def evaluate_within(mdp: MDP, policy: Any, horizon: int, gamma: float = 1.0) -> Float[np.ndarray, " state"]:
    """What a policy that does not look at the clock earns from each state in at most `horizon` steps.

    With a reward of 1 at the goal and γ = 1 that is its probability of success within the limit.
    FathomError where γ is outside [0, 1], the horizon below 0, or the policy is none (`MDP.action_probs`).
    """
    transitions = _checked(gamma) * mdp.policy_transitions(policy)
    reward = mdp.policy_reward(policy)
    values = np.zeros(mdp.num_states)
    for _ in range(_steps(horizon)):
        values = transitions @ values + reward
    return values


def _steps(horizon: int) -> int:
    if horizon < 0:
        raise FathomError(f"horizon is {horizon}; it is a number of steps, 0 or more.")
    return horizon
