"""What a reproduction does with its numbers: judging, recording, drawing. No experiment is run here."""

import json

import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError, UnknownName
from fathom.reproduce import drawing, registry
from fathom.reproduce.base import Estimate, Experiment, Outcome, Reading, reproduce


def compute(runs: int, seed: int) -> Outcome:
    samples = np.random.default_rng(seed).normal(3.0, 1.0, runs)
    return Outcome({"mean": Estimate.of(samples), "runs": Estimate(float(runs))}, {"samples": samples})


def draw(figure, outcome, readings) -> None:
    axes = drawing.panel(figure, 111, "Samples", "run", "value")
    y = outcome.data["samples"]
    drawing.curve(axes, np.arange(y.size), y, "samples", drawing.COLORS[0], np.full(y.size, 0.1))
    for reading in readings.values():
        drawing.mark(axes, y.size, reading, drawing.COLORS[0])
    drawing.footnote(figure, "a test")


def experiment(*readings: Reading) -> Experiment:
    return Experiment("figure-0.1", "a mean", "nowhere", 50, compute, draw, readings)


def test_the_interval_is_student_s():
    estimate = Estimate.of(np.array([1.0, 2.0, 3.0, 4.0]))
    # s = √(5/3), t(0.975, 3) = 3.182446
    half = 3.182446 * np.sqrt(5 / 3) / 2
    assert estimate.value == 2.5
    np.testing.assert_allclose(estimate.interval, (2.5 - half, 2.5 + half), rtol=1e-6)
    assert Estimate.of(np.array([7.0])) == Estimate(7.0, None)


def test_a_reading_allows_two_percent_of_its_axis():
    reading = Reading("x", 1.38, axis=1.5)
    assert reading.allowed == pytest.approx(0.03)
    assert reading.met(1.40)
    assert reading.met(1.36)
    assert not reading.met(1.42)
    assert not reading.met(float("nan"))


def test_an_exact_value_has_a_tolerance_of_its_own():
    assert Reading("x", 574.95, tolerance=0.005).met(574.9527)
    assert not Reading("x", 574.95, tolerance=0.005).met(574.96)
    for wrong in ({}, {"axis": 1.0, "tolerance": 0.1}):
        with pytest.raises(FathomError, match="either an axis or a tolerance"):
            Reading("x", 1.0, **wrong)


@pytest.mark.parametrize(("published", "met"), [(3.0, True), (30.0, False)])
def test_the_record_holds_ours_against_theirs(published, met):
    report = reproduce(
        experiment(Reading("mean", published, axis=50.0, taken="mean of all")), runs=20, seed=1
    )
    record = report.record()
    ours = compute(20, 1).figures["mean"]
    assert record["met"] is report.met is met
    (line,) = record["readings"]
    assert line == {
        "label": "mean",
        "published": published,
        "allowed": 1.0,
        "axis": 50.0,
        "taken": "mean of all",
        "ours": ours.value,
        "ci95": ours.interval,
        "met": met,
    }
    assert record["figures"] == [{"label": "runs", "ours": 20.0, "ci95": None}]
    assert (record["runs"], record["seed"], record["name"]) == (20, 1, "figure-0.1")
    assert record["seconds"] > 0
    assert {"python", "fathom", "jax"} <= set(record["versions"])


def test_an_experiment_is_a_function_of_runs_and_seed():
    first, again, other = (reproduce(experiment(), 5, seed).outcome.figures["mean"] for seed in (0, 0, 1))
    assert first == again != other
    assert reproduce(experiment()).runs == 50


def test_files_are_a_picture_and_a_record(tmp_path):
    report = reproduce(experiment(Reading("mean", 3.0, axis=50.0)), runs=9)
    picture, record = report.write(tmp_path / "new" / "folder")
    assert (picture.name, record.name) == ("figure-0.1.png", "figure-0.1.json")
    with Image.open(picture) as image:
        assert image.size == (round(8.4 * 160), round(4.8 * 160))
        colors = image.convert("RGB").getcolors(1 << 24)
    assert len(colors) > 10
    assert json.loads(record.read_text())["readings"][0]["published"] == 3.0


def test_what_cannot_be_done_is_said(tmp_path):
    with pytest.raises(FathomError, match="runs is 0"):
        reproduce(experiment(), 0)
    with pytest.raises(FathomError, match="no figure for median"):
        reproduce(experiment(Reading("median", 1.0, axis=1.0)), 3)
    (tmp_path / "file").write_text("")
    with pytest.raises(FathomError, match="cannot write"):
        reproduce(experiment(), 3).write(tmp_path / "file")


def test_the_registry_knows_its_experiments():
    known = registry.experiments()
    assert list(known) == sorted(known, key=registry._order)
    assert all(name == e.name for name, e in known.items())
    assert registry.get("Figure-2.2") is known["figure-2.2"]
    with pytest.raises(UnknownName, match=r"Did you mean figure-2\.2"):
        registry.get("figure2.2")


def test_figures_are_in_the_order_of_their_numbers():
    names = ["exact-table", "figure-10.2", "figure-6.2", "figure-2.2", "figure-6.10"]
    ordered = ["figure-2.2", "figure-6.2", "figure-6.10", "figure-10.2", "exact-table"]
    assert sorted(names, key=registry._order) == ordered
