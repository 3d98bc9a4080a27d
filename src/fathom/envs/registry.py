"""Environments by name: ours where there is a native version, Gymnasium's otherwise."""

import functools
import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fathom.core.errors import FathomError, UnknownName
from fathom.envs.base import Env
from fathom.envs.host import HostEnv

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec as GymSpec

Backend = Literal["auto", "native", "gymnasium"]

_ATARI = "ALE/"


class Listing(NamedTuple):
    """A line of the list of environments."""

    id: str
    backends: tuple[str, ...]  # "native", "gymnasium", the preferred one first
    description: str


@dataclass(frozen=True)
class _Entry:
    constructor: Callable[[], Any] | str  # a string is "module:Name", imported when first made
    max_steps: int | None
    description: str

    def target(self) -> Callable[[], Any]:
        return import_target(self.constructor) if isinstance(self.constructor, str) else self.constructor

    def summary(self) -> str:
        doc = self.description or inspect.getdoc(self.target()) or ""
        return doc.strip().split("\n")[0]


def _classic(file: str, name: str, max_steps: int) -> _Entry:
    return _Entry(f"fathom.envs.classic.{file}:{name}", max_steps, "")


def _toy(file: str, name: str, max_steps: int | None = None) -> _Entry:
    return _Entry(f"fathom.envs.toy.{file}:{name}", max_steps, "")


def _memory(file: str, name: str, max_steps: int | None = None) -> _Entry:
    return _Entry(f"fathom.envs.memory.{file}:{name}", max_steps, "")


def _grid(name: str, max_steps: int | None = None) -> _Entry:
    return _Entry(f"fathom.envs.grid.maps:{name}", max_steps, "")


def _minatar(file: str, name: str) -> dict[str, _Entry]:
    """Both versions of a game: v0 with all six actions, v1 with those that do something in it."""
    target = f"fathom.envs.minatar.{file}:{name}"
    return {
        f"MinAtar/{name}-v0": _Entry(f"{target}.with_all_actions", None, ""),
        f"MinAtar/{name}-v1": _Entry(target, None, ""),
    }


_entries: dict[str, _Entry] = {
    "CartPole-v1": _classic("cartpole", "CartPole", 500),
    "MountainCar-v0": _classic("mountain_car", "MountainCar", 200),
    "MountainCarContinuous-v0": _classic("mountain_car_continuous", "MountainCarContinuous", 999),
    "Pendulum-v1": _classic("pendulum", "Pendulum", 200),
    "Acrobot-v1": _classic("acrobot", "Acrobot", 500),
    "Blackjack-v1": _toy("blackjack", "Blackjack"),
    "RandomWalk5-v0": _toy("random_walk", "RandomWalk"),
    "RandomWalk19-v0": _toy("random_walk", "random_walk_19"),
    "RandomWalk1000-v0": _toy("random_walk", "random_walk_1000"),
    "ShortCorridor-v0": _toy("corridor", "ShortCorridor", 1000),
    "ThreeState-v0": _toy("three_state", "ThreeState", 20),
    "MaximizationBias-v0": _toy("maximization_bias", "MaximizationBias"),
    "DeepSea-v0": _toy("deep_sea", "DeepSea"),
    "DeepSea20-v0": _toy("deep_sea", "deep_sea_20"),
    "DeepSea50-v0": _toy("deep_sea", "deep_sea_50"),
    "Chain-v0": _toy("chain", "Chain", 1000),
    "NChain20-v0": _toy("n_chain", "n_chain_20"),
    "NChain50-v0": _toy("n_chain", "n_chain_50"),
    "NChain100-v0": _toy("n_chain", "n_chain_100"),
    "Gambler-v0": _toy("gambler", "Gambler"),
    "CarRental-v0": _toy("car_rental", "CarRental", 100),
    "AccessControl-v0": _toy("access_control", "AccessControl", 1000),
    "TenArmedTestbed-v0": _Entry(
        "fathom.envs.toy.bandit:Bandit", None, "10 arms, one state, no end (S&B 2.3)"
    ),
    "Knapsack-v0": _toy("knapsack", "Knapsack"),
    "TMaze-v0": _memory("t_maze", "TMaze", 100),
    "RepeatPrevious-v0": _memory("repeat_previous", "RepeatPrevious"),
    "CartPolePositions-v0": _memory("positions", "cartpole_positions", 500),
    "PendulumPositions-v0": _memory("positions", "pendulum_positions", 200),
    "FrozenLake-v1": _grid("frozen_lake", 100),
    "FrozenLake8x8-v1": _grid("frozen_lake_8x8", 200),
    "CliffWalking-v1": _grid("cliff_walking"),
    "CliffWalkingSlippery-v1": _grid("cliff_walking_slippery"),
    "Taxi-v3": _Entry("fathom.envs.grid.taxi:Taxi", 200, ""),
    "Taxi-v4": _Entry("fathom.envs.grid.taxi:Taxi", 200, ""),
    "WindyGrid-v0": _grid("windy_grid"),
    "WindyGridKings-v0": _grid("windy_grid_kings"),
    "WindyGridKingsStay-v0": _grid("windy_grid_kings_stay"),
    "WindyGridStochastic-v0": _grid("windy_grid_stochastic"),
    "DynaMaze-v0": _grid("dyna_maze"),
    "BlockingMaze-v0": _grid("blocking_maze"),
    "BlockingMazeAfter-v0": _grid("blocking_maze_after"),
    "ShortcutMaze-v0": _grid("shortcut_maze"),
    "ShortcutMazeAfter-v0": _grid("shortcut_maze_after"),
    "Grid5x5-v0": _grid("grid_5x5", 200),
    **_minatar("breakout", "Breakout"),
    **_minatar("asterix", "Asterix"),
    **_minatar("freeway", "Freeway"),
    **_minatar("seaquest", "Seaquest"),
    **_minatar("space_invaders", "SpaceInvaders"),
}


