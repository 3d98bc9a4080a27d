"""Memory tasks: what is shown when, what is earned, and that it cannot be had without memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.classic.pendulum import Pendulum
from fathom.envs.memory.positions import cartpole_positions, pendulum_positions
from fathom.envs.memory.repeat_previous import RepeatPrevious
from fathom.envs.memory.t_maze import TMaze
from fathom.envs.registry import make
from fathom.envs.render import draw
from fathom.envs.wrappers import Components

NORTH, EAST, SOUTH, WEST = range(4)
reset = jax.jit(lambda env, key: env.reset(key))
step_once = jax.jit(lambda env, key, state, action: env.step(key, state, action))


def walk(env, seed, actions):
    """Observations [time + 1], rewards, ends and successes [time], by a fixed list of actions."""
    key = jax.random.key(seed)
    state, obs = reset(lift(env), key)
    seen, rows = [np.asarray(obs)], []
    for i, action in enumerate(actions):
        state, step = step_once(lift(env), jax.random.fold_in(key, i), state, jnp.int32(action))
        seen.append(np.asarray(step.obs))
        rows.append((float(step.reward), bool(step.terminated), float(step.info["success"])))
    return np.array(seen), *(np.array(column) for column in zip(*rows, strict=True))


def signs():
    """A seed whose sign says north, and one whose sign says south."""
    north = [bool(reset(lift(TMaze(length=3)), jax.random.key(seed))[0].north) for seed in range(20)]
    return north.index(True), north.index(False)


def test_the_sign_is_seen_at_the_start_and_nowhere_else():
    for seed, sign in zip(signs(), ([0, 1, 1], [1, 1, 0]), strict=True):
        seen, *_ = walk(TMaze(length=3), seed, [EAST, EAST, EAST])
        np.testing.assert_array_equal(seen, [sign, [1, 0, 1], [1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("turn", [NORTH, SOUTH])
def test_the_turn_ends_the_episode_and_pays_if_it_was_the_signs(turn):
    for seed, right in zip(signs(), (NORTH, SOUTH), strict=True):
        _, reward, terminated, success = walk(TMaze(length=3), seed, [EAST, EAST, EAST, turn])
        np.testing.assert_allclose(reward, [0, 0, 0, 4 if turn == right else -0.1])
        np.testing.assert_array_equal(terminated, [False, False, False, True])
        np.testing.assert_array_equal(success, [0, 0, 0, float(turn == right)])


def test_walls_cost_and_the_way_back_is_open():
    seen, reward, terminated, _ = walk(TMaze(length=2), 0, [WEST, NORTH, EAST, SOUTH, EAST, EAST, WEST, WEST])
    np.testing.assert_allclose(reward, [-0.1, -0.1, 0, -0.1, 0, -0.1, 0, 0])
    assert not terminated.any()
    np.testing.assert_array_equal(seen[0], seen[-1])


def test_signs_are_as_often_north_as_south():
    keys = jax.random.split(jax.random.key(0), 4_000)
    north = jax.vmap(lambda key: TMaze().reset(key)[0].north)(keys)
    assert float(north.mean()) == pytest.approx(0.5, abs=0.03)


def test_the_card_of_k_steps_ago_is_asked_for():
    env = RepeatPrevious(k=2, steps=6)
    seen, *_ = walk(env, 3, [0] * 6)
    # The action after card t, from the third on, is to name card t − 2.
    _, reward, terminated, success = walk(env, 3, [9, 9, *seen[:4]])
    np.testing.assert_allclose(reward, [0, 0, 0.25, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(success, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(terminated, [False] * 5 + [True])
    _, reward, *_ = walk(env, 3, [9, 9, *(seen[:4] + 1) % 4])
    assert reward.sum() == pytest.approx(-1.0)


def test_cards_are_uniform_and_independent():
    seen, *_ = walk(RepeatPrevious(k=1, steps=2_000), 0, [0] * 1_500)
    assert np.bincount(seen, minlength=4) / seen.size == pytest.approx(0.25, abs=0.05)
    assert (seen[1:] == seen[:-1]).mean() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("whole", "part", "keep"),
    [(CartPole(), cartpole_positions(), [0, 2]), (Pendulum(), pendulum_positions(), [0, 1])],
    ids=["cartpole", "pendulum"],
)
def test_positions_are_those_of_the_whole_task(whole, part, keep):
    key = jax.random.key(1)
    (state, obs), (state_part, seen) = reset(lift(whole), key), reset(lift(part), key)
    np.testing.assert_array_equal(seen, obs[np.array(keep)])
    action = part.action_space.sample(key)
    _, step = step_once(lift(whole), key, state, action)
    _, step_part = step_once(lift(part), key, state_part, action)
    np.testing.assert_array_equal(step_part.obs, step.obs[np.array(keep)])
    assert float(step_part.reward) == float(step.reward)
    np.testing.assert_array_equal(part.obs_space.high, whole.obs_space.high[keep])
    assert part.obs_space.contains(np.asarray(step_part.obs))


@pytest.mark.parametrize("name", ["TMaze-v0", "RepeatPrevious-v0", "CartPolePositions-v0"])
def test_they_are_made_by_name_and_can_be_looked_at(name):
    env = make(name)
    view = jax.jit(lambda env, state: env.view(state))
    pictures = [draw(view(lift(env), reset(lift(env), jax.random.key(s))[0]), width=90) for s in (0, 1, 2)]
    assert any((pictures[0] != other).any() for other in pictures[1:])


def test_words():
    state, _ = reset(lift(TMaze(length=3)), jax.random.key(signs()[0]))
    assert TMaze(length=3).ascii(state) == "   G\n@...\n    "
    state, _ = step_once(lift(TMaze(length=3)), jax.random.key(0), state, jnp.int32(EAST))
    assert TMaze(length=3).ascii(state).split("\n")[1] == "^@.."
    env = RepeatPrevious(k=2)
    state, card = reset(lift(env), jax.random.key(0))
    assert env.ascii(state) == f"[.] . {'CDHS'[int(card)]}"


@pytest.mark.parametrize(
    ("make_one", "message"),
    [
        (lambda: TMaze(length=0), "length is 0"),
        (lambda: RepeatPrevious(k=60), "k is 60"),
        (lambda: Components(CartPole(), (0, 4)), "components 0 to 3"),
        (lambda: Components(CartPole()), "at least one"),
    ],
)
def test_what_cannot_be_is_said(make_one, message):
    with pytest.raises(FathomError, match=message):
        make_one()
