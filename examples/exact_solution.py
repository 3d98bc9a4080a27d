"""Solve FrozenLake exactly: its best policy, how sure that is, and what a limit on steps changes."""

import gymnasium

from fathom.mdp import MDP, backward_induction, evaluate_within, policy_iteration, value_iteration

env = gymnasium.make("FrozenLake-v1")
mdp = MDP.from_table(env)  # a native environment's is fathom.envs.finite.mdp_of(env)

sweeps = value_iteration(mdp, gamma=0.99)
exact = policy_iteration(mdp, gamma=0.99)
print(f"value of the start: {exact.values[0]:.6f}, after {exact.sweeps} policies")
print(f"by value iteration: {sweeps.values[0]:.6f} ± {sweeps.error_bound:.0e}, after {sweeps.sweeps} sweeps")

# Where several actions are best, all are told; `policy` has one of them.
arrows = ["".join("←↓→↑"[a] for a in exact.policy[row : row + 4]) for row in range(0, 16, 4)]
print("\n".join(arrows), f"\nstates with several best actions: {(exact.optimal.sum(axis=1) > 1).sum()}")

# Gymnasium cuts episodes after 100 steps. Who may look at the clock does a little better.
steps = env.spec.max_episode_steps
print(f"success within {steps} steps: {mdp.start @ evaluate_within(mdp, exact.policy, steps):.4f}")
print(f"at best, by the clock: {mdp.start @ backward_induction(mdp, steps).values[0]:.4f}")
