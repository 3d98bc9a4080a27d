"""What a run is made of, and its way into a link and back."""

import base64
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.core.errors import FathomError
from fathom.envs.grid.world import GridWorld
from fathom.hub.history import Intervention
from fathom.hub.recipe import LINK_BYTES, Recipe, finite, from_link, to_link

_VALUES = st.floats(0, 1) | st.integers(0, 9) | st.booleans() | st.text(max_size=5)
_LOGS = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.sampled_from(["set", "surgery"]),
        st.dictionaries(st.text(max_size=6), _VALUES),
    )
).map(lambda rows: [Intervention(*row) for row in sorted(rows, key=lambda row: row[0])])


@given(
    st.text(max_size=9), st.text(max_size=9), st.none() | st.text(min_size=1, max_size=20),
    st.dictionaries(st.text(max_size=6), _VALUES, max_size=3), st.integers(1, 64), _LOGS,
    st.integers(0, 2**31 - 1),
)  # fmt: skip
def test_a_link_says_what_it_was_made_of(algo, env, map, config, seeds, log, u) -> None:
    recipe = Recipe(algo or "a", env, map, config, seeds, 0, None)
    assert from_link(to_link(recipe, log, u)) == (recipe, log, u)


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_what_is_no_link_is_refused_in_words(text: str) -> None:
    with pytest.raises(FathomError, match="link"):
        from_link(text)


def _packed(told: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(told).encode())).decode()


@pytest.mark.parametrize(
    "told",
    [
        [1],
        {"v": 1},
        {"v": 2, "open": {"algo": "q_learning"}, "log": [], "u": 0},
        {"v": 1, "open": {"algo": 1}, "log": [], "u": 0},
        {"v": 1, "open": {"algo": "q_learning", "path": "x"}, "log": [], "u": 0},
        {"v": 1, "open": {"algo": "q_learning"}, "log": [[0, "run", {}]], "u": 0},
        {"v": 1, "open": {"algo": "q_learning"}, "log": [[5, "set", {}], [1, "set", {}]], "u": 9},
        {"v": 1, "open": {"algo": "q_learning"}, "log": [], "u": -1},
        {"v": 1, "open": {"algo": "q_learning", "config": []}, "log": [], "u": 0},
    ],
)
def test_links_that_say_nonsense_are_refused(told: object) -> None:
    with pytest.raises(FathomError, match="link"):
        from_link(_packed(told))


def test_links_do_not_unpack_without_bound() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * (100 * LINK_BYTES), 9)).decode()
    with pytest.raises(FathomError, match="link"):
        from_link(bomb)
    with pytest.raises(FathomError, match="at most"):
        from_link("a" * (LINK_BYTES + 1))


def test_a_map_of_ones_own_is_a_world_with_its_settings() -> None:
    recipe = Recipe("sarsa", map="S.#\n..G", config={"env.slip": 0.2, "env.max_steps": 30, "epsilon": 0.3})
    algorithm, env, tabular = recipe.make()
    world = finite(env)
    assert tabular
    assert isinstance(world, GridWorld)
    assert (env.max_steps, world.slip) == (30, 0.2)
    assert algorithm.epsilon_start == algorithm.epsilon_end == 0.3
    assert algorithm.num_steps == 1


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe("q_lerning", "Grid5x5-v0"), "q_learning"),
        (Recipe("q_learning", "Grid5x6-v0"), "Grid5x5-v0"),
        (Recipe("q_learning", "os:system"), "on the command line"),
        (Recipe("q_learning", "/tmp/x.py"), "on the command line"),
        (Recipe("q_learning", "Grid5x5-v0", seeds=1000), "seeds is 1000"),
        (Recipe("q_learning", "Grid5x5-v0", config={"gama": 1.0}), "gamma"),
        (Recipe("q_learning", "Grid5x5-v0", config={"gamma": "x"}), "gamma is 'x'"),
        (Recipe("q_learning", "Grid5x5-v0", config={"ties": "last"}), "random, first"),
        (Recipe("q_learning", "Grid5x5-v0", config={"env.slipp": 0.1}), "slip"),
        (Recipe("q_learning", map="S.?"), "stands for nothing"),
        (Recipe("q_learning", map="S" + "." * 5000 + "G"), "draw at most"),
        (Recipe("q_learning", "Grid5x5-v0", horizon=0), "horizon is 0"),
    ],
)
def test_what_cannot_be_made_is_said(recipe: Recipe, said: str) -> None:
    with pytest.raises(FathomError, match=said):
        recipe.make()


def test_the_deep_lab_takes_the_preset() -> None:
    algorithm, _, tabular = Recipe("dqn", "CartPole-v1").make()
    assert not tabular
    assert algorithm != type(algorithm)()
