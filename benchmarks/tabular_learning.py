"""What the presets of tables learn, judged exactly.

    python benchmarks/tabular_learning.py                 # every row, seeds 1000 to 1009
    python benchmarks/tabular_learning.py --only sarsa/CliffWalking-v1 --seed 0

Each row trains ten seeds with the automatic preset and takes each one's greedy policy. Its return is not
sampled but computed from the environment's own dynamics (`fathom.mdp`), the step limit included, so that the
figures have no noise but that of learning. Raw figures go to
`benchmarks/results/tabular-learning-<date>.json`.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from speed import HERE, machine

from fathom import Agent, make
from fathom.core import spaces
from fathom.envs.finite import FiniteEnv, mdp_of
from fathom.mdp import MDP, evaluate_within

UNLIMITED = 1_000  # steps, where an environment has no limit: a policy that never ends shows as −1,000


@dataclass(frozen=True)
class Row:
    """A preset to train, and where the mean return of its seeds must lie."""

    algorithm: str
    env: str
    low: float
    high: float
    best: str  # what is known of the optimum

    @property
    def name(self) -> str:
        """How `--only` names the row."""
        return f"{self.algorithm}/{self.env}"


ROWS = (
    Row("q_learning", "FrozenLake-v1", 0.725, 0.755, "0.7402, the best that does not look at the clock"),
    Row("q_learning", "FrozenLake8x8-v1", 0.85, 1.0, "0.86296 for γ = 0.99"),
    Row("q_learning", "Taxi-v3", 7.78, 8.08, "7.93"),
    Row("q_learning", "CliffWalking-v1", -13.0, -13.0, "−13"),
    Row("sarsa", "CliffWalking-v1", -17.0, -17.0, "−17, the safe path"),
    Row("q_learning", "Blackjack-v1", -0.0531, -0.0431, "−0.0431"),
    Row("monte_carlo", "Blackjack-v1", -0.0531, -0.0431, "−0.0431"),
)


def greedy(env: FiniteEnv, q: np.ndarray, obs_space: spaces.Space) -> np.ndarray:
    """π(a | s) of the greedy policy, equal values sharing: [state, action]."""
    states = jnp.arange(env.num_states, dtype=jnp.int32)
    rows = np.asarray(jax.vmap(lambda s: spaces.index(obs_space, env.observe(s)))(states))
    best = q[rows] == q[rows].max(axis=-1, keepdims=True)
    return best / best.sum(axis=-1, keepdims=True)


def exact(mdp: MDP, policy: np.ndarray, limit: int) -> float:
    """The mean return of an episode."""
    return float(mdp.start @ evaluate_within(mdp, policy, limit))


def train(row: Row, seeds: int, seed: int) -> dict[str, Any]:
    """Train a row and judge each of its seeds."""
    began = time.perf_counter()
    agent = Agent(row.algorithm, row.env, seeds=seeds, seed=seed)
    assert agent.preset is not None
    agent.learn(agent.preset.steps)
    seconds = time.perf_counter() - began
    made: Any = make(row.env)
    env, limit = (made.env, made.max_steps) if hasattr(made, "max_steps") else (made, UNLIMITED)
    mdp = mdp_of(env)
    tables = np.asarray(agent.engine.learner.q.values)
    returns = [exact(mdp, greedy(env, q, made.obs_space), limit) for q in tables]
    mean = statistics.fmean(returns)
    return asdict(row) | {
        "steps": agent.env_steps,
        "seed": seed,
        "returns_per_seed": returns,
        "mean": mean,
        "met": row.low - 1e-9 <= mean <= row.high + 1e-9,
        "seconds": seconds,
        "steps_per_second": agent.steps_per_second,
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ALGORITHM/ENV")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1000, help="the first of the seeds")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    options = parser.parse_args()
    now = datetime.now().astimezone()
    record = {"format": 1, "date": now.isoformat(timespec="seconds"), "machine": machine(), "rows": []}
    path = options.results / f"tabular-learning-{now:%Y-%m-%d-%H%M}.json"
    for row in (row for row in ROWS if row.name in options.only):
        result = train(row, options.seeds, options.seed)
        record["rows"].append(result)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        worst, verdict = min(result["returns_per_seed"]), "met" if result["met"] else "MISSED"
        print(f"{row.name:<32} {result['mean']:>9.4f}  worst {worst:.4f}  best known {row.best}  {verdict}")
    print(f"\nraw figures: {path}")


if __name__ == "__main__":
    main()
