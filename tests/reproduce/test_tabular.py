"""The figures of tables on tiny runs, and the published readings on whole ones."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from fathom.envs.grid.maps import blocking_maze
from fathom.reproduce import control, dyna, registry, td
from fathom.reproduce.base import reproduce
from fathom.reproduce.exact import tolerance

FIGURES = (
    "figure-6.2",
    "figure-6.3",
    "figure-6.4",
    "figure-6.6",
    "figure-6.7",
    "figure-7.2",
    "figure-8.2",
    "figure-8.4",
    "figure-8.5",
)


@pytest.fixture
def short(monkeypatch):
    """Sizes that take seconds."""
    for module, name, value in (
        (td, "EPISODES", 3),
        (td, "TD_STEPS", (0.1,)),
        (td, "MC_STEPS", (0.02,)),
        (td, "FIRST", 2),
        (td, "SPANS", (1, 8)),
        (td, "STEP_SIZES", (0.1, 0.4)),
        (control, "STEP_SIZES", (0.1, 0.5, 1.0)),
        (control, "INTERIM", 2),
        (control, "LATER", 4),
        (control, "ONLINE", 5),
        (control, "LAST", 2),
        (control, "WINDY_STEPS", 300),
        (control, "WINDY_LAST", 100),
        (control, "BIAS_LAST", 2),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("name", ["figure-6.2", "figure-6.4", "figure-6.6", "figure-6.7", "figure-7.2"])
def test_each_figure_is_judged_by_its_readings_and_drawn(name, short, tmp_path):
    experiment = registry.get(name)
    report = reproduce(experiment, runs=3)
    assert {r.label for r in experiment.readings} <= set(report.outcome.figures)
    assert all(np.isfinite(e.value) for e in report.outcome.figures.values())
    picture, _ = report.write(tmp_path)
    assert picture.stat().st_size > 10_000


def test_a_maze_that_changes_is_played_on_in_the_other():
    """Once the goal is walled in nothing is earned any more."""
    closed = blocking_maze().paint(0, 7, "#").paint(1, 8, "#")
    outcome = dyna._changing(blocking_maze, lambda: closed, 1_000, 2_000, 1e-3, 5)(3, 0)
    for one in outcome.data["reward"].values():
        assert one.mean.shape == (2_000,)
        assert one.mean[999] == one.mean[-1] > 1
    figure = Figure()
    dyna._draw_changing(figure, outcome, {})
    assert len(figure.axes[0].lines) == 3


def test_the_exact_table_is_met(tmp_path):
    report = reproduce(registry.get("exact-table"))
    assert not [r for r in report.record()["readings"] if not r["met"]]
    assert report.outcome.figures["greatest difference of two solvers"].value < 1e-6
    assert report.write(tmp_path)[0].stat().st_size > 10_000


def test_the_published_readings_are_as_they_were_read():
    published = {e.name: [r.value for r in e.readings] for e in registry.experiments().values()}
    assert published["figure-6.4"] == [-25, -50]
    assert published["figure-6.7"] == [94, 13, 7]
    assert published["figure-8.2"] == [18, 18, 18]
    assert dyna.REACHED == {0: 25, 5: 5, 50: 3}
    for name in ("figure-6.2", "figure-6.3", "figure-6.6", "figure-7.2", "figure-8.4", "figure-8.5"):
        assert published[name] == []


def test_an_exact_value_is_known_to_half_its_last_decimal():
    assert tolerance("0.7402") == pytest.approx(5e-5)
    assert tolerance("574.95") == pytest.approx(0.005)
    assert tolerance("-13") == 1e-6


def test_the_likeliest_model_of_counted_steps():
    # One state between the ends: a quarter of the steps led left, three quarters right.
    counts = np.zeros((3, 3))
    counts[1, 0], counts[1, 2] = 1, 3
    assert td.certainty_equivalent(counts) == pytest.approx([0.75])
    # B led to A each time, and A to B or the left end: both are worth 0. C was never met.
    counts = np.zeros((5, 5))
    counts[1, 0] = counts[1, 2] = counts[2, 1] = 2
    assert td.certainty_equivalent(counts) == pytest.approx([0.0, 0.0, 0.5], abs=1e-12)
    # Each step as likely as the other: V(A) = V(B) / 2, V(B) = V(A) / 2 + 1/2.
    full = np.zeros((4, 4))
    full[1, 0] = full[1, 2] = full[2, 1] = full[2, 3] = 5
    assert td.certainty_equivalent(full) == pytest.approx([1 / 3, 2 / 3])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_whole_figures_are_drawn_and_their_readings_met(name, tmp_path):
    report = reproduce(registry.get(name))
    assert not [r for r in report.record()["readings"] if not r["met"]]
    assert report.write(tmp_path)[0].stat().st_size > 10_000
