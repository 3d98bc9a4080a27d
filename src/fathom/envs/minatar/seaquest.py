"""MinAtar's Seaquest: a submarine, its air, divers to rescue, and enemies that shoot."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fathom.envs.minatar.game import (
    DOWN,
    FIRE,
    FULL,
    LEFT,
    NOOP,
    RIGHT,
    SIDE,
    UP,
    Channel,
    Game,
    Rows,
    bit,
    counted,
    pick,
    row_of,
    rows_at,
    shifted,
)

_AIR = 200  # steps that a full tank lasts
_SEATS = 6  # divers that find room
_DEEPEST = 8  # the lowest row that the submarine reaches
_TENTHS = 10  # of the tank, which the gauge shows
_COOL = 5  # steps from one shot of the submarine to the next
_SALVO = 10  # steps between two shots of an enemy
_SPAWN, _DIVER_SPAWN = 20, 30  # steps between two enemies at the start, and between two divers
_MOVE, _FASTEST = 5, 2  # steps between two moves of an enemy, at the start and at least; of a diver always 5
# The most that there can be of each at once: a shot crosses the board in 10 steps and a diver in 60, and an
# enemy in 30 once one comes at every step.
_SHOTS, _DIVERS, _ENEMIES = 2, 2, 32


class Shots(eqx.Module):
    """The submarine's shots, the newest first."""

    place: Int[Array, " shot"]  # bit c: it is in column c; 0 for none
    row: Int[Array, " shot"]
    right: Bool[Array, " shot"]  # it flies to the right


class Divers(eqx.Module):
    """Divers in the sea, the newest first."""

    place: Int[Array, " diver"]  # bit c: it is in column c; 0 for none
    row: Int[Array, " diver"]
    right: Bool[Array, " diver"]  # it swims to the right
    timer: Int[Array, " diver"]  # steps until it moves


class Enemies(eqx.Module):
    """Fish and enemy submarines. A new one overwrites the one that came longest ago."""

    place: Int[Array, " enemy"]  # bit c: it is in column c; 0 for none
    row: Int[Array, " enemy"]
    right: Bool[Array, " enemy"]  # it swims to the right, as all others in its row
    timer: Int[Array, " enemy"]  # steps until it moves
    armed: Bool[Array, " enemy"]  # it is a submarine
    gun_timer: Int[Array, " enemy"]  # steps until it shoots
    next: Int[Array, ""]  # where the next one goes


class SeaquestState(eqx.Module):
    """The submarine, all that moves, and the timers."""

    x: Int[Array, ""]  # of the submarine's front
    y: Int[Array, ""]
    right: Bool[Array, ""]  # it looks to the right
    air: Int[Array, ""]  # steps that it lasts
    rescued: Int[Array, ""]  # divers on board
    shots: Shots
    left_bombs: Rows  # enemies' shots that fly to the left
    right_bombs: Rows
    divers: Divers
    enemies: Enemies
    spawn_interval: Int[Array, ""]  # steps between two enemies
    spawn_timer: Int[Array, ""]
    diver_timer: Int[Array, ""]
    move_interval: Int[Array, ""]  # steps that an enemy rests between two moves
    shot_timer: Int[Array, ""]
    surfaced: Bool[Array, ""]  # it is up and has taken air
    ramps: Int[Array, ""]  # how often it became harder


