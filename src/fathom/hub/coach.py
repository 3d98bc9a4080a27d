"""The coach: says why an agent does not learn, with the number seen, the healthy range and what to try.

It reads the metrics that are told anyway; training is not touched. What it says depends a little on how
updates were cut into chunks, which no result does.
"""

import collections
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fathom.core.spaces import Discrete
from fathom.train.engine import Engine

WINDOW = 2048  # environment steps of each seed that are looked at together, at least
KEPT = 40  # windows
RECENT = 4  # of them stand for the present
SURE = 3  # windows in a row that make a finding, or settle it

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Window:
    """What happened over some updates, of each seed: means by name, and how many episodes ended."""

    u: int  # where it ended
    means: dict[str, np.ndarray]  # NaN where nothing was counted
    episodes: np.ndarray
    paid: bool  # whether any reward was not zero


@dataclass(frozen=True)
class Finding:
    """Something that keeps an agent from learning, or did."""

    rule: str
    text: str  # what is wrong
    metric: str
    seen: float | None
    healthy: str
    advice: str
    source: str  # of the threshold
    over: bool = False  # settled by now


@dataclass(frozen=True)
class _Seen:
    """The run as its rules see it."""

    windows: list[Window]
    settings: dict[str, Any]
    horizon: int  # updates
    steps: int  # environment steps of each seed in an update
    actions: int | None  # of a discrete action space
    first: float  # the return of an episode in the first window in which one ended
    best: float  # the highest of a window

    def now(self, name: str) -> float:
        """The median over seeds of the present mean; NaN where there is none."""
        return self.of(name, self.windows[-RECENT:])

    def of(self, name: str, windows: list[Window]) -> float:
        """The median over seeds of the mean over these windows."""
        rows = [w.means[name] for w in windows if name in w.means]
        found = np.array(rows)
        if not rows or np.isnan(found).all():
            return math.nan
        columns = [column[~np.isnan(column)] for column in found.T]
        return float(np.median([c.mean() for c in columns if len(c)]))

    def setting(self, name: str) -> float:
        """A setting that is a number; NaN where there is none of that name."""
        value = self.settings.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return math.nan
        return float(value)

    @property
    def made(self) -> int:
        """Environment steps of each seed so far."""
        return self.windows[-1].u * self.steps

    @property
    def episodes(self) -> float:
        """Episodes that ended in the windows kept, the median over seeds."""
        return float(np.median(np.sum([w.episodes for w in self.windows], axis=0)))

    @property
    def returns(self) -> np.ndarray:
        """Mean returns of the windows kept, [window · seed], of those in which an episode ended."""
        rows = [w.means["episode_return"] for w in self.windows if "episode_return" in w.means]
        found = np.concatenate(rows) if rows else np.zeros(0)
        return found[~np.isnan(found)]

    @property
    def does_well(self) -> bool:
        """Whether the return still rises, beyond its noise, or has risen and stayed."""
        half = len(self.windows) // 2
        early, late = self.of("episode_return", self.windows[:half]), self.now("episode_return")
        noise = float(np.std(self.returns)) if len(self.returns) else 0.0
        rise = self.best - self.first
        return bool(
            late > early + 0.25 * noise or (rise > 0.5 * abs(self.first) and late > self.first + 0.8 * rise)
        )


_OURS = "threshold: ours"


def _no_reward(run: _Seen) -> Finding | None:
    if run.made < 20_000 or any(w.paid for w in run.windows):
        return None
    return Finding(
        "no_reward", f"no reward other than 0 has come in {run.made:,} steps of each seed",
        "reward", 0.0, "some reward, now and then, by chance alone",
        "There is nothing to learn from yet. Explore more (ε, entropy, a bonus for what is new), begin "
        "nearer to the goal, or give a reward on the way.", _OURS,
    )  # fmt: skip


def _no_end(run: _Seen) -> Finding | None:
    if run.made < 20_000 or run.episodes > 0:
        return None
    return Finding(
        "no_end", f"no episode has ended lately, of {run.made:,} steps of each seed",
        "episode_length", None, "episodes that end, or are cut by a limit of steps",
        "Returns cannot be told without an end. Give the environment a limit of steps (truncation).", _OURS,
    )  # fmt: skip


