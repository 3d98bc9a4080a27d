"""What policy-gradient methods share: the two networks, normalisation, minibatches, checks of settings."""

from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from fathom.algos.base import (
    Algorithm,
    OnPolicy,
    require,
    require_fraction,
    require_mask_fits,
    require_positive,
)
from fathom.algos.normalisation import Normaliser, require_normalisable, restarted
from fathom.core.keys import named
from fathom.core.spaces import Box
from fathom.core.types import Action, EnvSpec, Metric, Obs
from fathom.nn.encoder import Encoder, action_mask
from fathom.nn.heads import PolicyHead
from fathom.nn.layers import Linear
from fathom.nn.recurrent import Cell, init_cell, unroll
from fathom.ops import optim, policy
from fathom.ops.exploration import NoiseMatrix

T = TypeVar("T")


class ActorCritic(eqx.Module):
    """A policy and a state-value function with no weights in common.

    With `cells` each has a memory of its own between its encoder and its head; `policy` and `values` then
    take the memories as they are once the observation is in them.
    """

    actor: Encoder
    head: PolicyHead
    critic: Encoder
    value: Linear
    cells: tuple[Cell, Cell] | None = None  # of the policy and of the value; None without memory

    @staticmethod
    def init(
        spec: EnvSpec,
        hidden: tuple[int, ...],
        activation: str,
        log_std: float,
        key: Key[Array, ""],
        std: str = "global",
        memory: str = "none",
        memory_units: int = 0,
    ) -> "ActorCritic":
        """Orthogonal weights; output gains 0.01 for the policy and 1 for the value.

        `std` and `log_std` are the policy head's.
        """
        actor_key, head_key, critic_key, value_key = jax.random.split(key, 4)
        actor = Encoder.init(actor_key, spec.obs_space, hidden, activation)
        critic = Encoder.init(critic_key, spec.obs_space, hidden, activation)
        cells, features = None, (actor.features, critic.features)
        if memory != "none":
            keys = jax.random.split(named(key, "memory"))
            first, second = (
                init_cell(memory, k, n, memory_units) for k, n in zip(keys, features, strict=True)
            )
            cells, features = (first, second), (memory_units, memory_units)
        head = PolicyHead.init(head_key, features[0], spec.action_space, log_std, std)
        return ActorCritic(actor, head, critic, Linear.init(value_key, features[1], 1, 1.0), cells)

    def start(self, num_envs: int) -> PyTree:
        """The memories at the start of an episode, [env, units]; () without."""
        return () if self.cells is None else tuple(cell.start(num_envs) for cell in self.cells)

    def start_noise(self, num_envs: int) -> PyTree:
        """The noise matrices of gSDE at the start of an episode; () without."""
        if self.head.std != "gsde" or not isinstance(self.head.log_std, Array):
            return ()
        return NoiseMatrix.none(num_envs, *self.head.log_std.shape[-2:])

    def remember(self, obs: Obs, memory: PyTree) -> PyTree:
        """The memories once these observations are in them; both with the same leading axes."""
        if self.cells is None:
            return memory
        return self.cells[0](self.actor(obs), memory[0]), self.cells[1](self.critic(obs), memory[1])

    def memories(self, obs: Obs, memory: PyTree, over: Bool[Array, "time env"] | None) -> PyTree:
        """The same for each step of a rollout [time, env, ...] that begins with `memory` [env, units].

        `over` tells after which steps an episode ended, and with it what was remembered.
        """
        if self.cells is None or over is None:
            return memory
        return (
            unroll(self.cells[0], self.actor(obs), memory[0], over),
            unroll(self.cells[1], self.critic(obs), memory[1], over),
        )

    def features(self, obs: Obs, memory: PyTree = ()) -> Float[Array, "*batch features"]:
        """What the policy's head is given."""
        return self.actor(obs) if self.cells is None else self.cells[0].output(memory[0])

    def policy(self, obs: Obs, memory: PyTree = ()) -> Any:
        """π(·|s), the distribution of the policy's actions."""
        return self.head(self.features(obs, memory), action_mask(obs))

    def act(self, obs: Obs, key: Key[Array, ""], explore: bool) -> tuple[Action, dict[str, Any]]:
        """Actions by `take`, of the policy in these observations."""
        return take(self.head, self.policy(obs), key, explore)

    def explore(
        self,
        obs: Obs,
        memory: PyTree,
        noise: PyTree,
        key: Key[Array, ""],
        explore: bool,
        sde_steps: int,
    ) -> tuple[Action, dict[str, Any], PyTree]:
        """The same with the memories of now; with gSDE the noise comes from matrices, which are returned."""
        pi = self.policy(obs, memory)
        if not isinstance(noise, NoiseMatrix) or not explore:
            return *take(self.head, pi, key, explore), noise
        noise = noise.held(key, sde_steps)
        action = pi.mean + self.head.noise(self.features(obs, memory), noise)
        return self.head.to_env(action), {"action": action, "log_prob": pi.log_prob(action)}, noise

    def values(self, obs: Obs, memory: PyTree = ()) -> Float[Array, "*batch"]:
        """V(s)."""
        features = self.critic(obs) if self.cells is None else self.cells[1].output(memory[1])
        return self.value(features)[..., 0]

    def parts(self) -> tuple["ActorCritic", "ActorCritic"]:
        """The policy alone and the value alone, None in place of the other; `with_value` joins them."""
        nothing: Any = None
        return (
            ActorCritic(self.actor, self.head, nothing, nothing),
            ActorCritic(nothing, nothing, self.critic, self.value),
        )

    def with_value(self, critic: "ActorCritic") -> "ActorCritic":
        """The policy here with the value there, if there is one."""
        return ActorCritic(self.actor, self.head, critic.critic, critic.value)


