import dataclasses
import math

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.module import lift
from fathom.core.spaces import from_gymnasium
from fathom.envs.classic.acrobot import Acrobot, AcrobotState
from fathom.envs.classic.cartpole import CartPole, CartPoleState
from fathom.envs.classic.mountain_car import MountainCar, MountainCarState
from fathom.envs.classic.mountain_car_continuous import MountainCarContinuous
from fathom.envs.classic.pendulum import Pendulum, PendulumState
from fathom.envs.render import draw
from fathom.envs.scene import Scene

ALL = {
    "CartPole-v1": CartPole(),
    "MountainCar-v0": MountainCar(),
    "MountainCarContinuous-v0": MountainCarContinuous(),
    "Pendulum-v1": Pendulum(),
    "Acrobot-v1": Acrobot(),
}
STATES = 3000


def ours(env, states, actions):
    """Steps from given states [state, component], as one program."""
    return jax.jit(jax.vmap(env.step, in_axes=(None, 0, 0)))(jax.random.key(0), states, actions)


def theirs(id, set_state, states, actions, **kwargs):
    """Gymnasium's steps from the same states: observation, reward, terminated, state."""
    env = gymnasium.make(id, **kwargs).unwrapped
    env.reset(seed=0)
    rows = []
    for state, action in zip(states, actions, strict=True):
        set_state(env, np.asarray(state, np.float64))
        obs, reward, terminated, truncated, _ = env.step(action)
        assert not truncated
        rows.append((obs, reward, terminated, np.asarray(env.state, np.float64)))
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def same_flags(mine, other, distance, tolerance=1e-5):
    """Flags agree wherever rounding cannot tell them apart, and the cases include both."""
    far = np.abs(distance) > tolerance
    np.testing.assert_array_equal(np.asarray(mine)[far], other[far])
    assert 0 < other[far].mean() < 1


def uniform(rng, *bounds):
    return np.stack([rng.uniform(*b, STATES) for b in bounds], axis=-1).astype(np.float32)


