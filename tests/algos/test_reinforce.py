import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.policy.reinforce import Reinforce
from fathom.core.module import lift
from fathom.envs.registry import make
from fathom.train import loop
from fathom.train.engine import make_engine

from .probes import KINDS, SMALL, clock_of, every_kind, rollout_of, started

KEY = jax.random.key(0)
PLAIN = Reinforce(
    num_envs=2, num_steps=4, hidden=(), gamma=0.5, baseline="none", value_minibatches=1, entropy_coef=0.03
)
VALUED = dataclasses.replace(PLAIN, baseline="value")

collect = partial(jax.jit, static_argnames="plan")(loop.collect)
update = jax.jit(lambda algorithm, *args: algorithm.update(*args))


@jax.jit
def seen(algorithm, state, rollout):
    """What an update learns from: the steps, their returns, which are due, and which wait."""
    steps, due, waiting = algorithm.gather(state.waiting, rollout)
    _, critic = state.params.parts()
    target = algorithm.returns(steps.reward, rollout, algorithm.final_value(state, critic, rollout))
    return steps, target, due, waiting


def rewards(algorithm, *columns, terminated=(), truncated=()):
    """A rollout of these rewards, with ends at (row, environment)."""
    rollout = rollout_of(len(columns[0]), len(columns))
    flags = [np.zeros(rollout.reward.shape, bool) for _ in range(2)]
    for which, ends in zip(flags, (terminated, truncated), strict=True):
        for end in ends:
            which[end] = True
    where = lambda r: (r.reward, r.terminated, r.truncated)  # noqa: E731
    return eqx.tree_at(where, rollout, (jnp.asarray(columns, jnp.float32).T, *map(jnp.asarray, flags)))


def test_returns_by_hand():
    """γ = ½; the first environment's episode spans both rollouts, the second's ends in each of them."""
    algorithm = lift(PLAIN)
    state = algorithm.init(SMALL, KEY)
    first = rewards(PLAIN, [1, 2, 4, 8], [1, 1, 8, 2], terminated=[(1, 0), (2, 1)])
    _, target, due, waiting = seen(algorithm, state, first)
    assert not due[:4].any()  # nothing waited
    np.testing.assert_array_equal(due[4:], np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool).T)
    np.testing.assert_allclose(target[4:6, 0], [1 + 0.5 * 2, 2])
    np.testing.assert_allclose(target[4:7, 1], [1 + 0.5 * 1 + 0.25 * 8, 1 + 0.5 * 8, 8])
    np.testing.assert_array_equal(waiting.open, ~due[4:])

    state, metrics = update(algorithm, state, first, KEY, clock_of())
    assert float(metrics["waiting"].sum) == 3
    second = rewards(PLAIN, [16, 1, 1, 1], [4, 1, 1, 1], terminated=[(0, 0)], truncated=[(1, 1)])
    _, target, due, _ = seen(algorithm, state, second)
    np.testing.assert_array_equal(due[:4], np.array([[0, 0, 1, 1], [0, 0, 0, 1]], bool).T)
    np.testing.assert_allclose(target[2:5, 0], [4 + 0.5 * 8 + 0.25 * 16, 8 + 0.5 * 16, 16])
    # Cut at its second step, and without a baseline what was earned is the return.
    np.testing.assert_allclose(target[3:6, 1], [2 + 0.5 * 4 + 0.25 * 1, 4 + 0.5 * 1, 1])
    np.testing.assert_array_equal(due[4:], np.array([[1, 0, 0, 0], [1, 1, 0, 0]], bool).T)


