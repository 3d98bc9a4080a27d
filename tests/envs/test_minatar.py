"""The MinAtar games: rules one by one, play recorded from the package, the forms of the contract."""

import dataclasses
import functools
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fathom import check
from fathom.core.module import lift
from fathom.core.spaces import Discrete, is_image
from fathom.envs import chance, registry
from fathom.envs.minatar.game import DOWN, FIRE, LEFT, NOOP, RIGHT, UP
from fathom.envs.render import draw

from .minatar_twin import GAMES

RECORDED = Path(__file__).parent / "fixtures" / "minatar.npz"
IDS = {"Breakout": 3, "Asterix": 5, "Freeway": 3, "Seaquest": 6, "SpaceInvaders": 4}  # actions of v1


@functools.cache
def player(name, ramping=True):
    env = GAMES[name]() if ramping else GAMES[name](ramping=False)
    return lift(env), jax.jit(lambda env, game, action, luck: env.play(game, action, luck))


@functools.cache
def start(name):
    env = GAMES[name]()
    return jax.device_get(env.begin(jnp.full(env.luck[0], 0.9, jnp.float32)))


def play(name, action=NOOP, luck=None, game=None, ramping=True, **changes):
    """One step from a game at its start, changed as told."""
    env, step = player(name, ramping)
    luck = np.full(env.luck[1], 0.99, np.float32) if luck is None else np.asarray(luck, np.float32)
    game = dataclasses.replace(
        start(name) if game is None else game, **{name: as_array(value) for name, value in changes.items()}
    )
    game, points, over = jax.device_get(step(env, game, np.int32(action), luck))
    return game, int(points), bool(over)


def as_array(value):
    if isinstance(value, eqx.Module):
        return value
    value = np.asarray(value)
    return value if value.dtype == np.bool_ else value.astype(np.int32)


@pytest.mark.parametrize("name", GAMES)
def test_recorded_play_of_the_package_is_ours_too(name):
    file = np.load(RECORDED, allow_pickle=False)
    data = {key: file[f"{name}_{key}"] for key in ("action", "luck", "start", "reward", "over", "obs")}
    luck, begin = (data[key] / np.float32(256) for key in ("luck", "start"))
    env = lift(GAMES[name]())

    @jax.jit
    def replay(env, action, luck, begin, over):
        def step(carry, given):
            game, last = carry
            action, luck, begin, again = given
            fresh = env.begin(begin)
            game = jax.tree.map(lambda a, b: jnp.where(again, a, b), fresh, game)
            done = jnp.where(luck[0] < 0.1, jnp.where(again, NOOP, last), action)
            game, points, ends = env.play(game, done, luck[1:])
            return (game, done), (points, ends, env.observe(game))

        again = jnp.append(jnp.ones(1, jnp.bool_), over[:-1])
        return jax.lax.scan(step, (env.begin(begin[0]), jnp.int32(0)), (action, luck, begin, again))[1]

    action = data["action"].astype(np.int32)
    points, over, obs = replay(env, action, luck, begin, data["over"])
    np.testing.assert_array_equal(points, data["reward"])
    np.testing.assert_array_equal(over, data["over"])
    np.testing.assert_array_equal(np.packbits(np.asarray(obs).reshape(len(action), -1), axis=1), data["obs"])
    assert data["reward"].any()


@pytest.mark.parametrize("name", IDS)
def test_the_checker_finds_no_error(name):
    env = registry.make(f"MinAtar/{name}-v1")
    assert env.action_space == Discrete(IDS[name])
    assert registry.make(f"MinAtar/{name}-v0").action_space == Discrete(6)
    assert is_image(env.obs_space)
    assert (env.obs_space.low.max(), env.obs_space.high.min()) == (0, 1)
    report = check(env, steps=40)
    assert report.ok, report.text()


@pytest.mark.parametrize("name", GAMES)
def test_the_last_action_sticks_with_its_probability(name):
    env = lift(GAMES[name]())
    keys = jax.random.split(jax.random.key(1), 2000)
    first = env.reset(keys[0])[0]
    first = dataclasses.replace(first, last=jnp.int32(env.controls[1]))
    step = jax.jit(jax.vmap(lambda env, key: env.step(key, first, jnp.int32(2))[0].last, (None, 0)))
    for sticky, sure in ((0.0, 0), (1.0, 1), (0.1, None)):
        done = np.asarray(step(dataclasses.replace(env, sticky=jnp.float32(sticky)), keys))
        assert set(done) <= {env.controls[1], env.controls[2]}
        share = np.mean(done == env.controls[1])
        assert share == sure if sure is not None else abs(share - 0.1) < 4 * 0.3 / 2000**0.5


