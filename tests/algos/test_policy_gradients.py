"""What holds for every policy-gradient method: probes are solved, masks obeyed, what cannot work refused."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.algos.policy.reinforce import Reinforce
from fathom.algos.policy.trpo import TRPO
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import EnvSpec, Masked
from fathom.envs.base import spec_of
from fathom.envs.probe.policy import ContinuousProbe, MaskedProbe
from fathom.ops.distributions import Categorical

from .probes import ENDS, KINDS, NAMES, PROBES, SMALL, OneProbe, clock_of, rollout_of, started

KEY = jax.random.key(0)
GAMMA = 0.9
LEARNERS = {
    "a2c": A2C(num_envs=8, num_steps=16, hidden=(8,), learning_rate=0.01, gamma=GAMMA, anneal_lr=True),
    "a3c": A3C(num_envs=8, num_steps=16, hidden=(8,), learning_rate=0.003, gamma=GAMMA, anneal_lr=True),
    "reinforce": Reinforce(
        num_envs=8,
        num_steps=16,
        value_minibatches=4,
        hidden=(8,),
        learning_rate=0.02,
        value_learning_rate=0.02,
        gamma=GAMMA,
        anneal_lr=True,
    ),
    "trpo": TRPO(
        num_envs=8,
        num_steps=16,
        value_epochs=5,
        value_minibatches=4,
        hidden=(8,),
        learning_rate=0.02,
        gamma=GAMMA,
        anneal_lr=True,
    ),
}
UPDATES = {"a2c": 400, "a3c": 400, "reinforce": 300, "trpo": 150}
CONTINUOUS = {"a2c": {"adam": True}, "a3c": {"adam": True}, "reinforce": {}, "trpo": {}}
PROBLEMS = {
    "a2c": A2C(num_envs=3, num_steps=5, hidden=(4,)),
    "a3c": A3C(num_workers=3, num_envs=3, num_steps=5, hidden=(4,)),
    "reinforce": Reinforce(num_envs=3, num_steps=5, value_minibatches=2, hidden=(4,)),
    "trpo": TRPO(num_envs=3, num_steps=5, value_minibatches=2, hidden=(4,)),
}
ONE_STEP = {
    "a2c": {},
    "a3c": {"num_workers": 1},
    "reinforce": {"value_minibatches": 1},
    "trpo": {"value_minibatches": 1},
}

every_one = pytest.mark.parametrize("name", sorted(LEARNERS))
# The same for what takes a program of its own for each, two in the quick set: one with a step by gradient
# and one with a line search.
few = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in ("a2c", "trpo") else pytest.mark.slow) for n in sorted(LEARNERS)],
)
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)
update = jax.jit(lambda algorithm, *args: algorithm.update(*args))


def normalised(name):
    return dataclasses.replace(PROBLEMS[name], normalize_obs=True, normalize_reward=True)


def finite(tree):
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(np.isfinite(x).all() for x in floats)


@few
@pytest.mark.parametrize("which", range(len(PROBES)), ids=NAMES)
def test_probes(name, which):
    """The critic is right, and where actions matter so is the policy."""
    engine = started(LEARNERS[name], OneProbe(float(which)))
    engine.advance(UPDATES[name], UPDATES[name])
    probe, params = PROBES[which], engine.learner.params
    shown = ENDS[1:] if NAMES[which] in ("ValueProbe", "PolicyProbe") else ENDS
    np.testing.assert_allclose(params.values(shown), probe.value(shown, GAMMA), atol=0.05)
    if hasattr(probe, "best_action"):
        pi = params.policy(shown)
        assert isinstance(pi, Categorical)
        np.testing.assert_array_equal(pi.mode(), probe.best_action(shown))
        assert np.exp(pi.log_prob(probe.best_action(shown))).min() > 0.95


@few
def test_masked_probe(name):
    env = MaskedProbe()
    engine = started(LEARNERS[name], env)
    engine.advance(UPDATES[name], UPDATES[name])
    _, obs = jax.vmap(env.reset)(jax.random.split(KEY, 200))
    for left in (1.0, 0.5):
        obs = Masked(jnp.full((200, 1), left), obs.mask)
        agreed = np.asarray(engine.learner.params.policy(obs).mode() == env.best_action(obs))
        assert agreed.mean() > 0.99


@few
def test_continuous_probe(name):
    env = ContinuousProbe()
    engine = started(dataclasses.replace(LEARNERS[name], **CONTINUOUS[name]), env)
    engine.advance(UPDATES[name], UPDATES[name])
    obs = jnp.ones((1, 1))
    memory = engine.algorithm.init_memory(engine.learner, 1)
    action, _, _ = act(engine.algorithm, engine.learner, memory, obs, KEY, clock_of(), explore=False)
    np.testing.assert_allclose(action, env.best_action(obs), atol=0.1)


@every_one
@pytest.mark.parametrize("kind", ["masked", pytest.param("masked multi discrete", marks=pytest.mark.slow)])
@pytest.mark.parametrize("explore", [True, False])
def test_illegal_actions_are_never_taken(name, kind, explore):
    env = KINDS[kind]
    algorithm = lift(PROBLEMS[name])
    state = algorithm.init(spec_of(env), KEY)
    # Large weights prefer, as far as they may, what the mask forbids.
    heads = lambda s: [  # noqa: E731
        x
        for p, x in jax.tree_util.tree_leaves_with_path(s)
        if ".head.layer.weight" in jax.tree_util.keystr(p)
    ]
    state = eqx.tree_at(heads, state, replace_fn=lambda w: w * 1e4)
    _, obs = jax.vmap(env.reset)(jax.random.split(KEY, 3000))
    memory = algorithm.init_memory(state, 3000)
    action, _, _ = act(algorithm, state, memory, obs, KEY, clock_of(), explore=explore)
    mask, action = np.asarray(obs.mask), np.asarray(action).reshape(3000, -1)
    for component, offset in enumerate([0] if kind == "masked" else [0, 2]):
        assert mask[np.arange(3000), offset + action[:, component]].all()
    assert (~mask).mean() > 0.2


@few
@pytest.mark.parametrize("kind", ["masked", pytest.param("box", marks=pytest.mark.slow)])
def test_all_stays_finite_with_masks_and_normalisers(name, kind):
    engine = started(normalised(name), KINDS[kind])
    metrics = engine.advance(3, 10)
    assert all(np.isfinite(m.sum).all() for m in metrics.values())
    assert finite(engine.learner)


@every_one
def test_a_rollout_of_one_step_gives_no_nan(name):
    algorithm = lift(dataclasses.replace(PROBLEMS[name], num_envs=1, num_steps=1, **ONE_STEP[name]))
    state = algorithm.init(SMALL, KEY)
    after, metrics = update(algorithm, state, rollout_of(1, 1), KEY, clock_of())
    assert finite((after, metrics))


@every_one
def test_an_update_keeps_the_form_of_the_state(name):
    algorithm = lift(normalised(name))
    state = algorithm.init(SMALL, KEY)
    after, _ = update(algorithm, state, rollout_of(5, 3), KEY, clock_of())
    form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert form(after) == form(state)
    assert float(after.normaliser.obs_stats.count) == float(after.normaliser.return_stats.count) == 15


@every_one
def test_annealing_follows_the_clock(name):
    algorithm = lift(dataclasses.replace(PROBLEMS[name], anneal_lr=True))
    state = algorithm.init(SMALL, KEY)
    rates = [
        float(update(algorithm, state, rollout_of(5, 3), KEY, clock_of(u, 10))[1]["learning_rate"].sum)
        for u in (0, 5, 10)
    ]
    rate = PROBLEMS[name].learning_rate
    assert rates == pytest.approx([rate, rate / 2, 0.0])


CART = EnvSpec(Box(-np.inf, np.inf, (4,)), Discrete(2))
WRONG = [
    ({"learning_rate": 0.0}, ["learning_rate", "0.0", "above 0"]),
    ({"norm_clip": 0.0}, ["norm_clip", "above 0"]),
    ({"num_envs": 0}, ["num_envs", "0", "above 0"]),
    ({"num_steps": -1}, ["num_steps", "-1", "above 0"]),
    ({"hidden": (64, 0)}, ["hidden", "(64, 0)"]),
    ({"gamma": 1.01}, ["gamma", "1.01", "between 0 and 1"]),
    ({"gae_lambda": -0.5}, ["gae_lambda", "-0.5", "between 0 and 1"]),
    ({"entropy_coef": -0.01}, ["entropy_coef", "-0.01", "negative"]),
    ({"value_coef": -1.0}, ["value_coef", "-1.0", "negative"]),
    ({"max_grad_norm": 0.0}, ["max_grad_norm", "above 0"]),
    ({"eps": 0.0}, ["eps", "above 0"]),
    ({"rms_decay": 1.5}, ["rms_decay", "between 0 and 1"]),
    ({"value_learning_rate": 0.0}, ["value_learning_rate", "above 0"]),
    ({"value_epochs": 0}, ["value_epochs", "above 0"]),
    ({"value_minibatches": 33, "num_envs": 4, "num_steps": 8}, ["value_minibatches", "33", "32", "lower"]),
    ({"num_workers": 3, "num_envs": 8}, ["num_envs is 8", "3 workers", "multiple"]),
    ({"num_workers": 0}, ["num_workers", "above 0"]),
    ({"lag": 1.0}, ["lag", "1.0", "below 1"]),
    ({"max_kl": 0.0}, ["max_kl", "above 0"]),
    ({"damping": -0.1}, ["damping", "-0.1", "negative"]),
    ({"cg_iterations": 0}, ["cg_iterations", "above 0"]),
    ({"line_steps": 0}, ["line_steps", "above 0"]),
    ({"line_shrink": 1.5}, ["line_shrink", "1.5", "between 0 and 1"]),
    (
        {"num_envs": 1, "num_steps": 1, "rms_decay": 0.9, "normalize_advantage": True},
        ["one step", "num_steps"],
    ),
    ({"num_envs": 4, "num_steps": 1, "normalize_advantage": True, "lag": 0.0}, ["two steps", "num_steps"]),
]


@every_one
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(name):
    kind = type(LEARNERS[name])
    names = {f.name for f in dataclasses.fields(kind)}
    for fields, told in WRONG:
        if not names.issuperset(fields):
            continue
        with pytest.raises(FathomError) as error:
            kind(**fields).check(CART)
        assert all(part in str(error.value) for part in told), error.value


@every_one
def test_spaces_that_do_not_fit_are_refused(name):
    kind, box = type(LEARNERS[name]), CART.obs_space
    wrong = {
        r"(?s)mask has 2 entries.*needs 5": EnvSpec(MaskedSpace(box, 2), MultiDiscrete((2, 3))),
        r"(?s)masks go with.*MultiBinary": EnvSpec(MaskedSpace(box, 2), MultiBinary(2)),
        rf"(?s){kind.__name__}.*integers.*MultiDiscrete": EnvSpec(box, Box(0, 9, (2,), np.int32)),
    }
    for told, spec in wrong.items():
        with pytest.raises(FathomError, match=told):
            kind().check(spec)
    with pytest.raises(FathomError, match=r"(?s)normalize_obs.*turn it off"):
        kind(normalize_obs=True).check(EnvSpec(Discrete(3), Discrete(2)))
    for env in KINDS.values():
        kind(normalize_obs=True).check(spec_of(env))
