"""What the value-based learners beside DQN compute, by hand and by loops, and what they learn on probes."""

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.algos.value.bootstrapped_dqn import BootstrappedDQN
from fathom.algos.value.c51 import C51
from fathom.algos.value.common import taken
from fathom.algos.value.dqn import DQN
from fathom.algos.value.iqn import IQN
from fathom.algos.value.pqn import PQN
from fathom.algos.value.qr_dqn import QRDQN
from fathom.algos.value.rainbow import Rainbow
from fathom.algos.value.soft_q import SoftQ
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import Batch, EnvSpec, Masked
from fathom.nn.q_network import q_outputs
from fathom.ops import td

from .probes import ENDS, NAMES, OneProbe, clock_of, rollout_of, started

KEY = jax.random.key(0)
GAMMA = 0.9
ACTIONS = 3
SPEC = EnvSpec(Box(-1.0, 1.0, (2,)), Discrete(ACTIONS, start=4))
MASKED = EnvSpec(MaskedSpace(SPEC.obs_space, ACTIONS), SPEC.action_space)
SMALL: dict[str, Any] = {"hidden": (6,), "learning_starts": 1, "buffer_size": 64, "gamma": GAMMA}
SIZE = 7  # of batches; neither the number of atoms nor of quantiles nor of actions
KINDS = {
    "dqn": DQN(**SMALL, dueling=True, noisy=True),
    "c51": C51(**SMALL, atoms=5, v_min=-2.0, v_max=3.0),
    "qr_dqn": QRDQN(**SMALL, quantiles=4),
    "iqn": IQN(**SMALL, quantiles=4, target_quantiles=5, policy_quantiles=6, cosines=8),
    "rainbow": Rainbow(**SMALL, atoms=5, v_min=-2.0, v_max=3.0),
    "soft_q": SoftQ(**SMALL),
    "bootstrapped_dqn": BootstrappedDQN(**SMALL, members=4),
}

update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)


def batch_of(seed: int = 0, size: int = SIZE, masked: bool = False) -> Batch:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    obs, after = draw(size, 2), draw(size, 2)
    if masked:
        legal = lambda: jnp.asarray(rng.random((size, ACTIONS)) < 0.5).at[:, 1].set(True)  # noqa: E731
        obs, after = Masked(obs, legal()), Masked(after, legal())
    discount = jnp.full(size, GAMMA).at[0].set(0.0)
    weight = jnp.asarray(rng.uniform(0.5, 1.0, size), jnp.float32)
    action = jnp.asarray(4 + rng.integers(0, ACTIONS, size), jnp.int32)
    if masked:
        action = jnp.full(size, 5, jnp.int32)
    return Batch(obs, action, draw(size), discount, after, weight, jnp.arange(size))


def begun(name: str, spec: EnvSpec = SPEC, **fields: Any) -> tuple[Any, Any]:
    """An algorithm, and a state whose target network differs from the trained one."""
    algorithm = lift(dataclasses.replace(KINDS[name], **fields))
    state = algorithm.init(spec, KEY)
    other = algorithm.init(spec, jax.random.key(9))
    return algorithm, eqx.tree_at(lambda s: s.target, state, other.params)


def softmax(x: Any) -> np.ndarray:
    e = np.exp(np.asarray(x, float) - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_c51_aims_at_the_projected_distribution_of_the_best_action(double, masked):
    algorithm, state = begun("c51", MASKED if masked else SPEC, double=double)
    batch = batch_of(1, masked=masked)
    z = np.linspace(-2.0, 3.0, 5)
    logits = np.asarray(state.target(batch.next_obs)).reshape(SIZE, ACTIONS, 5)
    chooser = state.params if double else state.target
    q = softmax(np.asarray(chooser(batch.next_obs)).reshape(SIZE, ACTIONS, 5)) @ z
    if masked:
        q = np.where(batch.next_obs.mask, q, -np.inf)
    wanted = np.zeros((SIZE, 5))
    for i, best in enumerate(q.argmax(axis=1)):
        p = softmax(logits[i, best])
        for j in range(5):
            b = (np.clip(batch.reward[i] + batch.discount[i] * z[j], -2.0, 3.0) + 2.0) / 1.25
            for atom in range(5):
                wanted[i, atom] += p[j] * max(0.0, 1.0 - abs(b - atom))
    np.testing.assert_allclose(algorithm.td_target(state, batch, KEY), wanted, atol=1e-5)


def test_c51_loses_the_cross_entropy_and_tells_the_divergence_as_priority():
    algorithm, state = begun("c51")
    batch = batch_of(2)
    target = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(5), SIZE), jnp.float32)
    loss, (metrics, priority) = algorithm.loss(state.params, batch, target, SPEC.action_space, KEY)
    logits = np.asarray(state.params(batch.obs)).reshape(SIZE, ACTIONS, 5)
    logits = logits[np.arange(SIZE), np.asarray(batch.action) - 4]
    each = -(np.asarray(target) * np.log(softmax(logits))).sum(axis=1)
    entropy = -(np.asarray(target) * np.log(np.asarray(target))).sum(axis=1)
    np.testing.assert_allclose(priority, each - entropy, rtol=1e-3, atol=1e-5)
    assert float(loss) == pytest.approx(float((each * np.asarray(batch.weight)).mean()), rel=1e-5)
    q = softmax(logits) @ np.linspace(-2.0, 3.0, 5)
    assert float(metrics["q_value"].sum) == pytest.approx(q.sum(), rel=1e-4)


