"""What the engine tells its listeners, after each compiled chunk."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Report:
    """The state of a run after a chunk; plain Python and NumPy."""

    update: int  # updates done
    env_steps: int  # environment steps of one seed done
    horizon_steps: int  # environment steps of one seed at which the run ends
    seeds: int
    seconds: float  # of training in this session, compiling and listeners not counted
    chunk_seconds: float
    chunk_steps: int  # environment steps of all seeds in this chunk
    sums: dict[str, np.ndarray] = field(default_factory=dict)  # metric -> [seeds] sum over the chunk
    counts: dict[str, np.ndarray] = field(default_factory=dict)  # metric -> [seeds] count over the chunk

    def mean(self, name: str) -> np.ndarray:
        """The metric's mean over the chunk per seed, NaN where nothing was counted; shape [seeds]."""
        count = self.counts[name]
        return np.where(count > 0, self.sums[name] / np.maximum(count, 1), np.nan)


class Listener(Protocol):
    """Something that follows a run. Nothing it does can reach the training."""

    def phase(self, name: str, detail: str = "") -> None:
        """A phase begins: compile, train, evaluate, save, done."""

    def chunk(self, report: Report) -> bool | None:
        """A chunk is over. Returning True asks for an early stop."""
