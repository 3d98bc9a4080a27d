"""Follow a run with a listener, and change its settings while it learns. Nothing is compiled anew."""

import os
import tempfile
from pathlib import Path

import numpy as np

from fathom import PPO, Agent
from fathom.train.report import Report

steps = int(os.environ.get("STEPS", 200_000))
folder = Path(tempfile.mkdtemp()) / "run"


class Coach:
    """Told of each chunk of a fraction of a second; returning True ends the run."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.best = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        print(f"· {name} {detail}")

    def chunk(self, report: Report) -> bool:
        score = float(np.nanmean([*report.mean("episode_return"), self.best]))
        print(f"{report.env_steps:>8,} steps  return {score:6.1f}  rate {self.agent.algorithm.learning_rate}")
        if self.best < 100 <= score:  # it stands: from now on with smaller steps
            self.agent.set(learning_rate=3e-4, entropy_coef=0.0)
        self.best = max(self.best, score)
        return score >= 480


agent = Agent(
    PPO(learning_rate=1e-3, entropy_coef=0.01, num_envs=16, num_steps=128, minibatches=8, epochs=4),
    "CartPole-v1",
    seeds=3,
    out=folder,
)
agent.learn(steps, listeners=[Coach(agent)], chunk_seconds=0.2)

print(f"greedy return: {agent.evaluate(episodes=50).mean:.1f}")
# The run is still a pure function of what is on record: its settings, its seeds, and this.
print("interventions:", (folder / "interventions.jsonl").read_text() or "none")
