"""Every setting of every registered algorithm is read by something."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from fathom.cli.options import TrainOptions
from fathom.core.module import lift
from fathom.envs.base import spec_of
from fathom.envs.registry import make
from fathom.train import engine as engines
from fathom.train import loop

from .subjects import HORIZON, SUBJECTS, changed

ALGORITHMS = sorted(SUBJECTS)
OF_GAUSSIANS = ("log_std", "std", "sde_steps", "rpo_alpha")


def fields_of(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


@pytest.mark.parametrize(
    ("name", "field"), [(n, f) for n in ALGORITHMS for f in fields_of(type(SUBJECTS[n].algorithm))]
)
def test_every_field_is_read(name: str, field: str) -> None:
    """A float field must be an input that the traced program uses; any other must change the program."""
    algorithm = SUBJECTS[name].every_switch
    spec = dataclasses.fields(type(algorithm))
    entry = next(f for f in spec if f.name == field)
    env = make("Pendulum-v1" if field in OF_GAUSSIANS else SUBJECTS[name].env)
    if field == "sde_steps":
        algorithm = dataclasses.replace(algorithm, std="gsde")
    if field.startswith("munchausen_"):  # read where there is a bonus
        algorithm = dataclasses.replace(algorithm, munchausen=0.9)
    value = getattr(algorithm, field)
    if isinstance(value, float) and not entry.metadata.get("static"):
        assert field in used_floats(algorithm, env), f"{field} is read by nothing"
        return
    other = dataclasses.replace(algorithm, **{field: changed(value, entry)})
    assert program(other, env) != program(algorithm, env), f"{field} is read by nothing"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_field_has_the_name_of_an_option_of_the_command(name: str) -> None:
    """Both are flags of `fathom train`."""
    assert not {f.name for f in dataclasses.fields(TrainOptions)} & set(
        fields_of(type(SUBJECTS[name].algorithm))
    )


def traced(algorithm: Any, env: Any) -> Any:
    """The jaxpr of one update, as a function of the algorithm's leaves, and the run's beginning."""
    plan = loop.Plan.of(algorithm)
    leaves, tree = jax.tree.flatten(lift(algorithm))

    def whole(leaves: list) -> Any:
        algorithm = jax.tree.unflatten(tree, leaves)
        carry = engines._init_native.__wrapped__(algorithm, env, jax.random.key(0), plan, 1)
        learning = loop.is_learning(algorithm, carry.shared, plan)
        out = loop.advance(algorithm, env, plan, carry.seeds, carry.shared, jnp.asarray(HORIZON))
        return out, loop.tick(carry.shared, plan, learning)

    return jax.make_jaxpr(whole)(leaves), tree


_FLOATS: dict[tuple[str, str], set[str]] = {}


def used_floats(algorithm: Any, env: Any) -> set[str]:
    """The float fields of an algorithm that something in its traced program depends on."""
    key = (repr(algorithm), type(env).__name__ + repr(spec_of(env).action_space))
    if key not in _FLOATS:
        jaxpr, tree = traced(algorithm, env)
        from jax._src.interpreters.partial_eval import dce_jaxpr

        _, used = dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
        paths = jax.tree_util.tree_leaves_with_path(jax.tree.unflatten(tree, range(len(used))))
        _FLOATS[key] = {jax.tree_util.keystr(p).lstrip(".") for p, i in paths if used[i]}
    return _FLOATS[key]


_PROGRAMS: dict[Any, str] = {}


def program(algorithm: Any, env: Any) -> str:
    key = (repr(algorithm), type(env).__name__)
    if key not in _PROGRAMS:
        _PROGRAMS[key] = str(traced(algorithm, env)[0]) + repr(loop.Plan.of(algorithm))
    return _PROGRAMS[key]