def test_numbers_of_a_step_are_uniform_and_independent():
    keys = jax.random.split(jax.random.key(3), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: chance.uniforms(key, 4)))(keys))
    np.testing.assert_array_equal(drawn[:, 0], jax.jit(jax.vmap(chance.uniform))(keys))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 4 / 20_000**0.5
    for column in drawn.T:
        counts = np.bincount((column * 64).astype(int), minlength=64)
        assert stats.chisquare(counts).pvalue > 1e-4


def test_a_ball_turns_back_at_bricks_walls_and_paddle():
    flying = {"x": 4, "y": 4, "dx": 1, "dy": -1, "last_x": 3, "last_y": 5}
    game, points, _ = play("breakout", **flying)
    assert (points, game.x, game.y, game.dy, bool(game.struck)) == (1, 5, 4, 1, True)
    assert bin(game.bricks).count("1") == 29
    game, points, _ = play("breakout", **flying, struck=True)  # through a brick after another one
    assert (points, game.x, game.y, game.dy) == (0, 5, 3, -1)
    game, _, _ = play("breakout", **{**flying, "x": 9, "y": 6})
    assert (game.x, game.y, game.dx) == (9, 5, -1)
    low = {"x": 4, "y": 8, "dx": 1, "dy": 1, "bricks": 1}
    game, _, over = play("breakout", **low, paddle=4)
    assert (game.x, game.y, game.dx, game.dy, over) == (5, 8, 1, -1, False)
    game, _, over = play("breakout", **low, paddle=5)
    assert (game.x, game.y, game.dx, game.dy, over) == (5, 8, -1, -1, False)
    assert play("breakout", **low, paddle=7)[2]
    assert not play("breakout", LEFT, **low, paddle=6)[2]  # the paddle moves first
    game, _, _ = play("breakout", **{**low, "bricks": 0}, paddle=4)
    assert bin(game.bricks).count("1") == 30


def test_asterix_collects_gold_and_ends_at_enemies():
    place = np.zeros(8)
    place[4] = 1 << 6  # row 5, right of the player
    game, points, over = play("asterix", RIGHT, place=place, gold=[True] * 8)
    assert (points, over, game.place.any()) == (1, False, False)
    game, points, over = play("asterix", RIGHT, place=place)
    assert (points, over, game.place[4]) == (0, True, 1 << 6)
    game, points, over = play("asterix", place=place, move_timer=0)  # it comes to the player
    assert over
    game, _, _ = play("asterix", UP, y=1)
    assert game.y == 1
    game, _, _ = play("asterix", spawn_timer=0, luck=[0.1, 0.2, 0.99])
    assert (game.place[7], bool(game.right[7]), bool(game.gold[7])) == (1, True, True)
    full = np.full(8, 1 << 3)
    game, _, _ = play("asterix", spawn_timer=0, place=full)
    np.testing.assert_array_equal(game.place, full)


def test_asterix_becomes_harder_unless_told_otherwise():
    game, _, _ = play("asterix", ramp_timer=-1, ramps=1)
    assert (game.spawn_interval, game.move_interval, game.ramp_timer, game.ramps) == (9, 4, 100, 2)
    game, _, _ = play("asterix", ramp_timer=-1, ramps=2)
    assert (game.spawn_interval, game.move_interval) == (9, 5)
    game, _, _ = play("asterix", ramp_timer=-1, ramping=False)
    assert (game.spawn_interval, game.ramps) == (10, 0)


def test_chickens_walk_are_hit_and_get_across():
    far = np.full(8, 1 << 9)
    game, _, _ = play("freeway", UP, cars=far, rest=0)
    assert (game.y, game.rest) == (8, 2)
    assert play("freeway", UP, cars=far, rest=1)[0].y == 9
    luck = np.append(np.full(8, 0.5), np.full(8, 0.1))
    game, points, _ = play("freeway", UP, luck, cars=far, rest=0, y=1)
    assert (game.y, points) == (9, 1)
    assert set(game.slowness) == {3}
    assert not game.right.any()
    game, _, _ = play("freeway", cars=np.full(8, 1 << 4), y=3)
    assert game.y == 9
    game, _, _ = play("freeway", cars=np.full(8, 1 << 3), timers=np.zeros(8), right=[True] * 8, y=3)
    assert game.y == 9
    assert play("freeway", left=0)[2]
    assert not play("freeway", left=1)[2]


