"""Atari 2600 games through the Arcade Learning Environment, with the preprocessing of the DQN paper."""

import dataclasses
import functools
import importlib
import importlib.util
import math
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from jaxtyping import UInt8

from fathom.core.errors import FathomError, UnknownName
from fathom.envs.host import HostEnv, HostSettings

Frame = UInt8[np.ndarray, "height width"]

_FPS = 60.0  # frames of the console per second
_TWO_PLAYERS = ("combat", "joust", "maze_craze", "warlords")  # no game for one


class Atari(HostSettings):
    """A game of the Atari 2600 as the DQN paper shows it: a stack of small grey pictures.

    Bellemare et al. 2013, arXiv:1207.4708 (the Arcade Learning Environment); Mnih et al. 2015, Nature 518,
    Methods (the preprocessing); Machado et al. 2018, arXiv:1709.06009 (sticky actions, and what a life is).
    Observations are uint8 [screen_size, screen_size, frame_stack], the newest frame last.

    `clip_rewards` and `life_loss_ends` are for learning only: the episode returns that a run reports are the
    game's own, and evaluation plays whole games. Raises FathomError for values out of range.
    """

    game: str = "pong"  # name of the ROM, in small letters with underscores: space_invaders
    frame_skip: int = 4  # frames that an action is held for; the picture is the maximum of the last two
    frame_stack: int = 4  # newest pictures seen at once
    screen_size: int = 84  # height and width of a picture; the Nature CNN takes 36 and more
    noop_max: int = 30  # an episode starts with 1 to this many frames of doing nothing; 0 for none
    sticky: float = 0.25  # probability that a frame repeats the action before it; 0.25 (Machado) or 0 (DQN)
    clip_rewards: bool = True  # the learner sees the sign of a step's reward
    life_loss_ends: bool = False  # for the learner, a lost life terminates the episode; the game goes on
    fire_on_reset: bool = False  # press FIRE for a frame after each start, for games that wait for it
    full_actions: bool = False  # all 18 actions of the console, also those that the game does not know
    max_frames: int = 108_000  # an episode is cut after so many frames; 108,000 is half an hour
    engine: Literal["ale", "envpool"] = "ale"  # what runs the games; EnvPool cannot be resumed to the bit

    def __check_init__(self) -> None:
        least = {"frame_skip": 1, "frame_stack": 1, "screen_size": 1, "noop_max": 0, "max_frames": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise FathomError(f"Atari: {name} is {getattr(self, name)}; give at least {low}.")
        if not 0.0 <= float(self.sticky) < 1.0:
            raise FathomError(f"Atari: sticky is {self.sticky}; it is a probability below 1.")

    @property
    def id(self) -> str:
        """The name by which `make` knows the game: "ALE/SpaceInvaders-v5"."""
        return f"ALE/{_title(self.game)}-v5"

    @property
    def frames(self) -> int:
        """`frame_stack`."""
        return self.frame_stack

    def judged(self) -> "Atari":
        """The game as it is evaluated: its own rewards, and no end but its own."""
        return dataclasses.replace(self, clip_rewards=False, life_loss_ends=False)

    def host(self) -> HostEnv:
        """The environment that has these settings. FathomError where the game or its package is missing."""
        rom_of(self.game)
        vectorised = None
        if self.engine == "envpool":
            from fathom.envs.pool import PoolVec

            require("envpool", "envpool")
            vectorised = functools.partial(PoolVec, self)
        judged = self.judged()
        evaluated = None if judged == self else judged.host()
        make = functools.partial(AtariEnv, self)
        return HostEnv(make, self.id, settings=self, evaluated=evaluated, vectorised=vectorised)


def named(id: str) -> Atari:
    """The settings behind an id, "ALE/Pong-v5"; UnknownName with the nearest where there is no such game."""
    games = {f"ALE/{_title(game)}-v5": game for game in roms()}
    if id not in games:
        raise UnknownName("Atari game", id, games)
    return Atari(game=games[id])


def other_name(id: str) -> str | None:
    """Our id of the game that other packages call "Pong-v5" or "PongNoFrameskip-v4"; None for other ids."""
    stem, dash, version = id.partition("-v")
    for suffix in ("NoFrameskip", "Deterministic"):
        stem = stem.removesuffix(suffix)
    if not dash or version not in ("0", "4", "5") or importlib.util.find_spec("ale_py") is None:
        return None
    return next((Atari(game=game).id for game in roms() if _title(game) == stem), None)


def roms() -> list[str]:
    """The games that ale-py brings, without those for two players only. FathomError where it is missing."""
    return sorted(set(_ale("ale_py.roms").get_all_rom_ids()) - set(_TWO_PLAYERS))


def rom_of(game: str) -> Any:
    """The path of a game's ROM; UnknownName with the nearest games, FathomError where its file is gone."""
    if game not in roms():
        raise UnknownName("Atari game", game, roms(), "Names are those of ale-py, in small letters.")
    path = _ale("ale_py.roms").get_rom_path(game)
    if path is None or not path.is_file():
        raise FathomError(
            f"the ROM of {game!r} is missing from the installed ale-py. Install it again with: "
            'pip install --force-reinstall "fathom-rl[atari]"'
        )
    return path


def _ale(module: str) -> Any:
    return require(module, "atari")


def require(module: str, extra: str) -> Any:
    """A module of an extra; FathomError with the command where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FathomError(
            f"Atari games need a package that is not installed ({error}). Install it with: "
            f'pip install "fathom-rl[{extra}]"'
        ) from error


def _title(game: str) -> str:
    return game.title().replace("_", "")


class AtariEnv(gymnasium.Env):
    """One game as a Gymnasium environment, copied to the bit by `get_state` and `set_state`.

    At `sticky=0` it equals Gymnasium's `AtariPreprocessing` and `FrameStackObservation` at equal seeds, but
    for three things. Pictures are averaged over areas in whole numbers, the same on every machine; halves are
    rounded up, where OpenCV rounds them now up, now down. An episode that ends within a skip shows its very
    last frame. After a lost life the game goes on.

    Sticky actions are drawn here and not by the emulator, which keeps the action in force to itself: a copy
    could not hold it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": _FPS}  # noqa: RUF012

    def __init__(self, settings: Atari) -> None:
        ale_py = _ale("ale_py")
        self.settings = settings
        self.render_mode = "rgb_array"
        self._state_kind = ale_py.ALEState
        self._rom = rom_of(settings.game)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.setInt("max_num_frames_per_episode", settings.max_frames)
        self._seed(None)
        actions = self.ale.getLegalActionSet() if settings.full_actions else self.ale.getMinimalActionSet()
        self._actions = [action.value for action in actions]  # in the console's own order
        self._noop, self._fire = ale_py.Action.NOOP.value, ale_py.Action.FIRE.value
        if settings.fire_on_reset and self._fire not in self._actions:
            raise FathomError(f"{settings.id} has no FIRE among its actions; leave fire_on_reset off.")
        size = settings.screen_size
        self._resizer = Resizer(self.ale.getScreenDims(), (size, size))
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))
        shape = (size, size, settings.frame_stack)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, np.uint8)
        self.metadata = {**self.metadata, "render_fps": _FPS / settings.frame_skip}
        self._max_episode_steps = math.ceil(settings.max_frames / settings.frame_skip)
        self._sticky = float(settings.sticky)
        self._newest = np.empty(self.ale.getScreenDims(), np.uint8)
        self._before = np.empty_like(self._newest)
        self._stack = np.zeros(shape, np.uint8)
        self._last = self._noop  # the action in force
        self._lives = 0
        self._life_lost = False  # by the last step, and the game goes on
        self._return, self._length = 0.0, 0  # of the game, in its own rewards

    def _seed(self, seed: int | None) -> None:
        """Seed chance as ale-py's own environment does, and start the console anew."""
        own, console = np.random.SeedSequence(seed).generate_state(2)
        self._np_random, self._np_random_seed = seeding.np_random(int(own))
        self.ale.setInt("random_seed", int(console.astype(np.int32)))
        self.ale.loadROM(self._rom)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """A new game; where the learner's episode ended with a life, the same game, at its next life."""
        if seed is not None:
            self._seed(seed)
        if seed is not None or not self._life_lost:
            self._begin()
        self._life_lost = False
        if self.settings.fire_on_reset:
            self.ale.act(self._fire)
            self._last = self._fire
        self._lives = self.ale.lives()
        self.ale.getScreenGrayscale(self._newest)
        picture = self._resizer(self._newest)
        self._stack = np.repeat(picture[:, :, None], self.settings.frame_stack, axis=2)
        return self._stack, {"lives": self._lives}

    def _begin(self) -> None:
        self.ale.reset_game()
        most = self.settings.noop_max
        for _ in range(int(self.np_random.integers(1, most + 1)) if most else 0):
            self.ale.act(self._noop)
            if self.ale.game_over():
                self.ale.reset_game()
        self._last = self._noop
        self._return, self._length = 0.0, 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Hold an action for `frame_skip` frames, fewer where the episode ends among them.

        The info has `lives`, and `episode_return` and `episode_length`, of the whole game in its own rewards
        and the agent's steps, which are NaN until the game is over.
        """
        settings, ale = self.settings, self.ale
        chosen = self._actions[int(action)]
        repeats = self.np_random.random(settings.frame_skip) < self._sticky if self._sticky else None
        reward, over, cut, lost, seen = 0.0, False, False, False, 0
        for t in range(settings.frame_skip):
            if repeats is None or not repeats[t]:
                self._last = chosen
            reward += ale.act(self._last)
            over, cut = ale.game_over(with_truncation=False), ale.game_truncated()
            lives = ale.lives()
            lost, self._lives = settings.life_loss_ends and lives < self._lives, lives
            ends = over or cut or lost
            if ends or t >= settings.frame_skip - 2:
                self._newest, self._before = self._before, self._newest
                ale.getScreenGrayscale(self._newest)
                seen += 1
            if ends:
                break
        pooled = np.maximum(self._newest, self._before) if seen > 1 else self._newest
        picture = self._resizer(pooled)
        self._stack = np.concatenate([self._stack[:, :, 1:], picture[:, :, None]], axis=2)
        self._return, self._length = self._return + reward, self._length + 1
        self._life_lost = lost and not (over or cut)
        info = {"lives": self._lives, **told(over or cut, self._return, self._length)}
        gain = float(np.sign(reward)) if settings.clip_rewards else float(reward)
        return self._stack, gain, over or lost, cut, info

    def render(self) -> Any:
        """The screen in colour, uint8 [height, width, 3]."""
        return self.ale.getScreenRGB()

    def get_state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain data."""
        console = self.ale.cloneState(include_rng=True).serialize()
        return {
            "console": np.frombuffer(console, np.uint8),
            "stack": self._stack,
            "last": self._last,
            "lives": self._lives,
            "life_lost": self._life_lost,
            "return": self._return,
            "length": self._length,
            "np_random": self._np_random,
            "np_random_seed": self._np_random_seed,
        }

    def set_state(self, tree: dict[str, Any]) -> None:
        """Go back to what `get_state` told. FathomError if it is of other settings."""
        stack = tree["stack"]
        if stack.shape != self._stack.shape:
            raise FathomError(
                f"the state's pictures are {list(stack.shape)}, these settings' {list(self._stack.shape)}."
            )
        self.ale.restoreState(self._state_kind(tree["console"].tobytes()))
        self._stack = np.array(stack)
        self._last, self._lives, self._life_lost = tree["last"], tree["lives"], tree["life_lost"]
        self._return, self._length = tree["return"], tree["length"]
        self._np_random, self._np_random_seed = tree["np_random"], tree["np_random_seed"]


