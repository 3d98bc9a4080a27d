import functools
import os
import signal
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gym

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.types import Masked
from fathom.envs import host, registry
from fathom.envs.host import HostEnv, pack, unpack


class Counting(gymnasium.Env):
    """The observation names the seed, the episode and the step; the stream says how long episodes are."""

    observation_space = gym.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gym.Discrete(3)

    def __init__(self):
        self.episode, self.seed = -1, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.episode = seed, -1
        self.episode += 1
        self.count = 0
        self.length = int(self.np_random.integers(1, 5))
        return self.obs(), {}

    def obs(self):
        return np.array([self.seed, self.episode, self.count], np.float64)

    def step(self, action):
        self.count += 1
        over = self.count == self.length
        by_cut = over and self.episode % 2 == 1
        return self.obs(), float(action) + self.count, over and not by_cut, by_cut, {"term": 2.0 * self.count}


class Chooser(gymnasium.Env):
    """Masks in the info; the mask of the final observation allows nothing."""

    observation_space = gym.Discrete(10)
    action_space = gym.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self.at, {"action_mask": np.array([1, 1, 0], np.int8)}

    def step(self, action):
        self.at += 1
        over = self.at == 2
        mask = np.zeros(3, np.int8) if over else np.array([0, 1, 1], np.int8)
        return self.at, 0.0, over, False, {"action_mask": mask}


class Table(gymnasium.Env):
    """A Dict observation with its mask inside, and Dict actions."""

    observation_space = gym.Dict(
        {"observation": gym.Tuple([gym.Box(-1, 1, (2,)), gym.Discrete(4)]), "action_mask": gym.MultiBinary(4)}
    )
    action_space = gym.MultiDiscrete([2, 2])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.obs(), {}

    def obs(self):
        return {
            "observation": (np.full(2, 0.5, np.float32), 3),
            "action_mask": np.array([1, 1, 0, 1], np.int8),
        }

    def step(self, action):
        assert action.shape == (2,)
        return self.obs(), 1.0, False, False, {}


def hand_written(num_envs, seeds, actions):
    """The plain loop over plain environments, the reference of everything below."""
    envs = [Counting() for _ in range(num_envs)]
    first = np.stack([env.reset(seed=int(s))[0] for env, s in zip(envs, seeds, strict=True)])
    rows = []
    for row in actions:
        obs, final, reward, terminated, truncated = [], [], [], [], []
        for env, action in zip(envs, row, strict=True):
            o, r, te, tr, _ = env.step(action)
            final.append(o)
            obs.append(env.reset()[0] if te or tr else o)
            reward.append(r)
            terminated.append(te)
            truncated.append(tr)
        rows.append([np.array(x) for x in (obs, final, reward, terminated, truncated)])
    return first, rows


@pytest.mark.parametrize("workers", ["in-process", "subprocess"])
def test_steps_and_final_observations_are_those_of_a_hand_written_loop(workers):
    seeds = np.array([3, 99, 2**31 - 1], np.uint32)
    actions = np.random.default_rng(0).integers(0, 3, (40, 3))
    first, rows = hand_written(3, seeds, actions)
    with HostEnv(Counting, "Counting").vector(3, workers) as vec:
        got = vec.reset(seeds)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, first.astype(np.float32))
        ends = 0
        for act, (obs, final, reward, terminated, truncated) in zip(actions, rows, strict=True):
            step = vec.step(act)
            np.testing.assert_array_equal(step.obs, obs.astype(np.float32))
            np.testing.assert_array_equal(step.final_obs, final.astype(np.float32))
            np.testing.assert_array_equal(step.reward, reward.astype(np.float32))
            np.testing.assert_array_equal(step.terminated, terminated)
            np.testing.assert_array_equal(step.truncated, truncated)
            np.testing.assert_array_equal(step.info["term"], 2 * step.final_obs[:, 2])
            assert step.reward.dtype == np.float32
            ends += int(np.sum(terminated | truncated))
        assert ends > 20
        # A later step must not reach into what an earlier one gave.
        held = vec.step(actions[0])
        copy = held.obs.copy()
        vec.step(actions[1])
        np.testing.assert_array_equal(held.obs, copy)
        # Across a snapshot the stream of each worker goes on as it would have.
        shot = unpack(*pack(vec.snapshot()))
        ahead = [vec.step(a) for a in actions[:10]]
        vec.restore(shot)
        for a, was in zip(actions[:10], ahead, strict=True):
            again = vec.step(a)
            np.testing.assert_array_equal(again.obs, was.obs)
            np.testing.assert_array_equal(again.reward, was.reward)


