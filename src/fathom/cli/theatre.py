"""Episodes as text on standard output: an animation on a terminal, frame after frame elsewhere."""

import contextlib
import sys
import time
from typing import Any

from fathom.runs.watch import STEPS_PER_SECOND, Lines, narrate

# What can be read on the shades of a value, and on the strong colours.
_ON_SHADES, _ON_COLORS = "body", "background"
_STRONG = ("accent", "goal", "danger", "muted")


def play(agent: Any, settings: tuple[int, int, int, int], speed: float | None, plain: bool) -> None:
    """Show episodes at `speed` steps per second (4 where None); Ctrl-C ends it.

    `settings` are the episodes, seed index, step limit and seed of `narrate`. Without a terminal, with
    NO_COLOR set or with `plain` there are no colours and nothing is overwritten; into a pipe all is written
    at once.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    unicode = console.encoding.startswith("utf")
    pause = 1.0 / (speed or STEPS_PER_SECOND)
    with contextlib.suppress(KeyboardInterrupt):
        if plain or console.no_color or not console.is_terminal or console.is_dumb_terminal or not unicode:
            for lines in narrate(agent, *settings, framed=True, unicode=False):
                print(to_text(lines), end="\n\n", flush=True)
                if sys.stdout.isatty():
                    time.sleep(pause)
            return
        size = console.size.width, console.size.height
        frames = narrate(agent, *settings, framed=False, size=size)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            for lines in frames:
                live.update(to_rich(lines), refresh=True)
                time.sleep(pause)


def to_text(lines: Lines) -> str:
    """The words alone."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def to_rich(lines: Lines) -> Any:
    """The words on their colours, for terminals."""
    from rich.text import Text

    from fathom.envs.render import PALETTES

    colors = PALETTES["light"]
    shown = Text(no_wrap=True)
    for line in lines:
        for text, role in line:
            ink = colors[_ON_COLORS if role in _STRONG else _ON_SHADES]
            style = f"{'bold ' if role in _STRONG else ''}{ink} on {colors[role]}" if role else ""
            shown.append(text, style)
        shown.append("\n")
    shown.right_crop()
    return shown
