import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.actor_critic.common import ADAM, from_env
from fathom.algos.actor_critic.sac import SAC
from fathom.algos.actor_critic.td3 import TD3
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import Batch, EnvSpec, Rollout
from fathom.envs.probe.policy import ContinuousProbe
from fathom.nn.heads import to_env
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

SMALL = SAC(
    hidden=(5,), learning_rate=0.01, tau=0.25, gamma=0.9, buffer_size=64, batch_size=8, learning_starts=8
)
NONE = ((), ())  # no drifting noise and no noise matrices
LEARNER = SAC(
    num_envs=4,
    buffer_size=1024,
    batch_size=64,
    learning_starts=64,
    train_every=8,
    gradient_steps=8,
    hidden=(16,),
    learning_rate=0.01,
    tau=0.05,
    gamma=0.9,
    anneal_lr=True,
)


def state_of(algorithm=SMALL, spec=SPEC, seed=1):
    """A learner whose networks all differ."""
    state = lift(algorithm).init(spec, KEY)
    shake = lambda s: (s.params.actor, s.params.critics, s.target)  # noqa: E731
    return eqx.tree_at(shake, state, tuple(shaken(x, seed + i) for i, x in enumerate(shake(state))))


def sampled(actor, obs, key):
    """A tanh-Gaussian action and its log-density, by the textbook's formula."""
    mean, log_std = jnp.split(net(actor, obs), 2, axis=-1)
    noise = jax.random.normal(key, mean.shape)
    u = mean + jnp.exp(log_std) * noise
    density = jnp.exp(-0.5 * noise**2) / jnp.sqrt(2 * jnp.pi) / jnp.exp(log_std)
    slope = 1.0 / jnp.cosh(u) ** 2
    return jnp.tanh(u), jnp.log(density / slope).sum(axis=-1)


def reference(state, batch, key, lr, tau):
    """One update of Algorithm 1, line by line, by plain networks."""
    target_key, actor_key = jax.random.split(key)
    params, opt = state.params, state.opt_state
    alpha = jnp.exp(params.log_alpha)
    next_action, log_prob = sampled(params.actor, batch.next_obs, target_key)
    q = [net(c, batch.next_obs, next_action)[:, 0] for c in state.target]
    y = batch.reward + batch.discount * (jnp.minimum(*q) - alpha * log_prob)
    action = unit(batch.action)

    def critic_loss(critics):
        return sum(jnp.mean(batch.weight * 0.5 * (y - net(c, batch.obs, action)[:, 0]) ** 2) for c in critics)

    grads = jax.grad(critic_loss)(params.critics)
    critics, critics_opt, _ = optim.descend(ADAM, params.critics, grads, opt.critics, lr)

    def actor_loss(actor):
        action, log_prob = sampled(actor, batch.obs, actor_key)
        q = [net(c, batch.obs, action)[:, 0] for c in critics]
        return jnp.mean(alpha * log_prob - jnp.minimum(*q)), log_prob

    grads, log_prob = jax.grad(actor_loss, has_aux=True)(params.actor)
    actor, actor_opt, _ = optim.descend(ADAM, params.actor, grads, opt.actor, lr)
    grad = jax.grad(lambda x: -jnp.mean(jnp.exp(x) * (log_prob - 2.0)))(params.log_alpha)
    log_alpha, alpha_opt, _ = optim.descend(ADAM, params.log_alpha, grad, opt.log_alpha, lr)
    target = jax.tree.map(lambda t, c: (1 - tau) * t + tau * c, state.target, critics)
    return (actor, critics, log_alpha), target, (actor_opt, critics_opt, alpha_opt)


