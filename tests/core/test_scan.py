import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from fathom.core.scan import scan_ahead

ROOT = jax.random.key(3)


def walk(carry: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], dict[str, Array]]:
    """Of every kind: of constants alone, of the row alone, of the carry, and of all."""
    place, steps = carry
    key = jax.random.fold_in(ROOT, t)
    draw = jax.random.uniform(key, (3,))
    start = jnp.arange(3, dtype=jnp.float32)
    kept = jnp.where(place > 1.0, draw, place + start)
    out = {"draw": draw, "t": t, "start": start, "kept": kept, "one": jnp.ones(()), "place": place}
    return (kept, steps + 1), out


@pytest.mark.parametrize("jit", [False, True])
def test_it_gives_what_a_scan_gives(jit: bool) -> None:
    init = (jnp.zeros(3), jnp.int32(0))
    rows = jnp.arange(7, dtype=jnp.int32)
    ours, theirs = (lambda r, f=f: f(walk, init, r) for f in (scan_ahead, jax.lax.scan))
    got, expected = (jax.jit(f)(rows) if jit else f(rows) for f in (ours, theirs))
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_it_can_be_vmapped_over_what_the_body_closes_over() -> None:
    def run(scan, seed: Array) -> Array:
        root = jax.random.key(seed)
        body = lambda c, t: (c + jax.random.uniform(jax.random.fold_in(root, t)), c)  # noqa: E731
        return scan(body, jnp.float32(0.0), jnp.arange(5, dtype=jnp.uint32))

    seeds = jnp.arange(4, dtype=jnp.uint32)
    got, expected = (jax.vmap(lambda s, f=f: run(f, s))(seeds) for f in (scan_ahead, jax.lax.scan))
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_random_numbers_leave_the_loop_and_nothing_of_the_carry_does() -> None:
    init = (jnp.zeros(3), jnp.int32(0))
    jaxpr = jax.make_jaxpr(lambda r: scan_ahead(walk, init, r))(jnp.arange(7, dtype=jnp.int32))
    (loop,) = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan"]
    inside = str(loop.params["jaxpr"])
    assert "random" not in inside
    assert "random_bits" in str(jaxpr)
    assert "add" in inside
