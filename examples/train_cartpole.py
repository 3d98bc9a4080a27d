"""Train PPO on CartPole over ten seeds, judge the result, save it, and let one policy play."""

import os

import gymnasium

from fathom import Agent

steps = int(os.environ.get("STEPS", 100_000))  # environment steps of each seed

# By name, PPO takes the settings tuned for this environment; Agent(PPO(clip=0.1), ...) takes your own.
agent = Agent("ppo", "CartPole-v1", seeds=10).learn(steps)

result = agent.evaluate(episodes=100)
print(f"mean return over 10 seeds: {result.mean:.1f} (the best possible is 500)")
print("each seed:", result.per_seed.round(1))

agent.save("cartpole", overwrite=True)
agent = Agent.load("cartpole")

# A policy is a function of the observation, wherever that comes from: here from Gymnasium.
best = int(result.per_seed.argmax())
env = gymnasium.make("CartPole-v1")
obs, _ = env.reset(seed=0)
total, over = 0.0, False
while not over:
    action = agent.predict(obs, seed_index=best)
    obs, reward, terminated, truncated, _ = env.step(action)
    total, over = total + float(reward), terminated or truncated
print(f"one episode by seed {best}: {total:.0f}")
