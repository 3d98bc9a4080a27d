"""`fathom train` and `fathom resume`."""

import contextlib
import dataclasses
import json
import re
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from fathom import presets
from fathom.algos.registry import algorithms
from fathom.cli import INTERRUPTED, parsing
from fathom.cli.options import ResumeOptions, TrainOptions
from fathom.core.errors import FathomError
from fathom.presets import Preset

if TYPE_CHECKING:
    from fathom.envs.host import HostSettings

_NATIVE_SEEDS = 10


def run_train(arguments: Sequence[str]) -> int:
    """Train an algorithm on an environment, and evaluate it."""
    name, rest = parsing.take_word(arguments, parsing.switches(TrainOptions), algorithms())
    if name is None:
        return _help_without_algorithm(rest)
    from fathom.algos.registry import get

    kind = get(name)
    name = name.lower().replace("-", "_")
    command = _command_type(kind)
    env, rest = parsing.take_word(rest, parsing.switches(command))
    asked_for_help = "-h" in rest or "--help" in rest
    if env is None and not asked_for_help:
        raise FathomError(
            f"which environment? Usage: fathom train {name} ENV; `fathom list environments` lists them."
        )
    chosen = parsing.flag_value(rest, "--preset") or "auto"
    backend, shown = _look(env, parsing.flag_value(rest, "--backend") or "auto") if env else ("native", None)
    command = _command_type(kind, type(shown) if shown else None)
    preset = _preset(name, env or "", backend, chosen)
    options = TrainOptions(
        steps=preset.steps if preset else TrainOptions.steps,
        seeds=_NATIVE_SEEDS if backend == "native" else 1,
    )
    default = command(options, kind(**(preset.settings if preset else {})), *([shown] if shown else []))
    prog = f"fathom train {name} {env or 'ENV'}"
    given = parsing.parse(command, rest, prog, algorithms()[name].summary, default)
    assert env is not None
    return _train(name, env, _with_settings(env, given.env) if shown else env, given, preset)


def run_resume(arguments: Sequence[str]) -> int:
    """Go on with a run, and evaluate it."""
    options = parsing.parse(
        ResumeOptions, arguments, "fathom resume", "Go on with a run where its last checkpoint has it."
    )
    from fathom.agent import Agent
    from fathom.runs.folder import RunFolder

    folder = RunFolder.open(options.run)
    if options.episodes < 1:
        raise FathomError(f"episodes is {options.episodes}; evaluate at least 1.")
    agent = Agent.resume(options.run, workers=options.workers, replay=options.replay)
    finished = agent.engine.update >= agent.horizon
    if finished and options.steps is None and (summary := folder.read_summary()) is not None:
        _say(f"the run is finished at {agent.env_steps:,} steps; to train on, add --steps.")
        _finish(summary, options.run, options.json)
        return 0
    _say(f"resuming {options.run} at {agent.env_steps:,} steps", options.quiet)
    return _learn(agent, options.steps, options.run, options.episodes, options.json, options.quiet)


def _command_type(kind: type, env: type | None = None) -> type:
    """The dataclass whose flags are those of `fathom train` and every field of the algorithm.

    Where the environment has settings, these are flags too: --env.NAME.
    """
    return dataclasses.make_dataclass(
        "Train",
        [
            ("run", tyro.conf.OmitArgPrefixes[TrainOptions]),
            ("settings", tyro.conf.OmitArgPrefixes[kind]),
            *([("env", env)] if env else []),
        ],
        frozen=True,
    )


def _with_settings(id: str, settings: "HostSettings") -> "HostSettings":
    """The environment's settings; FathomError where they are of another than the one named."""
    named = settings.host().id
    if named != id:
        raise FathomError(f"the settings given are of {named!r}, and {id!r} was named; name the former.")
    return settings


def _help_without_algorithm(arguments: list[str]) -> int:
    if "-h" not in arguments and "--help" not in arguments:
        names = textwrap.fill(", ".join(algorithms()), 90, initial_indent="  ", subsequent_indent="  ")
        raise FathomError(
            f"which algorithm? Usage: fathom train ALGO ENV, where ALGO is one of\n{names}\n"
            "`fathom list algorithms` says what each is."
        )
    listed = "\n".join(f"  {name:<18} {entry.summary}" for name, entry in algorithms().items())
    description = (
        f"Train an algorithm on an environment, and evaluate it.\n\nalgorithms:\n{listed}\n\n"
        "All settings of one: fathom train ALGO --help"
    )
    parsing.parse(TrainOptions, ["--help"], "fathom train ALGO ENV", description)
    return 0