@pytest.mark.parametrize("sutton_barto", [False, True])
def test_cartpole_steps_as_gymnasium(sutton_barto):
    rng = np.random.default_rng(1)
    states = uniform(rng, (-2.6, 2.6), (-3, 3), (-0.25, 0.25), (-3, 3))
    states[:500, 0] = rng.choice([-2.4, 2.4], 500) + rng.uniform(-0.02, 0.02, 500)
    states[500:1000, 2] = rng.choice([-1, 1], 500) * math.pi / 15 + rng.uniform(-0.02, 0.02, 500)
    actions = rng.integers(0, 2, STATES)

    def inject(env, state):
        env.state, env.steps_beyond_terminated = state, None

    obs, reward, terminated, after = theirs(
        "CartPole-v1", inject, states, actions, sutton_barto_reward=sutton_barto
    )
    env = CartPole(sutton_barto_reward=sutton_barto)
    state, step = ours(env, CartPoleState(*states.T), jnp.asarray(actions))
    np.testing.assert_allclose(step.obs, obs, rtol=1e-5, atol=1e-6)
    near = np.minimum(np.abs(np.abs(after[:, 0]) - 2.4), np.abs(np.abs(after[:, 2]) - math.pi / 15))
    same_flags(step.terminated, terminated, near)
    np.testing.assert_array_equal(step.reward[near > 1e-5], reward[near > 1e-5])
    np.testing.assert_allclose(jnp.stack(jax.tree.leaves(state), axis=-1), after, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("goal_velocity", [0.0, 0.03])
def test_mountain_car_steps_as_gymnasium(goal_velocity):
    rng = np.random.default_rng(2)
    states = uniform(rng, (-1.2, 0.6), (-0.07, 0.07))
    states[:500] = uniform(rng, (-1.2, -1.15), (-0.07, 0.01))[:500]  # into the wall
    states[500:1000] = uniform(rng, (0.45, 0.55), (-0.01, 0.07))[:500]  # about the flag
    actions = rng.integers(0, 3, STATES)

    def inject(env, state):
        env.state = state

    obs, reward, terminated, after = theirs(
        "MountainCar-v0", inject, states, actions, goal_velocity=goal_velocity
    )
    _, step = ours(
        MountainCar(goal_velocity=goal_velocity), MountainCarState(*states.T), jnp.asarray(actions)
    )
    stopped = (after[:, 0] == -1.2) & (after[:, 1] == 0)
    assert stopped.sum() > 100
    # A car that ends within rounding of the wall may be stopped on one side only.
    clear = stopped | (after[:, 0] > -1.2 + 1e-6)
    np.testing.assert_allclose(step.obs[clear], obs[clear], rtol=1e-5, atol=1e-6)
    same_flags(
        step.terminated,
        terminated,
        np.minimum(np.abs(after[:, 0] - 0.5), np.abs(after[:, 1] - goal_velocity)),
    )
    np.testing.assert_array_equal(step.reward, reward)


def test_mountain_car_continuous_steps_as_gymnasium():
    rng = np.random.default_rng(3)
    states = uniform(rng, (-1.2, 0.6), (-0.07, 0.07))
    states[:500] = uniform(rng, (-1.2, -1.15), (-0.07, 0.01))[:500]
    states[500:1000] = uniform(rng, (0.4, 0.5), (-0.01, 0.07))[:500]
    actions = rng.uniform(-1.5, 1.5, (STATES, 1)).astype(
        np.float32
    )  # beyond the box: clipped pull, full cost

    def inject(env, state):
        env.state = state

    obs, reward, terminated, after = theirs("MountainCarContinuous-v0", inject, states, actions)
    _, step = ours(MountainCarContinuous(), MountainCarState(*states.T), actions)
    stopped = (after[:, 0] <= np.float32(-1.2)) & (after[:, 1] == 0)
    assert stopped.sum() > 100
    clear = stopped | (after[:, 0] > -1.2 + 1e-6)
    np.testing.assert_allclose(step.obs[clear], obs[clear], rtol=1e-5, atol=1e-6)
    near = np.minimum(np.abs(after[:, 0] - 0.45), np.abs(after[:, 1]))
    same_flags(step.terminated, terminated, near)
    np.testing.assert_allclose(step.reward[near > 1e-5], reward[near > 1e-5], rtol=1e-5)
    np.testing.assert_allclose(step.info["reward_goal"], 100.0 * np.asarray(step.terminated))
    np.testing.assert_allclose(step.info["reward_effort"], -0.1 * actions[:, 0] ** 2, rtol=1e-5)


def test_pendulum_steps_as_gymnasium():
    rng = np.random.default_rng(4)
    states = uniform(rng, (-20, 20), (-9, 9))
    states[:500, 0] = rng.choice([-1, 1], 500) * math.pi + rng.uniform(-0.01, 0.01, 500)
    actions = rng.uniform(-3, 3, (STATES, 1)).astype(np.float32)

    def inject(env, state):
        env.state = state

    obs, reward, _, _ = theirs("Pendulum-v1", inject, states, actions)
    state, step = ours(Pendulum(), PendulumState(*states.T, np.zeros(STATES, np.float32)), actions)
    np.testing.assert_allclose(step.obs, obs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(step.reward, reward, rtol=1e-5, atol=3e-5)
    np.testing.assert_allclose(sum(step.info.values()), step.reward, rtol=1e-6)
    assert not np.any(step.terminated | step.truncated)
    assert np.abs(state.theta).max() <= math.pi + 1e-6
    np.testing.assert_allclose(state.torque, np.clip(actions[:, 0], -2, 2))


@pytest.mark.parametrize("dynamics", ["book", "nips"])
def test_acrobot_steps_as_gymnasium(dynamics, monkeypatch):
    from gymnasium.envs.classic_control.acrobot import AcrobotEnv

    monkeypatch.setattr(AcrobotEnv, "book_or_nips", dynamics)
    rng = np.random.default_rng(5)
    pi = math.pi
    states = uniform(rng, (-pi, pi), (-pi, pi), (-4 * pi, 4 * pi), (-9 * pi, 9 * pi))
    states[:2000, 2:] /= 5  # the fast third tests wrapping and clipping, these the common speeds
    actions = rng.integers(0, 3, STATES)

    def inject(env, state):
        env.state = state

    obs, reward, terminated, after = theirs("Acrobot-v1", inject, states, actions)
    state, step = ours(Acrobot(dynamics=dynamics), AcrobotState(*states.T), jnp.asarray(actions))
    np.testing.assert_allclose(step.obs[:2000], obs[:2000], rtol=1e-4, atol=1e-4)
    # Runge-Kutta amplifies rounding at speeds that wind a link round several times in a step.
    np.testing.assert_allclose(step.obs[2000:], obs[2000:], rtol=1e-3, atol=2e-2)
    height = -np.cos(after[:, 0]) - np.cos(after[:, 0] + after[:, 1])
    same_flags(step.terminated, terminated, height - 1.0, tolerance=1e-2)
    far = np.abs(height - 1.0) > 1e-2
    np.testing.assert_array_equal(step.reward[far], reward[far])
    assert np.abs(after[:, 2]).max() == 4 * pi
    for angle in (state.theta1, state.theta2):
        assert np.abs(angle).max() <= pi + 1e-5


@pytest.mark.parametrize("id", ALL)
def test_spaces_are_gymnasiums(id):
    gym = gymnasium.make(id)
    mine = ALL[id]
    assert mine.action_space == from_gymnasium(gym.action_space)
    box = from_gymnasium(gym.observation_space)
    np.testing.assert_allclose(mine.obs_space.low, box.low, rtol=1e-6)
    np.testing.assert_allclose(mine.obs_space.high, box.high, rtol=1e-6)
    assert mine.obs_space.dtype == box.dtype


@pytest.mark.parametrize("id", ALL)
def test_starts_are_spread_as_gymnasiums(id):
    gym = gymnasium.make(id)
    gym_starts = np.stack([gym.reset(seed=s)[0] for s in range(400)])
    _, starts = jax.jit(jax.vmap(ALL[id].reset))(jax.random.split(jax.random.key(1), 4000))
    np.testing.assert_allclose(starts.min(0), gym_starts.min(0), atol=0.05)
    np.testing.assert_allclose(starts.max(0), gym_starts.max(0), atol=0.05)
    np.testing.assert_allclose(starts.mean(0), gym_starts.mean(0), atol=0.15)
    np.testing.assert_allclose(starts.std(0), gym_starts.std(0), atol=0.08)


@pytest.mark.parametrize("id", ALL)
def test_states_keep_their_types_and_constants_are_leaves(id):
    env = ALL[id]
    for tried in (env, lift(env)):
        state, obs = jax.eval_shape(tried.reset, jax.random.key(0))
        action = jax.eval_shape(tried.action_space.sample, jax.random.key(0))
        after, step = jax.eval_shape(tried.step, jax.random.key(0), state, action)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for old, new in zip(jax.tree.leaves((state, obs)), jax.tree.leaves((after, step.obs)), strict=True):
            assert (new.shape, new.dtype, new.weak_type) == (old.shape, old.dtype, old.weak_type)
        assert (step.reward.dtype, step.reward.weak_type) == (jnp.float32, False)
        assert step.terminated.dtype == step.truncated.dtype == jnp.bool_
    floats = [f for f in dataclasses.fields(env) if f.type is float and not f.metadata.get("static")]
    assert len(jax.tree.leaves(env)) == len(floats) > 0


@pytest.mark.parametrize("id", ALL)
def test_every_constant_changes_something(id):
    env = lift(ALL[id])
    rng = np.random.default_rng(6)

    @jax.jit
    def outcome(env, key):
        def follow(carry, action):
            state, total = carry
            state, step = env.step(key, state, action)
            return (state, total + step.reward), (step.obs, step.reward, step.terminated)

        carry, trace = jax.lax.scan(follow, (env.reset(key)[0], jnp.float32(0)), actions)
        return carry, trace

    def flat(tree):
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])

    if id.startswith("MountainCarC"):
        actions = jnp.ones((60, 1))
    elif id == "Pendulum-v1":
        actions = jnp.asarray(rng.uniform(-2, 2, (60, 1)), jnp.float32)
    else:
        actions = jnp.asarray(rng.integers(0, env.action_space.n, 60))
    key = jax.random.key(2)
    base = flat(outcome(env, key))
    for field in dataclasses.fields(env):
        if field.metadata.get("static") or field.type is not float:
            continue
        changed = []
        for factor, shift in ((1.3, 0.001), (0.5, -2.0)):
            value = getattr(env, field.name) * factor + shift
            changed.append(flat(outcome(dataclasses.replace(env, **{field.name: value}), key)))
        unread = field.name in {
            "goal_reward",
            "goal_velocity",
            "length2",
            "goal_height",
        }  # which need a state near the goal
        assert unread or any(not np.array_equal(base, c) for c in changed), field.name


