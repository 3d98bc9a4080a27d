"""The command line. This module imports nothing heavy: `fathom --help` must answer at once."""

import importlib
import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import fathom
from fathom.core.errors import FathomError, UnknownName

# command -> module that runs it, what follows the command, what it does
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "train": ("fathom.cli.train", "ALGO ENV", "train an algorithm on an environment"),
    "resume": ("fathom.cli.train", "RUN", "go on with a run where it stopped"),
    "eval": ("fathom.cli.results", "RUN", "evaluate a trained run on fresh episodes"),
    "watch": ("fathom.cli.results", "RUN [-o FILE]", "show the trained policy, or film it (.gif, .mp4)"),
    "plot": ("fathom.cli.results", "RUN... -o FILE", "draw learning curves (.png, .svg, .pdf)"),
    "hub": ("fathom.cli.hub", "[RUNS]", "open the live page: see a run learn, poke, rewind and fork it"),
    "play": ("fathom.cli.hub", "[--policy P]", "short rollouts on the classic tasks, to results.json"),
    "dashboard": (
        "fathom.cli.hub",
        "RUN|RESULTS... -o FILE",
        "compare runs and results in one HTML file",
    ),
    "reproduce": (
        "fathom.cli.reproduce",
        "LIST|NAME...",
        "make published figures again: ours against theirs",
    ),
    "list": ("fathom.cli.listing", "KIND", "list algorithms, environments or presets"),
    "check": ("fathom.cli.check", "TARGET", "test an environment and say what to mend"),
    "doctor": ("fathom.cli.doctor", "", "look over this installation"),
}

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 2 something the user can mend, 130 interrupted.

    What was asked for goes to standard output, all that is said about it to standard error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return _run(arguments)
        except FathomError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except SystemExit as stop:
            # How the parser ends after --help, or after a value that it could not read.
            return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0
        except KeyboardInterrupt:
            print("interrupted.", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of our output is gone, as after `| head`; Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _run(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in ("-h", "--help", "help"):
        print(_help())
        return 0
    if command in ("-V", "--version", "version"):
        print(f"fathom {fathom.__version__}")
        return 0
    if command not in _COMMANDS:
        raise UnknownName("command", command, _COMMANDS, "`fathom --help` lists them.")
    module = importlib.import_module(_COMMANDS[command][0])
    code = getattr(module, f"run_{command}")(arguments[1:])
    sys.stdout.flush()
    return code


def _help() -> str:
    width = max(len(f"{name} {rest}") for name, (_, rest, _) in _COMMANDS.items())
    commands = "\n".join(
        f"  {f'{name} {rest}':<{width}}   {summary}" for name, (_, rest, summary) in _COMMANDS.items()
    )
    return (
        textwrap.dedent("""\
        usage: fathom COMMAND ...

        Reinforcement learning whose every run is a pure function of what went into it.

        commands:
        {commands}

        options:
          -h, --help      show this help, or that of a command: fathom COMMAND --help
          -V, --version   show the version

        first steps:
          fathom train ppo CartPole-v1
          fathom train ppo CartPole-v1 --help    every setting of the algorithm
          fathom list environments
        """)
        .format(commands=commands)
        .rstrip()
    )


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=sys.stderr)
