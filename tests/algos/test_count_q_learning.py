"""Counts and bonuses by hand, and the treasure that ε-greedy does not find."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from fathom.agent import Agent
from fathom.algos.tabular.count_q_learning import CountQLearning, State
from fathom.algos.tabular.q_learning import QLearning
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Discrete, Masked
from fathom.core.types import EnvSpec, Transition
from fathom.core.types import Masked as MaskedObs
from fathom.envs.toy.deep_sea import DeepSea
from fathom.nn.table import QTable, count_at

from .probes import clock_of

DIVES = 300


def learner(**changes: Any) -> Any:
    settings = {"learning_rate": 0.25, "gamma": 0.5, "bonus": 0.6, "initial_value": 8.0} | changes
    return lift(CountQLearning(**settings))


def started(algorithm: Any, space: Any = None) -> State:
    return algorithm.init(EnvSpec(space or Discrete(3), Discrete(2)), jax.random.key(0))


def step_of(state: list[int], action: list[int], reward: list[float], reached: list[int], over: bool) -> Any:
    flags = jnp.full(len(state), over)
    return Transition(
        jnp.asarray(state, jnp.int32), jnp.asarray(action, jnp.int32), jnp.asarray(reward, jnp.float32),
        flags, jnp.zeros_like(flags), jnp.asarray(reached, jnp.int32), {},
    )  # fmt: skip


def after(algorithm: Any, state: State, *steps: Any) -> State:
    for step in steps:
        state, memory, _ = algorithm.update(state, (), step, jax.random.key(0), clock_of())
        assert memory == ()
    return state


def test_visits_bonuses_and_values_by_hand() -> None:
    """α = ¼, γ = ½, β = 0.6, Q₀ = 8. The step from 0 by 1 to state 1, of which nothing is known, four times.

    α' = 1, ½, ⅓, ¼, ¼; every target is 1 + ½·8 = 5, so that all leave Q = 5. Then a reward of 9 by α' = ¼.
    """
    algorithm = learner()
    same = step_of([0], [1], [1.0], [1], False)
    state = after(algorithm, started(algorithm), same)
    np.testing.assert_array_equal(state.visits, [[0, 1], [0, 0], [0, 0]])
    np.testing.assert_allclose(state.q.values, [[8, 5], [8, 8], [8, 8]])
    state = after(algorithm, state, same, same, same)
    assert int(state.visits[0, 1]) == 4
    obs = jnp.asarray([0, 1], jnp.int32)
    np.testing.assert_allclose(
        algorithm.optimistic(state, obs), [[8.0, 5.0 + 0.6 / math.sqrt(4)], [8.0, 8.0]], rtol=1e-6
    )
    state = after(algorithm, state, step_of([0], [1], [9.0], [1], False))
    np.testing.assert_allclose(state.q.values[0, 1], 5.0 + 0.25 * (13.0 - 5.0), rtol=1e-6)
    assert int(state.visits.sum()) == 5


def test_the_bonus_of_the_next_state_is_in_the_target_and_ends_with_the_task() -> None:
    algorithm = learner()
    state = after(algorithm, started(algorithm), *(step_of([1], [a], [2.0], [2], True) for a in (0, 1)))
    np.testing.assert_allclose(state.q.values[1], 2.0)
    going, ended = (step_of([0], [0], [1.0], [1], over) for over in (False, True))
    np.testing.assert_allclose(algorithm.td_error(state, going), 1.0 + 0.5 * (2.0 + 0.6) - 8.0, rtol=1e-6)
    np.testing.assert_allclose(algorithm.td_error(state, ended), 1.0 - 8.0, rtol=1e-6)
    cut = dataclasses.replace(going, truncated=jnp.asarray([True]))
    np.testing.assert_array_equal(algorithm.td_error(state, cut), algorithm.td_error(state, going))


def test_what_is_not_known_is_tried_and_not_taken_for_good_where_nothing_is_explored() -> None:
    algorithm = learner()
    state = after(algorithm, started(algorithm), step_of([0], [1], [1.0], [1], True))
    obs = jnp.asarray([0, 0, 2, 2] * 16, jnp.int32)
    explored, _, _ = algorithm.act(state, (), obs, jax.random.key(1), clock_of(), True)
    assert set(np.asarray(explored)[obs == 0].tolist()) == {0}
    assert set(np.asarray(explored)[obs == 2].tolist()) == {0, 1}
    greedy, _, _ = algorithm.act(state, (), obs, jax.random.key(1), clock_of(), False)
    assert set(np.asarray(greedy)[obs == 0].tolist()) == {1}
    assert set(np.asarray(greedy)[obs == 2].tolist()) == {0, 1}


def test_illegal_actions_are_never_taken() -> None:
    algorithm = learner(epsilon_start=0.5, epsilon_end=0.5)
    state = started(algorithm, Masked(Discrete(3), 2))
    obs = MaskedObs(jnp.zeros(64, jnp.int32), jnp.tile(jnp.asarray([[False, True]]), (64, 1)))
    tried = dataclasses.replace(state, visits=state.visits.at[0, 0].set(1))
    for of in (state, tried):
        for explore in (True, False):
            action, _, _ = algorithm.act(of, (), obs, jax.random.key(2), clock_of(), explore)
            assert set(np.asarray(action).tolist()) == {1}


@pytest.mark.parametrize("rows", [3, 5000])  # written whole, and entry by entry
def test_every_visit_of_a_pair_counts(rows: int) -> None:
    state, action = (jnp.asarray(x, jnp.int32) for x in ([1, 1, 2, 1], [1, 1, 0, 0]))
    got = np.asarray(count_at(jnp.ones((rows, 2), jnp.int32), state, action))
    np.testing.assert_array_equal(got[:3], [[1, 1], [2, 3], [2, 1]])
    assert got.sum() == 2 * rows + 4


def test_environments_that_meet_all_count_and_move_the_value_by_their_mean() -> None:
    algorithm = learner(num_envs=2)
    state = after(algorithm, started(algorithm), step_of([0, 0], [1, 1], [1.0, 3.0], [1, 1], True))
    assert int(state.visits[0, 1]) == 2
    np.testing.assert_allclose(state.q.values[0, 1], 2.0)


def test_a_negative_bonus_is_refused() -> None:
    with pytest.raises(FathomError, match="bonus is -1"):
        CountQLearning(bonus=-1.0).check(EnvSpec(Discrete(3), Discrete(2)))


@pytest.fixture(scope="module")
def dives() -> dict[str, Array]:
    """The return of each seed's greedy dive after `DIVES` dives into a sea of 10 rows."""
    found = {}
    for name, algorithm in {
        "counts": CountQLearning(learning_rate=1.0, gamma=1.0, bonus=0.01, num_steps=10),
        "epsilon-greedy": QLearning(learning_rate=1.0, gamma=1.0, epsilon_end=0.1, num_steps=10),
    }.items():
        agent = Agent(algorithm, DeepSea(), seeds=10)
        agent.learn(10 * DIVES)
        found[name] = agent.evaluate(1)
        if name == "counts":
            found["visits"] = np.asarray(agent.engine.learner.visits)
            found["table"] = agent.engine.learner.q
    return found


def test_counting_finds_the_treasure_where_chance_does_not(dives: dict[str, Any]) -> None:
    """A random dive finds it once in 2¹⁰: 300 of them in about a quarter of seeds; counting in all ten."""
    np.testing.assert_allclose(dives["counts"].per_seed, 0.99, atol=1e-6)
    assert (dives["epsilon-greedy"].per_seed > 0.9).sum() <= 3


def test_every_step_was_counted(dives: dict[str, Any]) -> None:
    visits = dives["visits"]
    np.testing.assert_array_equal(visits.sum(axis=(1, 2)), 10 * DIVES)
    np.testing.assert_array_equal(visits[:, 0].sum(axis=-1), DIVES)
    assert isinstance(dives["table"], QTable)
