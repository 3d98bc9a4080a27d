"""Each learner against the book's pseudocode, written out in Python, on the same steps and the same draws."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from fathom.algos.tabular.double_q_learning import DoubleQLearning
from fathom.algos.tabular.dyna_q import DynaQ
from fathom.algos.tabular.expected_sarsa import ExpectedSarsa
from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.algos.tabular.monte_carlo import MonteCarlo, MonteCarloPrediction
from fathom.algos.tabular.n_step_sarsa import NStepSarsa
from fathom.algos.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo
from fathom.algos.tabular.sarsa import Sarsa
from fathom.algos.tabular.sarsa_lambda import SarsaLambda
from fathom.algos.tabular.td import TD
from fathom.algos.tabular.td_lambda import TDLambda
from fathom.core.module import lift
from fathom.envs.classic.mountain_car import MountainCar

from . import book
from .probes import clock_of
from .tables import KEY, cut, episodes_of, keys, random_problem, record, rows_of

ENV = random_problem(3)
STATES, ACTIONS = ENV.num_states, ENV.num_actions
ALPHA, GAMMA, EPSILON, LAMBDA, STEPS = 0.3, 0.8, 0.4, 0.7, 120
START = {"initial_value": 0.5, "gamma": GAMMA}
GREEDY = {"epsilon_start": EPSILON, "epsilon_end": EPSILON}
CONTROL = {**START, **GREEDY, "learning_rate": ALPHA}
FIRST = np.full(STATES * ACTIONS, 0.5)
KINDS = ("accumulating", "replacing", "dutch")


update = jax.jit(lambda algorithm, *args: algorithm.update(*args))


def pair(s: int, a: int) -> list[int]:
    return [s * ACTIONS + a]


def state(s: int, a: int) -> list[int]:
    return [s]


def close(ours: Any, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(ours).reshape(theirs.shape), theirs, rtol=1e-5, atol=1e-5)
    assert not np.allclose(theirs, theirs.ravel()[0])


def soft(q: np.ndarray) -> np.ndarray:
    """π ε-greedy, ties shared; the last axis is that of actions."""
    best = q == q.max(axis=-1, keepdims=True)
    return EPSILON / ACTIONS + (1 - EPSILON) * best / best.sum(axis=-1, keepdims=True)


def test_sarsa() -> None:
    learner, run = record(Sarsa(**CONTROL), cut(ENV, 12), STEPS)
    episodes = episodes_of(run, run.memory)
    for episode in episodes:  # what was chosen ahead is what is done
        assert [row.a2 for row in episode[:-1]] == [row.a for row in episode[1:]]
    ends = [row.terminated for episode in episodes for row in episode if row.over]
    assert {True, False} == set(ends)
    close(learner.q.values, book.n_step(FIRST, episodes, pair, ALPHA, GAMMA, 1))


def test_the_action_chosen_ahead_is_drawn_before_the_values_change() -> None:
    optimistic = {"initial_value": 5.0, "epsilon_start": 0.0, "epsilon_end": 0.0}
    _, run = record(Sarsa(**CONTROL | optimistic), cut(ENV), STEPS)
    tables = np.concatenate([np.full((1, STATES, ACTIONS), 5.0), run.learner.q.values])
    chosen, seen = run.memory[:, 0], run.step.final_obs[:, 0]
    before, after = (tables[i : i + STEPS][np.arange(STEPS), seen] for i in (0, 1))
    assert np.all(before[np.arange(STEPS), chosen] == before.max(axis=-1))
    assert np.any(after[np.arange(STEPS), chosen] < after.max(axis=-1))


def test_expected_sarsa() -> None:
    learner, run = record(ExpectedSarsa(**CONTROL), cut(ENV), STEPS)
    q = FIRST.reshape(STATES, ACTIONS).copy()
    for row in rows_of(run):
        following = (soft(q[row.s2]) * q[row.s2]).sum()
        q[row.s, row.a] += ALPHA * (row.r + GAMMA * (not row.terminated) * following - q[row.s, row.a])
    close(learner.q.values, q)


def test_double_q_learning() -> None:
    learner, run = record(DoubleQLearning(**CONTROL), cut(ENV), STEPS)
    tables = [FIRST.reshape(STATES, ACTIONS).copy() for _ in range(2)]
    heads = []
    for row in rows_of(run):
        first = bool(jax.random.bernoulli(keys(run_key(), row.t)[1]))
        heads.append(first)
        q, other = tables if first else reversed(tables)
        following = other[row.s2, np.argmax(q[row.s2])]
        q[row.s, row.a] += ALPHA * (row.r + GAMMA * (not row.terminated) * following - q[row.s, row.a])
    assert 0.3 < np.mean(heads) < 0.7
    close(learner.q1.values, tables[0])
    close(learner.q2.values, tables[1])


def run_key() -> Any:
    """The key that `record` acts and learns by."""
    return jax.random.split(jax.random.key(0))[1]


@pytest.mark.parametrize("n", [1, 3])
def test_n_step_sarsa(n: int) -> None:
    learner, run = record(NStepSarsa(**CONTROL, n=n), cut(ENV), STEPS)
    episodes = episodes_of(run, run.memory.next_action)
    close(learner.q.values, book.n_step(FIRST, episodes, pair, ALPHA, GAMMA, n))


@pytest.mark.parametrize("kind", KINDS)
def test_sarsa_lambda(kind: Any) -> None:
    learner, run = record(SarsaLambda(**CONTROL, trace_decay=LAMBDA, traces=kind), cut(ENV), STEPS)
    episodes = episodes_of(run, run.memory.next_action)
    close(learner.q.values, book.traces(FIRST, episodes, pair, ALPHA, GAMMA, LAMBDA, kind))


@pytest.mark.parametrize("n", [1, 4])
def test_td(n: int) -> None:
    learner, run = record(TD(**START, learning_rate=ALPHA, n=n), cut(ENV), STEPS)
    expected = book.n_step(FIRST[:STATES], episodes_of(run), state, ALPHA, GAMMA, n)
    close(learner.v.values, expected)
    assert len(set(run.step.action[:, 0])) == ACTIONS


@pytest.mark.parametrize("kind", KINDS)
def test_td_lambda(kind: Any) -> None:
    learner, run = record(
        TDLambda(**START, learning_rate=ALPHA, trace_decay=LAMBDA, traces=kind), cut(ENV), STEPS
    )
    expected = book.traces(FIRST[:STATES], episodes_of(run), state, ALPHA, GAMMA, LAMBDA, kind)
    close(learner.v.values, expected)


def test_true_online_td_lambda_is_the_online_lambda_return_algorithm() -> None:
    """Forward view: at each step all updates of the episode are done anew (van Seijen et al. 2016, Th. 1)."""
    algorithm = TDLambda(**START, learning_rate=ALPHA, trace_decay=LAMBDA, traces="dutch")
    _, run = record(algorithm, cut(ENV), STEPS)
    v = FIRST[:STATES]
    for episode in episodes_of(run):
        first = v
        for h, row in enumerate(episode, 1):
            v = book.online_lambda_return(first, episode[:h], state, ALPHA, GAMMA, LAMBDA)
            np.testing.assert_allclose(run.learner.v.values[row.t], v, rtol=1e-5, atol=1e-5)


def test_summed_over_an_episode_td_lambda_is_the_off_line_lambda_return() -> None:
    """Backward and forward view, with the values held fixed."""
    algorithm = TDLambda(**START, learning_rate=ALPHA, trace_decay=LAMBDA)
    learner, run = record(algorithm, cut(ENV, 12), STEPS)
    assert len({float(v) for v in learner.v.values}) == STATES  # so that it matters which value is read
    size, width = len(run.step.reward), 0
    for episode in episodes_of(run)[:-1]:
        backward, memory = np.zeros(STATES), algorithm.init_memory(learner, 1)
        for row in episode:
            step = jax.tree.map(lambda x, t=row.t: x[t], run.step)
            after, memory, _ = update(lift(algorithm), learner, memory, step, KEY, clock_of(row.t, size))
            backward += np.asarray(after.v.values, np.float64) - learner.v.values
        forward, v = np.zeros(STATES), learner.v.values.astype(np.float64)
        for t, row in enumerate(episode):
            g = book.truncated_lambda_return(
                [v] * len(episode), episode, state, GAMMA, LAMBDA, t, len(episode)
            )
            forward[row.s] += ALPHA * (g - v[row.s])
        np.testing.assert_allclose(backward, forward, rtol=1e-4, atol=1e-5)
        width = max(width, len(episode))
    assert width > STATES  # states are met again within an episode


def test_true_online_sarsa_lambda_is_the_online_lambda_return_algorithm() -> None:
    algorithm = SarsaLambda(**CONTROL, trace_decay=LAMBDA, traces="dutch")
    _, run = record(algorithm, cut(ENV), STEPS)
    q = FIRST
    for episode in episodes_of(run, run.memory.next_action):
        q = book.online_lambda_return(q, episode, pair, ALPHA, GAMMA, LAMBDA)
        if episode:
            ours = run.learner.q.values[episode[-1].t].ravel()
            np.testing.assert_allclose(ours, q, rtol=1e-5, atol=1e-5)


VISITS = [("first", None), ("every", None), ("first", ALPHA), ("every", ALPHA)]


@pytest.mark.parametrize(("visits", "alpha"), VISITS)
def test_monte_carlo_control(visits: Any, alpha: float | None) -> None:
    algorithm = MonteCarlo(**CONTROL, visits=visits, average=alpha is None)
    learner, run = record(algorithm, cut(ENV), STEPS)

    def bootstrap(values: np.ndarray, row: Any) -> float:
        q = values.reshape(STATES, ACTIONS)[row.s2]
        # The learner's values are float32: equal ones may differ in float64 by rounding.
        return float((soft(q.astype(np.float32)) * q).sum())

    cell = lambda s, a: s * ACTIONS + a  # noqa: E731
    episodes = episodes_of(run)
    assert any(len({(r.s, r.a) for r in e}) < len(e) for e in episodes)
    close(learner.q.values, book.monte_carlo(FIRST, episodes, cell, GAMMA, visits, alpha, bootstrap))


@pytest.mark.parametrize(("visits", "alpha"), VISITS)
def test_monte_carlo_prediction(visits: Any, alpha: float | None) -> None:
    algorithm = MonteCarloPrediction(
        **START, learning_rate=ALPHA, visits=visits, average=alpha is None, policy=(1, 0, 2, 1)
    )
    learner, run = record(algorithm, cut(ENV), STEPS)
    np.testing.assert_array_equal(run.step.action, np.array([1, 0, 2, 1])[run.step.obs])
    expected = book.monte_carlo(
        FIRST[:STATES], episodes_of(run), lambda s, a: s, GAMMA, visits, alpha, lambda v, row: v[row.s2]
    )
    close(learner.v.values, expected)


@pytest.mark.parametrize("policy", [(), (1, 0, 2, 1)])
def test_off_policy_monte_carlo(policy: tuple) -> None:
    learner, run = record(OffPolicyMonteCarlo(**START, **GREEDY, policy=policy), cut(ENV), STEPS)
    target = lambda q: np.array(policy) if policy else q.astype(np.float32).argmax(axis=-1)  # noqa: E731
    chance = lambda q, row: soft(q.astype(np.float32)[row.s])[row.a]  # noqa: E731
    first = FIRST.reshape(STATES, ACTIONS)
    close(learner.q.values, book.off_policy_monte_carlo(first, episodes_of(run), GAMMA, target, chance))


@pytest.mark.parametrize("kappa", [0.0, 0.05])
def test_dyna_q(kappa: float) -> None:
    algorithm = DynaQ(**CONTROL, planning_steps=4, kappa=kappa)
    learner, run = record(algorithm, cut(ENV), STEPS)
    recall = jax.jit(lambda model, t: lift(algorithm).recall(model, keys(run_key(), t)[1]))
    picks = [recall(jax.tree.map(lambda x, t=t: x[t], run.learner.model), t) for t in range(STEPS)]
    picks = [tuple(np.asarray(p).tolist() for p in pick) for pick in picks]
    rows = rows_of(run)
    first = FIRST.reshape(STATES, ACTIONS)
    close(learner.q.values, book.dyna_q(first, rows, picks, ALPHA, GAMMA, kappa))
    assert set(np.asarray(learner.model.met)) == set(range(STATES))


def test_dyna_q_recalls_states_and_then_actions_evenly() -> None:
    algorithm = lift(DynaQ(planning_steps=6000))
    learner, _ = record(dataclasses.replace(algorithm, planning_steps=0), cut(ENV), 3)
    model = learner.model
    tried = np.asarray(model.tried) > 0
    states, actions = (np.asarray(x) for x in algorithm.recall(model, KEY))
    assert tried[states, actions].all()
    counts = np.zeros(tried.shape)
    np.add.at(counts, (states, actions), 1 / 6000)
    expected = tried / np.maximum(tried.sum(axis=1, keepdims=True), 1) / tried.any(axis=1).sum()
    np.testing.assert_allclose(counts, expected, atol=0.03)
    plus = dataclasses.replace(algorithm, kappa=np.float32(0.1))
    states, actions = (np.asarray(x) for x in plus.recall(model, KEY))
    assert {(s, a) for s in np.flatnonzero(tried.any(axis=1)) for a in range(ACTIONS)} == set(
        zip(states.tolist(), actions.tolist(), strict=True)
    )


LINEAR = {
    "gamma": 1.0,
    "learning_rate": 0.5,
    "tilings": 4,
    "tiles": 3,
    "epsilon_start": 0.3,
    "epsilon_end": 0.1,
}


@pytest.mark.parametrize("kind", [*KINDS, 3])
def test_linear_sarsa_lambda(kind: Any) -> None:
    """On MountainCar, whose observations are taken as numbers into a list of those met."""
    fields = {"n": kind} if isinstance(kind, int) else {"traces": kind}
    algorithm = LinearSarsaLambda(**LINEAR, **fields, trace_decay=LAMBDA, initial_value=-2.0)
    learner, run = record(algorithm, cut(MountainCar(), 40), 100)
    q = learner.q
    obs = np.concatenate([run.step.obs, run.step.final_obs])[:, 0]
    active = np.asarray(q.active(obs))
    number = np.arange(len(obs))[:, None]
    numbered = run._replace(
        step=dataclasses.replace(run.step, obs=number[:100], final_obs=number[100:], action=run.step.action)
    )
    episodes = episodes_of(numbered, run.memory.next_action)
    cells = lambda s, a: list(active[s] * 3 + a)  # noqa: E731
    w = np.full(q.weights.size, -2.0 / 4)
    if isinstance(kind, int):
        expected = book.n_step(w, episodes, cells, 0.5 / 4, 1.0, kind)
    else:
        expected = book.traces(w, episodes, cells, 0.5 / 4, 1.0, LAMBDA, kind)
    close(q.weights, expected)
