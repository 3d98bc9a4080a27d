"""Presets of SAC and DDPG."""

from typing import Any

from fathom.presets.base import Preset

_SMALL: dict[str, Any] = {
    "learning_rate": 1e-3,
    "buffer_size": 20_000,
    "batch_size": 128,
    "hidden": (64, 64),
}

PRESETS = (
    Preset(
        name="sac-pendulum",
        algorithm="sac",
        env="Pendulum-v1",
        steps=20_000,
        settings=_SMALL,
        source="set here, tried on seeds 100 to 102",
        expected="-151.0 on seeds 100 to 102",
    ),
    Preset(
        name="ddpg-pendulum",
        algorithm="ddpg",
        env="Pendulum-v1",
        steps=20_000,
        settings={**_SMALL, "actor_learning_rate": 1e-3, "tau": 0.005},
        source="set here, tried on seeds 100 to 102",
        expected="-160.6 on seeds 100 to 102",
    ),
)
