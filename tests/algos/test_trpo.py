import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fathom.algos.policy.common import Targets, fit_values
from fathom.algos.policy.trpo import TRPO, Data
from fathom.core.module import lift
from fathom.envs.base import spec_of
from fathom.ops import curvature, optim
from fathom.train import loop

from .probes import KINDS, SMALL, clock_of, every_kind, rollout_of, started

KEY = jax.random.key(0)
TINY = TRPO(num_envs=4, num_steps=16, hidden=(3,), value_minibatches=1)

collect = partial(jax.jit, static_argnames="plan")(loop.collect)
update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
improve = jax.jit(lambda algorithm, *args: algorithm.improve(*args))


def collected(kind, algorithm=TINY, seed=0):
    """A policy away from its start, and steps that it made, with random advantages."""
    engine = started(algorithm, KINDS[kind], seed)
    actor, _ = engine.learner.params.parts()
    theta, unravel = ravel_pytree(actor)
    moved = unravel(theta + 0.3 * jax.random.normal(KEY, theta.shape))
    engine.carry = eqx.tree_at(
        lambda c: c.seeds.learner.params, engine.carry, moved.with_value(engine.learner.params)
    )
    clock = loop.clock_of(engine.carry.shared, jnp.int32(10), engine.plan)
    _, rollout = collect(engine.algorithm, engine.env, engine.plan, engine.carry.seeds, clock)
    # The observations of these environments are large: divided, they do not saturate the units.
    small = lambda x: x / 30.0 if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
    obs = jax.tree.map(small, rollout.obs)
    action, log_prob = moved.policy(obs).sample_and_log_prob(jax.random.key(2))
    return moved, Data(obs, action, log_prob, jax.random.normal(jax.random.key(1), log_prob.shape))


def narrowing():
    """A Gaussian that is rewarded for drawing near its mean: its deviation shrinks, and the KL grows fast."""
    actor, data = collected("box")
    pi = actor.policy(data.obs)
    advantage = -jnp.square((data.action - pi.mean) / jnp.exp(pi.log_std)).sum(axis=-1)
    return actor, dataclasses.replace(data, advantage=advantage)


@pytest.fixture(scope="module", params=sorted(KINDS))
def policy_and_data(request):
    return collected(request.param)


def test_fisher_vector_products_are_those_of_the_explicit_hessian(policy_and_data):
    actor, data = policy_and_data
    theta, unravel = ravel_pytree(actor)
    old = actor.policy(data.obs)

    @jax.jit
    def divergence(theta):
        return old.kl(unravel(theta).policy(data.obs)).mean()

    hessian = np.asarray(jax.jit(jax.jacfwd(jax.jacfwd(divergence)))(theta))  # forward over forward
    vectors = jax.random.normal(KEY, (3, theta.size))
    got = jax.jit(jax.vmap(curvature.hessian_product(divergence, theta)))(vectors)
    np.testing.assert_allclose(got, vectors @ hessian.T, rtol=2e-3, atol=2e-4)
    assert np.linalg.eigvalsh(hessian).min() > -1e-4  # the Fisher information
    assert np.abs(hessian).max() > 1e-2


@pytest.mark.parametrize("max_kl", [0.001, 0.05])
def test_a_step_obeys_the_bound_and_improves_the_surrogate(policy_and_data, max_kl):
    actor, data = policy_and_data
    algorithm = lift(dataclasses.replace(TINY, max_kl=max_kl, damping=1e-3, cg_iterations=20))
    after, metrics = improve(algorithm, actor, data)
    assert float(metrics["accepted"].sum) == 1.0
    new, old = after.policy(data.obs), actor.policy(data.obs)
    kl = float(old.kl(new).mean())
    # Not much shorter than allowed either: the quadratic model is good for small steps.
    assert 0.1 * max_kl < kl <= max_kl * (1 + 1e-3)
    assert kl == pytest.approx(float(metrics["kl"].sum), rel=1e-2)
    ratio = np.exp(np.asarray(new.log_prob(data.action) - old.log_prob(data.action)))
    gain = ((ratio - 1.0) * np.asarray(data.advantage)).mean()
    assert 0.0 < gain == pytest.approx(float(metrics["gain"].sum), rel=1e-2)


