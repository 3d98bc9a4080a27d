"""What a run is made of, in words that fit into a message, a link and a line of code."""

import base64
import binascii
import dataclasses
import itertools
import json
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

from fathom import presets
from fathom.algos.base import Online
from fathom.algos.registry import algorithms, get, name_of
from fathom.core.errors import FathomError
from fathom.envs.base import Env
from fathom.envs.finite import FiniteEnv
from fathom.envs.grid.world import GridWorld
from fathom.envs.host import HostEnv
from fathom.envs.registry import make
from fathom.envs.wrappers import TimeLimit
from fathom.hub.history import Intervention
from fathom.hub.settings import ENV, configured, spread
from fathom.runs.folder import RunFolder

LINK = "share="  # before a share link's text in a URL's fragment
LINK_BYTES = 64 * 1024  # a link is at most this long, and what it unpacks to 16 times as long
CELLS = 1024  # of a world drawn by hand
SEEDS = 64

_LIMIT = 200  # steps of an episode in a world drawn by hand
_TABULAR_HORIZON, _DEEP_HORIZON = 1_000_000, 1_000_000  # environment steps at which schedules end

# What the tabular lab begins with: a constant ε, since one who watches has no horizon in mind.
_LAB = {"learning_rate": 0.1, "gamma": 0.95, "epsilon_start": 0.2, "epsilon_end": 0.2}


@dataclass(frozen=True)
class Recipe:
    """An algorithm on an environment, and its seeds."""

    algo: str
    env: str = ""  # an id; "" where `map` is given
    map: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    seeds: int = 10
    seed: int = 0
    horizon: int | None = None  # environment steps of each seed

    def make(self) -> tuple[Any, Env | HostEnv, bool]:
        """The algorithm, the environment, and whether they belong to the tabular lab.

        Raises FathomError for what is unknown, out of range, or does not fit.
        """
        if not 1 <= self.seeds <= SEEDS:
            raise FathomError(f"seeds is {self.seeds}; take 1 to {SEEDS}.")
        if not 0 <= self.seed < 2**32 - self.seeds:
            raise FathomError(f"seed is {self.seed}; it must lie between 0 and 2**32 - seeds.")
        if self.horizon is not None and self.horizon < 1:
            raise FathomError(f"horizon is {self.horizon}; it must be at least 1.")
        kind = get(self.algo)
        env = self._env()
        tabular = is_tabular(kind, env)
        given = spread({n: v for n, v in self.config.items() if not n.startswith(ENV)})
        chosen = dict(self._defaults(kind, env, tabular)) | configured(kind, given)
        if tabular:
            # One environment step of each seed is one update: that is the lab's clock.
            chosen |= {"num_envs": 1, "num_steps": 1}
        return kind(**chosen), env, tabular

    def _defaults(self, kind: type, env: Env | HostEnv, tabular: bool) -> dict[str, Any]:
        names = {f.name for f in dataclasses.fields(kind)}
        if tabular:
            return {name: value for name, value in _LAB.items() if name in names}
        name = name_of(object.__new__(kind))
        preset = presets.find(name, self.env, "native" if isinstance(env, Env) else "gymnasium")
        return dict(preset.settings) if preset else {}

    def _env(self) -> Env | HostEnv:
        given = {n.removeprefix(ENV): v for n, v in self.config.items() if n.startswith(ENV)}
        if self.map is None:
            if ":" in self.env or self.env.endswith(".py"):
                raise FathomError(
                    f"{self.env!r} is a file of your own, which a page may not ask to be run; give it on the "
                    "command line, by `fathom train ... --watch`, or register it."
                )
            return with_settings(make(self.env), given)
        if len(self.map) > 2 * CELLS:
            raise FathomError(f"the map has {len(self.map)} characters; draw at most {CELLS} cells.")
        limit = given.pop("max_steps", _LIMIT)
        moves = given.pop("moves", "four")
        known = configured(GridWorld, given)
        return TimeLimit(GridWorld.from_map(self.map, moves=moves, **known), configured(TimeLimit, {
            "max_steps": limit
        })["max_steps"])  # fmt: skip

    def updates(self, steps_per_update: int, tabular: bool) -> int:
        """The horizon in updates."""
        steps = self.horizon or (_TABULAR_HORIZON if tabular else _DEEP_HORIZON)
        return math.ceil(steps / steps_per_update)


def is_tabular(kind: type, env: Env | HostEnv) -> bool:
    """Whether an algorithm with a table meets a world of finitely many states."""
    entry = algorithms().get(name_of(object.__new__(kind)))
    in_family = entry is not None and ".tabular." in entry.module
    return (
        in_family and issubclass(kind, Online) and finite(env) is not None and kind.__name__ not in _WITHOUT
    )


_WITHOUT = ("LinearSarsaLambda",)  # values are no table there


def finite(env: Any) -> FiniteEnv | None:
    """The finite environment within wrappers that only cut episodes; None where there is none."""
    while isinstance(env, TimeLimit):
        env = env.env
    return env if isinstance(env, FiniteEnv) else None


