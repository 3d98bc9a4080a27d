"""The lab: a run that can be rewound, forked and changed, and is the same to the bit each time."""

import itertools

import jax
import numpy as np
import pytest

from fathom.algos.registry import algorithms
from fathom.core.errors import FathomError
from fathom.hub.equations import RULES
from fathom.hub.lab import Lab
from fathom.hub.recipe import Recipe
from fathom.hub.watched import KEPT

RECIPE = Recipe("q_learning", "Grid5x5-v0", seeds=3)


def _quick_and_slow(names: list[str], quick: set[str]) -> list:
    """Each compiles programs of its own: a few kinds are tried each time, all of them in the slow set."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def compiled() -> None:
    """Compile the program of `RECIPE` once: labs of the same recipe share it."""
    Lab(RECIPE).close()


@pytest.fixture
def lab(compiled: None) -> Lab:
    return Lab(RECIPE)


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _same(one: Lab, a: int, b: int) -> bool:
    """Whether two branches are in the same state, record, environments, keys and all."""
    trees = [jax.tree.leaves(one.carry(branch)) for branch in (a, b)]
    plain = [[jax.random.key_data(x) if _is_key(x) else x for x in leaves] for leaves in trees]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*plain, strict=True))


def test_seeking_gives_the_same_bits(lab: Lab) -> None:
    hashes = {}
    for _ in range(12):
        lab.advance(37)
        hashes[lab.line.u] = lab.look().hash
    assert len(set(hashes.values())) == len(hashes)
    for u in [37 * 3, 37 * 11, 37, 37 * 12]:
        lab.seek(u)
        assert lab.look().hash == hashes[u]
    lab.seek(50)
    assert lab.line.tip == 37 * 12
    lab.advance(61)
    assert lab.look().hash == hashes[111]


def test_seeking_needs_no_snapshot_nearby(lab: Lab) -> None:
    lab.advance(300)
    wanted = lab.look().hash
    del lab.line.ladder.kept[1:]
    lab.seek(10)
    lab.seek(300)
    assert lab.look().hash == wanted


def test_a_fork_without_a_change_equals_its_parent(lab: Lab) -> None:
    lab.advance(200)
    now, past = lab.fork(), lab.fork(at=120, branch=0)
    assert lab.focus == [0, past.id]
    assert (now.at, past.at) == (200, 120)
    lab.advance(80, past.id)
    assert _same(lab, 0, now.id)
    assert _same(lab, 0, past.id)
    for branch in (0, now.id, past.id):
        lab.advance(50, branch)
    assert _same(lab, 0, now.id)
    assert _same(lab, 0, past.id)
    assert lab.look(0).hash == lab.look(now.id).hash


def test_a_change_makes_another_future(lab: Lab) -> None:
    lab.advance(100)
    child = lab.fork(patch={"epsilon": 1.0})
    lab.advance(200, 0)
    lab.advance(200, child.id)
    assert child.algorithm.epsilon_end == 1.0
    assert lab.lines[0].algorithm.epsilon_end == pytest.approx(0.2)
    assert lab.look(0).hash != lab.look(child.id).hash


def test_what_was_changed_is_changed_again_on_the_way(lab: Lab) -> None:
    lab.advance(50)
    lab.set({"epsilon": 0.9, "env.reward_bump": -0.5})
    lab.advance(50)
    lab.surgery("paint", row=0, col=2, letter="#")
    lab.surgery("value", state=3, action=1, value=2.5)
    edited = lab.look().hash
    lab.advance(50)
    end = lab.look().hash
    lab.seek(20)
    assert lab.line.algorithm.epsilon_end == pytest.approx(0.2)
    lab.advance(130)
    assert lab.look().hash == end
    lab.seek(100)
    assert lab.look().hash == edited
    lab.seek(100, before=True)
    assert lab.line.applied == 1
    assert lab.look().hash != edited


def test_a_change_in_the_past_leaves_the_future_alone(lab: Lab) -> None:
    lab.advance(100)
    end = lab.look().hash
    lab.seek(40)
    child = lab.set({"learning_rate": 0.7})
    assert (child.id, child.parent, child.at) == (1, 0, 40)
    assert lab.focus == [1]
    lab.seek(100, branch=0)
    assert lab.look(0).hash == end


def test_refused_changes_change_nothing(lab: Lab) -> None:
    lab.advance(30)
    before = lab.look().hash
    for patch in ({"gamma": 2.0}, {"gamme": 0.5}, {"num_envs": 2}, {"env.slip": 3.0}, {}):
        with pytest.raises(FathomError):
            lab.set(patch)
    for op, args in (
        ("paint", {"row": 0, "col": 0, "letter": "#"}),
        ("paint", {"row": 9, "col": 0, "letter": "#"}),
        ("paint", {"row": 0, "col": 1, "letter": "?"}),
        ("value", {"state": 99, "action": 0, "value": 1.0}),
        ("value", {"state": 1, "action": 0, "value": "x"}),
        ("value", {"state": 1, "action": 0, "value": 1.0, "why": 1}),
        ("move", {"state": 6}),
        ("move", {"state": 1, "seed": 3}),
        ("reset_optimiser", {}),
        ("clear_buffer", {}),
        ("open_heart", {}),
    ):
        with pytest.raises(FathomError):
            lab.surgery(op, **args)
    assert lab.line.log == []
    assert lab.look().hash == before
    for call in (lambda: lab.seek(31), lambda: lab.seek(-1), lambda: lab.fork(at=31), lambda: lab.of(7)):
        with pytest.raises(FathomError):
            call()


def test_surgery_reaches_the_seeds_that_are_meant(lab: Lab) -> None:
    lab.advance(10)
    lab.surgery("value", state=3, action=1, value=2.5, seed=1)
    q = lab.look().arrays["q"][:, 3, 1]
    assert q[1] == 2.5
    assert (q[[0, 2]] != 2.5).all()
    lab.surgery("move", state=4)
    assert lab.look().arrays["agent"].tolist() == [4, 4, 4]
    lab.surgery("move", state=0, seed=2)
    assert lab.look().arrays["agent"].tolist() == [4, 4, 0]
    lab.advance(10)


def test_a_wall_does_not_bury_the_agent(lab: Lab) -> None:
    lab.surgery("move", state=2)
    lab.surgery("paint", row=0, col=2, letter="#")
    assert lab.look().arrays["agent"].tolist() == [0, 0, 0]


def test_watching_changes_nothing(compiled: None) -> None:
    one, other = Lab(RECIPE), Lab(RECIPE)
    for _ in range(20):
        one.advance(10)
        one.look()
        one.inspect(0)
    other.advance(200)
    assert one.look().hash == other.look().hash


def test_the_record_is_what_happened(lab: Lab) -> None:
    lab.advance(400)
    arrays = lab.look().arrays
    assert (arrays["visits"].sum(axis=1) == 400).all()
    ends = lab.advance(400)[1]["episode_return"]
    assert (lab.look().arrays["episode"] - arrays["episode"] == ends).all()


def test_the_lab_learns_as_the_agent_does(lab: Lab) -> None:
    """What is within `Watched` is unchanged: the same values as an Agent's, by another program."""
    from fathom.agent import Agent
    from fathom.algos.tabular.q_learning import QLearning

    algorithm = QLearning(learning_rate=0.1, gamma=0.95, epsilon_start=0.2, epsilon_end=0.2, num_steps=50)
    agent = Agent(algorithm, "Grid5x5-v0", seeds=3).learn(200, horizon=lab.horizon)
    lab.advance(200)
    np.testing.assert_allclose(lab.look().arrays["q"], agent.engine.learner.q.values, atol=1e-5)


