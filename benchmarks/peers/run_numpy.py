"""The NumPy loop of benchmarks/tabular_numpy.py; run with the Python of Fathom's environment."""

import sys
from pathlib import Path
from typing import Any

import clock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tabular_numpy


def frozen_lake(settings: dict[str, Any]) -> clock.Figures:
    """Q-learning on Gymnasium's FrozenLake-v1, one seed."""
    steps = settings.get("steps", 100_000)
    seconds, steps_per_second = tabular_numpy.rate("FrozenLake-v1", steps, settings.get("seed", 0))
    return {"env_steps": steps, "seconds": seconds, "steps_per_second": steps_per_second}


if __name__ == "__main__":
    clock.answer("numpy", ["numpy", "gymnasium"], {"q-learning-frozenlake": frozen_lake})
