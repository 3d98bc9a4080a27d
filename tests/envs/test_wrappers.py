from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.spaces import Box, Dict, Discrete, Masked, MultiDiscrete, Tuple, flatten
from fathom.core.types import Masked as MaskedObs
from fathom.core.types import TimeStep
from fathom.envs.base import Env, vec_reset, vec_step
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.classic.mountain_car_continuous import MountainCarContinuous
from fathom.envs.classic.pendulum import Pendulum
from fathom.envs.grid.maps import frozen_lake
from fathom.envs.probe.counting import CountingEnv
from fathom.envs.probe.policy import ContinuousProbe, MaskedProbe
from fathom.envs.probe.value import TruncationProbe
from fathom.envs.wrappers import ClipAction, FlattenObs, FrameStack, ScaleAction, TimeLimit

reset = jax.jit(lambda env, key: env.reset(key))
step_once = jax.jit(lambda env, state, action: env.step(jax.random.key(9), state, action))


class Echo(Env):
    """Observations of any space, drawn anew at each step; the reward is the first action."""

    space: Any
    actions: Any = Box(-1.0, 1.0, (1,))

    @property
    def obs_space(self):
        return self.space

    @property
    def action_space(self):
        return self.actions

    def reset(self, key):
        return key, self.space.sample(key)

    def step(self, key, state, action):
        state = jax.random.fold_in(state, 1)
        never = jnp.zeros((), jnp.bool_)
        return state, TimeStep(self.space.sample(state), jnp.ravel(action)[0], never, never)


def test_time_limit_cuts_at_the_limit_and_not_before():
    env = TimeLimit(TruncationProbe(), 5)
    state, _ = reset(env, jax.random.key(0))
    flags = []
    for _ in range(7):
        state, step = step_once(env, state, jnp.int32(0))
        assert not step.terminated
        flags.append(bool(step.truncated))
    assert flags == [False, False, False, False, True, True, True]


def test_time_limit_counts_each_episode_from_its_reset():
    env = TimeLimit(TruncationProbe(), 3)
    state, _ = jax.jit(vec_reset)(env, jnp.arange(2, dtype=jnp.uint32))
    step = jax.jit(vec_step)
    cuts = []
    for _ in range(9):
        state, out = step(env, state, jnp.zeros(2, jnp.int32))
        cuts.append(np.asarray(out.truncated))
    np.testing.assert_array_equal(np.stack(cuts)[:, 0], [False, False, True] * 3)


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_time_limit_flags_are_gymnasiums(limit):
    """A pole that falls at once: both flags may be true at the same step."""
    gym = gymnasium.wrappers.TimeLimit(gymnasium.make("CartPole-v1").unwrapped, limit)
    gym.reset(seed=0)
    gym.unwrapped.state = np.array([0.0, 0.0, 0.2, 0.3])
    env = TimeLimit(CartPole(), limit)
    state, _ = env.reset(jax.random.key(0))
    inner = type(state.env)(*(jnp.float32(x) for x in (0.0, 0.0, 0.2, 0.3)))
    state = type(state)(inner, state.steps)
    for _ in range(10):
        _, _, terminated, truncated, _ = gym.step(0)
        state, step = step_once(env, state, jnp.int32(0))
        assert (bool(step.terminated), bool(step.truncated)) == (terminated, truncated)
        if terminated or truncated:
            break
    if limit == 2:
        assert terminated
        assert truncated


def test_time_limit_keeps_a_cut_of_the_environment_within():
    env = TimeLimit(CountingEnv(max_length=1), 5)  # of length 1, so cut after 1 step
    state, _ = reset(env, jax.random.key(0))
    assert step_once(env, state, jnp.int32(0))[1].truncated


