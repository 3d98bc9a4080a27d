import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.value.dqn import DQN
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Discrete, MultiDiscrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import Batch, EnvSpec, Masked
from fathom.envs.probe.policy import MaskedProbe
from fathom.train.engine import NativeEngine

from .probes import ENDS, NAMES, PROBES, OneProbe, clock_of, rollout_of

KEY = jax.random.key(0)
GAMMA = 0.9
CELLS, ACTIONS = 3, 4
TABLE = EnvSpec(Box(0.0, 1.0, (CELLS,)), Discrete(ACTIONS))
MASKED = EnvSpec(MaskedSpace(TABLE.obs_space, ACTIONS), TABLE.action_space)
TABULAR = DQN(hidden=(), gamma=GAMMA, learning_starts=1, buffer_size=64)
LEARNER = DQN(
    num_envs=4,
    buffer_size=512,
    batch_size=32,
    learning_starts=32,
    train_every=8,
    gradient_steps=8,
    target_every=16,
    hidden=(8,),
    learning_rate=0.02,
    gamma=GAMMA,
    anneal_lr=True,
    exploration_fraction=1.0,
)

update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)


def with_table(params, table):
    """A network whose Q(s, ·) for the one-hot observation s is a row of the table."""
    head = [jnp.asarray(table, jnp.float32), jnp.zeros(np.shape(table)[-1])]
    return eqx.tree_at(lambda p: [p.head.weight, p.head.bias], params, head)


def state_of(algorithm, online, target, spec=TABLE):
    state = lift(algorithm).init(spec, KEY)
    tables = {"params": with_table(state.params, online), "target": with_table(state.target, target)}
    return dataclasses.replace(state, **tables)


def one_hot(*cells):
    return jnp.eye(CELLS)[jnp.array(cells)]


def batch_of(obs, action, reward, discount, next_obs):
    floats = [jnp.asarray(x, jnp.float32) for x in (reward, discount)]
    return Batch(obs, jnp.asarray(action, jnp.int32), *floats, next_obs, jnp.ones(len(action)))


def started(algorithm, env, seed=0):
    engine = NativeEngine(algorithm, env, seed=seed)
    engine.start()
    return engine


ONLINE = [[2.0, 3.0, 1.5, 1.0], [1.0, 0.0, 5.0, 2.0], [0.0, 1.0, 2.0, 3.0]]
TARGET = [[0.0, 0.0, 0.0, 0.0], [6.0, 7.0, 4.0, 3.0], [-1.0, -2.0, -3.0, -4.0]]
RIGHT = 1


def test_the_target_of_a_step_on_the_grid_by_hand():
    """Worked example 2: from (1,1) to (1,2), reward −1, γ = 0.9, α = 0.1: target 3.5, error 0.5, new 3.05."""
    state = state_of(TABULAR, ONLINE, ONLINE)
    batch = batch_of(one_hot(0), [RIGHT], [-1.0], [GAMMA], one_hot(1))
    target = TABULAR.td_target(state, batch)
    np.testing.assert_allclose(target, [3.5], rtol=1e-6)
    algorithm = dataclasses.replace(TABULAR, huber=False)
    loss, (metrics, priorities) = algorithm.loss(state.params, batch, target, TABLE.action_space)
    np.testing.assert_allclose(priorities, [0.5], rtol=1e-6)
    assert float(loss) == pytest.approx(0.125)
    assert float(metrics["q_value"].sum) == 3.0
    slope = jax.grad(lambda p: algorithm.loss(p, batch, target, TABLE.action_space)[0])(
        state.params
    ).head.weight
    np.testing.assert_allclose(state.params.head.weight[0, RIGHT] - 0.1 * slope[0, RIGHT], 3.05, rtol=1e-6)
    assert np.count_nonzero(slope) == 1