def test_masks_travel_with_every_observation():
    host = HostEnv(Chooser)
    assert host.obs_space == spaces.Masked(spaces.Discrete(10), 3)
    with host.vector(2, "in-process") as vec:
        first = vec.reset(np.arange(2))
        assert isinstance(first, Masked)
        np.testing.assert_array_equal(first.mask, [[True, True, False]] * 2)
        step = vec.step(np.zeros(2, np.int32))
        np.testing.assert_array_equal(step.obs.mask, [[False, True, True]] * 2)
        step = vec.step(np.ones(2, np.int32))
        np.testing.assert_array_equal(step.obs.mask, [[True, True, False]] * 2)
        np.testing.assert_array_equal(step.final_obs.obs, [2, 2])
        np.testing.assert_array_equal(step.final_obs.mask, np.zeros((2, 3), bool))  # nothing is chosen there


def test_a_mask_in_the_observation_is_taken_out_of_it():
    host = HostEnv(Table)
    assert host.obs_space == spaces.Masked(spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Discrete(4))), 4)
    with host.vector(2, "in-process") as vec:
        first = vec.reset(np.arange(2))
        assert first.obs[0].shape == (2, 2)
        np.testing.assert_array_equal(first.obs[1], [3, 3])
        np.testing.assert_array_equal(first.mask[1], [True, True, False, True])
        assert vec.step(np.zeros((2, 2), np.int32)).obs.obs[1].dtype == np.int32


def test_an_observation_with_no_legal_action_is_refused():
    class Stuck(Chooser):
        def step(self, action):
            return 1, 0.0, False, False, {"action_mask": np.zeros(3, np.int8)}

    with HostEnv(Stuck).vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        with pytest.raises(FathomError, match="environment 0, step 1: the action mask allows no action"):
            vec.step(np.zeros(1, np.int32))


def broken(**changes):
    """A class of counting environments in which one thing that `step` returns is another."""

    class Broken(Counting):
        def step(self, action):
            out = dict(
                zip(("obs", "reward", "terminated", "truncated", "info"), super().step(action), strict=True)
            )
            out.update(changes)
            if isinstance(out["obs"], Exception):
                raise out["obs"]
            return tuple(out.values())

    return Broken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": np.zeros(2)}, r"shape \(2,\).*\(3,\)"),
        ({"obs": np.zeros(1)}, r"shape \(1,\)"),
        ({"obs": np.array(["a", "b", "c"])}, "dtype"),
        ({"reward": np.nan}, "reward is nan"),
        ({"reward": np.zeros(2)}, "reward is"),
        ({"reward": None}, "reward is None"),
        ({"terminated": 1}, r"terminated is 1 \(int\)"),
        ({"obs": ValueError("boom")}, "raised ValueError: boom.*test_host.py"),
    ],
)
def test_a_broken_step_names_the_environment_the_step_and_the_value(changes, message):
    with HostEnv(broken(**changes)).vector(2, "in-process") as vec:
        vec.reset(np.arange(2))
        with pytest.raises(FathomError, match=f"environment 0, step 1.*{message}"):
            vec.step(np.zeros(2, int))


def test_wrong_numbers_of_actions_and_seeds_are_refused():
    with HostEnv(Counting).vector(2, "in-process") as vec:
        with pytest.raises(FathomError, match="before reset"):
            vec.step(np.zeros(2, int))
        with pytest.raises(FathomError, match="3 seeds for 2"):
            vec.reset(np.arange(3))
        vec.reset(np.arange(2))
        with pytest.raises(FathomError, match="3 actions for 2"):
            vec.step(np.zeros(3, int))
        with pytest.raises(FathomError, match="shape"):
            vec.step(np.zeros((2, 1), int))
    with pytest.raises(FathomError, match="closed"):
        vec.reset(np.arange(2))
    with pytest.raises(FathomError, match="at least one"):
        HostEnv(Counting).vector(0)


class Dying(Counting):
    def step(self, action):
        if action == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == 1:
            raise RuntimeError("out of petrol")
        return super().step(action)


def test_a_worker_that_fails_or_dies_is_an_error_and_not_a_hang():
    with HostEnv(Dying, "Dying").vector(2, "subprocess") as vec:
        vec.reset(np.arange(2))
        with pytest.raises(FathomError, match="environment 1, step 1 raised RuntimeError: out of petrol"):
            vec.step(np.array([0, 1]))
        with pytest.raises(FathomError, match=r"worker \d, .*died \(signal SIGKILL.*in-process"):
            vec.step(np.array([0, 2]))


SOLVABLE = [
    "CartPole-v1",
    "MountainCar-v0",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "Acrobot-v1",
    "FrozenLake-v1",
    "Taxi-v4",
    "CliffWalking-v1",
    "Blackjack-v1",
]


