"""What can be set of an algorithm and an environment: names, ranges, meaning, from their own source."""

import dataclasses
import functools
import inspect
import io
import re
import textwrap
import tokenize
import typing
from typing import Any, Literal

import jax
import numpy as np

from fathom.core.errors import FathomError, UnknownName
from fathom.hub.messages import Setting

ENV = "env."  # before the name of an environment's setting

_NUMBER = r"[-−]?\d+(?:[.,]\d+)*(?:e[-+−]?\d+)?"
_RANGE = re.compile(rf"(?<![\w.])({_NUMBER})(?: \([^)]*\))? to ({_NUMBER})(?![\w.])")
_SYMBOL = re.compile(r"(?<!\w)([α-ωΑ-Ω][⁻₀-₉]?|C|N|n)(?!\w)")
_NAMED = 30  # characters of a comment in which its symbol is named
_FRACTION = re.compile(r"(discount factor|probability|part of|λ:|ε at)")

# A slider of a table's learner goes over all that makes sense: one comes to see what goes wrong, too.
_WIDE = {"learning_rate": (0.01, 1.0), "gamma": (0.0, 1.0), "trace_decay": (0.0, 1.0), "epsilon": (0.0, 1.0)}

_TOGETHER = {"epsilon": ("epsilon_start", "epsilon_end")}


def settings_of(algorithm: Any, env: Any, tabular: bool) -> list[Setting]:
    """All settings, those of several fields together first."""
    found = [_setting(algorithm, field, "", "algorithm") for field in dataclasses.fields(algorithm)]
    if all(hasattr(algorithm, name) for name in _TOGETHER["epsilon"]):
        found.insert(0, _epsilon(algorithm))
    for part in _layers(env):
        shown = [f for f in dataclasses.fields(part) if not _nested(getattr(part, f.name))]
        found += [_setting(part, field, ENV, "environment") for field in shown]
    if tabular:
        found = [
            dataclasses.replace(s, low=_WIDE[s.name][0], high=_WIDE[s.name][1], scale="linear")
            if s.name in _WIDE
            else s
            for s in found
        ]
    return found


def spread(patch: dict[str, Any]) -> dict[str, Any]:
    """A patch with the settings that stand for several fields replaced by these."""
    found: dict[str, Any] = {}
    for name, value in patch.items():
        found |= dict.fromkeys(_TOGETHER.get(name, (name,)), value)
    return found


def require_known(settings: list[Setting], patch: dict[str, Any], live: bool) -> None:
    """Raise FathomError for a name that is no setting, or, with `live`, none that can change now."""
    by_name = {s.name: s for s in settings}
    for name, value in patch.items():
        if name not in by_name:
            raise UnknownName("setting", name, by_name)
        if live and not by_name[name].live:
            able = ", ".join(s.name for s in settings if s.live)
            raise FathomError(
                f"{name} shapes the program and cannot change in the middle of a run; begin another one with "
                f"it. These can change: {able}."
            )
        if live and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise FathomError(f"{name} is {value!r}; it is a number.")


def configured(kind: type, given: dict[str, Any]) -> dict[str, Any]:
    """Values from a message as the fields of a class want them: a list becomes a tuple, 1 becomes 1.0.

    Raises FathomError where a value is of another type than its field.
    """
    hints, fields = _hints(kind), {f.name for f in dataclasses.fields(kind)}
    found = {}
    for name, value in given.items():
        if name not in fields:
            raise UnknownName("setting", name, fields)
        found[name] = _fitted(hints[name], value, name)
    return found


def _fitted(hint: Any, value: Any, name: str) -> Any:
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in arms:
            return value
        raise FathomError(f"{name} is {value!r}; it is one of {', '.join(map(str, arms))}.")
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_fitted(arms[0], item, name) for item in value)
        raise FathomError(f"{name} is {value!r}; it is a list.")
    if arms and type(None) in arms:
        inner = next(arm for arm in arms if arm is not type(None))
        return None if value is None else _fitted(inner, value, name)
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    wanted = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}.get(hint)
    raise FathomError(f"{name} is {value!r}; it is {wanted or 'not to be set here'}.")


