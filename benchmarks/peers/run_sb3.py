"""Stable-Baselines3 on one workload; run with the Python of its own virtual environment."""

import clock  # noqa: F401  first, so that the clock covers the imports below
import sb3_workloads
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3

if __name__ == "__main__":
    packages = ["stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy"]
    algorithms = {"ppo": PPO, "dqn": DQN, "sac": SAC, "td3": TD3, "a2c": A2C, "recurrent": RecurrentPPO}
    sb3_workloads.answer("sb3", packages, algorithms, compiles=False)