class PolicyGradient(OnPolicy):
    """A learner whose state holds a normaliser."""

    def restart(self, state: Any) -> Any:
        """The state with what was earned in the episodes under way forgotten."""
        return restarted(state)


def take(head: PolicyHead, pi: Any, key: Key[Array, ""], explore: bool) -> tuple[Action, dict[str, Any]]:
    """Actions for the environment, drawn or the distribution's mode, and what `update` will want of them.

    That is, of what was drawn, the policy's own action and its log-probability.
    """
    if not explore:
        return head.to_env(pi.mode()), {}
    action, log_prob = pi.sample_and_log_prob(key)
    return head.to_env(action), {"action": action, "log_prob": log_prob}


class State(eqx.Module):
    """What PPO, A2C and TRPO carry from one update to the next."""

    params: ActorCritic
    opt_state: optax.OptState
    normaliser: Normaliser
    kl_coef: Float[Array, "..."] | None = None  # β, where PPO penalises KL(π_old ‖ π)


def shuffled(data: T, count: int, key: Key[Array, ""]) -> T:
    """Shuffle [time, env, ...] data into [minibatch, size, ...].

    Whole time rows are shuffled where they divide evenly; else single steps are, and where those do not
    divide either, the last minibatch is filled with steps from the start of the shuffle: none is dropped.
    """
    time, env = jax.tree.leaves(data)[0].shape[:2]
    if time % count == 0:
        rows = jax.random.permutation(key, time)
        return jax.tree.map(lambda x: x[rows].reshape(count, time * env // count, *x.shape[2:]), data)
    size = -(-time * env // count)
    steps = jnp.resize(jax.random.permutation(key, time * env), (count, size))
    return jax.tree.map(lambda x: x.reshape(time * env, *x.shape[2:])[steps], data)


def sequences(data: T, memory: PyTree, count: int, key: Key[Array, ""]) -> tuple[T, PyTree]:
    """Shuffle [time, env, ...] data into [minibatch, time, size, ...], whole sequences with their memories.

    Where `count` does not divide the environments, the last one is filled from the start of the shuffle.
    """
    envs = jax.tree.leaves(data)[0].shape[1]
    order = jnp.resize(jax.random.permutation(key, envs), (count, -(-envs // count)))
    batches = jax.tree.map(lambda x: jnp.moveaxis(x[:, order], 1, 0), data)
    return batches, jax.tree.map(lambda x: x[order], memory)


class Targets(eqx.Module):
    """What a value function is to learn; every leaf is [time, env, ...]."""

    target: Float[Array, "..."]
    weight: Float[Array, "..."]  # of each step in the mean of squares
    obs: Obs


def fit_values(
    optimizer: optax.GradientTransformation,
    critic: ActorCritic,
    opt_state: optax.OptState,
    targets: Targets,
    step_size: Float[Array, ""],
    epochs: int,
    minibatches: int,
    key: Key[Array, ""],
) -> tuple[ActorCritic, optax.OptState, Metric]:
    """Passes over the targets, a gradient step on the mean of w (V − target)² for each minibatch."""

    def loss(critic: ActorCritic, batch: Targets) -> Float[Array, ""]:
        return (batch.weight * policy.value_loss(critic.values(batch.obs), batch.target)).mean()

    def step(carry: tuple, batch: Targets) -> tuple[tuple, Metric]:
        critic, opt_state = carry
        value, grads = jax.value_and_grad(loss)(critic, batch)
        critic, opt_state, _ = optim.descend(optimizer, critic, grads, opt_state, step_size)
        return (critic, opt_state), Metric.of(value)

    def epoch(carry: tuple, epoch_key: Array) -> tuple[tuple, Metric]:
        return jax.lax.scan(step, carry, shuffled(targets, minibatches, epoch_key))

    keys = jax.random.split(key, epochs)
    (critic, opt_state), losses = jax.lax.scan(epoch, (critic, opt_state), keys)
    return critic, opt_state, jax.tree.map(jnp.sum, losses)


def require_fits(algorithm: Any, spec: EnvSpec) -> None:
    """Raise FathomError for shared settings out of range and for spaces that no policy here takes."""
    require_positive(algorithm, "num_envs", "num_steps", "norm_clip")
    require(all(n > 0 for n in algorithm.hidden), f"hidden is {algorithm.hidden}; every layer needs units.")
    require_fraction(algorithm, "gamma")
    require_mask_fits(spec)
    action = spec.action_space
    require(
        not isinstance(action, Box) or bool(jnp.issubdtype(action.dtype, jnp.floating)),
        f"{type(algorithm).__name__}'s Gaussian gives real numbers, and {action!r} takes integers; make it "
        "MultiDiscrete.",
    )
    require(
        algorithm.std == "global" or isinstance(action, Box),
        f"std is {algorithm.std!r}, a deviation of Gaussians, and actions of {action!r} are drawn from none; "
        "leave it out.",
    )
    require_normalisable(algorithm, spec)


def require_not_negative(algorithm: Algorithm, *names: str) -> None:
    """Every named field must be 0 or above."""
    for name in names:
        value = getattr(algorithm, name)
        require(value >= 0, f"{name} is {value}; it must not be negative.")


def require_minibatches(algorithm: Any, name: str) -> None:
    """A rollout must have a step at least for each minibatch, whose number is the field `name`."""
    require_positive(algorithm, name)
    count, steps = getattr(algorithm, name), algorithm.num_envs * algorithm.num_steps
    require(
        count <= steps,
        f"{name} is {count}, more than the {steps} steps of a rollout (num_envs {algorithm.num_envs} × "
        f"num_steps {algorithm.num_steps}); lower {name} or raise num_steps.",
    )
