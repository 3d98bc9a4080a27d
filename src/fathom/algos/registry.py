"""The names of algorithms. Listing them imports none of them."""

import importlib
from typing import NamedTuple

from fathom.core.errors import UnknownName


class Entry(NamedTuple):
    """Where an algorithm is defined, and what it is in a line."""

    module: str
    class_name: str
    summary: str


_ALGORITHMS = {
    "dqn": Entry("fathom.algos.value.dqn", "DQN", "Deep Q-Network; double, n-step, masks (Mnih et al. 2015)"),
    "epsilon_greedy": Entry(
        "fathom.algos.bandit.epsilon_greedy",
        "EpsilonGreedy",
        "Bandit: action values, ε-greedy, greedy or optimistic (Sutton & Barto 2018, 2.4-2.6)",
    ),
    "gradient_bandit": Entry(
        "fathom.algos.bandit.gradient_bandit",
        "GradientBandit",
        "Bandit: preferences by stochastic gradient ascent (Sutton & Barto 2018, 2.8)",
    ),
    "ppo": Entry(
        "fathom.algos.policy.ppo", "PPO", "Proximal Policy Optimization, clipped (Schulman et al. 2017)"
    ),
    "q_learning": Entry(
        "fathom.algos.tabular.q_learning", "QLearning", "Q-learning with a table (Watkins 1989)"
    ),
    "thompson": Entry(
        "fathom.algos.bandit.thompson", "Thompson", "Bandit: Thompson sampling, Gaussian or Bernoulli rewards"
    ),
    "ucb": Entry("fathom.algos.bandit.ucb", "UCB", "Bandit: upper confidence bounds (Auer et al. 2002)"),
}


def algorithms() -> dict[str, Entry]:
    """All algorithms by their name on the command line, which is also their file's name."""
    return dict(_ALGORITHMS)


def get(name: str) -> type:
    """The class of an algorithm; UnknownName with the nearest names if there is none."""
    entry = _ALGORITHMS.get(name.lower().replace("-", "_"))
    if entry is None:
        raise UnknownName("algorithm", name, _ALGORITHMS)
    return getattr(importlib.import_module(entry.module), entry.class_name)


def name_of(algorithm: object) -> str:
    """The registered name of an algorithm object, or its class's name in lower case."""
    kind = type(algorithm)
    for name, entry in _ALGORITHMS.items():
        if (entry.module, entry.class_name) == (kind.__module__, kind.__name__):
            return name
    return kind.__name__.lower()
