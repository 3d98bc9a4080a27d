"""Presets of learners with tables."""

from fathom.presets.base import Preset

_WIDE = {"anneal_lr": True, "epsilon_start": 1.0, "epsilon_end": 0.3, "exploration_fraction": 1.0}

PRESETS = (
    Preset(
        name="q_learning-frozenlake",
        algorithm="q_learning",
        env="FrozenLake-v1",
        steps=500_000,
        settings={"learning_rate": 0.2, "gamma": 0.99, **_WIDE},
    ),
    Preset(
        name="q_learning-frozenlake8x8",
        algorithm="q_learning",
        env="FrozenLake8x8-v1",
        steps=2_000_000,
        settings={
            "learning_rate": 0.2,
            "gamma": 0.99,
            "epsilon_end": 0.5,
            **{k: v for k, v in _WIDE.items() if k != "epsilon_end"},
        },
    ),
    Preset(
        name="q_learning-taxi",
        algorithm="q_learning",
        env="Taxi-v3",
        steps=500_000,
        settings={
            "learning_rate": 0.5,
            "gamma": 0.99,
            "epsilon_start": 1.0,
            "epsilon_end": 0.1,
            "exploration_fraction": 0.8,
        },
    ),
    Preset(
        name="q_learning-cliffwalking",
        algorithm="q_learning",
        env="CliffWalking-v1",
        steps=100_000,
        settings={"learning_rate": 0.5, "gamma": 1.0, "epsilon_start": 0.1, "epsilon_end": 0.1},
    ),
    Preset(
        name="sarsa-cliffwalking",
        algorithm="sarsa",
        env="CliffWalking-v1",
        steps=200_000,
        settings={
            "learning_rate": 0.5,
            "anneal_lr": True,
            "gamma": 1.0,
            "epsilon_start": 0.1,
            "epsilon_end": 0.1,
        },
    ),
    Preset(
        name="monte_carlo-blackjack",
        algorithm="monte_carlo",
        env="Blackjack-v1",
        steps=500_000,
        settings={"gamma": 1.0, "epsilon_start": 1.0, "epsilon_end": 0.1, "exploration_fraction": 1.0},
    ),
)
