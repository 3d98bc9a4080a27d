"""The update rules of bandits, on one number for each action. Sutton & Barto 2018, Chapter 2."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def taken(action: Int[Array, "*batch"], num_actions: int) -> Bool[Array, "*batch {num_actions}"]:
    """True at the action taken. Compared, not scattered: a scatter is slow on CPU."""
    number = jax.lax.broadcasted_iota(action.dtype, (*action.shape, num_actions), action.ndim)
    return jnp.expand_dims(action, -1) == number


def sample_average(
    value: Float[Array, "*batch action"],
    count: Float[Array, "*batch action"],
    action: Int[Array, "*batch"],
    reward: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch action"], Float[Array, "*batch action"]]:
    """Value and count with one more reward: N ← N + 1, Q ← Q + (R − Q) / N at the action taken.

    Sutton & Barto 2018, Eq. 2.3. Where a count starts at n₀ > 0, the value it starts from weighs as much as
    n₀ rewards: the posterior mean of a conjugate prior. A count stands still at 2²⁴, where float32 has no
    next integer.
    """
    here = taken(action, value.shape[-1])
    count = count + here.astype(count.dtype)
    # 1 where nothing was counted: what is not chosen below must be finite too.
    error = jnp.expand_dims(reward, -1) - value
    return jnp.where(here, value + error / jnp.maximum(count, 1.0), value), count


def constant_step(
    value: Float[Array, "*batch action"],
    action: Int[Array, "*batch"],
    reward: Float[Array, "*batch"],
    step_size: Float[Array, ""] | float,
) -> Float[Array, "*batch action"]:
    """Q ← Q + α (R − Q) at the action taken: old rewards fade. Sutton & Barto 2018, Eq. 2.5."""
    error = jnp.expand_dims(reward, -1) - value
    return jnp.where(taken(action, value.shape[-1]), value + step_size * error, value)


def ucb_score(
    value: Float[Array, "*batch action"], count: Float[Array, "*batch action"], c: Float[Array, ""] | float
) -> Float[Array, "*batch action"]:
    """Q + c √(ln t / N), t the number of the present step, from 1; ∞ for an action that was never taken.

    Sutton & Barto 2018, Eq. 2.10.
    """
    step = count.sum(axis=-1, keepdims=True) + 1.0
    bonus = jnp.sqrt(jnp.log(step) / jnp.maximum(count, 1.0))
    return jnp.where(count > 0.0, value + c * bonus, jnp.inf)


def gradient_preference(
    preference: Float[Array, "*batch action"],
    action: Int[Array, "*batch"],
    reward: Float[Array, "*batch"],
    baseline: Float[Array, "*batch"],
    step_size: Float[Array, ""] | float,
    policy: Float[Array, "*batch action"] | None = None,
) -> Float[Array, "*batch action"]:
    """H + α (R − R̄) (1{a = A} − π(a)): a step up the gradient of the expected reward.

    π is the policy that the action was drawn from, softmax(H) unless given. Sutton & Barto 2018, Eq. 2.12.
    """
    if policy is None:
        policy = jax.nn.softmax(preference, axis=-1)
    here = taken(action, preference.shape[-1]).astype(preference.dtype)
    advantage = jnp.expand_dims(reward - baseline, -1)
    return preference + step_size * advantage * (here - policy)