def test_targets_by_hand():
    """The maximum is of θ⁻; for Double DQN it is where θ has its own. Discount 0 leaves the reward alone."""
    state = state_of(TABULAR, ONLINE, TARGET)
    batch = batch_of(one_hot(0, 0, 0), [0, 1, 2], [1.0, 2.0, 3.0], [0.9, 0.81, 0.0], one_hot(1, 2, 1))
    np.testing.assert_allclose(TABULAR.td_target(state, batch), [1 + 0.9 * 7, 2 - 0.81 * 1, 3.0], rtol=1e-6)
    double = dataclasses.replace(TABULAR, double=True)
    np.testing.assert_allclose(double.td_target(state, batch), [1 + 0.9 * 4, 2 - 0.81 * 4, 3.0], rtol=1e-6)


@pytest.mark.parametrize("double", [False, True])
def test_the_maximum_in_the_target_is_over_legal_actions(double):
    algorithm = dataclasses.replace(TABULAR, double=double)
    state = state_of(algorithm, ONLINE, TARGET, MASKED)
    mask = jnp.array([[True, False, False, True], [False, False, True, True]])
    batch = batch_of(one_hot(0, 0), [0, 0], [0.0, 0.0], [1.0, 1.0], Masked(one_hot(1, 2), mask))
    expected = [3.0, -4.0] if double else [6.0, -3.0]
    np.testing.assert_allclose(algorithm.td_target(state, batch), expected, rtol=1e-6)


def test_a_terminal_state_without_a_legal_action_is_harmless():
    state = state_of(TABULAR, ONLINE, TARGET, MASKED)
    none = jnp.zeros((1, ACTIONS), jnp.bool_)
    all_legal = jnp.ones((1, ACTIONS), jnp.bool_)
    batch = batch_of(Masked(one_hot(0), all_legal), [0], [1.0], [0.0], Masked(one_hot(1), none))
    after, metrics, _ = update(lift(TABULAR), state, batch, KEY, clock_of())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after, metrics)))


def test_huber_and_square_by_hand():
    state = state_of(TABULAR, ONLINE, TARGET)
    batch = batch_of(one_hot(0, 0), [0, 1], [0.0, 0.0], [0.0, 0.0], one_hot(1, 1))
    target = jnp.array([2.5, 7.0])  # errors 0.5 and 4
    losses = {}
    for name, fields in {"square": {"huber": False}, "one": {}, "two": {"huber_delta": 2.0}}.items():
        algorithm = dataclasses.replace(TABULAR, **fields)
        losses[name] = float(algorithm.loss(state.params, batch, target, TABLE.action_space)[0])
    assert losses == pytest.approx(
        {"square": (0.125 + 8.0) / 2, "one": (0.125 + 3.5) / 2, "two": (0.125 + 2 * (4 - 1)) / 2}
    )


def test_weights_of_a_batch_weigh_the_loss_and_not_the_priorities():
    state = state_of(TABULAR, ONLINE, TARGET)
    batch = batch_of(one_hot(0, 0), [0, 1], [0.0, 0.0], [0.0, 0.0], one_hot(1, 1))
    batch = eqx.tree_at(lambda b: b.weight, batch, jnp.array([0.0, 2.0]))
    loss, (_, priorities) = TABULAR.loss(state.params, batch, jnp.array([2.5, 3.5]), TABLE.action_space)
    assert float(loss) == pytest.approx(0.125)
    np.testing.assert_allclose(priorities, [0.5, 0.5])


def trained_by(algorithm, steps):
    """Parameters and targets after each of some gradient steps, the first of all in front."""
    algorithm = lift(algorithm)
    state = algorithm.init(TABLE, KEY)
    batch = batch_of(one_hot(0, 1), [0, 1], [1.0, -1.0], [0.9, 0.9], one_hot(1, 2))
    states = [state]
    for i in range(steps):
        states.append(update(algorithm, states[-1], batch, KEY, clock_of(gradient_step=i))[0])
    return [(np.asarray(s.params.head.weight), np.asarray(s.target.head.weight)) for s in states]


def test_the_target_is_copied_at_exactly_every_c_gradient_steps():
    states = trained_by(dataclasses.replace(TABULAR, target_every=3), 8)
    np.testing.assert_array_equal(*states[0])
    for step, (params, target) in enumerate(states):
        np.testing.assert_array_equal(target, states[step - step % 3][0])
        assert np.array_equal(params, target) == (step % 3 == 0)