def test_two_updates_are_those_of_the_algorithm_written_out():
    state, algorithm = state_of(), lift(SMALL)
    for step in range(2):
        key = jax.random.key(10 + step)
        wanted = jax.jit(reference)(state, batch_of(step), key, 0.01, 0.25)
        state, metrics, priorities = update(algorithm, state, batch_of(step), key, clock_of())
        params, opt = state.params, state.opt_state
        got = (
            (params.actor, params.critics, params.log_alpha),
            state.target,
            (opt.actor, opt.critics, opt.log_alpha),
        )
        assert_close(got, wanted)
    assert priorities.shape == (6,)
    assert set(metrics) == {
        "critic_loss", "q_value", "td_error", "actor_loss", "entropy", "alpha", "learning_rate"
    }  # fmt: skip


def test_init_and_update_keep_their_shapes():
    for algorithm in (lift(SMALL), lift(dataclasses.replace(SMALL, alpha=0.1, anneal_lr=True))):
        state = algorithm.init(SPEC, KEY)
        assert_close(state.params.critics, state.target, rtol=0.0, atol=0.0)
        assert not np.allclose(state.target[0].head.weight, state.target[1].head.weight)
        after, _, _ = update(algorithm, state, batch_of(0), KEY, clock_of())
        form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
        assert form(after) == form(state)


def test_nothing_follows_a_terminal_state():
    state = state_of()
    batch = batch_of(0)
    batch = eqx.tree_at(lambda b: b.next_obs, batch, batch.next_obs.at[0].set(jnp.inf))
    target = SMALL.td_target(state, batch, KEY)
    assert float(target[0]) == float(batch.reward[0])
    assert np.isfinite(target).all()


def test_actions_are_uniform_at_first_and_then_the_policys():
    algorithm, state = lift(SMALL), state_of()
    state = eqx.tree_at(lambda s: s.params.actor.head.bias, state, jnp.array([1.0, -1.0, -3.0, -3.0]))
    obs = jnp.zeros((4000, 3))
    first, memory, extras = act(algorithm, state, NONE, obs, KEY, clock_of(), explore=True)
    assert (memory, extras) == (NONE, {})
    middle, spread = (LOW + HIGH) / 2, (HIGH - LOW) / np.sqrt(12)
    np.testing.assert_allclose(first.mean(axis=0), middle, atol=0.05 * spread.max())
    np.testing.assert_allclose(first.std(axis=0), spread, rtol=0.05)
    then, _, _ = act(algorithm, state, NONE, obs, KEY, clock_of(gradient_step=1), explore=True)
    greedy, _, _ = act(algorithm, state, NONE, obs, KEY, clock_of(), explore=False)
    mean = net(state.params.actor, obs[:1])[0, :2]
    np.testing.assert_allclose(
        greedy, jnp.broadcast_to(LOW + (jnp.tanh(mean) + 1) / 2 * (HIGH - LOW), greedy.shape), rtol=1e-5
    )
    np.testing.assert_allclose(np.median(then, axis=0), greedy[0], rtol=0.05)
    assert then.std(axis=0).min() > 0.0
    for action in (first, then, greedy):
        assert in_box(action)


