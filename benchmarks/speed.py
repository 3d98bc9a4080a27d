"""Speed of Fathom and of its peers on the same work, alternately, in one sitting.

    python benchmarks/speed.py --setup --venvs DIR      # the peers' virtual environments, once
    python benchmarks/speed.py --venvs DIR              # every group, 3 times
    python benchmarks/speed.py --venvs DIR --only native host --repeats 1 --scale 0.1

Every run is a process of its own. Raw figures go to `benchmarks/results/speed-<date>.json`; the table shows
medians and their ratios, each beside the ratio aimed at. Run it on a quiet machine.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = ("sb3", "sbx", "rejax")
TIMEOUT = 7200.0


@dataclass(frozen=True)
class Subject:
    """A program on a workload. Where it has a `probe`, those settings choose its number of threads first."""

    peer: str
    workload: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    probe: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Figure:
    """A row of the table: the median `key` of one subject, divided by another's if `over` names one."""

    label: str
    of: str
    key: str = "steps_per_second"
    over: str | None = None
    over_key: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def value(self, medians: Mapping[str, Mapping[str, float]]) -> float | None:
        """The figure, or None where a run that it needs failed."""
        value = medians.get(self.of, {}).get(self.key)
        if self.over is None or value is None:
            return value
        divisor = medians.get(self.over, {}).get(self.over_key or self.key)
        return value / divisor if divisor else None

    def met(self, value: float | None) -> bool | None:
        """Whether the value reaches its target; None where there is no target, or no value."""
        if value is None or (self.at_least is None and self.at_most is None):
            return None
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Group:
    """What is measured together: its subjects run one after another, then all of them again."""

    about: str
    subjects: Mapping[str, Subject]
    figures: tuple[Figure, ...]


CHEETAH = {"steps": 30_000, "every": 5_000, "seeds": 3}
CHEETAH_SHORT = {**CHEETAH, "steps": 15_000, "seeds": 1}
CHEETAH_PROBE = {"steps": 2_000, "every": 2_000, "seeds": 1, "episodes": 1}
PPO_PROBE = {"steps": 1}  # the least that the workload runs
CLI = "Fathom, 10 seeds"
SB3_DEFAULT = Subject("sb3", "ppo-cartpole-host", {"steps": 65_536}, PPO_PROBE)