def test_the_target_trails_by_polyak_averaging():
    states = trained_by(dataclasses.replace(TABULAR, target_every=2, tau=0.25), 6)
    trail = states[0][1]
    for step, (params, target) in enumerate(states):
        if step and step % 2 == 0:
            trail = 0.25 * params + 0.75 * trail
        np.testing.assert_allclose(target, trail, rtol=1e-5, atol=1e-7)


def test_copies_follow_the_count_of_gradient_steps_over_the_whole_run():
    """Three gradient steps an update, a copy every four: the count goes on from update to update."""
    algorithm = dataclasses.replace(LEARNER, gradient_steps=3, target_every=4, batch_size=4)
    engine = started(algorithm, OneProbe(1.0))
    seen = []
    for _ in range(20):
        engine.advance(1, 20)
        params, target = engine.learner.params.head.weight, engine.learner.target.head.weight
        seen.append((int(engine.carry.shared.gradient_step), np.array_equal(params, target)))
    # The first 32 transitions, four updates of eight, fill the replay; the last of them already learns.
    assert [count for count, _ in seen] == [0, 0, 0, *range(3, 54, 3)]
    assert [equal for _, equal in seen] == [count % 4 == 0 for count, _ in seen]


def test_the_target_is_copied_once_in_so_many_episodes():
    """1, 1, 0 and 2 episodes end before the first four gradient steps: the fourth moves θ⁻."""
    algorithm = lift(dataclasses.replace(TABULAR, target_episodes=3, target_every=1))
    state = state_of(algorithm, ONLINE, np.zeros((CELLS, ACTIONS)))
    batch = batch_of(one_hot(0, 1), [0, 1], [1.0, 2.0], [0.9, 0.9], one_hot(1, 2))
    moved, ended = [], []
    for step, ends in enumerate((1, 1, 0, 2, 0, 1, 0, 4)):
        flags = jnp.arange(8).reshape(4, 2) < ends
        rollout = rollout_of(4, 2)
        rollout = dataclasses.replace(rollout, terminated=flags, truncated=flags & (jnp.arange(2)[None] == 1))
        before = state.target.head.weight
        state = algorithm.observe(state, rollout)
        state, _, _ = update(algorithm, state, batch, KEY, clock_of(gradient_step=step))
        moved.append(not np.array_equal(before, state.target.head.weight))
        ended.append(int(state.episodes.ended))
    assert moved == [False, False, False, True, False, False, False, True]
    assert ended == [1, 2, 2, 0, 0, 1, 1, 0]


def test_episodes_are_not_counted_where_nothing_hangs_on_them():
    state = lift(TABULAR).init(TABLE, KEY)
    assert state.episodes is None
    assert lift(TABULAR).observe(state, rollout_of(4, 2)) is state


def test_the_paper_s_rmsprop_makes_the_first_step_of_its_formula():
    """One entry has a gradient d: g = 0.05 d, n = 0.05 d², the step is α d / √(n − g² + 0.01)."""
    algorithm = lift(dataclasses.replace(TABULAR, learning_rate=0.01, rmsprop=True, huber=False))
    state = state_of(algorithm, np.zeros((CELLS, ACTIONS)), np.zeros((CELLS, ACTIONS)))
    batch = batch_of(one_hot(0), [0], [2.0], [0.0], one_hot(1))
    after, _, _ = update(algorithm, state, batch, KEY, clock_of())
    step = 0.01 * 2.0 / np.sqrt(0.05 * 4.0 - 0.1**2 + 0.01)
    assert float(after.params.head.weight[0, 0]) == pytest.approx(step, rel=1e-5)


