"""The arithmetic of a backup, against numbers worked by hand."""

from typing import Any

import numpy as np
import pytest

from fathom.hub import equations
from fathom.hub.equations import RULES, backup
from fathom.hub.watched import Layout


def _step(**changes: Any) -> dict[str, Any]:
    """The right-hand step of the 3×3 grid: from 3.0, at −1, to values 1, 0, 5 and 2."""
    step: dict[str, Any] = {
        "state": 4.0,
        "action": 1.0,
        "reward": -1.0,
        "next_state": 5.0,
        "next_action": 3.0,
        "terminated": 0.0,
        "truncated": 0.0,
        "alpha": 0.1,
        "gamma": 0.9,
        "epsilon": 0.2,
        "td_error": 0.5,
        "old": np.float32([3.0]),
        "new": np.float32([3.05]),
        "following": np.float32([[1.0, 0.0, 5.0, 2.0]]),
    }
    return step | changes


def test_q_learning_as_in_the_worked_example() -> None:
    found = backup(RULES["q_learning"], 7, _step())
    assert (found.u, found.state, found.action, found.next_state) == (7, 4, 1, 5)
    assert found.target == pytest.approx(3.5)
    assert found.td_error == pytest.approx(0.5)
    assert found.text == "3 + 0.1·[(−1) + 0.9·5 − 3] = 3.05"
    assert {t.symbol: round(t.value, 3) for t in found.terms} == {
        "R": -1.0, "γ": 0.9, "max Q(S′,a)": 5.0, "target": 3.5, "δ": 0.5, "α": 0.1, "Q(S,A)": 3.0,
        "Q(S,A) new": 3.05,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("algo", "target"),
    [
        ("sarsa", -1 + 0.9 * 2.0),
        # Each action has 0.05, the best of them 0.85: 0.05·(1 + 0 + 2) + 0.85·5.
        ("expected_sarsa", -1 + 0.9 * 4.4),
        ("sarsa_lambda", -1 + 0.9 * 2.0),
    ],
)
def test_other_targets(algo: str, target: float) -> None:
    assert backup(RULES[algo], 0, _step()).target == pytest.approx(target)


def test_double_q_learning_asks_the_other_table() -> None:
    step = _step(
        old=np.float32([3.0, 1.0]),
        new=np.float32([3.0, 1.08]),
        following=np.float32([[0.0, 2.0, 1.0, 0.0], [4.0, 0.0, 0.0, 0.0]]),
    )
    found = backup(RULES["double_q_learning"], 0, step)
    # The second table changed: its best action is the first, which the first table values at 0.
    assert found.target == pytest.approx(-1.0)
    assert found.old == 1.0


def test_nothing_follows_an_end_not_even_where_nothing_is_legal() -> None:
    for following in ([[1.0, 0.0, 5.0, 2.0]], [[-np.inf] * 4]):
        for algo in ("q_learning", "expected_sarsa", "sarsa"):
            found = backup(RULES[algo], 0, _step(terminated=1.0, following=np.float32(following)))
            assert found.target == pytest.approx(-1.0)
            assert all(np.isfinite(term.value) for term in found.terms)
            assert "0 (the end)" in found.text


def test_what_else_was_learnt_in_a_step_is_told() -> None:
    found = backup(RULES["dyna_q"], 0, _step(new=np.float32([3.2])))
    assert found.text.endswith("= 3.05; with what else was learnt in this step 3.2")


def test_returns_of_episodes_have_no_target() -> None:
    found = backup(RULES["monte_carlo"], 0, _step())
    assert (found.target, found.td_error) == (None, None)
    assert found.text == "3 → 3.05"


def test_a_row_is_read_as_it_was_written() -> None:
    layout = Layout(tables=2, columns=3)
    row = np.arange(layout.size, dtype=np.float32)
    step = layout.read(row)
    assert (step["state"], step["td_error"]) == (0.0, 10.0)
    assert step["old"].tolist() == [11.0, 16.0]
    assert step["new"].tolist() == [12.0, 17.0]
    assert step["following"].tolist() == [[13.0, 14.0, 15.0], [18.0, 19.0, 20.0]]


@pytest.mark.parametrize("algo", sorted(RULES))
def test_sources_are_the_lines_of_the_method(algo: str) -> None:
    source = equations.source_of(algo)
    assert f"def {RULES[algo].method}(" in source.lines[0]
    assert source.first > 1
    assert not source.path.startswith("/")
