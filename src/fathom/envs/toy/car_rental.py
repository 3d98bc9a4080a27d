"""Two places that rent out cars, and the nights between."""

import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Polygon, Scene, Text
from fathom.envs.toy.shapes import block, shown


class CarRental(FiniteEnv):
    """Move cars between two places overnight so that there are enough where they are asked for. No end.

    State first·(capacity + 1) + second: the cars at each place in the evening. Action a moves
    a − `max_moves` cars from the first place to the second (from the second if negative), cut to those there
    are; what then exceeds `capacity` is sent away. By day, as many as are asked for and there are, are
    rented; cars returned can be rented the next day. Requests and returns are Poisson, all of it: the tail is
    one outcome, that of a place empty or full. Sutton & Barto 2018, Example 4.2, where γ = 0.9.

    An outcome is the two counts of the next evening; it pays the mean of the rents that lead to it, so that
    values are exact and a sampled reward varies less than takings would.
    """

    rent: float = 10.0  # reward for each car rented, $
    move_cost: float = 2.0  # cost of each car moved, $
    request_rates: tuple[float, float] = eqx.field(static=True, default=(3.0, 4.0))  # λ a day, by place
    return_rates: tuple[float, float] = eqx.field(static=True, default=(3.0, 2.0))  # λ a day, by place
    capacity: int = 20  # cars that a place can keep, ≥ 1
    max_moves: int = 5  # cars that can be moved in a night, ≥ 0

    def __check_init__(self) -> None:
        if self.capacity < 1 or self.max_moves < 0:
            raise FathomError(
                f"capacity is {self.capacity} and max_moves {self.max_moves}; give at least 1 and 0."
            )
        rates = (*self.request_rates, *self.return_rates)
        if min(rates) < 0:
            raise FathomError(f"rates are {rates}; a mean number of cars is at least 0.")

    @property
    def num_states(self) -> int:
        """All pairs of counts."""
        return (self.capacity + 1) ** 2

    @property
    def num_actions(self) -> int:
        """From all to the first place to all to the second."""
        return 2 * self.max_moves + 1

    @property
    def obs_space(self) -> Discrete:
        """The state."""
        return Discrete(self.num_states)

    def start(self) -> Float[Array, " state"]:
        """Half full, both."""
        half = (self.capacity // 2) * (self.capacity + 2)
        return jnp.asarray(np.arange(self.num_states) == half, jnp.float32)

    def moved(self, state: Int[Array, ""], action: Int[Array, ""]) -> Int[Array, ""]:
        """Cars that are really moved from the first place to the second."""
        first, second = state // (self.capacity + 1), state % (self.capacity + 1)
        return jnp.clip(action - self.max_moves, -second, first)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """All pairs of counts of the next evening."""
        moved = self.moved(state, action)
        first = jnp.minimum(state // (self.capacity + 1) - moved, self.capacity)
        second = jnp.minimum(state % (self.capacity + 1) + moved, self.capacity)
        prob1, rented1 = self._day(0, first)
        prob2, rented2 = self._day(1, second)
        rented = (rented1[:, None] + rented2[None, :]).ravel()
        cost = -self.move_cost * jnp.abs(moved).astype(jnp.float32)
        return Outcomes(
            (prob1[:, None] * prob2[None, :]).ravel(),
            jnp.arange(self.num_states, dtype=jnp.int32),
            {"rent": self.rent * rented, "move": jnp.full(self.num_states, cost)},
            jnp.zeros(self.num_states, jnp.bool_),
        )

    def _day(self, place: int, morning: Int[Array, ""]) -> tuple[Array, Array]:
        tables = _day_tables(self.capacity, self.request_rates[place], self.return_rates[place])
        prob, rented = (jnp.asarray(table, jnp.float32) for table in tables)
        return prob[morning], rented[morning]

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The state."""
        return state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The two places, a rectangle for each car."""
        counts = (state // (self.capacity + 1), state % (self.capacity + 1))
        shapes = []
        for place, (count, y) in enumerate(zip(counts, (2.0, 0.0), strict=True)):
            shapes.append(Text(np.array([-2.2, y], np.float32), f"place {place + 1}:", count, "body"))
            for i in range(self.capacity):
                car = block(i + 0.15, y - 0.4, i + 0.85, y + 0.4)
                shapes += [Polygon(car, "ground"), Polygon(shown(car, count > i), "accent")]
        return Scene(tuple(shapes), (-4.6, self.capacity + 0.4, -1.2, 3.2))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The two places, a # for each car."""
        counts = divmod(int(state), self.capacity + 1)
        return "\n".join(
            f"place {place + 1}  {'#' * count:.<{self.capacity}}  {count}"
            for place, count in enumerate(counts)
        )


@functools.cache
def _day_tables(capacity: int, request: float, back: float) -> tuple[np.ndarray, np.ndarray]:
    """Of one place by morning and evening count: the probability, and the mean number of cars rented.

    Both [capacity + 1, capacity + 1] in float64; 0 rented where the probability is 0.
    """
    prob, rented = np.zeros((2, capacity + 1, capacity + 1))
    for morning in range(capacity + 1):
        for out, p_out in enumerate(_capped_poisson(request, morning)):
            left = morning - out
            for returned, p_back in enumerate(_capped_poisson(back, capacity - left)):
                prob[morning, left + returned] += p_out * p_back
                rented[morning, left + returned] += p_out * p_back * out
    return prob, np.divide(rented, prob, out=np.zeros_like(rented), where=prob > 0)


def _capped_poisson(rate: float, most: int) -> list[float]:
    """The probabilities of min(X, most) = 0, …, most for a Poisson X."""
    below = [math.exp(-rate) * rate**k / math.factorial(k) for k in range(most)]
    return [*below, max(0.0, 1.0 - math.fsum(below))]
