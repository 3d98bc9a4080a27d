"""Messages between the page and the trainer, version 1: frozen dataclasses, msgpack on the wire.

`python -m fathom.hub.messages` writes the same types in TypeScript; a test fails when the two differ.
"""

import dataclasses
import functools
import hashlib
import math
import sys
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fathom.core.errors import FathomError, nearest

VERSION = 1

REQUEST_BYTES = 256 * 1024  # a request of the page is at most this long
MESSAGE_BYTES = 64 * 2**20  # and a message to it this long

CHANNELS = ("values", "visits", "td", "traces", "agent", "view", "series")
HZ = 60.0  # frames a second at most

Unit = Literal["env", "update", "episode"]
Surgeon = Literal["value", "paint", "move", "reset_optimiser", "clear_buffer"]
Kind = Literal[
    "open", "set", "surgery", "fork", "snapshot", "milestone", "finding", "seek", "state", "exact", "gap",
    "error",
]  # fmt: skip
DType = Literal["f4", "i4", "u4", "u1"]

_DTYPES = {"f4": np.float32, "i4": np.int32, "u4": np.uint32, "u1": np.uint8}


class BadMessage(FathomError):
    """A message that is not of this protocol; the text says what is wrong with it."""


@dataclass(frozen=True)
class Tensor:
    """An array: little-endian numbers, the last axis fastest."""

    d: DType
    s: list[int]  # shape
    b: bytes

    @staticmethod
    def of(array: Any, d: DType = "f4") -> "Tensor":
        """The array's numbers in that format."""
        numbers = np.ascontiguousarray(np.asarray(array), np.dtype(_DTYPES[d]).newbyteorder("<"))
        return Tensor(d, list(numbers.shape), numbers.tobytes())

    def array(self) -> np.ndarray:
        """The array, not to be written to."""
        return np.frombuffer(self.b, np.dtype(_DTYPES[self.d]).newbyteorder("<")).reshape(self.s)


@dataclass(frozen=True)
class Code:
    """What does the same outside of the page."""

    cli: str  # a command of the shell
    python: str


@dataclass(frozen=True)
class Resume:
    """Where a connection was lost."""

    session: str
    seq: int  # of the last numbered message that arrived


@dataclass(frozen=True)
class Hello:
    """The first message on a connection."""

    id: int
    v: int
    token: str
    resume: Resume | None = None


@dataclass(frozen=True)
class Open:
    """Begin a run. One of `env` (with `algo`), `share` and `file` says which."""

    id: int
    algo: str = ""
    env: str = ""  # an id of the registry
    map: str | None = None  # a grid world of one's own, in the letters of `World.legend`, in place of `env`
    config: dict[str, Any] = field(default_factory=dict)  # settings by name, `env.` before the environment's
    seeds: int = 10
    seed: int = 0
    horizon: int | None = None  # environment steps of each seed at which schedules end
    share: str | None = None  # the fragment of a share link
    file: str | None = None  # a recording or a run folder below the folder that is served


@dataclass(frozen=True)
class Sub:
    """Ask for channels, at most `hz` times a second."""

    id: int
    channels: list[str]
    hz: float = 60.0


@dataclass(frozen=True)
class Unsub:
    """Ask for channels no longer."""

    id: int
    channels: list[str]


@dataclass(frozen=True)
class Play:
    """Go on, in all branches that are in focus."""

    id: int


@dataclass(frozen=True)
class Pause:
    """Stop where it is."""

    id: int


@dataclass(frozen=True)
class Step:
    """Pause, and make n steps of the branches in focus."""

    id: int
    n: int = 1
    unit: Unit = "update"  # env: one step of each seed; episode: until seed 0 ends one


@dataclass(frozen=True)
class Speed:
    """How fast to play."""

    id: int
    steps_per_s: float | None = None  # environment steps of each seed a second; null is as fast as it goes


@dataclass(frozen=True)
class Set:
    """Change live settings; where later updates are known, the change begins a new branch."""

    id: int
    patch: dict[str, float]
    branch: int | None = None  # the first in focus where null, here and below


