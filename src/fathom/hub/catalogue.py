"""What can be opened from the page."""

import functools
import inspect
from typing import Any

from fathom.algos.registry import algorithms, get
from fathom.core.errors import FathomError
from fathom.envs.base import Env
from fathom.envs.registry import environments, make
from fathom.hub.equations import RULES
from fathom.hub.recipe import finite

WORLDS = {
    "5 × 5": ("S....\n.#.#.\n...#.\n.#...\n...#G", {"env.reward_bump": -1.0}),
    "open field": ("S.......\n........\n........\n........\n.......G", {}),
    "four rooms": (
        "S....#.....\n.....#.....\n...........\n.....#.....\n.....#.....\n#.####.....\n.....###.##\n.....#.....\n"
        ".....#.....\n...........\n.....#....G",
        {},
    ),
    "cliff": ("........\n........\n........\nSCCCCCCG", {"env.reward_step": -1.0, "env.reward_goal": 0.0,
                                                       "env.reward_cliff": -99.0}),
    "frozen lake": ("SFFF\nFHFH\nFFFH\nHFFG", {"env.slip": 0.667}),
    "two goals": ("..G..\n.....\nS....\n.....\n..G..", {"env.slip": 0.1}),
}  # fmt: skip


@functools.cache
def catalogue() -> dict[str, Any]:
    """Algorithms, environments and worlds to paint in."""
    algos = [
        {
            "name": name,
            "summary": entry.summary,
            "family": "tabular" if name in RULES else "deep",
            "doc": (inspect.getdoc(get(name)) or "").split("\n")[0],
        }
        for name, entry in algorithms().items()
    ]
    envs = []
    for listing in environments():
        kind, backend = "deep", listing.backends[0]
        if backend == "native":
            try:
                made = make(listing.id)
            except FathomError:
                continue
            kind = "tabular" if isinstance(made, Env) and finite(made) is not None else "deep"
        envs.append({"id": listing.id, "description": listing.description, "kind": kind, "backend": backend})
    worlds = [{"name": name, "map": map, "config": config} for name, (map, config) in WORLDS.items()]
    return {"algorithms": algos, "environments": envs, "worlds": worlds}
