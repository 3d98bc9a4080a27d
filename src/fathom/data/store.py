"""The observations of a replay buffer in the host's memory, for replay larger than the device."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from fathom.core.types import EnvSpec, Obs
from fathom.data import frames
from fathom.data import replay as replays
from fathom.data.replay import Found, Replay


class Store:
    """What `replays.observations` gives, as NumPy arrays that are written in place, for one seed or several.

    Everything else of a replay is small and stays on the device, where batches are drawn and their places
    found: only the writing of rows and the fetching of observations are done here.
    """

    def __init__(self, spec: EnvSpec, rows: int, num_envs: int, seeds: int) -> None:
        self.stack = spec.stack
        self.rows = rows
        self.batched = seeds > 1
        like = shapes(spec, rows, num_envs)
        lead = (seeds,) if self.batched else ()
        # Zeros that the system gives when they are first written to: nothing is taken before it is needed.
        self.arrays: PyTree = jax.tree.map(lambda s: np.zeros((*lead, *s.shape), s.dtype), like)

    def write(self, obs: Obs, final_obs: Obs, cursor: int, filled: int, place: np.ndarray) -> None:
        """Keep rows [time, env, ...] at the cursor, as `replays.add` does; `place` is of `add_rows`."""
        for arrays, seen, reached, at in self._by_seed((self.arrays, obs, final_obs, place)):
            if self.stack is None:
                jax.tree.map(lambda kept, new: _put(kept, new, cursor), arrays, (seen, reached))
                continue
            new = (frames.newest(self.stack, seen), frames.newest(self.stack, reached))
            jax.tree.map(lambda kept, a, b, at=at: self._keep(kept, a, b, cursor, filled, at), arrays, *new)

    def _keep(
        self, kept: np.ndarray, seen: np.ndarray, reached: np.ndarray, cursor: int, filled: int, place: Any
    ) -> None:
        """As `frames.write`."""
        assert self.stack is not None
        older, written = self.stack.num - 1, len(seen)
        before = kept[self.rows : self.rows + older]
        if filled == self.rows:
            gone = kept[cursor : cursor + written]
            before[:] = np.concatenate([before, gone])[written:]
        kept[cursor : cursor + written] = seen
        kept[self.rows + older] = reached[-1]
        t, env = np.nonzero(place < len(kept))
        kept[place[t, env], env] = reached[t, env]

    def joined(self, replay: Replay, cursor: int, written: int) -> Replay:
        """The replay as the device would hold it, where so many rows are written next at the cursor."""
        whole = replays.with_observations(replay, self.arrays)
        if not isinstance(whole.obs, frames.Frames):
            return whole
        of = whole.obs
        parts = [frames.edges(of, kept, cursor, written) for kept in self._by_seed(self.arrays)]
        edges = jax.tree.map(lambda *x: np.stack(x), *parts) if self.batched else parts[0]
        return eqx.tree_at(lambda r: (r.obs.older, r.obs.coming), whole, edges)

    def move(self, place: np.ndarray) -> None:
        """The frame that the newest row's step reached also at its place, as `frames.move`."""
        if self.stack is None:
            return
        at = self.rows + self.stack.num - 1
        for arrays, to in self._by_seed((self.arrays, place)):
            for kept in jax.tree.leaves(arrays):
                env = np.flatnonzero(to < len(kept))
                kept[to[env], env] = kept[at, env]

    def fetch(self, found: Any) -> tuple[PyTree, Found]:
        """A copy of what `found` needs of the observations, and where in it that is: for `replays.fetch`.

        The program that learns looks observations up in it as on the device it does in all of them, so that
        XLA has no reason to compile the two otherwise, nor to round otherwise.
        """
        parts = [self._pick(arrays, one) for arrays, one in self._by_seed((self.arrays, found))]
        if not self.batched:
            return parts[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *parts)

    def _pick(self, arrays: PyTree, found: Found) -> tuple[PyTree, Found]:
        seen, reached, env = (np.asarray(x) for x in (found.obs, found.next_obs, found.env))
        nowhere: Any = np.zeros_like(env)
        own: Any = np.arange(seen.size, dtype=seen.dtype).reshape(seen.shape)
        seen, reached = seen.ravel(), reached.ravel()
        if self.stack is None:
            obs, final_obs = arrays
            of = env.ravel()
            picked = (
                jax.tree.map(lambda x: x[seen, of][:, None], obs),
                jax.tree.map(lambda x: x[reached, of][:, None], final_obs),
            )
            return picked, Found(None, own, own, nowhere)
        places = np.concatenate([seen, reached])
        of = np.tile(np.repeat(env.ravel(), self.stack.num), 2)
        picked = jax.tree.map(lambda x: x[places, of][:, None], arrays)
        return picked, Found(None, own, own + own.dtype.type(seen.size), nowhere)

    def _by_seed(self, tree: Any) -> list[Any]:
        if not self.batched:
            return [tree]
        seeds = len(jax.tree.leaves(self.arrays)[0])
        return [jax.tree.map(lambda x, s=s: x[s], tree) for s in range(seeds)]


def shapes(spec: EnvSpec, rows: int, num_envs: int) -> PyTree:
    """Shapes and dtypes of one seed's observations."""
    return jax.eval_shape(lambda: replays.observations(replays.init(spec, rows, num_envs)))


def nbytes(spec: EnvSpec, rows: int, num_envs: int) -> int:
    """Bytes that one seed's observations take."""
    return replays.nbytes(spec, rows, num_envs) - replays.nbytes(spec, rows, num_envs, within=False)


def _put(kept: np.ndarray, new: np.ndarray, cursor: int) -> None:
    kept[cursor : cursor + len(new)] = new
