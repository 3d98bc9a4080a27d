import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.actor_critic.common import ADAM
from fathom.algos.actor_critic.ddpg import DDPG
from fathom.algos.actor_critic.td3 import TD3
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete
from fathom.core.types import EnvSpec
from fathom.envs.probe.policy import ContinuousProbe
from fathom.ops import optim

from .probes import clock_of
from .replayed import (
    HIGH,
    KEY,
    LOW,
    SPEC,
    Sleeper,
    act,
    assert_close,
    batch_of,
    in_box,
    net,
    shaken,
    started,
    unit,
    update,
)

FIELDS = {"hidden": (5,), "tau": 0.25, "gamma": 0.9, "buffer_size": 64, "batch_size": 8, "learning_starts": 8}
TWIN = TD3(**FIELDS, learning_rate=0.01)
SINGLE = DDPG(**FIELDS, learning_rate=0.01, actor_learning_rate=0.003)
GAUSSIAN = dataclasses.replace(SINGLE, process="gaussian")
PROBED = {
    "num_envs": 4, "buffer_size": 1024, "batch_size": 64, "learning_starts": 64, "train_every": 8,
    "gradient_steps": 8, "hidden": (16,), "learning_rate": 0.01, "tau": 0.05, "gamma": 0.9, "anneal_lr": True,
}  # fmt: skip


def state_of(algorithm, seed=1):
    """A learner whose networks all differ."""
    state = lift(algorithm).init(SPEC, KEY)
    parts = lambda s: (s.params, s.target)  # noqa: E731
    return eqx.tree_at(parts, state, tuple(shaken(x, seed + i) for i, x in enumerate(parts(state))))


def reference(state, batch, step_sizes, tau, noise=0.0):
    """Critics towards the target, the actor up the first critic's slope, targets after both."""
    params, target, opt = state.params, state.target, state.opt_state
    next_action = jnp.clip(jnp.tanh(net(target.actor, batch.next_obs)) + noise, -1.0, 1.0)
    q = jnp.stack([net(c, batch.next_obs, next_action)[:, 0] for c in target.critics])
    y = batch.reward + batch.discount * q.min(axis=0)

    def critic_loss(critics):
        q = [net(c, batch.obs, unit(batch.action))[:, 0] for c in critics]
        return sum(jnp.mean(batch.weight * 0.5 * (y - one) ** 2) for one in q)

    grads = jax.grad(critic_loss)(params.critics)
    critics, critics_opt, _ = optim.descend(ADAM, params.critics, grads, opt.critics, step_sizes[0])
    climb = lambda actor: -jnp.mean(net(critics[0], batch.obs, jnp.tanh(net(actor, batch.obs))))  # noqa: E731
    grads = jax.grad(climb)(params.actor)
    actor, actor_opt, _ = optim.descend(ADAM, params.actor, grads, opt.actor, step_sizes[1])
    trail = lambda old, new: jax.tree.map(lambda t, p: (1 - tau) * t + tau * p, old, new)  # noqa: E731
    trails = (trail(target.actor, actor), trail(target.critics, critics))
    return (actor, critics), trails, (actor_opt, critics_opt)


def parts_of(state):
    """Networks, targets and moments, as `reference` gives them."""
    return tuple((part.actor, part.critics) for part in (state.params, state.target, state.opt_state))


def test_two_updates_of_ddpg_are_those_of_the_algorithm_written_out():
    state = state_of(SINGLE)
    for step in range(2):
        wanted = jax.jit(reference)(state, batch_of(step), (0.01, 0.003), 0.25)
        state, metrics, priorities = update(lift(SINGLE), state, batch_of(step), KEY, clock_of())
        assert_close(parts_of(state), wanted)
    assert priorities.shape == (6,)
    assert set(metrics) == {"critic_loss", "q_value", "td_error", "actor_loss", "learning_rate"}


def test_updates_of_td3_are_those_of_the_algorithm_and_every_second_moves_actor_and_targets():
    state, algorithm = state_of(TWIN), lift(TWIN)
    for step in range(4):
        batch, key = batch_of(step), jax.random.key(step)
        noise = jnp.clip(0.2 * jax.random.normal(key, batch.action.shape), -0.5, 0.5)
        (actor, critics), trails, (actor_opt, critics_opt) = jax.jit(reference)(
            state, batch, (0.01, 0.01), 0.25, noise
        )
        after, metrics, _ = update(algorithm, state, batch, key, clock_of(gradient_step=step))
        assert_close((after.params.critics, after.opt_state.critics), (critics, critics_opt))
        wanted = (actor, actor_opt, *trails)
        if step % 2 == 0:  # steps are counted from 1: the first is odd
            wanted = (state.params.actor, state.opt_state.actor, state.target.actor, state.target.critics)
        got = (after.params.actor, after.opt_state.actor, after.target.actor, after.target.critics)
        assert_close(got, wanted)
        assert float(metrics["actor_loss"].count) == step % 2
        state = after


