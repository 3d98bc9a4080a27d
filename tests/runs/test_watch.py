import itertools
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.host import HostEnv
from fathom.runs.watch import record, write_film


class Countdown(gymnasium.Env):
    """Episodes of three steps; the picture's brightness counts episodes (tens) and steps (units)."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}  # noqa: RUF012 Gymnasium's own form

    def __init__(self, render_mode: str | None = "rgb_array") -> None:
        self.render_mode = render_mode
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 0.0, self.t == 3, False, {}

    def render(self):
        return np.full((8, 8, 3), 10 * self.episode + self.t, np.uint8)


class Policy(SimpleNamespace):
    """As much of an Agent as recording needs; remembers what it was asked."""

    def predict(self, obs, deterministic, seed_index):
        self.asked.append((np.shape(obs), deterministic, seed_index))
        return np.int32(self.action)


def agent(env, action: int = 1, seeds: int = 2) -> Policy:
    return Policy(env=env, action=action, seeds=seeds, asked=[])


def test_a_native_episode_is_drawn_from_its_first_state_to_its_last():
    policy = agent(CartPole())
    frames, fps = record(policy, seed_index=1)
    assert fps == 30
    assert 9 <= len(frames) - 1 == len(policy.asked) <= 12  # always to the right, a pole falls in about 10
    assert set(policy.asked) == {((4,), True, 1)}
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(frames))
    again, _ = record(agent(CartPole()))
    np.testing.assert_array_equal(frames[-1], again[-1])
    other, _ = record(agent(CartPole()), seed=1)
    assert len(other) != len(frames) or not np.array_equal(frames[-1], other[-1])


def test_episodes_follow_each_other_and_are_cut():
    one, _ = record(agent(CartPole()), episodes=1, max_steps=4)
    assert len(one) == 5
    both, _ = record(agent(CartPole()), episodes=2, max_steps=4)
    np.testing.assert_array_equal(both[4], one[4])
    assert len(both) == 10
    assert not np.array_equal(both[5], both[0])


def test_a_gymnasium_episode_is_filmed_whole_and_without_the_next():
    policy = agent(HostEnv(Countdown, "Countdown"))
    frames, fps = record(policy)
    assert fps == 60
    assert [int(f[0, 0, 0]) % 10 for f in frames] == [0, 1, 2, 3]
    assert len({int(f[0, 0, 0]) // 10 for f in frames}) == 1
    assert set(policy.asked) == {((1,), True, 0)}
    twice, _ = record(agent(HostEnv(Countdown, "Countdown")), episodes=2)
    assert [int(f[0, 0, 0]) % 10 for f in twice] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_film_is_written(tmp_path):
    frames = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(12)]
    with Image.open(write_film(tmp_path / "slow.gif", frames, 30.0)) as film:
        assert film.n_frames == 12
    with Image.open(write_film(tmp_path / "fast.gif", frames, 120.0)) as film:
        assert film.n_frames == 4  # every third, so that a player keeps up
    with pytest.raises(FathomError, match=r"ends in \.gif or \.mp4"):
        write_film(tmp_path / "x.avi", frames, 30.0)


def test_what_cannot_be_seen_is_told():
    with pytest.raises(FathomError, match=r'render_mode="rgb_array"'):
        record(agent(HostEnv(lambda: Countdown(None), "Countdown")))
    with pytest.raises(FathomError, match="seed_index is 2; the run has the seeds 0 to 1"):
        record(agent(CartPole()), seed_index=2)
    with pytest.raises(FathomError, match="episodes is 0"):
        record(agent(CartPole()), episodes=0)
