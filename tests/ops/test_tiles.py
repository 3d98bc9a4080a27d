import jax.numpy as jnp
import numpy as np
import pytest

from fathom.ops import tiles


@pytest.mark.parametrize(("tilings", "width", "d"), [(1, 4, 1), (4, 4, 2), (8, 8, 2), (4, 3, 3)])
def test_every_point_has_one_tile_in_each_tiling_and_tiles_are_not_shared(tilings, width, d):
    x = np.random.default_rng(0).random((500, d)).astype(np.float32)
    x[:2] = [[0.0] * d, [1.0] * d]
    active = np.asarray(tiles.code(jnp.asarray(x), tilings, width))
    assert active.shape == (500, tilings)
    per_tiling = (width + 1) ** d
    np.testing.assert_array_equal(active // per_tiling, np.broadcast_to(np.arange(tilings), active.shape))
    assert tiles.count(tilings, width, d) == tilings * per_tiling


def test_tiles_are_those_of_a_loop():
    """Tiling i, dimension k: shifted by i(2k + 1)/n tiles, modulo one."""
    x = np.random.default_rng(1).random((200, 2))
    active = np.asarray(tiles.code(jnp.asarray(x, jnp.float32), 8, 5))
    for point, row in zip(x, active, strict=True):
        for i in range(8):
            cell = [int(np.floor(point[k] * 5 + (i * (2 * k + 1) % 8) / 8)) for k in range(2)]
            assert row[i] == i * 36 + cell[0] + 6 * cell[1]


def test_neighbours_share_most_tiles_and_strangers_none():
    """Half a tile away along one dimension, half of the tilings agree: generalisation is by distance."""
    base = jnp.array([0.4, 0.4], jnp.float32)
    shared = lambda dx: int(  # noqa: E731
        (tiles.code(base, 8, 8) == tiles.code(base + jnp.array(dx, jnp.float32), 8, 8)).sum()
    )
    assert shared([0.0, 0.0]) == 8
    assert shared([0.0624, 0.0]) == 4
    assert shared([0.126, 0.0]) == 0
    # The book's displacement is asymmetric: no direction loses all tilings at once.
    assert [shared([s * 0.0156, t * 0.0156]) for s in (-1, 1) for t in (-1, 1)] == [6, 6, 6, 6]


def test_points_outside_count_as_on_the_edge():
    outside = jnp.array([[-3.0, 0.5], [9.0, 2.0]], jnp.float32)
    edge = jnp.array([[0.0, 0.5], [1.0, 1.0]], jnp.float32)
    np.testing.assert_array_equal(tiles.code(outside, 4, 4), tiles.code(edge, 4, 4))
