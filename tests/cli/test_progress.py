import io

import numpy as np
import pytest
from rich.console import Console

from fathom.cli import progress
from fathom.cli.progress import LiveProgress, PlainProgress, Tally, duration, number
from fathom.train.report import Report


def report(update: int, returns: list[float], counts: list[float], total: int = 10, **more: float) -> Report:
    seeds = len(returns)
    sums = {"episode_return": np.array(returns) * counts}
    ns = {"episode_return": np.array(counts)}
    for name, value in more.items():
        sums[name], ns[name] = np.full(seeds, value), np.ones(seeds)
    return Report(update, 100 * update, 100 * total, seeds, 0.5 * update, 0.5, 100 * seeds, sums, ns)


def test_the_return_is_of_the_newest_episodes():
    tally = Tally()
    tally.add(report(1, [20, 30], [50, 50]))
    tally.add(report(2, [100, 200], [8, 8]))
    np.testing.assert_allclose(tally.returns(), [(50 * 20 + 800) / 58, (50 * 30 + 1600) / 58])
    tally.add(report(3, [300, 400], [10, 10]))
    np.testing.assert_array_equal(tally.returns(), [300, 400])
    assert tally.return_text() == "350.0 [300.0 to 400.0]"


def test_seeds_without_an_episode_are_left_out():
    tally = Tally()
    tally.add(report(1, [0, 0], [0, 0]))
    assert tally.return_text() == ""
    tally.add(report(2, [7, 0], [1, 0]))
    assert tally.return_text() == "7"


def test_time_left_is_of_all_seeds():
    tally = Tally()
    assert np.isnan(tally.seconds_left)
    tally.add(report(4, [1, 1], [1, 1]))
    assert tally.part == 0.4
    assert tally.rate == 400
    assert tally.seconds_left == 600 * 2 / 400


def test_losses_are_few_and_finite():
    tally = Tally()
    tally.add(report(1, [1], [1], entropy=0.5, value_loss=2.0, policy_loss=-1.0, approx_kl=3.0, x_loss=4.0))
    assert tally.losses() == [("policy loss", -1.0), ("value loss", 2.0), ("entropy", 0.5)]


def test_plain_lines_are_few_and_the_last_is_told(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    out = io.StringIO()
    plain = PlainProgress(out)
    plain.phase("compile", "replay takes 3 MB")
    plain.phase("train")
    for update in range(1, 11):
        now[0] += 2.0
        assert plain.chunk(report(update, [update, update + 2], [10, 10])) is None
    plain.phase("done")
    lines = out.getvalue().splitlines()
    assert lines[0] == "compiling replay takes 3 MB ..."
    assert [line.split()[0] for line in lines[1:]] == ["10%", "40%", "70%", "100%"]
    assert "return 5 [4 to 6]  400.0 steps/s  3 s left" in lines[2]
    assert "left" not in lines[-1]


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("compile", "compiling"),
        ("train", "40%"),
        ("evaluate", "evaluating"),
        ("done", "done"),
    ],
)
def test_the_live_display_tells_phase_return_and_losses(phase, words):
    live = LiveProgress()
    live.phase(phase)
    live.chunk(report(4, [10, 20], [10, 10], policy_loss=-0.01))
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    console.print(live.render())
    text = console.file.getvalue()
    assert words in text
    assert "15 [10 to 20]" in text
    assert "over 2 seeds" in text
    assert "policy loss −0.01" in text
    assert ("3 s left" in text) == (phase == "train")


def test_the_live_display_begins_without_figures():
    live = LiveProgress()
    live.phase("train")
    console = Console(file=io.StringIO(), width=100)
    console.print(live.render())
    assert "training" in console.file.getvalue()
    assert "nan" not in console.file.getvalue()


def test_numbers_and_times():
    assert [number(x) for x in (1_204_000, 231.44, -0.01234, float("nan"))] == [
        "1,204,000",
        "231.4",
        "−0.0123",
        "–",
    ]
    assert [duration(s) for s in (7.2, 200, 7_500)] == ["7 s", "3 min 20 s", "2 h 05 min"]