@pytest.mark.parametrize("double", [False, True])
def test_qr_dqn_aims_at_the_quantiles_of_the_best_action_and_sums_over_its_own(double):
    """Trap 11: batch, quantiles and actions are of three sizes; the mean is over targets, the sum over τ."""
    algorithm, state = begun("qr_dqn", double=double)
    batch = batch_of(3)
    following = np.asarray(state.target(batch.next_obs)).reshape(SIZE, ACTIONS, 4)
    chooser = state.params if double else state.target
    best = np.asarray(chooser(batch.next_obs)).reshape(SIZE, ACTIONS, 4).mean(axis=-1).argmax(axis=-1)
    y = (
        np.asarray(batch.reward)[:, None]
        + np.asarray(batch.discount)[:, None] * following[np.arange(SIZE), best]
    )
    target = algorithm.td_target(state, batch, KEY)
    np.testing.assert_allclose(target, y, rtol=1e-5, atol=1e-6)
    loss, (_, priority) = algorithm.loss(state.params, batch, target, SPEC.action_space, KEY)
    theta = np.asarray(state.params(batch.obs)).reshape(SIZE, ACTIONS, 4)
    theta = theta[np.arange(SIZE), np.asarray(batch.action) - 4]
    each = np.zeros(SIZE)
    for b in range(SIZE):
        for i in range(4):
            rho = 0.0
            for j in range(4):
                u = y[b, j] - theta[b, i]
                huber = 0.5 * u * u if abs(u) <= 1.0 else abs(u) - 0.5
                rho += abs((2 * i + 1) / 8 - (u < 0)) * huber
            each[b] += rho / 4
    assert float(loss) == pytest.approx(float((each * np.asarray(batch.weight)).mean()), rel=1e-4)
    np.testing.assert_allclose(priority, np.abs(y.mean(axis=1) - theta.mean(axis=1)), rtol=1e-4, atol=1e-6)


def test_iqn_learns_at_the_quantiles_it_draws():
    algorithm, state = begun("iqn")
    batch = batch_of(4)
    choice_key, tau_key = jax.random.split(KEY)
    drawn = jax.random.uniform(choice_key, (SIZE, 6))
    best = np.asarray(state.target(batch.next_obs, drawn)).mean(axis=1).argmax(axis=1)
    tau = jax.random.uniform(tau_key, (SIZE, 5))
    following = np.asarray(state.target(batch.next_obs, tau))[np.arange(SIZE), :, best]
    y = np.asarray(batch.reward)[:, None] + np.asarray(batch.discount)[:, None] * following
    target = algorithm.td_target(state, batch, KEY)
    np.testing.assert_allclose(target, y, rtol=1e-4, atol=1e-5)
    loss, _ = algorithm.loss(state.params, batch, target, SPEC.action_space, KEY)
    tau = np.asarray(jax.random.uniform(KEY, (SIZE, 4)))
    z = np.asarray(state.params(batch.obs, jnp.asarray(tau)))
    z = z[np.arange(SIZE), :, np.asarray(batch.action) - 4]
    each = np.zeros(SIZE)
    for b in range(SIZE):
        for i in range(4):
            u = y[b] - z[b, i]
            huber = np.where(np.abs(u) <= 1.0, 0.5 * u * u, np.abs(u) - 0.5)
            each[b] += (np.abs(tau[b, i] - (u < 0)) * huber).mean()
    assert float(loss) == pytest.approx(float((each * np.asarray(batch.weight)).mean()), rel=1e-4)


