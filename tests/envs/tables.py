"""Transition tables: ours and Gymnasium's in one form, and the shortest way through one."""

from collections import defaultdict

import numpy as np

from fathom.envs.finite import mdp_of


def listed(outcomes):
    """(probability, next state, reward, terminated) … as {what follows: probability}, duplicates merged."""
    merged = defaultdict(float)
    for prob, next_state, reward, terminated in outcomes:
        if prob > 0:
            merged[int(next_state), round(float(reward), 4), bool(terminated)] += float(prob)
    return dict(merged)


def table_of(env):
    """What may follow each state and action of one of ours."""
    mdp = mdp_of(env)
    columns = (mdp.prob, mdp.next_state, mdp.reward, mdp.terminated)
    return {
        (s, a): listed(zip(*(column[s, a] for column in columns), strict=True))
        for s in range(mdp.num_states)
        for a in range(mdp.num_actions)
    }


def same_tables(env, gym_env):
    """Every state and action: the same outcomes with the same probabilities, from the same starts."""
    ours, theirs = table_of(env), gym_env.unwrapped.P
    assert env.num_states == len(theirs) == gym_env.observation_space.n
    assert env.num_actions == len(theirs[0]) == gym_env.action_space.n
    for state, actions in theirs.items():
        for action, outcomes in actions.items():
            mine, expected = ours[int(state), action], listed(outcomes)
            assert mine.keys() == expected.keys(), (state, action)
            for outcome, prob in expected.items():
                assert abs(mine[outcome] - prob) < 1e-6, (state, action, outcome)
    np.testing.assert_allclose(mdp_of(env).start, gym_env.unwrapped.initial_state_distrib, atol=1e-7)


def steps_to_end(env):
    """The fewest steps from the start to an end, where nothing is left to chance."""
    mdp = mdp_of(env)
    seen = set(np.flatnonzero(mdp.start).tolist())
    front, steps = seen, 0
    while front:
        steps += 1
        rows = sorted(front)
        possible = mdp.prob[rows] > 0
        if (mdp.terminated[rows] & possible).any():
            return steps
        front = set(mdp.next_state[rows][possible].tolist()) - seen
        seen |= front
    return None


def optimal_values(env, gamma, sweeps=20_000):
    """V* by value iteration, to rounding."""
    mdp, value = mdp_of(env), np.zeros(env.num_states)
    for _ in range(sweeps):
        follows = np.where(mdp.terminated, 0.0, value[mdp.next_state])
        new = (mdp.prob * (mdp.reward + gamma * follows)).sum(-1).max(-1)
        if np.abs(new - value).max() < 1e-12:
            break
        value = new
    return new
