import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.actor_critic.common import ADAM
from fathom.algos.actor_critic.tqc import TQC
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete
from fathom.core.types import EnvSpec
from fathom.envs.probe.policy import ContinuousProbe
from fathom.ops import optim

from .probes import clock_of
from .replayed import KEY, SPEC, act, assert_close, batch_of, net, shaken, started, unit, update
from .test_sac import sampled

CRITICS, QUANTILES, DROPPED = 3, 5, 2
SMALL = TQC(
    hidden=(5,),
    critics=CRITICS,
    quantiles=QUANTILES,
    dropped=DROPPED,
    learning_rate=0.01,
    tau=0.25,
    gamma=0.9,
)


def state_of(algorithm=SMALL, seed=1):
    """A learner whose networks all differ."""
    state = lift(algorithm).init(SPEC, KEY)
    parts = lambda s: (s.params.actor, s.params.critics, s.target)  # noqa: E731
    return eqx.tree_at(parts, state, tuple(shaken(x, seed + i) for i, x in enumerate(parts(state))))


def targets(state, batch, key):
    """The targets of each transition, by a loop: pool, put in order, leave out the largest."""
    action, log_prob = sampled(state.params.actor, batch.next_obs, key)
    each = np.stack([net(c, batch.next_obs, action) for c in state.target], axis=1)
    rows = []
    for z, log_p, r, discount in zip(each, log_prob, batch.reward, batch.discount, strict=True):
        kept = np.sort(z.ravel())[: CRITICS * QUANTILES - CRITICS * DROPPED]
        rows.append(r + discount * (kept - np.exp(state.params.log_alpha) * log_p))
    return jnp.asarray(np.stack(rows), jnp.float32)


def reference(state, batch, y, key, lr, tau):
    """One update, given the targets of line 5."""
    params, opt = state.params, state.opt_state
    alpha = jnp.exp(params.log_alpha)

    def critic_loss(critics):
        total = 0.0
        for critic in critics:
            z = net(critic, batch.obs, unit(batch.action))
            for m in range(QUANTILES):
                u = y - z[:, m : m + 1]
                huber = jnp.where(jnp.abs(u) <= 1.0, 0.5 * u**2, jnp.abs(u) - 0.5)
                weight = jnp.where(
                    u < 0.0, 1.0 - (2 * m + 1) / (2 * QUANTILES), (2 * m + 1) / (2 * QUANTILES)
                )
                total += jnp.mean(batch.weight[:, None] * weight * huber) / QUANTILES
        return total

    critics, critics_opt, _ = optim.descend(
        ADAM, params.critics, jax.grad(critic_loss)(params.critics), opt.critics, lr
    )

    def actor_loss(actor):
        action, log_prob = sampled(actor, batch.obs, key)
        q = sum(net(c, batch.obs, action).mean(axis=-1) for c in critics) / CRITICS
        return jnp.mean(alpha * log_prob - q), log_prob

    grads, log_prob = jax.grad(actor_loss, has_aux=True)(params.actor)
    actor, actor_opt, _ = optim.descend(ADAM, params.actor, grads, opt.actor, lr)
    grad = jax.grad(lambda x: -jnp.mean(jnp.exp(x) * (log_prob - 2.0)))(params.log_alpha)
    log_alpha, alpha_opt, _ = optim.descend(ADAM, params.log_alpha, grad, opt.log_alpha, lr)
    target = jax.tree.map(lambda t, c: (1 - tau) * t + tau * c, state.target, critics)
    return (actor, critics, log_alpha), target, (actor_opt, critics_opt, alpha_opt)


def test_two_updates_are_those_of_the_algorithm_written_out():
    state, algorithm = state_of(), lift(SMALL)
    for step in range(2):
        key, batch = jax.random.key(step), batch_of(step)
        target_key, actor_key = jax.random.split(key)
        y = targets(state, batch, target_key)
        assert y.shape == (6, (QUANTILES - DROPPED) * CRITICS)
        np.testing.assert_allclose(algorithm.td_target(state, batch, target_key), y, rtol=1e-4, atol=1e-5)
        wanted = jax.jit(reference)(state, batch, y, actor_key, 0.01, 0.25)
        state, metrics, priorities = update(algorithm, state, batch, key, clock_of())
        weights, moments = ((g.actor, g.critics, g.log_alpha) for g in (state.params, state.opt_state))
        assert_close((weights, state.target, moments), wanted)
    assert priorities.shape == (6,)
    assert set(metrics) == {
        "critic_loss", "q_value", "td_error", "actor_loss", "entropy", "alpha", "learning_rate"
    }  # fmt: skip


def test_nothing_follows_a_terminal_state_and_a_batch_of_one_is_enough():
    state, batch = state_of(), batch_of(0, size=1)
    batch = eqx.tree_at(lambda b: b.next_obs, batch, jnp.full((1, 3), jnp.inf))
    target = SMALL.td_target(state, batch, KEY)
    np.testing.assert_array_equal(target, jnp.broadcast_to(batch.reward[:, None], target.shape))
    after, metrics, _ = update(lift(SMALL), state, batch_of(1, size=1), KEY, clock_of())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


def test_nothing_dropped_keeps_all_and_init_makes_critics_that_differ():
    algorithm = dataclasses.replace(SMALL, dropped=0)
    state = lift(algorithm).init(SPEC, KEY)
    assert algorithm.td_target(state, batch_of(0), KEY).shape == (6, QUANTILES * CRITICS)
    weights = [np.asarray(c.head.weight) for c in state.params.critics]
    assert len({w.tobytes() for w in weights}) == CRITICS
    assert_close(state.params.critics, state.target, rtol=0.0, atol=0.0)


def test_the_best_action_of_a_box_that_is_not_symmetric():
    algorithm = TQC(
        num_envs=4, buffer_size=1024, batch_size=64, learning_starts=64, train_every=8, gradient_steps=8,
        critics=2, quantiles=5, dropped=1, hidden=(16,), learning_rate=0.01, tau=0.05, gamma=0.9,
        anneal_lr=True,
    )  # fmt: skip
    engine = started(algorithm, ContinuousProbe())
    engine.advance(120, 120)
    filled = np.asarray(engine.carry.seeds.replay.action)[: int(engine.carry.shared.ring.filled)]
    assert filled.min() >= -0.4
    assert filled.max() <= 2.0
    assert filled.min() < -0.2
    action, _, _ = act(engine.algorithm, engine.learner, (), jnp.ones((1, 1)), KEY, clock_of(), explore=False)
    assert float(action[0, 0]) == pytest.approx(1.5, abs=0.1)


def test_wrong_settings_and_other_actions_are_refused():
    for fields, told in (
        ({"critics": 0}, "critics is 0"),
        ({"quantiles": 0}, "quantiles is 0"),
        ({"dropped": -1}, "dropped is -1"),
        ({"dropped": 25}, r"dropped is 25.*some of the 25"),
        ({"alpha": 0.0}, "alpha is 0.0"),
    ):
        with pytest.raises(FathomError, match=f"(?s){told}"):
            TQC(**fields).check(SPEC)
    with pytest.raises(FathomError, match=r"(?s)TQC.*Discrete.*discrete_sac"):
        TQC().check(EnvSpec(SPEC.obs_space, Discrete(2)))
    with pytest.raises(FathomError, match=r"(?s)TQC.*infinite bounds"):
        TQC().check(EnvSpec(SPEC.obs_space, Box(0.0, np.inf, (2,))))