def test_td3_judges_by_the_lower_critic():
    state = state_of(TWIN)
    batch = batch_of(0)
    next_action = jnp.zeros((6, 2))
    each = [net(c, batch.next_obs, next_action)[:, 0] for c in state.target.critics]
    assert 0 < np.sum(np.asarray(each[0] < each[1])) < 6
    wanted = batch.reward + batch.discount * jnp.minimum(*each)
    np.testing.assert_allclose(TWIN.td_target(state, batch, next_action), wanted, rtol=1e-5)
    assert float(wanted[0]) == float(batch.reward[0])  # terminal


def test_trap_12_target_noise_is_clipped_of_its_own_for_every_item_and_leaves_no_box():
    wide = dataclasses.replace(TWIN, target_noise=0.4, target_noise_clip=0.5)
    middle = np.asarray(wide.smoothed(jnp.zeros((4000, 2)), KEY))
    assert len(np.unique(middle)) > 5000  # neither the batch nor the components share one
    assert np.abs(middle).max() == 0.5
    # P(|N(0, 0.4)| > 0.5) = 0.2113, and the deviation of the rest is that of a normal cut there.
    assert np.mean(np.abs(middle) == 0.5) == pytest.approx(0.2113, abs=0.02)
    assert middle[np.abs(middle) < 0.5].std() == pytest.approx(0.2596, abs=0.01)
    assert abs(np.corrcoef(middle.T)[0, 1]) < 0.05
    edge = np.asarray(wide.smoothed(jnp.full((4000, 2), 0.9), KEY))
    assert edge.max() == 1.0
    assert edge.min() == pytest.approx(0.4)


@pytest.mark.parametrize("algorithm", [TWIN, GAUSSIAN], ids=["td3", "ddpg"])
def test_trap_12_exploring_noise_is_scaled_to_the_box_and_leaves_it_nowhere(algorithm):
    algorithm = lift(dataclasses.replace(algorithm, noise=0.1))
    state = algorithm.init(SPEC, KEY)  # its actions are near the middle
    obs = jnp.zeros((4000, 3))
    first, _, _ = act(algorithm, state, (), obs, KEY, clock_of(), explore=True)
    np.testing.assert_allclose(first.std(axis=0), (HIGH - LOW) / np.sqrt(12), rtol=0.05)
    then, _, _ = act(algorithm, state, (), obs, KEY, clock_of(gradient_step=1), explore=True)
    greedy, _, _ = act(algorithm, state, (), obs, KEY, clock_of(), explore=False)
    np.testing.assert_allclose(then.std(axis=0), 0.1 * (HIGH - LOW) / 2, rtol=0.05)
    np.testing.assert_allclose(then.mean(axis=0), greedy[0], rtol=0.02)
    np.testing.assert_array_equal(greedy, jnp.broadcast_to(greedy[:1], greedy.shape))
    edge = eqx.tree_at(lambda s: s.params.actor.head.bias, state, jnp.array([9.0, -9.0]))
    for step in (0, 1):
        action, _, _ = act(algorithm, edge, (), obs, KEY, clock_of(gradient_step=step), explore=True)
        assert in_box(action)
    assert np.any(action[:, 0] == HIGH[0])
    assert np.any(action[:, 1] == LOW[1])