def _look(env: str, wanted: str) -> "tuple[str, HostSettings | None]":
    """Where the environment runs, and its settings if it has any."""
    from fathom.envs.host import HostEnv
    from fathom.envs.registry import make

    if wanted not in ("auto", "native", "gymnasium"):
        return "native", None  # the parser tells what is wrong with it
    made = make(env, wanted)
    return ("gymnasium", made.settings) if isinstance(made, HostEnv) else ("native", None)


def _preset(name: str, env: str, backend: str, chosen: str) -> Preset | None:
    if chosen == "none":
        return None
    if chosen == "auto":
        return presets.find(name, env, backend)
    preset = presets.named(chosen)
    if preset.algorithm != name:
        raise FathomError(f"the preset {chosen!r} is one of {preset.algorithm}, not of {name}.")
    return preset


def _train(name: str, env: str, made_from: Any, given: Any, preset: Preset | None) -> int:
    options: TrainOptions = given.run
    from fathom.agent import Agent
    from fathom.runs.folder import require_vacant

    out = options.out or _default_folder(name, env)
    require_vacant(out)
    if options.steps < 1:
        raise FathomError(f"steps is {options.steps}; train for at least 1.")
    if options.episodes < 1:
        raise FathomError(f"episodes is {options.episodes}; evaluate at least 1.")
    agent = Agent(
        given.settings,
        made_from,
        seeds=options.seeds,
        seed=options.seed,
        backend=options.backend,
        workers=options.workers,
        replay=options.replay,
        out=out,
    )
    agent.preset = preset
    seeds = f"{options.seeds} seed{'s' if options.seeds > 1 else ''}"
    _say(f"{name} on {env}, {agent.backend} · {seeds} · {options.steps:,} steps each · {out}", options.quiet)
    _say(_describe_preset(preset, options.preset), options.quiet)
    watching = []
    if options.watch:
        from fathom.hub.watching import Watching

        watching.append(Watching(agent, out / "stream.rlog" if options.record else None))
    elif options.record:
        raise FathomError("--record keeps what the page shows; give --watch with it.")
    return _learn(agent, options.steps, out, options.episodes, options.json, options.quiet, watching)


def _describe_preset(preset: Preset | None, chosen: str) -> str:
    if preset is None:
        why = "" if chosen == "none" else ": none is known for this environment"
        return f"no preset{why}; the algorithm's own defaults"
    parts = [f"preset {preset.name}"]
    if preset.source:
        parts.append(f"from {preset.source}")
    if preset.expected:
        parts.append(f"expected return {preset.expected}")
    return ", ".join(parts) + " (--preset none for the bare defaults)"


def _default_folder(name: str, env: str) -> Path:
    """runs/<algorithm>-<environment>-<time>, with a number where two start in one second."""
    plain = re.sub(r"[^\w.-]+", "-", env.removesuffix(".py")).strip("-.")
    base = Path("runs") / f"{name}-{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
    path, n = base, 1
    while path.exists():
        n += 1
        path = base.with_name(f"{base.name}-{n}")
    return path


def _learn(
    agent: Any,
    steps: int | None,
    out: Path,
    episodes: int,
    as_json: bool,
    quiet: bool,
    watching: Sequence[Any] = (),
) -> int:
    from fathom.cli.progress import showing

    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.closing(agent))
            for watch in watching:
                stack.enter_context(contextlib.closing(watch))
            if agent.engine.told:
                _say(f"{agent.engine.told} (--workers decides otherwise)", quiet)
            if agent.engine.replay_told:
                _say(f"{agent.engine.replay_told} (--replay decides otherwise)", quiet)
            with showing(quiet) as shown:
                listeners = [*shown, *watching]
                # A page wants news more often than a terminal.
                agent.learn(steps, listeners=listeners, chunk_seconds=0.1 if watching else 0.5)
                for listener in listeners:
                    listener.phase("evaluate", f"{episodes} episodes of each seed")
                summary = agent.summary(episodes)
                for listener in listeners:
                    listener.phase("done")
    except KeyboardInterrupt:
        _say(_interrupted(out))
        return INTERRUPTED
    _finish(summary, out, as_json)
    return 0


def _interrupted(out: Path) -> str:
    from fathom.runs.folder import RunFolder

    with contextlib.suppress(FathomError):
        saved = RunFolder.open(out).checkpoints()
        if saved:
            return f"stopped; saved at update {saved[-1]:,}. Go on with: fathom resume {out}"
    return "stopped before anything was saved."


def _finish(summary: dict[str, Any], out: Path, as_json: bool) -> None:
    from fathom.cli.summary import show_summary
    from fathom.runs.folder import jsonable

    if as_json:
        print(json.dumps(jsonable(summary)))
    else:
        show_summary(summary, out)


def _say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)
