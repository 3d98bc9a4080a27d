"""From words on the command line to dataclasses, by tyro; unknown flags become errors with the nearest."""

import dataclasses
import typing
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from fathom.core.errors import FathomError, UnknownName

T = TypeVar("T")


def parse(kind: type[T], arguments: Sequence[str], prog: str, description: str, default: Any = None) -> T:
    """The dataclass that the arguments describe, fields not named as in `default` (an instance of `kind`).

    Raises UnknownName for a flag that does not exist. `--help`, and a value that is not of its field's type,
    print a text and exit.
    """
    import tyro

    extra = {} if default is None else {"default": default}
    result, unknown = tyro.cli(
        kind, args=list(arguments), prog=prog, description=description, return_unknown_args=True, **extra
    )
    if unknown and not unknown[0].startswith("-"):
        raise FathomError(f"{prog} does not know what to do with {unknown[0]!r}; see `{prog} --help`.")
    if unknown:
        flag = unknown[0].partition("=")[0]
        raise UnknownName("setting", flag, flags(kind), f"`{prog} --help` lists all.")
    return result


def flags(kind: type, prefix: str = "") -> list[str]:
    """The flags of a dataclass and of those inside it, as tyro names them."""
    found: list[str] = []
    hints = typing.get_type_hints(kind)
    marked = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            bare = marked[field.name] is not hint  # OmitArgPrefixes
            found += flags(typing.cast(type, hint), prefix if bare else f"{name}.")
            continue
        found += [f"--{name}", _off(f"--{name}")] if hint is bool else [f"--{name}"]
    return found


def switches(kind: type) -> set[str]:
    """The flags of a dataclass that take no value."""
    all_flags = set(flags(kind))
    on = {flag for flag in all_flags if _off(flag) in all_flags}
    return on | {_off(flag) for flag in on} | {"-h", "--help"}


def _off(flag: str) -> str:
    """The flag that turns a switch off: --no-json of --json, --env.no-clip of --env.clip."""
    head, dot, last = flag.removeprefix("--").rpartition(".")
    return f"--{head}{dot}no-{last}"


def take_word(
    arguments: Sequence[str], no_value: Collection[str], known: Collection[str] = ()
) -> tuple[str | None, list[str]]:
    """The first word that is neither a flag nor a flag's value, and the arguments without it.

    A flag has a value unless it is one of `no_value`; numbers, of which a flag may have several, always
    belong to the flag before them, and words among `known` never do.
    """
    after_flag = False
    for i, word in enumerate(arguments):
        if word.startswith("-") and not _is_number(word):
            name = word.partition("=")[0].replace("_", "-")
            after_flag = "=" not in word and name not in no_value and not name.startswith("--no-")
        elif word in known or not (after_flag or _is_number(word)):
            return word, [*arguments[:i], *arguments[i + 1 :]]
        else:
            after_flag = False
    return None, list(arguments)


def flag_value(arguments: Sequence[str], flag: str) -> str | None:
    """The value that a flag has among arguments that are not parsed yet; None if it is not there."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
