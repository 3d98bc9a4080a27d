"""Drawing one of many by weight, with weights that change: a tree of sums."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FAN = 16  # nodes under a node: fewer levels, so fewer gathers and scatters, than with 2


class SumTree(eqx.Module):
    """Weights, the sums of every FAN neighbours, the sums of these, …; the last level has at most FAN nodes.

    Sums are taken anew from the nodes below, strictly in order, and never adjusted: they do not drift.
    """

    levels: tuple[Float[Array, "... node"], ...]  # each but the last of a length that FAN divides
    greatest: Float[Array, "..."]  # weight of items that have not been drawn yet: the largest there was


def init(size: int) -> SumTree:
    """For this many items, all of weight 0."""
    levels = []
    while size > FAN:
        size = -(-size // FAN)
        levels.append(jnp.zeros(size * FAN))
    return SumTree((*levels, jnp.zeros(size)), jnp.ones(()))


def total(tree: SumTree) -> Float[Array, ""]:
    """The sum of all weights."""
    return _cumulative(tree.levels[-1])[-1]


def weights(tree: SumTree, index: Int[Array, " item"]) -> Float[Array, " item"]:
    """The weights of items."""
    return tree.levels[0][index]


def write(tree: SumTree, index: Int[Array, " item"], weight: Float[Array, " item"]) -> SumTree:
    """The tree with the weights of some items set; where an item is named twice the larger one counts.

    The larger, since scatters of the last come in no order that a GPU would keep.
    """
    cleared = tree.levels[0].at[index].set(0.0, mode="promise_in_bounds")
    levels = [cleared.at[index].max(weight, mode="promise_in_bounds")]
    for level in tree.levels[1:]:
        index = index // FAN
        children = levels[-1].reshape(-1, FAN)[index]
        sums = _cumulative(children)[:, -1]
        levels.append(level.at[index].set(sums, mode="promise_in_bounds"))
    return SumTree(tuple(levels), tree.greatest)


def draw(tree: SumTree, uniform: Float[Array, " item"]) -> Int[Array, " item"]:
    """The item i with probability weight_i / Σ_j weight_j for each u uniform in [0, 1).

    An item of weight 0 is never drawn, unless all are.
    """
    top = _cumulative(tree.levels[-1])
    rest = uniform * top[-1]
    nodes = jnp.broadcast_to(tree.levels[-1], (*uniform.shape, tree.levels[-1].shape[0]))
    index, rest = _among(nodes, rest)
    for level in reversed(tree.levels[:-1]):
        child, rest = _among(level.reshape(-1, FAN)[index], rest)
        index = index * FAN + child
    return index


def _among(
    nodes: Float[Array, "item node"], rest: Float[Array, " item"]
) -> tuple[Int[Array, " item"], Float[Array, " item"]]:
    """The node in which the sum of those up to it exceeds `rest`, and what of `rest` lies in that node."""
    sums = _cumulative(nodes)
    order = jax.lax.broadcasted_iota(jnp.int32, nodes.shape, 1)
    # Rounding may leave a rest that no sum exceeds: it belongs to the last node that has any weight.
    last = jnp.where(nodes > 0.0, order, 0).max(axis=-1)
    at = jnp.minimum((sums <= rest[:, None]).sum(axis=-1, dtype=jnp.int32), last)
    before = jnp.where(order == at[:, None] - 1, sums, 0.0).sum(axis=-1)
    return at, jnp.maximum(rest - before, 0.0)


def _cumulative(nodes: Float[Array, "*item node"]) -> Float[Array, "*item node"]:
    """Sums in order of the last axis, each of the one before and one more: no tree of sums has these bits."""
    sums = [nodes[..., 0]]
    for i in range(1, nodes.shape[-1]):
        sums.append(sums[-1] + nodes[..., i])
    return jnp.stack(sums, axis=-1)