@pytest.mark.parametrize("id", [*SOLVABLE, "exported"])
def test_a_restored_copy_goes_on_to_the_bit_in_a_new_vector(id):
    host = registry.make("probe/Counting" if id == "exported" else id, backend="gymnasium")
    rng = np.random.default_rng(1)
    if isinstance(host.action_space, spaces.Discrete):
        actions = rng.integers(0, host.action_space.n, (260, 2))
    else:
        actions = rng.uniform(-1, 1, (260, 2, *host.action_space.shape)).astype(np.float32)
    with host.vector(2, "in-process") as vec, host.vector(2, "in-process") as other:
        vec.reset(np.array([1, 2]))
        for action in actions[:30]:
            vec.step(action)
        arrays, text = pack(vec.snapshot())
        assert all(array.dtype.kind in "buif" for array in arrays.values())
        other.restore(unpack(arrays, text))
        for action in actions[30:]:
            one, two = vec.step(action), other.step(action)
            for a, b in zip(_flat(one), _flat(two), strict=True):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def _flat(step):
    import jax

    return jax.tree.leaves(step)


def test_large_constant_tables_are_not_copied():
    host = registry.make("Taxi-v4", backend="gymnasium")
    with host.vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        assert len(pack(vec.snapshot())[1]) < 10_000


class Odd(Counting):
    """Shared objects, odd types, streams of spaces: what a careless copy loses."""

    def __init__(self):
        super().__init__()
        self.action_space = gym.Discrete(3)
        self.log = [1, (2.5, np.float32(3), b"x"), {4, 5}]
        self.same_log = self.log
        self.by_place = {(0, 1): np.array(["a", "bc"]), 7: None}
        self.twin = np.asfortranarray(np.arange(6.0).reshape(2, 3))

    def reset(self, *, seed=None, options=None):
        out = super().reset(seed=seed)
        if seed is not None:
            self.action_space.seed(seed)
            self.rng = self.np_random
        return out

    def step(self, action):
        out = super().step(action)
        self.log.append(int(self.rng.integers(10)))
        assert self.same_log is self.log
        assert self.rng is self.np_random
        noise = self.np_random.random() + self.action_space.sample() + self.same_log[-1]
        return out[0], noise, *out[2:]


def test_shared_objects_stay_shared_and_types_stay():
    with HostEnv(Odd).vector(1, "in-process") as vec, HostEnv(Odd).vector(1, "in-process") as other:
        vec.reset(np.arange(1))
        zero = np.zeros(1, int)
        for _ in range(5):
            vec.step(zero)
        other.restore(unpack(*pack(vec.snapshot())))
        for _ in range(20):
            assert vec.step(zero).reward == other.step(zero).reward
        mine = other._slice.envs[0]
        assert type(mine.log[1]) is tuple
        assert type(mine.log[1][1]) is np.float32
        assert mine.log[1][2] == b"x"
        assert mine.log[2] == {4, 5}
        np.testing.assert_array_equal(mine.by_place[(0, 1)], ["a", "bc"])
        assert mine.twin.flags.f_contiguous


class World:
    pass


@pytest.mark.parametrize(
    ("attribute", "make"),
    [
        ("world", World),
        ("table", lambda: np.array([None, 1], object)),
        ("stream", lambda: (i for i in range(3))),
    ],
)
def test_what_cannot_be_copied_is_named(attribute, make):
    class Opaque(Counting):
        def reset(self, *, seed=None, options=None):
            setattr(self, attribute, make())
            return super().reset(seed=seed)

    with HostEnv(Opaque).vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        assert vec.snapshot() is None
        assert f"Opaque.{attribute}" in vec.why_not_copyable()


class Phases(Counting):
    """What it does next is a method, a function or a class of its own, which may change."""

    def __init__(self):
        super().__init__()
        self.phase, self.later, self.part = self.approach, None, functools.partial(int, base=10)

    def approach(self):
        return 0.0

    def grasp(self):
        return 1.0


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("phase", lambda env: env.grasp),
        ("later", lambda env: env.grasp),
        ("later", lambda env: Chooser),
        ("later", lambda env: [env.approach, env.grasp]),
        ("later", lambda env: {Chooser: 1}),
        ("part", lambda env: functools.partial(int, base=16)),
    ],
)
def test_what_a_new_environment_has_not_is_never_left_out_in_silence(attribute, value):
    with HostEnv(Phases).vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        assert vec.snapshot() is not None
        env = vec._slice.envs[0]
        setattr(env, attribute, value(env))
        assert vec.snapshot() is None
        assert f"Phases.{attribute}" in vec.why_not_copyable()