def _same_return(run: _Seen) -> Finding | None:
    found = run.returns
    if (
        run.does_well
        or run.episodes < 50
        or len(found) < 8
        or float(np.ptp(found)) > 1e-6 * abs(float(found[0])) + 1e-9
    ):
        return None
    return Finding(
        "same_return", "every episode brings the same return: what makes a difference is never met",
        "episode_return", float(found[0]), "returns that differ, which is what there is to learn from",
        "If it is not the best there is, the goal was never reached: explore more or longer, raise the limit "
        "of steps, or give a reward on the way.", _OURS,
    )  # fmt: skip


def _epsilon(run: _Seen) -> Finding | None:
    epsilon = run.now("epsilon")
    if not epsilon >= 0.5 or run.episodes < 100:
        return None
    span = run.setting("exploration_fraction") * run.horizon * run.steps
    until = "" if math.isnan(span) else f" over {span:,.0f} steps"
    return Finding(
        "epsilon", f"ε is still {epsilon:.2f} after {run.made:,} steps: mostly chance acts",
        "epsilon", epsilon, "below 0.5 once a hundred episodes were played",
        f"ε falls{until}, a part of the run's horizon. Lower exploration_fraction or epsilon_start. The "
        "greedy policy on stage may be better than the return in training.", _OURS,
    )  # fmt: skip


def _entropy(run: _Seen) -> Finding | None:
    entropy = run.now("entropy")
    if run.actions is None or not entropy < 0.05 * math.log(run.actions) or run.does_well:
        return None
    if run.windows[-1].u > 0.5 * run.horizon:
        return None
    return Finding(
        "entropy", "the policy has stopped exploring, early and without getting better", "entropy", entropy,
        f"above {0.05 * math.log(run.actions):.3f} (5 % of ln {run.actions}) while there is more to learn",
        "Raise entropy_coef, lower the learning rate or the epochs. If the return is what you want, all is "
        "well.", _OURS,
    )  # fmt: skip


def _kl(run: _Seen) -> Finding | None:
    kl = run.now("approx_kl")
    if not kl > 0.05:
        return None
    return Finding(
        "kl", "each update moves the policy far from the one that collected its data", "approx_kl", kl,
        "0.003 to 0.03",
        "Lower the learning rate, the epochs or clip, take more steps an update, or set target_kl.",
        "range: d_targ of Schulman et al. 2017, arXiv:1707.06347, section 6.1; alarm above 0.05: ours",
    )  # fmt: skip


def _clipped(run: _Seen) -> Finding | None:
    part = run.now("clip_fraction")
    if not part > 0.4:
        return None
    return Finding(
        "clip_fraction", "most of what was collected is clipped and teaches nothing any more",
        "clip_fraction", part, "0.05 to 0.3", "Lower the learning rate or the epochs.", _OURS,
    )  # fmt: skip


def _explained(run: _Seen) -> Finding | None:
    explained = run.now("explained_variance")
    if (
        not explained < 0.05
        or run.does_well
        or run.windows[-1].u < 0.02 * run.horizon
        or len(run.windows) < 8
    ):
        return None
    return Finding(
        "explained_variance", "the critic predicts returns no better than a constant would",
        "explained_variance", explained, "above 0.05, and towards 1 as it learns",
        "Raise value_coef, the learning rate or the hidden layers, scale the rewards (normalize_reward), or "
        "see whether the observation tells what the return depends on.",
        "0 is a constant's, by definition; alarm below 0.05: ours",
    )  # fmt: skip


def _exploding(run: _Seen) -> Finding | None:
    half = len(run.windows) // 2
    for name in ("value_loss", "critic_loss", "loss"):
        now, then = run.now(name), run.of(name, run.windows[:half])
        grown = abs(run.now("episode_return")) > 3 * abs(run.of("episode_return", run.windows[:half])) + 1
        if now > 100 * then and now > 1 and len(run.windows) >= 8 and not grown:
            return Finding(
                "exploding",
                f"the {name.replace('_', ' ')} grows without end: {then:.3g} before, {now:.3g} now",
                name, now, "steady or falling, save where returns grow as fast",
                "Lower the learning rate, scale the rewards, clip gradients (max_grad_norm), or update the "
                "target network less often.", _OURS,
            )  # fmt: skip
    return None


