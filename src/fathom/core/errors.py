"""Errors that tell what was wrong, with the value, and what to do."""

import difflib
from collections.abc import Iterable


class FathomError(Exception):
    """Something the user can mend. The command line prints the message and exits with code 2."""


class UnknownName(FathomError):
    """A name that is not known, with the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        known = sorted(known)
        near = nearest(name, known)
        text = f"unknown {kind} {name!r}."
        if near:
            text += f" Did you mean {' or '.join(near)}?"
        elif known:
            text += f" Known: {', '.join(known)}."
        super().__init__(f"{text} {hint}".strip())


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names closest in spelling to `name`, best first; case does not matter."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.5)]