def test_iqn_is_evaluated_at_even_quantiles_and_may_fear_risk():
    algorithm, state = begun("iqn")
    obs = batch_of(5).obs
    even = jnp.broadcast_to(td.quantile_midpoints(6), (SIZE, 6))
    for risk in (1.0, 0.25):
        careful = eqx.tree_at(lambda a: a.risk, algorithm, jnp.float32(risk))
        wanted = state.params(obs, risk * even).mean(axis=1)
        np.testing.assert_allclose(careful.action_values(state, obs), wanted, rtol=1e-5)


def test_rainbow_is_c51_with_double_dueling_and_noise():
    algorithm, state = begun("rainbow")
    same = lift(C51(**SMALL, atoms=5, v_min=-2.0, v_max=3.0, double=True, dueling=True, noisy=True, n_step=3))
    batch = batch_of(6)
    target = algorithm.td_target(state, batch, KEY)
    np.testing.assert_array_equal(target, same.td_target(state, batch, KEY))
    for one, other in zip(
        jax.tree.leaves(algorithm.loss(state.params, batch, target, SPEC.action_space, KEY)),
        jax.tree.leaves(same.loss(state.params, batch, target, SPEC.action_space, KEY)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_rainbow_without_distributions_is_double_dqn():
    parts: dict[str, Any] = {"noisy": False, "dueling": False, "distributional": False}
    algorithm, state = begun("rainbow", **parts)
    same = lift(DQN(**SMALL, double=True))
    batch = batch_of(7)
    target = algorithm.td_target(state, batch, KEY)
    np.testing.assert_allclose(target[:, 0], same.td_target(state, batch), rtol=1e-6)
    loss, (_, priority) = algorithm.loss(state.params, batch, target, SPEC.action_space, KEY)
    wanted, (_, errors) = same.loss(state.params, batch, target[:, 0], SPEC.action_space)
    assert float(loss) == pytest.approx(float(wanted), rel=1e-6)
    np.testing.assert_allclose(priority, errors, rtol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_munchausen_by_hand(masked):
    """Vieillard et al. 2020, Eq. 2, in float64; τ log π is cut below at l_0 = −1."""
    spec = MASKED if masked else SPEC
    algorithm = lift(DQN(**SMALL, munchausen=0.9, munchausen_temperature=0.5))
    state = algorithm.init(spec, KEY)
    batch = batch_of(8, masked=masked)
    tau, wanted = 0.5, []
    for i in range(SIZE):
        row = jax.tree.map(lambda x, i=i: x[i], batch)
        q, next_q = (np.asarray(state.target(o), float) for o in (row.obs, row.next_obs))
        if masked:
            q, next_q = np.where(row.obs.mask, q, -np.inf), np.where(row.next_obs.mask, next_q, -np.inf)
        log_pi = np.log(softmax(q / tau)[int(row.action) - 4])
        pi = softmax(next_q / tau)
        legal = pi > 0
        value = (pi[legal] * (next_q[legal] - tau * np.log(pi[legal]))).sum()
        wanted.append(
            row.reward
            + 0.9 * min(max(tau * log_pi, -1.0), 0.0)
            + (row.discount * value if row.discount else 0)
        )
    np.testing.assert_allclose(algorithm.td_target(state, batch, KEY), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_soft_q_aims_at_the_soft_value_and_plays_boltzmann(masked):
    algorithm, state = begun("soft_q", MASKED if masked else SPEC, alpha=0.5)
    batch = batch_of(9, masked=masked)
    q = np.asarray(state.target(batch.next_obs), float)
    if masked:
        q = np.where(batch.next_obs.mask, q, -np.inf)
    value = 0.5 * np.log(np.exp(q / 0.5).sum(axis=1))
    wanted = np.asarray(batch.reward) + np.asarray(batch.discount) * value
    np.testing.assert_allclose(algorithm.td_target(state, batch, KEY), wanted, rtol=1e-4, atol=1e-5)

    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], (6000, *x.shape[1:])), batch.obs)
    action = np.asarray(act(algorithm, state, (), one, KEY, clock_of(), explore=True)[0]) - 4
    q = np.asarray(state.params(jax.tree.map(lambda x: x[0], batch.obs)), float)
    if masked:
        q = np.where(batch.obs.mask[0], q, -np.inf)
    np.testing.assert_allclose(np.bincount(action, minlength=3) / 6000, softmax(q / 0.5), atol=0.03)
    greedy = np.asarray(act(algorithm, state, (), one, KEY, clock_of(), explore=False)[0]) - 4
    assert set(greedy.tolist()) == {int(q.argmax())}


def test_each_member_of_the_ensemble_learns_from_its_own_target_and_keeps_its_prior():
    algorithm, state = begun("bootstrapped_dqn", prior_scale=2.0, mask_prob=0.5)
    batch = batch_of(10)
    lesson = algorithm.td_target(state, batch, KEY)
    f, p, _, r = (
        np.asarray(jax.vmap(lambda n, o=o: n(o))(net))
        for o in (batch.next_obs, batch.obs)
        for net in (state.target, state.prior)
    )
    y = np.asarray(batch.reward) + np.asarray(batch.discount) * (f + 2.0 * p).max(axis=-1)
    np.testing.assert_allclose(lesson.value, y, rtol=1e-4, atol=1e-5)
    assert set(np.unique(lesson.learns)) == {0.0, 1.0}
    again = algorithm.td_target(state, dataclasses.replace(batch, index=batch.index[::-1]), KEY)
    np.testing.assert_array_equal(again.learns, lesson.learns[:, ::-1])  # a place's mask stays

    online = np.asarray(jax.vmap(lambda n: n(batch.obs))(state.params)) + 2.0 * r
    q = online[:, np.arange(SIZE), np.asarray(batch.action) - 4]
    loss, _ = algorithm.loss(state.params, batch, lesson, SPEC.action_space, KEY)
    weight = np.asarray(lesson.learns) * np.asarray(batch.weight)
    assert float(loss) == pytest.approx(float((weight * 0.5 * (y - q) ** 2).mean(axis=1).sum()), rel=1e-4)
    after, _, _ = update(algorithm, state, batch, KEY, clock_of())
    for one, other in zip(jax.tree.leaves(after.prior), jax.tree.leaves(state.prior), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(after.params.head.weight, state.params.head.weight)


def test_one_member_plays_an_episode_to_its_end():
    algorithm, state = begun("bootstrapped_dqn")
    obs = jnp.broadcast_to(batch_of(11).obs[:1], (400, 2))
    nobody = algorithm.init_memory(state, 400)
    action, playing, _ = act(algorithm, state, nobody, obs, KEY, clock_of(), explore=True)
    counts = np.bincount(np.asarray(playing), minlength=4)
    assert counts.min() > 60
    q = np.asarray(algorithm.values(state.params, state.prior, obs[:1]))[:, 0]
    np.testing.assert_array_equal(np.asarray(action) - 4, q.argmax(axis=-1)[np.asarray(playing)])
    _, still, _ = act(algorithm, state, playing, obs, jax.random.key(5), clock_of(), explore=True)
    np.testing.assert_array_equal(still, playing)
    greedy, _, _ = act(algorithm, state, nobody, obs, KEY, clock_of(), explore=False)
    assert set((np.asarray(greedy) - 4).tolist()) == {int(q.mean(axis=0).argmax())}


def test_noisy_layers_explore_without_any_epsilon_and_are_still_in_evaluation():
    algorithm, state = begun("dqn", epsilon_start=0.0, epsilon_end=0.0)
    obs = jnp.zeros((500, 2))
    actions = [
        np.asarray(act(algorithm, state, (), obs, KEY, clock_of(), explore=explore)[0])
        for explore in (True, False)
    ]
    assert len(set(actions[0].tolist())) > 1
    assert len(set(actions[1].tolist())) == 1
    one, other = (q_outputs(state.params, obs[:2], key) for key in jax.random.split(KEY))
    assert not np.allclose(one, other)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_gradient_step_lowers_the_loss_it_is_of(name):
    algorithm, state = begun(name, learning_rate=1e-3)
    batch = batch_of(12)
    key = jax.random.split(KEY)
    target = algorithm.td_target(state, batch, key[0])
    loss = lambda params: float(  # noqa: E731
        algorithm.loss(params, batch, target, SPEC.action_space, key[1])[0]
    )
    after, metrics, priority = update(algorithm, state, batch, KEY, clock_of())
    assert loss(after.params) < loss(state.params)
    assert priority.shape == (SIZE,)
    assert np.all(np.asarray(priority) >= 0.0)
    assert {"loss", "q_value", "td_error", "grad_norm", "learning_rate"} <= set(metrics)
    before, now = (jax.tree.structure(s) for s in (state, after))
    assert before == now


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_terminal_state_without_a_legal_action_is_harmless(name):
    algorithm, state = begun(name, MASKED)
    batch = batch_of(13, masked=True)
    none = jnp.zeros_like(batch.next_obs.mask)
    batch = dataclasses.replace(batch, next_obs=Masked(batch.next_obs.obs, none), discount=jnp.zeros(SIZE))
    after, metrics, _ = update(algorithm, state, batch, KEY, clock_of())
    floats = [x for x in jax.tree.leaves((after.params, metrics)) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert all(np.isfinite(x).all() for x in floats)


def test_pqn_aims_at_lambda_returns_of_its_own_greedy_values():
    algorithm = lift(PQN(num_envs=3, num_steps=6, minibatches=2, hidden=(5,), gamma=0.8, td_lambda=0.7))
    spec = EnvSpec(Box(-np.inf, np.inf, (1,)), Discrete(2))
    state = algorithm.init(spec, KEY)
    rollout = rollout_of(6, 3)
    best = np.asarray(state.params(rollout.final_obs)).max(axis=-1)
    wanted = np.zeros((6, 3))
    for env in range(3):
        after = best[-1, env]
        for t in reversed(range(6)):
            v = best[t, env]
            cut = bool(rollout.truncated[t, env]) or t == 5
            follow = v if cut else 0.3 * v + 0.7 * after
            after = float(rollout.reward[t, env]) + (0.0 if rollout.terminated[t, env] else 0.8 * follow)
            wanted[t, env] = after
    np.testing.assert_allclose(algorithm.targets(state.params, rollout), wanted, rtol=1e-4, atol=1e-5)


LEARNERS: dict[str, Any] = {
    "num_envs": 4,
    "buffer_size": 512,
    "batch_size": 32,
    "learning_starts": 32,
    "train_every": 8,
    "gradient_steps": 8,
    "target_every": 16,
    "hidden": (8,),
    "learning_rate": 0.02,
    "gamma": GAMMA,
    "anneal_lr": True,
}
EXPLORING = LEARNERS | {"exploration_fraction": 1.0}
ON_PROBES = {
    "c51": C51(**EXPLORING, atoms=21, v_min=-2.0, v_max=2.0),
    "qr_dqn": QRDQN(**EXPLORING, quantiles=5),
    "iqn": IQN(**EXPLORING, quantiles=8, target_quantiles=8, cosines=8),
    "rainbow": Rainbow(**LEARNERS, atoms=21, v_min=-2.0, v_max=2.0, n_step=1),
    "prioritised dqn": DQN(**EXPLORING, prioritized=True, dueling=True),
    "soft_q": SoftQ(**LEARNERS, alpha=0.02),
    "bootstrapped_dqn": BootstrappedDQN(**LEARNERS, members=3, prior_scale=0.5),
    "pqn": PQN(
        num_envs=8, num_steps=8, epochs=4, minibatches=4, hidden=(8,), learning_rate=0.02, gamma=GAMMA,
        layer_norm=False, exploration_fraction=1.0,
    ),
}  # fmt: skip
# Q of both observations and both actions, of each probe in the order of PROBES.
OPTIMAL = {
    "ValueProbe": [[1.0, 1.0], [1.0, 1.0]],
    "ObsValueProbe": [[-1.0, -1.0], [1.0, 1.0]],
    "CreditProbe": [[GAMMA, GAMMA], [1.0, 1.0]],
    "PolicyProbe": None,
    "ObsPolicyProbe": None,
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "pqn" else pytest.mark.slow) for n in ON_PROBES]
)
def test_probes_are_learnt(name):
    """Values of the first three to 0.15; actions of the last two, which are worth 1 or −1."""
    algorithm = ON_PROBES[name]
    for which, probe in enumerate(NAMES):
        engine = started(algorithm, OneProbe(float(which)))
        engine.advance(150, 150)
        q = np.asarray(engine.algorithm.action_values(engine.learner, ENDS))
        if OPTIMAL[probe] is not None:
            where = [1] if probe == "ValueProbe" else [0, 1]  # the only observations there are
            np.testing.assert_allclose(q.max(axis=1)[where], np.max(OPTIMAL[probe], axis=1)[where], atol=0.15)
        elif probe == "PolicyProbe":
            assert abs(q[1].max() - 1.0) < 0.15, q
        else:
            np.testing.assert_allclose(q.max(axis=1), [1.0, 1.0], atol=0.15)
            assert q.argmax(axis=1)[0] != q.argmax(axis=1)[1]


WRONG = [
    (C51(atoms=1), ["atoms", "1", "at least 2"]),
    (C51(v_min=3.0, v_max=2.0), ["v_min", "3.0", "v_max", "2.0", "below"]),
    (Rainbow(noisy=False), ["noisy", "epsilon_start", "explore"]),
    (Rainbow(v_min=1.0, v_max=1.0), ["v_min", "1.0", "below"]),
    (QRDQN(quantiles=0), ["quantiles", "0", "above 0"]),
    (QRDQN(kappa=0.0), ["kappa", "above 0"]),
    (IQN(risk=0.0), ["risk", "0.0", "above 0"]),
    (IQN(risk=1.5), ["risk", "1.5", "between 0 and 1"]),
    (IQN(cosines=0), ["cosines", "above 0"]),
    (DQN(priority_exponent=1.5), ["priority_exponent", "1.5"]),
    (DQN(importance_start=-0.5), ["importance_start", "-0.5"]),
    (DQN(munchausen=0.9, n_step=3), ["munchausen", "n_step", "3"]),
    (DQN(munchausen=0.9, double=True), ["munchausen", "double"]),
    (DQN(munchausen=0.9, munchausen_floor=0.5), ["munchausen_floor", "0.5", "below 0"]),
    (SoftQ(alpha=0.0), ["alpha", "0.0", "above 0"]),
    (BootstrappedDQN(members=0), ["members", "above 0"]),
    (BootstrappedDQN(mask_prob=1.5), ["mask_prob", "1.5"]),
    (PQN(minibatches=10_000), ["minibatches", "10000", "4096"]),
    (PQN(td_lambda=2.0), ["td_lambda", "2.0"]),
    (C51(n_step=5, num_envs=300, learning_starts=1000), ["learning_starts", "1000", "1500"]),
]


@pytest.mark.parametrize(("algorithm", "told"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(algorithm, told):
    with pytest.raises(FathomError) as caught:
        algorithm.check(SPEC)
    for word in told:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", [*sorted(KINDS), "pqn"])
def test_other_action_spaces_are_refused_with_those_who_take_them(name):
    algorithm = PQN() if name == "pqn" else KINDS[name]
    with pytest.raises(FathomError, match="PPO takes"):
        algorithm.check(EnvSpec(SPEC.obs_space, Box(-1.0, 1.0, (2,))))


def test_what_belongs_to_the_action_taken():
    values = jnp.arange(SIZE * ACTIONS * 2, dtype=jnp.float32).reshape(SIZE, ACTIONS, 2)
    batch = batch_of(14)
    wanted = np.asarray(values)[np.arange(SIZE), np.asarray(batch.action) - 4]
    np.testing.assert_array_equal(taken(values, batch, SPEC.action_space), wanted)
    np.testing.assert_array_equal(taken(values[..., 0], batch, SPEC.action_space), wanted[:, 0])


@pytest.mark.slow
def test_deep_sea_is_for_ensembles_with_priors():
    """Osband et al. 2018: at N = 10, ε-greedy needs 2^10 episodes for a first treasure."""
    from fathom.envs.toy.deep_sea import DeepSea

    env = DeepSea(picture=True)
    found = {}
    for name, algorithm in {
        "ensemble": BootstrappedDQN(),
        "dqn": DQN(hidden=(50, 50), learning_starts=128, batch_size=128, train_every=1, target_every=4,
                   buffer_size=10_000),
    }.items():  # fmt: skip
        agent = Agent(algorithm, env, seeds=3)
        agent.learn(10 * 1000)
        found[name] = agent.evaluate(5).per_seed
    assert np.sum(found["ensemble"] > 0.9) == 3
    assert np.sum(found["dqn"] > 0.9) == 0
