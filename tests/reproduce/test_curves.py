"""Means over runs with their intervals, and what of them is drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from fathom.reproduce import curves
from fathom.reproduce.base import Estimate
from fathom.reproduce.curves import Curve

SAMPLES = np.array([[1.0, 4.0, 2.0], [3.0, 8.0, np.inf], [5.0, 0.0, 2.0]])  # of three runs at three points


def test_a_curve_is_the_mean_over_runs_at_each_point():
    one = Curve.of((0.1, 0.2, 0.3), SAMPLES)
    np.testing.assert_array_equal(one.mean, [3.0, 4.0, np.inf])
    for point in (0, 1):
        ours, expected = one.at(point), Estimate.of(SAMPLES[:, point])
        assert ours.value == pytest.approx(expected.value)
        assert ours.interval == pytest.approx(expected.interval)
    assert Curve.of((0.1, 0.2), SAMPLES[:1, :2]).at(1) == Estimate(4.0)


def test_the_lowest_point_is_one_that_did_not_diverge():
    one = Curve(np.arange(4.0), np.array([np.nan, 3.0, 2.0, -np.inf]), np.zeros(4))
    assert one.lowest == 2


def test_what_diverged_is_not_drawn_and_what_is_far_away_leaves_the_panel():
    one = Curve(np.arange(4.0), np.array([1.0, np.nan, 1e9, 2.0]), np.full(4, 0.5))
    axes = Figure().add_subplot()
    curves.lines(axes, {"α": one}, {"α": "red"}, (0.0, 3.0))
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(x, [0.0, 2.0, 3.0])
    assert (y[0], y[2]) == (1.0, 2.0)
    assert 3.0 < y[1] < 1e3
    assert axes.get_ylim() == (0.0, 3.0)


def test_colors_are_as_many_as_labels():
    labels = [f"n = {n}" for n in range(10)]
    assert len(set(curves.shades_of(labels).values())) == 10
    assert list(curves.colors_of(labels)) == labels
