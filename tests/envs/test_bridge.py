import functools

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.types import Masked
from fathom.envs import registry
from fathom.envs.base import vec_reset, vec_step
from fathom.envs.bridge import FathomGymEnv, as_env, to_gymnasium
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.classic.pendulum import Pendulum
from fathom.envs.host import HostEnv
from fathom.envs.wrappers import TimeLimit

CASES = {
    "CartPole": TimeLimit(CartPole(), 20),  # ends both ways
    "Pendulum": TimeLimit(Pendulum(), 15),
    "probe/Counting": registry.make("probe/Counting"),
    "probe/Masked": registry.make("probe/Masked"),
}


def some_actions(space, obs, key):
    """Random legal actions [env, ...]."""
    keys = jax.random.split(key, 4)
    if isinstance(obs, Masked):
        return np.array([int(np.flatnonzero(row)[0]) for row in np.asarray(obs.mask)], np.int32)
    return np.asarray(jax.vmap(space.sample)(keys))


@pytest.mark.parametrize("name", CASES)
def test_the_host_loop_reproduces_the_native_rollout_to_the_bit(name):
    env = lift(CASES[name])
    seeds = np.array([5, 6, 7, 2**31 - 1], np.uint32)
    with as_env(CASES[name], "gymnasium").vector(4, "in-process") as vec:
        obs = vec.reset(seeds)
        state, native_obs = jax.jit(vec_reset)(env, seeds)
        native_step = jax.jit(vec_step)
        same(obs, native_obs)
        ends = 0
        for t in range(50):
            action = some_actions(vec.action_space, obs, jax.random.key(t))
            host = vec.step(action)
            state, native = native_step(env, state, action)
            for part in ("obs", "reward", "terminated", "truncated", "final_obs"):
                same(getattr(host, part), getattr(native, part))
            over = np.asarray(native.terminated | native.truncated)
            obs, ends = host.obs, ends + int(over.sum())
        assert ends > 4


def same(host, native):
    host, native = jax.tree.leaves(host), jax.tree.leaves(native)
    assert len(host) == len(native)
    for h, n in zip(host, native, strict=True):
        assert h.dtype == n.dtype
        np.testing.assert_array_equal(h, n)


@pytest.mark.filterwarnings("ignore:.*A Box observation space")
@pytest.mark.filterwarnings("ignore:.*we recommend using a symmetric and normalized space")
@pytest.mark.parametrize("name", ["CartPole", "Pendulum", "probe/Counting"])
def test_gymnasium_accepts_an_exported_environment(name):
    check_env(to_gymnasium(CASES[name]), skip_render_check=True)


def test_two_instances_share_one_program():
    heavy, light = to_gymnasium(CartPole()), to_gymnasium(CartPole(pole_mass=0.3))
    assert heavy._program is light._program
    obs = []
    for env in (heavy, light):
        env.reset(seed=0)
        env.step(1)
        obs.append(env.step(1)[0])
    assert not np.array_equal(*obs)


def test_a_reset_without_a_seed_goes_on_and_one_with_it_begins_again():
    env = to_gymnasium(CartPole())
    first, _ = env.reset(seed=3)
    second, third = env.reset()[0], env.reset()[0]
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    np.testing.assert_array_equal(env.reset(seed=3)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    assert not np.array_equal(to_gymnasium(CartPole()).reset()[0], to_gymnasium(CartPole()).reset()[0])


def test_what_an_exported_environment_refuses():
    env = to_gymnasium(CartPole())
    with pytest.raises(FathomError, match="before reset"):
        env.step(0)
    with pytest.raises(FathomError, match="too large"):
        env.reset(seed=2**40)
    with pytest.raises(FathomError, match="render_mode is 'human'"):
        to_gymnasium(CartPole(), render_mode="human")
    pendulum = to_gymnasium(Pendulum())
    pendulum.reset(seed=0)
    with pytest.raises(FathomError, match="CartPole has"):
        env.set_state(pendulum.get_state())


def test_an_exported_environment_can_be_drawn():
    env = to_gymnasium(CASES["CartPole"], render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3


def test_observations_are_new_and_writable():
    env = to_gymnasium(CartPole())
    obs, _ = env.reset(seed=0)
    obs += 1
    after, reward, terminated, _, _ = env.step(np.int64(1))
    assert np.all(np.abs(after) < 0.5)
    assert type(reward) is float
    assert type(terminated) is bool


def test_as_env_takes_every_form():
    native = CartPole()
    assert as_env(native) is native
    assert isinstance(as_env(CartPole), CartPole)
    assert isinstance(as_env("CartPole-v1"), TimeLimit)
    assert isinstance(as_env("CartPole-v1", "gymnasium"), HostEnv)
    assert isinstance(as_env(native, "gymnasium").fresh(), FathomGymEnv)
    assert isinstance(as_env(to_gymnasium(native)), CartPole)
    host = as_env(functools.partial(gymnasium.make, "CartPole-v1"))
    assert host.max_episode_steps == 500
    assert as_env(host) is host


def test_an_object_is_made_again_from_its_spec_or_copied_with_what_was_set():
    plain = as_env(gymnasium.make("CartPole-v1"))
    assert plain.make.func is gymnasium.make
    changed = gymnasium.make("CartPole-v1")
    changed.unwrapped.gravity = 1.5
    host = as_env(changed)
    made = [host.fresh() for _ in range(2)]
    assert [env.unwrapped.gravity for env in made] == [1.5, 1.5]
    assert made[0].unwrapped is not made[1].unwrapped


def test_an_object_that_can_be_neither_made_again_nor_copied_is_refused():
    class Uncopyable(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(2)
        action_space = gymnasium.spaces.Discrete(2)

        def __deepcopy__(self, memo):
            raise TypeError("a socket cannot be copied")

    with pytest.raises(FathomError, match=r"a socket cannot be copied.*lambda"):
        as_env(Uncopyable())


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, "int"),
        (lambda: 3, "made a int"),
        (lambda size: CartPole(), "needs arguments"),
        (lambda: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_no_environment_is_refused(thing, message):
    with pytest.raises(FathomError, match=message):
        as_env(thing)


def test_a_backend_that_does_not_exist_is_refused():
    with pytest.raises(FathomError, match="no native version"):
        as_env(gymnasium.make("CartPole-v1"), "native")
    with pytest.raises(FathomError, match="'auto', 'native' or 'gymnasium'"):
        as_env("CartPole-v1", "torch")


def test_spaces_of_the_export_are_those_of_the_environment():
    env = as_env(CASES["probe/Masked"], "gymnasium")
    assert isinstance(env.obs_space, spaces.Masked)
    assert env.obs_space == CASES["probe/Masked"].obs_space
    assert env.action_space == CASES["probe/Masked"].action_space