def test_a_layer_that_is_referred_to_is_the_one_restored():
    with HostEnv(Phases).vector(1, "in-process") as vec, HostEnv(Phases).vector(1, "in-process") as other:
        vec.reset(np.arange(1))
        vec._slice.envs[0].later = [vec._slice.envs[0]]
        other.restore(unpack(*pack(vec.snapshot())))
        assert other._slice.envs[0].later == [other._slice.envs[0]]


class Telling(Counting):
    """Names its numbers in some infos only, and one of them as a text."""

    def step(self, action):
        obs, reward, terminated, truncated, _ = super().step(action)
        odd = self.count % 2 == 1
        named = {"seed": self.seed, "odd": 1.0} if odd or self.seed > 1 else {"seed": "none"}
        return obs, reward, terminated, truncated, named if self.seed else {"even": 2.0}


@pytest.mark.parametrize("workers", ["in-process", "subprocess"])
def test_infos_may_name_what_they_like(workers):
    with HostEnv(Telling).vector(4, workers) as vec:
        vec.reset(np.arange(4))
        for _ in range(3):
            info = vec.step(np.zeros(4, int)).info
        if workers == "subprocess":
            assert sorted(info) == ["even", "odd", "seed"]
            np.testing.assert_array_equal(info["seed"][2:], [2, 3])


def test_arrays_over_one_memory_are_not_copied_apart():
    class Views(Counting):
        def reset(self, *, seed=None, options=None):
            self.whole = np.zeros(4)
            self.half = self.whole[:2]
            return super().reset(seed=seed)

    with HostEnv(Views).vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        assert "shares its memory" in vec.why_not_copyable()


def test_lunar_lander_is_not_copyable():
    pytest.importorskip("Box2D")
    with registry.make("LunarLander-v3").vector(1, "in-process") as vec:
        vec.reset(np.arange(1))
        assert vec.snapshot() is None
        assert "LunarLander" in vec.why_not_copyable()


def test_own_state_methods_come_first():
    class Own(Counting):
        def __init__(self):
            super().__init__()
            self.world = World()

        def get_state(self):
            return {
                "seed": self.seed,
                "at": (self.episode, self.count),
                "rng": self._np_random,
                "n": self.length,
            }

        def set_state(self, tree):
            self.seed, (self.episode, self.count) = tree["seed"], tree["at"]
            self._np_random, self.length = tree["rng"], tree["n"]

    with HostEnv(Own).vector(1, "in-process") as vec, HostEnv(Own).vector(1, "in-process") as other:
        vec.reset(np.arange(1))
        other.restore(unpack(*pack(vec.snapshot())))
        for _ in range(12):
            np.testing.assert_array_equal(vec.step(np.zeros(1, int)).obs, other.step(np.zeros(1, int)).obs)


def test_a_snapshot_of_another_number_or_version_is_refused():
    with HostEnv(Counting).vector(2, "in-process") as vec:
        vec.reset(np.arange(2))
        shot = vec.snapshot()
        with pytest.raises(FathomError, match="version 9"):
            vec.restore({**shot, "version": 9})
        with pytest.raises(FathomError, match="holds 1 environments"):
            vec.restore({**shot, "envs": shot["envs"][:1]})


def test_a_host_environment_tells_what_it_is():
    host = registry.make("CartPole-v1", backend="gymnasium")
    assert host.max_episode_steps == 500
    assert host.spec.action_space == spaces.Discrete(2)
    assert host.spec.id == "CartPole-v1"
    assert host.obs_space.shape == (4,)


def test_a_mask_of_the_wrong_length_is_refused():
    class Short(Chooser):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0], {"action_mask": np.ones(2, np.int8)}

    with pytest.raises(FathomError, match="2 entries"):
        _ = HostEnv(Short).obs_space


class Slow(Counting):
    """Counting whose steps take a while."""

    def step(self, action):
        """The same, 3 ms later."""
        time.sleep(0.003)
        return super().step(action)


@pytest.mark.parametrize(("kind", "workers"), [(Counting, "in-process"), (Slow, "subprocess")])
def test_where_environments_are_stepped_is_measured_and_told(kind, workers, monkeypatch):
    where = {"in-process": "this process", "subprocess": "2 processes"}[workers]
    monkeypatch.setattr(host, "_cores", lambda: 2)
    with HostEnv(kind, kind.__name__).vector(4) as vec:
        assert vec.workers == workers
        assert vec.told.startswith(f"{kind.__name__} takes ")
        assert vec.told.endswith(f" ms a step: 4 environments in {where}")
    with HostEnv(kind, kind.__name__).vector(4, "in-process") as vec:
        assert vec.told == ""
