"""The reproductions by name. Each family is a module with a tuple `EXPERIMENTS`."""

import importlib
import re

from fathom.core.errors import FathomError, UnknownName
from fathom.reproduce.base import Experiment

_FAMILIES = (
    "bandits",
    "control",
    "dyna",
    "exact",
    "linear",
    "policy_gradient",
    "rainbow_minatar",
    "td",
    "traces",
)


def experiments() -> dict[str, Experiment]:
    """All experiments by name, figures in the order of their numbers; FathomError if two share a name."""
    found: dict[str, Experiment] = {}
    for family in _FAMILIES:
        for experiment in importlib.import_module(f"fathom.reproduce.{family}").EXPERIMENTS:
            if experiment.name in found:
                raise FathomError(f"two experiments are called {experiment.name!r}; rename one.")
            found[experiment.name] = experiment
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def get(name: str) -> Experiment:
    """The experiment of that name; UnknownName with the nearest if there is none."""
    known = experiments()
    if name.lower() not in known:
        raise UnknownName("reproduction", name, known, "`fathom reproduce list` lists them.")
    return known[name.lower()]


def _order(name: str) -> tuple:
    """Figures first, 6.2 before 10.2; then all others by name."""
    numbered = re.fullmatch(r"figure-(\d+)\.(\d+)(.*)", name)
    return (0, int(numbered[1]), int(numbered[2]), numbered[3]) if numbered else (1, 0, 0, name)
