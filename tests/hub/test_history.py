"""Snapshots: bounded in number, dense lately, sparse long ago."""

import numpy as np

from fathom.hub.history import Ladder, Snapshot


def _snapshot(u: int, applied: int = 0, pinned: bool = False) -> Snapshot:
    return Snapshot(u, applied, np.zeros(4), None, None, None, pinned)


def _ladder(most: int, last: int, every: int = 1) -> Ladder:
    ladder = Ladder(most, most, [_snapshot(0)])
    for u in range(every, last, every):
        ladder.add(_snapshot(u))
    return ladder


def test_a_long_run_keeps_few() -> None:
    ladder = _ladder(64, 20_000)
    updates = [s.u for s in ladder.kept]
    assert len(updates) == 64
    assert updates[0] == 0
    assert updates[-1] == 19_999
    gaps = np.diff(updates)
    assert gaps[-8:].max() < gaps[:8].min()
    assert gaps.max() < 20_000 / 64 * 4


def test_snapshots_before_interventions_stay_longer() -> None:
    ladder = Ladder(32, 32, [_snapshot(0)])
    for u in range(1, 3_000):
        ladder.add(_snapshot(u, pinned=u == 500))
    assert 500 in [s.u for s in ladder.kept]
    assert len(ladder.kept) == 32


def test_the_nearest_is_before_and_not_past_an_intervention() -> None:
    ladder = Ladder(9, 9, [_snapshot(0), _snapshot(5), _snapshot(5, 1), _snapshot(8, 1)])
    assert (ladder.before(5, 0).u, ladder.before(5, 0).applied) == (5, 0)
    assert ladder.before(5, 1).applied == 1
    assert ladder.before(7, 1).u == 5
    assert ladder.before(20, 0).u == 5
    assert [s.u for s in ladder.until(5, 0).kept] == [0, 5]


def test_memory_bounds_the_number() -> None:
    big = Snapshot(0, 0, np.zeros(2**26, np.uint8), None, None)
    assert Ladder.of(big).most == 4
