"""Statistics over seeds, and over tasks and seeds.

Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice", arXiv:2108.13264.
"""

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from fathom.core.errors import FathomError

Values = Float[np.ndarray, " seed"]
Returns = Float[np.ndarray, " seed"] | Float[np.ndarray, "seed episode"]

_RESAMPLES = 9_999


def mean(values: Values) -> float:
    """The arithmetic mean."""
    return float(np.mean(_checked(values)))


def iqm(values: Values) -> float:
    """The interquartile mean: a quarter of the values (rounded down) is cut at each end, the rest averaged.

    Less swayed by one failed seed than the mean, less noisy than the median. With fewer than four values
    nothing is cut.
    """
    from scipy.stats import trim_mean

    return float(trim_mean(_checked(values), 0.25))


def ci95(values: Values, statistic: Literal["mean", "iqm"] = "mean") -> tuple[float, float] | None:
    """The 95 % confidence interval of the mean or the IQM over seeds, by bootstrap (BCa; Efron 1987).

    The resampling is seeded: the same values give the same interval. Equal values give an interval of no
    width. None for one value, or where a value is not finite: then there is nothing to resample.
    """
    from scipy.stats import bootstrap, trim_mean

    values = _checked(values)
    if values.size < 2 or not np.all(np.isfinite(values)):
        return None
    if np.all(values == values[0]):
        return float(values[0]), float(values[0])

    # `rng` in newer versions of SciPy, which still take the old name.
    seeded: dict[str, Any] = {"random_state": 0}

    def estimate(x: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(x, axis=axis) if statistic == "mean" else trim_mean(x, 0.25, axis=axis)

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            # BCa has no correction where the jackknife is degenerate; the percentile interval always exists.
            warnings.simplefilter("ignore")
            interval = bootstrap(
                (values,),
                estimate,
                n_resamples=_RESAMPLES,
                vectorized=True,
                method=method,
                **seeded,
            ).confidence_interval
        low, high = float(interval.low), float(interval.high)
        if np.isfinite(low) and np.isfinite(high):
            return low, high
    return None


def summarize(returns: Returns) -> dict[str, Any]:
    """What is said of a set of seeds: returns_per_seed, mean, iqm, and ci95 (of the mean, or None).

    `returns` are per seed, [seed], or per episode, [seed, episode], of which each seed's mean is taken: seeds
    are independent, the episodes of one seed are not.
    """
    returns = np.asarray(returns, np.float64)
    per_seed = returns.mean(axis=1) if returns.ndim == 2 else returns
    interval = ci95(per_seed)
    return {
        "returns_per_seed": [float(r) for r in per_seed],
        "mean": mean(per_seed),
        "iqm": iqm(per_seed),
        "ci95": list(interval) if interval is not None else None,
    }


def probability_of_improvement(x: Values, y: Values) -> float:
    """P(X > Y) + ½ P(X = Y) for a random seed of each: the Mann-Whitney U over the number of pairs."""
    x, y = _checked(x), _checked(y)
    above = (x[:, None] > y[None, :]).mean()
    equal = (x[:, None] == y[None, :]).mean()
    return float(above + 0.5 * equal)


def iqm_of_tasks(scores: Float[np.ndarray, "... task seed"]) -> Float[np.ndarray, "..."]:
    """The interquartile mean over all tasks and seeds at once; scores must be comparable between tasks."""
    from scipy.stats import trim_mean

    scores = np.asarray(scores, np.float64)
    return np.asarray(trim_mean(scores.reshape(*scores.shape[:-2], -1), 0.25, axis=-1))


def improvement_of_tasks(
    x: Float[np.ndarray, "... task seed"], y: Float[np.ndarray, "... task seed"]
) -> Float[np.ndarray, "..."]:
    """The mean over tasks of the probability of improvement of X on Y; scores of one task are compared."""
    x, y = np.asarray(x, np.float64)[..., :, None], np.asarray(y, np.float64)[..., None, :]
    return ((x > y) + 0.5 * (x == y)).mean(axis=(-3, -2, -1))


def stratified_ci95(
    statistic: Callable[..., Float[np.ndarray, "..."]],
    *scores: Float[np.ndarray, "task seed"],
    resamples: int = _RESAMPLES,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a statistic over tasks and seeds by stratified bootstrap.

    Seeds are drawn anew within each task, the tasks themselves are not: they are no sample. `statistic`
    takes as many arrays [..., task, seed] as `scores` are given, each of which is resampled by itself, as
    `iqm_of_tasks` and `improvement_of_tasks` do. The resampling is seeded: the same scores give the same
    interval. None for a single seed, or where a score is not finite. Agarwal et al. 2021, Section 4.1.
    """
    rng = np.random.default_rng(0)
    drawn = []
    for one in scores:
        one = np.asarray(one, np.float64)
        if one.ndim != 2 or one.size == 0:
            raise FathomError(f"statistics over tasks need scores [task, seed]; got the shape {one.shape}.")
        if one.shape[1] < 2 or not np.all(np.isfinite(one)):
            return None
        index = rng.integers(0, one.shape[1], (resamples, *one.shape))
        drawn.append(np.take_along_axis(np.broadcast_to(one, index.shape), index, axis=-1))
    low, high = np.percentile(statistic(*drawn), [2.5, 97.5])
    return float(low), float(high)


def _checked(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise FathomError(
            f"statistics over seeds need a vector with one value per seed; got the shape {values.shape}."
        )
    return values
