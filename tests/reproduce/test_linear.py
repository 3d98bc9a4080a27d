"""What is counted of MountainCar's episodes, and on whole runs who learns sooner."""

import numpy as np
import pytest

from fathom.reproduce import linear, registry
from fathom.reproduce.base import Estimate, reproduce
from fathom.reproduce.sweep import Curve, Episodes


def test_cut_episodes_are_counted_among_all():
    truncated = np.zeros((2, 3, 4), np.bool_)
    truncated[0, 1, 2] = truncated[1, 0, 0] = True
    one = Episodes(np.ones((2, 3, 4), np.int32), truncated, np.zeros((2, 3, 4), np.float32))
    assert linear.cut(one, one) == {"episodes cut at 5,000 steps, of 48": Estimate(4.0)}


def test_the_mean_is_over_episodes():
    length = np.arange(24).reshape(2, 3, 4)
    one = Episodes(length, np.zeros_like(length, np.bool_), np.zeros(length.shape, np.float32))
    np.testing.assert_array_equal(linear.mean_steps(one)[0], [1.5, 5.5, 9.5])


def test_the_best_of_a_curve_names_its_step_size():
    curve = Curve(np.array([0.2, 0.4]), [Estimate(300.0), Estimate(250.0)])
    assert linear.best_of({"n = 2": curve}, "steps") == {"n = 2, best α × 8 = 0.4: steps": Estimate(250.0)}


@pytest.mark.slow
def test_eight_steps_learn_sooner_than_one():
    figures = reproduce(registry.get("figure-10.3")).outcome.figures
    early = [e for label, e in figures.items() if label.endswith(linear.EARLY_STEPS)]
    assert early[1].value < early[0].value


@pytest.mark.slow
def test_replacing_traces_learn_sooner_than_accumulating_ones():
    curves = reproduce(registry.get("figure-12.11")).outcome.data["curves"]
    dutch, replacing, accumulating = (one.y[one.best].value for one in curves.values())
    assert dutch < accumulating
    assert replacing < accumulating
