"""The rule by which each learner with a table changes a value, with the numbers of a change filled in.

`python -m fathom.hub.equations` writes the equations as JSON, from which the page typesets them when built.
"""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fathom
from fathom.algos.registry import get
from fathom.hub.messages import Backup, Source, Term


@dataclass(frozen=True)
class Rule:
    """A learner's rule in words, and the method of the library that computes it."""

    latex: str
    plain: str
    method: str
    target: str  # which of the functions below gives the target; "" where there is no single one


_Q = r"Q(S,A) \leftarrow Q(S,A) + \alpha\,\bigl["
_END = r" - Q(S,A)\bigr]"
_TRACE = r"\quad Q \leftarrow Q + \alpha\,\delta\,z"

RULES: dict[str, Rule] = {
    "q_learning": Rule(
        _Q + r"R + \gamma \max_a Q(S',a)" + _END,
        "Q(S,A) ← Q(S,A) + α [R + γ max_a Q(S′,a) − Q(S,A)]",
        "td_error",
        "best",
    ),
    "count_q_learning": Rule(
        _Q + r"R + \gamma \max_a \tilde Q(S',a)" + _END + r",\quad \tilde Q = Q + \beta/\sqrt{N}",
        "Q(S,A) ← Q(S,A) + α [R + γ max_a (Q(S′,a) + β/√N(S′,a)) − Q(S,A)]",
        "td_error",
        "",
    ),
    "sarsa": Rule(
        _Q + r"R + \gamma\,Q(S',A')" + _END,
        "Q(S,A) ← Q(S,A) + α [R + γ Q(S′,A′) − Q(S,A)]",
        "update",
        "next",
    ),
    "expected_sarsa": Rule(
        _Q + r"R + \gamma \sum_a \pi(a \mid S')\,Q(S',a)" + _END,
        "Q(S,A) ← Q(S,A) + α [R + γ Σ_a π(a|S′) Q(S′,a) − Q(S,A)]",
        "update",
        "expected",
    ),
    "double_q_learning": Rule(
        r"Q_1(S,A) \leftarrow Q_1(S,A) + \alpha\,\bigl[R + \gamma\,Q_2(S',\arg\max_a Q_1(S',a))"
        r" - Q_1(S,A)\bigr]",
        "Q₁(S,A) ← Q₁(S,A) + α [R + γ Q₂(S′, argmax_a Q₁(S′,a)) − Q₁(S,A)], or with Q₁ and Q₂ exchanged",
        "td_error",
        "double",
    ),
    "dyna_q": Rule(
        _Q + r"R + \gamma \max_a Q(S',a)" + _END + r"\text{, then } n \text{ times in the model}",
        "Q(S,A) ← Q(S,A) + α [R + γ max_a Q(S′,a) − Q(S,A)], then n times in the model",
        "update",
        "best",
    ),
    "sarsa_lambda": Rule(
        r"\delta \leftarrow R + \gamma\,Q(S',A') - Q(S,A)," + _TRACE,
        "δ ← R + γ Q(S′,A′) − Q(S,A),   Q ← Q + α δ z",
        "update",
        "next",
    ),
    "td_lambda": Rule(
        r"\delta \leftarrow R + \gamma\,V(S') - V(S),\quad V \leftarrow V + \alpha\,\delta\,z",
        "δ ← R + γ V(S′) − V(S),   V ← V + α δ z",
        "update",
        "state",
    ),
    "td": Rule(
        r"V(S) \leftarrow V(S) + \alpha\,\bigl[G_{t:t+n} - V(S)\bigr]",
        "V(S) ← V(S) + α [R₁ + γ R₂ + … + γⁿ V(S′) − V(S)]",
        "update",
        "",
    ),
    "n_step_sarsa": Rule(
        _Q + r"G_{t:t+n}" + _END,
        "Q(S,A) ← Q(S,A) + α [R₁ + γ R₂ + … + γⁿ Q(S′,A′) − Q(S,A)]",
        "update",
        "",
    ),
    "monte_carlo": Rule(
        r"Q(S,A) \leftarrow \text{mean of the returns that followed}",
        "Q(S,A) ← the mean of the returns that followed, or Q + α [G − Q]",
        "update",
        "",
    ),
    "monte_carlo_prediction": Rule(
        r"V(S) \leftarrow \text{mean of the returns that followed}",
        "V(S) ← the mean of the returns that followed, or V + α [G − V]",
        "update",
        "",
    ),
    "off_policy_monte_carlo": Rule(
        r"Q(S,A) \leftarrow Q(S,A) + \frac{W}{C(S,A)}\,\bigl[G - Q(S,A)\bigr]",
        "Q(S,A) ← Q(S,A) + W / C(S,A) [G − Q(S,A)]",
        "update",
        "",
    ),
}


