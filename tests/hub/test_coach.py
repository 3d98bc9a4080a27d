"""The coach: each rule where it should speak, silent where learning goes well."""

from typing import Any

import numpy as np
import pytest

from fathom.hub.coach import RECENT, RULES, SURE, WINDOW, Coach, Finding

STEPS = 256  # an update
EVERY = WINDOW // STEPS
SEEDS = 3


def _heard(
    metrics: dict[str, Any],
    windows: int = 24,
    settings: dict[str, Any] | None = None,
    horizon: int = 10_000,
    episodes: float = 20.0,
    actions: int | None = 2,
    first: int = 0,
    coach: Coach | None = None,
) -> list[Finding]:
    """What is said of windows in which each metric has that mean: a number, or a function of the window."""
    coach = coach or Coach(horizon, STEPS, actions)
    found = []
    for i in range(first, first + windows):
        means = {name: value(i) if callable(value) else value for name, value in metrics.items()}
        counts = {name: np.full(SEEDS, 5.0) for name in means}
        counts["episode_return"] = np.full(SEEDS, episodes)
        sums = {name: np.full(SEEDS, mean) * counts[name] for name, mean in means.items()}
        found += coach.note(i * EVERY, (i + 1) * EVERY, sums, counts, settings or {})
    return found


# A run that learns as PPO and as DQN do.
WELL = {
    "episode_return": lambda i: 20.0 + 9 * i,
    "reward": 1.0,
    "entropy": lambda i: 0.69 - 0.02 * i,
    "approx_kl": 0.01,
    "clip_fraction": 0.1,
    "explained_variance": lambda i: 0.03 * i,
    "value_loss": 20.0,
    "loss": 0.4,
    "grad_norm": 0.8,
    "epsilon": lambda i: max(0.05, 1 - 0.2 * i),
    "q_value": lambda i: 5.0 + i,
}
SETTINGS = {"max_grad_norm": 0.5, "exploration_fraction": 0.5, "gamma": 0.99}


FLAT = {"episode_return": lambda i: 9.0 + i % 2}


def test_nothing_is_said_of_a_run_that_learns() -> None:
    assert _heard(WELL, settings=SETTINGS) == []


def test_nothing_is_said_of_a_run_that_has_learnt() -> None:
    """At the highest return there is no variance to explain, nothing to explore, and nothing that differs."""
    solved = WELL | {"episode_return": lambda i: min(500.0, 20.0 + 60 * i), "entropy": 0.01}
    assert _heard(solved | {"explained_variance": -0.3, "grad_norm": 40.0}, 80, SETTINGS, horizon=1000) == []


@pytest.mark.parametrize(
    ("rule", "wrong", "seen", "more"),
    [
        ("no_reward", {"reward": 0.0}, 0.0, {}),
        ("no_end", {}, None, {"episodes": 0.0}),
        ("same_return", {"episode_return": -200.0}, -200.0, {}),
        ("epsilon", {"epsilon": 0.93}, 0.93, {}),
        ("entropy", FLAT | {"entropy": 0.01}, 0.01, {}),
        ("kl", {"approx_kl": 0.12}, 0.12, {}),
        ("clip_fraction", {"clip_fraction": 0.55}, 0.55, {}),
        ("explained_variance", FLAT | {"explained_variance": -0.3}, -0.3, {"horizon": 1000}),
        ("exploding", {"value_loss": lambda i: 1.0 if i < 13 else 1e5}, 75_000.25, {}),
        ("overestimates", {"q_value": 5e3}, 5e3, {}),
        ("grad_norm", FLAT | {"grad_norm": 40.0}, 40.0, {}),
    ],
)
def test_each_rule_speaks_once_with_the_number_seen(
    rule: str, wrong: dict[str, Any], seen: float | None, more: dict[str, Any]
) -> None:
    found = [f for f in _heard(WELL | wrong, settings=SETTINGS, **more) if f.rule == rule]
    assert len(found) == 1
    (finding,) = found
    assert finding.seen == (None if seen is None else pytest.approx(seen))
    assert not finding.over
    for text in (finding.text, finding.healthy, finding.advice, finding.source):
        assert text
    assert not finding.text.endswith(".")


def test_a_rule_for_each_finding() -> None:
    assert len(RULES) == 11


def test_a_number_that_has_been_wrong_for_a_moment_is_no_finding() -> None:
    assert _heard(WELL | {"approx_kl": lambda i: 0.15 if i == 10 else 0.01}, settings=SETTINGS) == []
    said = _heard(WELL | {"approx_kl": 0.12}, windows=RECENT + SURE - 2, settings=SETTINGS)
    assert [f.rule for f in said] == []


def test_what_is_settled_is_told() -> None:
    coach = Coach(10_000, STEPS, 2)
    _heard(WELL | {"approx_kl": 0.12}, settings=SETTINGS, coach=coach)
    said = _heard(WELL, settings=SETTINGS, coach=coach, first=24)
    assert [(f.rule, f.over) for f in said] == [("kl", True)]


def test_what_is_gone_through_again_is_not_counted_again() -> None:
    coach = Coach(10_000, STEPS, 2)
    _heard(WELL, settings=SETTINGS, coach=coach)
    assert _heard(WELL | {"approx_kl": 0.5}, settings=SETTINGS, coach=coach) == []


def test_one_seed_that_tells_nothing_does_not_silence_the_others() -> None:
    coach = Coach(10_000, STEPS, 2)
    found = []
    for i in range(12):
        counts = {"approx_kl": np.array([0.0, 5.0, 5.0]), "episode_return": np.full(SEEDS, 1.0)}
        sums = {"approx_kl": np.array([0.0, 1.0, 1.0]), "episode_return": np.array([1.0, 2.0, 3.0])}
        found += coach.note(i * EVERY, (i + 1) * EVERY, sums, counts, {})
    assert [f.seen for f in found if f.rule == "kl"] == [pytest.approx(0.2)]