def test_cars_drive_round_and_round_at_their_speed():
    slow, right = np.arange(8, dtype=np.int32) % 5 + 1, np.arange(8) % 2 == 0
    game = dataclasses.replace(start("freeway"), slowness=slow, timers=slow, right=right)
    for _ in range(60):
        game, _, _ = play("freeway", game=game)
    moved = 60 // (slow + 1)
    expected = np.where(right, moved, -moved) % 10
    np.testing.assert_array_equal(game.cars, 1 << expected)


def sea(**changes):
    """A game with the submarine below the surface, looking to the right."""
    return {"y": 3, "x": 5, "right": True, "surfaced": False, **changes}


def enemy(column, row, right=True, timer=3, armed=False, gun=5):
    """One enemy in the sea."""
    values = {"place": 1 << column, "row": row, "right": right, "timer": timer}
    values |= {"armed": armed, "gun_timer": gun}
    old = start("seaquest").enemies
    new = {key: np.where(np.arange(32) == 0, value, getattr(old, key)) for key, value in values.items()}
    return dataclasses.replace(old, **{k: v.astype(getattr(old, k).dtype) for k, v in new.items()})


def diver(column, row, timer=3):
    """One diver in the sea."""
    old = start("seaquest").divers
    new = {"place": [1 << column, 0], "row": [row, 0], "right": [True, False], "timer": [timer, 0]}
    return dataclasses.replace(old, **{k: np.asarray(v, getattr(old, k).dtype) for k, v in new.items()})


def test_air_runs_out_and_comes_back_with_divers():
    assert play("seaquest", **sea(air=9))[0].air == 8
    assert not play("seaquest", **sea(air=1))[2]
    assert play("seaquest", **sea(air=0))[2]
    assert play("seaquest", UP, **sea(y=1))[2]  # nobody on board
    game, points, over = play("seaquest", UP, **sea(y=1, air=90, rescued=2))
    assert (game.air, game.rescued, points, over, bool(game.surfaced)) == (200, 1, 0, False, True)
    game, points, over = play("seaquest", UP, **sea(y=1, air=90, rescued=6))
    assert (game.air, game.rescued, points, over) == (200, -1, 4, False)
    assert play("seaquest", **sea(y=0, surfaced=True))[0].air == 200


def test_divers_board_while_there_is_room():
    game, _, _ = play("seaquest", **sea(divers=diver(5, 3)))
    assert (game.rescued, game.divers.place.any()) == (1, False)
    assert play("seaquest", **sea(divers=diver(4, 3, timer=0)))[0].rescued == 1
    game, _, _ = play("seaquest", **sea(divers=diver(5, 3), rescued=6))
    assert (game.rescued, game.divers.place[0]) == (6, 1 << 5)


def test_shots_meet_enemies_and_enemies_the_submarine():
    game, points, over = play("seaquest", FIRE, **sea(enemies=enemy(6, 3)))
    assert (points, over, game.enemies.place.any(), game.shots.place.any()) == (1, False, False, False)
    assert game.shot_timer == 4
    game, points, _ = play("seaquest", FIRE, **sea(enemies=enemy(7, 3, right=False, timer=0)))
    assert (points, game.enemies.place.any()) == (1, False)
    assert not play("seaquest", FIRE, **sea(shot_timer=1))[0].shots.place.any()
    assert play("seaquest", **sea(enemies=enemy(5, 3)))[2]
    assert play("seaquest", **sea(enemies=enemy(4, 3, timer=0)))[2]
    game, _, over = play("seaquest", **sea(enemies=enemy(1, 4, armed=True, gun=0)))
    assert (game.right_bombs[4], game.enemies.gun_timer[0], over) == (1 << 2, 10, False)
    assert play("seaquest", **sea(right_bombs=np.eye(10)[3] * (1 << 4)))[2]
    assert not play("seaquest", UP, **sea(right_bombs=np.eye(10)[3] * (1 << 4)))[2]


def test_enemies_come_in_where_none_goes_the_other_way():
    luck = [0.1, 0.9, 0.3, 0.9, 0.9]  # to the right, a fish, row 3
    game, _, _ = play("seaquest", luck=luck, **sea(y=7, spawn_timer=0))
    assert (game.enemies.place[0], game.enemies.row[0], bool(game.enemies.armed[0])) == (1, 3, False)
    assert game.spawn_timer == 19
    against = dataclasses.replace(enemy(6, 3, right=False), next=np.int32(1))
    game, _, _ = play("seaquest", luck=luck, **sea(y=7, spawn_timer=0, enemies=against))
    assert np.count_nonzero(game.enemies.place) == 1
    game, _, _ = play("seaquest", **sea(diver_timer=0))
    assert (game.divers.place[0], game.divers.row[0], game.diver_timer) == (1 << 9, 8, 29)