def test_the_noise_of_ddpg_drifts_and_is_not_in_its_evaluation():
    algorithm = lift(dataclasses.replace(SINGLE, noise=0.05, theta=0.15))
    state = algorithm.init(SPEC, KEY)
    obs = jnp.zeros((2000, 3))
    memory = algorithm.init_memory(state, 2000)
    np.testing.assert_array_equal(memory, np.zeros((2000, 2)))
    greedy, same, _ = act(algorithm, state, memory + 1.0, obs, KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(same, memory + 1.0)
    seen = []
    for step in range(40):
        key, clock = jax.random.key(step), clock_of(gradient_step=1)
        action, memory, _ = act(algorithm, state, memory, obs, key, clock, explore=True)
        np.testing.assert_allclose(unit(action), unit(greedy) + memory, atol=1e-4)
        seen.append(np.asarray(memory))
    assert seen[0].std() == pytest.approx(0.05, rel=0.05)
    assert seen[-1].std() == pytest.approx(0.05 / np.sqrt(0.15 * 1.85), rel=0.05)
    assert np.corrcoef(seen[-1].ravel(), seen[-2].ravel())[0, 1] == pytest.approx(0.85, abs=0.03)


def test_trap_18_the_noise_of_ddpg_starts_anew_with_each_episode():
    engine = started(dataclasses.replace(SINGLE, num_envs=2, train_every=2), Sleeper(length=4))
    for step in range(1, 13):
        engine.advance(1, 12)
        memory = np.asarray(engine.carry.seeds.memory)
        assert memory.shape == (2, 2)
        assert np.all(memory == 0.0) == (step % 4 == 0)


def test_gaussian_noise_needs_no_memory():
    assert GAUSSIAN.init_memory(lift(GAUSSIAN).init(SPEC, KEY), 3) == ()
    assert TWIN.init_memory(lift(TWIN).init(SPEC, KEY), 3) == ()


@pytest.mark.parametrize("algorithm", [TWIN, SINGLE], ids=["td3", "ddpg"])
def test_init_and_update_keep_their_shapes_and_a_batch_of_one_is_enough(algorithm):
    algorithm = lift(algorithm)
    state = algorithm.init(SPEC, KEY)
    assert_close(state.params, state.target, rtol=0.0, atol=0.0)
    assert len(state.params.critics) == (2 if isinstance(algorithm, TD3) else 1)
    form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    after, metrics, _ = update(algorithm, state, batch_of(0, size=1), KEY, clock_of(gradient_step=1))
    assert form(after) == form(state)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


@pytest.mark.parametrize(
    "algorithm", [TD3(**PROBED, noise=0.3), DDPG(**PROBED, actor_learning_rate=0.01)], ids=["td3", "ddpg"]
)
def test_the_best_action_of_a_box_that_is_not_symmetric(algorithm):
    engine = started(algorithm, ContinuousProbe())
    engine.advance(120, 120)
    filled = np.asarray(engine.carry.seeds.replay.action)[: int(engine.carry.shared.ring.filled)]
    assert filled.min() >= -0.4
    assert filled.max() <= 2.0
    assert filled.min() < -0.2
    memory = algorithm.init_memory(engine.learner, 1)
    action, _, _ = act(
        engine.algorithm, engine.learner, memory, jnp.ones((1, 1)), KEY, clock_of(), explore=False
    )
    assert float(action[0, 0]) == pytest.approx(1.5, abs=0.1)


WRONG = [
    (TD3, {"policy_delay": 0}, ["policy_delay", "0", "above 0"]),
    (TD3, {"noise": -0.1}, ["noise", "-0.1", "negative"]),
    (TD3, {"target_noise": -0.1}, ["target_noise", "-0.1", "negative"]),
    (TD3, {"target_noise_clip": -1.0}, ["target_noise_clip", "-1.0", "negative"]),
    (DDPG, {"noise": -0.1}, ["noise", "-0.1", "negative"]),
    (DDPG, {"theta": 1.5}, ["theta", "1.5", "between 0 and 1"]),
    (DDPG, {"actor_learning_rate": 0.0}, ["actor_learning_rate", "0.0", "above 0"]),
    (TD3, {"tau": 2.0}, ["tau", "2.0", "between 0 and 1"]),
    (DDPG, {"buffer_size": 10}, ["buffer_size", "10", "64"]),
]


@pytest.mark.parametrize(("kind", "fields", "told"), WRONG, ids=[str(f) for _, f, _ in WRONG])
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(kind, fields, told):
    with pytest.raises(FathomError) as error:
        kind(**fields).check(SPEC)
    assert all(part in str(error.value) for part in told), error.value


@pytest.mark.parametrize("kind", [TD3, DDPG])
def test_other_actions_than_a_finite_box_are_refused(kind):
    kind().check(SPEC)
    with pytest.raises(FathomError, match=f"(?s){kind.__name__}.*Discrete.*DQN and discrete_sac"):
        kind().check(EnvSpec(SPEC.obs_space, Discrete(2)))
    with pytest.raises(FathomError, match=f"(?s){kind.__name__}.*infinite bounds"):
        kind().check(EnvSpec(SPEC.obs_space, Box(0.0, np.inf, (2,))))