def backup(rule: Rule, u: int, step: dict[str, Any]) -> Backup:
    """One step of a learner (`watched.Layout.read`) as its rule reads with the step's numbers.

    `old` and `new` are the values of the pair before and after; where a learner moves others too, or the
    same value more than once, `new` is not old + α · δ, and the text says so.
    """
    old, new = step["old"], step["new"]
    # An illegal action's value is −∞ in the record; where the episode ended all may be.
    ended = step["terminated"] and not np.isfinite(step["following"]).all()
    follows = np.zeros_like(step["following"]) if ended else step["following"]
    table = int(np.argmax(np.abs(new - old))) if len(old) > 1 else 0
    before, after = np.float32(old[table]), np.float32(new[table])
    found = _TARGETS[rule.target](step, table, follows) if rule.target else None
    alpha, gamma = np.float32(step["alpha"]), np.float32(step["gamma"])
    terms = [Term("R", "reward", step["reward"]), Term("γ", "discount", float(gamma))]
    target = error = None
    if found is not None:
        symbol, name, ahead = found
        counted = name if not step["terminated"] else f"{name}; the episode ended: not counted"
        target = np.float32(step["reward"])
        if not step["terminated"]:
            target = target + gamma * np.float32(ahead)
        error = target - before
        terms.append(Term(symbol, counted, float(ahead)))
        terms.append(Term("target", "target", float(target)))
        terms.append(Term("δ", "TD error", float(error)))
        terms.append(Term("α", "step size", float(alpha)))
    value = "V(S)" if follows.shape[-1] == 1 else "Q(S,A)"
    terms += [Term(value, "old value", float(before)), Term(f"{value} new", "new value", float(after))]
    return Backup(
        u=u,
        state=int(step["state"]),
        action=int(step["action"]),
        reward=step["reward"],
        next_state=int(step["next_state"]),
        terminated=bool(step["terminated"]),
        old=float(before),
        new=float(after),
        target=None if target is None else float(target),
        td_error=None if error is None else float(error),
        alpha=float(alpha) if found is not None else 0.0,
        terms=terms,
        text=_worded(step, found, float(before), float(after), alpha, gamma, error),
    )


def source_of(algo: str) -> Source:
    """The lines of the library that the rule is computed by."""
    kind, rule = get(algo), RULES[algo]
    lines, first = inspect.getsourcelines(getattr(kind, rule.method))
    package = Path(fathom.__file__).parent.parent
    path = Path(inspect.getsourcefile(kind) or "").relative_to(package)
    return Source(path.as_posix(), first, [line.rstrip("\n") for line in lines])


def _best(step: dict[str, Any], table: int, follows: np.ndarray) -> tuple[str, str, float]:
    return "max Q(S′,a)", "best value of the next state", follows[table].max()


def _next(step: dict[str, Any], table: int, follows: np.ndarray) -> tuple[str, str, float] | None:
    ahead = int(step["next_action"])
    return None if ahead < 0 else ("Q(S′,A′)", "value of the next action", follows[table][ahead])


def _expected(step: dict[str, Any], table: int, follows: np.ndarray) -> tuple[str, str, float]:
    row = follows[table]
    legal = np.isfinite(row)
    best = row == row[legal].max()
    epsilon = np.float32(step["epsilon"])
    chance = epsilon * legal / legal.sum() + (1 - epsilon) * best / best.sum()
    return "Σ π Q(S′,a)", "mean value of the next action", float((chance * np.where(legal, row, 0)).sum())


def _double(step: dict[str, Any], table: int, follows: np.ndarray) -> tuple[str, str, float]:
    chosen = int(follows[table].argmax())
    return "Q′(S′, argmax Q)", "the other table's value of the best action", follows[1 - table][chosen]


def _state(step: dict[str, Any], table: int, follows: np.ndarray) -> tuple[str, str, float]:
    return "V(S′)", "value of the next state", follows[table][0]


_TARGETS: dict[str, Any] = {
    "best": _best,
    "next": _next,
    "expected": _expected,
    "double": _double,
    "state": _state,
}


def _worded(
    step: dict[str, Any],
    found: tuple[str, str, float] | None,
    old: float,
    new: float,
    alpha: Any,
    gamma: Any,
    error: Any,
) -> str:
    if found is None or error is None:
        return f"{_n(old)} → {_n(new)}"
    ahead = "0 (the end)" if step["terminated"] else f"{_n(gamma)}·{_n(found[2])}"
    sum_ = f"{_n(old)} + {_n(alpha)}·[{_n(step['reward'])} + {ahead} − {_n(old)}]"
    direct = old + float(alpha) * float(error)
    if abs(direct - new) <= 1e-5 * max(1.0, abs(new)):
        return f"{sum_} = {_n(new)}"
    return f"{sum_} = {_n(direct)}; with what else was learnt in this step {_n(new)}"


def _n(value: Any) -> str:
    """A number with as many digits as tell it, a minus sign that is one."""
    text = f"{float(value):.5g}"
    return f"(−{text[1:]})" if text.startswith("-") else text


def as_json() -> str:
    """The equations by algorithm, as the page is built with."""
    told = {name: {"latex": rule.latex, "plain": rule.plain} for name, rule in RULES.items()}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(as_json(), end="")
