"""Tuned settings by algorithm and environment, each with its source and the score expected of it."""

from fathom.core.errors import UnknownName
from fathom.presets.actor_critic import PRESETS as _ACTOR_CRITIC
from fathom.presets.base import Preset
from fathom.presets.dqn import PRESETS as _DQN
from fathom.presets.policy_gradient import PRESETS as _POLICY_GRADIENT
from fathom.presets.ppo import PRESETS as _PPO
from fathom.presets.tabular import PRESETS as _TABULAR
from fathom.presets.tutorials import PRESETS as _TUTORIALS
from fathom.presets.value_based import PRESETS as _VALUE_BASED

__all__ = ["Preset", "find", "named", "presets"]

_PRESETS: dict[str, Preset] = {
    p.name: p
    for p in (*_PPO, *_POLICY_GRADIENT, *_DQN, *_VALUE_BASED, *_ACTOR_CRITIC, *_TABULAR, *_TUTORIALS)
}


def presets() -> list[Preset]:
    """All presets, by algorithm and environment."""
    return sorted(_PRESETS.values(), key=lambda p: (p.algorithm, p.env, p.name))


def named(name: str) -> Preset:
    """The preset of this name; UnknownName with the nearest names if there is none."""
    if name not in _PRESETS:
        raise UnknownName("preset", name, _PRESETS, "`fathom list presets` lists them.")
    return _PRESETS[name]


def find(algorithm: str, env: str, backend: str = "native") -> Preset | None:
    """The preset picked for an algorithm (its name) on an environment (its id), or None.

    Among several the one tuned for the backend ("native" or "gymnasium") goes first.
    """
    fits = [p for p in presets() if p.algorithm == algorithm and p.env == env and p.automatic]
    fits.sort(key=lambda p: p.backend not in (backend, "any"))
    return fits[0] if fits else None