@dataclass(frozen=True)
class Surgery:
    """Change the state of the run by hand.

    value {state, action, value, seed?}; paint {row, col, letter}; move {state, seed?}; reset_optimiser {};
    clear_buffer {}. Without `seed`, all of them.
    """

    id: int
    op: Surgeon
    args: dict[str, Any] = field(default_factory=dict)
    branch: int | None = None


@dataclass(frozen=True)
class Fork:
    """Begin a branch from a past update, or from now; the branches in focus become parent and child."""

    id: int
    at: int | None = None
    patch: dict[str, float] = field(default_factory=dict)
    label: str = ""
    branch: int | None = None
    before: bool = False  # without what was changed at that very update


@dataclass(frozen=True)
class Focus:
    """Which branches are trained and shown; the first is the one that requests without a branch mean."""

    id: int
    branches: list[int]


@dataclass(frozen=True)
class Seek:
    """Go to an update between 0 and the branch's tip."""

    id: int
    u: int
    branch: int | None = None
    before: bool = False  # as it was before what was changed at that very update


@dataclass(frozen=True)
class Inspect:
    """Ask for the backups of a value of one seed; without an action, of that last taken in the state."""

    id: int
    state: int
    action: int | None = None
    seed: int = 0
    u: int | None = None  # the present update where null
    branch: int | None = None


@dataclass(frozen=True)
class Drive:
    """Take the stage of the deep lab in hand: training is not touched."""

    id: int
    action: list[float] | None = (
        None  # what to do in the next step and until told otherwise; null: the policy
    )
    push: dict[str, float] = field(default_factory=dict)  # added to components of the state, by name
    reset: bool = False  # begin an episode


@dataclass(frozen=True)
class Exhibit:
    """Policies of past updates to show on stage beside the present one, by update."""

    id: int
    at: list[int]


@dataclass(frozen=True)
class Ratios:
    """Ask how far the next update moves the odds of what was done, and how good that was.

    The reply has {u, x: advantages, y: ratios, facts: clip, outside, steps}; x and y are `Tensor`s.
    """

    id: int
    seed: int = 0
    branch: int | None = None


@dataclass(frozen=True)
class Returns:
    """Ask what actions are taken to be worth, and what they bring in episodes of their own.

    The reply has {u, x: values, y: returns, facts: bias, gamma, steps, episodes}; x and y are `Tensor`s.
    """

    id: int
    seed: int = 0
    branch: int | None = None


@dataclass(frozen=True)
class Share:
    """Ask for a link to what is shown."""

    id: int


@dataclass(frozen=True)
class Leave:
    """Forget the run and what was asked for: the page is closed. The server says so for it."""

    id: int


@dataclass(frozen=True)
class Ping:
    """Ask for a sign of life."""

    id: int
    t: float = 0.0


@dataclass(frozen=True)
class Welcome:
    """The answer to `hello`; it has no number."""

    v: int
    session: str
    version: str  # of Fathom
    resumed: bool  # what was missed follows; false: forget what you know


@dataclass(frozen=True)
class Setting:
    """One field of the algorithm (`alpha`) or the environment (`env.slip`)."""

    name: str
    value: float | int | str | bool | list[Any] | None
    live: bool  # whether it can change in the middle of a run
    kind: Literal["float", "int", "bool", "choice", "text", "list"]
    low: float | None  # of a slider: the usual range, not what is allowed
    high: float | None
    scale: Literal["linear", "log"]
    choices: list[str]
    doc: str
    symbol: str  # "" for none
    group: Literal["algorithm", "environment"]
    fields: list[str]  # what it stands for, where it is several fields together


@dataclass(frozen=True)
class World:
    """A finite environment as cells; those that are no grid are a row."""

    rows: int
    cols: int
    letters: list[str]  # one for each cell, row by row: "." free, "S" start, "#" wall, "G", "C", "H", …
    painted: bool  # whether cells can be painted
    legend: dict[str, str]  # letter -> what it is
    walls: list[bool]  # between a cell and the one to its right
    acts: list[bool]  # where the agent can come to choose an action
    arrows: list[str]  # one character for each action
    actions: list[str]  # a name for each action
    states: int
    plain: bool  # whether the state is the cell's number; else frames say which states are `shown`
    start: list[float]  # probability of each state at the start of an episode


