import math
from collections import Counter
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fathom.core.spaces import Box, Dict, Discrete, Masked, MultiBinary, MultiDiscrete
from fathom.core.types import EnvSpec, Prioritisation, Rollout
from fathom.data import replay as replays
from fathom.data import sum_tree

SPEC = EnvSpec(Dict({"id": Box(-np.inf, np.inf, (1,)), "env": Discrete(100)}), Discrete(1000))
SHAPES = ((4, 1, 1), (6, 3, 2), (12, 2, 3))  # rows of the ring, environments, rows of a write
DRAWS = 256

add = partial(jax.jit, static_argnames="n_step")(replays.add)
sample = partial(jax.jit, static_argnames=("batch_size", "n_step"))(replays.sample)


class Item(NamedTuple):
    """One transition: its number, which is also its observation, and what came of it."""

    id: int
    reward: float
    terminated: bool
    truncated: bool


class Model:
    """A replay buffer as it would be written in an hour: one list per environment, the oldest dropped."""

    def __init__(self, rows: int, num_envs: int) -> None:
        self.rows = rows
        self.lists: list[list[Item]] = [[] for _ in range(num_envs)]

    def add(self, env: int, item: Item) -> None:
        self.lists[env] = [*self.lists[env], item][-self.rows :]

    def windows(self, n: int, gamma: float) -> dict[int, tuple[int, float, float, float]]:
        """By the first observation of each window of n rows: env, R, γ^k or 0, observation reached."""
        found = {}
        for env, items in enumerate(self.lists):
            for start in range(len(items) - n + 1):
                total, discount = 0.0, 1.0
                for item in items[start : start + n]:
                    total += discount * item.reward
                    discount *= 0.0 if item.terminated else gamma
                    reached = item.id + 0.5
                    if item.terminated or item.truncated:
                        break
                found[items[start].id] = (env, total, discount, reached)
        return found


def filled(
    rows: int,
    num_envs: int,
    per_write: int,
    writes: int,
    seed: int,
    ends: float,
    prioritized: bool = False,
    n_step: int = 1,
):
    """A buffer and its model after some writes of random transitions."""
    rng = np.random.default_rng(seed)
    buffer = replays.init(SPEC, rows, num_envs, prioritized)
    ring = replays.Ring(jnp.int32(0), jnp.int32(0))
    model = Model(rows, num_envs)
    shape = (per_write, num_envs)
    for write in range(writes):
        number = (write * per_write + np.arange(per_write)[:, None]) * num_envs + np.arange(num_envs)
        reward = rng.normal(size=shape).astype(np.float32)
        terminated, truncated = rng.random(shape) < ends, rng.random(shape) < ends
        env = np.broadcast_to(np.arange(num_envs, dtype=np.int32), shape)
        obs = {"id": number[..., None].astype(np.float32), "env": env}
        reached = {"id": obs["id"] + np.float32(0.5), "env": env}
        action = (number % 1000).astype(np.int32)
        rollout = Rollout(obs, action, reward, terminated, truncated, reached, {}, ())
        buffer = add(buffer, jax.tree.map(jnp.asarray, rollout), ring, n_step=n_step)
        ring = replays.advance(ring, per_write, rows)
        for t, e in np.ndindex(shape):
            item = Item(int(number[t, e]), float(reward[t, e]), bool(terminated[t, e]), bool(truncated[t, e]))
            model.add(e, item)
    return buffer, ring, model


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@settings(max_examples=20)
@given(
    shape=st.sampled_from(SHAPES),
    writes=st.integers(1, 30),
    seed=st.integers(0, 2**31),
    ends=st.sampled_from([0.0, 0.1, 0.4, 1.0]),
    gamma=st.sampled_from([0.0, 0.9, 1.0]),
)
def test_every_batch_is_a_window_of_the_model(n, shape, writes, seed, ends, gamma):
    rows, num_envs, per_write = shape
    n = min(n, rows)
    writes = max(writes, math.ceil(n / per_write))
    buffer, ring, model = filled(rows, num_envs, per_write, writes, seed, ends)
    batch = jax.device_get(sample(buffer, ring, jax.random.key(seed), DRAWS, n, jnp.float32(gamma)))
    windows = model.windows(n, gamma)
    assert {int(i) for i in batch.obs["id"][:, 0]} <= set(windows)
    expected = [windows[int(i)] for i in batch.obs["id"][:, 0]]
    env, reward, discount, reached = (np.array(column) for column in zip(*expected, strict=True))
    np.testing.assert_array_equal(batch.obs["env"], env)
    np.testing.assert_array_equal(batch.next_obs["env"], env)
    np.testing.assert_array_equal(batch.action, batch.obs["id"][:, 0].astype(int) % 1000)
    np.testing.assert_allclose(batch.reward, reward, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(batch.discount, discount, rtol=1e-6)
    np.testing.assert_array_equal(batch.next_obs["id"][:, 0], reached)
    np.testing.assert_array_equal(batch.weight, 1.0)


@pytest.mark.parametrize("writes", [2, 3, 5], ids=["half full", "full", "wrapped"])
@pytest.mark.parametrize("n", [1, 3])
def test_all_valid_starts_are_drawn_and_equally_often(n, writes):
    buffer, ring, model = filled(12, 3, 4, writes, seed=1, ends=0.2)
    ids = [
        int(i) for i in sample(buffer, ring, jax.random.key(0), 20_000, n, jnp.float32(0.9)).obs["id"][:, 0]
    ]
    valid = model.windows(n, 0.9)
    counts = Counter(ids)
    assert set(counts) == set(valid)
    assert len(valid) == 3 * (min(writes * 4, 12) - n + 1)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_a_window_may_end_at_the_newest_row_and_begin_at_the_oldest():
    buffer, ring, model = filled(6, 1, 2, 5, seed=0, ends=0.0)
    assert int(ring.cursor) == 4
    batch = sample(buffer, ring, jax.random.key(0), DRAWS, 3, jnp.float32(1.0))
    oldest, newest = model.lists[0][0].id, model.lists[0][-1].id
    assert float(batch.obs["id"].min()) == oldest
    assert float(batch.next_obs["id"].max()) == newest + 0.5


def test_both_flags_at_once_are_an_end():
    obs = {"id": jnp.zeros((1, 1, 1)), "env": jnp.zeros((1, 1), jnp.int32)}
    yes = jnp.ones((1, 1), jnp.bool_)
    rollout = Rollout(obs, jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1)), yes, yes, obs, {}, ())
    ring = replays.Ring(jnp.int32(0), jnp.int32(0))
    buffer = add(replays.init(SPEC, 2, 1), rollout, ring)
    batch = sample(buffer, replays.advance(ring, 1, 2), jax.random.key(0), 4, 1, jnp.float32(0.9))
    np.testing.assert_array_equal(batch.discount, 0.0)
    np.testing.assert_array_equal(batch.reward, 1.0)


