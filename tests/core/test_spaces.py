import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces as gym
from hypothesis import given, settings
from hypothesis import strategies as st

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.types import Masked

finite = st.floats(-1e3, 1e3, width=32)


@st.composite
def float_boxes(draw):
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    low, span = draw(finite), draw(st.floats(0, 10, width=32))
    ends = draw(st.sampled_from(["both", "low", "high", "none"]))
    high = np.float32(low) + np.float32(span)
    return spaces.Box(
        low if ends in ("both", "low") else -np.inf, high if ends in ("both", "high") else np.inf, shape
    )


@st.composite
def integer_boxes(draw):
    dtype = draw(st.sampled_from([np.uint8, np.int8, np.int32]))
    info = np.iinfo(dtype)
    low = draw(st.integers(int(info.min), int(info.max)))
    return spaces.Box(low, draw(st.integers(low, int(info.max))), (draw(st.integers(1, 3)),), dtype)


leaves = st.one_of(
    st.builds(spaces.Discrete, st.integers(1, 5), st.integers(-3, 3)),
    float_boxes(),
    integer_boxes(),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 4), min_size=1, max_size=3)),
    st.builds(spaces.MultiBinary, st.integers(1, 4)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(spaces.Dict, st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)),
        st.builds(spaces.Tuple, st.lists(inner, min_size=1, max_size=2)),
    ),
    max_leaves=3,
)


@given(trees)
@settings(max_examples=60, deadline=None)
def test_a_space_survives_the_way_to_gymnasium_and_back(space):
    assert spaces.from_gymnasium(spaces.to_gymnasium(space)) == space


