"""A knapsack to be packed: at every step only some of the actions are legal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Discrete
from fathom.core.types import Masked, TimeStep
from fathom.envs.base import Env
from fathom.envs.scene import Polygon, Scene
from fathom.envs.toy.shapes import rectangle, shown

_WIDTH = 4.0  # of the picture
_MOST = 12  # items up to which all packings are compared at the start of an episode


class KnapsackState(eqx.Module):
    """The items, which of them are packed, and the room that is left."""

    weight: Float[Array, " item"]
    value: Float[Array, " item"]
    packed: Bool[Array, " item"]
    room: Float[Array, ""]
    best: Float[Array, ""]  # value of the best packing


class Knapsack(Env):
    """Pack items one by one until none fits; legal are those that are left and fit.

    Weights and values are drawn anew for each episode, uniformly from [0.1, 1] and [0, 1]; the sack holds
    `capacity` of all weights together. An item earns its value as a part of the best packing's, so that the
    best return is 1 whatever was drawn; `info["success"]` is 1 with the item that completes a best packing.
    An illegal action changes nothing. Observation: weights, values, 1 for what is packed, the room left.
    """

    items: int = 8  # n, 2 to 12
    capacity: float = 0.5  # what the sack holds, as a part of the weight of all items; 0.5 to 1

    def __check_init__(self) -> None:
        if not 2 <= self.items <= _MOST:
            raise FathomError(f"items is {self.items}; give 2 to {_MOST}: all packings are compared.")

    @property
    def obs_space(self) -> spaces.Masked:
        """3n + 1 numbers, and the items that fit."""
        n = self.items
        high = np.array([*[1.0] * (3 * n), float(n)], np.float32)
        return spaces.Masked(Box(np.zeros(3 * n + 1, np.float32), high), n)

    @property
    def action_space(self) -> Discrete:
        """The item to pack."""
        return Discrete(self.items)

    def reset(self, key: Key[Array, ""]) -> tuple[KnapsackState, Masked]:
        """New items and an empty sack."""
        weight_key, value_key = jax.random.split(key)
        weight = jax.random.uniform(weight_key, (self.items,), minval=0.1, maxval=1.0)
        value = jax.random.uniform(value_key, (self.items,))
        room = self.capacity * weight.sum()
        packings = jnp.asarray((np.arange(2**self.items)[:, None] >> np.arange(self.items)) & 1, jnp.float32)
        fits = packings @ weight <= room
        best = jnp.where(fits, packings @ value, 0.0).max()
        state = KnapsackState(weight, value, jnp.zeros(self.items, jnp.bool_), room, best)
        return state, self.seen(state)

    def seen(self, state: KnapsackState) -> Masked:
        """The observation, with what is legal."""
        packed = state.packed.astype(jnp.float32)
        obs = jnp.concatenate([state.weight, state.value, packed, state.room[None]])
        return Masked(obs, self.legal(state))

    def legal(self, state: KnapsackState) -> Bool[Array, " item"]:
        """Items that are left and fit."""
        return ~state.packed & (state.weight <= state.room)

    def step(
        self, key: Key[Array, ""], state: KnapsackState, action: Int[Array, ""]
    ) -> tuple[KnapsackState, TimeStep]:
        """Pack an item; over once nothing fits."""
        chosen = (jnp.arange(self.items) == action) & self.legal(state)
        packed = state.packed | chosen
        room = state.room - jnp.where(chosen, state.weight, 0.0).sum()
        after = KnapsackState(state.weight, state.value, packed, room, state.best)
        earned = jnp.where(chosen, state.value, 0.0).sum() / state.best
        worth = jnp.where(packed, state.value, 0.0).sum()
        success = (chosen.any() & (worth >= state.best * (1.0 - 1e-5))).astype(jnp.float32)
        over = ~self.legal(after).any()
        step = TimeStep(self.seen(after), earned, over, jnp.zeros((), jnp.bool_), {"success": success})
        return after, step

    def view(self, state: KnapsackState) -> Scene:
        """A bar for each item, as wide as it weighs and as high as it is worth, the packed ones in colour.

        Below them the room left, as wide as what it can hold.
        """
        width = _WIDTH * state.weight / state.weight.sum()  # all items fill the picture
        left = jnp.cumsum(width) - width
        right = left + width - 0.05
        shapes = [
            Polygon(shown(rectangle(left[i], 0.0, right[i], state.value[i]), where), color)
            for i in range(self.items)
            for color, where in (("accent", state.packed[i]), ("muted", ~state.packed[i]))
        ]
        free = _WIDTH * state.room / state.weight.sum()
        room = Polygon(rectangle(0.0, -0.2, free, -0.1), "goal")
        return Scene((*shapes, room), (-0.1, _WIDTH + 0.1, -0.35, 1.1))

    def ascii(self, state: KnapsackState) -> str:
        """A line of weights and a line of values, what is packed in brackets; then the room left."""

        def row(name: str, numbers: Array) -> str:
            cells = (f"[{x:.2f}]" if p else f" {x:.2f} " for x, p in zip(numbers, state.packed, strict=True))
            return f"{name:<7}{''.join(cells)}"

        return "\n".join(
            [row("weight", state.weight), row("value", state.value), f"room   {float(state.room):.2f}"]
        )
