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
        expected="500.0 on each of the seeds 1000 to 1009",
    ),
    Preset(
        name="bootstrapped_dqn-deepsea20",
        algorithm="bootstrapped_dqn",
        env="DeepSea20-v0",
        steps=200_000,
        settings={
            "learning_rate": 1e-3,
            "gamma": 0.99,
            "members": 20,
            "prior_scale": 5.0,
            "mask_prob": 1.0,
            "buffer_size": 10_000,
            "batch_size": 128,
            "learning_starts": 128,
            "train_every": 1,
            "target_every": 4,
            "hidden": (50, 50),
        },
        source="bsuite's baseline boot_dqn, 10,000 dives",
        expected="not measured; 0.99 where the treasure is found, 0 or less where not",
        kind="peer",
    ),
    Preset(
        name="qr_dqn-cartpole",
        algorithm="qr_dqn",
        env="CartPole-v1",
        steps=50_000,
        settings={
            **_REPLAYED,
            "n_step": 5,
            "epsilon_end": 0.1,
            "exploration_fraction": 0.4,
            "quantiles": 10,
            "kappa": 10.0,
        },
        source="tuned here on seeds 100 to 103, six settings compared; 472.5 on those",
        expected="439.3 on seeds 1000 to 1009, 95 % interval 383.5 to 473.0",
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
