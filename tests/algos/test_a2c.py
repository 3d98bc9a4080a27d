import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.policy.a2c import A2C, Steps
from fathom.core.module import lift
from fathom.train import loop

from .probes import KINDS, SMALL, clock_of, every_kind, rollout_of, started

KEY = jax.random.key(0)
PLAIN = A2C(num_envs=2, num_steps=6, hidden=(), gamma=0.9, value_coef=0.7, entropy_coef=0.03)

collect = partial(jax.jit, static_argnames="plan")(loop.collect)
gradients = jax.jit(lambda algorithm, *args: algorithm.gradients(*args))
update = jax.jit(lambda algorithm, *args: algorithm.update(*args))


def params_of(algorithm):
    """A linear policy and value of known weights on one observation and two actions."""
    params = algorithm.init(SMALL, KEY).params
    where = lambda p: [p.head.layer.weight, p.head.layer.bias, p.value.weight, p.value.bias]  # noqa: E731
    numbers = ([[0.5, -1.0]], [0.1, 0.2], [[2.0]], [0.3])
    return eqx.tree_at(where, params, [jnp.asarray(x, jnp.float32) for x in numbers])


def steps_of(rollout):
    return Steps(
        rollout.obs,
        rollout.extras["action"],
        rollout.reward,
        rollout.terminated,
        rollout.truncated,
        rollout.final_obs,
    )


@every_kind
def test_probabilities_at_learning_are_those_at_acting(kind):
    algorithm = A2C(num_envs=3, num_steps=5, hidden=(4,), normalize_obs=True, normalize_reward=True)
    engine = started(algorithm, KINDS[kind])
    engine.advance(4, 10)
    clock = loop.clock_of(engine.carry.shared, jnp.int32(10), engine.plan)
    _, rollout = collect(engine.algorithm, engine.env, engine.plan, engine.carry.seeds, clock)
    steps, _ = engine.algorithm.steps(engine.learner.normaliser, rollout)
    log_prob = engine.learner.params.policy(steps.obs).log_prob(steps.action)
    np.testing.assert_allclose(log_prob, rollout.extras["log_prob"], rtol=1e-5, atol=1e-5)
    assert float(engine.learner.normaliser.obs_stats.count) == 60


def test_gradients_are_those_of_the_papers_loop():
    """Lines 3 to 6 written as they stand, a step at a time, with every kind of end."""
    rollout = rollout_of(6, 2, seed=3)
    on = ~(rollout.terminated | rollout.truncated)[:-1, :, None]
    reached = rollout.final_obs.at[:-1].set(jnp.where(on, rollout.obs[1:], rollout.final_obs[:-1]))
    rollout = eqx.tree_at(lambda r: r.final_obs, rollout, reached)
    assert bool(rollout.terminated.any())
    assert bool(rollout.truncated.any())
    params = params_of(PLAIN)
    got, _ = gradients(lift(PLAIN), params, steps_of(rollout))

    def term(params, obs, action, advantage, target):
        pi = params.policy(obs)
        actor = -pi.log_prob(action) * advantage - 0.03 * pi.entropy()
        return actor + 0.7 * (target - params.values(obs)) ** 2

    slope = jax.jit(jax.grad(term))
    total = jax.tree.map(jnp.zeros_like, params)
    for env in range(2):
        following = None  # R
        for t in reversed(range(6)):
            one = jax.tree.map(lambda x, t=t, env=env: x[t, env], rollout)
            if one.terminated:
                following = 0.0
            elif one.truncated or following is None:
                following = float(params.values(one.final_obs))
            following = float(one.reward) + 0.9 * following
            advantage = following - float(params.values(one.obs))
            dtheta = slope(
                params, one.obs, one.extras["action"], jnp.float32(advantage), jnp.float32(following)
            )
            total = jax.tree.map(lambda a, b: a + b / 12.0, total, dtheta)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(total), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_the_loss_by_hand():
    steps = steps_of(rollout_of(6, 2))
    w, b, v, c = np.array([[0.5, -1.0]]), np.array([0.1, 0.2]), 2.0, 0.3
    advantage, target = (np.random.default_rng(s).normal(size=(6, 2)).astype(np.float32) for s in (1, 2))
    total, metrics = PLAIN.loss(params_of(PLAIN), steps, jnp.asarray(advantage), jnp.asarray(target))

    logits = np.asarray(steps.obs) @ w + b
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    taken = np.take_along_axis(log_probs, np.asarray(steps.action)[..., None], axis=-1)[..., 0]
    policy_loss = -(taken * advantage).mean()
    value_loss = ((np.asarray(steps.obs)[..., 0] * v + c - target) ** 2).mean()
    entropy = -(np.exp(log_probs) * log_probs).sum(axis=-1).mean()
    for name, number in (("policy_loss", policy_loss), ("value_loss", value_loss), ("entropy", entropy)):
        assert float(metrics[name].sum) == pytest.approx(number, rel=1e-5), name
    assert float(total) == pytest.approx(policy_loss + 0.7 * value_loss - 0.03 * entropy, rel=1e-5)


def test_normalised_advantages_have_mean_0_and_deviation_1():
    """Advantages of 3 + 2x weigh as those of x do."""
    steps = steps_of(rollout_of(6, 2))
    advantage = jnp.asarray(np.random.default_rng(1).normal(size=(6, 2)), jnp.float32)
    algorithm = dataclasses.replace(PLAIN, normalize_advantage=True)
    losses = [algorithm.loss(params_of(PLAIN), steps, a, a)[1] for a in (advantage, 3.0 + 2.0 * advantage)]
    assert float(losses[0]["policy_loss"].sum) == pytest.approx(float(losses[1]["policy_loss"].sum), rel=1e-4)


@pytest.mark.parametrize("adam", [False, True])
def test_the_first_step_has_the_optimisers_length(adam):
    """RMSProp starts at g = (1 − α) Δ², so moves by η/√(1 − α) where Δ² ≫ ε; Adam by its step size."""
    algorithm = lift(dataclasses.replace(PLAIN, learning_rate=1e-3, adam=adam, eps=1e-12, max_grad_norm=1e9))
    state = algorithm.init(SMALL, KEY)
    after, _ = update(algorithm, state, rollout_of(6, 2), KEY, clock_of())
    moved = [
        abs(np.asarray(a) - np.asarray(b)).ravel()
        for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(state.params), strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(moved), 1e-3 if adam else 1e-2, rtol=1e-2)
