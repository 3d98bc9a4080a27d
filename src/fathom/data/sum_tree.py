"""Drawing one of many by weight, with weights that change: a tree of sums."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

FAN = 16  # nodes under a node: fewer levels, so fewer gathers and scatters, than with 2


class SumTree(eqx.Module):
    """Weights, the sums of every FAN neighbours, the sums of these, …; the last level has FAN nodes.

    Sums are taken anew from the nodes below, strictly in order, and never adjusted: they do not drift. All
    levels lie in one array, one after another, so that a step of a compiled loop writes where they are: of an
    array to each level XLA copied some.
    """

    nodes: Float[Array, "... node"]
    greatest: Float[Array, "..."]  # weight of items that have not been drawn yet: the largest there was
    sizes: tuple[int, ...] = eqx.field(static=True)  # nodes of each level, every one a multiple of FAN

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each level begins."""
        return (0, *itertools.accumulate(self.sizes[:-1]))

    @property
    def levels(self) -> tuple[Float[Array, "... node"], ...]:
        """The nodes of each level, that of the items first."""
        pairs = zip(self.starts, self.sizes, strict=True)
        return tuple(self.nodes[..., start : start + size] for start, size in pairs)


def init(size: int) -> SumTree:
    """For this many items, all of weight 0."""
    sizes = []
    while size > FAN:
        size = -(-size // FAN)
        sizes.append(size * FAN)
    sizes.append(FAN)
    return SumTree(jnp.zeros(sum(sizes)), jnp.ones(()), tuple(sizes))


def total(tree: SumTree) -> Float[Array, ""]:
    """The sum of all weights."""
    return _cumulative(tree.nodes[-FAN:])[-1]


def weights(tree: SumTree, index: Int[Array, " item"]) -> Float[Array, " item"]:
    """The weights of items."""
    return tree.nodes[index]


def write(tree: SumTree, index: Int[Array, " item"], weight: Float[Array, " item"]) -> SumTree:
    """The tree with the weights of some items set; where an item is named twice the larger one counts.

    The larger, since scatters of the last come in no order that a GPU would keep. First any of them is set,
    and no zero: the order in which weights are read and written must be clear to XLA, lest it copies all.
    """
    nodes = tree.nodes.at[index].set(weight, mode="promise_in_bounds")
    nodes = nodes.at[index].max(weight, mode="promise_in_bounds")
    for start, above in itertools.pairwise(tree.starts):
        children = nodes.reshape(-1, FAN)[start // FAN + index // FAN]
        index = index // FAN
        sums = _cumulative(children)[:, -1]
        nodes = nodes.at[above + index].set(sums, mode="promise_in_bounds")
    return SumTree(nodes, tree.greatest, tree.sizes)


def draw(tree: SumTree, uniform: Float[Array, " item"]) -> Int[Array, " item"]:
    """The item i with probability weight_i / Σ_j weight_j for each u uniform in [0, 1).

    An item of weight 0 is never drawn, unless all are.
    """
    index, rest = jnp.zeros(uniform.shape, jnp.int32), uniform * total(tree)
    for start in reversed(tree.starts):
        child, rest = _among(tree.nodes.reshape(-1, FAN)[start // FAN + index], rest)
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
