"""Finite Markov decision processes with known dynamics, and their exact solution."""

from fathom.mdp.ends import UnreachableEnd
from fathom.mdp.horizon import TimedSolution, backward_induction, evaluate_within
from fathom.mdp.model import MDP
from fathom.mdp.solve import (
    Evaluation,
    Solution,
    bellman_residual,
    epsilon_greedy,
    evaluate_policy,
    modified_policy_iteration,
    multilevel_policy_iteration,
    policy_iteration,
    prioritised_sweeping,
    q_value_iteration,
    value_iteration,
)

__all__ = [
    "MDP",
    "Evaluation",
    "Solution",
    "TimedSolution",
    "UnreachableEnd",
    "backward_induction",
    "bellman_residual",
    "epsilon_greedy",
    "evaluate_policy",
    "evaluate_within",
    "modified_policy_iteration",
    "multilevel_policy_iteration",
    "policy_iteration",
    "prioritised_sweeping",
    "q_value_iteration",
    "value_iteration",
]
