"""SBX on one workload; run with the Python of its own virtual environment."""

import clock  # noqa: F401  first, so that the clock covers the imports below
import sb3_workloads
from sbx import DQN, PPO, SAC, TD3

if __name__ == "__main__":
    packages = ["sbx-rl", "stable-baselines3", "torch", "jax", "flax", "gymnasium", "numpy"]
    algorithms = {"ppo": PPO, "dqn": DQN, "sac": SAC, "td3": TD3}
    sb3_workloads.answer("sbx", packages, algorithms, compiles=True)