def test_the_ring_advances_and_wraps():
    ring, seen = replays.Ring(jnp.int32(0), jnp.int32(0)), []
    for _ in range(5):
        ring = replays.advance(ring, 2, 6)
        seen.append((int(ring.cursor), int(ring.filled)))
    assert seen == [(2, 2), (4, 4), (0, 6), (2, 6), (4, 6)]


SPACES = [
    (Box(-1.0, 1.0, (3,)), Discrete(2)),
    (Box(0, 255, (40, 36, 2), np.uint8), MultiDiscrete((3, 2))),
    (Masked(Discrete(5), 4), Discrete(4, start=2)),
    (Dict({"a": MultiBinary(3), "b": Box(0.0, np.inf, (2, 2))}), Box(-1.0, 1.0, (2,))),
]


@pytest.mark.parametrize(("obs", "action"), SPACES)
def test_the_size_that_is_told_is_the_size_that_is_taken(obs, action):
    spec = EnvSpec(obs, action)
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(replays.init(spec, 7, 3)))
    assert replays.nbytes(spec, 7, 3) == taken


def test_a_transition_of_bytes_takes_bytes():
    spec = EnvSpec(Box(0, 255, (40, 36, 2), np.uint8), Discrete(2))
    assert replays.nbytes(spec, 1, 1) == 2 * 40 * 36 * 2 + 4 + 4 + 1 + 1


@given(buffer_size=st.integers(1, 10_000), num_envs=st.integers(1, 70), per_write=st.integers(1, 50))
def test_rows_needed_are_the_least_that_hold_the_buffer(buffer_size, num_envs, per_write):
    rows = replays.rows_needed(buffer_size, num_envs, per_write)
    assert rows % per_write == 0
    assert rows * num_envs >= buffer_size
    assert (rows - per_write) * num_envs < buffer_size


prioritized = partial(jax.jit, static_argnames=("rows", "num_envs", "n_step"))(replays.draw_prioritized)
reprioritise = partial(jax.jit, static_argnames="num_envs")(replays.reprioritise)


def ids_of(buffer):
    """The number of the transition at each place."""
    return np.asarray(buffer.obs["id"])[..., 0].ravel().astype(int)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@settings(max_examples=15, deadline=None)
