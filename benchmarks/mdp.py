"""Exact solution of a 300 × 300 slippery grid: Fathom's solvers beside value iteration in NumPy.

    python benchmarks/mdp.py

90,000 states, 4 actions, a slip to either side with probability 1/3 each, the goal in the far corner,
γ = 0.99. Two kinds of reward: −1 a step, or +1 at the goal. Both sides are timed by turns, each on one
thread; figures are medians of the repeats in CPU time of the process, which other programs on the machine
disturb least. Peak memory is that of a process of its own, which builds the grid and solves it once.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

# Before NumPy is imported: a pool of threads that wait for one another spends CPU time on waiting.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np
from speed import machine

from fathom.mdp import MDP, multilevel_policy_iteration, value_iteration
from fathom.mdp.backup import Backup

HERE = Path(__file__).parent
GAMMA, WITHIN = 0.99, 1e-6
GRIDS = {"−1 a step": (-1.0, 0.0), "+1 at the goal": (0.0, 1.0)}


def grid(side: int, step: float, goal: float) -> MDP:
    """The slippery grid: its steps earn `step`, but that to the goal earns `goal`."""
    state = np.arange(side * side)
    row, column = np.divmod(state, side)
    directions = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    following = np.empty((state.size, 4, 3), np.int64)
    for action in range(4):
        for k, turn in enumerate((-1, 0, 1)):
            down, right = directions[(action + turn) % 4]
            to_row, to_column = np.clip(row + down, 0, side - 1), np.clip(column + right, 0, side - 1)
            following[:, action, k] = to_row * side + to_column
    terminated = following == state.size - 1
    reward = np.where(terminated, goal, step)
    terminated[-1], reward[-1] = True, 0.0
    return MDP(np.full(following.shape, 1 / 3), following, reward, terminated, (state == 0).astype(float))


def numpy_sweep(mdp: MDP) -> Callable[[np.ndarray], np.ndarray]:
    """One sweep on arrays [state, action, outcome]: the mean reward and γp are computed once."""
    reward, discounted, following = mdp.expected_reward, GAMMA * mdp.continuing, mdp.next_state
    return lambda v: (reward + np.einsum("sak,sak->sa", discounted, v[following])).max(axis=-1)


def numpy_textbook_sweep(mdp: MDP) -> Callable[[np.ndarray], np.ndarray]:
    """One sweep as it stands in the book: Σ p (r + γ v(s'))."""
    p, r, going_on, following = mdp.prob, mdp.reward, ~mdp.terminated, mdp.next_state
    return lambda v: (p * (r + GAMMA * v[following] * going_on)).sum(axis=-1).max(axis=-1)


def numpy_by_action_sweep(mdp: MDP) -> Callable[[np.ndarray], np.ndarray]:
    """One sweep with arrays turned to [outcome][action, state], buffers kept: what tuning by hand gives."""
    reward = np.ascontiguousarray(mdp.expected_reward.T)
    parts = [
        (
            np.ascontiguousarray(GAMMA * mdp.continuing[:, :, k].T),
            np.ascontiguousarray(mdp.next_state[:, :, k].T),
        )
        for k in range(3)
    ]
    ahead, q = np.empty_like(reward), np.empty_like(reward)

    def sweep(v: np.ndarray) -> np.ndarray:
        q[:] = reward
        for p, following in parts:
            np.take(v, following, out=ahead, mode="clip")
            np.multiply(ahead, p, out=ahead)
            np.add(q, ahead, out=q)
        return q.max(axis=0)

    return sweep


def numpy_value_iteration(mdp: MDP) -> np.ndarray:
    """To the same bound on the error as Fathom's."""
    sweep, values = numpy_sweep(mdp), np.zeros(mdp.num_states)
    while True:
        after = sweep(values)
        change, values = abs(after - values).max(), after
        if GAMMA / (1 - GAMMA) * change <= WITHIN:
            return values


def cpu_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    result = call()
    return time.process_time() - began, result


def sweeps(mdp: MDP, repeats: int) -> dict[str, list[float]]:
    """Seconds of one sweep, by turns."""
    values = np.random.default_rng(0).random(mdp.num_states)
    subjects = {
        "Fathom": Backup.of(mdp, GAMMA).best,
        "NumPy": numpy_sweep(mdp),
        "NumPy, textbook": numpy_textbook_sweep(mdp),
        "NumPy, turned by hand": numpy_by_action_sweep(mdp),
    }
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for repeat in range(repeats + 1):
        for name, sweep in subjects.items():
            took, _ = cpu_seconds(lambda sweep=sweep: [sweep(values) for _ in range(5)])
            if repeat:
                seconds[name].append(took / 5)
    return seconds


SOLVERS: dict[str, Callable[[MDP], np.ndarray]] = {
    "NumPy value iteration": numpy_value_iteration,
    "value_iteration": lambda mdp: value_iteration(mdp, GAMMA, tol=WITHIN).values,
    "multilevel_policy_iteration": lambda mdp: multilevel_policy_iteration(mdp, GAMMA, tol=WITHIN).values,
}


def solutions(mdp: MDP, repeats: int) -> dict[str, Any]:
    """Seconds from the MDP to values within 1e-6, by turns, and the distance from a far stricter solution."""
    truth = value_iteration(mdp, GAMMA, tol=1e-9).values
    out: dict[str, Any] = {name: {"seconds": []} for name in SOLVERS}
    for _ in range(repeats):
        for name, solve in SOLVERS.items():
            took, values = cpu_seconds(lambda solve=solve: solve(mdp))
            out[name]["seconds"].append(took)
            out[name]["error"] = float(abs(values - truth).max())
    return out


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(title: str, name: str, side: int) -> dict[str, float]:
    """Peak memory in MB of a new process before and after it solves a grid."""
    command = [sys.executable, __file__, "--alone", title, name, "--side", str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--side", type=int, default=300, help="cells along each side of the grid")
    parser.add_argument("--repeats", type=int, default=3, help="complete solutions by each program")
    parser.add_argument("--sweeps", type=int, default=20, help="timings of single sweeps")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        title, name = options.alone
        mdp = grid(options.side, *GRIDS[title])
        before = peak_mb()
        SOLVERS[name](mdp)
        print(json.dumps({"before_mb": before, "peak_mb": peak_mb()}))
        return
    now = datetime.now().astimezone()
    record: dict[str, Any] = {
        "format": 1,
        "date": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "side": options.side,
        "grids": {},
    }
    for title, rewards in GRIDS.items():
        mdp = grid(options.side, *rewards)
        swept, solved = sweeps(mdp, options.sweeps), solutions(mdp, options.repeats)
        record["grids"][title] = {"sweep_seconds": swept, "solutions": solved}
        print(f"{title}\n  one sweep, milliseconds")
        mine = statistics.median(swept["Fathom"])
        for name, seconds in swept.items():
            middle = statistics.median(seconds)
            print(f"    {name:<32}{1000 * middle:>9.2f}   × {middle / mine:.2f}")
        print("  whole solution, seconds")
        base = statistics.median(solved["NumPy value iteration"]["seconds"])
        for name, result in solved.items():
            middle = statistics.median(result["seconds"])
            result |= memory(title, name, options.side)
            print(
                f"    {name:<32}{middle:>9.2f}   {base / middle:.1f} × sooner, error {result['error']:.1e}, "
                f"peak memory {result['peak_mb']:.0f} MB"
            )
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"mdp-{now:%Y-%m-%d-%H%M}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"raw figures: {path}")


if __name__ == "__main__":
    main()
