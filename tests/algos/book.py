"""Sutton & Barto 2018's pseudocode, transcribed line by line: slow, in float64, from recorded episodes.

`cells(s, a)` lists the cells whose values sum up to the value of a pair: one for a table, the state alone for
state values, one a tiling for tile coding. A cut episode goes on, for its values, from where it was cut.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .tables import Row

Cells = Callable[[int, int], list[int]]


def traces(
    w: np.ndarray, episodes: list[list[Row]], cells: Cells, alpha: float, gamma: float, lam: float, kind: str
) -> np.ndarray:
    """TD(λ) (p. 293), SARSA(λ) (p. 305); with "dutch" true online TD(λ) (p. 300) and SARSA(λ) (p. 307)."""
    w = w.astype(np.float64).copy()
    for episode in episodes:
        z, old = np.zeros_like(w), 0.0
        for row in episode:
            x = np.zeros_like(w)
            x[cells(row.s, row.a)] = 1
            q, q2 = w @ x, sum(w[cells(row.s2, row.a2)])
            delta = row.r + (0 if row.terminated else gamma * q2) - q
            if kind == "accumulating":
                z = gamma * lam * z + x
            elif kind == "replacing":
                z = gamma * lam * z
                z[cells(row.s, row.a)] = 1
            else:
                z = gamma * lam * z + (1 - alpha * gamma * lam * (z @ x)) * x
            if kind == "dutch":
                w = w + alpha * (delta + q - old) * z - alpha * (q - old) * x
                old = q2
            else:
                w = w + alpha * delta * z
    return w


def n_step(
    w: np.ndarray, episodes: list[list[Row]], cells: Cells, alpha: float, gamma: float, n: int
) -> np.ndarray:
    """n-step TD (p. 144), n-step SARSA (p. 147, p. 247): the loop over t and τ as it is printed."""
    w = w.astype(np.float64).copy()
    for episode in episodes:
        end = len(episode) if episode and episode[-1].over else np.inf
        t = 0
        while True:
            if t >= len(episode) and end == np.inf:  # the run stops in the middle of this episode
                break
            tau = t - n + 1
            if tau >= 0:
                upto = int(min(tau + n, end))
                g = sum(gamma ** (i - tau) * episode[i].r for i in range(tau, upto))
                last = episode[upto - 1]
                if not last.terminated:
                    g += gamma ** (upto - tau) * sum(w[cells(last.s2, last.a2)])
                at = cells(episode[tau].s, episode[tau].a)
                w[at] += alpha * (g - sum(w[at]))
            if tau == end - 1:
                break
            t += 1
    return w


def online_lambda_return(
    w: np.ndarray, episode: list[Row], cells: Cells, alpha: float, gamma: float, lam: float
) -> np.ndarray:
    """The online λ-return algorithm (Section 12.4): at each horizon h all updates from 0 on are done anew."""
    start = w.astype(np.float64)
    before = [
        start
    ]  # w_0^h, …: the last of each horizon, by which values for that horizon's bootstraps are read
    for h in range(1, len(episode) + 1):
        new = start.copy()
        for t in range(h):
            g = truncated_lambda_return(before, episode, cells, gamma, lam, t, h)
            at = cells(episode[t].s, episode[t].a)
            new[at] += alpha * (g - sum(new[at]))
        before.append(new)
    return before[-1]


def truncated_lambda_return(
    weights: list[np.ndarray], episode: list[Row], cells: Cells, gamma: float, lam: float, t: int, h: int
) -> float:
    """G^λ_{t:h} (Eq. 12.9) of n-step returns, each with the weights that were when it ended."""

    def n_step_return(n: int) -> float:
        g = sum(gamma**i * episode[t + i].r for i in range(n))
        last = episode[t + n - 1]
        value = 0.0 if last.terminated else sum(weights[t + n - 1][cells(last.s2, last.a2)])
        return g + gamma**n * value

    span = h - t
    g = sum((1 - lam) * lam ** (n - 1) * n_step_return(n) for n in range(1, span))
    return g + lam ** (span - 1) * n_step_return(span)


def monte_carlo(
    values: np.ndarray,
    episodes: list[list[Row]],
    cell: Callable[[int, int], int],
    gamma: float,
    visits: str,
    alpha: float | None,
    bootstrap: Callable[[np.ndarray, Row], float],
) -> np.ndarray:
    """First- or every-visit Monte Carlo (pp. 92, 101): returns are listed and averaged, or steps of α."""
    values = values.astype(np.float64).copy()
    returns: dict[int, list[float]] = {}
    for episode in episodes:
        if not (episode and episode[-1].over):
            continue
        g = 0.0 if episode[-1].terminated else bootstrap(values, episode[-1])
        for t in reversed(range(len(episode))):
            g = gamma * g + episode[t].r
            at = cell(episode[t].s, episode[t].a)
            if visits == "first" and at in {cell(r.s, r.a) for r in episode[:t]}:
                continue
            returns.setdefault(at, []).append(g)
            values[at] = np.mean(returns[at]) if alpha is None else values[at] + alpha * (g - values[at])
    return values


def off_policy_monte_carlo(
    q: np.ndarray,
    episodes: list[list[Row]],
    gamma: float,
    target: Callable[[np.ndarray], np.ndarray],
    chance: Callable[[np.ndarray, Row], float],
) -> np.ndarray:
    """Weighted importance sampling (p. 110), π held throughout an episode. q is [state, action]."""
    q, c = q.astype(np.float64).copy(), np.zeros(q.shape)
    for episode in episodes:
        if not (episode and episode[-1].over):
            continue
        pi, chances = target(q), [chance(q, row) for row in episode]
        last = episode[-1]
        g, weight = (0.0 if last.terminated else q[last.s2, pi[last.s2]]), 1.0
        for t in reversed(range(len(episode))):
            s, a = episode[t].s, episode[t].a
            g = gamma * g + episode[t].r
            c[s, a] += weight
            q[s, a] += weight / c[s, a] * (g - q[s, a])
            weight *= (a == pi[s]) / chances[t]
            if weight == 0:
                break
    return q


def dyna_q(
    q: np.ndarray,
    rows: list[Row],
    picks: Any,
    alpha: float,
    gamma: float,
    kappa: float,
) -> np.ndarray:
    """Tabular Dyna-Q (p. 164), and Dyna-Q+ (p. 168) for κ > 0; `picks[t]` lists the pairs recalled."""
    q, model, tried = q.astype(np.float64).copy(), {}, {}
    for row in rows:
        now = row.t + 1
        q[row.s, row.a] += alpha * (row.r + gamma * (not row.terminated) * max(q[row.s2]) - q[row.s, row.a])
        model[row.s, row.a] = row.r, row.s2, row.terminated
        tried[row.s, row.a] = now
        for s, a in zip(*picks[row.t], strict=True):
            assert (s, a) in model or (kappa > 0 and s in {state for state, _ in model})
            r, s2, terminated = model.get((s, a), (0.0, s, False))
            bonus = kappa * np.sqrt(now - tried.get((s, a), 0))
            q[s, a] += alpha * (r + bonus + gamma * (not terminated) * max(q[s2]) - q[s, a])
    return q