def test_epsilon_is_a_function_of_the_clock_alone():
    algorithm = lift(DQN(epsilon_start=0.8, epsilon_end=0.1, exploration_fraction=0.5))
    for update_, expected in {0: 0.8, 10: 0.66, 25: 0.45, 50: 0.1, 99: 0.1, 200: 0.1}.items():
        clocks = [clock_of(update_, 100, gradient_step=g) for g in (0, 12345)]
        assert {float(algorithm.epsilon(c)) for c in clocks} == {float(algorithm.epsilon(clocks[0]))}
        assert float(algorithm.epsilon(clocks[0])) == pytest.approx(expected, rel=1e-5)
        assert float(algorithm.epsilon(clock_of(update_ * 7, 700))) == pytest.approx(expected, rel=1e-5)


def test_exploring_follows_epsilon_and_evaluating_is_greedy():
    algorithm = lift(
        dataclasses.replace(TABULAR, epsilon_start=0.4, epsilon_end=0.0, exploration_fraction=1.0)
    )
    state = state_of(algorithm, ONLINE, TARGET)
    obs = one_hot(*[1] * 8000)
    for update_, epsilon in ((0, 0.4), (50, 0.2), (100, 0.0)):
        action, memory, extras = act(algorithm, state, (), obs, KEY, clock_of(update_, 100), explore=True)
        assert (memory, extras, action.dtype) == ((), {}, jnp.int32)
        # Random actions are greedy ones too, by chance.
        assert np.mean(np.asarray(action) == 2) == pytest.approx(1 - epsilon * 3 / 4, abs=0.02)
    greedy, _, _ = act(algorithm, state, (), obs, KEY, clock_of(0, 100), explore=False)
    assert set(np.asarray(greedy).tolist()) == {2}


def test_exploring_actions_are_kept_with_ez_mu_and_only_while_exploring():
    algorithm = lift(dataclasses.replace(TABULAR, ez_mu=2.0, epsilon_end=0.0, exploration_fraction=1.0))
    state = state_of(algorithm, ONLINE, TARGET)
    obs = one_hot(*[1] * 8000)
    nothing = algorithm.init_memory(state, 8000)
    first, memory, _ = act(algorithm, state, nothing, obs, KEY, clock_of(0, 100), explore=True)
    kept = np.asarray(memory.left) > 0
    # P(n > 1) = 1 − 1/Σ_{i≤1000} i^−2 = 0.392.
    assert np.mean(kept) == pytest.approx(0.392, abs=0.02)
    second, _, _ = act(algorithm, state, memory, obs, KEY, clock_of(100, 100), explore=True)  # ε is 0
    np.testing.assert_array_equal(second, np.where(kept, first, 2))
    greedy, same, _ = act(algorithm, state, memory, obs, KEY, clock_of(0, 100), explore=False)
    assert set(np.asarray(greedy).tolist()) == {2}
    assert same is memory or jax.tree.all(jax.tree.map(jnp.array_equal, same, memory))


def test_an_action_kept_ends_with_its_episode():
    """With ε falling to 0 after one update, what was begun in it goes on, but not into the next episode."""
    algorithm = dataclasses.replace(LEARNER, ez_mu=0.5, exploration_fraction=0.0, epsilon_end=1.0)
    engine = started(algorithm, OneProbe(0.0))
    engine.advance(5, 40)
    assert not np.asarray(engine.carry.seeds.memory.left).any()


@pytest.mark.parametrize("explore", [True, False])
def test_illegal_actions_are_never_taken(explore):
    state = state_of(TABULAR, ONLINE, TARGET, MASKED)
    mask = jax.random.bernoulli(KEY, 0.4, (6000, ACTIONS)).at[:, 0].set(True)
    obs = Masked(one_hot(*[1] * 6000), mask)
    action = np.asarray(act(lift(TABULAR), state, (), obs, KEY, clock_of(), explore=explore)[0])
    assert np.asarray(mask)[np.arange(6000), action].all()
    if explore:  # ε is 1: where all are legal, all are taken
        free = np.asarray(mask).all(axis=1)
        assert set(action[free].tolist()) == set(range(ACTIONS))


