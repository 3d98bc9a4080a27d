"""Bootstrapped DQN with randomised prior functions."""

from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from fathom.algos.base import Metrics, require_fraction, require_positive
from fathom.algos.value.common import Learnt, State, ValueBased, taken
from fathom.core.keys import named
from fathom.core.spaces import Discrete
from fathom.core.types import Action, Batch, Clock, EnvSpec, Metric, Obs
from fathom.nn.encoder import action_mask
from fathom.nn.heads import to_env
from fathom.nn.network import Network
from fathom.ops import exploration, td


class Ensemble(State):
    """θ_1, …, θ_K and their targets, with what never changes: the priors, and who learns from what."""

    prior: Network  # p_1, …, p_K, every leaf [k, ...]
    masks: Key[Array, "..."]  # draws which members learn from a transition


class BootstrappedDQN(ValueBased):
    """An ensemble of value functions, one of which plays an episode: deep exploration by Thompson sampling.

    Osband et al. 2016, arXiv:1602.04621, Algorithm 1, with the priors of Osband et al. 2018,
    arXiv:1806.03335, Algorithm 2:

    1. initialise replay D, K networks f_k with weights θ_k, K fixed networks p_k; Q_k = f_k + β p_k
    2. for each episode do
    3.   k ∼ Uniform{1, …, K}
    4.   for each step: a_t = argmax_a Q_k(s_t, a), store (s_t, a_t, r_t, s_{t+1}) in D    (the loop does)
    5.     m_t ∈ {0, 1}^K, each entry 1 with probability p: who learns from this transition
    6.     sample a minibatch from D; for every k a gradient step on
           m^k (r + γ max_a' (f_k(s', a'; θ⁻_k) + β p_k(s', a')) − Q_k(s, a))²
    7.   every C steps θ⁻_k ← θ_k

    Where not exploring, actions are greedy by the mean of all Q_k. `n_step` sums n rewards before it
    bootstraps. Deviations: networks share no layers, targets are plain maxima and
    evaluation takes no vote (2018 there has none of these either); m is drawn for a place in the
    replay, of which a transition takes any; a gradient's size is limited for all networks together; a
    truncated episode bootstraps.
    """

    learning_rate: float = 1e-3  # Adam's step size α; 1e-4 to 3e-3
    gamma: float = 0.99  # discount factor γ; 0.9 to 0.999
    members: int = 20  # K, value functions; 5 to 50
    prior_scale: float = 5.0  # β, of the priors; 0 is without, 1 to 30 as rewards are
    mask_prob: float = 1.0  # p, that a member learns from a transition; 0.5 to 1
    num_envs: int = 1  # environments side by side; the updates per step stay the same
    buffer_size: int = 10_000  # transitions kept, of all environments together
    batch_size: int = 128  # transitions in a minibatch; 32 to 512
    learning_starts: int = 128  # transitions collected before the first update
    train_every: int = 1  # environment steps between rounds of gradient steps
    gradient_steps: int = 1  # gradient steps in a round
    target_every: int = 4  # C, gradient steps between updates of θ⁻
    tau: float = 1.0  # θ⁻ ← τ θ + (1 − τ) θ⁻; 1 copies, 0.005 with target_every=1 trails
    anneal_lr: bool = False  # α falls linearly to 0 over the run
    n_step: int = 1  # rewards summed before bootstrapping; 1 to 5
    max_grad_norm: float = 10.0  # gradients are scaled down to this global norm
    scale_obs: bool = False  # real numbers in observations mapped from their bounds, where finite, to [−1, 1]
    hidden: tuple[int, ...] = (50, 50)  # units of the hidden layers of each member
    activation: Literal["relu", "tanh", "elu", "gelu", "silu"] = "relu"  # of the hidden layers
    ties: Literal["random", "first"] = "random"  # which of equally good actions is greedy

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError for values out of range and for actions that are not Discrete."""
        self.check_shared("Bootstrapped DQN", spec)
        require_positive(self, "members", "mask_prob")
        require_fraction(self, "mask_prob")

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Ensemble:
        """Line 1: orthogonal weights throughout."""
        net = (self.hidden, self.activation, self.scale_obs)
        make = lambda key: Network.init(key, spec.obs_space, spec.action_space.n, *net)  # noqa: E731
        params, prior = (
            jax.vmap(make)(jax.random.split(named(key, part), self.members)) for part in ("members", "prior")
        )
        state = self.begin(params, spec)
        return Ensemble(
            state.params, state.target, state.opt_state, state.action_space, prior, named(key, "masks")
        )

    def init_memory(self, state: Ensemble, num_envs: int) -> Int[Array, " env"]:
        """The member that plays in each environment, −1 until line 3 draws it."""
        return jnp.full(num_envs, -1, jnp.int32)

    def values(self, params: Network, prior: Network, obs: Obs) -> Float[Array, "k *batch action"]:
        """Q_k = f_k + β p_k for all k."""
        through = jax.vmap(lambda network: network(obs))
        return through(params) + self.prior_scale * jax.lax.stop_gradient(through(prior))

    def action_values(self, state: Ensemble, obs: Obs) -> Float[Array, "*batch action"]:
        """The mean of all Q_k(s, ·)."""
        return self.values(state.params, state.prior, obs).mean(axis=0)

    def act(
        self,
        state: Ensemble,
        memory: Int[Array, " env"],
        obs: Obs,
        key: Key[Array, ""],
        clock: Clock,
        explore: bool,
    ) -> tuple[Action, Int[Array, " env"], dict[str, Any]]:
        """Lines 3 and 4; greedy by the mean of all members where not exploring."""
        mask = action_mask(obs)
        if not explore:
            action = exploration.greedy(key, self.action_values(state, obs), mask, self.ties)
            return to_env(state.action_space, action), memory, {}
        drawn = jax.random.randint(named(key, "member"), memory.shape, 0, self.members)
        memory = jnp.where(memory < 0, drawn, memory)
        q = jnp.moveaxis(self.values(state.params, state.prior, obs), 0, -2)
        playing = jnp.take_along_axis(q, memory[:, None, None], axis=-2)[:, 0]
        action = exploration.greedy(key, playing, mask, self.ties)
        return to_env(state.action_space, action), memory, {}

    def schedule_metrics(self, clock: Clock) -> Metrics:
        """Nothing: there is no schedule of play."""
        return {}

    def td_target(self, state: Ensemble, batch: Batch, key: Key[Array, ""]) -> "Lesson":
        """Lines 5 and 6: each member's target from its own target network, and m."""
        next_q = self.values(state.target, state.prior, batch.next_obs)
        one = partial(td.q_target, batch.reward, batch.discount, mask=action_mask(batch.next_obs))
        return Lesson(jax.vmap(one)(next_q), self.learners(state, batch.index), state.prior)

    def learners(self, state: Ensemble, index: Int[Array, " batch"] | None) -> Float[Array, "k batch"]:
        """Line 5: m, the same for a place in the replay whenever it is drawn."""
        assert index is not None, "the batch does not tell where in the replay it comes from"
        keys = jax.vmap(partial(jax.random.fold_in, state.masks))(index)
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (self.members,)))(keys)
        return (uniform < self.mask_prob).astype(jnp.float32).T

    def loss(
        self, params: Network, batch: Batch, target: "Lesson", space: Discrete, key: Key[Array, ""]
    ) -> Learnt:
        """Line 6, the sum over all members; metrics, and the mean of |error| over them."""
        q = self.values(params, target.prior, batch.obs)
        q = jax.vmap(lambda values: taken(values, batch, space))(q)
        error = target.value - q
        weight = target.learns * batch.weight[None]
        loss = (weight * td.squared(error)).mean(axis=-1).sum()
        spread = q.std(axis=0)
        metrics = {
            "loss": Metric.of(loss),
            "q_value": Metric.of(q),
            "td_error": Metric.of(jnp.abs(error)),
            "spread": Metric.of(spread),
        }
        return loss, (metrics, jnp.abs(error).mean(axis=0))


class Lesson(eqx.Module):
    """What the members are to learn from a batch."""

    value: Float[Array, "k batch"]  # each one's target
    learns: Float[Array, "k batch"]  # m, 1 where it learns
    prior: Network
