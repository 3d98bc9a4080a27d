"""What a preset is."""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Preset:
    """Settings of one algorithm on one environment."""

    name: str  # as `--preset` takes it
    algorithm: str
    env: str
    steps: int  # environment steps of each seed
    settings: dict[str, Any] = field(default_factory=dict)
    source: str = ""  # where the settings come from
    expected: str = ""  # greedy return, mean over seeds, and where it was measured
    backend: str = "any"  # native, gymnasium or any
    automatic: bool = True  # whether `fathom train` picks it unasked
    kind: Literal["ours", "peer", "paper", "tutorial"] = "ours"  # who set it: see docs/presets.md
