import itertools
from types import SimpleNamespace

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError
from fathom.envs.bridge import as_env
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.grid.world import GridWorld
from fathom.envs.host import HostEnv
from fathom.envs.probe.value import ValueProbe
from fathom.envs.render import draw
from fathom.envs.toy.corridor import ShortCorridor
from fathom.envs.wrappers import FlattenObs, TimeLimit
from fathom.runs.watch import narrate, record, renderable, write_film


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


class Asked:
    """As much of a Player: remembers how often it was told that an episode begins."""

    def __init__(self, policy, deterministic, seed_index):
        self.policy, self.how, self.begun = policy, (deterministic, seed_index), 0

    def reset(self):
        self.policy.begun = self.begun = self.begun + 1

    def __call__(self, obs):
        assert self.begun
        return self.policy.predict(obs, *self.how)


class Policy(SimpleNamespace):
    """As much of an Agent as recording needs; remembers what it was asked."""

    def player(self, deterministic=True, *, seed_index=0):
        return Asked(self, deterministic, seed_index)

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
    policy = agent(HostEnv(Countdown, "Countdown"))
    twice, _ = record(policy, episodes=2)
    assert policy.begun == 2  # what it remembers of one episode is nothing to the next
    assert [int(f[0, 0, 0]) % 10 for f in twice] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_what_is_filmed_is_the_environment_that_was_given():
    lake = gymnasium.make("FrozenLake-v1", is_slippery=False, map_name="8x8")
    made = renderable(as_env(lake, "gymnasium"))
    assert made.render_mode == "rgb_array"
    assert made.spec.kwargs["is_slippery"] is False
    assert made.unwrapped.desc.shape == (8, 8)
    flat = gymnasium.wrappers.FlattenObservation(gymnasium.make("CartPole-v1"))
    assert type(renderable(as_env(flat, "gymnasium"))) is type(flat)


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


GRID = TimeLimit(GridWorld.from_map("S.\n#G"), 9)  # up, right, down, left
Q = np.array([[0.0, 0.5, 0.0, 0.25], [0.0, 0.0, 1.0, 1.0], [9.0] * 4, [9.0] * 4])


class Learner(Policy):
    """As much of an Agent as showing needs: takes the first of the greedy actions of a table."""

    def values(self, obs, seed_index=0):
        return None if self.table is None else self.table[np.asarray(obs)]

    def predict(self, obs, deterministic, seed_index):
        return np.int32(self.table[int(obs)].argmax())


def learner(env, table):
    return Learner(env=env, table=table, seeds=2, seed=5, env_id="Test-v0")


def words(lines):
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_a_walk_among_values_is_told_step_by_step():
    frames = [words(lines) for lines in narrate(learner(GRID, Q), seed_index=1, unicode=False)]
    assert [f[0] for f in frames] == [
        "Test-v0, seed 6: episode 1 of 1, step 0, return 0",
        "Test-v0, seed 6: episode 1 of 1, step 1, return 0",
        "Test-v0, seed 6: episode 1 of 1, step 2, return 1, the end",
    ]
    above = {0: "| @ >    v< |", 1: "|   >  @ v< |", 2: "|   >    v< |"}
    below = {0: ["| ####  G   |", "| ####      |"], 2: ["| ####  @   |", "| ####  G   |"]}
    edge = "+-----------+"
    for step, frame in enumerate(frames):
        assert frame[1:] == [
            "", edge, above[step], "| 0.50 1.00 |", "|           |", *below.get(step, below[0]), edge
        ]  # fmt: skip


def test_a_walk_is_cut_and_episodes_are_counted():
    up = np.eye(4)[[0, 0, 0, 0]]
    frames = [words(lines)[0] for lines in narrate(learner(GRID, up), episodes=2, max_steps=1)]
    assert [f.split(": ")[1] for f in frames] == [
        "episode 1 of 2, step 0, return 0",
        "episode 1 of 2, step 1, return 0, cut",
        "episode 2 of 2, step 0, return 0",
        "episode 2 of 2, step 1, return 0, cut",
    ]


def test_what_does_not_fit_is_the_map_with_arrows():
    (first, *_) = narrate(learner(GRID, Q), size=(10, 40))
    assert words(first)[2:] == ["@↓", "#G"]
    (first, *_) = narrate(learner(GRID, Q), size=(70, 5))
    assert words(first)[2:] == ["@↓", "#G"]


def test_a_film_of_a_walk_shows_values_and_goes_at_a_pace():
    frames, fps = record(learner(GRID, Q))
    assert fps == 4
    assert len(frames) == 3
    assert frames[0].shape == (480, 480, 3)
    assert record(learner(GRID, Q), speed=2.0)[1] == 2


def test_a_learner_without_values_or_with_eyes_of_its_own_is_filmed_as_ever():
    blind = Learner(env=GRID, table=None, seeds=1, seed=0, env_id="Test-v0")
    blind.predict = lambda obs, deterministic, seed_index: np.int32(1)
    flat = Policy(env=FlattenObs(GRID), action=1, seeds=1, asked=[])
    for policy in (blind, flat):
        frames, fps = record(policy, max_steps=1)
        assert fps == 30
        np.testing.assert_array_equal(frames[0], draw(GRID.env.view(jnp.int32(0))))
    (first, *_) = narrate(blind, max_steps=1)
    assert words(first)[2:] == ["@.", "#G"]


def test_values_of_states_have_no_arrows():
    learnt = learner(GRID, np.array([0.5, 1.0, 9.0, 9.0]))
    learnt.predict = lambda obs, deterministic, seed_index: np.int32(1)
    (first, *_) = narrate(learnt, max_steps=1)
    assert words(first)[3:5] == ["| @         |", "| 0.50 1.00 |"]


def test_other_environments_show_their_text_and_the_values_of_the_state():
    table = np.array([[-1.0, 2.0], [3.0, 3.0], [0.0, 1.0], [0.0, 0.0]])
    env = TimeLimit(ShortCorridor(aliased=False), 9)
    frames = [words(lines)[2:] for lines in narrate(learner(env, table), max_steps=1)]
    assert frames == [
        ["[S] x  .  G       action 0   -1.00", "                * action 1    2.00"],
        [" S [x] .  G"],
    ]
    judge = learner(env, np.ones(4))
    judge.predict = lambda obs, deterministic, seed_index: np.int32(1)
    states = [words(lines)[2:] for lines in narrate(judge, max_steps=1)]
    assert states[0] == ["[S] x  .  G     value 1.00"]


def test_where_there_is_nothing_to_show_it_is_said():
    with pytest.raises(FathomError, match=r"Test-v0 has no text to show.*film it with -o"):
        next(narrate(learner(CartPole(), None)))
    with pytest.raises(FathomError, match="nor a picture: give it an `ascii` or a `view`"):
        next(narrate(learner(ValueProbe(), None)))
    with pytest.raises(FathomError, match="Gymnasium"):
        next(narrate(learner(HostEnv(Countdown, "Countdown"), None)))
    for speed in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(FathomError, match="steps per second"):
            record(learner(GRID, Q), speed=speed)