def test_drifting_noise_is_the_memory_of_an_episode_and_not_of_evaluation():
    algorithm = lift(dataclasses.replace(SMALL, noise=0.05, num_envs=2, train_every=2))
    state = algorithm.init(SPEC, KEY)
    state = eqx.tree_at(
        lambda s: s.params.actor.head.bias, state, jnp.array([0.0, 0.0, -20.0, -20.0])
    )  # hardly random of itself
    obs, memory = jnp.zeros((500, 3)), (jnp.full((500, 2), 0.2), ())
    action, (after, _), _ = act(algorithm, state, memory, obs, KEY, clock_of(), explore=True)
    np.testing.assert_allclose(unit(action), after, atol=1e-4)
    np.testing.assert_allclose(after.mean(axis=0), 0.85 * 0.2, atol=0.01)
    assert float(after.std()) == pytest.approx(0.05, rel=0.1)
    _, (same, _), _ = act(algorithm, state, memory, obs, KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(same, memory[0])
    engine = started(dataclasses.replace(SMALL, noise=0.05, num_envs=2, train_every=2), Sleeper(length=4))
    for step in range(1, 9):
        engine.advance(1, 8)
        memory = np.asarray(engine.carry.seeds.memory[0])
        assert memory.shape == (2, 2)
        assert np.all(memory == 0.0) == (step % 4 == 0)


def test_actions_of_the_box_and_of_the_policy_are_one_another():
    own = jax.random.uniform(KEY, (100, 2), minval=-1.0, maxval=1.0).at[:2].set(jnp.array([[-1.0], [1.0]]))
    taken = to_env(SPEC.action_space, own)
    np.testing.assert_array_equal(taken[:2], [LOW, HIGH])
    np.testing.assert_allclose(from_env(SPEC.action_space, taken), own, atol=1e-6)
    np.testing.assert_allclose(from_env(SPEC.action_space, taken), unit(taken), atol=1e-6)
    matrix = Box(-3.0, 1.0, (2, 2))
    np.testing.assert_allclose(from_env(matrix, jnp.full((5, 2, 2), -1.0)), jnp.zeros((5, 4)), atol=1e-6)


def test_the_temperature_rises_while_entropy_is_too_low_and_falls_while_it_is_too_high():
    algorithm = lift(SMALL)
    for log_std, risen in ((-5.0, True), (0.0, False)):
        state = state_of()
        state = eqx.tree_at(
            lambda s: s.params.actor.head.bias, state, jnp.array([0.0, 0.0, log_std, log_std])
        )
        after, metrics, _ = update(algorithm, state, batch_of(0), KEY, clock_of())
        assert (float(metrics["entropy"].sum / metrics["entropy"].count) < -2.0) == risen
        assert (float(after.params.log_alpha) > 0.0) == risen
        assert float(metrics["alpha"].sum) == 1.0


def test_a_given_temperature_and_a_given_entropy():
    fixed = dataclasses.replace(SMALL, alpha=0.3)
    state = state_of(fixed)
    assert state.params.log_alpha is None
    after, metrics, _ = update(lift(fixed), state, batch_of(0), KEY, clock_of())
    assert float(metrics["alpha"].sum) == pytest.approx(0.3)
    assert after.params.log_alpha is None
    assert SMALL.aim(None, SPEC.action_space) == -2.0
    assert dataclasses.replace(SMALL, target_entropy=-0.7).aim(None, SPEC.action_space) == -0.7


def test_trap_7_saturated_policies_stay_finite():
    for size in (20.0, -20.0, 1e4):
        state = state_of()
        state = eqx.tree_at(lambda s: s.params.actor.head.bias, state, jnp.array([size, size, 2.0, -20.0]))
        after, metrics, _ = update(lift(SMALL), state, batch_of(0), KEY, clock_of())
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


def test_trap_14_a_batch_of_one():
    after, metrics, _ = update(lift(SMALL), state_of(), batch_of(0, size=1), KEY, clock_of())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


def test_every_item_of_a_batch_has_noise_of_its_own():
    state = state_of()
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x[1:2], (8, *x.shape[1:])), batch_of(0))
    assert len(set(np.asarray(SMALL.td_target(state, batch, KEY)).tolist())) == 8


def test_dict_observations_and_pictures():
    picture = Box(0, 255, (36, 36, 1), np.uint8)
    space = Dict({"eye": picture, "speed": Box(-2.0, 2.0, (2,)), "gear": Discrete(3)})
    spec = EnvSpec(space, SPEC.action_space)
    algorithm = lift(dataclasses.replace(SMALL, scale_obs=True))
    algorithm.check(spec)
    state = algorithm.init(spec, KEY)
    keys = jax.random.split(KEY, 3)
    obs = jax.vmap(space.sample)(keys)
    action, _, _ = act(algorithm, state, NONE, obs, KEY, clock_of(), explore=False)
    batch = Batch(obs, action, jnp.ones(3), jnp.full(3, 0.9), obs, jnp.ones(3))
    after, metrics, _ = update(algorithm, state, batch, KEY, clock_of())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    assert not np.array_equal(after.params.actor.head.weight, state.params.actor.head.weight)


