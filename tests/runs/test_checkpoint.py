import errno
import os
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file

from fathom.core.errors import FathomError
from fathom.runs import checkpoint
from fathom.runs.checkpoint import CheckpointDamaged

FIXTURE = Path(__file__).parent / "fixtures" / "format-1.safetensors"


class Layer(eqx.Module):
    weight: Any
    bias: Any
    name: str = eqx.field(static=True, default="")


class Stats(NamedTuple):
    mean: Any
    seen: Any


def sample_tree() -> dict[str, Any]:
    """A tree of every kind of leaf; its numbers are those that the fixture of format 1 holds."""
    params = Layer(jnp.arange(12, dtype=jnp.float32).reshape(3, 4) / 8, jnp.ones(4, jnp.bfloat16) * 1.5)
    return {
        "params": (params, Layer(jnp.zeros((0, 4)), None, "empty")),
        "stats": Stats(jnp.float32(-0.25), jnp.uint32(4_000_000_000)),
        "flags": jnp.array([True, False, True]),
        "bytes": jnp.array([-128, 127], jnp.int8),
        "keys": jax.random.split(jax.random.key(3), 2),
        "key": jax.random.key(7, impl="rbg"),
        "host": np.array([1.0, 1e300]),
        "numbers": [2**40, 0.1, True],
        "a.b": {"": np.int64(5)},
    }


def assert_same(got: Any, wanted: Any) -> None:
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert type(a) is type(b)
        if isinstance(b, jax.Array) and jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.shape(a) == np.shape(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_every_kind_of_leaf_comes_back_to_the_bit(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, sample_tree(), {"update": 3, "why": "ε"})
    tree, meta = checkpoint.read(path, sample_tree())
    assert_same(tree, sample_tree())
    assert meta == {"update": 3, "why": "ε"}
    assert checkpoint.read_meta(path) == meta


def test_shapes_alone_serve_as_like(tmp_path):
    path = tmp_path / "a.safetensors"
    tree = {"keys": jax.random.split(jax.random.key(0), 3), "x": jnp.ones((2, 3), jnp.bfloat16)}
    checkpoint.write(path, tree, {})
    assert_same(checkpoint.read(path, jax.eval_shape(lambda: tree))[0], tree)


def test_an_optimiser_state_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    state = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)).init({"w": jnp.ones((2, 3))})
    checkpoint.write(path, state, {})
    assert_same(checkpoint.read(path, state)[0], state)
    assert "1.0.mu.w" in checkpoint.read_arrays(path)


def test_names_are_readable_paths_and_safetensors_reads_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    layer = Layer(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]))
    checkpoint.write(path, {"learner": {"layers": [layer]}}, {})
    theirs = load_file(path)
    assert sorted(theirs) == ["learner.layers.0.bias", "learner.layers.0.weight"]
    np.testing.assert_array_equal(theirs["learner.layers.0.weight"], layer.weight)
    np.testing.assert_array_equal(theirs["learner.layers.0.bias"], layer.bias)


def test_paths_that_look_alike_stay_apart(tmp_path):
    path = tmp_path / "a.safetensors"
    tree = {"a.b": np.int32(1), "a": {"b": np.int32(2)}, "a%2Eb": np.int32(3), "__metadata__": np.int32(4)}
    checkpoint.write(path, tree, {})
    assert_same(checkpoint.read(path, tree)[0], tree)


def test_host_data_holds_arrays_at_any_depth(tmp_path):
    path = tmp_path / "a.safetensors"
    host = {
        "envs": [{"state": np.arange(3.0), "rng": {"key": np.arange(4, dtype=np.uint32), "big": 2**127}}],
        "text": "x",
        "scalar": np.float32(0.5),
    }
    checkpoint.write(path, {"x": jnp.ones(2)}, {"update": 1}, host)
    _, meta = checkpoint.read(path, {"x": jnp.ones(2)})
    back = meta["host"]
    np.testing.assert_array_equal(back["envs"][0]["state"], np.arange(3.0))
    assert back["envs"][0]["rng"]["key"].dtype == np.uint32
    assert back["envs"][0]["rng"]["big"] == 2**127
    assert (back["text"], back["scalar"]) == ("x", 0.5)
    assert checkpoint.read_meta(path) == {"update": 1}


def test_arrays_of_other_order_and_endianness_are_stored_by_value(tmp_path):
    path = tmp_path / "a.safetensors"
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    tree = {"t": base.T, "step": base[:, ::2], "big": base.astype(">f4")}
    checkpoint.write(path, tree, {})
    arrays = checkpoint.read_arrays(path)
    for name, value in tree.items():
        np.testing.assert_array_equal(arrays[name], value)


