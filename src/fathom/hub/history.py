"""The past of a run: what was changed and when, and snapshots dense lately and sparse long ago."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
from jaxtyping import PyTree

from fathom.core.errors import FathomError

ROOM = 256 * 2**20  # bytes of snapshots of all branches together
MOST = 1024  # snapshots of a branch

_AHEAD = 64  # updates: within them snapshots are not told apart by age
_PINNED = 8.0  # how much longer a snapshot before an intervention is kept


@dataclass(frozen=True)
class Intervention:
    """A change in the middle of a run, made before update u (counted from 0)."""

    u: int
    op: Literal["set", "surgery"]
    what: dict[str, Any]  # set: values by name; surgery: {"op": …, and its arguments}


@dataclass(frozen=True)
class Snapshot:
    """All that a run is at one moment; never written to."""

    u: int
    applied: int  # interventions made so far
    carry: PyTree
    algorithm: Any  # as configured: Python's numbers
    env: Any
    host: dict | None = None  # environments of the host, where they can be copied
    pinned: bool = False  # taken before an intervention


@dataclass
class Ladder:
    """Snapshots of one branch in order of update, thinned where they grow too many."""

    room: int = MOST  # snapshots that fit, were there no other branch
    most: int = MOST
    kept: list[Snapshot] = field(default_factory=list)

    @staticmethod
    def of(first: Snapshot) -> "Ladder":
        """One that begins with the beginning; its size follows from what a snapshot takes."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(first.carry))
        if first.host is not None:
            size += sum(leaf.nbytes for leaf in jax.tree.leaves(first.host) if hasattr(leaf, "nbytes"))
        room = max(4, min(MOST, ROOM // max(size, 1)))
        return Ladder(room, room, [first])

    @property
    def last(self) -> Snapshot:
        """The newest."""
        return self.kept[-1]

    def add(self, snapshot: Snapshot) -> None:
        """Keep it; where there are too many now, the one that is missed least goes."""
        where = [(s.u, s.applied) for s in self.kept]
        if (snapshot.u, snapshot.applied) in where:
            if snapshot.pinned:
                at = where.index((snapshot.u, snapshot.applied))
                self.kept[at] = replace(self.kept[at], pinned=True)
            return
        self.kept.append(snapshot)
        self.kept.sort(key=lambda s: (s.u, s.applied))
        while len(self.kept) > max(self.most, 3):
            now = self.kept[-1].u
            # The first and the last stay: nothing could be recomputed without the one, and the other is due.
            costs = [self._missed(i, now) for i in range(1, len(self.kept) - 1)]
            del self.kept[1 + costs.index(min(costs))]

    def _missed(self, i: int, now: int) -> float:
        """What leaving out the i-th would cost: updates to recompute, against the root of its age.

        By the root, 1,024 of a run of a million updates are 2,000 apart at its beginning and 200 apart 10,000
        updates ago.
        """
        gap = self.kept[i + 1].u - self.kept[i - 1].u
        age = now - self.kept[i].u + _AHEAD
        return gap / math.sqrt(age) * (_PINNED if self.kept[i].pinned else 1.0)

    def before(self, u: int, applied: int) -> Snapshot:
        """The last one from which update u with that many interventions can be reached."""
        fitting = [s for s in self.kept if s.u <= u and s.applied <= applied]
        if not fitting:
            raise FathomError(f"update {u} lies before the beginning; go to 0 or later.")
        return fitting[-1]

    def until(self, u: int, applied: int) -> "Ladder":
        """The part of it that a branch leaving at that point shares."""
        return Ladder(self.room, self.most, [s for s in self.kept if s.u <= u and s.applied <= applied])
