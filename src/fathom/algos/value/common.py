"""What value-based learners share: ε-greedy play, a target network, the order of an update, checks."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.base import (
    Metrics,
    OffPolicy,
    require,
    require_fraction,
    require_mask_fits,
    require_positive,
    require_replay,
)
from fathom.core.errors import FathomError
from fathom.core.keys import named
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs, Prioritisation, Rollout
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.ops import exploration, optim, schedules

Learnt = tuple[Float[Array, ""], tuple[Metrics, Float[Array, " batch"]]]
"""A loss, its metrics, and of each transition the size of its error, which is its priority."""


class Episodes(eqx.Module):
    """Counts the episodes that end, for target networks that move once in so many of them."""

    ended: Int[Array, ""]  # since θ⁻ moved
    every: int = eqx.field(static=True)


class State(eqx.Module):
    """All that is carried from one update to the next, apart from the replay."""

    params: PyTree  # θ
    target: PyTree  # θ⁻
    opt_state: optax.OptState
    action_space: Discrete  # holds no arrays
    episodes: Episodes | None = eqx.field(default=None, kw_only=True)  # None where gradient steps count


_LEARNT = lambda s: (s.params, s.target, s.opt_state)  # noqa: E731


class ValueBased(OffPolicy):
    """Learns what actions are worth from replayed transitions, by steps towards a target network's."""

    learning_rate: eqx.AbstractVar[float]
    tau: eqx.AbstractVar[float]
    target_every: eqx.AbstractVar[int]
    anneal_lr: eqx.AbstractVar[bool]
    max_grad_norm: eqx.AbstractVar[float]
    hidden: eqx.AbstractVar[tuple[int, ...]]

    @abc.abstractmethod
    def td_target(self, state: State, batch: Batch, key: Key[Array, ""]) -> Float[Array, "batch ..."]:
        """What the loss draws θ towards."""

    @abc.abstractmethod
    def loss(
        self,
        params: PyTree,
        batch: Batch,
        target: Float[Array, "batch ..."],
        space: Discrete,
        key: Key[Array, ""],
    ) -> Learnt:
        """The loss, metrics and priorities of a batch."""

    @abc.abstractmethod
    def schedule_metrics(self, clock: Clock) -> Metrics:
        """What is told beside the step size of the schedules of play."""

    def check_shared(self, name: str, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        if not isinstance(spec.action_space, Discrete):
            raise FathomError(
                f"{name} chooses among finitely many actions and cannot take {spec.action_space!r}. "
                "PPO takes continuous, multi-discrete and binary actions, SAC, TQC, TD3 and DDPG continuous "
                "ones; or discretise them in a wrapper."
            )
        require_mask_fits(spec)
        require_positive(self, "learning_rate", "max_grad_norm", "num_envs", "target_every")
        require(all(n > 0 for n in self.hidden), f"hidden is {self.hidden}; every layer needs units.")
        require_fraction(self, "gamma", "tau")
        require_positive(self, "tau")
        require_replay(self)

    def begin(self, params: PyTree, spec: EnvSpec, episodes: int | None = None) -> State:
        """The state before the first update: θ, and θ⁻ ← θ.

        With `episodes` θ⁻ moves when as many have ended, in the place of every `target_every` gradient steps.
        """
        target = jax.tree.map(jnp.copy, params)
        counted = None if episodes is None else Episodes(jnp.zeros((), jnp.int32), episodes)
        opt_state = optim.start(self.optimizer(), params)
        return State(params, target, opt_state, spec.action_space, episodes=counted)

    def optimizer(self) -> optax.GradientTransformation:
        """The direction after clipping, Adam's where nothing else is said; `update` applies the step size."""
        return optim.clipped_adam(self.max_grad_norm)

    def observe(self, state: State, rollout: Rollout) -> State:
        """The state with the episodes counted that ended, where they are."""
        if state.episodes is None:
            return state
        over = (rollout.terminated | rollout.truncated).sum(dtype=jnp.int32)
        counted = Episodes(state.episodes.ended + over, state.episodes.every)
        return eqx.tree_at(lambda s: s.episodes, state, counted)

    def update(
        self, state: State, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics, Array | None]:
        """Targets, a gradient step, and where it is due the target network."""
        target_key, loss_key = jax.random.split(key)
        target = self.td_target(state, batch, target_key)
        grads, (metrics, priorities) = jax.grad(self.loss, has_aux=True)(
            state.params, batch, target, state.action_space, loss_key
        )
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)
        params, opt_state, norm = optim.descend(
            self.optimizer(), state.params, grads, state.opt_state, step_size
        )

        if state.episodes is None:
            due = (clock.gradient_step + 1) % self.target_every == 0
        else:
            counted = state.episodes
            due = counted.ended >= counted.every
            anew = Episodes(jnp.where(due, 0, counted.ended), counted.every)
            state = eqx.tree_at(lambda s: s.episodes, state, anew)
        moved = lambda: optim.polyak(state.target, params, self.tau)  # noqa: E731
        new_target = jax.lax.cond(due, moved, lambda: state.target)

        metrics |= self.schedule_metrics(clock)
        metrics["grad_norm"] = Metric.of(norm)
        metrics["learning_rate"] = Metric.of(step_size)
        learnt = (params, new_target, opt_state)
        return eqx.tree_at(_LEARNT, state, learnt), metrics, priorities