def _overestimates(run: _Seen) -> Finding | None:
    values, found = run.now("q_value"), run.returns
    if run.episodes < 50 or not len(found):
        return None
    most = float(np.abs(found).max())
    # An action's value may be any part of what an episode brings, of either sign, and not much more.
    if not abs(values) > 3 * max(most, 1.0):
        return None
    return Finding(
        "overestimates",
        f"actions are taken to be worth {values:.3g}, and no episode brought more than {most:.3g}",
        "q_value", values, f"within the returns that are seen, ± {3 * max(most, 1.0):.3g} at most",
        "Values run away. Lower the learning rate, update the target network less often, use Double DQN "
        "(double), or lower γ.", _OURS,
    )  # fmt: skip


def _gradients(run: _Seen) -> Finding | None:
    norm, most = run.now("grad_norm"), run.setting("max_grad_norm")
    if not norm > 20 * most or run.does_well:
        return None
    return Finding(
        "grad_norm", f"gradients are {norm / most:.0f} times longer than max_grad_norm, and all cut to it",
        "grad_norm", norm, f"below {20 * most:.3g}, twenty times max_grad_norm",
        "Scale the rewards (normalize_reward) or the observations, or raise max_grad_norm and lower the "
        "learning rate.", _OURS,
    )  # fmt: skip


RULES: tuple[Callable[[_Seen], Finding | None], ...] = (
    _no_reward, _no_end, _same_return, _epsilon, _entropy, _kl, _clipped, _explained, _exploding,
    _overestimates, _gradients,
)  # fmt: skip


class Coach:
    """Looks at one branch."""

    def __init__(self, horizon: int, steps: int, actions: int | None) -> None:
        """`horizon` in updates, `steps` of each seed in one; `actions` of a discrete action space."""
        self._horizon, self._steps, self._actions = horizon, steps, actions
        self._windows: collections.deque[Window] = collections.deque(maxlen=KEPT)
        self._sums: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._began: int | None = None
        self._seen = 0
        self._first = self._best = math.nan
        self._streak: dict[str, int] = {}  # windows in a row that say so, below 0 that do not
        self._told: dict[str, Finding] = {}

    @staticmethod
    def of(engine: Engine, horizon: int) -> "Coach":
        """One for the run of an engine that ends at `horizon` updates."""
        space = engine.spec.action_space
        return Coach(horizon, engine.plan.steps, space.n if isinstance(space, Discrete) else None)

    def note(self, u: int, end: int, sums: Values, counts: Values, settings: dict[str, Any]) -> list[Finding]:
        """Take in the updates u … end − 1; what is found, and what is over."""
        if u < self._seen:
            return []  # gone through again
        self._began, self._seen = u if self._began is None else self._began, end
        for name in sums:
            self._sums[name] = self._sums.get(name, 0.0) + np.atleast_1d(sums[name]).astype(np.float64)
            self._counts[name] = self._counts.get(name, 0.0) + np.atleast_1d(counts[name])
        if (end - self._began) * self._steps < WINDOW:
            return []
        means = {
            name: np.divide(
                total, self._counts[name], out=np.full(total.shape, np.nan), where=self._counts[name] > 0
            )
            for name, total in self._sums.items()
        }
        episodes = self._counts.get("episode_return", np.zeros(1))
        paid = bool(np.any(self._sums.get("reward", np.ones(1)) != 0))
        self._windows.append(Window(end, means, episodes, paid))
        self._sums, self._counts, self._began = {}, {}, end
        level = means.get("episode_return", np.array([math.nan]))
        if not np.isnan(level).all():
            self._best = float(np.nanmax([self._best, np.nanmedian(level)]))
            self._first = self._best if math.isnan(self._first) else self._first
        if len(self._windows) < RECENT:
            return []
        known = (self._horizon, self._steps, self._actions, self._first, self._best)
        run = _Seen(list(self._windows), settings, *known)
        return list(self._news(run))

    def _news(self, run: _Seen) -> Iterator[Finding]:
        for rule in RULES:
            found, name = rule(run), rule.__name__.lstrip("_")
            streak = self._streak.get(name, 0)
            self._streak[name] = streak = max(streak, 0) + 1 if found else min(streak, 0) - 1
            known = self._told.get(name)
            if found and known is None and streak >= SURE:
                self._told[name] = found
                yield found
            elif known is not None and streak <= -SURE:
                del self._told[name]
                yield Finding(**{**vars(known), "over": True})
