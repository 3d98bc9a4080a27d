"""Statistics inside compiled programs: running mean and variance, explained variance, norms."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from fathom.core.errors import FathomError


class RunningStats(eqx.Module):
    """Mean and variance of all that was seen, for each element of a tree of float arrays.

    Leaves that are not float (an action mask, an index) are carried along and never changed.
    """

    mean: PyTree  # float32, the shapes of one sample
    var: PyTree  # variance of the population; 1 before anything was seen
    count: Float[Array, ""]  # samples seen; above 2²⁴ single samples it stands still, and old ones fade

    @staticmethod
    def init(example: PyTree) -> "RunningStats":
        """Statistics of nothing, for samples of the shapes of `example`; `normalize` then changes nothing."""
        mean = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), jnp.float32), example)
        return RunningStats(mean, jax.tree.map(jnp.ones_like, mean), jnp.zeros((), jnp.float32))

    def update(self, batch: PyTree) -> "RunningStats":
        """The statistics with a batch of samples joined in; its leaves have any leading axes, all the same.

        With b new samples of mean m and variance v to n old ones, w = b/(n + b), δ = m − mean:
        mean ← mean + w·δ, var ← (1 − w)·var + w·v + w(1 − w)·δ². Chan, Golub & LeVeque 1983, Eq. 1.5.
        FathomError where the batch is empty or the leading axes differ.
        """
        leaves, tree = jax.tree.flatten(self.mean)
        variances = tree.flatten_up_to(self.var)
        samples = tree.flatten_up_to(batch)
        leading = {x.shape[: x.ndim - m.ndim] for x, m in zip(samples, leaves, strict=True) if _is_float(x)}
        if len(leading) > 1:
            raise FathomError(
                f"RunningStats.update: leading axes {sorted(leading)} differ; give all leaves the same."
            )
        size = math.prod(leading.pop()) if leading else 1
        if size == 0:
            raise FathomError("RunningStats.update: the batch has no samples; give at least one.")
        count = self.count + size
        weight = size / count
        joined = [
            _join(m, v, x, weight, self.count > 0.0) if _is_float(x) else (m, v)
            for m, v, x in zip(leaves, variances, samples, strict=True)
        ]
        means, variances = [m for m, _ in joined], [v for _, v in joined]
        return RunningStats(tree.unflatten(means), tree.unflatten(variances), count)

    def normalize(
        self, x: PyTree, clip: Float[Array, ""] | float = 10.0, eps: Float[Array, ""] | float = 1e-8
    ) -> PyTree:
        """(x − mean) / √(var + eps), limited to [−clip, clip]; `x` with any leading axes."""

        def one(mean: Array, var: Array, leaf: Array) -> Array:
            if not _is_float(leaf):
                return leaf
            centred = leaf.astype(jnp.float32) - _lead(mean, leaf)
            return jnp.clip(centred / jnp.sqrt(_lead(var, leaf) + eps), -clip, clip)

        return jax.tree.map(one, self.mean, self.var, x)

    def scale(
        self, x: PyTree, clip: Float[Array, ""] | float = 10.0, eps: Float[Array, ""] | float = 1e-8
    ) -> PyTree:
        """The quotient x / √(var + eps), limited to [−clip, clip]: for rewards, whose sign must stay."""

        def one(var: Array, leaf: Array) -> Array:
            if not _is_float(leaf):
                return leaf
            return jnp.clip(leaf.astype(jnp.float32) / jnp.sqrt(_lead(var, leaf) + eps), -clip, clip)

        return jax.tree.map(one, self.var, x)


def _join(mean: Array, var: Array, x: Array, weight: Array, started: Array) -> tuple[Array, Array]:
    """The mean and variance of one leaf with the samples of `x` joined in."""
    x = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - mean.ndim))
    # Sums of deviations, not of values: with a large offset float32 has no digits left for the spread.
    origin = jnp.where(started, mean, x[(0,) * len(axes)])
    deviation = x - _lead(origin, x)
    delta = deviation.mean(axis=axes)
    spread = jnp.square(deviation - _lead(delta, x)).mean(axis=axes)
    between = jnp.square(jnp.sqrt(weight * (1.0 - weight)) * delta)
    return origin + weight * delta, (1.0 - weight) * var + weight * spread + between


def _lead(statistic: Array, x: Array) -> Array:
    """`statistic` with axes of length 1 in front, to meet the leading axes of `x`."""
    return jnp.expand_dims(statistic, tuple(range(x.ndim - statistic.ndim)))


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)


def explained_variance(
    prediction: Float[Array, "*shape"], target: Float[Array, "*shape"]
) -> Float[Array, ""]:
    """1 − Var[target − prediction] / Var[target]: 1 is perfect, 0 no better than a constant, below 0 worse.

    0 where the target does not vary, as nothing is there to explain.
    """
    variance = jnp.var(target)
    residual = jnp.var(target - prediction)
    return jnp.where(variance > 0.0, 1.0 - residual / jnp.where(variance > 0.0, variance, 1.0), 0.0)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """√Σx² over all elements of all float leaves; 0 for none. Overflows float32 above 1.8·10¹⁹."""
    squares = [jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(tree) if _is_float(x)]
    return jnp.sqrt(sum(squares, jnp.zeros((), jnp.float32)))
