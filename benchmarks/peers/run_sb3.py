"""Stable-Baselines3 on one workload; run with the Python of its own virtual environment."""

import clock  # noqa: F401  first, so that the clock covers the imports below
import sb3_workloads
from stable_baselines3 import DQN, PPO, SAC, TD3

if __name__ == "__main__":
    packages = ["stable-baselines3", "torch", "gymnasium", "numpy"]
    sb3_workloads.answer("sb3", packages, PPO, DQN, SAC, TD3, compiles=False)
