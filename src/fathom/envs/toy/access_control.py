"""Customers who pay differently, and few servers."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes
from fathom.envs.scene import Polygon, Scene, Text
from fathom.envs.toy.shapes import block, shown


class AccessControl(FiniteEnv):
    """Accept or reject the customer at the head of an endless queue; each pays by priority. No end.

    State free·P + priority, with P priorities, all equally likely. Actions 0 (reject) and 1 (accept, which
    takes a server; where none is free it is a rejection). Then each busy server, one just taken included,
    becomes free with probability `free_prob`. The measure is the mean reward of a step. Sutton & Barto 2018,
    Example 10.2.
    """

    payments: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # reward for accepting, by priority
    free_prob: float = 0.06  # p, probability that a busy server becomes free in a step; 0 to 1
    servers: int = 10  # k, ≥ 1

    def __check_init__(self) -> None:
        if self.servers < 1 or not self.payments:
            raise FathomError(
                f"servers is {self.servers} and payments {self.payments}; give at least one of each."
            )

    @property
    def num_states(self) -> int:
        """Counts of free servers times priorities."""
        return (self.servers + 1) * len(self.payments)

    @property
    def num_actions(self) -> int:
        """Reject, accept."""
        return 2

    @property
    def obs_space(self) -> Discrete:
        """The state."""
        return Discrete(self.num_states)

    def start(self) -> Float[Array, " state"]:
        """All servers free, any customer."""
        kinds = len(self.payments)
        free = np.arange(self.num_states) // kinds
        return jnp.asarray((free == self.servers) / kinds, jnp.float32)

    def outcomes(self, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
        """How many servers become free, times the next customer's priority."""
        kinds, k = len(self.payments), self.servers
        free, priority = state // kinds, state % kinds
        accepted = (action == 1) & (free > 0)
        free = free - accepted.astype(jnp.int32)
        released = np.arange(k + 1, dtype=np.int32)
        prob = self._released(k - free)
        after = jnp.minimum(free + released, k)[:, None] * kinds + np.arange(kinds, dtype=np.int32)[None]
        payments = jnp.stack([jnp.asarray(pay, jnp.float32) for pay in self.payments])
        payment = jnp.where(accepted, payments[priority], jnp.zeros((), jnp.float32))
        return Outcomes(
            jnp.repeat(prob / kinds, kinds),
            after.ravel(),
            {"payment": jnp.full((k + 1) * kinds, payment)},
            jnp.zeros((k + 1) * kinds, jnp.bool_),
        )

    def _released(self, busy: Int[Array, ""]) -> Float[Array, " released"]:
        """The binomial probability that 0, …, `servers` of `busy` servers become free."""
        k = self.servers
        ways = np.array([[math.comb(n, j) for j in range(k + 1)] for n in range(k + 1)], np.float32)
        p = jnp.asarray(self.free_prob, jnp.float32)
        exponents = np.arange(k + 1, dtype=np.float32)
        stays = jnp.maximum(busy.astype(jnp.float32) - exponents, 0.0)
        return jnp.asarray(ways)[busy] * p**exponents * (1.0 - p) ** stays

    def observe(self, state: Int[Array, ""]) -> Int[Array, ""]:
        """The state."""
        return state

    def view(self, state: Int[Array, ""]) -> Scene:
        """The servers, the busy ones filled, and what the next customer would pay."""
        kinds = len(self.payments)
        free, priority = state // kinds, state % kinds
        pay = jnp.stack([jnp.asarray(p, jnp.float32) for p in self.payments])[priority]
        shapes = []
        for i in range(self.servers):
            server = block(i + 0.1, 0.1, i + 0.9, 0.9)
            shapes += [Polygon(server, "ground"), Polygon(shown(server, i >= free), "accent")]
        middle = self.servers / 2
        shapes.append(Text(np.array([middle, -0.5], np.float32), "free servers:", free, "body"))
        shapes.append(Text(np.array([middle, 1.5], np.float32), "next customer pays", pay, "goal"))
        return Scene(tuple(shapes), (-0.5, self.servers + 0.5, -1.0, 2.0))

    def ascii(self, state: Int[Array, ""]) -> str:
        """The servers, # busy and . free, and what the next customer would pay."""
        free, priority = divmod(int(state), len(self.payments))
        busy = "#" * (self.servers - free)
        return f"{'.' * free}{busy}  {free} free, next pays {float(self.payments[priority]):g}"
