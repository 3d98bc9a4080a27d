"""Values and arrows stand where they belong, by hand-made tables."""

import jax.numpy as jnp
import numpy as np
import pytest

from fathom.envs.grid.taxi import Taxi
from fathom.envs.grid.values import (
    cell_states,
    cell_values,
    levels,
    numerals,
    value_scene,
    value_text,
)
from fathom.envs.grid.world import GridWorld
from fathom.envs.render import LEVELS, draw
from fathom.envs.scene import Circle, Line, Polygon, Text, Tiles

LAKE = GridWorld.from_map("S.#\n.H.\n..G", moves=("left", "down", "right", "up"))
Q = np.array(
    [
        [0.0, 0.5, 0.5, 0.0],  # a tie
        [0.1, -0.2, 0.0, 0.0],
        [9.0, 9.0, 9.0, 9.0],  # a wall
        [0.0, 0.0, 0.0, 0.0],  # all equal
        [9.0, 9.0, 9.0, 9.0],  # a hole
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.25],
        [-0.5, -0.5, -1.0, -2.0],  # all below 0
        [9.0, 9.0, 9.0, 9.0],  # the goal
    ]
)


def words(lines):
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


@pytest.fixture(scope="module")
def cells():
    return cell_values(LAKE, 0, Q)


def test_cells_hold_the_greatest_value_and_all_actions_that_have_it(cells):
    nan = np.nan
    np.testing.assert_array_equal(cells.value, [[0.5, 0.1, nan], [0.0, nan, 1.0], [0.25, -0.5, nan]])
    best = {(r, c): list(np.nonzero(cells.best[r, c])[0]) for r, c in np.ndindex(3, 3)}
    assert best == {
        (0, 0): [1, 2], (0, 1): [0], (0, 2): [],
        (1, 0): [0, 1, 2, 3], (1, 1): [], (1, 2): [1],
        (2, 0): [3], (2, 1): [0, 1], (2, 2): [],
    }  # fmt: skip


def test_illegal_actions_are_neither_greedy_nor_valued():
    mask = np.ones_like(Q, bool)
    mask[0, 1] = mask[1, 0] = False
    mask[3] = False
    masked = cell_values(LAKE, 0, Q, mask)
    assert np.nonzero(masked.best[0, 0])[0] == [2]
    assert masked.value[0, 1] == 0.0
    np.testing.assert_array_equal(masked.best[0, 1], [False, False, True, True])
    assert np.isnan(masked.value[1, 0])
    assert not masked.best[1, 0].any()


def test_text_frames_are_exact(cells):
    assert words(value_text(LAKE, 3, cells, unicode=False)) == "\n".join(
        [
            "+-------------------+",
            "|   v>     <  ##### |",
            "|  0.50  0.10 ##### |",
            "|                   |",
            "| @ any   H      v  |",
            "|  0.00        1.00 |",
            "|                   |",
            "|    ^    <v    G   |",
            "|  0.25 -0.50       |",
            "+-------------------+",
        ]
    )
    assert words(value_text(LAKE, 8, cells, framed=False)) == "\n".join(
        [
            "  ↓→     ←  #####",
            " 0.50  0.10 #####",
            "  any   H      ↓",
            " 0.00        1.00",
            "   ↑    ←↓    @",
            " 0.25 -0.50   G",
        ]
    )


def test_states_that_are_valued_have_no_arrows():
    grid = GridWorld.from_map("S.\n#G")
    assert words(value_text(grid, 1, cell_values(grid, 1, np.array([-12.25, 3.0, 7.0, 0.0])))) == "\n".join(
        ["+-------------+", "|       @     |", "| -12.2   3.0 |", "|             |", "| #####   G   |",
         "| #####       |", "+-------------+"]
    )  # fmt: skip


def test_pieces_carry_the_shade_of_the_value_and_what_a_cell_is(cells):
    lines = value_text(LAKE, 0, cells, framed=False)
    roles = [[role for _, role in line if role] for line in lines[::2]]
    assert roles == [
        ["accent", "value3", "muted"],
        ["value3", "danger", "value8"],
        ["value4", "value0", "goal"],
    ]
    assert roles == [[role for _, role in line if role] for line in lines[1::2]]


