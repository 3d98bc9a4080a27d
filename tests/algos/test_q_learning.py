"""Q-learning against values worked by hand, and what ties and ε = 0 do to it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, Int

from fathom.agent import Agent
from fathom.algos.tabular.q_learning import QLearning
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete, Masked, Tuple
from fathom.core.types import EnvSpec, Transition
from fathom.core.types import Masked as MaskedObs
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.grid import maps
from fathom.envs.wrappers import TimeLimit
from fathom.nn.table import QTable, add_at
from fathom.reproduce.trials import Trials
from fathom.train.engine import make_engine

from .probes import clock_of

MAZE = ("S....", ".#.#.", "...#.", ".#...", "...#G")


class ThreeStates(FiniteEnv):
    """A, B, C: right goes A→B (5), B→C (2), C→C (1); left stays (0). It never ends."""

    @property
    def num_states(self) -> int:
        return 3

    @property
    def num_actions(self) -> int:
        return 2

    @property
    def obs_space(self) -> Discrete:
        return Discrete(3)

    def start(self) -> Float[Array, "3"]:
        return jnp.full(3, 1 / 3)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        right = action == 1
        reached = jnp.where(right, jnp.minimum(state + 1, 2), state)
        reward = jnp.where(right, jnp.array([5.0, 2.0, 1.0])[state], 0.0)
        one = jnp.ones(1)
        return Outcomes(one, reached[None], {"gain": reward[None]}, jnp.zeros(1, jnp.bool_))

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        return state


class Maze(FiniteEnv):
    """The 5×5 grid: goal +1, a bump against wall or border −1, a step 0; up, right, down, left."""

    @property
    def num_states(self) -> int:
        return 25

    @property
    def num_actions(self) -> int:
        return 4

    @property
    def obs_space(self) -> Discrete:
        return Discrete(25)

    def start(self) -> Float[Array, "25"]:
        return jnp.zeros(25).at[0].set(1.0)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        walls = jnp.array([[c == "#" for c in row] for row in MAZE]).ravel()
        row = state // 5 + jnp.array([-1, 0, 1, 0])[action]
        column = state % 5 + jnp.array([0, 1, 0, -1])[action]
        inside = (row >= 0) & (row < 5) & (column >= 0) & (column < 5)
        ahead = jnp.where(inside, row * 5 + column, 0)
        bump = ~inside | walls[ahead]
        reached = jnp.where(bump, state, ahead).astype(jnp.int32)[None]
        goal = reached == 24
        rewards = {"goal": goal.astype(jnp.float32), "bump": -bump.astype(jnp.float32)[None]}
        return Outcomes(jnp.ones(1), reached, rewards, goal)

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        return state


def test_example_1_three_states() -> None:
    """V(C) = 10, V(B) = 2 + 0.9·10 = 11, V(A) = 5 + 0.9·11 = 14.9."""
    algorithm = QLearning(
        learning_rate=0.5, gamma=0.9, epsilon_start=1.0, epsilon_end=1.0, num_envs=4, num_steps=100
    )
    engine = make_engine(algorithm, TimeLimit(ThreeStates(), 10), 1, 0)
    engine.start()
    engine.advance(20, 20)
    np.testing.assert_allclose(engine.learner.q.values.max(axis=1), [14.9, 11.0, 10.0], atol=0.01)
    np.testing.assert_allclose(engine.learner.q.values[:, 0], [13.41, 9.9, 9.0], atol=0.01)


def grid_step(**changes: Any) -> tuple[QLearning, Any, Transition]:
    """Example 2: right from (1, 1) to (1, 2) of a 3×3 grid, reward −1; actions left, right, up, down."""
    algorithm: Any = lift(QLearning(learning_rate=0.1, gamma=0.9))
    state = algorithm.init(EnvSpec(Discrete(9), Discrete(4)), jax.random.key(0))
    values = state.q.values.at[4].set(jnp.array([2.0, 3.0, 1.5, 1.0]))
    values = values.at[5].set(jnp.array([1.0, 0.0, 5.0, 2.0]))
    state = type(state)(QTable(values, state.q.obs_space, state.q.action_space))
    step = Transition(
        jnp.array([4], jnp.int32), jnp.array([1], jnp.int32), jnp.array([-1.0]), jnp.array([False]),
        jnp.array([False]), jnp.array([5], jnp.int32), {},
    )  # fmt: skip
    return algorithm, state, dataclasses.replace(step, **changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, 0.5),  # −1 + 0.9·5 − 3
        ({"truncated": jnp.array([True])}, 0.5),  # cut: what follows still has a value
        ({"terminated": jnp.array([True])}, -4.0),  # −1 − 3
    ],
)
def test_example_2_one_update(changes: dict[str, Array], error: float) -> None:
    algorithm, state, step = grid_step(**changes)
    np.testing.assert_allclose(algorithm.td_error(state, step), [error], rtol=1e-6)
    after, memory, metrics = algorithm.update(state, (), step, jax.random.key(0), clock_of())
    expected = np.asarray(state.q.values).copy()
    expected[4, 1] = 3.0 + 0.1 * error
    np.testing.assert_allclose(after.q.values, expected, rtol=1e-6)
    assert memory == ()
    assert float(metrics["td_error"].sum) == pytest.approx(abs(error))


def test_illegal_actions_are_out_of_the_maximum_and_never_taken() -> None:
    algorithm: Any = lift(QLearning(learning_rate=0.5, gamma=0.5, epsilon_start=1.0, epsilon_end=1.0))
    state = algorithm.init(EnvSpec(Masked(Discrete(2), 3), Discrete(3)), jax.random.key(0))
    values = jnp.array([[0.0, 0.0, 0.0], [9.0, 4.0, 2.0]])
    state = type(state)(QTable(values, state.q.obs_space, state.q.action_space))
    mask = jnp.broadcast_to(jnp.array([False, True, True]), (64, 3))
    obs, reached = (MaskedObs(jnp.full(64, i, jnp.int32), mask) for i in (0, 1))
    flags, ones = jnp.zeros(64, jnp.bool_), jnp.ones(64)
    action, _, _ = algorithm.act(state, (), reached, jax.random.key(0), clock_of(), True)
    assert set(np.asarray(action).tolist()) == {1, 2}
    greedy, _, _ = algorithm.act(state, (), reached, jax.random.key(0), clock_of(), False)
    assert set(np.asarray(greedy).tolist()) == {1}
    step = Transition(obs, action, ones, flags, flags, reached, {})
    np.testing.assert_allclose(algorithm.td_error(state, step), 1.0 + 0.5 * 4.0)


@pytest.mark.parametrize("rows", [3, 5000])  # written whole, and entry by entry
def test_pairs_that_meet_move_by_the_mean_of_their_amounts(rows: int) -> None:
    table = jnp.zeros((rows, 2)).at[1, 1].set(10.0)
    state, action = jnp.array([1, 1, 2, 1], jnp.int32), jnp.array([1, 1, 0, 0], jnp.int32)
    got = np.asarray(add_at(table, state, action, jnp.array([1.0, 3.0, 5.0, 7.0])))
    np.testing.assert_array_equal(got[:3], [[0, 0], [7, 12], [5, 0]])
    assert not got[3:].any()


def maze_runs(updates: int, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Q of 100 seeds on the 5×5 grid, and the length of each greedy path to the goal (0 for none)."""
    algorithm = QLearning(learning_rate=0.1, gamma=0.95, num_steps=200, **settings)
    agent = Agent(algorithm, TimeLimit(Maze(), 200), seeds=100).learn(updates * 200)
    result = agent.evaluate(1)
    q = np.asarray(agent.engine.learner.q.values)
    return q, np.where(result.returns[:, 0] > 0, result.lengths[:, 0], 0)


