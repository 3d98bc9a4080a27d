"""A grid world of your own: drawn as text, checked, solved exactly, then painted over and solved again."""

import numpy as np

from fathom import check
from fathom.envs.finite import mdp_of
from fathom.envs.grid.world import GridWorld
from fathom.envs.wrappers import TimeLimit

# S start, . free, # wall, G goal, H hole: a short way over a narrow bridge, a long one round it.
world = GridWorld.from_map(
    """
    .......
    .#####.
    S.....G
    HHH.HHH
    """,
    slip=0.02,  # two moves in a hundred go to one side
    reward_step=-0.02,
    reward_hole=-1.0,
)


def solve(env: GridWorld, gamma: float = 0.99) -> tuple[np.ndarray, np.ndarray]:
    """Values and greedy actions of all states, by value iteration."""
    mdp, value = mdp_of(env), np.zeros(env.num_states)
    while True:
        follows = np.where(mdp.terminated, 0.0, value[mdp.next_state])
        q = (mdp.prob * (mdp.reward + gamma * follows)).sum(axis=-1)
        if np.abs(q.max(axis=1) - value).max() < 1e-9:
            return value, q.argmax(axis=1)
        value = q.max(axis=1)


print(check(TimeLimit(world, 100), steps=100).text())
for name, env in (("with the bridge", world), ("without it", world.paint(2, 3, "#"))):
    value, policy = solve(env)
    rows, cols = env.shape
    arrows = [[env.arrows[policy[env.state_at(r, c)]] for c in range(cols)] for r in range(rows)]
    start = int(np.argmax(mdp_of(env).start))
    print(f"{name}: value of the start {value[start]:.3f}", env.ascii(start, arrows), sep="\n")