def test_scaled_observations_reach_both_networks():
    spec = EnvSpec(Box(np.array([0.0, -10.0, 5.0]), np.array([1.0, 10.0, 7.0])), SPEC.action_space)
    state = state_of(dataclasses.replace(SMALL, scale_obs=True), spec)
    obs, action = jnp.array([[0.5, 10.0, 5.0]]), jnp.array([[0.3, -0.3]])
    scaled = jnp.array([[0.0, 1.0, -1.0]])
    np.testing.assert_allclose(state.params.actor(obs), net(state.params.actor, scaled), rtol=1e-5)
    critic = state.params.critics[0]
    np.testing.assert_allclose(critic((obs, action)), net(critic, scaled, action), rtol=1e-5)


def test_the_best_action_of_a_box_that_is_not_symmetric():
    engine = started(LEARNER, ContinuousProbe())
    engine.advance(120, 120)
    replay = engine.carry.seeds.replay
    filled = np.asarray(replay.action)[: int(engine.carry.shared.ring.filled)]
    assert filled.min() >= -0.4
    assert filled.max() <= 2.0
    assert filled.min() < -0.2  # some of the uniform ones
    action, _, _ = act(
        engine.algorithm, engine.learner, NONE, jnp.ones((1, 1)), KEY, clock_of(), explore=False
    )
    assert float(action[0, 0]) == pytest.approx(1.5, abs=0.1)
    value = engine.learner.params.critics[0]((jnp.ones((1, 1)), from_env(Box(-0.4, 2.0, (1,)), action)))
    assert float(value[0, 0]) == pytest.approx(0.0, abs=0.1)


