import jax
import jax.numpy as jnp
import numpy as np

from fathom.core import keys


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_purposes_seeds_and_numbers_share_no_key():
    seen = set()
    made = 0
    for seed in range(20):
        run = jax.random.key(seed)
        purposes = [keys.named(run, name) for name in ("act", "update", "evaluate", "environments")]
        repeated = [keys.numbered(purpose, i) for purpose in purposes for i in range(10)]
        seen |= {bits(key) for key in (run, *purposes, *repeated)}
        made += 1 + 4 + 40
    assert len(seen) == made


def test_a_key_is_its_name_and_nothing_else():
    """Not the order of asking, nor Python's hash, which differs from process to process."""
    run = jax.random.key(3)
    first = bits(keys.named(run, "act"))
    keys.named(run, "other")
    assert bits(keys.named(run, "act")) == first
    assert bits(keys.named(jax.random.key(3), "act")) == first
    # The CRC-32 of "act", for ever: a changed hash would change every run.
    assert first == bits(jax.random.fold_in(run, 0xAFECF544))


def test_a_traced_number_is_the_same_as_a_plain_one():
    run = jax.random.key(0)
    assert bits(jax.jit(keys.numbered)(run, jnp.int32(7))) == bits(keys.numbered(run, 7))
    many = jax.vmap(keys.numbered, in_axes=(None, 0))(run, jnp.arange(3))
    assert [bits(k) for k in many] == [bits(keys.numbered(run, i)) for i in range(3)]


def test_environment_seeds_of_neighbouring_runs_do_not_overlap():
    """Trap 13: with seed + i, run s and run s + 1 share all environments but one."""
    seeds = np.concatenate([keys.env_seeds(jax.random.key(s), 64) for s in range(10)])
    assert len(set(seeds.tolist())) == 640
    assert seeds.dtype == np.uint32
    assert (seeds < 2**31).all()
    assert (seeds > 2**30).any()


def test_first_draws_of_all_environments_differ():
    draws = [
        jax.random.uniform(jax.random.key(seed), (4,)).tolist()
        for run in (5, 6)
        for seed in keys.env_seeds(jax.random.key(run), 8)
    ]
    assert len({tuple(draw) for draw in draws}) == 16
