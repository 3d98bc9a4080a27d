import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.normalisation import Normaliser
from fathom.algos.policy.common import shuffled
from fathom.algos.policy.ppo import PPO, Data
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import EnvSpec, Masked
from fathom.envs.base import spec_of
from fathom.envs.probe.policy import ContinuousProbe, MaskedProbe
from fathom.ops import policy
from fathom.ops.distributions import Categorical
from fathom.train import loop

from .probes import ENDS, KINDS, NAMES, PROBES, SMALL, OneProbe, clock_of, rollout_of, started

KEY = jax.random.key(0)
GAMMA = 0.9
LEARNER = PPO(
    num_envs=8,
    num_steps=16,
    epochs=4,
    minibatches=4,
    hidden=(8,),
    learning_rate=0.03,
    gamma=GAMMA,
    anneal_lr=True,
)
PROBLEM = PPO(num_envs=3, num_steps=5, epochs=1, minibatches=1, hidden=(4,))
NORMALISED = dataclasses.replace(PROBLEM, normalize_obs=True, normalize_reward=True)


update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)
collect = partial(jax.jit, static_argnames="plan")(loop.collect)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=() if k in ("box", "masked multi discrete") else pytest.mark.slow)
        for k in sorted(KINDS)
    ],
)
def test_the_ratio_is_one_on_the_first_minibatch(kind):
    """With one epoch of one minibatch there is only a first; what lies off by more than 1e-5 is counted."""
    engine = started(dataclasses.replace(NORMALISED, clip=1e-5), KINDS[kind])
    first = engine.advance(1, 10)
    later = engine.advance(4, 10)
    assert later["clip_fraction"].count == 4
    assert first["clip_fraction"].sum == later["clip_fraction"].sum == 0
    assert np.all(later["grad_norm"].sum > 0)


def test_the_ratio_leaves_one_once_it_has_learnt():
    """The counter of the test before does count: a second epoch sees other parameters."""
    engine = started(dataclasses.replace(NORMALISED, clip=1e-5, epochs=2), KINDS["discrete"])
    assert engine.advance(5, 10)["clip_fraction"].sum > 0


@pytest.mark.parametrize("kind", ["masked", "masked multi discrete"])
@pytest.mark.parametrize("explore", [True, False])
def test_illegal_actions_are_never_taken(kind, explore):
    env = KINDS[kind]
    algorithm = lift(PROBLEM)
    state = algorithm.init(spec_of(env), KEY)
    # Large weights prefer, as far as they may, what the mask forbids.
    state = eqx.tree_at(lambda s: s.params.head.layer.weight, state, replace_fn=lambda w: w * 1e4)
    _, obs = jax.vmap(env.reset)(jax.random.split(KEY, 5000))
    action, _, extras = act(algorithm, state, ((), ()), obs, KEY, clock_of(), explore=explore)
    mask, action = np.asarray(obs.mask), np.asarray(action).reshape(5000, -1)
    offsets = [0] if kind == "masked" else [0, 2]
    for component, offset in enumerate(offsets):
        assert mask[np.arange(5000), offset + action[:, component]].all()
    assert (~mask).mean() > 0.2
    if explore:
        assert np.isfinite(extras["log_prob"]).all()


def test_gradients_under_masks_are_finite():
    engine = started(NORMALISED, KINDS["masked"])
    metrics = engine.advance(3, 10)
    assert all(np.isfinite(m.sum).all() for m in metrics.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(engine.learner))