class Seaquest(Game):
    """Shoot fish and enemy submarines, +1 each, rescue divers, and come up for air in time.

    An enemy comes in every 20 steps, from the left or the right, in a row from 1 to 8: a submarine with
    probability `sub_share`, else a fish; none comes where one in that row goes the other way. It moves at
    every 6th step, and a submarine shoots at every 11th. A diver comes every 30 steps and boards where the
    submarine touches it, as long as fewer than six are on board. The tank holds air for 200 steps. Coming up
    without a diver ends the game; else it fills the tank and costs a diver. With six it pays a point for each
    tenth of the tank that was full and costs all of them and one more: the count is −1 then, as in the
    package. With `ramping`, each time one step less lies between two enemies and, every other time, between
    two moves, down to 1 and 2. Without air, or where the submarine touches an enemy or its shot, the game is
    over. Young & Tian 2019, arXiv:1903.03176; step for step equal to the package `minatar` 1.0.15.
    """

    sub_share: float = 1 / 3  # probability that an enemy is a submarine; 0 to 1
    ramping: bool = True  # it becomes harder each time that the submarine comes up

    controls: ClassVar = (NOOP, LEFT, UP, RIGHT, DOWN, FIRE)
    channels: ClassVar = (
        Channel("sub_front", "accent", "@"),
        Channel("sub_back", "body", "="),
        Channel("friendly_bullet", "accent", "'", 0.4, True),
        Channel("trail", "muted", ",", 0.4),
        Channel("enemy_bullet", "danger", "!", 0.4, True),
        Channel("enemy_fish", "danger", "x", 0.8, True),
        Channel("enemy_sub", "danger", "S"),
        Channel("oxygen_gauge", "value4", "-"),
        Channel("diver_gauge", "goal", "+", 0.6),
        Channel("diver", "goal", "d", 0.8, True),
    )
    luck: ClassVar = (0, 5)

    def begin(self, luck: Float[Array, "0"]) -> SeaquestState:
        """The submarine alone, at the surface, looking to the left."""
        x, air, spawn, diver, move, zero = (
            jnp.asarray(n, jnp.int32) for n in (SIDE // 2, _AIR, _SPAWN, _DIVER_SPAWN, _MOVE, 0)
        )
        calm = jnp.zeros(SIDE, jnp.int32)

        def none(n: int) -> tuple[Array, Array, Array, Array]:
            zeros = jnp.zeros(n, jnp.int32)
            return zeros, zeros, jnp.zeros(n, jnp.bool_), zeros

        return SeaquestState(
            x=x,
            y=zero,
            right=jnp.zeros((), jnp.bool_),
            air=air,
            rescued=zero,
            shots=Shots(*none(_SHOTS)[:3]),
            left_bombs=calm,
            right_bombs=calm,
            divers=Divers(*none(_DIVERS)),
            enemies=Enemies(*none(_ENEMIES), *none(_ENEMIES)[2:], next=zero),
            spawn_interval=spawn,
            spawn_timer=spawn,
            diver_timer=diver,
            move_interval=move,
            shot_timer=zero,
            surfaced=jnp.ones((), jnp.bool_),
            ramps=zero,
        )

    def play(
        self, game: SeaquestState, action: Int[Array, ""], luck: Float[Array, "5"]
    ) -> tuple[SeaquestState, Int[Array, ""], Bool[Array, ""]]:
        """Spawn, act, move shots, divers, enemies and their shots, and see to the air."""
        spawns, diver_comes = game.spawn_timer == 0, game.diver_timer == 0
        spawn_timer = jnp.where(spawns, game.spawn_interval, game.spawn_timer)
        diver_timer = jnp.where(diver_comes, _DIVER_SPAWN, game.diver_timer)
        enemies = self.spawned(game, spawns, luck[:3])
        divers = joined(game.divers, diver_comes, luck[3:])

        fires = (action == FIRE) & (game.shot_timer == 0)
        shot_timer = jnp.where(fires, _COOL, game.shot_timer)
        shots = fired(game, fires)
        leftwards, rightwards = action == LEFT, action == RIGHT
        x = game.x + rightwards.astype(jnp.int32) - leftwards.astype(jnp.int32)
        y = game.y + (action == DOWN).astype(jnp.int32) - (action == UP).astype(jnp.int32)
        x, y = jnp.clip(x, 0, SIDE - 1), jnp.clip(y, 0, _DEEPEST)
        right = (game.right | rightwards) & ~leftwards
        here = bit(x)

        enemies, shots, down = shot_down(enemies, shots)
        divers, rescued = boarded(divers, here, y, game.rescued)
        swim = self.apart(lambda given: swum(*given), (enemies, shots, game.move_interval, here, y))
        left_bombs, right_bombs = game.left_bombs | swim.left_bombs, game.right_bombs | swim.right_bombs
        bombed = row_of(left_bombs | right_bombs, y)
        left_bombs, right_bombs = left_bombs >> 1, (right_bombs << 1) & FULL
        bombed = bombed | row_of(left_bombs | right_bombs, y)

        up = y == 0
        comes_up = up & ~game.surfaced
        stranded = comes_up & (rescued == 0)
        refills = comes_up & ~stranded
        full = refills & (rescued == _SEATS)
        rescued = jnp.where(full, 0, rescued) - refills.astype(jnp.int32)
        points = down + swim.points + jnp.where(full, game.air * _TENTHS // _AIR, 0)
        over = swim.caught | ((bombed & here) != 0) | (game.air <= 0) | stranded
        harder = refills & ((game.spawn_interval > 1) | (game.move_interval > _FASTEST)) & self.ramping
        faster = harder & (game.move_interval > _FASTEST) & (game.ramps % 2 == 1)
        after = SeaquestState(
            x=x,
            y=y,
            right=right,
            air=jnp.where(refills, _AIR, game.air - (~up).astype(jnp.int32)),
            rescued=rescued,
            shots=swim.shots,
            left_bombs=left_bombs,
            right_bombs=right_bombs,
            divers=divers,
            enemies=swim.enemies,
            spawn_interval=jnp.where(harder, jnp.maximum(game.spawn_interval - 1, 1), game.spawn_interval),
            spawn_timer=counted(spawn_timer),
            diver_timer=counted(diver_timer),
            move_interval=game.move_interval - faster.astype(jnp.int32),
            shot_timer=counted(shot_timer),
            surfaced=up & (game.surfaced | refills),
            ramps=game.ramps + harder.astype(jnp.int32),
        )
        return after, points, over

    def spawned(self, game: SeaquestState, spawns: Bool[Array, ""], luck: Float[Array, "3"]) -> Enemies:
        """The enemies, with a new one where `spawns`, unless one in its row goes the other way."""
        old = game.enemies
        right, armed, row = luck[0] < 0.5, luck[1] < self.sub_share, pick(luck[2], _DEEPEST) + 1
        against = (old.place != 0) & (old.row == row) & (old.right ^ right)
        comes = spawns & ~against.any()
        new = comes & (jnp.arange(_ENEMIES, dtype=jnp.int32) == old.next)
        return Enemies(
            place=jnp.where(new, jnp.where(right, 1, 1 << (SIDE - 1)), old.place),
            row=jnp.where(new, row, old.row),
            right=jnp.where(new, right, old.right),
            timer=jnp.where(new, game.move_interval, old.timer),
            armed=jnp.where(new, armed, old.armed),
            gun_timer=jnp.where(new, _SALVO, old.gun_timer),
            next=(old.next + comes.astype(jnp.int32)) % _ENEMIES,
        )

    def planes(self, game: SeaquestState) -> tuple[Rows, ...]:
        """Both halves of the submarine, and so on, in the order of `channels`."""
        enemies, divers, shots = game.enemies, game.divers, game.shots
        # All enemies of a row in one word: fish in its lower half, submarines in the upper one, and between
        # them a bit for the direction that they have in common.
        rightwards = jnp.where((enemies.place != 0) & enemies.right, 1 << 15, 0)
        word = by_row(jnp.where(enemies.armed, enemies.place << 16, enemies.place) | rightwards, enemies.row)
        fish, subs = word & FULL, (word >> 16) & FULL
        trail = shifted(fish | subs, ((word >> 15) & 1) == 0)
        trail = trail | by_row(shifted(divers.place, ~divers.right), divers.row)
        air, rescued = jnp.maximum(game.air, 0) * _TENTHS // _AIR, jnp.maximum(game.rescued, 0)
        last = jnp.asarray(SIDE - 1, jnp.int32)
        return (
            rows_at(game.y, bit(game.x)),
            rows_at(game.y, bit(jnp.where(game.right, game.x - 1, game.x + 1))),
            by_row(shots.place, shots.row),
            trail,
            game.left_bombs | game.right_bombs,
            fish,
            subs,
            rows_at(last, (1 << air) - 1),
            rows_at(last, ((1 << rescued) - 1) << (last - rescued)),
            by_row(divers.place, divers.row),
        )


class Swim(NamedTuple):
    """What comes of the enemies' moves."""

    enemies: Enemies
    shots: Shots
    left_bombs: Rows
    right_bombs: Rows
    points: Int[Array, ""]
    caught: Bool[Array, ""]  # the submarine touches one of them


def by_row(place: Int[Array, " thing"], row: Int[Array, " thing"]) -> Rows:
    """Things as a channel: in each row the bits of all things in it."""
    within = jnp.arange(SIDE, dtype=jnp.int32)[:, None] == row[None, :]
    return jax.lax.reduce(jnp.where(within, place[None, :], 0), jnp.int32(0), jax.lax.bitwise_or, (1,))


def joined(divers: Divers, comes: Bool[Array, ""], luck: Float[Array, "2"]) -> Divers:
    """The divers, with a new one where `comes`."""
    right = luck[0] < 0.5
    place = jnp.where(right, 1, 1 << (SIDE - 1))
    new = (place, pick(luck[1], _DEEPEST) + 1, right, jnp.asarray(_MOVE, jnp.int32))
    old = (divers.place, divers.row, divers.right, divers.timer)
    return Divers(*(pushed(a, b, comes) for a, b in zip(old, new, strict=True)))


def fired(game: SeaquestState, fires: Bool[Array, ""]) -> Shots:
    """The submarine's shots one cell on, with a new one where it `fires`."""
    old, new = (game.shots.place, game.shots.row, game.shots.right), (bit(game.x), game.y, game.right)
    place, row, right = (pushed(a, b, fires) for a, b in zip(old, new, strict=True))
    return Shots(shifted(place, right), row, right)


def pushed(old: Array, new: Array, comes: Bool[Array, ""]) -> Array:
    """`new` before all but the last of `old` where it `comes`."""
    return jnp.where(comes, jnp.concatenate([new[None], old[:-1]]), old)


def shot_down(enemies: Enemies, shots: Shots) -> tuple[Enemies, Shots, Int[Array, ""]]:
    """What the shots find in their cells is gone with them: one each, fish first, then what came first."""
    age = (jnp.arange(_ENEMIES, dtype=jnp.int32) - enemies.next) % _ENEMIES
    order = jnp.where(enemies.armed, age + _ENEMIES, age)
    none, place, left = 2 * _ENEMIES, enemies.place, []
    points = jnp.zeros((), jnp.int32)
    for i in range(_SHOTS):
        struck = (enemies.row == shots.row[i]) & ((place & shots.place[i]) != 0)
        first = jnp.where(struck, order, none).min()
        place = jnp.where(order == first, 0, place)
        left.append(jnp.where(first < none, 0, shots.place[i]))
        points = points + (first < none).astype(jnp.int32)
    enemies = eqx.tree_at(lambda e: e.place, enemies, place)
    return enemies, Shots(jnp.stack(left), shots.row, shots.right), points


def boarded(
    divers: Divers, here: Int[Array, ""], y: Int[Array, ""], rescued: Int[Array, ""]
) -> tuple[Divers, Int[Array, ""]]:
    """Divers one step later, and how many are on board: they board before or after they move."""
    places, moves = [], divers.timer == 0
    for i in range(_DIVERS):
        place, level = divers.place[i], divers.row[i] == y
        boards = level & ((place & here) != 0) & (rescued < _SEATS)
        rescued, place = rescued + boards.astype(jnp.int32), jnp.where(boards, 0, place)
        place = jnp.where(moves[i], shifted(place, divers.right[i]), place)
        boards = level & ((place & here) != 0) & (rescued < _SEATS)
        rescued, place = rescued + boards.astype(jnp.int32), jnp.where(boards, 0, place)
        places.append(place)
    timer = jnp.where(moves, _MOVE, divers.timer - 1)
    return Divers(jnp.stack(places), divers.row, divers.right, timer), rescued


def swum(
    enemies: Enemies, shots: Shots, interval: Int[Array, ""], here: Int[Array, ""], y: Int[Array, ""]
) -> Swim:
    """Enemies one step later. One that swims into a shot is gone with it, and may have shot itself."""
    level, moves = enemies.row == y, enemies.timer == 0
    place = jnp.where(moves, shifted(enemies.place, enemies.right), enemies.place)
    meets = level & moves & ((place & here) != 0)
    caught = meets | (level & ((enemies.place & here) != 0))

    ready = enemies.armed & (enemies.place != 0) & (enemies.gun_timer == 0)
    aimed = jnp.where(ready, place, 0)
    bombs = by_row(jnp.where(enemies.right, aimed << 16, aimed), enemies.row)
    gun_timer = jnp.where(enemies.gun_timer == 0, _SALVO, enemies.gun_timer - 1)

    left, points = [], jnp.zeros((), jnp.int32)
    for i in reversed(range(_SHOTS)):  # the older shot first
        struck = moves & ~meets & (enemies.row == shots.row[i]) & ((place & shots.place[i]) != 0)
        place = jnp.where(struck, 0, place)
        left.insert(0, jnp.where(struck.any(), 0, shots.place[i]))
        points = points + struck.any().astype(jnp.int32)
    timer = jnp.where(moves, interval, enemies.timer - 1)
    after = Enemies(place, enemies.row, enemies.right, timer, enemies.armed, gun_timer, enemies.next)
    shots = Shots(jnp.stack(left), shots.row, shots.right)
    return Swim(after, shots, bombs & FULL, bombs >> 16, points, caught.any())
