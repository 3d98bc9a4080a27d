"""How much memory a run's replay takes, told before it is taken."""

import math
import os
from pathlib import Path

import jax

from fathom.algos.base import Algorithm
from fathom.core.errors import FathomError
from fathom.core.types import EnvSpec
from fathom.data import replay as replays
from fathom.train.loop import Plan

_SHARE = 0.8  # of the free memory; the rest is for the learner, the compiler and everybody else


def free_bytes() -> int | None:
    """Bytes free on the device that will hold the replay, or None where that cannot be known."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    try:
        with open("/proc/meminfo") as lines:
            table = dict(line.split(":", 1) for line in lines)
        free = int(table["MemAvailable"].split()[0]) * 1024
        return int(min(free, _container_bytes()))
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _container_bytes() -> float:
    """Bytes left under the memory limit of a Linux control group, infinite where there is none."""
    try:
        folder = Path("/sys/fs/cgroup")
        limit = (folder / "memory.max").read_text().strip()
        return math.inf if limit == "max" else int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return math.inf


def require_memory(algorithm: Algorithm, spec: EnvSpec, plan: Plan, seeds: int) -> int:
    """Bytes of all seeds' replay buffers; FathomError with a size that fits if they are too many."""
    if not plan.ring_rows:
        return 0
    needed = replays.nbytes(spec, plan.ring_rows, plan.num_envs, plan.prioritized) * seeds
    free = free_bytes()
    if free is not None and needed > _SHARE * free:
        per_item = needed / (plan.ring_rows * plan.num_envs)
        fits = int(_SHARE * free / per_item)
        fits -= fits % plan.steps  # the ring holds whole updates: a size between would be rounded up
        raise FathomError(
            f"the replay buffer would take {human(needed)} (buffer_size {plan.ring_rows * plan.num_envs:,} "
            f"× {seeds} seed{'s' * (seeds > 1)}), and {human(free)} are free. Set buffer_size to {fits:,} or "
            "less, or train fewer seeds at once."
        )
    return needed


def human(count: float) -> str:
    """A number of bytes for people: 46.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