def test_exact_values_follow_the_world(lab: Lab) -> None:
    exact = lab.exact()
    assert exact is not None
    assert exact.start == pytest.approx(0.95**7, abs=1e-6)
    lab.set({"gamma": 0.5})
    assert lab.exact().start == pytest.approx(0.5**7, abs=1e-6)  # pyright: ignore
    lab.surgery("paint", row=4, col=0, letter="G")
    assert lab.exact().start == pytest.approx(0.5**3, abs=1e-6)  # pyright: ignore
    assert lab.world().letters[20] == "G"  # pyright: ignore


def test_a_link_gives_the_same_bits(lab: Lab) -> None:
    lab.advance(60)
    lab.set({"epsilon": 0.4})
    lab.advance(30)
    lab.surgery("paint", row=0, col=2, letter="#")
    lab.advance(45)
    again = Lab.of_link(lab.link())
    assert again.line.u == 135
    assert again.look().hash == lab.look().hash
    again.seek(10)
    lab.seek(10)
    assert again.look().hash == lab.look().hash


@pytest.mark.parametrize("algo", _quick_and_slow(sorted(RULES), {"q_learning", "sarsa_lambda", "td"}))
def test_inspected_arithmetic_adds_up(algo: str) -> None:
    lab = Lab(Recipe(algo, "Grid5x5-v0", seeds=1))
    lab.advance(600)
    found = lab.inspect(state=0, seed=0)
    assert found.source.path.startswith("fathom/algos/tabular/")
    assert "def " in found.source.lines[0]
    assert found.backups
    assert [b.u for b in found.backups] == sorted(b.u for b in found.backups)
    assert sum(p for p, *_ in found.outcomes) == pytest.approx(1.0)
    for backup in found.backups:
        assert backup.state == 0
        if backup.target is None:
            continue
        assert backup.target - backup.old == pytest.approx(backup.td_error, abs=1e-6)
        if algo in ("q_learning", "sarsa", "expected_sarsa", "double_q_learning"):
            assert backup.old + backup.alpha * backup.td_error == pytest.approx(backup.new, abs=1e-6)
    told = [b.target for b in found.backups]
    assert all(t is None for t in told) == (RULES[algo].target == "")


