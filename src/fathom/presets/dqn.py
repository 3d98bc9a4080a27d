"""Presets of DQN."""

from fathom.presets.base import Preset

PRESETS = (Preset("dqn-cartpole", "dqn", "CartPole-v1", 50_000),)