class EpsilonGreedyValues(ValueBased):
    """Plays ε-greedily by its action values, with ε falling over the first part of the run.

    `ez_mu` keeps a random action for several steps (Dabney et al. 2021, arXiv:2006.01782).
    """

    epsilon_start: eqx.AbstractVar[float]
    epsilon_end: eqx.AbstractVar[float]
    exploration_fraction: eqx.AbstractVar[float]
    ez_mu: eqx.AbstractVar[float | None]
    ties: eqx.AbstractVar[str]
    prioritized: eqx.AbstractVar[bool]
    priority_exponent: eqx.AbstractVar[float]
    importance_start: eqx.AbstractVar[float]

    @abc.abstractmethod
    def q_values(
        self, params: PyTree, obs: Obs, key: Key[Array, ""] | None = None, each: bool = False
    ) -> Float[Array, "*batch action"]:
        """Q(s, ·), with the noise that `key` draws where there is any to draw."""

    def check_play(self) -> None:
        """Raise FathomError for an ε or a preference of replay out of range."""
        require_fraction(self, "epsilon_start", "epsilon_end", "exploration_fraction")
        require_fraction(self, "priority_exponent", "importance_start")
        require_positive(self, "ez_mu")

    def action_values(self, state: State, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·; θ), without noise."""
        return self.q_values(state.params, obs)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """The exploring actions under way, where `ez_mu` keeps them for more than a step; else nothing."""
        return () if self.ez_mu is None else exploration.Held.none(num_envs)

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """With probability ε a random action, else argmax_a Q(s, a; θ); that alone where not exploring.

        Noisy layers have noise of their own in each environment, and none where not exploring.
        """
        mask = action_mask(obs)
        if not explore:
            action = exploration.greedy(key, self.q_values(state.params, obs), mask, self.ties)
            return to_env(state.action_space, action), memory, {}
        q, epsilon = self.q_values(state.params, obs, named(key, "noise"), True), self.epsilon(clock)
        if self.ez_mu is None:
            action = exploration.epsilon_greedy(key, q, epsilon, mask, self.ties)
        else:
            action, memory = exploration.ez_greedy(key, q, epsilon, self.ez_mu, memory, mask, self.ties)
        return to_env(state.action_space, action), memory, {}

    def epsilon(self, clock: Clock) -> Float[Array, ""]:
        """ε, a function of the run's progress alone."""
        return schedules.linear(
            self.epsilon_start, self.epsilon_end, clock.progress, self.exploration_fraction
        )

    def schedule_metrics(self, clock: Clock) -> Metrics:
        """ε, which is told too."""
        return {"epsilon": Metric.of(self.epsilon(clock))}

    def prioritisation(self, clock: Clock) -> Prioritisation | None:
        """α, and β which rises to 1 over the run; None for uniform replay."""
        if not self.prioritized:
            return None
        beta = schedules.linear(self.importance_start, 1.0, clock.progress)
        return Prioritisation(self.priority_exponent, beta)


def taken(
    values: Float[Array, "batch action ..."], batch: Batch, space: Discrete
) -> Float[Array, "batch ..."]:
    """What belongs to the action of each transition.

    Compared and summed, not gathered: the gradient of a gather is a scatter, slow on CPU.
    """
    one = jax.nn.one_hot(batch.action - space.start, space.n, dtype=values.dtype)
    return (one.reshape(*one.shape, *(1,) * (values.ndim - 2)) * values).sum(axis=1)