@dataclass(frozen=True)
class Shape:
    """What is drawn, without its numbers: those come in the order of `counts` with each `view`."""

    kind: Literal["polygon", "circle", "line", "text", "tiles"]
    color: str  # a role, as in fathom.envs.scene
    at: int  # where its numbers begin in the row of numbers
    counts: list[int]  # how many each of its parts has: points | centre, radius | points | at, value | kinds
    width: float  # of a line; the size of tiles
    text: str
    size: float | None  # height of a text in world units
    roles: list[str]  # of tiles, by kind
    rows: int  # of tiles
    cols: int
    round: bool


@dataclass(frozen=True)
class Stage:
    """The picture of an environment: shapes over a row of numbers, of which frames send those that move."""

    shapes: list[Shape]
    extent: list[float]  # left, right, bottom, top
    numbers: Tensor  # f4, the whole row at the start
    moving: list[int]  # indices into it of what `view` holds
    pushes: list[str]  # components of the state that can be pushed
    actions: list[str]  # of a discrete action space; [] for a continuous one
    action_low: list[float]  # of a continuous one
    action_high: list[float]


@dataclass(frozen=True)
class Exact:
    """What dynamic programming says of the world as it is: float64 rounded to float32."""

    v: Tensor  # f4 [state]
    q: Tensor  # f4 [state, action]
    start: float  # the mean of v over first states
    gamma: float


@dataclass(frozen=True)
class Branch:
    """A line of history."""

    id: int
    parent: int | None
    at: int  # the update at which it left its parent
    u: int
    tip: int  # the last update known
    label: str


@dataclass(frozen=True)
class Run:
    """A run begins: forget the one before."""

    seq: int
    kind: Literal["tabular", "deep"]
    algo: str
    env: str
    title: str
    settings: list[Setting]
    world: World | None
    stage: Stage | None  # None where there is nothing to draw, or pictures come as JPEG
    exact: Exact | None
    seeds: int
    seed: int
    horizon: int  # in updates
    steps_per_update: int  # environment steps of each seed
    channels: list[str]  # what can be asked for
    can: list[str]  # the requests that will be followed
    branches: list[Branch]
    focus: list[int]
    playing: bool
    speed: float | None
    code: Code


@dataclass(frozen=True)
class Series:
    """What happened in the updates u0 … u0 + du − 1: sums and counts of each seed; any two add up."""

    seq: int
    branch: int
    u0: int
    du: int
    sums: dict[str, Tensor]  # f4 [seed]
    counts: dict[str, Tensor]


@dataclass(frozen=True)
class Event:
    """Something that happened once, for the timeline."""

    seq: int
    kind: Kind
    branch: int
    u: int
    text: str
    data: dict[str, Any]
    code: Code | None


@dataclass(frozen=True)
class Reply:
    """The answer to the request of that id."""

    seq: int
    id: int
    ok: bool
    error: str  # "" where ok
    data: dict[str, Any]
    code: Code | None


@dataclass(frozen=True)
class Frame:
    """How it looks now. Only the newest matters: frames are dropped where the page is slow."""

    branch: int
    u: int
    tip: int
    hash: str  # of the learner's state, whatever is shown of it; "" while networks are trained
    playing: bool
    steps_per_s: float  # environment steps of each seed a second, measured
    arrays: dict[str, Tensor]
    jpeg: bytes | None


@dataclass(frozen=True)
class Term:
    """A number in an equation."""

    symbol: str
    name: str
    value: float


@dataclass(frozen=True)
class Backup:
    """One change of a value, with the numbers that went into it."""

    u: int  # the update that made it
    state: int
    action: int
    reward: float
    next_state: int
    terminated: bool
    old: float
    new: float
    target: float | None  # None where the algorithm has no single target
    td_error: float | None
    alpha: float
    terms: list[Term]
    text: str  # the equation with its numbers