def test_trap_19_updates_do_not_depend_on_how_many_environments_there_are():
    counts = []
    for num_envs in (1, 2, 4):
        algorithm = dataclasses.replace(SMALL, num_envs=num_envs, train_every=2, gradient_steps=3)
        engine = started(algorithm, Sleeper())
        engine.advance(40 // engine.plan.steps, 40 // engine.plan.steps)
        made = int(engine.carry.shared.gradient_step)
        # Of 40 steps the first 8 fill the replay; the update that completes them learns already.
        assert made == (40 - 8) // 2 * 3 + engine.plan.gradient_steps
        counts.append(made - engine.plan.gradient_steps)
    assert len(set(counts)) == 1


WRONG = [
    ({"learning_rate": 0.0}, ["learning_rate", "0.0", "above 0"]),
    ({"alpha": 0.0}, ["alpha", "0.0", "above 0"]),
    ({"noise": 0.0}, ["noise", "0.0", "above 0"]),
    ({"theta": 1.5}, ["theta", "1.5", "between 0 and 1"]),
    ({"alpha_init": -1.0}, ["alpha_init", "-1.0", "above 0"]),
    ({"tau": 0.0}, ["tau", "0.0", "above 0"]),
    ({"tau": 1.5}, ["tau", "1.5", "between 0 and 1"]),
    ({"gamma": 1.5}, ["gamma", "1.5", "between 0 and 1"]),
    ({"num_envs": 0}, ["num_envs", "above 0"]),
    ({"batch_size": 0}, ["batch_size", "above 0"]),
    ({"train_every": 0}, ["train_every", "above 0"]),
    ({"hidden": (0,)}, ["hidden", "(0,)"]),
    ({"learning_starts": 0}, ["learning_starts", "0", "at least"]),
    ({"buffer_size": 500}, ["buffer_size", "500", "1000", "learning_starts"]),
]


@pytest.mark.parametrize(("fields", "told"), WRONG, ids=[str(f) for f, _ in WRONG])
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(fields, told):
    with pytest.raises(FathomError) as error:
        SAC(**fields).check(SPEC)
    assert all(part in str(error.value) for part in told), error.value


def test_other_actions_than_a_finite_box_are_refused():
    check = lambda space: SAC().check(EnvSpec(SPEC.obs_space, space))  # noqa: E731
    check(SPEC.action_space)
    check(Box(-1.0, 1.0, (2, 2)))
    for space in (Discrete(3), MultiDiscrete((2, 2)), MultiBinary(2), Box(0, 5, (2,), np.int32)):
        with pytest.raises(FathomError, match=f"(?s){type(space).__name__}.*DQN.*discrete_sac.*PPO"):
            check(space)
    for space in (Box(-np.inf, np.inf, (1,)), Box(np.array([0.0, -1.0]), np.array([np.inf, 1.0]))):
        with pytest.raises(FathomError, match=r"(?s)infinite bounds.*finite ones.*PPO"):
            check(space)
    for space in (Box(np.array([0.0, 5.0]), np.array([1.0, 5.0])), Box(-3e38, 3e38, (1,))):
        with pytest.raises(FathomError, match=r"(?s)no width.*Leave out"):
            check(space)


def test_a_mask_is_refused():
    with pytest.raises(FathomError, match="masks go with Discrete"):
        SAC().check(EnvSpec(MaskedSpace(SPEC.obs_space, 2), SPEC.action_space))


@pytest.mark.parametrize("kind", [SAC, TD3], ids=["sac", "td3"])
def test_an_update_under_normalisation_is_one_without_on_what_was_normalised_by_hand(kind):
    settings = {
        "hidden": (5,),
        "learning_rate": 0.05,
        "buffer_size": 64,
        "batch_size": 8,
        "learning_starts": 8,
    }
    plain = lift(kind(**settings))
    algorithm = lift(kind(**settings, normalize_obs=True, normalize_reward=True, norm_clip=1.5))
    bare, state = plain.init(SPEC, KEY), algorithm.init(SPEC, KEY)
    rng = np.random.default_rng(0)
    obs, reward = rng.normal(2.0, 3.0, (50, 1, 3)), rng.normal(0.0, 9.0, (50, 1))
    over = jnp.zeros((50, 1), bool)
    rollout = Rollout(jnp.float32(obs), None, jnp.float32(reward), over, over, jnp.float32(obs), {}, ())
    state = algorithm.observe(state, rollout)
    assert jax.tree.leaves(algorithm.observe(bare, rollout).normaliser) == []

    total, running = 0.0, []
    for r in reward[:, 0]:
        total = 0.99 * total + r
        running.append(total)
    batch = batch_of(0)

    def by_hand(x):
        return np.clip((np.asarray(x) - obs.mean((0, 1))) / obs.std((0, 1)), -1.5, 1.5).astype(np.float32)

    scaled = np.clip(batch.reward / np.std(running), -1.5, 1.5)
    hand = dataclasses.replace(
        batch, obs=by_hand(batch.obs), next_obs=by_hand(batch.next_obs), reward=jnp.float32(scaled)
    )
    got, _, _ = update(algorithm, state, batch, KEY, clock_of())
    wanted, _, _ = update(plain, bare, hand, KEY, clock_of())
    assert_close(got.params, wanted.params, rtol=1e-3, atol=1e-5)
    memory = algorithm.init_memory(state, 6)
    action, *_ = act(algorithm, state, memory, batch.obs, KEY, clock_of(), explore=False)
    same, *_ = act(plain, bare, memory, hand.obs, KEY, clock_of(), explore=False)
    assert_close(action, same, rtol=1e-4, atol=1e-4)


def test_observations_are_put_on_one_scale_only():
    with pytest.raises(FathomError, match="normalize_obs and scale_obs"):
        SAC(normalize_obs=True, scale_obs=True).check(SPEC)
    with pytest.raises(FathomError, match="real numbers"):
        SAC(normalize_obs=True).check(EnvSpec(Discrete(3), SPEC.action_space))