dtypes = st.sampled_from(
    ["bool", "int8", "uint8", "int32", "uint32", "int64", "float16", "float32", "float64", "bfloat16"]
)
arrays = dtypes.flatmap(
    lambda dtype: hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)).map(
        lambda x: (x % 2 if dtype == "bool" else x).astype(
            ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
        )
    )
)
trees = st.recursive(
    arrays,
    lambda inner: (
        st.dictionaries(st.text(max_size=6), inner, max_size=3)
        | st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_any_tree_comes_back(tree, tmp_path):
    path = tmp_path / "any.safetensors"
    checkpoint.write(path, tree, {"n": 1})
    assert_same(checkpoint.read(path, tree)[0], tree)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        (
            {"w": np.zeros((2, 4), np.float32), "b": np.zeros(3)},
            ["w", "[2, 3]", "[2, 4]", "shapes the network"],
        ),
        ({"w": np.zeros((2, 3), np.int32), "b": np.zeros(3)}, ["w", "float32", "int32", "precision"]),
        ({"w": np.zeros((2, 3), np.float32)}, ["holds b", "does not have", "run.json"]),
        ({"w": np.zeros((2, 3), np.float32), "b": np.zeros(3), "c": 1.0}, ["does not hold c", "run.json"]),
        ({"w": jax.random.split(jax.random.key(0), 2), "b": np.zeros(3)}, ["w", "float32", "key<"]),
    ],
)
def test_the_first_difference_is_named(tmp_path, like, words):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3)}, {})
    with pytest.raises(FathomError) as caught:
        checkpoint.read(path, like)
    assert not isinstance(caught.value, CheckpointDamaged)
    for word in words:
        assert word in str(caught.value)


def test_keys_of_another_generator_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"key": jax.random.key(0)}, {})
    with pytest.raises(FathomError, match="key"):
        checkpoint.read(path, {"key": jax.random.key(0, impl="rbg")})
    with pytest.raises(FathomError, match="no random key"):
        checkpoint.read(path, {"key": np.zeros(2, np.uint32)})


@pytest.mark.parametrize(
    ("tree", "meta", "words"),
    [
        ({"f": len}, {}, "the leaf f is a builtin_function"),
        ({"text": "x"}, {}, "the leaf text is a str"),
        ({"n": 2**80}, {}, "64 bits"),
        ({"o": np.array([None])}, {}, "dtype object"),
        ({}, {"x": np.ones(2)}, "not JSON"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_no_file(tmp_path, tree, meta, words):
    with pytest.raises(FathomError, match=words):
        checkpoint.write(tmp_path / "a.safetensors", tree, meta)
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path):
    tree = {"x": np.arange(4, dtype=np.float32), "k": jax.random.key(1)}
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, tree, {"update": 1}, {"rng": np.arange(2)})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        with pytest.raises(FathomError, match=r"damaged"):
            checkpoint.read(path, tree)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointDamaged):
            checkpoint.verify(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(CheckpointDamaged, match="bytes instead of"):
        checkpoint.verify(path)
    path.write_bytes(whole)
    checkpoint.verify(path)


def test_a_missing_file_names_those_beside_it(tmp_path):
    checkpoint.write(tmp_path / "12.safetensors", {}, {})
    with pytest.raises(FathomError, match=r"no checkpoint .*9\.safetensors.*12\.safetensors"):
        checkpoint.read_meta(tmp_path / "9.safetensors")


def test_a_newer_format_is_told_from_damage(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    checkpoint.write(path, {"x": 1}, {})
    monkeypatch.undo()
    with pytest.raises(FathomError, match=r"format version 2; this Fathom reads up to 1") as caught:
        checkpoint.read(path, {"x": 1})
    assert not isinstance(caught.value, CheckpointDamaged)


def test_a_foreign_safetensors_file_is_named_as_such(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(FathomError, match="not a checkpoint of Fathom"):
        checkpoint.read_arrays(tmp_path / "a.safetensors")


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"x": np.ones(3)}, {"update": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FathomError, match=r"disk is full.*before are intact.*resume"):
        checkpoint.write(path, {"x": np.zeros(3)}, {"update": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert checkpoint.read(path, {"x": np.ones(3)})[1] == {"update": 1}


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FathomError, match=r"cannot write .*gone"):
        checkpoint.write(tmp_path / "gone" / "a.safetensors", {}, {})


def test_read_arrays_share_no_memory_with_later_donation(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.write(path, {"x": jnp.arange(1024.0)}, {})
    like = {"x": jax.ShapeDtypeStruct((1024,), jnp.float32)}
    first, _ = checkpoint.read(path, like)
    jax.jit(lambda t: jax.tree.map(lambda x: x * 0, t), donate_argnums=0)(first)
    np.testing.assert_array_equal(checkpoint.read(path, like)[0]["x"], np.arange(1024.0))


def test_the_fixture_of_format_1_loads_for_ever():
    tree, meta = checkpoint.read(FIXTURE, sample_tree())
    assert_same(tree, sample_tree())
    host = meta.pop("host")
    np.testing.assert_array_equal(host["replay"], np.arange(5, dtype=np.int16))
    assert meta == {"update": 12, "horizon": 100}
