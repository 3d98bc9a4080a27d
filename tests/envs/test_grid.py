import json
import warnings

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from hypothesis import given
from hypothesis import strategies as st

from fathom import check, make
from fathom.core.errors import FathomError, UnknownName
from fathom.core.module import lift
from fathom.envs.base import vec_reset, vec_step
from fathom.envs.bridge import as_env
from fathom.envs.finite import mdp_of
from fathom.envs.grid import maps
from fathom.envs.grid.board import Board, board_of
from fathom.envs.grid.world import CLIFF, FREE, GOAL, HOLE, MOVE_SETS, WALL, GridWorld
from fathom.envs.render import draw
from fathom.envs.wrappers import TimeLimit
from fathom.runs import provenance

from .tables import listed, optimal_values, same_tables, steps_to_end, table_of

IDS = {
    "FrozenLake-v1": 100,
    "FrozenLake8x8-v1": 200,
    "CliffWalking-v1": None,
    "CliffWalkingSlippery-v1": None,
    "Taxi-v3": 200,
    "Taxi-v4": 200,
    "WindyGrid-v0": None,
    "WindyGridKings-v0": None,
    "WindyGridKingsStay-v0": None,
    "WindyGridStochastic-v0": None,
    "DynaMaze-v0": None,
    "BlockingMaze-v0": None,
    "BlockingMazeAfter-v0": None,
    "ShortcutMaze-v0": None,
    "ShortcutMazeAfter-v0": None,
    "Grid5x5-v0": 200,
}


def bare(id):
    env = make(id)
    return env.env if isinstance(env, TimeLimit) else env


def follows(env, cell, action):
    """What may follow, by {(row, col): probability}."""
    merged = {}
    for (state, _, _), prob in table_of(env)[env.state_at(*cell), action].items():
        merged[env.cell_of(state)] = merged.get(env.cell_of(state), 0.0) + prob
    return {cell: pytest.approx(prob, abs=1e-6) for cell, prob in merged.items()}


@pytest.mark.parametrize("id", IDS)
def test_every_id_makes_a_native_grid_with_its_limit(id):
    env = make(id, "native")
    assert getattr(env, "max_steps", None) == IDS[id]
    assert isinstance(bare(id), Board)


@pytest.mark.parametrize("id", ["FrozenLake-v1", "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4"])
def test_limits_are_gymnasiums(id):
    assert IDS[id] == gymnasium.spec(id).max_episode_steps


@pytest.mark.parametrize(
    ("env", "id", "settings"),
    [
        (maps.frozen_lake(), "FrozenLake-v1", {}),
        (maps.frozen_lake(slip=0.0), "FrozenLake-v1", {"is_slippery": False}),
        (maps.frozen_lake(slip=0.25), "FrozenLake-v1", {"success_rate": 0.75}),
        (maps.frozen_lake_8x8(), "FrozenLake8x8-v1", {}),
        (maps.random_frozen_lake(5, seed=3), "FrozenLake-v1", {"desc": generate_random_map(5, 0.8, 3)}),
        (maps.cliff_walking(), "CliffWalking-v1", {}),
        (maps.cliff_walking_slippery(), "CliffWalkingSlippery-v1", {}),
    ],
)
def test_tables_are_gymnasiums(env, id, settings):
    same_tables(env, gymnasium.make(id, **settings))


@pytest.mark.parametrize("id", ["FrozenLake-v1", "CliffWalking-v1"])
def test_steps_are_gymnasiums_where_chance_is_not_in_play(id):
    settings = {"is_slippery": False}
    gym_env = gymnasium.make(id, **settings).unwrapped
    env = maps.frozen_lake(slip=0.0) if id == "FrozenLake-v1" else maps.cliff_walking()
    states, actions = (x.reshape(-1) for x in np.indices((env.num_states, 4), np.int32))
    step = jax.jit(jax.vmap(env.step, (None, 0, 0)))
    after, seen = step(jax.random.key(0), states, actions)
    for i, (state, action) in enumerate(zip(states, actions, strict=True)):
        gym_env.reset(seed=0)
        gym_env.s = int(state)
        obs, reward, terminated, truncated, _ = gym_env.step(int(action))
        assert (obs, reward, terminated) == (after[i], seen.reward[i], seen.terminated[i])
        assert obs == seen.obs[i]
        assert truncated == seen.truncated[i]
    np.testing.assert_array_equal(sum(seen.info.values()), seen.reward)


def test_random_maps_are_gymnasiums_and_have_a_way():
    for seed in range(5):
        drawn = maps.random_map(6, 6, 0.6, seed)
        assert drawn.replace(".", "F").split("\n") == generate_random_map(6, 0.6, seed)
    maze = maps.random_map(4, 9, 0.6, seed=1, obstacle="#")
    assert steps_to_end(GridWorld.from_map(maze)) is not None
    with pytest.raises(FathomError, match="raise free"):
        maps.random_map(12, 12, free=0.02)
    with pytest.raises(FathomError, match="free is 0"):
        maps.random_map(free=0)