@pytest.mark.parametrize("why", ["no gain", "no number", "too far"])
def test_the_policy_stays_exactly_as_it_was_where_no_step_is_good(why):
    actor, data = narrowing()
    algorithm = TINY
    if why == "no gain":
        data = eqx.tree_at(lambda d: d.advantage, data, jnp.zeros_like(data.advantage))
    elif why == "no number":
        data = eqx.tree_at(lambda d: d.advantage, data, data.advantage.at[0, 0].set(jnp.nan))
    else:  # a single try, with a bound at which the quadratic model of the KL is far off
        algorithm = dataclasses.replace(TINY, max_kl=20.0, line_steps=1, damping=0.0)
    after, metrics = improve(lift(algorithm), actor, data)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(actor), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("accepted", "kl", "gain", "step_fraction"):
        assert float(metrics[name].sum) == 0.0, name


def test_the_line_search_shortens_a_step_until_it_is_good():
    actor, data = narrowing()
    algorithm = lift(dataclasses.replace(TINY, max_kl=20.0, line_steps=40, line_shrink=0.8, damping=0.0))
    _, metrics = improve(algorithm, actor, data)
    assert float(metrics["accepted"].sum) == 1.0
    tries = np.log(float(metrics["step_fraction"].sum)) / np.log(0.8)
    assert tries == pytest.approx(round(tries), abs=1e-3)
    assert 1 <= round(tries) < 40


@every_kind
def test_probabilities_at_learning_are_those_at_acting(kind):
    """Else L does not start at the mean advantage, which is 0."""
    algorithm = TRPO(num_envs=3, num_steps=5, value_minibatches=1, hidden=(4,), normalize_obs=True)
    engine = started(algorithm, KINDS[kind])
    engine.advance(4, 10)
    clock = loop.clock_of(engine.carry.shared, jnp.int32(10), engine.plan)
    _, rollout = collect(engine.algorithm, engine.env, engine.plan, engine.carry.seeds, clock)
    obs = engine.learner.normaliser.obs_stats.normalize(rollout.obs, 10.0)
    log_prob = engine.learner.params.policy(obs).log_prob(rollout.extras["action"])
    np.testing.assert_allclose(log_prob, rollout.extras["log_prob"], rtol=1e-5, atol=1e-5)
    assert np.asarray(engine.advance(3, 10)["kl"].sum).max() <= 3 * 0.01 * (1 + 1e-4)


def test_the_policys_step_and_the_values_fit_are_apart():
    """At the end of an annealed run the value stands still, and the policy moves by what the bound allows."""
    algorithm = lift(dataclasses.replace(TINY, num_envs=2, num_steps=8, hidden=(), anneal_lr=True))
    state = algorithm.init(SMALL, KEY)
    after, metrics = update(algorithm, state, rollout_of(8, 2), KEY, clock_of(10, 10))
    np.testing.assert_array_equal(after.params.value.weight, state.params.value.weight)
    assert float(metrics["accepted"].sum) == 1.0
    assert 0.0 < float(metrics["kl"].sum) <= 0.01 * (1 + 1e-4)
    assert np.abs(np.asarray(after.params.head.layer.weight - state.params.head.layer.weight)).max() > 1e-3


def test_values_are_fitted_by_weighted_squares():
    """A linear value, Adam and many passes: the weighted least squares, which NumPy solves."""
    algorithm = lift(TINY)
    _, critic = dataclasses.replace(TINY, hidden=()).init(SMALL, KEY).params.parts()
    rng = np.random.default_rng(0)
    obs, target = rng.normal(size=(10, 2, 1)), rng.normal(size=(10, 2))
    weight = rng.uniform(size=(10, 2)) * (rng.random((10, 2)) < 0.7)
    as_jax = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    targets = Targets(as_jax(target), as_jax(weight), as_jax(obs))
    start = optim.start(algorithm.optimizer(), critic)
    fit = jax.jit(partial(fit_values, algorithm.optimizer(), epochs=1500, minibatches=1))
    fitted, _, losses = fit(critic, start, targets, jnp.float32(0.01), key=KEY)
    design = np.stack([obs[..., 0].ravel(), np.ones(20)], axis=1) * np.sqrt(weight.ravel())[:, None]
    solution, *_ = np.linalg.lstsq(design, target.ravel() * np.sqrt(weight.ravel()), rcond=None)
    got = [float(fitted.value.weight[0, 0]), float(fitted.value.bias[0])]
    np.testing.assert_allclose(got, solution, rtol=0.02, atol=5e-3)
    assert float(losses.count) == 1500


def test_specs_of_every_kind_are_taken():
    for env in KINDS.values():
        TRPO().check(spec_of(env))
