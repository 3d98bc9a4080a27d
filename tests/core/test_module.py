import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from fathom.core.module import Config, lift


class Inner(Config):
    weight: float = 1.5
    size: int = 3


class Settings(Config):
    rate: float = 0.5
    steps: int = 4
    on: bool = True
    name: str = "a"
    rule: Literal["x", "y"] = "x"
    sizes: tuple[int, ...] = (64, 64)
    pair: tuple[int, str] = (1, "b")
    limit: int | None = None
    either: int | str = 2
    bound: float | None = None
    table: Float[Array, " n"] = eqx.field(default_factory=lambda: jnp.arange(2.0))
    inner: Inner = Inner()


STATIC = {"steps", "on", "name", "rule", "sizes", "pair", "limit", "either"}


class Heir(Settings):
    more: int = 7
    gain: float = 2.0


class Required(Config):
    size: int
    rate: float


def static_fields(cls):
    return {f.name for f in dataclasses.fields(cls) if f.metadata.get("static")}


def test_what_shapes_the_program_is_static():
    assert static_fields(Settings) == STATIC
    assert static_fields(Heir) == STATIC | {"more"}
    assert static_fields(Required) == {"size"}


def test_leaves_are_the_numbers():
    leaves = jax.tree.leaves(Settings(rate=0.25, bound=3.0, inner=Inner(9.0)))
    assert [float(x) for x in leaves if jnp.shape(x) == ()] == [0.25, 3.0, 9.0]
    assert len(leaves) == 4
    assert jax.tree.leaves(Required(3, 0.1)) == [0.1]


def test_defaults_stay():
    settings = Heir()
    assert (settings.steps, settings.sizes, settings.limit, settings.more) == (4, (64, 64), None, 7)
    with pytest.raises(TypeError, match="size"):
        Required(rate=0.1)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().rate = 1.0


@pytest.fixture
def counted():
    traces = []

    @jax.jit
    def program(settings):
        traces.append(settings)
        return settings.rate * settings.steps

    return program, traces


def test_a_changed_float_compiles_nothing(counted):
    program, traces = counted
    assert float(program(lift(Settings()))) == 2.0
    assert float(program(lift(Settings(rate=3.0)))) == 12.0
    changed = eqx.tree_at(lambda s: s.rate, lift(Settings()), jnp.float32(0.25))
    assert float(program(changed)) == 1.0
    assert len(traces) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"on": False},
        {"name": "b"},
        {"rule": "y"},
        {"sizes": (32,)},
        {"limit": 1},
        {"either": "z"},
    ],
)
def test_a_changed_static_field_compiles_anew(counted, change):
    program, traces = counted
    program(lift(Settings()))
    program(lift(Settings(**change)))
    assert len(traces) == 2


def test_floats_can_be_vmapped():
    rates = jnp.asarray([1.0, 2.0])
    sweep = jax.vmap(lambda r: eqx.tree_at(lambda s: s.rate, lift(Settings()), r))(rates)
    result = jax.vmap(lambda s: s.rate * s.steps)(sweep)
    np.testing.assert_array_equal(result, [4.0, 8.0])


def test_lift_gives_strong_types():
    lifted = lift({"f": 0.5, "i": 3, "b": True, "a": jnp.ones(2, jnp.int8), "n": None})
    dtypes = {name: x.dtype for name, x in lifted.items() if x is not None}
    assert dtypes == {"f": jnp.float32, "i": jnp.int32, "b": jnp.bool_, "a": jnp.int8}
    assert not any(x.weak_type for x in lifted.values() if x is not None)
    assert lifted["n"] is None


def test_what_comes_back_from_a_lifted_program_fits_it_again():
    """A weakly typed leaf would compile the program a second time."""
    traces = []

    @jax.jit
    def program(settings):
        traces.append(settings)
        return eqx.tree_at(lambda s: s.rate, settings, settings.rate * 2.0)

    assert float(program(program(lift(Settings()))).rate) == 2.0
    assert len(traces) == 1