@given(shape=st.sampled_from(SHAPES), writes=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_priorities_are_those_of_transitions_whose_window_is_complete(n, shape, writes, seed):
    """Trap 6: none that is not there yet, nor one that is overwritten; also where windows pass the wrap."""
    rows, num_envs, per_write = shape
    n = min(n, rows)
    buffer, _, model = filled(rows, num_envs, per_write, writes, seed, 0.2, True, n)
    weight = np.asarray(buffer.tree.levels[0])[: rows * num_envs]
    found = ids_of(buffer)[weight > 0.0]
    assert sorted(found.tolist()) == sorted(model.windows(n, 0.9))
    assert set(weight.tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("writes", [2, 5], ids=["half full", "wrapped"])
def test_transitions_are_drawn_by_their_priority_and_weighed(writes):
    """Trap 6: χ² of what is drawn against p^α, and weights (N P)^−β over the largest of the batch."""
    alpha, beta, n = 0.7, 0.4, 3
    buffer, ring, model = filled(12, 3, 4, writes, 1, 0.2, True, n)
    rng = np.random.default_rng(0)
    places = np.flatnonzero(np.asarray(buffer.tree.levels[0])[:36])
    priority = rng.exponential(size=len(places)).astype(np.float32)
    drawn = replays.Draw(jnp.asarray(places // 3), jnp.asarray(places % 3))
    tree = reprioritise(buffer.tree, 3, drawn, jnp.asarray(priority), jnp.float32(alpha))
    chance = (priority.astype(float) + 1e-6) ** alpha
    chance /= chance.sum()
    how = Prioritisation(jnp.float32(alpha), jnp.float32(beta))
    counts, count = np.zeros(36), len(model.windows(n, 0.9))
    for key in jax.random.split(jax.random.key(0), 40):
        uniform = jax.random.uniform(key, (500,))
        drawn, weight = prioritized(tree, 12, 3, ring, uniform, how, n)
        index = np.asarray(drawn.first) * 3 + np.asarray(drawn.env)
        counts += np.bincount(index, minlength=36)
        wanted = (count * chance[np.searchsorted(places, index)]) ** -beta
        np.testing.assert_allclose(weight, wanted / wanted.max(), rtol=2e-4)
    assert not np.delete(counts, places).any()
    assert stats.chisquare(counts[places], chance * counts.sum()).pvalue > 1e-3


def test_a_batch_takes_one_transition_of_each_part_of_the_sum():
    buffer, ring, _ = filled(12, 3, 4, 3, 1, 0.0, True)
    how = Prioritisation(jnp.float32(1.0), jnp.float32(1.0))
    for u in (0.001, 0.5, 0.999):  # on the border itself, rounding decides between two neighbours
        drawn, weight = prioritized(buffer.tree, 12, 3, ring, jnp.full(36, u, jnp.float32), how, 1)
        np.testing.assert_array_equal(np.asarray(drawn.first) * 3 + np.asarray(drawn.env), np.arange(36))
        np.testing.assert_allclose(weight, 1.0, rtol=1e-5)


def test_new_transitions_come_with_the_greatest_priority_there_was():
    buffer, ring, _ = filled(6, 1, 2, 1, 0, 0.0, True)
    first = replays.Draw(jnp.array([0]), jnp.array([0]))
    tree = reprioritise(buffer.tree, 1, first, jnp.array([-8.0]), jnp.float32(0.5))
    again = reprioritise(tree, 1, first, jnp.array([0.25]), jnp.float32(0.5))
    assert float(tree.greatest) == float(again.greatest) == pytest.approx(8.0**0.5, rel=1e-5)
    buffer = replays.Replay(**(vars(buffer) | {"tree": again}))
    parts = (
        buffer.obs,
        buffer.action,
        buffer.reward,
        buffer.terminated,
        buffer.truncated,
        buffer.final_obs,
    )
    fresh = Rollout(*jax.tree.map(lambda x: x[:2], parts), {}, ())
    after = add(buffer, fresh, ring)
    np.testing.assert_allclose(
        np.asarray(after.tree.levels[0])[:6], [0.5, 1.0, 8.0**0.5, 8.0**0.5, 0.0, 0.0], rtol=1e-5
    )
    assert float(sum_tree.total(after.tree)) == pytest.approx(1.5 + 2 * 8.0**0.5, rel=1e-5)


def test_priorities_take_the_bytes_that_are_told():
    spec = EnvSpec(Box(-1.0, 1.0, (3,)), Discrete(2))
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(replays.init(spec, 70, 3, True)))
    assert replays.nbytes(spec, 70, 3, True) == taken > replays.nbytes(spec, 70, 3)