def test_constants_of_the_goal_are_read():
    state = MountainCarState(jnp.float32(0.46), jnp.float32(0.02))
    key, action = jax.random.key(0), jnp.zeros(1)
    assert MountainCarContinuous(goal_reward=7.0).step(key, state, action)[1].reward == 7.0
    assert not MountainCarContinuous(goal_velocity=0.05).step(key, state, action)[1].terminated
    state, action = MountainCarState(jnp.float32(0.51), jnp.float32(0.02)), jnp.int32(1)
    assert MountainCar().step(key, state, action)[1].terminated
    assert not MountainCar(goal_velocity=0.05).step(key, state, action)[1].terminated
    upright = AcrobotState(jnp.float32(math.pi), *(jnp.float32(0) for _ in range(3)))
    assert Acrobot().step(key, upright, action)[1].terminated
    assert not Acrobot(length1=0.5, center1=0.25, length2=0.4).step(key, upright, action)[1].terminated
    assert not Acrobot(goal_height=2.5).step(key, upright, action)[1].terminated


@pytest.mark.parametrize("id", ALL)
def test_views_follow_the_state(id):
    env = ALL[id]
    view = jax.jit(env.view)
    state, _ = env.reset(jax.random.key(3))
    scene = view(state)
    assert isinstance(scene, Scene)
    before = draw(scene, width=120)
    moved = jax.tree.map(lambda x: x + 0.3, state)
    after = draw(view(moved), width=120)
    assert before.shape == after.shape
    assert 0 < (before != after).any(-1).mean() < 0.5
    left, right, bottom, top = scene.extent
    assert left < right
    assert bottom < top
