"""Presets of PPO."""

from fathom.presets.base import Preset

PRESETS = (Preset("ppo-cartpole", "ppo", "CartPole-v1", 100_000),)