GROUPS = {
    "native": Group(
        "PPO, CartPole, native environments: 64 × 128 steps, 4 epochs × 4 minibatches, two 64-64 tanh "
        "networks. SB3 runs Gymnasium's CartPole, once with its own defaults (8 environments) and once on "
        "this schedule. Steps/s are those of all seeds together, compilation excluded.",
        {
            "Fathom, 1 seed": Subject("fathom", "ppo-cartpole-native", {"steps": 4_194_304}),
            "rejax, 1 seed": Subject("rejax", "ppo-cartpole-native", {"steps": 2_097_152}),
            "Fathom, 10 seeds": Subject("fathom", "ppo-cartpole-native", {"steps": 819_200, "seeds": 10}),
            "rejax, 10 seeds": Subject("rejax", "ppo-cartpole-native", {"steps": 409_600, "seeds": 10}),
            "SB3, default schedule": SB3_DEFAULT,
            "SB3, same schedule": Subject(
                "sb3", "ppo-cartpole-native", {"steps": 262_144}, {"steps": 65_536}
            ),
        },
        (
            Figure("Fathom over rejax", "Fathom, 1 seed", over="rejax, 1 seed", at_least=1.8),
            Figure("Fathom over rejax, 10 seeds", "Fathom, 10 seeds", over="rejax, 10 seeds"),
            Figure(
                "Fathom over SB3's defaults", "Fathom, 1 seed", over="SB3, default schedule", at_least=100.0
            ),
            Figure("Fathom over SB3 on the same schedule", "Fathom, 1 seed", over="SB3, same schedule"),
            Figure("10 seeds over 1 seed, total", "Fathom, 10 seeds", over="Fathom, 1 seed", at_least=1.0),
        ),
    ),
    "host": Group(
        "PPO, CartPole, 8 Gymnasium environments, SB3's default schedule: 2,048 steps each, batch 64, "
        "10 epochs. Steps/s include learning; the first iteration, which compiles, is not counted.",
        {
            "Fathom": Subject("fathom", "ppo-cartpole-host", {"steps": 163_840}),
            "SB3": SB3_DEFAULT,
            "SBX": Subject("sbx", "ppo-cartpole-host", {"steps": 65_536}, PPO_PROBE),
        },
        (
            Figure("Fathom over SB3", "Fathom", over="SB3", at_least=8.0),
            Figure("Fathom over SBX", "Fathom", over="SBX", at_least=4.5),
        ),
    ),
    "solve": Group(
        "PPO, CartPole, each with its own best schedule: training seconds, evaluation and compilation "
        "excluded, until the mean greedy return of 20 episodes is 475, looked at about every 2,048 steps. "
        "Median of 5 seeds. From the start of the process, imports and compilation are included.",
        {
            "Fathom": Subject("fathom", "ppo-cartpole-solve", {"seeds": 5}),
            "SB3": Subject("sb3", "ppo-cartpole-solve", {"seeds": 5}, {"seeds": 1, "steps": 10_000}),
        },
        (
            Figure("SB3's time over Fathom's", "SB3", "seconds", "Fathom", at_least=10.0),
            Figure("the same from the start of the process", "SB3", "fresh_seconds", "Fathom"),
        ),
    ),
    "dqn": Group(
        "DQN, CartPole, one Gymnasium environment, the Zoo's schedule: 50,000 steps, 128 updates of 64 "
        "transitions every 256 steps, 256-256 units. The first 2,048 steps are not counted.",
        {
            "Fathom": Subject("fathom", "dqn-cartpole-host", {"steps": 50_000}),
            "SB3": Subject("sb3", "dqn-cartpole-host", {"steps": 50_000}, {"steps": 10_000}),
            "SBX": Subject("sbx", "dqn-cartpole-host", {"steps": 50_000}, {"steps": 10_000}),
        },
        (
            Figure("Fathom over SB3", "Fathom", over="SB3", at_least=3.0),
            Figure("Fathom over SBX", "Fathom", over="SBX", at_least=1.4),
        ),
    ),
    "dqn-native": Group(
        "DQN, CartPole, one environment, an update of 64 transitions every step, 128-128 units: Fathom's and "
        "rejax's native environment, SB3 on Gymnasium's.",
        {
            "Fathom": Subject("fathom", "dqn-cartpole-native", {"steps": 50_000}),
            "rejax": Subject("rejax", "dqn-cartpole-native", {"steps": 50_000}),
            "SB3": Subject("sb3", "dqn-cartpole-every-step", {"steps": 5_000}, {"steps": 3_000}),
        },
        (
            Figure("Fathom over rejax", "Fathom", over="rejax", at_least=2.0),
            Figure("Fathom over SB3", "Fathom", over="SB3", at_least=10.0),
        ),
    ),
    "replay": Group(
        "DQN's update of 256 transitions from a full replay, nothing collected: uniform and prioritised, by "
        "the number of transitions in it. CartPole's spaces, 128-128 units.",
        {
            f"{kind}, {size}": Subject(
                "fathom", "replay-updates", {"size": number, "prioritized": kind == "prioritised"}
            )
            for kind in ("uniform", "prioritised")
            for size, number in (("10⁵", 100_000), ("10⁶", 1_000_000), ("10⁷", 10_000_000))
        },
        (
            Figure(
                "prioritised over uniform, 10⁶", "prioritised, 10⁶", "seconds", "uniform, 10⁶", at_most=2.0
            ),
            Figure(
                "prioritised, 10⁷ over 10⁵", "prioritised, 10⁷", "seconds", "prioritised, 10⁵", at_most=1.25
            ),
            Figure("uniform, 10⁷ over 10⁵", "uniform, 10⁷", "seconds", "uniform, 10⁵"),
            Figure("seconds to draw and set priorities, 10⁶", "prioritised, 10⁶", "sampling_seconds"),
            Figure("seconds to draw uniformly, 10⁶", "uniform, 10⁶", "sampling_seconds"),
        ),
    ),
    "minatar": Group(
        "Breakout of MinAtar, learning included: PQN on the native game, SB3's DQN with MinAtar's network on "
        "the package's; each with its own settings.",
        {
            "Fathom, PQN": Subject("fathom", "pqn-breakout", {"steps": 200_000}),
            "SB3, DQN": Subject("sb3", "dqn-breakout", {"steps": 8_000}, {"steps": 4_000}),
        },
        (Figure("Fathom's PQN over SB3's DQN", "Fathom, PQN", over="SB3, DQN", at_least=20.0),),
    ),
    "pong": Group(
        "DQN on Pong, 8 games, 84 × 84 × 4, an update of 32 for every 4 steps, Nature's network: the game's "
        "frames, learning included. Fathom by EnvPool and by ale-py, SB3 by ale-py.",
        {
            "Fathom, EnvPool": Subject("fathom", "dqn-pong", {"steps": 2_000}),
            "Fathom, ale-py": Subject("fathom", "dqn-pong", {"steps": 2_000, "engine": "ale"}),
            "SB3": Subject("sb3", "dqn-pong", {"steps": 2_000}, {"steps": 480}),
        },
        (
            Figure("Fathom by EnvPool over SB3", "Fathom, EnvPool", "frames_per_second", "SB3", at_least=1.5),
            Figure("Fathom by ale-py over SB3", "Fathom, ale-py", "frames_per_second", "SB3"),
        ),
    ),
    "continuous": Group(
        "SAC and TD3, Pendulum, one environment, an update of 256 transitions every step, 256-256 units, "
        "Gymnasium's environment unless it says native. The first 500 steps are not counted.",
        {
            "Fathom, SAC": Subject("fathom", "sac-pendulum-host", {"steps": 10_000}),
            "Fathom, SAC, native": Subject("fathom", "sac-pendulum-native", {"steps": 10_000}),
            "SB3, SAC": Subject("sb3", "sac-pendulum-host", {"steps": 5_000}, {"steps": 2_000}),
            "SBX, SAC": Subject("sbx", "sac-pendulum-host", {"steps": 10_000}, {"steps": 2_000}),
            "Fathom, TD3": Subject("fathom", "td3-pendulum-host", {"steps": 10_000}),
            "SB3, TD3": Subject("sb3", "td3-pendulum-host", {"steps": 5_000}, {"steps": 2_000}),
            "SBX, TD3": Subject("sbx", "td3-pendulum-host", {"steps": 10_000}, {"steps": 2_000}),
        },
        (
            Figure("SAC, Fathom over SB3", "Fathom, SAC", over="SB3, SAC", at_least=3.0),
            Figure("SAC, Fathom over SBX", "Fathom, SAC", over="SBX, SAC", at_least=1.0),
            Figure("SAC, Fathom native over SBX", "Fathom, SAC, native", over="SBX, SAC", at_least=1.15),
            Figure("TD3, Fathom over SB3", "Fathom, TD3", over="SB3, TD3", at_least=2.5),
            Figure("TD3, Fathom over SBX", "Fathom, TD3", over="SBX, TD3"),
        ),
    ),
    "cheetah": Group(
        "SAC and TD3, HalfCheetah-v5 of Gymnasium, 256-256 units, an update of 256 transitions every step "
        "from 1,000 steps on, other settings each library's own; greedy returns of 10 episodes on the way, "
        "off the clock.",
        {
            "Fathom, SAC": Subject("fathom", "sac-cheetah", CHEETAH),
            "SB3, SAC": Subject("sb3", "sac-cheetah", CHEETAH, CHEETAH_PROBE),
            "Fathom, TD3": Subject("fathom", "td3-cheetah", CHEETAH_SHORT),
            "SB3, TD3": Subject("sb3", "td3-cheetah", CHEETAH_SHORT, CHEETAH_PROBE),
        },
        (
            Figure("SAC, Fathom over SB3", "Fathom, SAC", over="SB3, SAC", at_least=2.5),
            Figure("TD3, Fathom over SB3", "Fathom, TD3", over="SB3, TD3", at_least=2.5),
            Figure(
                "SAC, last return over SB3's", "Fathom, SAC", "last_return", over="SB3, SAC", at_least=1.0
            ),
        ),
    ),
    "a2c": Group(
        "A2C, CartPole, 64-64 units, RMSProp, 5 steps of 8 environments to an update, which are SB3's "
        "defaults with 8 environments; and 16 steps of 16. Steps/s include learning, compilation excluded.",
        {
            "Fathom": Subject("fathom", "a2c-cartpole-host", {"steps": 100_000}),
            "Fathom, native": Subject("fathom", "a2c-cartpole-native", {"steps": 2_000_000}),
            "Fathom, native, 10 seeds": Subject(
                "fathom", "a2c-cartpole-native", {"steps": 400_000, "seeds": 10}
            ),
            "SB3": Subject("sb3", "a2c-cartpole-host", {"steps": 30_000}, {"steps": 4_000}),
            "Fathom, native, 16 × 16": Subject("fathom", "a2c-cartpole-native-long", {"steps": 4_000_000}),
            "SB3, 16 × 16": Subject("sb3", "a2c-cartpole-native", {"steps": 60_000}, {"steps": 30_000}),
        },
        (
            Figure("Fathom over SB3", "Fathom", over="SB3", at_least=5.0),
            Figure("Fathom native over SB3", "Fathom, native", over="SB3", at_least=100.0),
            Figure("Fathom native, 10 seeds at once, over SB3", "Fathom, native, 10 seeds", over="SB3"),
            Figure("one seed, 16 × 16", "Fathom, native, 16 × 16", over="SB3, 16 × 16", at_least=100.0),
        ),
    ),
    "recurrent": Group(
        "PPO with an LSTM of 64 units and a hidden layer of 64, for policy and value each, on 8 Gymnasium "
        "CartPoles whose velocities are not seen: 128 steps each, 8 minibatches of 128 steps, 10 epochs. "
        "Fathom's hidden layer comes before the LSTM, sb3-contrib's after it.",
        {
            "Fathom": Subject("fathom", "recurrent-positions-host", {"steps": 40_960}),
            "sb3-contrib": Subject("sb3", "recurrent-positions-host", {"steps": 8_192}, {"steps": 2_048}),
        },
        (Figure("Fathom over sb3-contrib", "Fathom", over="sb3-contrib", at_least=5.0),),
    ),
    "cli": Group(
        "PPO, CartPole, from nothing to trained: `fathom train ppo CartPole-v1`, 10 seeds × 100,000 steps in "
        "a new process with an empty compile cache, and SB3's one seed of 100,000 steps in a new process.",
        {
            CLI: Subject("fathom", "cold-cli", {"steps": 100_000, "seeds": 10}),
            "SB3, default": Subject("sb3", "ppo-cartpole-100k", {"steps": 100_000}, {"steps": 8192}),
            "SB3, Zoo": Subject(
                "sb3", "ppo-cartpole-100k", {"steps": 100_000, "schedule": "zoo"}, {"steps": 10_000}
            ),
        },
        (
            Figure(
                "SB3's defaults over Fathom", "SB3, default", "process_seconds", CLI, "seconds", at_least=1.0
            ),
            Figure(
                "SB3 on the Zoo's schedule over Fathom",
                "SB3, Zoo",
                "process_seconds",
                CLI,
                "seconds",
                at_least=1.0,
            ),
            Figure(
                "compilation, second run over first",
                CLI,
                "warm_compile_seconds",
                CLI,
                "compile_seconds",
                at_most=1 / 3,
            ),
        ),
    ),
    "tabular": Group(
        "Q-learning with a table, FrozenLake-v1 (4×4, slippery), α = 0.1, γ = 0.99, ε = 0.1: Fathom's native "
        "environment against the usual NumPy loop over Gymnasium's. Steps/s are those of all seeds together, "
        "compilation excluded.",
        {
            "Fathom, 1 seed": Subject("fathom", "q-learning-frozenlake", {"steps": 2_000_000}),
            "Fathom, 100 seeds": Subject("fathom", "q-learning-frozenlake", {"steps": 200_000, "seeds": 100}),
            "NumPy loop": Subject("numpy", "q-learning-frozenlake", {"steps": 200_000}),
        },
        (
            Figure("Fathom over the NumPy loop", "Fathom, 1 seed", over="NumPy loop", at_least=3.0),
            Figure("100 seeds over the NumPy loop", "Fathom, 100 seeds", over="NumPy loop", at_least=50.0),
        ),
    ),
    "import": Group(
        "A new Python process that imports Fathom and ends.",
        {"Fathom": Subject("fathom", "import")},
        (
            Figure("`import fathom`, seconds", "Fathom", "seconds", at_most=1.0),
            Figure("`from fathom import Agent, PPO`, seconds", "Fathom", "facade_seconds", at_most=1.0),
        ),
    ),
    "scaling": Group(
        "PPO on the native CartPole for 10⁵, 10⁶ and 10⁷ steps, each in a new process: cost over work.",
        {f"10^{n} steps": Subject("fathom", "scaling", {"steps": 10**n}) for n in (5, 6, 7)},
        (
            Figure("steps/s, 10⁷ over 10⁵ steps", "10^7 steps", over="10^5 steps", at_least=0.9),
            Figure("memory, 10⁷ over 10⁵ steps", "10^7 steps", "peak_rss_mb", "10^5 steps", at_most=1.1),
        ),
    ),
}


