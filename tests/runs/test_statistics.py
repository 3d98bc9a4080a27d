import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fathom.core.errors import FathomError
from fathom.runs.statistics import (
    ci95,
    improvement_of_tasks,
    iqm,
    iqm_of_tasks,
    mean,
    probability_of_improvement,
    stratified_ci95,
    summarize,
)

values = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 2)), min_size=1, max_size=8).map(np.array)


def test_hand_numbers():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 100.0])
    assert mean(x) == 16.0
    assert iqm(x) == 4.5  # of 3, 4, 5, 6
    assert iqm(np.array([0.0, 1.0, 10.0])) == pytest.approx(11 / 3)  # nothing to cut
    assert iqm(np.arange(10.0)) == 4.5  # two cut at each end, as a quarter of ten is rounded down


@given(values)
def test_iqm_is_scipy_s_trimmed_mean(x):
    assert iqm(x) == pytest.approx(stats.trim_mean(x, 0.25))


@given(values)
def test_the_interval_is_finite_ordered_and_within_the_data(x):
    for statistic in ("mean", "iqm"):
        interval = ci95(x, statistic)
        if len(x) == 1:
            assert interval is None
        else:
            low, high = interval
            assert x.min() - 1e-6 <= low <= high <= x.max() + 1e-6


def test_the_interval_is_scipy_s_bca_and_always_the_same():
    x = np.random.default_rng(3).normal(100, 15, 10)
    theirs = stats.bootstrap((x,), np.mean, n_resamples=50_000, random_state=1).confidence_interval
    low, high = ci95(x)
    assert (low, high) == ci95(x)
    assert low == pytest.approx(theirs.low, abs=0.8)
    assert high == pytest.approx(theirs.high, abs=0.8)
    assert ci95(x, "iqm") != (low, high)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        low, high = ci95(rng.normal(0, 1, 10))
        inside += low <= 0 <= high
    assert 48 <= inside <= 60


def test_degenerate_values_have_an_interval():
    assert ci95(np.array([500.0])) is None
    assert ci95(np.full(10, 500.0)) == (500.0, 500.0)
    assert ci95(np.array([1.0, np.nan])) is None
    low, high = ci95(np.array([500.0] * 9 + [499.0]))
    assert 499 <= low < 499.9 < high <= 500


def test_the_summary_takes_episodes_or_seeds():
    returns = np.array([[1.0, 3.0], [5.0, 7.0], [9.0, 11.0]])
    summary = summarize(returns)
    assert summary == summarize(returns.mean(axis=1))
    assert summary["returns_per_seed"] == [2.0, 6.0, 10.0]
    assert summary["mean"] == summary["iqm"] == 6.0
    assert summary["ci95"][0] < 6.0 < summary["ci95"][1]
    assert summarize(np.array([4.0]))["ci95"] is None


def test_probability_of_improvement():
    assert probability_of_improvement(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert probability_of_improvement(np.array([1.0]), np.array([1.0])) == 0.5
    x, y = np.array([1.0, 4.0, 4.0, 9.0]), np.array([2.0, 4.0, 8.0])
    u = stats.mannwhitneyu(x, y).statistic
    assert probability_of_improvement(x, y) == pytest.approx(u / 12)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((2, 2)), np.float64(1.0)])
def test_what_is_no_vector_is_refused(bad):
    with pytest.raises(FathomError, match="one value per seed"):
        mean(bad)


TASKS = np.array([[0.0, 1.0, 2.0, 3.0], [10.0, 11.0, 12.0, 13.0]])


def test_iqm_over_tasks_is_that_of_all_scores():
    assert iqm_of_tasks(TASKS) == np.mean([2.0, 3.0, 10.0, 11.0])
    assert iqm_of_tasks(TASKS) == iqm(TASKS.ravel())
    np.testing.assert_array_equal(iqm_of_tasks(np.stack([TASKS, TASKS + 1.0])), [6.5, 7.5])


def test_improvement_over_tasks_is_the_mean_of_each_task_s():
    other = np.array([[1.5, 1.5], [13.0, 14.0]])
    each = [probability_of_improvement(x, y) for x, y in zip(TASKS, other, strict=True)]
    assert each == [0.5, 0.0625]
    assert improvement_of_tasks(TASKS, other) == np.mean(each)
    assert improvement_of_tasks(other, TASKS) == 1.0 - np.mean(each)


def test_seeds_are_drawn_within_their_tasks():
    """Two tasks far apart: all resamples have as many scores of each, or the mean would jump between them."""
    low, high = stratified_ci95(lambda x: x.mean(axis=(-2, -1)), TASKS)
    exact = np.array([(a + b) / 8 for a in sums(TASKS[0]) for b in sums(TASKS[1])])
    np.testing.assert_allclose([low, high], np.percentile(exact, [2.5, 97.5]), atol=0.13)
    assert stratified_ci95(iqm_of_tasks, TASKS) == stratified_ci95(iqm_of_tasks, TASKS)


def sums(values):
    """The sum of every draw of four from four, each as likely as the other."""
    return np.stack(np.meshgrid(*[values] * 4)).sum(axis=0).ravel()


def test_pairs_are_resampled_each_by_itself():
    interval = stratified_ci95(improvement_of_tasks, TASKS, TASKS)
    assert interval[0] < 0.5 < interval[1]
    assert stratified_ci95(improvement_of_tasks, TASKS + 100.0, TASKS) == (1.0, 1.0)


def test_there_is_no_interval_of_one_seed_or_of_what_is_not_finite():
    assert stratified_ci95(iqm_of_tasks, TASKS[:, :1]) is None
    assert stratified_ci95(iqm_of_tasks, np.where(TASKS > 12.0, np.nan, TASKS)) is None
    with pytest.raises(FathomError, match=r"\[task, seed\]; got the shape \(4,\)"):
        stratified_ci95(iqm_of_tasks, TASKS[0])