def told(over: bool, total: float, length: int) -> dict[str, float]:
    """The infos by which the engine reports whole games, NaN where none is over in this step."""
    return {
        "episode_return": total if over else math.nan,
        "episode_length": float(length) if over else math.nan,
    }


class Resizer:
    """Makes grey pictures smaller by averaging over areas, in whole numbers, halves rounded up.

    A picture of h × w pixels becomes one of H × W. A new pixel covers h/H × w/W old ones; the share of each
    is a whole number of units of a common size, so that the sum is exact on every machine.
    """

    def __init__(self, old: tuple[int, int], new: tuple[int, int]) -> None:
        if any(small > large for small, large in zip(new, old, strict=True)):
            raise FathomError(
                f"Atari: screen_size is {new[0]}, and the screen has {old[0]} × {old[1]} pixels; give at "
                f"most {min(old)}."
            )
        (rows, row_shares, height), (columns, column_shares, width) = map(_shares, old, new)
        self._area = height * width
        # 16 bits hold the usual 210 × 160: 255 · 5 · 40, and half of it.
        self._dtype = np.uint16 if self._area * 255 + self._area // 2 < 2**16 else np.uint32
        self._rows = [(i, s.astype(self._dtype)[:, None]) for i, s in zip(rows, row_shares, strict=True)]
        self._columns = [(i, s.astype(self._dtype)) for i, s in zip(columns, column_shares, strict=True)]

    def __call__(self, picture: Frame) -> Frame:
        """A picture uint8 [h, w] as uint8 [H, W]."""
        wide = picture.astype(self._dtype)
        flat = functools.reduce(np.add, (wide[index] * share for index, share in self._rows))
        parts = (np.take(flat, index, axis=1) * share for index, share in self._columns)
        total = functools.reduce(np.add, parts) + self._dtype(self._area // 2)
        return (total // self._dtype(self._area)).astype(np.uint8)


def _shares(old: int, new: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Which old pixels make each new one along an axis, [part, new], their shares in units, and the sum."""
    common = math.gcd(old, new)
    unit, span = new // common, old // common  # an old pixel and a new one, in units
    covered = [range(i * span // unit, -(-(i + 1) * span // unit)) for i in range(new)]
    parts = max(map(len, covered))
    index, share = np.zeros((parts, new), np.intp), np.zeros((parts, new), np.int64)
    for i, pixels in enumerate(covered):
        for part, pixel in enumerate(pixels):
            index[part, i] = pixel
            share[part, i] = min((i + 1) * span, (pixel + 1) * unit) - max(i * span, pixel * unit)
    return index, share, span