def test_ties_go_to_random_actions_or_to_the_first():
    obs = one_hot(*[0] * 1000)
    for ties, expected in (("random", {0, 1, 2, 3}), ("first", {0})):
        algorithm = dataclasses.replace(TABULAR, ties=ties)
        state = state_of(algorithm, TARGET, TARGET)
        action, _, _ = act(lift(algorithm), state, (), obs, KEY, clock_of(), explore=False)
        assert set(np.asarray(action).tolist()) == expected


def test_actions_that_do_not_begin_at_zero():
    spec = EnvSpec(TABLE.obs_space, Discrete(ACTIONS, start=5))
    state = state_of(TABULAR, ONLINE, TARGET, spec)
    action, _, _ = act(lift(TABULAR), state, (), one_hot(0, 1, 2), KEY, clock_of(), explore=False)
    np.testing.assert_array_equal(action, [6, 7, 8])
    batch = batch_of(one_hot(0, 1, 2), action, [0.0] * 3, [0.0] * 3, one_hot(0, 0, 0))
    _, (metrics, _) = TABULAR.loss(state.params, batch, jnp.zeros(3), state.action_space)
    assert float(metrics["q_value"].sum / metrics["q_value"].count) == pytest.approx((3 + 5 + 3) / 3)


def test_scaled_observations_reach_the_network_as_numbers_from_minus_one_to_one():
    spec = EnvSpec(Box(np.array([-1.2, -0.07, 0.0]), np.array([0.6, 0.07, 10.0])), TABLE.action_space)
    state = state_of(dataclasses.replace(TABULAR, scale_obs=True), ONLINE, TARGET, spec)
    # At the middle of every bound it is 0; half way up in the second, 0.5 of the table's second row.
    obs = jnp.array([[-0.3, 0.0, 5.0], [-0.3, 0.035, 5.0]])
    np.testing.assert_allclose(state.params(obs), [[0.0] * 4, [0.5, 0.0, 2.5, 1.0]], atol=1e-5)
    np.testing.assert_allclose(state.target(obs)[1], [3.0, 3.5, 2.0, 1.5], atol=1e-5)


def test_init_and_update_keep_their_shapes():
    algorithm = lift(TABULAR)
    state = algorithm.init(TABLE, KEY)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(state.target), strict=True):
        np.testing.assert_array_equal(a, b)
    assert algorithm.init_memory(state, 3) == ()
    assert state.params(one_hot(0, 1)).shape == (2, ACTIONS)
    batch = batch_of(one_hot(0, 1), [0, 1], [1.0, -1.0], [0.9, 0.9], one_hot(1, 2))
    after, metrics, priorities = update(algorithm, state, batch, KEY, clock_of())
    form = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    assert form(after) == form(state)
    assert priorities.shape == (2,)
    assert set(metrics) == {"loss", "q_value", "td_error", "grad_norm", "epsilon", "learning_rate"}


def test_the_first_step_is_of_the_size_of_the_learning_rate():
    algorithm = lift(dataclasses.replace(TABULAR, learning_rate=0.01, anneal_lr=True))
    state = algorithm.init(TABLE, KEY)
    batch = batch_of(one_hot(0), [0], [5.0], [0.0], one_hot(1))
    for update_, step in ((0, 0.01), (50, 0.005), (100, 0.0)):
        after, _, _ = update(algorithm, state, batch, KEY, clock_of(update_, 100))
        moved = np.asarray(after.params.head.weight - state.params.head.weight)
        assert moved[0, 0] == pytest.approx(step, rel=1e-3, abs=1e-8)
        assert np.count_nonzero(moved) <= 1


