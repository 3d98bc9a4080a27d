import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.actor_critic.common import ADAM
from fathom.algos.actor_critic.discrete_sac import DiscreteSAC
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete, MultiDiscrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import Batch, EnvSpec, Masked
from fathom.envs.probe.policy import MaskedProbe
from fathom.ops import optim

from .probes import ENDS, NAMES, PROBES, OneProbe, clock_of
from .replayed import KEY, act, assert_close, net, shaken, started, update

ACTIONS = 4
PLAIN = EnvSpec(Box(-1.0, 1.0, (3,)), Discrete(ACTIONS, start=5))
MASKED = EnvSpec(MaskedSpace(PLAIN.obs_space, ACTIONS), PLAIN.action_space)
SMALL = DiscreteSAC(hidden=(5,), learning_rate=0.01, tau=0.25, gamma=0.9, entropy_fraction=0.5)
LEARNER = DiscreteSAC(
    num_envs=4,
    buffer_size=512,
    batch_size=32,
    learning_starts=32,
    train_every=8,
    gradient_steps=8,
    hidden=(16,),
    learning_rate=0.02,
    tau=0.1,
    gamma=0.9,
    alpha=0.002,
    anneal_lr=True,
)


def state_of(algorithm=SMALL, spec=MASKED, seed=1):
    """A learner whose networks all differ."""
    state = lift(algorithm).init(spec, KEY)
    parts = lambda s: (s.params.actor, s.params.critics, s.target)  # noqa: E731
    return eqx.tree_at(parts, state, tuple(shaken(x, seed + i) for i, x in enumerate(parts(state))))