def test_a_cut_episode_goes_on_with_the_value_where_there_is_one():
    algorithm = lift(VALUED)
    state = algorithm.init(SMALL, KEY)
    rollout = rewards(VALUED, [1, 2, 4, 8], [1, 1, 8, 2], terminated=[(1, 0)], truncated=[(2, 0), (1, 1)])
    _, target, due, _ = seen(algorithm, state, rollout)
    beyond = np.asarray(state.params.values(rollout.final_obs))
    np.testing.assert_array_equal(due[4:], np.array([[1, 1, 1, 0], [1, 1, 0, 0]], bool).T)
    np.testing.assert_allclose(target[4:7, 0], [2, 2, 4 + 0.5 * beyond[2, 0]], rtol=1e-5)
    np.testing.assert_allclose(target[4:6, 1], [1.5 + 0.25 * beyond[1, 1], 1 + 0.5 * beyond[1, 1]], rtol=1e-5)


def test_every_step_is_learnt_from_once_or_counted_as_dropped():
    """A long stream of random episodes against a loop over whole episodes."""
    time, envs, updates = 4, 2, 12
    algorithm = lift(PLAIN)
    state = algorithm.init(SMALL, KEY)
    rollouts = [rollout_of(time, envs, seed=s) for s in range(updates)]
    rollouts = [eqx.tree_at(lambda r: r.truncated, r, r.truncated & ~r.terminated) for r in rollouts]
    learnt, dropped = {}, 0.0
    for u, rollout in enumerate(rollouts):
        steps, target, due, _ = seen(algorithm, state, rollout)
        for row, env in np.argwhere(np.asarray(due)):
            at = ((u - 1) * time + int(row), int(env))
            assert at not in learnt
            learnt[at] = float(target[row, env])
            np.testing.assert_array_equal(steps.obs[row, env], rollouts[at[0] // time].obs[at[0] % time, env])
        state, metrics = update(algorithm, state, rollout, KEY, clock_of())
        dropped += float(metrics["dropped"].sum)

    whole = jax.tree.map(lambda *x: np.concatenate(x), *rollouts)
    over = whole.terminated | whole.truncated
    expected, too_long = {}, 0
    for env in range(envs):
        for t in range(time * updates):
            later = np.flatnonzero(over[t:, env])
            end = t + later[0] if len(later) else None
            last_chance = (t // time + 2) * time  # the end of the rollout after
            if end is not None and end < last_chance:
                expected[t, env] = sum(0.5 ** (k - t) * whole.reward[k, env] for k in range(t, end + 1))
            elif last_chance <= time * updates:
                too_long += 1
    assert set(learnt) == set(expected)
    for at, value in expected.items():
        assert learnt[at] == pytest.approx(float(value), rel=1e-4, abs=1e-5)
    assert dropped == too_long > 0


def test_the_gradient_is_that_of_the_books_loop():
    """Line 6, step by step, where some steps waited for a policy that has moved since."""
    algorithm = lift(PLAIN)
    state = algorithm.init(SMALL, KEY)
    state, _ = update(algorithm, state, rollout_of(4, 2, seed=5), KEY, clock_of())
    rollout = rollout_of(4, 2, seed=6)
    steps, target, due, _ = seen(algorithm, state, rollout)
    assert bool(due[:4].any())
    actor, _ = state.params.parts()
    weight = 2.0 * due.astype(jnp.float32)
    slope = jax.jit(jax.grad(lambda a: algorithm.loss(a, steps.obs, steps, target, weight), has_aux=True))
    grads, metrics = slope(actor)
    score = jax.jit(jax.grad(lambda p, obs, a: p.policy(obs).log_prob(a)))
    entropy = jax.jit(jax.grad(lambda p, obs: p.policy(obs).entropy()))
    total = jax.tree.map(jnp.zeros_like, actor)
    for t, env in np.argwhere(np.asarray(due)):
        obs, action = steps.obs[t, env], steps.action[t, env]
        ratio = jnp.exp(actor.policy(obs).log_prob(action) - steps.log_prob[t, env])
        for term, factor in (
            (score(actor, obs, action), ratio * target[t, env]),
            (entropy(actor, obs), 0.03),
        ):
            total = jax.tree.map(lambda a, g, f=factor: a - g * f / 8.0, total, term)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(total), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert float(metrics["entropy"].count) == float(due.sum()) == 8


@every_kind
def test_probabilities_at_learning_are_those_at_acting(kind):
    algorithm = Reinforce(
        num_envs=3, num_steps=5, value_minibatches=1, hidden=(4,), normalize_obs=True, normalize_reward=True
    )
    engine = started(algorithm, KINDS[kind])
    engine.advance(4, 10)
    clock = loop.clock_of(engine.carry.shared, jnp.int32(10), engine.plan)
    _, rollout = collect(engine.algorithm, engine.env, engine.plan, engine.carry.seeds, clock)
    steps, _, _ = engine.algorithm.gather(engine.learner.waiting, rollout)
    obs = engine.learner.normaliser.obs_stats.normalize(steps.obs, 10.0)
    log_prob = engine.learner.params.policy(obs).log_prob(steps.action)
    np.testing.assert_allclose(log_prob[5:], steps.log_prob[5:], rtol=1e-5, atol=1e-5)
    # Those that waited were acted on one update before.
    assert np.abs(np.asarray(log_prob[:5] - steps.log_prob[:5])).max() > 1e-5


def test_where_episodes_are_given_up_no_step_waits_for_their_end():
    """An environment that cannot be copied starts anew on resume: what it earned belongs to no other."""
    algorithm = dataclasses.replace(VALUED, normalize_reward=True)
    engine = make_engine(lift(algorithm), make("CartPole-v1", "gymnasium"), 1, 0, "in-process")
    try:
        engine.start()
        engine.advance(2, 10)
        assert engine.learner.waiting.open.any()
        assert engine.learner.normaliser.running_return.all()
        assert "start anew" in engine.restore(None)
        assert not engine.learner.waiting.open.any()
        assert not engine.learner.normaliser.running_return.any()
        assert float(engine.learner.normaliser.return_stats.count) == 16
    finally:
        engine.close()


def test_nothing_is_learnt_before_an_episode_is_over():
    algorithm = lift(dataclasses.replace(VALUED, baseline="normalized"))
    state = algorithm.init(SMALL, KEY)
    rollout = rewards(VALUED, [1, 2, 4, 8], [1, 1, 8, 2])
    after, metrics = update(algorithm, state, rollout, KEY, clock_of())
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(metrics["waiting"].sum) == 8
    assert float(metrics["return_to_go"].count) == 0


def test_without_a_baseline_there_is_no_value_function():
    """And the entries of the state are those of the policy alone."""
    plain, valued = (a.init(SMALL, KEY) for a in (PLAIN, VALUED))
    assert plain.params.critic is None
    assert plain.opt_state[1] is None
    assert len(jax.tree.leaves(valued.params)) == 2 * len(jax.tree.leaves(plain.params)) == 4
    rollout = rollout_of(4, 2)
    _, metrics = update(lift(PLAIN), plain, rollout, KEY, clock_of())
    assert "value_loss" not in metrics
    assert "explained_variance" not in metrics


def test_the_normalised_baseline_is_that_of_the_returns_due():
    algorithm = dataclasses.replace(PLAIN, baseline="normalized", entropy_coef=0.0)
    state = algorithm.init(SMALL, KEY)
    rollout = rollout_of(4, 2, seed=6)
    _, target, due, _ = seen(lift(algorithm), state, rollout)
    g = np.asarray(target)[np.asarray(due)]
    _, metrics = update(lift(algorithm), state, rollout, KEY, clock_of())
    # Near uniform at the start: every ratio is π(a)/½ ≈ 1, so the loss is −Σ of normalised returns/8 ≈ 0.
    assert float(metrics["policy_loss"].sum) == pytest.approx(0.0, abs=0.02)
    assert float(metrics["return_to_go"].sum) == pytest.approx(g.sum(), rel=1e-5)
    assert abs(g.mean()) > 0.1
