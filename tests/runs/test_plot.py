import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError
from fathom.runs.folder import RunFolder
from fathom.runs.plot import curve, plot


def lines(n: int = 10) -> list[dict]:
    """Two seeds that return the line's number and ten more; the second finishes no episode before line 4."""
    return [
        {
            "update": i,
            "env_steps": 100 * i,
            "sums": {"episode_return": [2.0 * i, (i + 10.0) * (i >= 4)]},
            "counts": {"episode_return": [2.0, float(i >= 4)]},
        }
        for i in range(1, n + 1)
    ]


def make_run(path, algorithm: str = "ppo", env: str = "CartPole-v1"):
    folder = RunFolder.create(path, {"algorithm": {"name": algorithm}, "env": {"id": env}})
    for line in lines():
        folder.append_metrics(line)
    folder.close()
    return path


def test_points_are_means_of_seeds_and_seeds_without_episodes_are_left_out():
    one = curve(lines(), "episode_return", smoothing=0.0)
    np.testing.assert_array_equal(one.env_steps, 100 * np.arange(1, 11))
    np.testing.assert_array_equal(one.mean[:3], [1, 2, 3])
    np.testing.assert_array_equal(one.mean[3:], np.arange(4, 11) + 5.0)
    np.testing.assert_array_equal(one.low[3:], np.arange(4, 11))
    np.testing.assert_array_equal(one.high[3:], np.arange(4, 11) + 10.0)


def test_smoothing_weighs_by_episodes():
    weighted = [
        {"update": 1, "env_steps": 1, "sums": {"r": [30.0]}, "counts": {"r": [3.0]}},
        {"update": 2, "env_steps": 2, "sums": {"r": [50.0]}, "counts": {"r": [1.0]}},
    ]
    np.testing.assert_array_equal(curve(weighted, "r", smoothing=1.0).mean, [10.0, 20.0])
    np.testing.assert_array_equal(curve(weighted, "r", smoothing=0.0).mean, [10.0, 50.0])


def test_a_chunk_that_diverged_does_not_reach_the_others():
    broken = lines(4)
    broken[1]["sums"]["episode_return"] = [np.nan, np.nan]
    one = curve(broken, "episode_return", smoothing=0.0)
    np.testing.assert_array_equal(one.env_steps, [100, 300, 400])
    np.testing.assert_array_equal(one.mean, [1, 3, 9])


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_pictures_of_several_runs_are_the_same_each_time(tmp_path, suffix):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "dqn"), make_run(tmp_path / "c", "dqn")]
    first = plot(runs, tmp_path / f"new/first.{suffix}").read_bytes()
    assert first == plot(runs, tmp_path / f"second.{suffix}").read_bytes()
    assert first != plot(runs[:1], tmp_path / f"third.{suffix}").read_bytes()


def test_runs_are_told_apart_in_the_picture(tmp_path):
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", "q_learning"), make_run(tmp_path / "c", "ppo")]
    text = plot(runs, tmp_path / "x.svg").read_text()
    for label in ("PPO (a), 2 seeds", "Q-LEARNING (b), 2 seeds", "PPO (c), 2 seeds", "CartPole-v1"):
        assert label in text
    other = [runs[0], make_run(tmp_path / "d", "ppo", "Pendulum-v1")]
    assert "PPO on Pendulum-v1" in plot(other, tmp_path / "y.svg").read_text()


def test_the_picture_is_not_blank(tmp_path):
    path = plot([make_run(tmp_path / "a")], tmp_path / "x.png")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    blue = (pixels[..., 2].astype(int) - pixels[..., 0] > 100).mean()
    assert 0.001 < blue < 0.2


def test_bad_requests_are_told(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(FathomError, match=r"unknown metric 'episode_retrn'.*episode_return"):
        plot([run], tmp_path / "x.png", metric="episode_retrn")
    with pytest.raises(FathomError, match=r"cannot draw a \.gif"):
        plot([run], tmp_path / "x.gif")
    with pytest.raises(FathomError, match="smoothing is 2"):
        plot([run], tmp_path / "x.png", smoothing=2)
    with pytest.raises(FathomError, match="nothing to plot"):
        plot([], tmp_path / "x.png")
    RunFolder.create(tmp_path / "empty", {"algorithm": "ppo", "env": "x"})
    with pytest.raises(FathomError, match="no metrics yet"):
        plot([tmp_path / "empty"], tmp_path / "x.png")