def with_settings(env: Any, given: dict[str, Any]) -> Any:
    """An environment with other settings, looked for in it and in what it is wrapped in."""
    if not given:
        return env
    if not isinstance(env, Env):
        raise FathomError(
            f"{env.id} is Gymnasium's, and {', '.join(given)} cannot be set from here; register a "
            "constructor that sets it."
        )
    own = {f.name for f in dataclasses.fields(env)} - {"env"}
    here = configured(type(env), {name: value for name, value in given.items() if name in own})
    rest = {name: value for name, value in given.items() if name not in own}
    inner = getattr(env, "env", None)
    if rest and inner is None:
        configured(type(env), rest)
    changes = here | ({"env": with_settings(inner, rest)} if rest else {})
    return dataclasses.replace(env, **changes)


def from_run(folder: RunFolder) -> tuple[Recipe, list[Intervention]]:
    """What a run folder was made with, and what was changed in the middle of it.

    FathomError where the page could not say it: an environment or an algorithm of the user's own, or with
    settings that no message holds, and a run whose horizon was changed, since schedules refer to it.
    """
    try:
        return _read_run(folder, folder.run)
    except (AttributeError, KeyError, TypeError) as error:
        raise FathomError(
            f"{folder.path}/run.json is not as `fathom train` writes it ({error!r})."
        ) from error


def _read_run(folder: RunFolder, run: dict[str, Any]) -> tuple[Recipe, list[Intervention]]:
    name, env = run["algorithm"].get("name"), run["env"]
    if name not in algorithms():
        raise FathomError(f"{folder.path} was trained by {name!r}, which is not registered here.")
    if set(env) != {"id"} or ":" in env["id"]:
        raise FathomError(
            f"the environment of {folder.path} was given as an object or with settings of its own; go on "
            "with it by `fathom resume --watch`, or from Python by Agent.load."
        )
    if isinstance(make(env["id"]), Env) != (run["backend"] == "native"):
        raise FathomError(
            f"{folder.path} was trained on {run['backend']}'s {env['id']}, and the page opens the other one; "
            "go on with it by `fathom resume --watch`."
        )
    lines = [*run.get("parent", {}).get("interventions", []), *folder.read_interventions()]
    if any("horizon" in line for line in lines):
        raise FathomError(
            f"the horizon of {folder.path} was changed on its way, which a lab cannot repeat; go on with it "
            "by `fathom resume --watch`."
        )
    config = {field: _plain(name, field, value) for field, value in run["algorithm"]["fields"].items()}
    recipe = Recipe(name, env["id"], None, config, run["seeds"], run["seed"], run["horizon"])
    return recipe, [Intervention(line["update"], "set", line["set"]) for line in lines]


def _plain(algo: str, field: str, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"float"}:
        return float(value["float"])
    if isinstance(value, dict):
        raise FathomError(f"{field} of this {algo} is an object, which the page cannot hold.")
    return value


def to_link(recipe: Recipe, log: list[Intervention], u: int) -> str:
    """All of it as the text of a link: what was opened, what was changed, and the update shown."""
    told = {
        "v": 1,
        "open": {k: v for k, v in dataclasses.asdict(recipe).items() if v not in (None, "", {})},
        "log": [[i.u, i.op, i.what] for i in log],
        "u": u,
    }
    packed = zlib.compress(json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode(), 9)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_link(text: str) -> tuple[Recipe, list[Intervention], int]:
    """What a link says; FathomError where it is no link, or one of a newer Fathom."""
    text = text.strip().rpartition(LINK)[2] if LINK in text else text.strip()
    if len(text) > LINK_BYTES:
        raise FathomError(f"the link has {len(text):,} characters; at most {LINK_BYTES:,} are read.")
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        inflate = zlib.decompressobj()
        told = json.loads(inflate.decompress(packed, 16 * LINK_BYTES))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        raise FathomError("this is no share link, or a part of it is missing; copy it again.") from error
    if not isinstance(told, dict) or not isinstance(told.get("v"), int):
        raise FathomError("this is no share link of Fathom; copy it again.")
    if told["v"] > 1:
        raise FathomError("a newer Fathom made this link; install that one to open it.")
    try:
        known = {f.name for f in dataclasses.fields(Recipe)}
        opened = told["open"]
        if not set(opened) <= known:
            raise ValueError(sorted(set(opened) - known))
        recipe = Recipe(**opened)
        log = [Intervention(_count(u), _op(op), dict(what)) for u, op, what in told["log"]]
        u = _count(told["u"])
        _require_types(recipe)
        if any(later.u < sooner.u for sooner, later in itertools.pairwise(log)):
            raise ValueError("interventions out of order")
    except (KeyError, TypeError, ValueError) as error:
        raise FathomError(
            f"this share link says something that is not understood ({error}); copy it again."
        ) from error
    return recipe, log, u


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{value!r} is no update")
    return value


def _op(value: Any) -> Any:
    if value not in ("set", "surgery"):
        raise ValueError(f"{value!r} is no intervention")
    return value


def _require_types(recipe: Recipe) -> None:
    wanted = {"algo": str, "env": str, "map": str | None, "config": dict, "seeds": int, "seed": int}
    for name, kind in (wanted | {"horizon": int | None}).items():
        value = getattr(recipe, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}")
