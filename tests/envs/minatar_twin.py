"""The package `minatar`, driven by the random numbers that ours is given, and its states in our form."""

import copy

import jax
import numpy as np

from fathom.envs.minatar.asterix import Asterix, AsterixState
from fathom.envs.minatar.breakout import Breakout, BreakoutState
from fathom.envs.minatar.freeway import Freeway, FreewayState
from fathom.envs.minatar.seaquest import Divers, Enemies, Seaquest, SeaquestState, Shots
from fathom.envs.minatar.space_invaders import SpaceInvaders, SpaceInvadersState

GAMES = {
    "breakout": Breakout,
    "asterix": Asterix,
    "freeway": Freeway,
    "seaquest": Seaquest,
    "space_invaders": SpaceInvaders,
}
HIDDEN = {"random", "channels", "action_map"}  # what is no part of the package's state


class Script:
    """Stands in for the package's random generator: gives out numbers in [0, 1) that were laid ready."""

    def __init__(self):
        self.numbers = []

    def rand(self, *shape):
        if shape:
            return np.array([self.numbers.pop(0) for _ in range(shape[0])])
        return self.numbers.pop(0)

    def randint(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        if size is not None:
            return np.array([self.randint(low, high) for _ in range(size)])
        return low + int(np.float32(self.numbers.pop(0)) * np.float32(high - low))


class Twin:
    """A game of the package."""

    def __init__(self, name, ramping=True):
        from minatar import Environment

        self.name, self.script = name, Script()
        # Its last action outlives a reset, where ours begins anew; sticky actions are compared by the test.
        self.package = Environment(name, sticky_action_prob=0.1, difficulty_ramping=ramping)
        self.package.random = self.package.env.random = self.script

    def reset(self, luck):
        self.script.numbers = [float(x) for x in luck]
        self.package.reset()
        self.package.last_action = 0
        return self.package.state()

    def act(self, action, luck):
        """A step by our random numbers, the first of which decides on the sticky action."""
        numbers = [float(x) for x in luck]
        if self.name == "seaquest" and self.package.env.e_spawn_timer != 0:
            numbers = [numbers[0], *numbers[4:]]  # those for an enemy are not asked for
        self.script.numbers = numbers
        reward, over = self.package.act(action)
        return reward, over, self.package.state()

    def attributes(self):
        found = {key: value for key, value in vars(self.package.env).items() if key not in HIDDEN}
        return copy.deepcopy(found)


def i32(x):
    return np.asarray(x, np.int32)


def bits(row):
    return sum(1 << c for c in range(10) if row[c])


def rows(board):
    return i32([bits(row) for row in board])


def columns(things, size, parts):
    """Lists [x, ...] as arrays by component, x as a bit; places that are free are 0."""
    assert len(things) <= size, (len(things), size)
    table = np.zeros((parts, size), np.int32)
    for i, thing in enumerate(things):
        table[:, i] = [1 << thing[0], *thing[1:parts]]
    return list(table)


def breakout(s):
    dx, dy = [(-1, -1), (1, -1), (1, 1), (-1, 1)][s["ball_dir"]]
    wall = s["brick_map"]
    assert not wall[0].any()
    assert not wall[4:].any()
    bricks = sum(bits(wall[1 + k]) << (10 * k) for k in range(3))
    where = (s["ball_x"], s["ball_y"], s["last_x"], s["last_y"], dx, dy, s["pos"], bricks)
    return BreakoutState(*map(i32, where), np.asarray(bool(s["strike"])))


def asterix(s):
    place, right, gold = i32(np.zeros(8)), np.zeros(8, bool), np.zeros(8, bool)
    for i, thing in enumerate(s["entities"]):
        if thing is not None:
            assert thing[1] == i + 1
            place[i], right[i], gold[i] = 1 << thing[0], thing[2], thing[3]
    timers = ("spawn_speed", "spawn_timer", "move_speed", "move_timer", "ramp_timer", "ramp_index")
    return AsterixState(
        i32(s["player_x"]), i32(s["player_y"]), place, right, gold, *(i32(s[t]) for t in timers)
    )


def freeway(s):
    x, y, timer, speed = (i32([car[k] for car in s["cars"]]) for k in range(4))
    assert list(y) == list(range(1, 9))
    cars, rest, left = i32(1 << x), i32(s["move_timer"]), i32(s["terminate_timer"])
    return FreewayState(i32(s["pos"]), cars, timer, abs(speed), speed > 0, rest, left)


def space_invaders(s):
    boards = (rows(s[board]) for board in ("alien_map", "f_bullet_map", "e_bullet_map"))
    timers = ("enemy_move_interval", "alien_move_timer", "alien_shot_timer", "shot_timer", "ramp_index")
    right = np.asarray(s["alien_dir"] > 0)
    return SpaceInvadersState(i32(s["pos"]), *boards, right, *(i32(s[t]) for t in timers))


def seaquest(s):
    place, row, right = columns(s["f_bullets"][::-1], 2, 3)
    shots = Shots(place, row, right.astype(bool))
    place, row, right, timer = columns(s["divers"][::-1], 2, 4)
    divers = Divers(place, row, right.astype(bool), timer)
    bombs = i32(np.zeros((2, 10)))
    for x, y, to_right in s["e_bullets"]:
        bombs[int(to_right), y] |= 1 << x
    things = [[*fish, 0] for fish in s["e_fish"]] + s["e_subs"]
    place, row, right, timer, gun = columns(things, 32, 5)
    armed = np.arange(32) >= len(s["e_fish"])
    enemies = Enemies(place, row, right.astype(bool), timer, armed, gun, i32(len(things) % 32))
    timers = ("e_spawn_speed", "e_spawn_timer", "d_spawn_timer", "move_speed", "shot_timer")
    return SeaquestState(
        *(i32(s["sub_x"]), i32(s["sub_y"]), np.asarray(bool(s["sub_or"])), i32(s["oxygen"])),
        *(i32(s["diver_count"]), shots, bombs[0], bombs[1], divers, enemies),
        *(i32(s[t]) for t in timers),
        *(np.asarray(bool(s["surface"])), i32(s["ramp_index"])),
    )


FORMS = {f.__name__: f for f in (breakout, asterix, freeway, seaquest, space_invaders)}


def plain(state):
    """What matters of one of our states, as lists: not what empty places hold, nor their order."""
    found = {}
    for key, value in vars(state).items():
        if isinstance(value, Enemies):
            found[key] = sorted(
                (*(int(part[i]) for part in (value.place, value.row, value.right, value.timer)),)
                + ((int(value.gun_timer[i]),) if value.armed[i] else ())
                for i in np.flatnonzero(value.place)
            )
        elif isinstance(value, Shots | Divers):
            parts = list(vars(value).values())
            found[key] = [[int(part[i]) for part in parts] for i in np.flatnonzero(value.place)]
        elif isinstance(state, AsterixState) and key in ("right", "gold"):
            found[key] = (value & (state.place != 0)).tolist()
        else:
            found[key] = np.asarray(value).tolist()
    return found


def stacked(states):
    """States one after another, as one with a leading axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def unstacked(states, n):
    """The other way round."""
    return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), states) for i in range(n)]
