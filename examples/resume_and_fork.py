"""Stop a run, go on with it to the same bits, and fork it: two futures of one past."""

import os
import tempfile
from pathlib import Path

import numpy as np

from fathom import PPO, Agent

steps = int(os.environ.get("STEPS", 60_000))
folder = Path(tempfile.mkdtemp()) / "run"
settings = PPO(num_envs=16, num_steps=64, minibatches=8, epochs=4, anneal_lr=True)

# The first half of a run. The horizon is where schedules end: that of the whole, not of this half.
Agent(settings, "CartPole-v1", out=folder).learn(steps // 2, horizon=steps)

# Another process, another day; it does not matter whether the first one ended well or was killed.
resumed = Agent.resume(folder)
print(f"resumed at step {resumed.env_steps:,}; it goes on to {steps:,}")

# A fork has the same parameters, optimiser, environments and random streams. From here it goes its own way.
bolder = resumed.fork().set(learning_rate=1e-3, clip=0.4)

resumed.learn()
bolder.learn()
whole = Agent(settings, "CartPole-v1").learn(steps)

obs = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
actions = [agent.predict(obs, deterministic=False) for agent in (whole, resumed, bolder)]
same = [f"{(a == actions[0]).mean():.1%}" for a in actions]
print(f"actions equal to those of a run never stopped: resumed {same[1]}, forked {same[2]}")
for name, agent in (("resumed", resumed), ("forked", bolder)):
    print(f"{name}: mean return {agent.evaluate(episodes=50).mean:.1f}")