def require_solved(lengths: np.ndarray) -> None:
    """Every seed's greedy path reaches the goal, and nearly every one by the shortest way.

    The rest keep to the way of 10 steps that they found first, as those of a plain Python loop do.
    """
    assert set(lengths.tolist()) <= {8, 10}
    assert (lengths == 8).sum() >= 90


def test_example_5_every_seed_finds_its_way() -> None:
    q, lengths = maze_runs(30, epsilon_start=0.2, epsilon_end=0.2)
    require_solved(lengths)
    np.testing.assert_allclose(q[:, 0].max(axis=-1), 0.95 ** (lengths - 1.0), rtol=1e-3)


def test_example_5_within_200_episodes() -> None:
    """V(start) is then that of 8 steps, 0.698, for 90 seeds or more, and that of 10 for the rest."""
    algorithm = QLearning(learning_rate=0.1, gamma=0.95, epsilon_start=0.2, epsilon_end=0.2)
    watch = lambda learner, step: learner.q.values[0].max()  # noqa: E731
    env = TimeLimit(maps.grid_5x5(), 200)
    value = Trials([algorithm], env, runs=100, watch=watch).episodes(env, 200).seen[0, :, -1]
    shortest = np.isclose(value, 0.95**7, rtol=0.01)
    assert shortest.sum() >= 90
    np.testing.assert_allclose(value[~shortest], 0.95**9, rtol=0.01)


def test_without_exploration_first_ties_never_see_the_goal_and_random_ties_do() -> None:
    settings = {"epsilon_start": 0.0, "epsilon_end": 0.0}
    _, lengths = maze_runs(30, **settings, ties="random")
    require_solved(lengths)
    q, stuck = maze_runs(30, **settings, ties="first")
    assert not stuck.any()
    assert q.max() == 0.0  # no seed ever saw the goal


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (EnvSpec(Box(-1.0, 1.0, (2,)), Discrete(2)), "DQN and PPO take continuous"),
        (EnvSpec(Tuple((Discrete(2), Box(0.0, 1.0, ()))), Discrete(2)), "DQN and PPO take continuous"),
        (EnvSpec(Discrete(2), Box(-1.0, 1.0, (2,))), "PPO takes continuous"),
        (EnvSpec(Masked(Discrete(2), 2), Discrete(3)), "the action mask has 2 entries"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(spec: EnvSpec, words: str) -> None:
    with pytest.raises(FathomError, match=words):
        QLearning().check(spec)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": 1.5}, "learning_rate is 1.5"),
        ({"gamma": 1.1}, "gamma is 1.1"),
        ({"epsilon_end": -0.1}, "epsilon_end is -0.1"),
        ({"num_steps": 0}, "num_steps is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(FathomError, match=words):
        QLearning(**settings).check(EnvSpec(Discrete(2), Discrete(2)))
