"""Learners with tables find the exact values of small problems, and say what they cannot take."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fathom.algos.tabular.double_q_learning import DoubleQLearning
from fathom.algos.tabular.dyna_q import DynaQ
from fathom.algos.tabular.expected_sarsa import ExpectedSarsa
from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.algos.tabular.monte_carlo import MonteCarlo, MonteCarloPrediction
from fathom.algos.tabular.n_step_sarsa import NStepSarsa
from fathom.algos.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.tabular.sarsa import Sarsa
from fathom.algos.tabular.sarsa_lambda import SarsaLambda
from fathom.algos.tabular.td import TD
from fathom.algos.tabular.td_lambda import TDLambda
from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete, Masked
from fathom.core.types import EnvSpec
from fathom.envs.probe.value import TruncationProbe
from fathom.envs.wrappers import TimeLimit

from .tables import cut, endless, optimal_q, policy_value, random_problem, trained

GAMMA = 0.8
STEPS = 12_000
FALLING = {"gamma": GAMMA, "learning_rate": 0.2, "anneal_lr": True}
RANDOM = {"epsilon_start": 1.0, "epsilon_end": 1.0}
GREEDIER = {"epsilon_start": 1.0, "epsilon_end": 0.0, "exploration_fraction": 1.0}

# Those who learn of the greedy policy while they act at random reach Q*; the others reach a good policy.
OFF_POLICY = {
    "q_learning": QLearning(**FALLING, **RANDOM),
    "double_q_learning": DoubleQLearning(**FALLING, **RANDOM),
}
ON_POLICY = {
    "expected_sarsa": ExpectedSarsa(**FALLING, **GREEDIER),
    "sarsa": Sarsa(**FALLING, **GREEDIER),
    "n_step_sarsa": NStepSarsa(**FALLING, **GREEDIER, n=3),
    "sarsa_lambda": SarsaLambda(**FALLING, **GREEDIER, trace_decay=0.5),
    "monte_carlo": MonteCarlo(**FALLING, **GREEDIER, average=False),
    "off_policy_monte_carlo": OffPolicyMonteCarlo(gamma=GAMMA, epsilon_start=1.0, epsilon_end=0.2),
}
# Its model keeps last outcomes: problems must have certain ones.
DYNA = DynaQ(**FALLING, **RANDOM, planning_steps=4)
CONTROL = {**OFF_POLICY, **ON_POLICY, "dyna_q": DYNA}
PREDICTION = {
    "td": TD(**FALLING),
    "td, 3 steps": TD(**FALLING, n=3),
    "td_lambda, accumulating": TDLambda(**FALLING, trace_decay=0.6),
    "td_lambda, replacing": TDLambda(**FALLING, trace_decay=0.6, traces="replacing"),
    "td_lambda, dutch": TDLambda(**FALLING, trace_decay=0.6, traces="dutch"),
    "monte_carlo, first": MonteCarloPrediction(**FALLING, average=False),
    "monte_carlo, every": MonteCarloPrediction(**FALLING, average=False, visits="every"),
}

seeds = st.integers(0, 10_000)


def values_of(learner: Any) -> np.ndarray:
    if hasattr(learner, "v"):
        return np.asarray(learner.v.values)
    if hasattr(learner, "q1"):
        return np.asarray(learner.q1.values + learner.q2.values) / 2
    return np.asarray(learner.q.values)


@pytest.mark.parametrize("name", sorted(OFF_POLICY))
@settings(max_examples=3, phases=[Phase.generate])
@given(seed=seeds)
def test_values_of_random_problems_are_optimal(name: str, seed: int) -> None:
    """Within 0.2, where values span some 4: the noise that falling steps leave."""
    env = random_problem(seed)
    learner = trained(OFF_POLICY[name], cut(env), 4 * STEPS, seed)
    np.testing.assert_allclose(values_of(learner), optimal_q(env, GAMMA), atol=0.2)


@pytest.mark.parametrize("name", sorted(ON_POLICY))
@settings(max_examples=3, phases=[Phase.generate])
@given(seed=seeds)
def test_policies_of_random_problems_are_nearly_optimal(name: str, seed: int) -> None:
    """The greedy policy loses at most 0.2 of the optimal value in any state."""
    env = random_problem(seed)
    q = values_of(trained(ON_POLICY[name], cut(env), STEPS, seed))
    policy = np.eye(q.shape[1])[q.argmax(axis=1)]
    assert np.max(optimal_q(env, GAMMA).max(axis=1) - policy_value(env, GAMMA, policy)) < 0.2


@pytest.mark.parametrize("name", sorted(PREDICTION))
@settings(max_examples=3, phases=[Phase.generate])
@given(seed=seeds)
def test_values_of_the_random_policy_are_exact(name: str, seed: int) -> None:
    """Within 0.25 of a linear solve, where values span some 4."""
    env = random_problem(seed)
    learner = trained(PREDICTION[name], cut(env), STEPS, seed)
    uniform = np.full((env.num_states, env.num_actions), 1 / env.num_actions)
    np.testing.assert_allclose(values_of(learner), policy_value(env, GAMMA, uniform), atol=0.25)


def test_values_of_a_given_policy_are_exact() -> None:
    env = random_problem(8)
    policy = (2, 0, 1, 1)
    learner = trained(dataclasses.replace(PREDICTION["td"], policy=policy), cut(env), STEPS)
    expected = policy_value(env, GAMMA, np.eye(3)[list(policy)])
    np.testing.assert_allclose(values_of(learner), expected, atol=0.25)
    # At random to the end: where ε falls, actions that the policy takes grow rare and weigh too much.
    algorithm = dataclasses.replace(CONTROL["off_policy_monte_carlo"], policy=policy, epsilon_end=1.0)
    q = values_of(trained(algorithm, cut(env), 4 * STEPS))
    np.testing.assert_allclose(q[np.arange(4), list(policy)], expected, atol=0.1)


def certain(seed: int) -> Any:
    """A random problem in which each pair has one outcome."""
    env = random_problem(seed)
    return dataclasses.replace(env, prob=jnp.zeros_like(env.prob).at[..., 0].set(1.0))


@settings(max_examples=3, phases=[Phase.generate])
@given(seed=seeds)
def test_values_of_dyna_q_are_optimal_where_outcomes_are_certain(seed: int) -> None:
    env = certain(seed)
    learner = trained(DYNA, cut(env), 3_000, seed)
    np.testing.assert_allclose(values_of(learner), optimal_q(env, GAMMA), atol=0.02)


def test_dyna_q_learns_more_from_the_same_steps() -> None:
    """With planning, a few steps give values that Q-learning takes many for."""
    env, errors = certain(1), []
    for algorithm in (OFF_POLICY["q_learning"], DYNA):
        short = dataclasses.replace(algorithm, learning_rate=0.1)
        errors.append(np.abs(values_of(trained(short, cut(env), 400)) - optimal_q(env, GAMMA)).mean())
    assert errors[1] < 0.7 * errors[0]


# A plain mean of returns forgets its start slowly; each of two tables learns from half of the steps.
LOOSE = {"off_policy_monte_carlo": 0.2, "double_q_learning": 0.05}


@pytest.mark.parametrize("name", sorted(CONTROL | PREDICTION))
def test_trap_1_a_cut_episode_is_worth_what_would_have_followed(name: str) -> None:
    """Reward 1, γ = 0.9, cut at 5, never ended: 10."""
    algorithm = dataclasses.replace((CONTROL | PREDICTION)[name], gamma=0.9)
    values = values_of(trained(algorithm, cut(endless()), STEPS))
    if name == "off_policy_monte_carlo":
        values = values.max(axis=-1)  # those of π, that all returns lead to
    np.testing.assert_allclose(values, 10.0, rtol=LOOSE.get(name, 0.01))


def test_trap_1_with_tile_coding() -> None:
    algorithm = LinearSarsaLambda(gamma=0.9, tilings=4, tiles=2, epsilon_start=1.0, epsilon_end=1.0)
    for fields in ({}, {"n": 3}, {"traces": "dutch"}):
        learner = trained(dataclasses.replace(algorithm, **fields), TimeLimit(TruncationProbe(), 5), 2_000)
        np.testing.assert_allclose(learner.q(jnp.ones((1, 1))), 10.0, rtol=0.01)


@pytest.mark.parametrize("name", ["td", "monte_carlo, first"])
def test_environments_side_by_side_share_a_table(name: str) -> None:
    algorithm = dataclasses.replace(PREDICTION[name], num_envs=3, learning_rate=0.07)
    env = random_problem(2)
    uniform = np.full((env.num_states, env.num_actions), 1 / env.num_actions)
    values = values_of(trained(algorithm, cut(env), STEPS))
    np.testing.assert_allclose(values, policy_value(env, GAMMA, uniform), atol=0.2)


@pytest.mark.parametrize("other", [NStepSarsa(n=1), SarsaLambda(trace_decay=0.0)], ids=["n = 1", "λ = 0"])
def test_the_least_of_two_families_is_sarsa_with_several_environments_too(other: Any) -> None:
    env = cut(random_problem(5))
    settings = {"num_envs": 3, "learning_rate": 0.3, "num_steps": 8}
    tables = [
        values_of(trained(dataclasses.replace(algorithm, **settings), env, 480))
        for algorithm in (Sarsa(), other)
    ]
    assert np.abs(tables[0]).max() > 0.1
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-4, atol=1e-5)


FINITE = EnvSpec(Discrete(4), Discrete(3))
CONTINUOUS = EnvSpec(Box(0.0, 1.0, (2,)), Discrete(3))
ALL = {**CONTROL, **PREDICTION}


@pytest.mark.parametrize("name", sorted(ALL))
def test_continuous_observations_are_refused_with_advice(name: str) -> None:
    ALL[name].check(FINITE)
    with pytest.raises(FathomError, match="DQN and PPO take continuous"):
        ALL[name].check(CONTINUOUS)


@pytest.mark.parametrize("name", sorted(ALL))
def test_continuous_actions_are_refused_with_advice(name: str) -> None:
    with pytest.raises(FathomError, match="finitely many actions"):
        ALL[name].check(EnvSpec(Discrete(4), Box(0.0, 1.0, (1,))))


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (Sarsa(learning_rate=0.0), "learning_rate is 0.0"),
        (Sarsa(epsilon_end=1.5), "epsilon_end is 1.5"),
        (NStepSarsa(n=0), "n is 0"),
        (TD(n=0), "n is 0"),
        (TD(policy=(0, 1)), "lists 2 actions; there are 4 states"),
        (TD(policy=(0, 1, 2, 3)), "the action 3; the actions are 0 to 2"),
        (OffPolicyMonteCarlo(policy=(0, -1, 2, 2)), "the action -1"),
        (TDLambda(trace_decay=1.1), "trace_decay is 1.1"),
        (TDLambda(traces="dutch", num_envs=2), "set num_envs to 1"),
        (SarsaLambda(traces="dutch", num_envs=2), "set num_envs to 1"),
        (DynaQ(planning_steps=-1), "planning_steps is -1"),
        (DynaQ(kappa=-0.1), "kappa is -0.1"),
        (MonteCarlo(gamma=1.01), "gamma is 1.01"),
    ],
)
def test_settings_that_cannot_work_are_refused(algorithm: Any, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        algorithm.check(FINITE)


MASKED = EnvSpec(Masked(Discrete(4), 3), Discrete(3))


def test_masks_are_refused_where_they_cannot_be_heeded() -> None:
    with pytest.raises(FathomError, match="its model does not know"):
        DynaQ().check(MASKED)
    with pytest.raises(FathomError, match="does not heed action masks"):
        TD(policy=(0, 0, 0, 0)).check(MASKED)
    for algorithm in (*CONTROL.values(), *PREDICTION.values()):
        if not isinstance(algorithm, DynaQ):
            algorithm.check(MASKED)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (FINITE, "sarsa_lambda takes finite"),
        (EnvSpec(Box(-np.inf, np.inf, (2,)), Discrete(3)), "a side without end"),
        (EnvSpec(Box(0, 255, (36, 36, 3), np.uint8), Discrete(3)), "take pictures"),
        (EnvSpec(Box(0.0, 1.0, (2,)), Box(0.0, 1.0, (1,))), "PPO takes continuous actions"),
        (EnvSpec(Box(0.0, 1.0, (9,)), Discrete(3)), "set fewer tiles"),
    ],
)
def test_tile_coding_says_what_it_cannot_cover(spec: EnvSpec, message: str) -> None:
    LinearSarsaLambda().check(CONTINUOUS)
    with pytest.raises(FathomError, match=message):
        LinearSarsaLambda().check(spec)