def setup(venvs: Path) -> None:
    """Makes a virtual environment for each peer from its pinned requirements, with this Python."""
    venvs.mkdir(parents=True, exist_ok=True)
    (venvs / ".gitignore").write_text("*\n")
    for peer in PEERS:
        home = venvs / f"peer-{peer}"
        if not python_of(peer, venvs).exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
        requirements = HERE / "peers" / f"{peer}.txt"
        subprocess.run([python_of(peer, venvs), "-m", "pip", "install", "-q", "-r", requirements], check=True)
        print(f"{peer}: ready in {home}")


def python_of(peer: str, venvs: Path) -> Path:
    """The interpreter that a peer runs on: Fathom and plain NumPy run on this one."""
    if peer in ("fathom", "numpy"):
        return Path(sys.executable)
    return venvs / f"peer-{peer}" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor()
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    memory = int(meminfo.read_text().split()[1]) / 2**20 if meminfo.exists() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": memory and round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
    }


def run(subject: Subject, venvs: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One measurement in a process of its own, with an empty compile cache.

    A failure is shown, and comes back as `error`.
    """
    script = HERE / "peers" / f"run_{subject.peer}.py"
    command = [python_of(subject.peer, venvs), script, subject.workload, json.dumps(dict(settings))]
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "FATHOM_CACHE_DIR": cache}
        env.pop("JAX_COMPILATION_CACHE_DIR", None)
        began = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=TIMEOUT)
        except (OSError, subprocess.TimeoutExpired) as problem:
            print(problem, file=sys.stderr)
            return {"error": type(problem).__name__}
        seconds = time.perf_counter() - began
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        return {"error": f"exit code {done.returncode}"}
    figures = json.loads(done.stdout.splitlines()[-1])
    return figures | {"process_seconds": seconds, "load_before": load}


def settle(subject: Subject, venvs: Path, scale: float) -> dict[str, Any]:
    """The subject's settings; where it has a probe, with the faster of 1 thread and a thread per core."""
    settings = dict(subject.settings)
    if "steps" in settings:
        settings["steps"] = max(1, round(settings["steps"] * scale))
    if (probe := subject.probe) is None:
        return settings

    def rate(threads: int) -> float:
        figures = run(subject, venvs, {**settings, **probe, "threads": threads})
        return figures.get("steps_per_second", 0.0)

    return settings | {"threads": max((1, os.cpu_count() or 1), key=rate)}


def measure(name: str, group: Group, venvs: Path, repeats: int, scale: float) -> dict[str, Any]:
    """Runs a group's subjects in turn, `repeats` times over, and works out its figures."""
    settings = {title: settle(s, venvs, scale) for title, s in group.subjects.items()}
    runs: list[dict[str, Any]] = []
    for repeat in range(repeats):
        for title, subject in group.subjects.items():
            figures = run(subject, venvs, settings[title])
            runs.append({"subject": title, "repeat": repeat, **figures})
            shown = figures.get("steps_per_second") or figures.get("seconds") or figures.get("error")
            print(f"  {name}: {title}, {repeat + 1} of {repeats}: {format_number(shown)}", file=sys.stderr)
    medians = {title: median_figures(r for r in runs if r["subject"] == title) for title in group.subjects}
    return {
        "about": group.about,
        "medians": medians,
        "figures": [
            asdict(f) | {"value": f.value(medians), "met": f.met(f.value(medians))} for f in group.figures
        ],
        "runs": runs,
    }


def median_figures(runs: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The median over the repeats of every figure that each of them has."""
    good = [r for r in runs if "error" not in r]
    keys = sorted({key for r in good for key, value in r.items() if isinstance(value, float)})
    complete = (key for key in keys if all(r.get(key) is not None for r in good))
    return {key: statistics.median(r[key] for r in good) for key in complete}


def format_number(value: Any) -> str:
    """A number as the tables show it, a dash for none; what is not a number, as it is."""
    if not isinstance(value, float | int):
        return "–" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def format_target(figure: Mapping[str, Any]) -> str:
    """The target of a figure, empty where it has none."""
    low, high = figure["at_least"], figure["at_most"]
    return f"≥ {low:g}" if low is not None else f"≤ {high:.3g}" if high is not None else ""


def print_table(groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints medians and ratios, group by group."""
    for name, group in groups.items():
        print(f"\n{name}: {group['about']}")
        for title, medians in group["medians"].items():
            rate, seconds = medians.get("steps_per_second"), medians.get("seconds")
            print(f"  {title:<42}{format_number(rate):>12} steps/s{format_number(seconds):>12} s")
        for figure in group["figures"]:
            verdict = {True: "met", False: "MISSED", None: ""}[figure["met"]]
            shown = f"{format_number(figure['value']):>12}  {format_target(figure):<8}"
            print(f"  {figure['label']:<42}{shown} {verdict}")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--setup", action="store_true", help="make the peers' environments and stop")
    parser.add_argument("--venvs", type=Path, default=Path(".venvs"), help="where those environments are")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every number of steps")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    options = parser.parse_args()
    if options.setup:
        setup(options.venvs)
        return

    now = datetime.now().astimezone()
    record: dict[str, Any] = {
        "format": 1,
        "date": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "repeats": options.repeats,
        "scale": options.scale,
        "groups": {},
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"speed-{now:%Y-%m-%d-%H%M}.json"
    for name in options.only:
        print(f"{name}", file=sys.stderr)
        record["groups"][name] = measure(name, GROUPS[name], options.venvs, options.repeats, options.scale)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print_table(record["groups"])
    print(f"\nraw figures: {path}")


if __name__ == "__main__":
    main()
