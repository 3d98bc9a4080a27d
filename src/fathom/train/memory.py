"""How much memory a run's replay takes and where it goes, told before it is taken."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Literal

import jax

from fathom.algos.base import Algorithm
from fathom.core.errors import FathomError
from fathom.core.types import EnvSpec
from fathom.data import replay as replays
from fathom.data import store
from fathom.train.loop import Plan

Where = Literal["auto", "device", "host"]

_SHARE = 0.8  # of the free memory; the rest is for the learner, the compiler and everybody else


def free_bytes() -> int | None:
    """Bytes free on the device that will hold the replay, or None where that cannot be known."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        limit = stats.get("bytes_limit")
        return None if limit is None else limit - stats.get("bytes_in_use", 0)
    return host_free_bytes()


def host_free_bytes() -> int | None:
    """Bytes free in the memory of this machine, or None where that cannot be known."""
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
    needed, lacks = _needs(spec, plan, plan.ring_rows, seeds)
    if lacks:
        where = " in the host's memory" if plan.apart else ""
        free = human((host_free_bytes() if plan.apart else free_bytes()) or 0)
        raise FathomError(
            f"the replay buffer would take {human(needed)}{where} (buffer_size "
            f"{plan.ring_rows * plan.num_envs:,} × {seeds} seed{'s' * (seeds > 1)}), and {free} are free. "
            f"Set buffer_size to {_fitting(spec, plan, seeds):,} or less, or train fewer seeds at once."
        )
    return needed


def _needs(spec: EnvSpec, plan: Plan, rows: int, seeds: int) -> tuple[int, bool]:
    """Bytes of all seeds' replay buffers of so many rows, and whether that is too many."""
    if not plan.apart:
        needed = replays.nbytes(spec, rows, plan.num_envs, plan.prioritized) * seeds
        return needed, _too_many(needed, free_bytes())
    large = store.nbytes(spec, rows, plan.num_envs) * seeds
    small = replays.nbytes(spec, rows, plan.num_envs, plan.prioritized, within=False) * seeds
    return large + small, _too_many(large, host_free_bytes()) or _too_many(small, free_bytes())


def _too_many(needed: int, free: int | None) -> bool:
    return free is not None and needed > _SHARE * free


def _fitting(spec: EnvSpec, plan: Plan, seeds: int) -> int:
    """The greatest buffer_size that fits: of whole updates, as a size between would be rounded up."""
    low, high = 0, plan.ring_rows // plan.rows
    while high - low > 1:
        middle = (low + high) // 2
        if _needs(spec, plan, middle * plan.rows, seeds)[1]:
            high = middle
        else:
            low = middle
    return low * plan.steps


def placed(
    algorithm: Algorithm, spec: EnvSpec, plan: Plan, seeds: int, where: Where, on_host: bool
) -> tuple[Plan, str]:
    """The plan with the place of its replay decided, and what was decided by size, for people.

    "auto" is the device, unless that cannot hold it and the host's memory can. Raises FathomError for the
    host's memory where the environment is not stepped there (`on_host`), or where there is no replay.
    """
    if where not in ("auto", "device", "host"):
        raise FathomError(f"replay is {where!r}; use 'auto', 'device' or 'host'.")
    if where == "host" and not plan.ring_rows:
        raise FathomError(f"{type(algorithm).__name__} learns without replay; leave replay='host' out.")
    if where == "host" and not on_host:
        raise FathomError(
            "replay='host' goes with environments that are stepped by the host: a native one is in one "
            "compiled program with its replay. Take backend='gymnasium', or a smaller buffer_size."
        )
    apart = dataclasses.replace(plan, apart=True)
    if where == "host":
        return apart, ""
    if where == "device" or not on_host or not plan.ring_rows:
        return plan, ""
    needed, lacks = _needs(spec, plan, plan.ring_rows, seeds)
    if not lacks or _needs(spec, apart, plan.ring_rows, seeds)[1]:
        return plan, ""
    free = human(free_bytes() or 0)
    return apart, f"replay takes {human(needed)} and the device has {free} free: it is in the host's memory"


def human(count: float) -> str:
    """A number of bytes for people: 46.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
