"""Is one setting better than another? Ten seeds of each, intervals, and the probability of improvement."""

import os
import tempfile
from pathlib import Path

from fathom import PPO, Agent
from fathom.runs.plot import plot
from fathom.runs.statistics import ci95, iqm, probability_of_improvement

steps = int(os.environ.get("STEPS", 60_000))
folder = Path(tempfile.mkdtemp())

scores = {}
for name, learning_rate in (("careful", 3e-4), ("bold", 1e-3)):
    settings = PPO(learning_rate=learning_rate, num_envs=16, num_steps=64, epochs=4, minibatches=8)
    agent = Agent(settings, "CartPole-v1", seeds=10, out=folder / name).learn(steps)
    scores[name] = agent.evaluate(episodes=50).per_seed  # seeds are independent, episodes of one are not
    low, high = ci95(scores[name]) or (float("nan"), float("nan"))
    print(f"{name}: mean {scores[name].mean():.1f} [{low:.1f}, {high:.1f}], IQM {iqm(scores[name]):.1f}")

better = probability_of_improvement(scores["bold"], scores["careful"])
print(f"a bold run beats a careful one with probability {better:.2f}")

print("curves:", plot([folder / name for name in scores], "compare_seeds.png"))