def register(
    id: str, constructor: Callable[[], Any] | str, *, max_steps: int | None = None, description: str = ""
) -> None:
    """Make `make(id)` call `constructor`, and cut episodes after `max_steps` if given.

    `constructor` is a class or function without arguments that makes an `Env` or a Gymnasium environment, or
    such a one's name, "module:Name", which is imported when it is first needed. `description` is one line;
    the first line of the constructor's docstring by default. FathomError if the id is taken by another.
    """
    entry = _Entry(constructor, max_steps, description)
    if _entries.get(id, entry) != entry:
        raise FathomError(
            f"the id {id!r} is registered already; choose another, as {id.rstrip('0123456789')}99."
        )
    if max_steps is not None and max_steps < 1:
        raise FathomError(f"max_steps is {max_steps}; give at least 1, or None for no limit.")
    _entries[id] = entry


def make(id: str, backend: Backend = "auto") -> Env | HostEnv:
    """The environment of that name: the native one where there is one, else Gymnasium's.

    `id` is a registered name ("CartPole-v1", "probe/Truncation"), or "module:Name" or "file.py:Name", a
    class, function or environment in a module of the current folder or the Python path. `backend` "native" or
    "gymnasium" forces one; a native environment without a Gymnasium twin is then exported to Gymnasium.

    Raises UnknownName with the nearest known ids; FathomError with the command to type where a package is
    missing, with the newest version where an old one was asked for.
    """
    if backend not in ("auto", "native", "gymnasium"):
        raise FathomError(f"backend is {backend!r}; use 'auto', 'native' or 'gymnasium'.")
    from fathom.envs.bridge import as_env

    if id.startswith(_ATARI):
        from fathom.envs import atari

        return as_env(atari.named(id), backend)
    entry = _entry(id)
    if entry is not None and (backend != "gymnasium" or _gym_spec(id) is None):
        return as_env(_limited(id, entry), backend)
    spec = _gym_spec(id)
    if spec is not None and _is_atari(spec):
        raise _unknown(id)
    if spec is not None:
        if backend == "native":
            raise FathomError(
                f"{id!r} has no native version; use backend='auto'. Native are: {', '.join(_native_ids())}."
            )
        return _hosted(id, spec)
    if ":" in id:
        return as_env(import_target(id), backend)
    raise _unknown(id)


def _entry(id: str) -> _Entry | None:
    if id.startswith("probe/"):
        return _entries.get(id) or _probes().get(id)
    return _entries.get(id)


def _limited(id: str, entry: _Entry) -> Any:
    if entry.max_steps is None:
        return entry.target()
    made = entry.target()()
    if isinstance(made, Env):
        from fathom.envs.wrappers import TimeLimit

        return TimeLimit(made, entry.max_steps)
    made.close()
    return HostEnv(functools.partial(_gym_limited, entry.target(), entry.max_steps), id)


def _gym_limited(make: Callable[[], Any], max_steps: int) -> Any:
    from gymnasium.wrappers import TimeLimit

    return TimeLimit(make(), max_steps)


_PROBE_LIMITS = {"Truncation": 5}


def _probes() -> dict[str, _Entry]:
    """The probe environments, by class name: those that can be made without arguments."""
    from fathom.envs import probe

    found = {}
    for module_info in pkgutil.iter_modules(probe.__path__):
        module = importlib.import_module(f"{probe.__name__}.{module_info.name}")
        for name, value in vars(module).items():
            ours = inspect.isclass(value) and issubclass(value, Env) and value.__module__ == module.__name__
            if ours and not inspect.isabstract(value) and _needs_nothing(value):
                short = name.removesuffix("Probe").removesuffix("Env")
                found[f"probe/{short}"] = _Entry(value, _PROBE_LIMITS.get(short), "")
    return found


def _needs_nothing(cls: type) -> bool:
    parameters = inspect.signature(cls).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _native_ids() -> list[str]:
    return sorted({*_entries, *_probes()})


def _gym_registry() -> "dict[str, GymSpec]":
    import gymnasium

    return gymnasium.registry  # pyright: ignore[reportReturnType]


def _gym_spec(id: str) -> "GymSpec | None":
    return _gym_registry().get(id)


