"""`fathom eval`, `fathom watch` and `fathom plot`."""

import contextlib
import json
import sys
from collections.abc import Sequence

from fathom.cli import parsing
from fathom.cli.options import EvalOptions, PlotOptions, WatchOptions


def run_eval(arguments: Sequence[str]) -> int:
    """Evaluate a run's policies."""
    options = parsing.parse(
        EvalOptions, arguments, "fathom eval", "Evaluate every seed of a run on fresh episodes, raw reward."
    )
    from fathom.agent import Agent
    from fathom.algos.registry import name_of
    from fathom.runs.folder import jsonable
    from fathom.runs.statistics import summarize

    with contextlib.closing(Agent.load(options.run)) as agent:
        result = agent.evaluate(options.episodes, not options.stochastic, stream=options.stream)
        found = {
            "algorithm": name_of(agent.algorithm),
            "env": agent.env_id,
            "backend": agent.backend,
            "seeds": agent.seeds,
            "steps": agent.env_steps,
            "episodes": options.episodes,
            "deterministic": not options.stochastic,
            **summarize(result.returns),
            "mean_length": float(result.lengths.mean()),
            "episodes_cut": result.cut,
        }
    if options.json:
        print(json.dumps(jsonable(found)))
    else:
        from fathom.cli.summary import show_evaluation

        show_evaluation(found)
    return 0


def run_watch(arguments: Sequence[str]) -> int:
    """Show a run's policy, in the terminal or as a film."""
    options = parsing.parse(
        WatchOptions,
        arguments,
        "fathom watch",
        "Show the deterministic policy of one seed of a run: as a film, or without -o in the terminal.",
    )
    from fathom.agent import Agent
    from fathom.runs.watch import record, require_film, require_speed, write_film

    require_speed(options.speed)
    if options.out is not None:
        require_film(options.out)
    with contextlib.closing(Agent.load(options.run)) as agent:
        settings = options.episodes, options.seed_index, options.max_steps, options.seed
        if options.out is None:
            from fathom.cli.theatre import play

            play(agent, settings, options.speed, options.plain)
            return 0
        frames, fps = record(agent, *settings, options.speed)
    path = write_film(options.out, frames, fps)
    print(f"{len(frames)} frames at {fps:g} per second", file=sys.stderr)
    print(path)
    return 0


def run_plot(arguments: Sequence[str]) -> int:
    """Draw learning curves."""
    options = parsing.parse(
        PlotOptions,
        arguments,
        "fathom plot",
        "Draw the learning curves of runs: mean and 95 % interval over seeds.",
    )
    from fathom.runs.plot import plot

    print(plot(options.runs, options.out, options.metric, options.smoothing))
    return 0
