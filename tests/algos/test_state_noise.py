"""Deviations that depend on the state, and exploration by noise matrices (gSDE)."""

import dataclasses
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.algos.actor_critic.sac import SAC
from fathom.algos.actor_critic.tqc import TQC
from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.algos.policy.ppo import PPO
from fathom.algos.policy.reinforce import Reinforce
from fathom.algos.policy.trpo import TRPO
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete
from fathom.core.types import EnvSpec
from fathom.nn.heads import PolicyHead
from fathom.nn.network import init_actor, tanh_gaussian
from fathom.ops.exploration import NoiseMatrix, matrix_log_std

from .probes import KINDS, clock_of, started

KEY = jax.random.key(0)
REPLAYED: dict[str, Any] = {
    "hidden": (5,),
    "activation": "tanh",
    "buffer_size": 64,
    "batch_size": 8,
    "learning_starts": 8,
}
SPEC = EnvSpec(Box(-1.0, 1.0, (3,)), Box([-0.4, 0.0], [2.0, 1.0]))
NOISY = {
    "ppo": PPO(num_envs=3, num_steps=5, epochs=1, minibatches=1, hidden=(4,), std="gsde", sde_steps=3),
    "a2c": A2C(num_envs=3, num_steps=5, hidden=(4,), std="gsde", sde_steps=3),
    "trpo": TRPO(
        num_envs=3, num_steps=5, value_epochs=1, value_minibatches=1, hidden=(4,), std="gsde", sde_steps=3
    ),
    "sac": SAC(num_envs=3, std="gsde", sde_steps=3, log_std=-1.0, train_every=3, **REPLAYED),
    "tqc": TQC(num_envs=3, std="gsde", sde_steps=3, log_std=-1.0, critics=2, train_every=3, **REPLAYED),
}
noisy = pytest.mark.parametrize("name", sorted(NOISY))


def matrices(memory: Any) -> NoiseMatrix:
    """The noise matrices in what a learner remembers."""
    (found,) = (x for x in jax.tree.leaves(memory, is_leaf=is_noise) if is_noise(x))
    return found


def is_noise(x: Any) -> bool:
    return isinstance(x, NoiseMatrix)


def test_noise_has_the_deviation_that_the_density_is_told():
    features = jax.random.normal(KEY, (1, 4))
    log_std = jnp.log(jnp.array([[0.1, 1.0], [0.2, 0.5], [0.3, 0.1], [0.4, 2.0]]))
    noise = NoiseMatrix.none(20_000, 4, 2).held(KEY, 1)
    drawn = noise.noise(jnp.broadcast_to(features, (20_000, 4)), log_std)
    expected = np.sqrt((np.asarray(features)[0, :, None] ** 2 * np.exp(2 * np.asarray(log_std))).sum(axis=0))
    np.testing.assert_allclose(drawn.std(axis=0), expected, rtol=0.02)
    np.testing.assert_allclose(np.exp(matrix_log_std(features[0], log_std)), expected, rtol=1e-3)
    assert abs(float(jnp.corrcoef(drawn.T)[0, 1])) < 0.03


def test_a_matrix_is_kept_for_as_many_steps_as_are_set_in_each_environment():
    noise = NoiseMatrix(jnp.zeros((2, 3, 1)), jnp.array([0, 2]))
    seen = []
    for step in range(7):
        noise = noise.held(jax.random.key(step), 3)
        seen.append(np.asarray(noise.matrix))
    changed = [[not np.array_equal(a[e], b[e]) for a, b in pairwise(seen)] for e in (0, 1)]
    assert changed[0] == [False, False, True, False, False, True]
    assert changed[1] == [True, False, False, True, False, False]


@pytest.mark.parametrize("std", ["global", "state", "gsde"])
def test_a_head_begins_with_the_deviation_it_is_told(std):
    head = PolicyHead.init(KEY, 6, SPEC.action_space, -1.5, std)
    features = jax.random.normal(KEY, (50, 6))
    got = head(features).log_std
    length = np.sqrt((np.asarray(features) ** 2).sum(axis=1, keepdims=True)) if std == "gsde" else 1.0
    np.testing.assert_allclose(np.exp(got), np.broadcast_to(np.exp(-1.5) * length, got.shape), rtol=0.07)
    grads = jax.grad(lambda f: head(f).log_std.sum())(features)
    assert (np.abs(grads).max() > 0) == (std == "state")  # gSDE must not teach the policy's features


@pytest.mark.parametrize("std", ["state", "gsde"])
def test_an_actor_begins_with_the_deviation_it_is_told(std):
    actor = init_actor(KEY, SPEC.obs_space, 2, (8,), "tanh", False, std, -2.0)
    obs = jax.random.normal(KEY, (20, 3))
    got = np.exp(tanh_gaussian(actor, obs).normal.log_std)
    if std == "state":
        np.testing.assert_allclose(got, np.exp(-2.0), rtol=0.1)
    else:
        lengths = np.linalg.norm(actor.network.features(obs), axis=1)
        np.testing.assert_allclose(got, np.exp(-2.0) * np.stack([lengths] * 2, axis=1), rtol=1e-3)


