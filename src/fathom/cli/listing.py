"""`fathom list`. Algorithms and presets are listed without importing JAX."""

import json
from collections.abc import Sequence
from typing import Any

from fathom.cli import parsing
from fathom.cli.options import ListOptions
from fathom.core.errors import UnknownName

_KINDS = ("algorithms", "environments", "presets")


def run_list(arguments: Sequence[str]) -> int:
    """List what there is of a kind."""
    kind, _ = parsing.take_word(arguments, parsing.switches(ListOptions))
    if kind is not None and kind not in _KINDS:
        raise UnknownName("list", kind, _KINDS, "Usage: fathom list KIND.")
    options = parsing.parse(
        ListOptions, arguments, "fathom list", "List algorithms, environments or presets."
    )
    rows = {"algorithms": _algorithms, "environments": _environments, "presets": _presets}[options.kind]()
    if options.json:
        print(json.dumps(rows, indent=2))
    else:
        _print_rows(rows)
    return 0


def _algorithms() -> list[dict[str, Any]]:
    from fathom.algos.registry import algorithms

    return [{"name": name, "summary": entry.summary} for name, entry in algorithms().items()]


def _environments() -> list[dict[str, Any]]:
    from fathom.envs.registry import environments

    return [{"id": e.id, "backends": list(e.backends), "description": e.description} for e in environments()]


def _presets() -> list[dict[str, Any]]:
    from fathom.presets import presets

    return [
        {
            "name": p.name,
            "algorithm": p.algorithm,
            "env": p.env,
            "steps": p.steps,
            "kind": p.kind,
            "settings": p.settings,
            "source": p.source,
            "expected": p.expected,
        }
        for p in presets()
    ]


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """A line each, columns aligned; settings are left to --json."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != "settings"]
    cells = [[_cell(row[name]) for name in columns] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