@pytest.mark.parametrize(
    ("env", "steps"),
    [
        (maps.windy_grid(), 15),
        (maps.windy_grid_kings(), 7),
        (maps.windy_grid_kings_stay(), 7),
        (maps.dyna_maze(), 14),
        (maps.blocking_maze(), 10),
        (maps.blocking_maze_after(), 16),
        (maps.shortcut_maze(), 16),
        (maps.shortcut_maze_after(), 10),
        (maps.grid_5x5(), 8),
        (maps.cliff_walking(), 13),
    ],
)
def test_shortest_ways(env, steps):
    assert steps_to_end(env) == steps


def test_optimal_values_known():
    start = maps.cliff_walking()
    assert optimal_values(start, 1.0)[36] == pytest.approx(-13)
    assert optimal_values(maps.windy_grid(), 1.0)[30] == pytest.approx(-15)
    assert optimal_values(maps.frozen_lake(), 0.99)[0] == pytest.approx(0.542026, abs=1e-6)
    assert optimal_values(maps.grid_5x5(), 0.95)[0] == pytest.approx(0.95**7, abs=1e-6)
    assert round(0.95**7, 3) == 0.698


def test_a_slip_goes_to_either_side():
    env = GridWorld.from_map("...\n.S.\n..G", moves="king", slip=0.2)
    up, up_right = 0, 4
    assert follows(env, (1, 1), up) == {(0, 1): 0.8, (1, 0): 0.1, (1, 2): 0.1}
    assert follows(env, (1, 1), up_right) == {(0, 2): 0.8, (0, 0): 0.1, (2, 2): 0.1}
    assert follows(env, (0, 0), up) == {(0, 0): 0.9, (0, 1): 0.1}


def test_wind_is_that_of_the_column_that_is_left():
    env = GridWorld.from_map("....\n....\n....\nS..G", wind=(0, 2, 1, -1), moves="king+stay", gust=0.5)
    right, down, stay = 1, 2, 8
    assert follows(env, (3, 0), right) == {(3, 1): 1.0}
    assert follows(env, (3, 1), right) == {(1, 2): 0.5, (0, 2): 0.25, (2, 2): 0.25}
    assert follows(env, (3, 2), down) == {(3, 2): 0.75, (2, 2): 0.25}  # the edge holds a move against it
    assert follows(env, (1, 3), stay) == {(2, 3): 0.5, (1, 3): 0.25, (3, 3): 0.25}
    assert follows(env, (0, 1), stay) == {(0, 1): 1.0}