@noisy
def test_actions_are_a_function_of_the_state_while_a_matrix_is_kept(name):
    algorithm = lift(NOISY[name])
    state = algorithm.init(SPEC, KEY)
    obs = jax.random.normal(KEY, (3, 3))
    memory = algorithm.init_memory(state, 3)
    assert matrices(memory).matrix.shape[:2] == (3, state_features(state))
    clock = clock_of(gradient_step=1)
    actions = []
    for step in range(4):
        action, memory, extras = algorithm.act(state, memory, obs, jax.random.key(step), clock, True)
        actions.append(np.asarray(action))
    np.testing.assert_array_equal(actions[0], actions[1])
    np.testing.assert_array_equal(actions[0], actions[2])
    assert np.all(actions[0] != actions[3])
    assert np.all(actions[0][0] != actions[0][1])
    greedy, same, _ = algorithm.act(state, memory, obs, KEY, clock, False)
    assert np.all(greedy != actions[3])
    assert eqx.tree_equal(same, memory)
    if "log_prob" in extras:
        pi = state.params.policy(obs)
        np.testing.assert_allclose(extras["log_prob"], pi.log_prob(extras["action"]), rtol=1e-5)


def state_features(state: Any) -> int:
    head = getattr(state.params, "head", None)
    return (state.params.actor if head is None else head).log_std.shape[-2]


@noisy
def test_the_spread_over_many_matrices_is_that_of_the_policy(name):
    algorithm = lift(NOISY[name])
    state = algorithm.init(SPEC, KEY)
    obs = jnp.broadcast_to(jnp.array([0.3, -0.5, 0.8]), (4000, 3))
    memory = algorithm.init_memory(state, 4000)
    action, _, extras = algorithm.act(state, memory, obs, KEY, clock_of(gradient_step=1), True)
    if "action" in extras:
        pi, drawn = state.params.policy(obs), extras["action"]
    else:
        pi = tanh_gaussian(state.params.actor, obs).normal
        low, high = (np.asarray(x) for x in (SPEC.action_space.low, SPEC.action_space.high))
        drawn = np.arctanh(2 * (np.asarray(action) - low) / (high - low) - 1)
    np.testing.assert_allclose(np.std(drawn, axis=0), np.exp(pi.log_std[0]), rtol=0.06)
    np.testing.assert_allclose(np.mean(drawn, axis=0), pi.mean[0], atol=0.1)


@noisy
def test_learning_moves_the_matrix_of_deviations_and_chunks_change_nothing(name):
    runs = []
    for splits in ((6,), (1, 2, 3)):
        engine = started(NOISY[name], KINDS["box"])
        before = deviations(engine.learner)
        for n in splits:
            engine.advance(n, 10)
        assert np.all(deviations(engine.learner) != before)
        runs.append([np.asarray(x) for x in jax.tree.leaves(engine.learner)])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


def deviations(learner: Any) -> np.ndarray:
    head = getattr(learner.params, "head", None)
    return np.asarray((learner.params.actor if head is None else head).log_std)


def test_the_ratio_is_one_on_the_first_minibatch():
    engine = started(dataclasses.replace(NOISY["ppo"], clip=1e-5), KINDS["box"])
    first, later = engine.advance(1, 10), engine.advance(4, 10)
    assert later["clip_fraction"].count == 4
    assert first["clip_fraction"].sum == later["clip_fraction"].sum == 0
    assert np.all(later["grad_norm"].sum > 0)


@pytest.mark.parametrize(
    "algorithm",
    [
        A2C(num_envs=2, num_steps=4, hidden=(4,)),
        pytest.param(A3C(num_workers=2, num_envs=2, num_steps=4, hidden=(4,)), marks=pytest.mark.slow),
        pytest.param(Reinforce(num_envs=2, num_steps=8, hidden=(4,)), marks=pytest.mark.slow),
        TRPO(num_envs=2, num_steps=8, value_minibatches=2, hidden=(4,)),
    ],
    ids=lambda a: type(a).__name__,
)
def test_every_policy_gradient_learns_a_deviation_of_the_state(algorithm):
    engine = started(dataclasses.replace(algorithm, std="state", log_std=-1.0), KINDS["box"])
    before = np.asarray(engine.learner.params.head.log_std.weight)
    engine.advance(6, 10)
    assert np.all(engine.learner.params.head.log_std.weight != before)


@pytest.mark.parametrize("kind", [PPO, A2C, TRPO, A3C, Reinforce])
def test_a_deviation_is_refused_where_no_gaussian_is(kind):
    with pytest.raises(FathomError, match=r"std is 'state', a deviation of Gaussians.*Discrete"):
        kind(std="state").check(EnvSpec(Box(-1.0, 1.0, (3,)), Discrete(2)))


@noisy
def test_matrices_older_than_nothing_are_refused(name):
    with pytest.raises(FathomError, match="sde_steps is 0; it must be above 0"):
        dataclasses.replace(NOISY[name], sde_steps=0).check(SPEC)


@pytest.mark.parametrize("path", ["native", pytest.param("gymnasium", marks=pytest.mark.slow)])
def test_a_player_keeps_its_matrix_and_a_new_episode_draws_another(path):
    agent = Agent(dataclasses.replace(NOISY["a2c"], sde_steps=1000), "Pendulum-v1", backend=path)
    agent.learn(15)
    player = agent.player(deterministic=False)
    obs = np.array([1.0, 0.5, -0.3], np.float32)
    first, second = player(obs), player(obs)
    player.reset()
    third = player(obs)
    agent.close()
    np.testing.assert_array_equal(first, second)
    assert np.all(np.asarray(first) != np.asarray(third))