def test_backups_long_ago_are_found_by_going_there_again(lab: Lab) -> None:
    lab.advance(2_000)
    before = lab.look().hash
    old = lab.inspect(state=0, action=3, seed=1, u=900)
    assert old.u == 900
    assert old.backups[0].u < 900 - KEPT
    assert max(b.u for b in old.backups) < 900
    for first, second in itertools.pairwise(old.backups):
        assert first.new == pytest.approx(second.old)
    assert lab.look().hash == before
    assert lab.line.u == 2_000


def test_inspecting_what_there_is_not_is_refused(lab: Lab) -> None:
    lab.advance(5)
    for args in ({"state": 25}, {"state": 0, "action": 4}, {"state": 0, "seed": 3}, {"state": 0, "u": 6}):
        with pytest.raises(FathomError):
            lab.inspect(**args)


def test_200_episodes_flood_the_grid(lab: Lab) -> None:
    while lab.look().arrays["episode"].min() < 200:
        lab.advance(250)
    assert lab.look().arrays["v_start"] == pytest.approx(0.95**7, abs=0.01)


def test_every_tabular_learner_is_in_the_lab() -> None:
    found = {n for n, e in algorithms().items() if ".tabular." in e.module} - {"linear_sarsa_lambda"}
    assert found == set(RULES)


@pytest.mark.parametrize(
    "env",
    _quick_and_slow(
        ["FrozenLake-v1", "CliffWalking-v1", "Taxi-v3", "Chain-v0", "ThreeState-v0"],
        {"Taxi-v3", "ThreeState-v0"},
    ),
)
def test_every_kind_of_finite_world_can_be_shown(env: str) -> None:
    lab = Lab(Recipe("q_learning", env, seeds=1))
    world = lab.world()
    lab.advance(20)
    look = lab.look()
    assert world is not None
    assert len(world.letters) == len(world.walls) == len(world.acts) == world.rows * world.cols
    assert look.arrays["q"].shape == (1, world.states, len(world.actions))
    assert sum(world.start) == pytest.approx(1.0, abs=1e-5)
    if not world.plain:
        shown = lab.shown(look.arrays["agent"])
        assert shown.shape == (1, world.rows * world.cols)
        assert look.arrays["agent"][0] in shown[0]
