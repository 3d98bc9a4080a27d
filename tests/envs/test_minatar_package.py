"""Ours against the package `minatar` 1.0.15, step by step, by the same random numbers."""

import collections
import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

pytest.importorskip("minatar", reason="compares with the package minatar (GPL), which is no dependency")

from fathom.core.module import lift
from fathom.envs import chance

from .minatar_twin import FORMS, GAMES, Twin, plain, stacked, unstacked

STEPS = 4000
LIKELY = {"freeway": [2, 2, 2, 4], "space_invaders": [1, 3, 5, 5, 5], "seaquest": [1, 2, 2, 3, 4, 5]}
WHOLE = 1500


def assert_same_states(ours, theirs, when):
    for t, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert plain(mine) == plain(other), (when, t)


@pytest.mark.parametrize("name", GAMES)
def test_whole_games_are_equal_sticky_actions_included(name):
    env = lift(GAMES[name].with_all_actions())
    starts, draws = env.luck
    rng = np.random.default_rng(1)
    actions = np.repeat(rng.integers(0, 6, WHOLE), rng.integers(1, 4, WHOLE))[:WHOLE].astype(np.int32)
    keys, fresh = jax.random.split(jax.random.key(2), (2, WHOLE))

    @jax.jit
    def play(env):
        def step(state, given):
            action, key, fresh = given
            after, step = env.step(key, state, action)
            new, _ = env.reset(fresh)
            kept = jax.tree.map(lambda a, b: jnp.where(step.terminated, a, b), new, after)
            return kept, (after.game, step)

        first, obs = env.reset(fresh[0])
        luck = jax.vmap(lambda key: chance.uniforms(key, 1 + draws))(keys)
        again = jax.vmap(lambda key: chance.uniforms(key, starts))(fresh)
        return obs, luck, again, jax.lax.scan(step, first, (actions, keys, fresh))[1]

    first, luck, again, (states, steps) = jax.device_get(play(env))
    twin = Twin(name)
    np.testing.assert_array_equal(first, twin.reset(again[0]))
    theirs, ends = [], 0
    for t in range(WHOLE):
        reward, over, obs = twin.act(int(actions[t]), luck[t])
        theirs.append(FORMS[name](twin.attributes()))
        assert (steps.reward[t], steps.terminated[t]) == (reward, over), t
        np.testing.assert_array_equal(steps.obs[t], obs, str(t))
        ends += over
        if over:
            twin.reset(again[t])
    assert_same_states(unstacked(states, WHOLE), theirs, name)
    assert ends > 0 or name == "freeway"  # whose games take 2,500 steps


