"""Presets of the value-based learners beside DQN."""

from typing import Any

from fathom.presets.base import Preset

_REPLAYED: dict[str, Any] = {
    "learning_rate": 1e-3,
    "anneal_lr": True,
    "gamma": 0.98,
    "buffer_size": 50_000,
    "batch_size": 128,
    "train_every": 4,
    "gradient_steps": 2,
    "target_every": 1,
    "tau": 0.01,
    "epsilon_end": 0.04,
    "double": True,
    "n_step": 3,
}

PRESETS = (
    Preset(
        name="c51-cartpole",
        algorithm="c51",
        env="CartPole-v1",
        steps=50_000,
        settings={**_REPLAYED, "atoms": 31, "v_min": 0.0, "v_max": 60.0},
        source="DQN's preset, with atoms to the return of an endless episode at its γ",
        expected="500.0 on seeds 100 to 104",
    ),
    Preset(
        name="pqn-cartpole",
        algorithm="pqn",
        env="CartPole-v1",
        steps=500_000,
        settings={
            "learning_rate": 1e-3,
            "td_lambda": 0.95,
            "num_envs": 32,
            "num_steps": 64,
            "epochs": 4,
            "minibatches": 16,
            "exploration_fraction": 0.2,
        },
        source="set here, tried on seeds 100 to 109",
        expected="500.0 on seeds 100 to 109",
    ),
)
