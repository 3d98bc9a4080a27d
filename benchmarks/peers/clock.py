"""What the peer scripts share: the request on the command line, the clock, the one line they answer with.

Usage of every script: `python run_PEER.py WORKLOAD '{"setting": value}'`. Import this module before any
other, so that `wall_seconds` covers the imports that follow.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

STARTED = time.perf_counter()

Figures = dict[str, Any]
Workload = Callable[[dict[str, Any]], Figures]


def since_start() -> float:
    """Seconds since this module was imported."""
    return time.perf_counter() - STARTED


def steady(marks: Sequence[tuple[int, float]], warmup: int) -> Figures:
    """The rate after the first `warmup` iterations, from one (env steps, seconds) mark between iterations.

    `compile_seconds` is the longest warm-up iteration less the median of the later ones.
    """
    laps = [after - before for (_, before), (_, after) in pairwise(marks)]
    (first_step, first), (last_step, last) = marks[warmup], marks[-1]
    return {
        "env_steps": last_step - first_step,
        "seconds": last - first,
        "steps_per_second": (last_step - first_step) / (last - first),
        "compile_seconds": max(0.0, max(laps[:warmup]) - statistics.median(laps[warmup:])),
    }


def solved(seconds: Sequence[float | None], steps: Sequence[int], spent: float, fresh: float) -> Figures:
    """Time to solve: its median over the seeds, None where the median seed did not solve the task.

    `spent` is the training time of all seeds together, solved or not; `fresh` runs from the start of the
    process to the end of the first seed, with imports and compilation and without evaluation.
    """
    median = statistics.median(s if s is not None else float("inf") for s in seconds)
    return {
        "env_steps": sum(steps),
        "seconds": median if median < float("inf") else None,
        "solve_seconds": list(seconds),
        "solve_steps": list(steps),
        "unsolved": sum(s is None for s in seconds),
        "fresh_seconds": fresh if seconds[0] is not None else None,
        "steps_per_second": sum(steps) / spent,
    }


def stretches(settings: dict[str, Any]) -> tuple[int, int]:
    """Steps to train, a multiple of those between evaluations; and these."""
    steps = settings["steps"]
    every = min(settings["every"], steps)
    return max(1, round(steps / every)) * every, every


def curve(returns: Sequence[Sequence[float]], steps: int, every: int, seconds: float) -> Figures:
    """Greedy returns of each seed every `every` steps; `seconds` of training of all seeds together."""
    return {
        "env_steps": steps * len(returns),
        "seconds": seconds,
        "steps_per_second": steps * len(returns) / seconds,
        "at_steps": list(range(every, steps + 1, every)),
        "returns": [list(seed) for seed in returns],
        "last_return": statistics.fmean(seed[-1] for seed in returns),
    }


def answer(peer: str, packages: Sequence[str], workloads: Mapping[str, Workload]) -> None:
    """Runs the workload named on the command line and prints its figures as one line of JSON."""
    name, settings = sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    if name not in workloads:
        sys.exit(f"{peer} has no workload {name!r}; it has {', '.join(workloads)}")
    import_seconds = since_start()
    figures = workloads[name](settings)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {
        "peer": peer,
        "versions": {"python": sys.version.split()[0]} | {p: version(p) for p in packages},
        "workload": name,
        "settings": settings,
        "import_seconds": import_seconds,
        **figures,
        "wall_seconds": since_start(),
        "peak_rss_mb": rss / (2**20 if sys.platform == "darwin" else 2**10),
    }
    print(json.dumps(line), flush=True)