@pytest.mark.parametrize(
    ("time", "env", "minibatches"),
    [(6, 2, 3), (6, 2, 4), (5, 3, 2), (9, 1, 9), (9, 1, 2), (7, 2, 1), (3, 3, 7), (2, 4, 8), (1, 1, 1)],
)
def test_minibatches_use_every_step(time, env, minibatches):
    numbers = jnp.arange(time * env, dtype=jnp.float32).reshape(time, env)
    whole = Data(numbers[..., None], numbers, numbers, numbers, numbers, numbers)
    made = shuffled(whole, minibatches, KEY)
    size = -(-time * env // minibatches)
    assert made.log_prob.shape == (minibatches, size)
    assert made.obs.shape == (minibatches, size, 1)
    for leaf in jax.tree.leaves(made):
        np.testing.assert_array_equal(np.ravel(leaf), np.ravel(made.log_prob))
    counts = np.bincount(np.asarray(made.log_prob, int).ravel(), minlength=time * env)
    assert counts.min() >= 1
    assert counts.max() == (1 if time * env % minibatches == 0 else 2)


def test_minibatches_are_shuffled_anew_by_each_key():
    numbers = jnp.arange(12.0).reshape(6, 2)
    whole = Data(numbers, numbers, numbers, numbers, numbers, numbers)
    orders = {tuple(np.ravel(shuffled(whole, 3, jax.random.key(i)).value)) for i in range(4)}
    assert len(orders) == 4


@pytest.mark.parametrize(("steps", "minibatches"), [(9, 9), (9, 2), (1, 1)])
def test_a_minibatch_of_one_or_one_step_over_gives_no_nan(steps, minibatches):
    algorithm = lift(PPO(num_envs=1, num_steps=steps, minibatches=minibatches, epochs=2, hidden=()))
    state = algorithm.init(SMALL, KEY)
    after, metrics = update(algorithm, state, rollout_of(steps, 1), KEY, clock_of())
    assert all(np.isfinite(m.sum) for m in metrics.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
    assert metrics["value_loss"].count == 2 * minibatches


def test_the_clipped_objective_by_hand():
    """Worked example 3: ratio 1.5, ε = 0.2."""
    algorithm = PPO(normalize_advantage=False)

    def objective(ratio, advantage):
        return -algorithm.policy_loss(ratio[None], jnp.array([advantage]), jnp.float32(0.2))

    gain, slope = jax.value_and_grad(objective)(jnp.float32(1.5), 2.0)
    assert (float(gain), float(slope)) == (pytest.approx(2.4), 0.0)
    loss, slope = jax.value_and_grad(objective)(jnp.float32(1.5), -2.0)
    assert (float(loss), float(slope)) == (pytest.approx(-3.0), pytest.approx(-2.0))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("value_clip", [None, 0.3])
def test_the_whole_loss_by_hand(normalize, value_clip):
    algorithm = PPO(
        hidden=(),
        clip=0.2,
        value_coef=0.7,
        entropy_coef=0.03,
        value_clip=value_clip,
        normalize_advantage=normalize,
    )
    params = algorithm.init(SMALL, KEY).params
    w, b, v, c = np.array([[0.5, -1.0]]), np.array([0.1, 0.2]), np.array([[2.0]]), np.array([0.3])
    put = lambda old, new: jnp.asarray(new, old.dtype)  # noqa: E731
    where = lambda p: [p.head.layer.weight, p.head.layer.bias, p.value.weight, p.value.bias]  # noqa: E731
    params = eqx.tree_at(where, params, [put(o, n) for o, n in zip(where(params), (w, b, v, c), strict=True)])

    obs = np.array([[1.0], [-2.0], [0.5]])
    action, old_log_prob = np.array([0, 1, 1]), np.array([-1.2, -0.4, -0.3])
    old_value, advantage, target = (
        np.array([2.0, -3.0, 1.1]),
        np.array([1.0, -2.0, 0.5]),
        np.array([1.0, 2.0, 3.0]),
    )
    columns = (obs, action, old_log_prob, old_value, advantage, target)
    types = (jnp.float32, jnp.int32, *[jnp.float32] * 4)
    batch = Data(*(jnp.asarray(x, t) for x, t in zip(columns, types, strict=True)))
    total, metrics = algorithm.loss(params, batch, (), clock_of())

    logits = obs @ w + b
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ratio = np.exp(log_probs[np.arange(3), action] - old_log_prob)
    a = (advantage - advantage.mean()) / advantage.std() if normalize else advantage
    policy_loss = -np.minimum(ratio * a, np.clip(ratio, 0.8, 1.2) * a).mean()
    value = (obs @ v + c)[:, 0]
    squares = (value - target) ** 2
    if value_clip:
        near = old_value + np.clip(value - old_value, -value_clip, value_clip)
        squares = np.maximum(squares, (near - target) ** 2)
    entropy = -(np.exp(log_probs) * log_probs).sum(axis=1).mean()
    expected = {
        "policy_loss": policy_loss,
        "value_loss": squares.mean(),
        "entropy": entropy,
        "approx_kl": (ratio - 1 - np.log(ratio)).mean(),
        "clip_fraction": (np.abs(ratio - 1) > 0.2).mean(),
    }
    for name, number in expected.items():
        assert float(metrics[name].sum) == pytest.approx(number, rel=1e-5), name
    assert float(total) == pytest.approx(policy_loss + 0.7 * squares.mean() - 0.03 * entropy, rel=1e-5)


def test_the_shifted_policy_by_hand():
    """RPO: the ratio is that of a Gaussian whose mean is off by z; entropy is the policy's own."""
    algorithm = PPO(hidden=(), normalize_advantage=False, entropy_coef=0.1, value_coef=0.0, clip=0.2)
    params = algorithm.init(EnvSpec(Box(-1.0, 1.0, (1,)), Box(-1.0, 1.0, (2,))), KEY).params
    obs, z = np.array([[1.0], [-0.5]]), np.array([[0.3, -0.2], [0.1, 0.4]])
    action, advantage = np.array([[0.5, -1.0], [0.2, 0.3]]), np.array([1.5, -0.5])
    old_log_prob = np.array([-2.0, -2.5])
    mean = obs @ np.asarray(params.head.layer.weight) + np.asarray(params.head.layer.bias)
    log_prob = (-0.5 * (action - mean - z) ** 2 - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    ratio = np.exp(log_prob - old_log_prob)
    surrogate = np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean()
    floats = [jnp.asarray(x, jnp.float32) for x in (obs, action, old_log_prob, *[advantage] * 3)]
    batch = Data(*floats, shift=jnp.asarray(z, jnp.float32))
    total, metrics = algorithm.loss(params, batch, (), clock_of())
    assert float(metrics["entropy"].sum) == pytest.approx(1 + np.log(2 * np.pi), rel=1e-5)
    assert float(total) == pytest.approx(-surrogate - 0.1 * (1 + np.log(2 * np.pi)), rel=1e-5)


def test_shifts_fill_their_range_and_are_drawn_anew():
    algorithm = lift(PPO(rpo_alpha=0.25))
    action = jnp.zeros((50, 8, 2))
    first, second = (np.asarray(algorithm.shifts(action, jax.random.key(i))) for i in range(2))
    assert first.shape == action.shape
    assert np.abs(first).max() < 0.25
    assert np.abs(np.quantile(first, [0.1, 0.9]) - [-0.2, 0.2]).max() < 0.03
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.15
    assert PPO().shifts(action, KEY) is None


def test_the_ratio_leaves_one_where_the_mean_is_shifted():
    """Acting draws from the policy as it is."""
    algorithm = dataclasses.replace(NORMALISED, clip=1e-5, rpo_alpha=0.5)
    metrics = started(algorithm, KINDS["box"]).advance(1, 10)
    assert metrics["clip_fraction"].sum / metrics["clip_fraction"].count > 0.99


def test_the_distance_that_is_told_is_that_of_the_policy_and_not_of_its_shifted_mean():
    """Before the first step it is 0, or an early stop would leave nothing of an update."""
    algorithm = dataclasses.replace(NORMALISED, epochs=1, minibatches=1, rpo_alpha=0.5)
    metrics = started(algorithm, KINDS["box"]).advance(3, 10)
    np.testing.assert_allclose(metrics["approx_kl"].sum, 0.0, atol=1e-5)


def test_the_weight_of_the_penalty_always_comes_back():
    weight = jnp.float32(1.0)
    for _ in range(200):
        weight = policy.adapted_kl_coef(weight, jnp.float32(0.0), 0.01)
    assert float(weight) == pytest.approx(1e-6)
    for _ in range(200):
        weight = policy.adapted_kl_coef(weight, jnp.float32(1.0), 0.01)
    assert float(weight) == 1e6


@pytest.mark.parametrize(("kl", "factor"), [(0.0066, 0.5), (0.0067, 1.0), (0.0149, 1.0), (0.0151, 2.0)])
def test_the_weight_of_the_penalty_follows_the_distance(kl, factor):
    assert float(policy.adapted_kl_coef(jnp.float32(3.0), jnp.float32(kl), 0.01)) == 3.0 * factor


@pytest.mark.parametrize("kind", ["box", pytest.param("masked", marks=pytest.mark.slow)])
def test_a_penalised_policy_keeps_near_the_old_one(kind):
    """The penalty is of the whole distribution, and its weight is carried from update to update."""
    free = dataclasses.replace(PROBLEM, epochs=20, clip=1e6, learning_rate=0.01, max_grad_norm=1e6)
    kls = []
    for coef in (1e-6, 1e3):
        engine = started(dataclasses.replace(free, adaptive_kl=1e-3, kl_coef=coef), KINDS[kind])
        metrics = engine.advance(1, 10)
        assert metrics["kl_coef"].sum == np.float32(coef)
        kls.append(float(metrics["kl"].sum[0]))
        grows = kls[-1] > 1.5e-3
        after = float(np.ravel(engine.learner.kl_coef)[0])
        assert after / coef == pytest.approx(2.0 if grows else 0.5 if kls[-1] < 1e-3 / 1.5 else 1.0)
    assert kls[0] > 1.5e-3
    assert 0 <= kls[1] < kls[0] / 10


def test_init_and_act_have_the_shapes_they_promise():
    algorithm = lift(PROBLEM)
    state = algorithm.init(SMALL, KEY)
    assert jax.tree.leaves(state.normaliser) == []
    memory = algorithm.init_memory(state, 7)
    assert memory == ((), ())
    obs = jnp.zeros((7, 1))
    action, memory, extras = act(algorithm, state, memory, obs, KEY, clock_of(), explore=True)
    assert action.shape == extras["log_prob"].shape == (7,)
    assert action.dtype == jnp.int32
    assert memory == ((), ())
    greedy, _, nothing = act(algorithm, state, memory, obs, KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(greedy, state.params.policy(obs).mode())
    assert nothing == {}


def test_an_update_keeps_the_form_of_the_state():
    algorithm = lift(dataclasses.replace(NORMALISED, num_envs=2, num_steps=4))
    state = algorithm.init(SMALL, KEY)
    after, _ = update(algorithm, state, rollout_of(4, 2), KEY, clock_of())
    form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert form(after) == form(state)
    assert float(after.normaliser.obs_stats.count) == 8
    assert float(after.normaliser.return_stats.count) == 8


def test_the_running_return_starts_anew_after_either_end():
    algorithm = lift(dataclasses.replace(NORMALISED, num_envs=2, num_steps=30))
    state = algorithm.init(SMALL, KEY)
    rollout = rollout_of(30, 2)
    after, _ = update(algorithm, state, rollout, KEY, clock_of())
    total, seen = np.zeros(2), []
    for reward, terminated, truncated in zip(
        rollout.reward, rollout.terminated, rollout.truncated, strict=True
    ):
        total = 0.99 * total + np.asarray(reward)
        seen.append(total)
        total = np.where(terminated | truncated, 0.0, total)
    np.testing.assert_allclose(after.normaliser.running_return, total, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.normaliser.return_stats.mean, np.mean(seen), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after.normaliser.return_stats.var, np.var(seen), rtol=1e-4)


def test_observations_are_normalised_once():
    """A policy under normalisation acts as one without it on observations that were normalised by hand."""
    algorithm = lift(dataclasses.replace(NORMALISED, num_envs=2, num_steps=4, norm_clip=3.0))
    plain = lift(dataclasses.replace(PROBLEM, num_envs=2, num_steps=4))
    state = algorithm.init(SMALL, KEY)
    state, _ = update(algorithm, state, rollout_of(4, 2), KEY, clock_of())
    bare = type(state)(state.params, state.opt_state, Normaliser(None, None, None))
    obs = jnp.linspace(-20.0, 20.0, 41)[:, None]
    stats = state.normaliser.obs_stats
    mean, deviation = np.asarray(stats.mean), np.sqrt(np.asarray(stats.var) + 1e-8)
    by_hand = jnp.asarray(np.clip((np.asarray(obs) - mean) / deviation, -3.0, 3.0))
    got = act(algorithm, state, ((), ()), obs, KEY, clock_of(), explore=True)[2]["log_prob"]
    np.testing.assert_allclose(
        got, act(plain, bare, ((), ()), by_hand, KEY, clock_of(), explore=True)[2]["log_prob"], rtol=1e-5
    )


def test_annealing_follows_the_clock():
    algorithm = lift(PPO(num_envs=2, num_steps=4, epochs=1, minibatches=1, hidden=(), anneal_lr=True))
    state = algorithm.init(SMALL, KEY)
    rollout = rollout_of(4, 2)
    rates = [
        float(update(algorithm, state, rollout, KEY, clock_of(u, 10))[1]["learning_rate"].sum)
        for u in (0, 5, 10)
    ]
    assert rates == pytest.approx([3e-4, 1.5e-4, 0.0])
    still, _ = update(algorithm, state, rollout, KEY, clock_of(10, 10))
    for a, b in zip(jax.tree.leaves(still.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)


CART = EnvSpec(Box(-np.inf, np.inf, (4,)), Discrete(2))
WRONG = [
    ({"learning_rate": 0.0}, ["learning_rate", "0.0", "above 0"]),
    ({"learning_rate": float("nan")}, ["learning_rate", "nan"]),
    ({"clip": -0.1}, ["clip", "-0.1", "above 0"]),
    ({"value_clip": 0.0}, ["value_clip", "0.0", "above 0"]),
    ({"max_grad_norm": 0.0}, ["max_grad_norm", "above 0"]),
    ({"adam_eps": 0.0}, ["adam_eps", "above 0"]),
    ({"norm_clip": 0.0}, ["norm_clip", "above 0"]),
    ({"num_envs": 0}, ["num_envs", "0", "above 0"]),
    ({"num_steps": -1}, ["num_steps", "-1", "above 0"]),
    ({"epochs": 0}, ["epochs", "above 0"]),
    ({"minibatches": 0}, ["minibatches", "above 0"]),
    ({"minibatches": 33, "num_envs": 4, "num_steps": 8}, ["minibatches", "33", "32", "lower minibatches"]),
    ({"minibatches": 32, "num_envs": 4, "num_steps": 8}, ["minibatches", "32", "Lower minibatches"]),
    ({"hidden": (64, 0)}, ["hidden", "(64, 0)"]),
    ({"gamma": 1.01}, ["gamma", "1.01", "between 0 and 1"]),
    ({"gae_lambda": -0.5}, ["gae_lambda", "-0.5", "between 0 and 1"]),
    ({"value_coef": -1.0}, ["value_coef", "-1.0", "negative"]),
    ({"adaptive_kl": 0.0}, ["adaptive_kl", "0.0", "above 0"]),
    ({"kl_coef": -1.0}, ["kl_coef", "-1.0", "above 0"]),
    ({"rpo_alpha": 0.0}, ["rpo_alpha", "0.0", "above 0"]),
    ({"rpo_alpha": 0.5}, ["rpo_alpha", "Gaussians", "Discrete", "leave it out"]),
    ({"entropy_coef": -0.01}, ["entropy_coef", "-0.01", "negative"]),
]


@pytest.mark.parametrize(("fields", "told"), WRONG, ids=[str(f) for f, _ in WRONG])
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(fields, told):
    with pytest.raises(FathomError) as error:
        PPO(**fields).check(CART)
    assert all(part in str(error.value) for part in told), error.value


def test_observations_that_cannot_be_normalised_are_refused():
    for space in (Discrete(3), Box(0, 255, (40, 40, 3), np.uint8)):
        with pytest.raises(FathomError, match=r"(?s)normalize_obs.*turn it off"):
            PPO(normalize_obs=True).check(EnvSpec(space, Discrete(2)))
    PPO(normalize_obs=True).check(CART)
    PPO(normalize_obs=True).check(spec_of(KINDS["masked"]))


def test_real_numbers_of_any_observation_are_normalised_and_nothing_else():
    space = Dict({"place": Box(-9.0, 9.0, (2,)), "room": Discrete(5)})
    algorithm = lift(NORMALISED)
    algorithm.check(EnvSpec(space, Discrete(2)))
    state = algorithm.init(EnvSpec(space, Discrete(2)), KEY)
    obs = {"place": jnp.array([[3.0, 4.0], [5.0, 4.0]]), "room": jnp.array([4, 0])}
    stats = state.normaliser.obs_stats.update(obs)
    after = stats.normalize(obs, algorithm.norm_clip)
    np.testing.assert_allclose(after["place"], [[-1.0, 0.0], [1.0, 0.0]], atol=1e-6)
    np.testing.assert_array_equal(after["room"], obs["room"])


def test_actions_and_masks_that_do_not_fit_are_refused():
    box = CART.obs_space
    wrong = {
        r"(?s)mask has 2 entries.*needs 5": EnvSpec(MaskedSpace(box, 2), MultiDiscrete((2, 3))),
        r"(?s)masks go with.*MultiBinary": EnvSpec(MaskedSpace(box, 2), MultiBinary(2)),
        r"(?s)integers.*MultiDiscrete": EnvSpec(box, Box(0, 9, (2,), np.int32)),
    }
    for told, spec in wrong.items():
        with pytest.raises(FathomError, match=told):
            PPO().check(spec)
    for env in KINDS.values():
        PPO().check(spec_of(env))


@pytest.mark.parametrize("which", range(len(PROBES)), ids=NAMES)
def test_probes(which):
    """ValueProbe and its like: the critic is right, and where actions matter so is the policy."""
    engine = started(LEARNER, OneProbe(float(which)))
    engine.advance(120, 120)
    probe, params = PROBES[which], engine.learner.params
    shown = ENDS[1:] if NAMES[which] in ("ValueProbe", "PolicyProbe") else ENDS
    np.testing.assert_allclose(params.values(shown), probe.value(shown, GAMMA), atol=0.05)
    if hasattr(probe, "best_action"):
        pi = params.policy(shown)
        assert isinstance(pi, Categorical)
        np.testing.assert_array_equal(pi.mode(), probe.best_action(shown))
        assert np.exp(pi.log_prob(probe.best_action(shown))).min() > 0.95


def test_masked_probe():
    env = MaskedProbe()
    engine = started(LEARNER, env)
    engine.advance(150, 150)
    params = engine.learner.params
    _, obs = jax.vmap(env.reset)(jax.random.split(KEY, 200))
    for left in (1.0, 0.5):
        obs = Masked(jnp.full((200, 1), left), obs.mask)
        agreed = np.asarray(params.policy(obs).mode() == env.best_action(obs))
        assert agreed.mean() > 0.99
    # The critic does not see the mask: its value is the mean over masks.
    values = params.values(Masked(jnp.array([[1.0], [0.5]]), jnp.ones((2, 4), jnp.bool_)))
    np.testing.assert_allclose(values, [env.mean_best * (1 + GAMMA), env.mean_best], atol=0.08)


def test_continuous_probe():
    env = ContinuousProbe()
    engine = started(dataclasses.replace(LEARNER, learning_rate=0.005), env)
    carry = engine.carry
    clock = loop.clock_of(carry.shared, jnp.int32(150), engine.plan)
    drawn = np.asarray(collect(engine.algorithm, engine.env, engine.plan, carry.seeds, clock)[1].action)
    assert (drawn.min(), drawn.max()) == (np.float32(-0.4), 2.0)
    engine.advance(150, 150)
    obs = jnp.ones((1, 1))
    action, _, _ = act(engine.algorithm, engine.learner, ((), ()), obs, KEY, clock_of(), explore=False)
    np.testing.assert_allclose(action, env.best_action(obs), atol=0.1)