@dataclass(frozen=True)
class Source:
    """Lines of the library."""

    path: str  # below the package, as fathom/algos/tabular/q_learning.py
    first: int  # number of the first line
    lines: list[str]


@dataclass(frozen=True)
class Inspection:
    """The answer to `inspect`."""

    seq: int
    id: int
    branch: int
    u: int
    seed: int
    state: int
    action: int
    equation: str  # in LaTeX
    plain: str  # in characters
    backups: list[Backup]  # the last ones of this value, oldest first
    values: Tensor  # f4 [action], of the state now
    exact: Tensor | None  # f4 [action]
    outcomes: list[list[float]]  # the world's own: probability, reward, next state, whether it ends
    source: Source
    code: Code


REQUESTS: dict[str, type] = {
    kind.__name__.lower(): kind
    for kind in (
        Hello, Open, Sub, Unsub, Play, Pause, Step, Speed, Set, Surgery, Fork, Focus, Seek, Inspect, Drive,
        Exhibit, Ratios, Returns, Share, Leave, Ping,
    )
}  # fmt: skip

MESSAGES: dict[str, type] = {
    kind.__name__.lower(): kind for kind in (Welcome, Run, Series, Event, Reply, Inspection, Frame)
}

_NAMES = {kind: name for name, kind in (REQUESTS | MESSAGES).items()}


def encode(message: Any) -> bytes:
    """A message as bytes."""
    import msgpack

    packed = msgpack.packb({"type": _NAMES[type(message)], **plain(message)}, use_bin_type=True)
    assert packed is not None
    return packed


def decode(data: Any, known: dict[str, type] = REQUESTS, limit: int = REQUEST_BYTES) -> Any:
    """The message that bytes hold; BadMessage, with what is wrong, where they hold none of `known`."""
    import msgpack

    if not isinstance(data, bytes | bytearray | memoryview):
        raise BadMessage(f"a message is binary msgpack; got {type(data).__name__}.")
    if len(data) > limit:
        raise BadMessage(f"the message has {len(data):,} bytes; at most {limit:,} are taken.")
    try:
        found = msgpack.unpackb(data, raw=False, strict_map_key=True, use_list=True)
    except Exception as error:  # msgpack raises a dozen kinds, ValueError and UnicodeDecodeError among them
        raise BadMessage(f"the message is not msgpack: {type(error).__name__}: {error}.") from error
    if not isinstance(found, dict) or not isinstance(found.get("type"), str):
        raise BadMessage("a message is a map with a `type`.")
    name = found.pop("type")
    if name not in known:
        near = nearest(name, known)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BadMessage(f"there is no message of the type {name[:40]!r}.{hint}")
    return _read(known[name], found, name)


def kind_of(payload: bytes) -> str:
    """The type of an encoded message, without decoding it: the first entry of its map."""
    at = 6 if payload[0] & 0xF0 == 0x80 else 8  # behind the head of the map and the key
    return payload[at + 1 : at + 1 + (payload[at] & 0x1F)].decode()


def request_id(data: Any) -> int:
    """The id of a request that could not be read, so that the answer finds it; 0 where it has none."""
    import msgpack

    try:
        found = msgpack.unpackb(bytes(data)[:REQUEST_BYTES], raw=False)
        number = found.get("id", 0)
        return number if type(number) is int and abs(number) < 2**53 else 0
    except Exception:
        return 0


def digest(*parts: Any) -> str:
    """A short hash of arrays, for telling whether two states are the same to the bit."""
    mixed = hashlib.blake2b(digest_size=8)
    for part in parts:
        array = np.ascontiguousarray(part)
        mixed.update(f"{array.dtype.str}{array.shape}".encode())
        mixed.update(array.tobytes())
    return mixed.hexdigest()