def test_shades_go_from_the_least_to_the_greatest():
    value = np.array([[np.nan, -3.0], [1.0, 5.0]])
    np.testing.assert_array_equal(levels(value), [[-1, 0], [(LEVELS - 1) // 2, LEVELS - 1]])
    np.testing.assert_array_equal(levels(np.full((1, 2), 2.0)), [[0, 0]])
    np.testing.assert_array_equal(levels(np.full((1, 2), np.nan)), [[-1, -1]])


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.536, -0.001, np.nan], ["0.54", "0.00", ""]),
        ([-12.34, 5.0, 0.0], ["-12.3", "5.0", "0.0"]),
        ([-123.4, 5.6, 0.0], ["-123", "6", "0"]),
        ([0.0123, 0.0, 0.0], ["0.012", "0.000", "0.000"]),
        ([0.00012, 0.0, 0.0], ["1e-04", "0e+00", "0e+00"]),
        ([0.0, 0.0, np.nan], ["0.00", "0.00", ""]),
        ([np.nan, np.nan, np.nan], ["", "", ""]),
    ],
)
def test_numbers_have_as_many_digits_as_their_size_asks_for(values, texts):
    assert numerals(np.array([values])) == [texts]


def test_the_picture_has_shades_arrows_and_numbers_in_their_cells(cells):
    scene = value_scene(LAKE, jnp.int32(0), cells)
    tints = next(s for s in scene.shapes if isinstance(s, Tiles) and "value0" in s.roles)
    np.testing.assert_array_equal(tints.kinds, levels(cells.value) + 1)
    numbers = {tuple(np.floor(s.at).astype(int)): s.text for s in scene.shapes if isinstance(s, Text)}
    assert numbers == {
        (0, 2): "0.50", (1, 2): "0.10", (0, 1): "0.00", (2, 1): "1.00", (0, 0): "0.25", (1, 0): "-0.50"
    }  # fmt: skip
    heads = [np.asarray(s.points)[0] for s in scene.shapes if isinstance(s, Polygon)]
    middle = {(0, 2): (0.5, 2.6), (2, 1): (2.5, 1.6)}  # by column and height
    at = lambda cell: [h - middle[cell] for h in heads if tuple(np.floor(h).astype(int)) == cell]  # noqa: E731
    np.testing.assert_allclose(sorted(map(tuple, at((0, 2)))), [(0.0, -0.3), (0.3, 0.0)], atol=1e-6)
    np.testing.assert_allclose(at((2, 1)), [(0.0, -0.24)], atol=1e-6)
    assert len(heads) == 2 + 1 + 4 + 1 + 1 + 2
    order = [type(s) for s in scene.shapes]
    assert order.index(Tiles) < order.index(Line) < order.index(Circle) < order.index(Text)


def test_small_cells_show_shades_alone(cells):
    shapes = value_scene(LAKE, jnp.int32(0), cells, pixels=20).shapes
    assert not any(isinstance(s, Text | Polygon | Line) for s in shapes)
    assert draw(value_scene(LAKE, jnp.int32(0), cells, 20), 60).shape == (60, 60, 3)


def test_the_taxi_shows_the_layer_it_is_in():
    env, state = Taxi(), 229  # row 2, column 1, passenger at Y, to G
    states = cell_states(env, state)
    np.testing.assert_array_equal(states % 20, np.full(25, 9))
    np.testing.assert_array_equal(states // 20, np.arange(25))
    q = np.zeros((25, 6))
    q[:, 1] = np.arange(25)  # north
    q[20, 4] = 30.0  # pick up
    text = words(value_text(env, state, cell_values(env, state, q), unicode=False)).split("\n")
    assert text[1:3] == ["| R any    ^ |   ^     ^  G  ^  |", "|   0.0   1.0|  2.0   3.0   4.0 |"]
    assert text[7] == "|    ^  @  ^     ^     ^     ^  |"
    assert text[13:] == [
        "| Y  P |   ^     ^ |B  ^     ^  |",
        "|  30.0| 21.0  22.0| 23.0  24.0 |",
        "+-------------------------------+",
        "passenger at Y, to G",
    ]
    letters = [s.text for s in value_scene(env, jnp.int32(state), cell_values(env, state, q)).shapes
               if isinstance(s, Text) and s.text == "P"]  # fmt: skip
    assert letters == ["P"]