def batch_of(seed, size=6):
    """Random transitions of MASKED, one of them terminal."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    mask = rng.random((2, size, ACTIONS)) < 0.5
    action = rng.integers(0, ACTIONS, size)
    mask[0, np.arange(size), action] = True
    mask[1, :, 0] = True
    obs, next_obs = (Masked(draw(size, 3), jnp.asarray(m)) for m in mask)
    weight = jnp.asarray(rng.uniform(0.5, 1.0, size), jnp.float32)
    discount = jnp.full(size, 0.9).at[0].set(0.0)
    return Batch(obs, jnp.asarray(action + 5, jnp.int32), draw(size), discount, next_obs, weight)


def policy(actor, obs):
    """Probabilities of the actions and their logarithms, 0 for both where illegal."""
    odds = jnp.where(obs.mask, jnp.exp(net(actor, obs.obs)), 0.0)
    p = odds / odds.sum(axis=-1, keepdims=True)
    return p, jnp.where(obs.mask, jnp.log(jnp.where(obs.mask, p, 1.0)), 0.0)


def reference(state, batch, lr, tau):
    """One update of Algorithm 1, line by line, by plain networks."""
    params, opt = state.params, state.opt_state
    alpha = jnp.exp(params.log_alpha)
    p, log_p = policy(params.actor, batch.next_obs)
    q = jnp.minimum(*[net(c, batch.next_obs.obs) for c in state.target])
    y = batch.reward + batch.discount * (p * (q - alpha * log_p)).sum(axis=-1)

    def critic_loss(critics):
        q = [net(c, batch.obs.obs)[jnp.arange(len(y)), batch.action - 5] for c in critics]
        return sum(jnp.mean(batch.weight * 0.5 * (y - one) ** 2) for one in q)

    critics, critics_opt, _ = optim.descend(
        ADAM, params.critics, jax.grad(critic_loss)(params.critics), opt.critics, lr
    )

    def actor_loss(actor):
        p, log_p = policy(actor, batch.obs)
        q = jnp.minimum(*[net(c, batch.obs.obs) for c in critics])
        return (p * (alpha * log_p - q)).sum(axis=-1).mean(), (p * log_p).sum(axis=-1)

    grads, expected_log_p = jax.grad(actor_loss, has_aux=True)(params.actor)
    actor, actor_opt, _ = optim.descend(ADAM, params.actor, grads, opt.actor, lr)
    aim = 0.5 * jnp.log(batch.obs.mask.sum(axis=-1).astype(jnp.float32))
    grad = jax.grad(lambda x: -jnp.mean(jnp.exp(x) * (expected_log_p + aim)))(params.log_alpha)
    log_alpha, alpha_opt, _ = optim.descend(ADAM, params.log_alpha, grad, opt.log_alpha, lr)
    target = jax.tree.map(lambda t, c: (1 - tau) * t + tau * c, state.target, critics)
    return (actor, critics, log_alpha), target, (actor_opt, critics_opt, alpha_opt)


def test_two_updates_are_those_of_the_algorithm_written_out():
    state, algorithm = state_of(), lift(SMALL)
    for step in range(2):
        wanted = jax.jit(reference)(state, batch_of(step), 0.01, 0.25)
        state, metrics, priorities = update(algorithm, state, batch_of(step), KEY, clock_of())
        groups = (state.params, state.opt_state)
        weights, moments = ((g.actor, g.critics, g.log_alpha) for g in groups)
        assert_close((weights, state.target, moments), wanted)
    assert priorities.shape == (6,)
    assert set(metrics) == {
        "critic_loss", "q_value", "td_error", "actor_loss", "entropy", "alpha", "learning_rate"
    }  # fmt: skip


def test_the_value_of_a_state_by_hand():
    """Q̄ = [1, 5, 2, 3] and [2, 4, 9, 9], actions 0 and 1 legal and equally probable, α = 2."""
    state = state_of(dataclasses.replace(SMALL, alpha=2.0, hidden=()))
    flat = jax.tree.map(jnp.zeros_like, (state.params.actor, state.target))
    wanted_q = jnp.array([1.0, 5.0, 2.0, 3.0]), jnp.array([2.0, 4.0, 9.0, 9.0])
    state = eqx.tree_at(lambda s: (s.params.actor, s.target), state, flat)
    state = eqx.tree_at(lambda s: [c.head.bias for c in s.target], state, wanted_q)
    mask = jnp.array([[True, True, False, False]])
    batch = jax.tree.map(lambda x: x[1:2], batch_of(0))
    batch = eqx.tree_at(lambda b: b.next_obs.mask, batch, mask)
    wanted = float(batch.reward[0]) + 0.9 * ((1.0 + 4.0) / 2 + 2.0 * np.log(2.0))
    algorithm = dataclasses.replace(SMALL, alpha=2.0, hidden=())
    np.testing.assert_allclose(algorithm.td_target(state, batch, KEY), [wanted], rtol=1e-5)


def test_trap_14_one_legal_action_thousands_or_none_after_the_end():
    state, algorithm = state_of(), lift(SMALL)
    batch = batch_of(0)
    one = jax.nn.one_hot(batch.action - 5, ACTIONS, dtype=jnp.bool_)
    none = batch.next_obs.mask.at[0].set(False)  # the first transition is terminal
    batch = eqx.tree_at(lambda b: (b.obs.mask, b.next_obs.mask), batch, (one, none))
    for given in (batch, jax.tree.map(lambda x: x[:1], batch)):
        after, metrics, _ = update(algorithm, state, given, KEY, clock_of())
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))
    assert float(metrics["entropy"].sum) == 0.0
    many = EnvSpec(MaskedSpace(PLAIN.obs_space, 3000), Discrete(3000))
    mask = jnp.zeros((2, 3000), jnp.bool_).at[:, 7].set(True).at[1].set(True)
    obs = Masked(jnp.zeros((2, 3)), mask)
    wide = algorithm.init(many, KEY)
    for explore in (False, True):
        action, _, _ = act(algorithm, wide, (), obs, KEY, clock_of(), explore=explore)
        assert int(action[0]) == 7
    batch = Batch(obs, jnp.array([7, 7], jnp.int32), jnp.ones(2), jnp.ones(2), obs, jnp.ones(2))
    after, metrics, _ = update(algorithm, wide, batch, KEY, clock_of())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


def test_entropy_to_keep_is_a_part_of_that_of_uniform_legal_actions():
    mask = jnp.array([[True, False, False, False], [True, True, True, True]])
    aim = SMALL.aim(Masked(jnp.zeros((2, 3)), mask), PLAIN.action_space)
    np.testing.assert_allclose(aim, [0.0, 0.5 * np.log(4.0)], rtol=1e-6)
    assert float(SMALL.aim(jnp.zeros((2, 3)), PLAIN.action_space)) == pytest.approx(0.5 * np.log(4.0))


def test_actions_follow_the_policy_and_are_legal():
    algorithm, state = lift(SMALL), state_of()
    obs = Masked(jnp.zeros((6000, 3)), jnp.array([[True, False, True, True]] * 6000))
    p = np.asarray(policy(state.params.actor, obs)[0][0])
    taken, memory, extras = act(algorithm, state, (), obs, KEY, clock_of(), explore=True)
    assert (memory, extras, taken.dtype) == ((), {}, jnp.int32)
    np.testing.assert_allclose(np.bincount(np.asarray(taken) - 5, minlength=4) / 6000, p, atol=0.03)
    greedy, _, _ = act(algorithm, state, (), obs, KEY, clock_of(), explore=False)
    assert set(np.asarray(greedy).tolist()) == {5 + int(p.argmax())}
    values = algorithm.action_values(state, obs)
    each = [net(c, obs.obs) for c in state.params.critics]
    np.testing.assert_allclose(values, jnp.minimum(*each), rtol=1e-5)


@pytest.mark.parametrize("which", range(len(PROBES)), ids=NAMES)
def test_probes(which):
    """The value of each is right, and where actions matter the most probable one is the best."""
    engine = started(LEARNER, OneProbe(float(which)))
    engine.advance(200, 200)
    probe = PROBES[which]
    shown = ENDS[1:] if NAMES[which] in ("ValueProbe", "PolicyProbe") else ENDS
    q = engine.algorithm.action_values(engine.learner, shown)
    np.testing.assert_allclose(q.max(axis=-1), probe.value(shown, 0.9), atol=0.06)
    if hasattr(probe, "best_action"):
        action, _, _ = act(engine.algorithm, engine.learner, (), shown, KEY, clock_of(), explore=False)
        np.testing.assert_array_equal(action, probe.best_action(shown))


def test_masked_probe():
    engine = started(LEARNER, MaskedProbe())
    engine.advance(300, 300)
    replay = engine.carry.seeds.replay
    legal = jnp.take_along_axis(replay.obs.mask, replay.action[..., None], axis=-1)
    assert bool(legal.all())
    obs = Masked(
        jnp.array([[1.0], [0.5]]), jnp.array([[True, True, True, False], [True, False, False, False]])
    )
    action, _, _ = act(engine.algorithm, engine.learner, (), obs, KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(action, [2, 0])
    q = engine.algorithm.action_values(engine.learner, obs)
    np.testing.assert_allclose(q[0], np.arange(4) / 3 + 0.9 * MaskedProbe().mean_best, atol=0.1)


def test_wrong_settings_and_other_actions_are_refused():
    for fields, told in (
        ({"entropy_fraction": 1.5}, "entropy_fraction is 1.5"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_starts": 0}, "learning_starts is 0"),
    ):
        with pytest.raises(FathomError, match=told):
            DiscreteSAC(**fields).check(PLAIN)
    for space in (Box(-1.0, 1.0, (2,)), MultiDiscrete((2, 2))):
        with pytest.raises(FathomError, match=f"(?s){type(space).__name__}.*SAC, TQC, TD3 and DDPG.*PPO"):
            DiscreteSAC().check(EnvSpec(PLAIN.obs_space, space))
    with pytest.raises(FathomError, match=r"(?s)mask has 3 entries.*needs 4"):
        DiscreteSAC().check(EnvSpec(MaskedSpace(PLAIN.obs_space, 3), PLAIN.action_space))