def test_slip_and_wind_multiply():
    env = GridWorld.from_map("...\n...\n.S.\n..G", wind=(0, 1, 0), slip=0.5, gust=0.5)
    assert follows(env, (2, 1), 1) == {
        (1, 2): 0.25, (0, 2): 0.125, (2, 2): 0.125,  # to the right
        (0, 1): 0.1875, (1, 1): 0.0625 + 0.0625, (2, 1): 0.125, (3, 1): 0.0625,  # up or down
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:no goal of this map")
def test_every_named_term_is_paid_when_it_applies():
    settings = {
        f"reward_{name}": -(2.0**i) for i, name in enumerate(("step", "goal", "bump", "cliff", "hole"))
    }
    env = GridWorld.from_map("G#H\nCS.", **settings)
    up, right, down, left = range(4)
    table, start = table_of(env), 4
    assert table[start, up] == {(start, -5.0, False): 1.0}
    assert table[start, down] == {(start, -5.0, False): 1.0}
    assert table[start, right] == {(5, -1.0, False): 1.0}
    assert table[start, left] == {(start, -9.0, False): 1.0}
    assert table[5, up] == {(2, -17.0, True): 1.0}
    assert table[3, up] == {(0, -3.0, True): 1.0}
    assert table[0, down] == {(0, 0.0, True): 1.0}
    ends = GridWorld.from_map("G#H\nCS.", cliff_ends=True, **settings)
    assert table_of(ends)[start, left] == {(3, -9.0, True): 1.0}


def test_starts_are_drawn_by_their_weights():
    env = GridWorld.from_map("S.SG")
    np.testing.assert_allclose(mdp_of(env).start, [0.5, 0, 0.5, 0])
    weighted = GridWorld.from_map("...G", start=[[1, 0, 3, 0]])
    np.testing.assert_allclose(mdp_of(weighted).start, [0.25, 0, 0.75, 0])
    states, _ = jax.vmap(weighted.reset)(jax.random.split(jax.random.key(0), 4000))
    assert set(np.unique(states).tolist()) == {0, 2}
    assert np.mean(np.asarray(states) == 2) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("S..\n.x.\n..G", r"row 1, column 1 of the map is 'x'"),
        ("S..\n. .\n..G", r"row 1, column 1 of the map is ' '"),
        ("S..\n..\n..G", "row 1 of the map has 2 cells and row 0 has 3"),
        ("...\n..G", "no start"),
        ("S..\n...", "no goal"),
        ("\n", "the map is empty"),
        ([], "the map is empty"),
        ("SCS\n..G", "a cliff and 2 starts"),
    ],
)
def test_maps_that_cannot_be_are_refused(text, message):
    with pytest.raises(FathomError, match=message):
        GridWorld.from_map(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slip": 1.5}, "slip is 1.5"),
        ({"moves": "knight"}, "unknown set of moves 'knight'.*king"),
        ({"moves": ("up", "rigth")}, "unknown direction 'rigth'.*'?right"),
        ({"reward_gaol": 1.0}, "'reward_gaol'. Did you mean reward_goal"),
        ({"wind": (1, 2)}, r"wind has the shape \[2\]; give one strength for each of the 3 columns"),
        ({"start": [[1, 0]]}, r"start has the shape \[1, 2\]"),
        ({"start": [[0, 0, 1]]}, "row 0, column 2, which is not free"),
        ({"start": [[-1, 0, 0]]}, "start holds -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises((FathomError, UnknownName), match=message):
        GridWorld.from_map("S.G", **settings)


def test_a_goal_out_of_reach_is_told():
    with pytest.warns(UserWarning, match="no goal of this map can be reached"):
        GridWorld.from_map("S#G")
    with pytest.warns(UserWarning, match="no goal"):
        GridWorld.from_map("SHG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        GridWorld.from_map("G#\n#S", moves="king")  # round the corner
        GridWorld.from_map("G\n#\nS", wind=[2], moves=("stay",))  # blown over the wall


@st.composite
def worlds(draw):
    shape = draw(st.sampled_from([(2, 3), (4, 4)]))  # few shapes: each compiles a program
    letters = draw(
        st.lists(st.sampled_from(".#CH"), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    )
    start, goal = draw(st.permutations(range(len(letters))))[:2]
    letters[start], letters[goal] = "S", "G"
    rows = ["".join(letters[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0])]
    moves = draw(st.sampled_from(sorted(MOVE_SETS)))
    wind = draw(st.lists(st.integers(-2, 2), min_size=shape[1], max_size=shape[1]))
    chances = draw(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GridWorld.from_map(rows, moves=moves, wind=wind, slip=chances[0], gust=chances[1])


@jax.jit
def all_outcomes(env):
    states = jnp.arange(env.num_states, dtype=jnp.int32)
    actions = jnp.arange(env.num_actions, dtype=jnp.int32)
    return jax.vmap(jax.vmap(env.outcomes, (None, 0)), (0, None))(states, actions)


@given(worlds())
def test_outcomes_are_distributions_over_cells_and_walls_are_never_entered(env):
    outcomes = jax.device_get(all_outcomes(lift(env)))
    kinds = np.asarray(env.cells).reshape(-1)
    assert np.all(outcomes.prob >= 0)
    np.testing.assert_allclose(outcomes.prob.sum(-1), 1.0, atol=1e-6)
    assert outcomes.next_state.min() >= 0
    assert outcomes.next_state.max() < env.num_states
    reached = kinds[outcomes.next_state]
    outside_walls = kinds != WALL
    assert not np.any((reached == WALL)[outside_walls])
    assert not np.any(reached[kinds == FREE] == CLIFF)
    np.testing.assert_array_equal(outcomes.terminated, np.isin(reached, (GOAL, HOLE)))


def test_painting_changes_the_dynamics_and_not_the_program():
    traces = []

    @jax.jit
    def step(env, state, action):
        traces.append(1)
        return env.step(jax.random.key(0), state, action)[0]

    env = lift(GridWorld.from_map("S.G\n..."))
    right = jnp.int32(1)
    assert step(env, jnp.int32(0), right) == 1
    walled = env.paint(0, 1, "#")
    assert step(walled, jnp.int32(0), right) == 0
    assert walled.paint(0, 1, ".").ascii(0) == env.ascii(0)
    assert len(traces) == 1
    moved = env.paint(1, 1, "S").paint(0, 0, ".")
    assert mdp_of(moved).start.tolist() == [0, 0, 0, 0, 1, 0]
    with pytest.raises(FathomError, match="the only start"):
        env.paint(0, 0, "#")
    with pytest.raises(FathomError, match="outside the grid of 2 rows"):
        env.paint(2, 0, "#")
    with pytest.raises(FathomError, match="'x'"):
        env.paint(0, 0, "x")


@pytest.mark.parametrize("maze", [maps.blocking_maze, maps.shortcut_maze])
def test_the_mazes_that_change_differ_in_their_cells_alone(maze):
    before, after = maze(), maze(after=True)
    assert not np.array_equal(before.cells, after.cells)
    assert eqx.tree_equal(eqx.tree_at(lambda env: env.cells, before, after.cells), after)


@pytest.mark.parametrize(
    "env", [TimeLimit(maps.grid_5x5(), 20), TimeLimit(maps.windy_grid_stochastic(), 9), make("Taxi-v4")]
)
def test_grids_come_back_from_run_json(env):
    record = json.loads(json.dumps(provenance.describe_env(env, "mine")))
    assert eqx.tree_equal(provenance.restore_env(record), env)
    lifted = json.loads(json.dumps(provenance.describe_env(lift(env), "mine")))
    assert eqx.tree_equal(lift(provenance.restore_env(lifted)), lift(env))


def test_a_drawn_grid_survives_save_and_resume(tmp_path):
    from fathom import PPO, Agent

    env = TimeLimit(maps.grid_5x5().paint(2, 2, "#"), 30)
    settings = PPO(num_envs=2, num_steps=8, minibatches=1, epochs=1, hidden=(4,))
    agent = Agent(settings, env).learn(32)
    agent.save(tmp_path / "run")
    back = Agent.resume(tmp_path / "run")
    assert eqx.tree_equal(lift(back.env), lift(env))
    for going_on in (agent, back):
        going_on.learn(32)
    assert eqx.tree_equal(agent.engine.carry.seeds.learner, back.engine.carry.seeds.learner)
    for done in (agent, back):
        done.close()


@pytest.mark.parametrize("id", IDS)
def test_the_checker_is_content(id):
    report = check(make(id), steps=60)
    assert report.ok, report.text()


CASES = {
    "slippery": TimeLimit(maps.frozen_lake(), 12),
    "windy": TimeLimit(maps.windy_grid_stochastic(), 12),
    "taxi": make("Taxi-v4"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_export_to_gymnasium_reproduces_native_rollouts(name):
    env, seeds = lift(CASES[name]), np.array([5, 6, 7], np.uint32)
    native_step = jax.jit(vec_step)
    with as_env(CASES[name], "gymnasium").vector(3, "in-process") as vec:
        obs = vec.reset(seeds)
        state, native_obs = jax.jit(vec_reset)(env, seeds)
        np.testing.assert_array_equal(obs, native_obs)
        for t in range(30):
            action = np.random.default_rng(t).integers(0, env.action_space.n, 3).astype(np.int32)
            host = vec.step(action)
            state, native = native_step(env, state, action)
            for part in ("obs", "reward", "terminated", "truncated", "final_obs"):
                np.testing.assert_array_equal(getattr(host, part), getattr(native, part))


@pytest.mark.parametrize("id", IDS)
def test_cells_and_states_map_onto_each_other(id):
    env = bare(id)
    rows, cols = env.shape
    states = np.arange(env.num_states)
    row, col = env.cell_of(states)
    assert (row.min(), row.max(), col.min(), col.max()) == (0, rows - 1, 0, cols - 1)
    np.testing.assert_array_equal(env.state_at(row, col, states), states)
    assert len(env.arrows) == env.num_actions
    assert all(len(arrow) == 1 for arrow in env.arrows)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("id", ["FrozenLake-v1", "WindyGrid-v0", "CliffWalking-v1", "Taxi-v4"])
def test_pictures_show_the_agent_where_it_is(id, theme):
    env = bare(id)
    pictures = [draw(env.view(jnp.int32(state)), 240, theme=theme) for state in (1, 1, 21)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_text_shows_the_map_the_agent_and_marks():
    env = maps.frozen_lake()
    assert env.ascii(0) == "@...\n.#.#\n...#\n#..G".replace("#", "H")
    assert env.ascii(6).split("\n")[:2] == ["S...", ".H@H"]
    marks = [["→"] * 4, ["↓"] * 4, [""] * 4, ["↑"] * 4]
    assert env.ascii(6, marks) == "→→→→\n↓H@H\n...H\nH↑↑G"
    assert GridWorld.from_map(maps.dyna_maze().ascii(0).replace("@", ".")).cells.shape == (6, 9)


def test_the_grid_is_found_within_wrappers():
    env = TimeLimit(maps.dyna_maze(), 5)
    state, _ = env.reset(jax.random.key(0))
    grid, cell = board_of(env, state)
    assert grid is env.env
    assert grid.cell_of(int(cell)) == (2, 0)
    assert board_of(make("CartPole-v1"), None) is None


def test_duplicates_merge():
    assert listed([(0.25, 1, 0, False), (0.5, 1, 0, False), (0.0, 2, 0, True)]) == {(1, 0.0, False): 0.75}
