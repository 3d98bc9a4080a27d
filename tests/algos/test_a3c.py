import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.core.module import lift
from fathom.envs.classic.cartpole import CartPole
from fathom.train import loop
from fathom.train.engine import NativeEngine

from .probes import KINDS, SMALL, clock_of, every_kind, rollout_of, started

KEY = jax.random.key(0)
SHARED = {
    "num_envs": 4, "num_steps": 5, "hidden": (6,), "entropy_coef": 0.01, "anneal_lr": True,
    "normalize_obs": True, "normalize_reward": True, "learning_rate": 0.01,
}  # fmt: skip

collect = partial(jax.jit, static_argnames="plan")(loop.collect)
update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)


def close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_one_worker_is_a2c():
    """The same rollouts, rewards and parameters, update by update."""
    engines = [NativeEngine(a, CartPole(), seed=3) for a in (A2C(**SHARED), A3C(num_workers=1, **SHARED))]
    for engine in engines:
        engine.start()
    for _ in range(12):
        metrics = [engine.advance(1, 20) for engine in engines]
        for name, metric in metrics[0].items():
            np.testing.assert_allclose(metric.sum, metrics[1][name].sum, rtol=1e-4, atol=1e-6, err_msg=name)
        close(engines[0].learner.params, engines[1].learner.params, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(engines[0].carry.seeds.obs, engines[1].carry.seeds.obs, rtol=1e-5)
    assert metrics[1]["staleness"].sum == 0


@pytest.mark.parametrize(("order", "lag"), [("random", 0.0), ("fixed", 0.0), ("random", 0.5)])
def test_workers_follow_a_plain_loop(order, lag):
    """θ' of each worker, its gradient, RMSProp with one g, one worker after the other; in Python."""
    algorithm = lift(
        A3C(
            num_workers=3,
            num_envs=6,
            num_steps=4,
            hidden=(),
            order=order,
            lag=lag,
            entropy_coef=0.02,
            eps=1e-3,
        )
    )
    rate, decay, eps, most = 7e-4, 0.99, 1e-3, 0.5
    state = algorithm.init(SMALL, KEY)
    shared = [np.asarray(x, np.float64) for x in jax.tree.leaves(state.params)]
    form = jax.tree.structure(state.params)
    own = [list(shared) for _ in range(3)]
    g = [np.zeros_like(x) for x in shared]
    fetched, done = [0, 0, 0], 0
    gradients = jax.jit(lambda a, *args: a.rule.gradients(*args)[0])
    orders, delays = set(), []
    for round_ in range(8):
        rollout, key = rollout_of(4, 6, seed=round_), jax.random.key(round_)
        steps, _ = algorithm.rule.steps(state.normaliser, rollout)
        turns, late = (np.asarray(x) for x in algorithm.schedule(key))
        orders.add(tuple(turns.tolist()))
        waits = []
        for worker in turns.tolist():
            local = jax.tree.unflatten(form, [jnp.asarray(x, jnp.float32) for x in own[worker]])
            part = jax.tree.map(lambda x, w=worker: x[:, 2 * w : 2 * w + 2], steps)
            delta = [np.asarray(x, np.float64) for x in jax.tree.leaves(gradients(algorithm, local, part))]
            norm = np.sqrt(sum((d * d).sum() for d in delta))
            delta = [d * min(1.0, most / norm) for d in delta]
            g = [decay * a + (1 - decay) * d * d for a, d in zip(g, delta, strict=True)]
            shared = [x - rate * d / np.sqrt(a + eps) for x, d, a in zip(shared, delta, g, strict=True)]
            waits.append(done - fetched[worker])
            done += 1
            if not late[worker]:
                own[worker], fetched[worker] = list(shared), done
        state, metrics = update(algorithm, state, rollout, key, clock_of())
        assert float(metrics["staleness"].sum) == sum(waits)
        delays += waits
        close(state.params, jax.tree.unflatten(form, shared), rtol=1e-4, atol=1e-6)
        for worker in range(3):
            mine = jax.tree.map(lambda x, w=worker: x[w], state.workers)
            close(mine, jax.tree.unflatten(form, own[worker]), rtol=1e-4, atol=1e-6)
    assert len(orders) == 1 if order == "fixed" else len(orders) > 2
    if lag == 0.0:  # K − 1 on average but for the first round, in which all were fresh
        assert np.mean(delays[3:]) == 2.0
    else:
        assert np.mean(delays[3:]) > 2.5


def test_a_schedule_is_an_order_of_all_workers_and_lags_as_often_as_told():
    algorithm = lift(A3C(num_workers=8, lag=0.25))
    orders, late = jax.vmap(algorithm.schedule)(jax.random.split(KEY, 2000))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(8), (2000, 1)))
    first = np.bincount(np.asarray(orders)[:, 0], minlength=8) / 2000
    np.testing.assert_allclose(first, 1 / 8, atol=0.03)
    np.testing.assert_allclose(np.asarray(late).mean(axis=0), 0.25, atol=0.04)


def stale(algorithm, spec=SMALL, seed=0):
    """A state whose workers differ from one another and from the shared parameters."""
    state = algorithm.init(spec, KEY)
    leaves, form = jax.tree.flatten(state.workers)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noise = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return dataclasses.replace(state, workers=jax.tree.unflatten(form, noise))


@pytest.mark.parametrize("envs", [6, 7, 3, 1])
def test_each_environment_is_acted_on_by_its_worker(envs):
    algorithm = lift(A3C(num_workers=3, num_envs=6, hidden=(4,)))
    state = stale(algorithm)
    obs = jax.random.normal(KEY, (envs, 1))
    action, _, extras = act(algorithm, state, (), obs, KEY, clock_of(), explore=True)
    assert action.shape == (envs,)
    share = -(-envs // 3)
    for i in range(envs):
        own = jax.tree.map(lambda x, i=i: x[i // share], state.workers)
        log_prob = own.policy(obs[i]).log_prob(extras["action"][i])
        assert float(extras["log_prob"][i]) == pytest.approx(float(log_prob), rel=1e-5, abs=1e-6)
    greedy, _, _ = act(algorithm, state, (), obs, KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(greedy, state.params.policy(obs).mode())


@every_kind
def test_probabilities_at_learning_are_those_at_acting(kind):
    algorithm = A3C(
        num_workers=3, num_envs=6, num_steps=5, hidden=(4,), normalize_obs=True, learning_rate=0.01
    )
    engine = started(algorithm, KINDS[kind])
    engine.advance(4, 10)
    clock = loop.clock_of(engine.carry.shared, jnp.int32(10), engine.plan)
    _, rollout = collect(engine.algorithm, engine.env, engine.plan, engine.carry.seeds, clock)
    steps, _ = engine.algorithm.rule.steps(engine.learner.normaliser, rollout)
    for worker in range(3):
        mine = jax.tree.map(lambda x, w=worker: x[w], engine.learner.workers)
        part = jax.tree.map(lambda x, w=worker: x[:, 2 * w : 2 * w + 2], (steps, rollout.extras["log_prob"]))
        log_prob = mine.policy(part[0].obs).log_prob(part[0].action)
        np.testing.assert_allclose(log_prob, part[1], rtol=1e-5, atol=1e-5)
