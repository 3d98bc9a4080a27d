"""The 10-armed testbed against NumPy: 2,000 runs × 1,000 steps of greedy, ε = 0.1, UCB and gradient bandit.

    python benchmarks/bandits.py

Each side runs in a process of its own, imports not counted, all else is: Fathom compiles its program with an
empty cache in the first pass; the second, warm, has other random numbers. NumPy's version is vectorised over
runs and breaks ties at random only in the runs that have any, which is the fastest of the ways tried. Seconds
are of the wall; `cpu` are those of all threads, which a busy machine stretches less.
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
from datetime import datetime
from pathlib import Path

import numpy as np

RUNS, STEPS, ARMS = 2_000, 1_000, 10
METHODS = ("greedy", "epsilon_greedy", "ucb", "gradient_bandit")
HERE = Path(__file__).parent


def argmax_with_random_ties(score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    action = score.argmax(axis=1)
    best = score == np.take_along_axis(score, action[:, None], axis=1)
    count = best.sum(axis=1)
    (tied,) = np.nonzero(count > 1)
    if tied.size:
        ranks = best[tied].cumsum(axis=1)
        drawn = (rng.random(tied.size) * count[tied]).astype(np.int64)
        action[tied] = (ranks <= drawn[:, None]).sum(axis=1)
    return action


def play_numpy(method: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean reward and part of optimal actions at each step."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((RUNS, ARMS), dtype=np.float32)
    best, rows = truth.argmax(axis=1), np.arange(RUNS)
    value, count = np.zeros_like(truth), np.zeros_like(truth)
    preference, baseline = np.zeros_like(truth), np.zeros(RUNS, np.float32)
    rewards, optimal = np.empty(STEPS), np.empty(STEPS)
    for t in range(STEPS):
        if method == "gradient_bandit":
            policy = np.exp(preference - preference.max(axis=1, keepdims=True))
            policy /= policy.sum(axis=1, keepdims=True)
            below = policy.cumsum(axis=1) < rng.random((RUNS, 1), dtype=np.float32)
            action = np.minimum(below.sum(axis=1), ARMS - 1)
        elif method == "ucb":
            bonus = 2.0 * np.sqrt(np.float32(np.log(t + 1)) / np.maximum(count, 1.0))
            action = argmax_with_random_ties(np.where(count > 0, value + bonus, np.float32(np.inf)), rng)
        else:
            action = argmax_with_random_ties(value, rng)
            if method == "epsilon_greedy":
                (random,) = np.nonzero(rng.random(RUNS, dtype=np.float32) < 0.1)
                action[random] = rng.integers(ARMS, size=random.size)
        reward = truth[rows, action] + rng.standard_normal(RUNS, dtype=np.float32)
        if method == "gradient_bandit":
            if t == 0:
                baseline[:] = reward
            step = 0.1 * (reward - baseline)
            preference -= step[:, None] * policy
            preference[rows, action] += step
            baseline += (reward - baseline) / np.float32(t + 1)
        else:
            count[rows, action] += 1.0
            value[rows, action] += (reward - value[rows, action]) / count[rows, action]
        rewards[t], optimal[t] = reward.mean(), (action == best).mean()
    return rewards, optimal


def numpy_pass(seed: int) -> dict[str, float]:
    return {method: float(play_numpy(method, seed)[0][-100:].mean()) for method in METHODS}


def fathom_pass(seed: int) -> dict[str, float]:
    from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
    from fathom.algos.bandit.gradient_bandit import GradientBandit
    from fathom.algos.bandit.ucb import UCB
    from fathom.envs.toy.bandit import Bandit
    from fathom.reproduce.testbed import play

    learners = (EpsilonGreedy(epsilon=0.0), EpsilonGreedy(epsilon=0.1), UCB(c=2.0), GradientBandit())
    played = play(learners, Bandit(), RUNS, STEPS, 100, seed)
    return {method: float(one.last_reward.mean()) for method, one in zip(METHODS, played, strict=True)}


def worker(side: str) -> None:
    """Print the seconds of a first and of a second pass as JSON."""
    if side == "fathom":
        import fathom.reproduce.bandits  # noqa: F401  (imports are not counted)
    record: dict[str, object] = {}
    for name, seed in (("first", 0), ("second", 1)):
        wall, cpu = time.perf_counter(), time.process_time()
        last_rewards = {"numpy": numpy_pass, "fathom": fathom_pass}[side](seed)
        record |= {f"{name}_seconds": time.perf_counter() - wall, f"{name}_cpu": time.process_time() - cpu}
        record[f"{name}_rewards"] = last_rewards
    print(json.dumps(record))


def measure(side: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as cache:
        env = os.environ | {"JAX_PLATFORMS": "cpu", "FATHOM_CACHE_DIR": cache}
        env.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, __file__, "--worker", side]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    parser.add_argument("--worker", choices=("numpy", "fathom"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker)
        return
    runs: dict[str, list[dict[str, float]]] = {"numpy": [], "fathom": []}
    load = os.getloadavg()[0]
    for repeat in range(options.repeats):
        for side, found in runs.items():
            found.append(measure(side))
            print(
                f"  {side}, {repeat + 1} of {options.repeats}: {found[-1]['first_seconds']:.2f} s",
                file=sys.stderr,
            )
    keys = ("first_seconds", "first_cpu", "second_seconds", "second_cpu")
    medians = {
        side: {k: statistics.median(r[k] for r in found) for k in keys} for side, found in runs.items()
    }
    ratios = {k: medians["numpy"][k] / medians["fathom"][k] for k in keys}
    now = datetime.now().astimezone()
    record = {
        "format": 1,
        "date": now.isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_at_start": load},
        "work": {"runs": RUNS, "steps": STEPS, "methods": METHODS},
        "medians": medians,
        "ratios": ratios,
        "runs": runs,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"bandits-{now:%Y-%m-%d-%H%M}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{'':10}{'with compiling':>16}{'warm':>10}{'cpu':>10}{'cpu, warm':>12}")
    for side, m in medians.items():
        print(
            f"{side:10}{m['first_seconds']:>14.2f} s{m['second_seconds']:>8.2f} s"
            f"{m['first_cpu']:>8.2f} s{m['second_cpu']:>10.2f} s"
        )
    print(
        f"{'ratio':10}{ratios['first_seconds']:>16.2f}{ratios['second_seconds']:>10.2f}"
        f"{ratios['first_cpu']:>10.2f}{ratios['second_cpu']:>12.2f}"
    )
    print(f"raw figures: {path}")


if __name__ == "__main__":
    main()
