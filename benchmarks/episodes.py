"""DQN on CartPole by episodes: how good is the greedy policy after 200, 250 and 300 of them?

    python benchmarks/episodes.py                     # the tuned preset, and what tutorials have, 10 seeds
    python benchmarks/episodes.py --only dqn-cartpole --seeds 10 --seed 1000

Tutorials say that DQN solves CartPole in 200 to 300 episodes. Each seed trains until it has ended so many
episodes, exploration included, and its greedy policy is then judged over 100 episodes: 475 is solved. Raw
figures go to `benchmarks/results/episodes-<date>.json`.
"""

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from speed import machine

HERE = Path(__file__).resolve().parent
AFTER = (200, 250, 300)  # episodes
PRESETS = ("dqn-cartpole", "dqn-cartpole-sync-1000", "dqn-cartpole-sync-10-episodes")
SOLVED = 475.0
LOOK_EVERY = 64  # environment steps of a seed


def measure(name: str, seeds: int, seed: int) -> dict[str, Any]:
    """The greedy return of each seed at each number of episodes, and the steps that it took."""
    from fathom import Agent
    from fathom.algos import registry
    from fathom.presets import named

    preset = named(name)
    algorithm = registry.get(preset.algorithm)(**preset.settings)
    agent = Agent(algorithm, preset.env, seeds=seeds, seed=seed)
    per_update = agent.engine.plan.steps
    horizon = preset.steps // per_update
    returns, steps = np.full((len(AFTER), seeds), np.nan), np.zeros((len(AFTER), seeds), int)
    ended = np.zeros(seeds)
    while np.isnan(returns).any():
        n = max(1, LOOK_EVERY // per_update)
        metrics = agent.engine.advance(n, max(horizon, agent.engine.update + n))
        ended += metrics["episode_return"].count
        due = np.isnan(returns) & (ended >= np.array(AFTER)[:, None])
        if due.any():
            judged = agent.evaluate(100).per_seed
            returns = np.where(due, judged, returns)
            steps = np.where(due, agent.env_steps, steps)
    agent.close()
    return {
        "preset": name,
        "settings": preset.settings,
        "horizon": preset.steps,
        "seeds": seeds,
        "seed": seed,
        "after": list(AFTER),
        "returns": returns.tolist(),
        "steps": steps.tolist(),
        "solved": (returns >= SOLVED).sum(axis=1).tolist(),
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", nargs="+", default=list(PRESETS), metavar="PRESET")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--results", type=Path, default=HERE / "results", help="folder of the raw figures")
    options = parser.parse_args()
    now = datetime.now().astimezone()
    record: dict[str, Any] = {
        "format": 1,
        "date": now.isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [],
    }
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"episodes-{now:%Y-%m-%d-%H%M}.json"
    for name in options.only:
        row = measure(name, options.seeds, options.seed)
        record["rows"].append(row)
        path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        for episodes, solved, returns in zip(AFTER, row["solved"], row["returns"], strict=True):
            mean = float(np.mean(returns))
            found = f"{solved} of {options.seeds} at 475, mean {mean:.0f}"
            print(f"{name:<32} after {episodes} episodes: {found}")
    print(f"\nraw figures: {path}")


if __name__ == "__main__":
    main()