def _is_atari(spec: "GymSpec") -> bool:
    """Whether importing ale-py registered it: the bare console, without the preprocessing."""
    return isinstance(spec.entry_point, str) and spec.entry_point.startswith("ale_py")


def _hosted(id: str, spec: "GymSpec") -> HostEnv:
    import gymnasium

    # The spec and not its id: a process that did not register it can make it all the same.
    host = HostEnv(functools.partial(gymnasium.make, spec, disable_env_checker=True), id)
    try:
        host.obs_space  # noqa: B018  (what cannot be made should fail here, not in the first update)
    except FathomError as error:
        newest = _newest(id)
        if newest not in (None, id):
            raise FathomError(
                f"{id!r} could not be made; the newest version is {newest!r}. ({error})"
            ) from error
        raise
    return host


def _split(id: str) -> tuple[str, int | None]:
    """An id's name with its namespace, and its version."""
    name, dash, version = id.rpartition("-v")
    return (name, int(version)) if dash and version.isdigit() else (id, None)


def _newest(id: str) -> str | None:
    """The newest version of what `id` names, in either registry."""
    name, _ = _split(id)
    versions = [
        (v or 0, known) for known in {*_entries, *_gym_registry()} for n, v in [_split(known)] if n == name
    ]
    return max(versions)[1] if versions else None


def _unknown(id: str) -> FathomError:
    from fathom.envs import atari

    ours = atari.other_name(id)
    if ours is not None:
        return FathomError(
            f"{id!r} is what other packages call the game; here it is {ours!r}, and how it is shown is set "
            "by `fathom.envs.atari.Atari` (--env.sticky 0 and the like)."
        )
    newest = _newest(id)
    if newest is not None:
        _, version = _split(id)
        what = (
            f"version v{version} of {_split(id)[0]!r} does not exist"
            if version is not None
            else f"{id!r} names no version"
        )
        return FathomError(f"{what}; the newest is {newest!r}.")
    return UnknownName(
        "environment",
        id,
        {listing.id for listing in environments()},
        "Your own: 'module:Name'; a package that registers some: 'package:Name'.",
    )


def environments() -> list[Listing]:
    """All known environments by id, of Gymnasium's only the newest versions."""
    native = {**_probes(), **_entries}
    listings = []
    for id, entry in native.items():
        backends = ("native", "gymnasium") if id in _gym_registry() else ("native",)
        listings.append(Listing(id, backends, entry.summary()))
    listings += [
        Listing(id, ("gymnasium",), "Atari 2600, preprocessed as in the DQN paper") for id in _atari()
    ]
    for id, spec in _gym_registry().items():
        if (
            id not in native
            and not _is_atari(spec)
            and _newest(id) == id
            and not id.startswith(("GymV21", "GymV26"))
        ):
            listings.append(Listing(id, ("gymnasium",), _describe(spec)))
    return sorted(listings)


def _atari() -> list[str]:
    """The games, where they are installed."""
    if importlib.util.find_spec("ale_py") is None:
        return []
    from fathom.envs import atari

    return [atari.Atari(game=game).id for game in atari.roms()]


def _describe(spec: "GymSpec") -> str:
    entry = spec.entry_point if isinstance(spec.entry_point, str) else "a function"
    limit = f", at most {spec.max_episode_steps} steps" if spec.max_episode_steps else ""
    return f"{entry}{limit}"


def import_target(text: str) -> Any:
    """What "module:Name" or "path/file.py:Name" stands for; the current folder is searched first.

    Raises FathomError where the module cannot be imported, with the line, or has no such name.
    """
    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise FathomError(f"{text!r} is not of the form 'module:Name'.")
    module = _import(module_name)
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            return _registered_by(module_name, name, value)
        value = getattr(value, part)
    return value


def _import(module_name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        if module_name.endswith(".py"):
            return _import_file(module_name)
        return importlib.import_module(module_name)
    except FathomError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[0] == error.name.split(".")[0]:
            raise FathomError(
                f"no module {module_name!r} in the current folder ({here}) or on the Python path; change to "
                "its folder or install it."
            ) from error
        raise FathomError(f"importing {module_name!r} failed: {error}; install what it needs.") from error
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise FathomError(
            f"importing {module_name!r} raised {type(error).__name__}: {error} "
            f"({os.path.basename(frame.filename)}:{frame.lineno})."
        ) from error


def _import_file(path: str) -> Any:
    if not os.path.isfile(path):
        raise FathomError(f"no file {path!r}.")
    folder, file = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(file[: -len(".py")])


def _registered_by(module_name: str, name: str, module: Any) -> Any:
    """A Gymnasium id that importing the module registered, as Gymnasium's own 'module:id' means."""
    import gymnasium

    spec = _gym_registry().get(name)
    if spec is not None:
        return HostEnv(functools.partial(gymnasium.make, spec, disable_env_checker=True), name)
    made = (Env, gymnasium.Env)
    names = [n for n, v in vars(module).items() if inspect.isclass(v) and issubclass(v, made)]
    raise UnknownName(f"name in {module_name}", name, names)