def plain(value: Any) -> Any:
    """A message, or a part of one, as maps, lists, numbers and bytes."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: type, found: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in found:
        if name not in fields:
            near = nearest(str(name), fields)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise BadMessage(f"{where} has no field {str(name)[:40]!r}.{hint}")
    hints, values = _hints(kind), {}
    for name, entry in fields.items():
        if name in found:
            values[name] = _checked(hints[name], found[name], f"{where}.{name}")
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise BadMessage(f"{where} needs the field {name!r}.")
    return kind(**values)


def _checked(hint: Any, value: Any, where: str) -> Any:
    """The value as its type wants it; BadMessage where it is of another."""
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(arms, value, where)
    if origin is Literal:
        if isinstance(value, str) and value in arms:
            return value
        raise BadMessage(f"{where} is {_shown(value)}; it is one of {', '.join(arms)}.")
    if origin is list and isinstance(value, list):
        return [_checked(arms[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): _checked(arms[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _read(typing.cast(type, hint), value, where)
    if hint is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise BadMessage(f"{where} is {value}; it must be finite.")
        return float(value)
    # Not isinstance: a bool is an int to Python.
    if hint in (int, str, bool, bytes) and type(value) is hint:
        if type(value) is int and abs(value) >= 2**53:
            raise BadMessage(f"{where} is {value}; a page counts up to 2**53 only.")
        return value
    raise BadMessage(f"{where} is {_shown(value)}; it is {_worded(hint)}.")


def _one_of(arms: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arms:
        return None
    for arm in arms:
        if arm is float and type(value) is int and int in arms:
            continue
        try:
            return _checked(arm, value, where)
        except BadMessage:
            if len([a for a in arms if a is not type(None)]) == 1:
                raise
    raise BadMessage(f"{where} is {_shown(value)}; it is {' or '.join(map(_worded, arms))}.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _worded(hint: Any) -> str:
    origin = typing.get_origin(hint)
    words = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", bytes: "bytes"}
    if hint is type(None):
        return "null"
    if origin in (list, dict):
        return "a list" if origin is list else "a map"
    return words.get(hint, "a map" if dataclasses.is_dataclass(hint) else str(hint))


def typescript() -> str:
    """The types of this file in TypeScript."""
    lines = [
        "// Written by `python -m fathom.hub.messages`; change src/fathom/hub/messages.py instead.",
        "",
        f"export const VERSION = {VERSION};",
        f"export const REQUEST_BYTES = {REQUEST_BYTES};",
        f"export const HZ = {HZ:g};",
        f"export const CHANNELS = [{', '.join(map(_quoted, CHANNELS))}] as const;",
    ]
    kinds = [
        kind
        for kind in vars(sys.modules[__name__]).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    ]
    for kind in kinds:
        lines += ["", f"/** {(kind.__doc__ or '').strip().splitlines()[0]} */"]
        lines.append(f"export interface {kind.__name__} {{")
        if kind in _NAMES:
            lines.append(f"  type: {_quoted(_NAMES[kind])};")
        hints = _hints(kind)
        for entry in dataclasses.fields(kind):
            given = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
            lines.append(f"  {entry.name}{'' if given else '?'}: {_ts(hints[entry.name])};")
        lines.append("}")
    for name, among in (("Request", REQUESTS), ("Message", MESSAGES)):
        lines += ["", f"export type {name} ="]
        lines += [f"  | {kind.__name__}" for kind in among.values()]
        lines[-1] += ";"
    return "\n".join(lines) + "\n"


def _ts(hint: Any) -> str:
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(_ts(arm) for arm in arms))
    if origin is Literal:
        return " | ".join(map(_quoted, arms))
    if origin is list:
        inner = _ts(arms[0])
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if origin is dict:
        return f"Record<string, {_ts(arms[1])}>"
    words = {float: "number", int: "number", str: "string", bool: "boolean", bytes: "Uint8Array"}
    words |= {type(None): "null", Any: "unknown"}
    return words.get(hint) or hint.__name__


def _quoted(text: str) -> str:
    return f'"{text}"'


if __name__ == "__main__":
    print(typescript(), end="")
