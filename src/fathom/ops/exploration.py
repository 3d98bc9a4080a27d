"""Choosing actions from action values. A few random numbers an environment step, however many the actions."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from fathom.core.errors import UnknownName
from fathom.ops.sampling import choose

TIES = ("random", "first")
LONGEST = 1_000  # steps for which `ez_greedy` keeps an action at most


class Held(eqx.Module):
    """An exploring action under way in each environment."""

    action: Int[Array, "*batch"]
    left: Int[Array, "*batch"]  # further steps for which it is kept; 0 for none

    @staticmethod
    def none(*batch: int) -> "Held":
        """Nothing under way."""
        return Held(jnp.zeros(batch, jnp.int32), jnp.zeros(batch, jnp.int32))


def greedy(
    key: Key[Array, ""],
    q: Float[Array, "*batch action"],
    mask: Bool[Array, "*batch action"] | None = None,
    ties: str = "random",
) -> Int[Array, "*batch"]:
    """A legal action of the highest value, int32; −1 where no action is legal or a value is NaN.

    `ties` among equal values: "random" (uniform) or "first" (the lowest number; the key is not used).
    Raises UnknownName for any other rule.
    """
    best = _best(q, mask, ties)
    if ties == "first":
        return jnp.where(best.any(axis=-1), jnp.argmax(best, axis=-1).astype(jnp.int32), -1)
    return choose(best.astype(jnp.float32), jax.random.uniform(key, q.shape[:-1]))


def epsilon_greedy(
    key: Key[Array, ""],
    q: Float[Array, "*batch action"],
    epsilon: Float[Array, ""] | float,
    mask: Bool[Array, "*batch action"] | None = None,
    ties: str = "random",
) -> Int[Array, "*batch"]:
    """With probability ε a uniform legal action, else a greedy one, int32; Sutton & Barto 2018, Section 2.2.

    `ties` among equal values: "random" (uniform) or "first" (the lowest number). With "first" and ε = 0
    values that start equal keep the agent on action 0. −1 where no action is legal or a value is NaN,
    whatever ε.
    Raises UnknownName for any other rule.
    """
    best = _best(q, mask, ties)
    if ties == "first":
        first = jnp.argmax(best, axis=-1, keepdims=True).astype(jnp.int32)
        best = best & (jax.lax.broadcasted_iota(jnp.int32, q.shape, q.ndim - 1) == first)
    legal = jnp.ones_like(best) if mask is None else mask
    uniform = jax.random.uniform(key, (2, *q.shape[:-1]))
    explore = (uniform[0] < epsilon) & best.any(axis=-1)
    return choose(jnp.where(explore[..., None], legal, best).astype(jnp.float32), uniform[1])


def epsilon_greedy_probabilities(
    q: Float[Array, "*batch action"],
    epsilon: Float[Array, ""] | float,
    mask: Bool[Array, "*batch action"] | None = None,
    ties: str = "random",
) -> Float[Array, "*batch action"]:
    """π(a|s) of `epsilon_greedy`: ε shared by the legal actions, the rest by the greedy ones.

    0 throughout where no action is legal or a legal value is NaN. Raises UnknownName for another tie rule.
    Sutton & Barto 2018, Section 5.4.
    """
    best = _best(q, mask, ties)
    if ties == "first":
        first = jnp.argmax(best, axis=-1, keepdims=True).astype(jnp.int32)
        best = best & (jax.lax.broadcasted_iota(jnp.int32, q.shape, q.ndim - 1) == first)
    legal = best.any(axis=-1, keepdims=True) & (jnp.ones_like(best) if mask is None else mask)
    share = lambda among: among / jnp.maximum(among.sum(axis=-1, keepdims=True), 1)  # noqa: E731
    return epsilon * share(legal.astype(jnp.float32)) + (1.0 - epsilon) * share(best.astype(jnp.float32))


def expected_value(
    q: Float[Array, "*batch action"],
    epsilon: Float[Array, ""] | float,
    mask: Bool[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch"]:
    """Σ_a π(a|s) Q(s, a) with π ε-greedy, whatever the tie rule; NaN where no action is legal.

    Sutton & Barto 2018, Eq. 6.9.
    """
    chance = epsilon_greedy_probabilities(q, epsilon, mask)
    value = jnp.where(chance > 0.0, chance * q, 0.0).sum(axis=-1)
    return jnp.where((chance > 0.0).any(axis=-1), value, jnp.nan)


def ez_greedy(
    key: Key[Array, ""],
    q: Float[Array, "*batch action"],
    epsilon: Float[Array, ""] | float,
    mu: Float[Array, ""] | float,
    held: Held,
    mask: Bool[Array, "*batch action"] | None = None,
    ties: str = "random",
) -> tuple[Int[Array, "*batch"], Held]:
    """εz-greedy: an exploring action is kept for n steps, P(n) ∝ n^−μ for n = 1 … LONGEST.

    Where none is under way, with probability ε one is drawn uniformly among the legal actions, and n with it;
    else the action is greedy, as `greedy` has it. One that is no longer legal is given up.
    Dabney, Ostrovski & Barreto 2021, arXiv:2006.01782, Algorithm 1. Returns the action, int32, and what is
    under way after it.
    """
    greedy_key, draw_key = jax.random.split(key)
    best = greedy(greedy_key, q, mask, ties)
    legal = jnp.ones_like(q) if mask is None else mask.astype(q.dtype)
    uniform = jax.random.uniform(draw_key, (3, *q.shape[:-1]))
    begin = (held.left == 0) & (uniform[0] < epsilon)
    action = jnp.where(begin, choose(legal, uniform[1]), held.action)
    left = jnp.where(begin, _zeta(uniform[2], mu), held.left)
    allowed = jnp.take_along_axis(legal, jnp.maximum(action, 0)[..., None], axis=-1)[..., 0] > 0.0
    keep = (left > 0) & allowed & (best >= 0)
    return jnp.where(keep, action, best), Held(action, jnp.where(keep, left - 1, 0))


def ornstein_uhlenbeck(
    key: Key[Array, ""],
    noise: Float[Array, "*shape"],
    theta: Float[Array, ""] | float,
    std: Float[Array, ""] | float,
) -> Float[Array, "*shape"]:
    """The noise a step later: n − θ n + std·ε, ε standard normal. θ = 1 has no memory.

    Uhlenbeck & Ornstein 1930, in steps of 1; Lillicrap et al. 2016, arXiv:1509.02971, Section 3. In the long
    run its deviation is std/√(θ(2 − θ)), and k steps apart it is correlated by (1 − θ)^k.
    """
    return noise - theta * noise + std * jax.random.normal(key, noise.shape)


class NoiseMatrix(eqx.Module):
    """A matrix of standard normal numbers for each environment, kept for a number of steps."""

    matrix: Float[Array, "env features component"]
    age: Int[Array, " env"]  # steps for which it has been kept

    @staticmethod
    def none(num_envs: int, features: int, components: int) -> "NoiseMatrix":
        """None yet: `held` draws one."""
        return NoiseMatrix(jnp.zeros((num_envs, features, components)), jnp.zeros(num_envs, jnp.int32))

    def held(self, key: Key[Array, ""], steps: int) -> "NoiseMatrix":
        """The matrices to use now: drawn anew in those environments where they are `steps` steps old."""
        due = self.age % steps == 0
        draw = lambda key: jnp.where(  # noqa: E731
            due[:, None, None], jax.random.normal(key, self.matrix.shape), self.matrix
        )
        matrix = jax.lax.cond(due.any(), draw, lambda _: self.matrix, key)
        return NoiseMatrix(matrix, jnp.where(due, 1, self.age + 1))

    def noise(
        self, features: Float[Array, "env features"], log_std: Float[Array, "features component"]
    ) -> Float[Array, "env component"]:
        """(σ ∘ ε)ᵀ z(s), which is normal with the deviation that `matrix_log_std` tells."""
        return jnp.einsum("ef,efc,fc->ec", features, self.matrix, jnp.exp(log_std))


def matrix_log_std(
    features: Float[Array, "*batch features"], log_std: Float[Array, "features component"]
) -> Float[Array, "*batch component"]:
    """The log of √(Σ_i z_i(s)² σ_ij²), the deviation of state-dependent exploration in a state.

    Raffin, Kober & Stulp 2022, arXiv:2005.05719. At least log 1e-3, where all features are 0.
    """
    variance = jnp.square(features) @ jnp.exp(2.0 * log_std)
    return 0.5 * jnp.log(variance + 1e-6)


def _zeta(uniform: Float[Array, "*batch"], mu: Float[Array, ""] | float) -> Int[Array, "*batch"]:
    """Draw n of 1 … LONGEST with P(n) ∝ n^−μ, by inversion of its distribution function."""
    weight = jnp.arange(1, LONGEST + 1, dtype=jnp.float32) ** -jnp.asarray(mu, jnp.float32)
    total = jnp.cumsum(weight)
    below = jnp.expand_dims(uniform * total[-1], -1) >= jnp.expand_dims(total, tuple(range(uniform.ndim)))
    return jnp.minimum(below.sum(axis=-1).astype(jnp.int32) + 1, LONGEST)


def _best(q: Array, mask: Array | None, ties: str) -> Array:
    """True at the legal actions of the highest value; nowhere if none is legal or a legal value is NaN."""
    if ties not in TIES:
        raise UnknownName("tie rule", ties, TIES)
    if mask is None:
        return q == q.max(axis=-1, keepdims=True)
    return mask & (q == jnp.where(mask, q, -jnp.inf).max(axis=-1, keepdims=True))