def test_frame_stack_holds_the_last_observations_of_this_episode_only():
    num = 3
    env = FrameStack(CountingEnv(), num)
    assert env.obs_space.shape == (4 * num,)
    state, obs = jax.jit(vec_reset)(env, jnp.arange(3, dtype=jnp.uint32))
    step = jax.jit(vec_step)
    lived = 0
    for _ in range(30):
        frames = np.asarray(obs).reshape(3, num, 4)
        for stack in frames:
            newest = int(stack[-1, 2])
            assert len({tuple(f) for f in stack[:, [0, 1, 3]].tolist()}) == 1
            np.testing.assert_array_equal(stack[:, 2], np.maximum(np.arange(newest - num + 1, newest + 1), 0))
        state, out = step(env, state, jnp.zeros(3, jnp.int32))
        last = np.asarray(out.final_obs).reshape(3, num, 4)
        np.testing.assert_array_equal(last[:, :-1], frames[:, 1:])
        lived += int((last[:, -1, 2] > num).sum())
        obs = out.obs
    assert lived > 0


def test_frame_stack_joins_pictures_by_channel_and_scalars_to_vectors():
    picture = Box(0, 255, (5, 4, 3), np.uint8)
    env = FrameStack(Echo(picture), 4)
    assert env.obs_space == Box(0, 255, (5, 4, 12), np.uint8)
    state, first = reset(env, jax.random.key(0))
    np.testing.assert_array_equal(first[..., :3], first[..., 9:])
    _, step = step_once(env, state, jnp.zeros(1))
    assert step.obs.dtype == np.uint8
    np.testing.assert_array_equal(step.obs[..., :9], first[..., 3:])
    assert np.any(step.obs[..., 9:] != first[..., 9:])
    assert FrameStack(Echo(Box(0.0, 1.0, ())), 4).obs_space.shape == (4,)
    assert reset(FrameStack(Echo(Box(0.0, 1.0, ())), 4), jax.random.key(0))[1].shape == (4,)


def test_frame_stack_repeats_the_bounds_in_order():
    space = FrameStack(Pendulum(), 2).obs_space
    np.testing.assert_array_equal(space.high, [1, 1, 8, 1, 1, 8])


def test_frame_stack_keeps_the_newest_mask():
    env = FrameStack(MaskedProbe(), 2)
    assert env.obs_space == Masked(Box(0.0, 1.0, (2,)), 4)
    state, _ = reset(env, jax.random.key(0))
    _, step = step_once(env, state, jnp.int32(0))
    assert isinstance(step.obs, MaskedObs)
    np.testing.assert_array_equal(step.obs.obs, [1.0, 0.5])
    inner = step_once(MaskedProbe(), state.env, jnp.int32(0))[1]
    np.testing.assert_array_equal(step.obs.mask, inner.obs.mask)


def test_scale_action_reaches_exactly_the_bounds():
    low, high = [-0.4, 1.0], [2.0, 1.5]
    env = ScaleAction(Echo(Box(0.0, 1.0, (1,)), Box(low, high)))
    assert env.action_space == Box(-1.0, 1.0, (2,))
    inner = ScaleAction(ContinuousProbe(target=0.0))
    state, _ = reset(inner, jax.random.key(0))
    for action, reward in ((-1.0, 0.16), (1.0, 4.0), (0.0, 0.64)):
        _, step = step_once(inner, state, jnp.array([action]))
        assert float(step.reward) == pytest.approx(-reward)
        assert step.info["outside"] == 0
    state, _ = reset(env, jax.random.key(0))
    for action, given in ((-1.0, np.float32(-0.4)), (1.0, np.float32(2.0))):
        assert step_once(env, state, jnp.full(2, action))[1].reward == given


def test_clip_action_takes_anything_and_gives_what_is_allowed():
    env = ClipAction(ContinuousProbe(target=0.0))
    assert env.action_space == Box(-np.inf, np.inf, (1,))
    state, _ = reset(env, jax.random.key(0))
    for action, reward in ((-7.0, 0.16), (7.0, 4.0), (1.0, 1.0)):
        _, step = step_once(env, state, jnp.array([action]))
        assert float(step.reward) == pytest.approx(-reward)
        assert step.info["outside"] == 0