def _layers(env: Any) -> list[Any]:
    """The environment within and what it is wrapped in, the innermost first."""
    found = []
    while env is not None and dataclasses.is_dataclass(env):
        found.insert(0, env)
        env = getattr(env, "env", None)
    return found


def _nested(value: Any) -> bool:
    """Whether a field is no number or word: an environment within, a map, a function."""
    if isinstance(value, jax.Array | np.ndarray):
        return value.ndim > 0
    return not isinstance(value, bool | int | float | str | tuple | list | None)


def _setting(
    owner: Any, field: dataclasses.Field, prefix: str, group: Literal["algorithm", "environment"]
) -> Setting:
    value, doc = getattr(owner, field.name), _comments(type(owner)).get(field.name, "")
    value = value.item() if isinstance(value, jax.Array | np.ndarray | np.generic) else value
    hint = _hints(type(owner)).get(field.name)
    choices = [str(c) for c in typing.get_args(hint)] if typing.get_origin(hint) is Literal else []
    live = not field.metadata.get("static", False) and isinstance(value, float)
    low, high = (
        _range(doc) if isinstance(value, int | float) and not isinstance(value, bool) else (None, None)
    )
    positive = low is not None and high is not None and low > 0 and high / low >= 10
    # What stands further back in a comment is the symbol of something else.
    symbol = _SYMBOL.search(doc[:_NAMED]) if isinstance(value, float) else None
    return Setting(
        name=prefix + field.name,
        value=list(value) if isinstance(value, tuple) else value,
        live=live,
        kind=_kind(value, choices),
        low=low,
        high=high,
        scale="log" if positive else "linear",
        choices=choices,
        doc=doc,
        symbol=symbol[1] if symbol and group == "algorithm" else "",
        group=group,
        fields=[],
    )


def _epsilon(algorithm: Any) -> Setting:
    return Setting(
        name="epsilon",
        value=float(algorithm.epsilon_end),
        live=True,
        kind="float",
        low=0.0,
        high=1.0,
        scale="linear",
        choices=[],
        doc="ε, from now on: the part of actions that are drawn at random",
        symbol="ε",
        group="algorithm",
        fields=list(_TOGETHER["epsilon"]),
    )


def _kind(value: Any, choices: list[str]) -> Any:
    if choices:
        return "choice"
    kinds = {bool: "bool", int: "int", float: "float", tuple: "list", list: "list"}
    return kinds.get(type(value), "text")


def _range(doc: str) -> tuple[float | None, float | None]:
    """The usual range that a comment names; [0, 1] for what is said to be a fraction."""
    found = _RANGE.search(doc.replace(",", ""))
    if found:
        low, high = (float(text.replace("−", "-")) for text in found.groups())
        return low, high
    return (0.0, 1.0) if _FRACTION.search(doc) else (None, None)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _comments(kind: type) -> dict[str, str]:
    """The comment behind each field of a class, those of its parents included."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if owner.__module__.startswith("fathom.") and dataclasses.is_dataclass(owner):
            found |= _own_comments(owner)
    return found


def _own_comments(kind: type) -> dict[str, str]:
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return {}
    found, name = {}, None
    for token in tokenize.generate_tokens(io.StringIO(textwrap.dedent(source)).readline):
        if (
            token.type == tokenize.NAME
            and token.start[1] == 4
            and token.line.lstrip().startswith(token.string)
        ):
            name = token.string
        elif token.type == tokenize.COMMENT and name is not None and token.start[1] > 4:
            found[name] = token.string.lstrip("# ").rstrip()
            name = None
    fields = {f.name for f in dataclasses.fields(kind)}
    return {key: text for key, text in found.items() if key in fields}
