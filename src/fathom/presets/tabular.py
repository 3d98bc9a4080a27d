"""Presets of learners with tables."""

from fathom.presets.base import Preset

_TRIED = "set here, tried on seeds 100 to 109 only"

PRESETS = (
    Preset(
        name="q_learning-frozenlake",
        algorithm="q_learning",
        env="FrozenLake-v1",
        steps=500_000,
        settings={
            "learning_rate": 0.2,
            "anneal_lr": True,
            "epsilon_end": 0.3,
            "exploration_fraction": 1.0,
        },
        source=_TRIED,
        expected="0.7402, the best that does not look at the clock, on each of the seeds 1000 to 1009",
    ),
    Preset(
        name="q_learning-frozenlake8x8",
        algorithm="q_learning",
        env="FrozenLake8x8-v1",
        steps=2_000_000,
        settings={
            "learning_rate": 0.2,
            "anneal_lr": True,
            "epsilon_end": 0.5,
            "exploration_fraction": 1.0,
        },
        source=_TRIED,
        expected="0.865 on seeds 1000 to 1009",
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
        source=_TRIED,
        expected="7.93, the optimum, on each of the seeds 1000 to 1009",
    ),
    Preset(
        name="q_learning-cliffwalking",
        algorithm="q_learning",
        env="CliffWalking-v1",
        steps=100_000,
        settings={"learning_rate": 0.5, "gamma": 1.0, "epsilon_start": 0.1, "epsilon_end": 0.1},
        source=_TRIED,
        expected="-13, the optimum, on each of the seeds 1000 to 1009",
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
        source=_TRIED,
        expected="-17, the safe path, on each of the seeds 1000 to 1009",
    ),
    Preset(
        name="q_learning-blackjack",
        algorithm="q_learning",
        env="Blackjack-v1",
        steps=2_000_000,
        settings={
            "learning_rate": 0.02,
            "anneal_lr": True,
            "gamma": 1.0,
            "epsilon_start": 1.0,
            "epsilon_end": 1.0,
        },
        source=_TRIED,
        expected="-0.0435 on seeds 1000 to 1009; the optimum is -0.0431",
    ),
    Preset(
        name="monte_carlo-blackjack",
        algorithm="monte_carlo",
        env="Blackjack-v1",
        steps=1_000_000,
        settings={
            "learning_rate": 0.02,
            "anneal_lr": True,
            "average": False,
            "gamma": 1.0,
            "epsilon_start": 1.0,
            "epsilon_end": 0.1,
            "exploration_fraction": 1.0,
        },
        source=_TRIED,
        expected="-0.050 on seeds 1000 to 1009; the optimum is -0.0431",
    ),
)
