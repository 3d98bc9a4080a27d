"""Asynchronous advantage actor-critic, its asynchrony simulated."""

import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from fathom.algos.base import Metrics, require, require_positive
from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.common import ActorCritic, PolicyGradient, require_fits, take
from fathom.core.types import Action, Clock, EnvSpec, Metric, Obs, Rollout
from fathom.ops import optim, schedules


class State(eqx.Module):
    """All that A3C carries from one round to the next."""

    params: ActorCritic  # θ and θ_v, shared by all workers
    opt_state: optax.OptState  # with g, shared too
    normaliser: Normaliser
    workers: ActorCritic  # θ' and θ'_v of each worker, [worker, ...]
    behind: Int[Array, "... worker"]  # gradients that θ has had since the worker fetched it


class A3C(PolicyGradient):
    """Asynchronous advantage actor-critic: K workers with parameters of their own, out of date.

    Mnih et al. 2016, arXiv:1602.01783, Algorithm S3, for each worker:

    1. repeat
    2.   act by π(a|s; θ') for t_max steps (the loop does, through `act`, in N/K environments for each worker)
    3.   dθ, dθ_v ← the gradients of A2C's lines 3 to 6, at θ' and θ'_v
    4.   apply them to θ and θ_v by RMSProp with shared g
    5.   θ' ← θ, θ'_v ← θ_v

    How this stands to the paper. There, workers are threads that run at their own speed and write to shared
    memory without locks; which gradient meets which parameters is up to the operating system, and no run can
    be made twice. Here it is a pure function of the seed: the K workers do line 2 side by side and lines 4
    and 5 one after the other, in an `order` drawn anew in each round. A worker that comes j-th goes on with
    parameters that miss the K − j gradients applied after it, and its next gradient meets θ after as many
    more as go before it then: on average a gradient is K − 1 others late, as with threads of equal speed.
    With probability `lag` a worker misses line 5 and goes on with what it has. What is not simulated: workers
    that make different numbers of steps, and half-written parameters. Nor is anything gained in speed: A2C is
    the same rule without the delay, and with one worker and no lag this is A2C exactly.

    All deviations of A2C hold here; each worker's gradient is clipped by its own norm.
    """

    learning_rate: float = 7e-4  # RMSProp's step size η; 1e-4 to 1e-2
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    gae_lambda: float = 1.0  # λ of the advantage estimate; 1 is the paper's n-step return, 0.9 to 1
    value_coef: float = 0.5  # weight of the value loss; 0.25 to 1
    entropy_coef: float = 0.0  # β, weight of the entropy bonus; 0 to 0.02, in the paper 0.01
    max_grad_norm: float = 0.5  # each worker's gradients are scaled down to this global norm
    rms_decay: float = 0.99  # α of RMSProp: how long squared gradients are remembered
    eps: float = 1e-5  # ε of RMSProp, added under the root (of Adam: to the root)
    num_workers: int = 4  # K; the paper's is 16
    order: Literal["random", "fixed"] = "random"  # in which workers apply their gradients in a round
    lag: float = 0.0  # probability that a worker misses to fetch the shared parameters; 0 to 0.9
    num_envs: int = 8  # N, environments side by side, N/K for each worker
    num_steps: int = 5  # t_max, steps of each environment between updates; 5 to 64
    hidden: tuple[int, ...] = (64, 64)  # units of the hidden layers of actor and critic
    activation: Literal["tanh", "relu", "elu", "gelu", "silu"] = "tanh"  # of the hidden layers
    log_std: float = eqx.field(default=0.0, static=True)  # initial log deviation of Gaussians; −2 to 0
    std: Literal["global", "state"] = "global"  # σ of Gaussians: one number each, or a function of the state
    adam: bool = False  # Adam in place of RMSProp
    anneal_lr: bool = False  # η falls linearly to 0 over the run, as in the paper
    normalize_advantage: bool = False  # advantages to mean 0 and deviation 1 in each worker's steps
    normalize_obs: bool = False  # observations to mean 0 and deviation 1, by running statistics of all
    normalize_reward: bool = False  # rewards divided by the deviation of the running discounted return
    norm_clip: float = 10.0  # normalised observations and rewards are cut at ± this

    @property
    def rule(self) -> A2C:
        """What each worker does by itself."""
        names = {field.name for field in dataclasses.fields(self)}
        return A2C(**{f.name: getattr(self, f.name) for f in dataclasses.fields(A2C) if f.name in names})

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError as A2C does, and for environments that the workers cannot share."""
        require_fits(self, spec)  # in its own name
        self.rule.check(spec)
        require_positive(self, "num_workers")
        require(
            self.num_envs % self.num_workers == 0,
            f"num_envs is {self.num_envs}, which {self.num_workers} workers cannot share evenly; "
            "make it a multiple.",
        )
        require(0 <= self.lag < 1, f"lag is {self.lag}; it must be at least 0 and below 1.")
        each = self.num_envs // self.num_workers * self.num_steps
        require(
            not self.normalize_advantage or each >= 2,
            "normalize_advantage needs two steps of each worker, whose only one would have the advantage 0; "
            "raise num_steps or turn it off.",
        )

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> State:
        """As A2C; every worker has fetched the shared parameters."""
        start = self.rule.init(spec, key)
        copies = jax.tree.map(lambda x: jnp.repeat(x[None], self.num_workers, axis=0), start.params)
        behind = jnp.zeros(self.num_workers, jnp.int32)
        return State(start.params, start.opt_state, start.normaliser, copies, behind)

    def init_memory(self, state: State, num_envs: int) -> PyTree:
        """Nothing: the policy is feed-forward."""
        return ()

    def act(
        self, state: State, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Line 2: each worker's a ∼ π(·|s; θ') in its share of the environments, in order.

        The policy that is evaluated is the mode under the shared parameters θ.
        """
        obs = state.normaliser.normalize(obs, self.norm_clip)
        if not explore:
            return state.params.act(obs, key, explore)[0], memory, {}
        envs = jax.tree.leaves(obs)[0].shape[0]
        share = -(-envs // self.num_workers)
        # Elsewhere than in training there may be any number of observations: the last worker's are filled up.
        seat = jnp.minimum(jnp.arange(share * self.num_workers), envs - 1)
        dealt = jax.tree.map(lambda x: x[seat].reshape(self.num_workers, share, *x.shape[1:]), obs)
        pi = jax.vmap(lambda worker, obs: worker.policy(obs))(state.workers, dealt)
        pi = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:envs], pi)
        action, extras = take(state.params.head, pi, key, explore)
        return action, memory, extras

    def update(
        self, state: State, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[State, Metrics]:
        """Lines 3 to 5 for every worker, then the statistics of the normalisers."""
        steps, after = self.rule.steps(state.normaliser, rollout)

        # Line 3
        share = lambda x: x.reshape(x.shape[0], self.num_workers, -1, *x.shape[2:]).swapaxes(0, 1)  # noqa: E731
        gradients = jax.vmap(self.rule.gradients)
        grads, metrics = gradients(state.workers, jax.tree.map(share, steps))
        metrics = jax.tree.map(lambda x: x.sum(axis=0), metrics)

        # Line 4
        order, late = self.schedule(key)
        step_size = schedules.annealed(self.learning_rate, self.anneal_lr, clock.progress)

        def apply(shared: tuple, worker: Array) -> tuple[tuple, tuple]:
            own = jax.tree.map(lambda g: g[worker], grads)
            params, opt_state, norm = optim.descend(
                self.rule.optimizer(), shared[0], own, shared[1], step_size
            )
            return (params, opt_state), (params, norm)

        (params, opt_state), (found, norms) = jax.lax.scan(apply, (state.params, state.opt_state), order)

        # Line 5
        turn = jnp.argsort(order)  # of each worker
        behind = jnp.where(late, state.behind + self.num_workers, self.num_workers - 1 - turn)

        def fetch(found: Array, own: Array) -> Array:
            return jnp.where(late.reshape(-1, *[1] * (own.ndim - 1)), own, found[turn])

        workers = jax.tree.map(fetch, found, state.workers)
        metrics |= {
            "grad_norm": Metric.of(norms),
            "staleness": Metric.of(state.behind + turn),
            "learning_rate": Metric.of(step_size),
        }
        return State(params, opt_state, after, workers, behind.astype(jnp.int32)), metrics

    def schedule(self, key: Key[Array, ""]) -> tuple[Int[Array, " worker"], Array]:
        """The workers in the order of their turns, and which of them miss line 5."""
        order_key, lag_key = jax.random.split(key)
        workers = jnp.arange(self.num_workers, dtype=jnp.int32)
        order = jax.random.permutation(order_key, workers) if self.order == "random" else workers
        return order, jax.random.uniform(lag_key, (self.num_workers,)) < self.lag