def late(name, env, rng):
    """Something that only long games reach, set at the start of one."""
    if name == "breakout":
        env.brick_map[1:4] = rng.random((3, 10)) < rng.choice([0.1, 0.5])
    elif name == "asterix":
        env.ramp_index = int(rng.integers(0, 12))
        env.spawn_speed, env.move_speed = max(10 - env.ramp_index, 1), max(5 - env.ramp_index // 2, 1)
        env.ramp_timer = int(rng.integers(-1, 10))
    elif name == "freeway":
        env.terminate_timer = int(rng.integers(100, 700))
        env.pos = int(rng.integers(1, 10))
    elif name == "seaquest":
        env.ramp_index = int(rng.integers(0, 26))
        env.e_spawn_speed, env.move_speed = max(20 - env.ramp_index, 1), max(5 - env.ramp_index // 2, 2)
        env.oxygen, env.diver_count = int(rng.integers(5, 201)), int(rng.integers(-2, 7))
        env.sub_y, env.surface = int(rng.integers(0, 9)), False
    else:
        env.enemy_move_interval = int(rng.integers(6, 13))
        env.alien_map[:4] *= rng.random((4, 10)) < rng.choice([0.05, 0.5, 1.0])
        env.alien_map[2, 5] = 1


def reached(name, steps, seed):
    """Steps of the package from states that play reaches: before, action, luck, reward, over, after, obs."""
    rng = np.random.default_rng(seed)
    twin, (starts, draws) = Twin(name), GAMES[name].luck
    over, action, rows = True, 0, []
    for _ in range(steps):
        if over:
            twin.reset(rng.random(starts, np.float32))
            late(name, twin.package.env, rng)
        luck = np.append(np.float32(0.5), rng.random(draws, np.float32))
        before = twin.attributes()
        if rng.random() < 0.5:
            action = int(rng.choice(LIKELY.get(name, range(6))))
        # Mostly avoid what would end the game at once, as who plays well does.
        for _ in range(5 if rng.random() < 0.97 else 0):
            if not copy.deepcopy(twin).act(action, luck)[1]:
                break
            action = int(rng.integers(6))
        reward, over, obs = twin.act(action, luck)
        rows.append((before, action, luck[1:], reward, over, twin.attributes(), obs))
    return rows


def compare(name, steps, seed):
    """Whether each step of the package is ours too; what was seen on the way, counted."""
    rows = reached(name, steps, seed)
    before, action, luck, reward, over, after, obs = zip(*rows, strict=True)
    env = lift(GAMES[name]())

    @jax.jit
    @jax.vmap
    def step(game, action, luck):
        game, points, over = env.play(game, action, luck)
        return game, points, over, env.observe(game)

    games = stacked([FORMS[name](s) for s in before])
    found = jax.device_get(step(games, np.array(action, np.int32), np.stack(luck)))
    np.testing.assert_array_equal(found[1], reward)
    np.testing.assert_array_equal(found[2], over)
    np.testing.assert_array_equal(found[3], np.stack(obs))
    assert_same_states(unstacked(found[0], steps), [FORMS[name](s) for s in after], name)
    return {
        "points": sum(reward),
        "ends": sum(over),
        "ramps": len({s.get("ramp_index", 0) for s in after}),
        "crowd": max((len(s["e_fish"]) + len(s["e_subs"]) for s in after), default=0)
        if name == "seaquest"
        else 0,
        "largest": max(reward),
    }


@pytest.mark.parametrize("name", GAMES)
def test_every_state_is_followed_by_the_same_one(name):
    seen = compare(name, STEPS, seed=3)
    assert seen["points"] > 5
    assert seen["ends"] > 2
    assert seen["ramps"] > (1 if name == "space_invaders" else 3) or name in ("breakout", "freeway")
    if name == "seaquest":
        assert seen["crowd"] > 12
        assert seen["largest"] > 1  # six divers were brought up


SPAWNS = 3000


def theirs_spawned(name):
    """What came in, by the package's own generator."""
    from minatar import Environment

    package, found = Environment(name, sticky_action_prob=0.0), collections.Counter()
    package.seed(4)
    for _ in range(SPAWNS):
        package.reset()
        env = package.env
        if name == "breakout":
            found["start", env.ball_x] += 1
        elif name == "asterix":
            env.spawn_timer = 0
            env.entities[2] = [4, 3, True, False]
            package.act(0)
            (thing,) = [e for i, e in enumerate(env.entities) if e is not None and i != 2]
            found["thing", thing[1] - 1, bool(thing[2]), bool(thing[3])] += 1
        elif name == "freeway":
            for lane, car in enumerate(env.cars):
                found[lane, int(abs(car[3])), bool(car[3] > 0)] += 1
        elif name == "seaquest":
            env.e_spawn_timer = env.d_spawn_timer = 0
            package.act(0)
            (enemy,) = env.e_fish + env.e_subs
            (diver,) = env.divers
            found["enemy", enemy[1], bool(enemy[2]), bool(env.e_subs)] += 1
            found["diver", diver[1], bool(diver[2])] += 1
    return found


def ours_spawned(name):
    """The same, by ours."""
    env, keys = lift(GAMES[name]()), jax.random.split(jax.random.key(5), SPAWNS)
    start = jax.jit(jax.vmap(env.reset))(keys)[0].game
    found = collections.Counter()
    if name == "breakout":
        return collections.Counter(("start", int(x)) for x in start.x)
    if name == "freeway":
        slowness, right = np.asarray(start.slowness), np.asarray(start.right)
        for lane in range(8):
            found.update(
                (lane, int(s), bool(r)) for s, r in zip(slowness[:, lane], right[:, lane], strict=True)
            )
        return found
    zero = np.zeros(SPAWNS, np.int32)
    if name == "asterix":
        place = np.zeros((SPAWNS, 8), np.int32)
        place[:, 2] = 1 << 4
        start = type(start)(**{**vars(start), "spawn_timer": zero, "place": place})
    else:
        start = type(start)(**{**vars(start), "spawn_timer": zero, "diver_timer": zero})
    played = type(jax.eval_shape(env.reset, keys[0])[0])(start, zero)
    after = jax.device_get(jax.jit(jax.vmap(env.step))(keys, played, zero)[0].game)
    if name == "asterix":
        for i in range(SPAWNS):
            (lane,) = [k for k in np.flatnonzero(after.place[i]) if k != 2]
            found["thing", int(lane), bool(after.right[i, lane]), bool(after.gold[i, lane])] += 1
        return found
    enemies, divers = after.enemies, after.divers
    for i in range(SPAWNS):
        found["enemy", int(enemies.row[i, 0]), bool(enemies.right[i, 0]), bool(enemies.armed[i, 0])] += 1
        found["diver", int(divers.row[i, 0]), bool(divers.right[i, 0])] += 1
    return found


@pytest.mark.parametrize("name", ["breakout", "asterix", "freeway", "seaquest"])
def test_what_comes_in_has_the_packages_distribution(name):
    mine, other = ours_spawned(name), theirs_spawned(name)
    assert set(mine) == set(other)
    for kind in {key[0] for key in mine}:
        keys = sorted(key for key in mine if key[0] == kind)
        table = [[counts[key] for key in keys] for counts in (mine, other)]
        assert stats.chi2_contingency(table).pvalue > 1e-4