@given(trees, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_sample_is_contained_here_and_in_gymnasium_and_flattens_to_its_size(space, seed):
    x = space.sample(jax.random.key(seed))
    assert space.contains(x)
    theirs = spaces.to_gymnasium(space)
    assert theirs.contains(_as_theirs(space, x))
    flat = spaces.flatten(space, x)
    assert flat.shape == (spaces.flat_size(space),)
    assert flat.dtype == np.float32


def _as_theirs(space, x):
    match space:
        case spaces.Dict(spaces=entries):
            return {name: _as_theirs(entry, x[name]) for name, entry in entries.items()}
        case spaces.Tuple(spaces=parts):
            return tuple(_as_theirs(part, e) for part, e in zip(parts, x, strict=True))
        case spaces.MultiDiscrete():
            return np.asarray(x, np.int64)
    return np.asarray(x)


def test_flatten_is_one_hot_in_order_and_keeps_the_batch():
    space = spaces.Dict({"b": spaces.Discrete(3, start=1), "a": spaces.Box(0, 9, (2,))})
    x = {"a": np.array([[5.0, 6.0], [7.0, 8.0]], np.float32), "b": np.array([1, 3])}
    np.testing.assert_array_equal(spaces.flatten(space, x), [[5, 6, 1, 0, 0], [7, 8, 0, 0, 1]])


def test_to_unit_maps_bounds_to_one_and_leaves_the_rest():
    box = spaces.Box(np.array([-1.2, -np.inf, 3.0, 0.0]), np.array([0.6, 1.0, 3.0, np.inf]))
    x = jnp.array([[-1.2, 5.0, 3.0, -2.0], [0.6, -7.0, 4.0, 9.0], [-0.3, 0.0, 0.0, 0.0]])
    # The third has one value only, which no map takes to both −1 and 1.
    expected = np.array([[-1.0, 5.0, 3.0, -2.0], [1.0, -7.0, 4.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_allclose(spaces.to_unit(box, x), expected, atol=1e-6)
    largest = float(np.finfo(np.float32).max)
    np.testing.assert_array_equal(spaces.to_unit(spaces.Box(-largest, largest, (4,)), x), x)


def test_to_unit_goes_into_trees_and_leaves_integers_and_masks():
    small = spaces.Box(-0.07, 0.07, (1,))
    tree = spaces.Dict({"v": spaces.Tuple((small, spaces.Discrete(3))), "m": spaces.Masked(small, 2)})
    mask, v = jnp.array([True, False]), jnp.array([0.035])
    out = spaces.to_unit(tree, {"v": (v, jnp.array(2)), "m": Masked(v, mask)})
    np.testing.assert_allclose(out["v"][0], [0.5], rtol=1e-6)
    np.testing.assert_allclose(out["m"].obs, [0.5], rtol=1e-6)
    np.testing.assert_array_equal(out["m"].mask, mask)
    assert int(out["v"][1]) == 2


@pytest.mark.parametrize(
    ("space", "not_in_it"),
    [
        (spaces.Discrete(3), 3),
        (spaces.Discrete(3, start=1), 0),
        (spaces.Discrete(3), 1.0),
        (spaces.Discrete(3), np.array([1])),
        (spaces.Box(-1, 1, (2,)), np.array([0.0, 1.1], np.float32)),
        (spaces.Box(-1, 1, (2,)), np.zeros(3, np.float32)),
        (spaces.Box(0, 255, (2,), np.uint8), np.zeros(2, np.float32)),
        (spaces.MultiDiscrete((2, 3)), np.array([2, 0])),
        (spaces.MultiBinary(2), np.array([0, 2])),
        (spaces.Dict({"a": spaces.Discrete(2)}), {"a": 0, "b": 0}),
        (spaces.Tuple((spaces.Discrete(2),)), (0, 0)),
        (spaces.Masked(spaces.Discrete(2), 3), 0),
        (spaces.Masked(spaces.Discrete(2), 3), Masked(np.int32(0), np.ones(2, bool))),
    ],
)
def test_what_is_outside_is_not_contained(space, not_in_it):
    assert not space.contains(not_in_it)


def test_integers_of_64_bits_become_those_of_32():
    space = spaces.from_gymnasium(gym.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64))
    assert space.dtype == np.int32
    assert space.low[0] == np.iinfo(np.int32).min
    assert space.high[0] == np.iinfo(np.int32).max


def test_the_largest_float64_is_no_bound():
    top = np.finfo(np.float64).max
    assert not spaces.from_gymnasium(gym.Box(-top, top, (1,), np.float64)).bounded


def test_a_whole_integer_range_is_sampled_in_both_halves():
    info = np.iinfo(np.int32)
    draws = spaces.Box(info.min, info.max, (64,), np.int32).sample(jax.random.key(0))
    assert int(draws.min()) < 0 < int(draws.max())


@pytest.mark.parametrize(
    "space",
    [gym.Text(4), gym.MultiDiscrete([[2, 2]]), gym.MultiBinary([2, 2]), gym.Sequence(gym.Discrete(2))],
)
def test_a_space_without_counterpart_is_refused_by_name(space):
    with pytest.raises(FathomError, match=type(space).__name__):
        spaces.from_gymnasium(space)


def test_swapped_bounds_are_refused():
    with pytest.raises(FathomError, match="swap"):
        spaces.Box(1.0, -1.0, (2,))


def test_equal_spaces_make_one_program():
    assert hash(spaces.Box(0, 1, (2,)).bounds[0]) == hash(spaces.Box(0, 1, (2,)).bounds[0])
    assert spaces.Box(0, 1, (2,)) != spaces.Box(0, 2, (2,))
    assert jax.tree.structure(spaces.Box(0, 1, (2,))) == jax.tree.structure(spaces.Box(0, 1, (2,)))


@pytest.mark.parametrize(
    ("space", "elements"),
    [
        (spaces.Discrete(4, start=-1), [-1, 0, 1, 2]),
        (spaces.MultiDiscrete((2, 3)), [[a, b] for a in range(2) for b in range(3)]),
        (spaces.MultiBinary(3), [[a, b, c] for a in range(2) for b in range(2) for c in range(2)]),
        (
            spaces.Tuple((spaces.Discrete(2), spaces.Discrete(3, start=5))),
            [(a, b) for a in range(2) for b in range(5, 8)],
        ),
        (
            spaces.Dict({"b": spaces.Discrete(2), "a": spaces.MultiBinary(1)}),
            [{"a": [a], "b": b} for a in range(2) for b in range(2)],
        ),
    ],
)
def test_every_element_has_its_number(space, elements) -> None:
    numbers = []
    for element in elements:
        array = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.int32), element, is_leaf=lambda x: isinstance(x, list)
        )
        numbers.append(int(spaces.index(space, array)))
    assert numbers == list(range(spaces.cardinality(space)))


def test_spaces_that_cannot_be_numbered_are_refused() -> None:
    with pytest.raises(FathomError, match="DQN and PPO take continuous"):
        spaces.cardinality(spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(0.0, 1.0, (2,))}))
    with pytest.raises(FathomError, match="too many for a table"):
        spaces.cardinality(spaces.MultiBinary(40))