def test_seaquest_becomes_harder_with_each_time_up():
    up = sea(y=1, rescued=1)
    game, _, _ = play("seaquest", UP, **up, ramps=1)
    assert (game.spawn_interval, game.move_interval, game.ramps) == (19, 4, 2)
    game, _, _ = play("seaquest", UP, **up, ramps=1, spawn_interval=1, move_interval=2)
    assert (game.spawn_interval, game.move_interval, game.ramps) == (1, 2, 1)
    assert play("seaquest", UP, ramping=False, **up)[0].spawn_interval == 20


def test_aliens_march_turn_and_bomb():
    game, _, _ = play("space_invaders", move_timer=0)
    np.testing.assert_array_equal(game.aliens[:5], [0b0001111110] * 4 + [0])
    assert game.move_timer == 11
    edge = np.zeros(10)
    edge[1] = 0b11
    game, _, _ = play("space_invaders", move_timer=0, aliens=edge)
    assert (game.aliens[2], bool(game.right), game.move_timer) == (0b11, True, 1)
    wide = np.zeros(10)
    wide[1], wide[3] = 0b1000000100, 0b0000000100
    game, _, _ = play("space_invaders", aliens=wide, bomb_timer=0, x=5)  # columns 2 and 9: 2 is nearer
    assert (game.bombs[3], game.bomb_timer) == (0b100, 9)
    game, _, _ = play("space_invaders", aliens=wide, bomb_timer=0, x=6)
    assert game.bombs[1] == 0b1000000000
    wide[1] = 0b0100000100
    game, _, _ = play("space_invaders", aliens=wide, bomb_timer=0, x=5)  # as near: the left one
    assert game.bombs[3] == 0b100


def test_the_cannon_shoots_is_hit_and_meets_the_next_wave():
    game, _, _ = play("space_invaders", FIRE)
    assert (game.shots[8], game.shot_timer) == (1 << 5, 4)
    one, shot = np.zeros(10), np.zeros(10)
    one[4], shot[5] = 1 << 5, 1 << 5
    game, points, _ = play("space_invaders", aliens=one, shots=shot)
    assert (points, game.interval, game.ramps, game.shots.any()) == (1, 11, 1, False)
    np.testing.assert_array_equal(game.aliens, start("space_invaders").aliens)
    assert play("space_invaders", aliens=one, shots=shot, interval=6)[0].interval == 6
    assert play("space_invaders", aliens=one, shots=shot, ramping=False)[0].interval == 12
    bomb, low = np.zeros(10), np.zeros(10)
    bomb[8], low[9] = 1 << 5, 1 << 0
    assert play("space_invaders", bombs=bomb)[2]
    assert not play("space_invaders", RIGHT, bombs=bomb)[2]
    assert play("space_invaders", aliens=low, move_timer=0)[2]  # nowhere to go down to


@pytest.mark.parametrize(
    ("name", "field", "share"), [("asterix", "gold_share", 0.8), ("seaquest", "sub_share", 0.8)]
)
def test_what_comes_in_is_drawn_by_its_share(name, field, share):
    luck = np.full(GAMES[name].luck[1], 0.7, np.float32)
    for value in (share, 0.6):
        env = dataclasses.replace(player(name)[0], **{field: jnp.float32(value)})
        game = dataclasses.replace(start(name), spawn_timer=np.int32(0))
        game = jax.device_get(player(name)[1](env, game, np.int32(0), luck))[0]
        kind = game.gold if name == "asterix" else game.enemies.armed
        assert bool(kind.any()) == (value > 0.7)


@pytest.mark.parametrize("name", GAMES)
def test_pictures_and_words_show_the_game(name):
    env = lift(GAMES[name]())
    state, obs = jax.device_get(jax.jit(lambda env: env.reset(jax.random.key(0)))(env))
    words = env.ascii(state)
    assert words.isascii()
    assert [len(line) for line in words.split("\n")] == [10] * 10
    shown = sum(mark != "." for mark in words.replace("\n", ""))
    assert shown == int(np.asarray(obs).any(-1).sum())
    light = draw(jax.jit(lambda env, state: env.view(state))(env, state), width=100)
    assert light.shape == (100, 100, 3)
    assert len(np.unique(light.reshape(-1, 3), axis=0)) > 3


def test_down_is_the_way_back():
    assert play("freeway", DOWN, cars=np.full(8, 1 << 9), rest=0, y=5)[0].y == 6
