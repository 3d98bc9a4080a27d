"""Atari games, where they are installed: `pip install "fathom-rl[atari]"`, or `[envpool]` for EnvPool too."""

import dataclasses
import importlib.util
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.agent import Agent
from fathom.core.errors import FathomError
from fathom.core.types import Stack
from fathom.envs import atari
from fathom.envs.atari import Atari, AtariEnv, Resizer
from fathom.envs.bridge import as_env
from fathom.envs.host import pack, unpack
from fathom.envs.registry import environments, make
from fathom.runs import provenance
from tests.contract.subjects import SUBJECTS, bits

games = pytest.mark.skipif(
    importlib.util.find_spec("ale_py") is None, reason='needs the extra: pip install "fathom-rl[atari]"'
)


class Spy:
    """A console that notes the actions it is given."""

    def __init__(self, ale):
        self.ale, self.acts = ale, []

    def __getattr__(self, name):
        return getattr(self.ale, name)

    def act(self, action):
        self.acts.append(action)
        return self.ale.act(action)


def play(env, steps, seed=0):
    """Random steps, resetting where an episode ends: (obs, reward, terminated, truncated, info) of each."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        seen = env.step(rng.integers(env.action_space.n))
        yield seen
        if seen[2] or seen[3]:
            env.reset()


def area_mean(picture, new):
    """The definition: every new pixel the mean of what it covers, exactly; halves rounded up."""
    (height, width), (rows, columns) = picture.shape, new

    def cover(i, j, old, many):
        top, end = Fraction(i * old, many), Fraction((i + 1) * old, many)
        return max(Fraction(0), min(end, j + 1) - max(top, j))

    out = np.zeros(new, np.uint8)
    for r in range(rows):
        for c in range(columns):
            total = sum(
                cover(r, i, height, rows) * cover(c, j, width, columns) * int(picture[i, j])
                for i in range(height)
                for j in range(width)
            )
            mean = total * Fraction(rows * columns, height * width)
            out[r, c] = math.floor(mean + Fraction(1, 2))
    return out


@given(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 7)] * 2), st.integers(0, 99))
def test_a_smaller_picture_is_the_exact_mean_over_areas(one, other, seed):
    old = tuple(max(pair) for pair in zip(one, other, strict=True))
    new = tuple(min(pair) for pair in zip(one, other, strict=True))
    picture = np.random.default_rng(seed).integers(0, 256, old, dtype=np.uint8)
    np.testing.assert_array_equal(Resizer(old, new)(picture), area_mean(picture, new))


@pytest.mark.parametrize("screen", [(210, 160), (250, 160)])
def test_a_screen_does_not_overflow(screen):
    white = Resizer(screen, (84, 84))(np.full(screen, 255, np.uint8))
    assert white.shape == (84, 84)
    assert (white == 255).all()


def test_a_picture_is_not_made_larger():
    with pytest.raises(FathomError, match=r"screen_size is 200.*at most 160"):
        Resizer((210, 160), (200, 200))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_skip": 0}, "frame_skip is 0; give at least 1"),
        ({"frame_stack": 0}, "frame_stack is 0"),
        ({"noop_max": -1}, "noop_max is -1; give at least 0"),
        ({"sticky": 1.0}, "sticky is 1.0; it is a probability below 1"),
        ({"sticky": -0.1}, "sticky is -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(FathomError, match=message):
        Atari(**settings)


@pytest.mark.parametrize(
    ("package", "use", "command"),
    [
        ("ale_py", lambda: make("ALE/Pong-v5"), 'pip install "fathom-rl[atari]"'),
        ("envpool", lambda: as_env(Atari(engine="envpool")), 'pip install "fathom-rl[envpool]"'),
    ],
)
def test_a_missing_package_is_answered_with_the_command(monkeypatch, package, use, command):
    if package == "envpool":
        pytest.importorskip("ale_py")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.roms", None)
    with pytest.raises(FathomError) as caught:
        use()
    assert command in str(caught.value)


def test_settings_come_back_from_a_run_file():
    settings = Atari(game="breakout", sticky=0.0, life_loss_ends=True)
    record = provenance.describe_env(settings, settings.id)
    assert record["id"] == "ALE/Breakout-v5"
    assert record["config"]["fields"]["sticky"] == 0.0
    assert provenance.restore_env(record) == settings


@games
def test_a_name_gives_the_games_settings():
    host = make("ALE/SpaceInvaders-v5")
    assert host.settings == Atari(game="space_invaders")
    assert host.id == "ALE/SpaceInvaders-v5"
    assert host.max_episode_steps == 27_000
    assert host.frames == 4
    assert host.stack == Stack(4, -1)
    assert host.obs_space.shape == (84, 84, 4)
    assert host.obs_space.dtype == np.uint8
    assert host.action_space.n == 6
    assert as_env(Atari(full_actions=True)).action_space.n == 18
    listed = {listing.id for listing in environments()}
    assert {"ALE/Pong-v5", "ALE/MontezumaRevenge-v5"} <= listed
    assert not {"ALE/Combat-v5", "PongNoFrameskip-v4"} & listed


@games
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: make("ALE/Pnog-v5"), "Did you mean ALE/Pong-v5"),
        (lambda: make("ALE/Pong-v4"), "ALE/Pong-v5"),
        (lambda: make("ALE/Combat-v5"), "unknown Atari game"),
        (lambda: as_env(Atari(game="Pong")), "Did you mean pong"),
        (lambda: make("Pong-v5"), "here it is 'ALE/Pong-v5'"),
        (lambda: make("PongNoFrameskip-v4"), "here it is 'ALE/Pong-v5'"),
        (lambda: make("ALE/Pong-v5", "native"), "no native version"),
        (lambda: as_env(Atari(game="freeway", fire_on_reset=True)).obs_space, "no FIRE among its actions"),
        (lambda: as_env(Atari(screen_size=161)).obs_space, "at most 160"),
    ],
)
def test_what_cannot_be_made_says_why(use, message):
    with pytest.raises(FathomError, match=message):
        use()


@games
def test_a_missing_rom_is_answered_with_the_command(monkeypatch, tmp_path):
    import ale_py.roms

    monkeypatch.setattr(ale_py.roms, "get_rom_path", lambda name: tmp_path / "gone.bin")
    with pytest.raises(FathomError, match=r"ROM of 'pong' is missing.*pip install --force-reinstall"):
        make("ALE/Pong-v5")


@games
@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_it_equals_gymnasiums_preprocessing_frame_by_frame(game):
    pytest.importorskip("cv2", reason="Gymnasium's preprocessing needs opencv-python-headless")
    gymnasium = pytest.importorskip("gymnasium")
    settings = Atari(game=game, sticky=0.0, clip_rewards=False)
    console = gymnasium.make(settings.id, frameskip=1, repeat_action_probability=0.0)
    theirs = gymnasium.wrappers.FrameStackObservation(gymnasium.wrappers.AtariPreprocessing(console), 4)
    ours = AtariEnv(settings)
    rng, last, pixels, odd, episodes = np.random.default_rng(0), False, 0, 0, 0
    obs, _ = ours.reset(seed=7)
    wanted, _ = theirs.reset(seed=7)
    for _ in range(400):
        off = np.abs(np.moveaxis(wanted, 0, -1).astype(int) - obs)
        # OpenCV rounds a half now up, now down; an episode's last frame it shows as it was a skip before.
        assert last or off.max() <= 1
        pixels, odd = pixels + off.size, odd + (0 if last else (off > 0).sum())
        if last:
            obs, _ = ours.reset()
            wanted, _ = theirs.reset()
            last = False
            continue
        action = rng.integers(ours.action_space.n)
        obs, *said, _ = ours.step(action)
        wanted, *told, _ = theirs.step(action)
        assert said == told
        last = said[1] or said[2]
        episodes += last
    assert odd / pixels < 1e-3
    assert episodes or game == "pong"


@games
def test_a_stack_begins_with_its_first_frame_and_moves_by_one():
    env = AtariEnv(Atari(frame_stack=3))
    obs, _ = env.reset(seed=1)
    assert obs.shape == (84, 84, 3)
    assert (obs == obs[:, :, :1]).all()
    for now, *_ in play(env, 30):
        np.testing.assert_array_equal(now[:, :, :-1], obs[:, :, 1:])
        obs = now
    assert (obs[:, :, 0] != obs[:, :, 2]).any()


@games
@pytest.mark.parametrize(("most", "seen"), [(0, {0}), (3, {1, 2, 3}), (1, {1})])
def test_an_episode_starts_with_a_random_number_of_no_ops(most, seen):
    env = AtariEnv(Atari(noop_max=most))
    env.reset(seed=0)
    counts = set()
    for _ in range(20):
        env.reset()
        counts.add(env.ale.getEpisodeFrameNumber())
    assert counts == seen


@games
@pytest.mark.parametrize(("sticky", "share"), [(0.0, 0.0), (0.25, 0.2), (0.6, 0.375)])
def test_sticky_actions_repeat_the_one_in_force(sticky, share):
    # Of actions that alternate, x = p (1 − x) are not the ones chosen: the one before holds, and it differs.
    env = AtariEnv(Atari(sticky=sticky, frame_skip=1, noop_max=0))
    env.reset(seed=0)
    env.ale = Spy(env.ale)
    chosen = [2, 3] * 500
    for action in chosen:
        env.step(action)
    wanted = np.array([env._actions[a] for a in chosen])
    assert np.mean(np.array(env.ale.acts) != wanted) == pytest.approx(share, abs=0.04)


@games
def test_an_action_is_held_for_the_whole_skip():
    env = AtariEnv(Atari(sticky=0.0, frame_skip=5, noop_max=0))
    env.reset(seed=0)
    env.ale = Spy(env.ale)
    env.step(2)
    env.step(0)
    assert env.ale.acts == [3] * 5 + [0] * 5


@games
def test_a_picture_is_the_maximum_of_the_last_two_frames():
    env, screens = AtariEnv(Atari(sticky=0.0, noop_max=0)), []
    env.reset(seed=0)
    act = env.ale.act

    class Watched(Spy):
        def act(self, action):
            reward = act(action)
            screens.append(self.ale.getScreenGrayscale())
            return reward

    env.ale = Watched(env.ale)
    for obs, *_ in play(env, 40):
        np.testing.assert_array_equal(obs[:, :, -1], env._resizer(np.maximum(screens[-1], screens[-2])))
        assert len(screens) % 4 == 0
    assert any((a != b).any() for a, b in zip(screens[2::4], screens[3::4], strict=True))


@games
def test_rewards_are_clipped_for_the_learner_and_told_as_they_are():
    settings = Atari(game="space_invaders")
    clipped, raw = AtariEnv(settings), AtariEnv(settings.judged())
    clipped.reset(seed=3)
    raw.reset(seed=3)
    total, length, over = 0.0, 0, 0
    for one, other in zip(play(clipped, 700), play(raw, 700), strict=True):
        assert one[1] == np.sign(other[1])
        np.testing.assert_array_equal(one[0], other[0])
        total, length = total + other[1], length + 1
        ended = other[2] or other[3]
        assert math.isnan(one[4]["episode_return"]) == (not ended)
        if ended:
            assert (one[4]["episode_return"], one[4]["episode_length"]) == (total, length)
            total, length, over = 0.0, 0, over + 1
    assert over


@games
def test_a_lost_life_ends_the_learners_episode_and_not_the_game():
    env = AtariEnv(Atari(game="breakout", life_loss_ends=True, fire_on_reset=True, clip_rewards=False))
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    lives, earned, steps, ends, games_over = 5, 0.0, 0, 0, 0
    for _ in range(600):
        obs, reward, terminated, _, info = env.step(rng.integers(4))
        earned, steps = earned + reward, steps + 1
        assert terminated == (info["lives"] < lives)
        lives = info["lives"]
        if not terminated:
            continue
        ends += 1
        frame = env.ale.getEpisodeFrameNumber()
        obs, _ = env.reset()
        assert (obs == obs[:, :, :1]).all()
        if lives:
            assert math.isnan(info["episode_return"])
            assert env.ale.getEpisodeFrameNumber() == frame + 1  # FIRE alone
        else:
            assert (info["episode_return"], info["episode_length"]) == (earned, steps)
            lives, earned, steps, games_over = 5, 0.0, 0, games_over + 1
    assert games_over
    assert ends == 5 * games_over + (5 - lives)


@games
def test_a_seed_begins_anew_also_after_a_lost_life():
    env = AtariEnv(Atari(game="breakout", life_loss_ends=True, fire_on_reset=True))
    first, _ = env.reset(seed=5)
    while not env.step(3)[2]:
        pass
    again, info = env.reset(seed=5)
    assert info["lives"] == 5
    np.testing.assert_array_equal(again, first)


@games
def test_an_episode_is_cut_after_its_frames_and_goes_on_anew():
    env = AtariEnv(Atari(max_frames=40, noop_max=0))
    env.reset(seed=0)
    flags = [(terminated, truncated) for _, _, terminated, truncated, _ in play(env, 20)]
    assert flags == ([(False, False)] * 9 + [(False, True)]) * 2


@games
@pytest.mark.parametrize(
    "settings",
    [
        Atari(game="breakout", life_loss_ends=True, fire_on_reset=True),
        pytest.param(Atari(game="seaquest", sticky=0.9), marks=pytest.mark.slow),
    ],
)
def test_a_vector_goes_on_in_another_from_a_copy_to_the_bit(settings):
    host = as_env(settings)
    actions = np.random.default_rng(0).integers(0, host.action_space.n, (300, 2))

    def rows(vector):
        steps = [vector.step(action) for action in actions[100:]]
        return [
            tuple(
                np.asarray(x).tobytes()
                for x in (s.obs, s.final_obs, s.reward, s.terminated, *s.info.values())
            )
            for s in steps
        ]

    with host.vector(2, "in-process") as vector:
        vector.reset(np.array([1, 2], np.uint32))
        for action in actions[:100]:
            vector.step(action)
        copy = unpack(*pack(vector.snapshot()))
        wanted = rows(vector)
    with host.vector(2, "in-process") as other:
        other.reset(np.array([3, 4], np.uint32))
        other.step(actions[0])
        other.restore(copy)
        assert rows(other) == wanted


@games
def test_a_copy_of_other_settings_is_refused():
    one, other = AtariEnv(Atari()), AtariEnv(Atari(frame_stack=2))
    one.reset(seed=0)
    with pytest.raises(FathomError, match=r"pictures are \[84, 84, 4\], these settings' \[84, 84, 2\]"):
        other.set_state(one.get_state())


@games
@pytest.mark.slow
def test_a_run_keeps_its_settings_and_resumes_to_the_bit(tmp_path):
    learner = dataclasses.replace(SUBJECTS["dqn"].algorithm, hidden=(8,))
    settings = Atari(game="breakout", life_loss_ends=True, sticky=0.1, screen_size=36)
    whole = Agent(learner, settings).learn(80, horizon=160).learn(80)
    part = Agent(learner, settings, out=tmp_path / "run").learn(80, horizon=160)
    part.close()
    again = Agent.resume(tmp_path / "run")
    assert again.env.settings == settings
    assert again.env_id == "ALE/Breakout-v5"
    again.learn(80)
    assert bits(again.engine.carry) == bits(whole.engine.carry)
    for agent in (whole, again):
        agent.close()


pool = pytest.mark.skipif(
    importlib.util.find_spec("envpool") is None, reason='needs the extra: pip install "fathom-rl[envpool]"'
)


@pool
def test_a_game_in_envpool_yields_the_same_beside_any_others():
    host = as_env(Atari(engine="envpool"))
    actions = np.random.default_rng(0).integers(0, 6, 40)

    def rows(seeds, index):
        vector = host.vector(len(seeds))
        found = [vector.reset(np.array(seeds, np.uint32))[index]]
        found += [vector.step(np.full(len(seeds), action)).obs[index] for action in actions]
        vector.close()
        return np.stack(found)

    alone = rows([5], 0)
    np.testing.assert_array_equal(alone, rows([9, 5, 7], 1))
    assert (alone != rows([6], 0)).any()
    assert alone.shape == (41, 84, 84, 4)
    assert (alone[0] == alone[0][:, :, :1]).all()


@pool
def test_envpool_keeps_the_final_observation_and_tells_a_cut_from_an_end():
    vector = as_env(Atari(max_frames=40, engine="envpool")).vector(2)
    obs = vector.reset(np.array([1, 2], np.uint32))
    for t in range(1, 31):
        step = vector.step(np.array([2, 3]))
        np.testing.assert_array_equal(step.final_obs[..., :-1], obs[..., 1:])
        assert (step.truncated == (t % 10 == 0)).all()
        assert not step.terminated.any()
        assert (np.isfinite(step.info["episode_length"]) == step.truncated).all()
        if t % 10 == 0:
            assert (step.info["episode_length"] == 10).all()
            assert (step.obs == step.obs[..., :1]).all()
            assert (step.obs != step.final_obs).any()
        obs = step.obs
    vector.close()


@pool
def test_a_life_in_envpool_ends_the_learners_episode_and_not_the_game():
    settings = Atari(game="breakout", life_loss_ends=True, fire_on_reset=True, engine="envpool")
    vector = as_env(settings).vector(2)
    vector.reset(np.array([1, 2], np.uint32))
    rng = np.random.default_rng(0)
    before, ends, games_over = np.full(2, 5.0), np.zeros(2), np.zeros(2)
    earned = np.zeros(2)
    for _ in range(700):
        step = vector.step(rng.integers(0, 4, 2))
        lives, over = step.info["lives"], np.isfinite(step.info["episode_return"])
        earned += step.reward
        np.testing.assert_array_equal(step.terminated, lives < before)
        np.testing.assert_array_equal(over, step.terminated & (lives == 0))
        assert (step.obs[step.terminated] == step.obs[step.terminated][..., :1]).all()
        np.testing.assert_array_equal(step.info["episode_return"][over], earned[over])
        earned[over] = 0.0
        ends, games_over = ends + step.terminated, games_over + over
        before = np.where(over, 5.0, lives)
    assert (games_over > 0).all()
    np.testing.assert_array_equal(ends, 5 * games_over + 5 - before)
    vector.close()


@pool
def test_envpool_cannot_be_copied_and_says_so():
    vector = as_env(Atari(engine="envpool")).vector(1)
    assert vector.snapshot() is None
    assert "engine='ale'" in vector.why_not_copyable()
    with pytest.raises(FathomError, match="no way to copy"):
        vector.restore({})
    with pytest.raises(FathomError, match="step before reset"):
        vector.step(np.array([0]))
    with pytest.raises(FathomError, match="2 seeds for 1"):
        vector.reset(np.array([1, 2], np.uint32))
    vector.close()


@pool
def test_what_envpool_has_not_is_refused(monkeypatch):
    import envpool

    with pytest.raises(FathomError, match="noop_max is 0"):
        as_env(Atari(noop_max=0, engine="envpool")).vector(1)
    as_env(Atari(game="tic_tac_toe_3d", engine="envpool")).vector(1).close()
    monkeypatch.setattr(envpool, "list_all_envs", lambda: ["Pong-v5"])
    with pytest.raises(FathomError, match="EnvPool has not the game 'seaquest'"):
        as_env(Atari(game="seaquest", engine="envpool")).vector(1)


def test_the_module_knows_games_by_other_names_only_where_they_are_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert atari.other_name("Pong-v5") is None
    assert not [listing for listing in environments() if listing.id.startswith("ALE/")]