WRONG = [
    ({"learning_rate": 0.0}, ["learning_rate", "0.0", "above 0"]),
    ({"huber_delta": -1.0}, ["huber_delta", "-1.0", "above 0"]),
    ({"max_grad_norm": 0.0}, ["max_grad_norm", "above 0"]),
    ({"num_envs": 0}, ["num_envs", "above 0"]),
    ({"buffer_size": 0}, ["buffer_size", "above 0"]),
    ({"batch_size": 0}, ["batch_size", "above 0"]),
    ({"train_every": 0}, ["train_every", "above 0"]),
    ({"gradient_steps": 0}, ["gradient_steps", "above 0"]),
    ({"target_every": 0}, ["target_every", "above 0"]),
    ({"target_episodes": 0}, ["target_episodes", "above 0"]),
    ({"n_step": 0}, ["n_step", "above 0"]),
    ({"hidden": (0,)}, ["hidden", "(0,)"]),
    ({"gamma": -0.1}, ["gamma", "-0.1", "between 0 and 1"]),
    ({"tau": 1.5}, ["tau", "1.5", "between 0 and 1"]),
    ({"tau": 0.0}, ["tau", "0.0", "above 0"]),
    ({"epsilon_start": 2.0}, ["epsilon_start", "2.0", "between 0 and 1"]),
    ({"epsilon_end": -1.0}, ["epsilon_end", "-1.0", "between 0 and 1"]),
    ({"ez_mu": 0.0}, ["ez_mu", "0.0", "above 0"]),
    ({"exploration_fraction": 1.1}, ["exploration_fraction", "1.1", "between 0 and 1"]),
    ({"learning_starts": 5, "n_step": 3, "num_envs": 2}, ["learning_starts", "5", "6", "at least"]),
    ({"buffer_size": 63}, ["buffer_size", "63", "64", "1000"]),
    ({"buffer_size": 500}, ["buffer_size", "500", "1000", "learning_starts"]),
]


@pytest.mark.parametrize(("fields", "told"), WRONG, ids=[str(f) for f, _ in WRONG])
def test_wrong_settings_are_refused_with_the_value_and_what_to_do(fields, told):
    with pytest.raises(FathomError) as error:
        DQN(**fields).check(TABLE)
    assert all(part in str(error.value) for part in told), error.value


def test_other_actions_than_discrete_are_refused():
    for space in (Box(-1.0, 1.0, (2,)), MultiDiscrete((2, 2))):
        with pytest.raises(FathomError, match=f"(?s){type(space).__name__}.*PPO"):
            DQN().check(EnvSpec(TABLE.obs_space, space))
    DQN().check(TABLE)


def test_a_mask_of_another_length_is_refused():
    DQN().check(MASKED)
    with pytest.raises(FathomError, match=r"(?s)mask has 3 entries.*needs 4"):
        DQN().check(EnvSpec(MaskedSpace(TABLE.obs_space, 3), TABLE.action_space))


@pytest.mark.parametrize("which", range(len(PROBES)), ids=NAMES)
def test_probes(which):
    """The value of each is right, and where actions matter the greedy one is the best."""
    engine = started(LEARNER, OneProbe(float(which)))
    engine.advance(200, 200)
    probe, q = PROBES[which], engine.learner.params
    shown = ENDS[1:] if NAMES[which] in ("ValueProbe", "PolicyProbe") else ENDS
    value = probe.value(shown, GAMMA)
    np.testing.assert_allclose(q(shown).max(axis=-1), value, atol=0.05)
    if hasattr(probe, "best_action"):
        np.testing.assert_array_equal(q(shown).argmax(axis=-1), probe.best_action(shown))
        np.testing.assert_allclose(q(shown).min(axis=-1), -1.0, atol=0.05)
    else:
        np.testing.assert_allclose(q(shown).min(axis=-1), value, atol=0.05)


def test_masked_probe():
    """What follows is worth the highest legal action, not the highest of all."""
    env = MaskedProbe()
    engine = started(dataclasses.replace(LEARNER, n_step=1), env)
    engine.advance(300, 300)
    replay = engine.carry.seeds.replay
    legal = jnp.take_along_axis(replay.obs.mask, replay.action[..., None], axis=-1)
    assert bool(legal.all())
    q = np.asarray(engine.learner.params(Masked(jnp.array([[1.0], [0.5]]), jnp.ones((2, 4), jnp.bool_))))
    now = np.arange(4) / 3
    np.testing.assert_allclose(q[0], now + GAMMA * env.mean_best, atol=0.08)
    np.testing.assert_allclose(q[1], now, atol=0.08)
    assert GAMMA * (1 - env.mean_best) > 0.1