SPACES = [
    Discrete(3, 2),
    Box(-1.0, [[1.0, 2.0], [3.0, np.inf]]),
    MultiDiscrete((2, 3)),
    Dict({"b": Discrete(2), "a": Box(0, 255, (2,), np.uint8)}),
    Tuple((Discrete(2), Dict({"x": Box(-3.0, 3.0, (2, 2))}))),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_flatten_obs_is_flatten_and_inside_its_space(space, masked):
    env = FlattenObs(Echo(Masked(space, 4) if masked else space))

    @jax.jit
    def both(key):
        state, obs = env.reset(key)
        inner = env.env.space.sample(state)
        state, step = env.step(key, state, jnp.zeros(1))
        return [(obs, inner), (step.obs, env.env.space.sample(state))]

    for obs, inner in jax.device_get(both(jax.random.key(0))):
        assert env.obs_space.contains(obs)
        bare, flat = (inner.obs, obs.obs) if masked else (inner, obs)
        np.testing.assert_array_equal(flat, flatten(space, bare))
        assert flat.dtype == np.float32
        if masked:
            np.testing.assert_array_equal(obs.mask, inner.mask)


def test_flatten_obs_keeps_the_order_of_the_bounds():
    space = FlattenObs(Echo(SPACES[3])).obs_space
    np.testing.assert_array_equal(space.high, [255, 255, 1, 1])


WRAPPED = [
    TimeLimit(Pendulum(), 200),
    FrameStack(Pendulum(), 2),
    ScaleAction(Pendulum()),
    ClipAction(Pendulum()),
    FlattenObs(Pendulum()),
    TimeLimit(FrameStack(FlattenObs(ScaleAction(ClipAction(MountainCarContinuous()).env)), 2), 5),
]


@pytest.mark.parametrize("env", WRAPPED, ids=lambda e: type(e).__name__)
def test_wrappers_keep_info_view_types_and_leaves(env):
    innermost = env
    while hasattr(innermost, "env"):
        innermost = innermost.env
    assert jax.tree.leaves(env) == jax.tree.leaves(innermost)
    state, obs = reset(env, jax.random.key(0))
    after, step = step_once(lift(env), state, env.action_space.sample(jax.random.key(1)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert (step.obs.shape, step.obs.dtype) == (obs.shape, obs.dtype)
    assert env.obs_space.contains(np.asarray(step.obs))
    assert all(name.startswith("reward_") for name in step.info)
    assert len(step.info) >= 2
    picture = env.view(after)
    inner_state = after
    while hasattr(inner_state, "env"):
        inner_state = inner_state.env
    for mine, theirs in zip(
        jax.tree.leaves(picture), jax.tree.leaves(innermost.view(inner_state)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_the_text_of_the_environment_within_shows():
    lake = frozen_lake()
    state, _ = TimeLimit(lake, 5).reset(jax.random.key(0))
    assert TimeLimit(lake, 5).ascii(state) == lake.ascii(0)
    assert FlattenObs(TimeLimit(lake, 5)).ascii(state) == lake.ascii(0)
    assert TimeLimit(Pendulum(), 5).ascii(TimeLimit(Pendulum(), 5).reset(jax.random.key(0))[0]) is None


def test_constants_within_can_be_changed_without_compiling():
    compiled = 0

    @jax.jit
    def fall(env, state):
        nonlocal compiled
        compiled += 1
        return env.step(jax.random.key(0), state, jnp.zeros(1))[1].obs[2]

    env = lift(TimeLimit(Pendulum(), 5))
    state, _ = reset(env, jax.random.key(0))
    light = lift(TimeLimit(Pendulum(gravity=1.0), 5))
    assert fall(env, state) != fall(light, state)
    assert compiled == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TimeLimit(CartPole(), 0), "max_steps is 0"),
        (lambda: FrameStack(CartPole(), 0), "num is 0"),
        (lambda: FrameStack(Echo(Discrete(3)), 2), "FlattenObs"),
        (lambda: ScaleAction(CartPole()), "works on a Box"),
        (lambda: ScaleAction(ClipAction(Pendulum())), "finite bounds"),
        (lambda: ClipAction(CartPole()), "works on a Box"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(make, says):
    with pytest.raises(FathomError, match=says):
        make()
