"""A scan that computes ahead, in one batch, all that its body needs no carry for."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import JaxprEqn, Literal, Var
from jaxtyping import PyTree

Values = dict[Var, Any]


def scan_ahead(body: Callable[[Any, Any], tuple[Any, Any]], init: PyTree, xs: PyTree) -> tuple[Any, Any]:
    """`jax.lax.scan(body, init, xs)`, with what depends on `xs` but not on the carry computed before it.

    Random numbers are the case in point: their keys follow from the row's number alone, and inside a scan
    each Threefry call is a loop of its own on CPU. The body stays as it is written, and `uniform(key)` in it
    reads a row of one batch. The results are those of `lax.scan`, up to the rounding of functions that
    are compiled otherwise for many numbers than for one. What is computed ahead is held for all rows at once.
    """
    rows = {x.shape[0] for x in jax.tree.leaves(xs)}
    (length,) = rows
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    traced, (_, like) = jax.make_jaxpr(body, return_shape=True)(init, row)
    form, width = jax.tree.structure(init), len(jax.tree.leaves(init))
    jaxpr = traced.jaxpr
    of_carry, of_row = jaxpr.invars[:width], jaxpr.invars[width:]

    constant: Values = dict(zip(jaxpr.constvars, traced.consts, strict=True))
    once, early, late = _sort(jaxpr.eqns, set(constant), set(of_row))
    _run(once, constant)
    known = {*of_row, *(v for eqn in early for v in eqn.outvars)}
    carry_out, row_out = jaxpr.outvars[:width], jaxpr.outvars[width:]
    needed = [v for eqn in late for v in eqn.invars] + [*carry_out, *row_out]
    kept = [v for v in dict.fromkeys(v for v in needed if isinstance(v, Var)) if v in known]
    scanned = [v for v in row_out if isinstance(v, Var) and v not in known and v not in constant]

    def batch(x: list) -> list:
        values = constant | dict(zip(of_row, x, strict=True))
        _run(early, values)
        return [values[v] for v in kept]

    def step(carry: list, ahead: list) -> tuple[list, list]:
        values = constant | dict(zip(of_carry, carry, strict=True)) | dict(zip(kept, ahead, strict=True))
        _run(late, values)
        return [_read(values, v) for v in carry_out], [values[v] for v in scanned]

    ahead = jax.vmap(batch)(jax.tree.leaves(xs))
    last, stacked = jax.lax.scan(step, jax.tree.leaves(init), ahead, length=length)
    values = dict(zip(kept, ahead, strict=True)) | dict(zip(scanned, stacked, strict=True))

    def whole(v: Any, shape: jax.ShapeDtypeStruct) -> Any:
        if isinstance(v, Var) and v in values:
            return values[v]
        return jnp.broadcast_to(jnp.asarray(_read(constant, v), shape.dtype), (length, *shape.shape))

    leaves, out_form = jax.tree.flatten(like)
    return jax.tree.unflatten(form, last), jax.tree.unflatten(out_form, map(whole, row_out, leaves))


def _sort(
    eqns: Iterable[JaxprEqn], constant: set[Var], ahead: set[Var]
) -> tuple[list[JaxprEqn], list[JaxprEqn], list[JaxprEqn]]:
    """The equations that depend on constants alone, on a row of `xs` too, and all others; in their order."""
    once, early, late = [], [], []
    constant, ahead = set(constant), set(ahead)
    for eqn in eqns:
        read = {v for v in eqn.invars if isinstance(v, Var)}
        if eqn.effects or not read <= constant | ahead:
            late.append(eqn)
        elif read <= constant:
            once.append(eqn)
            constant.update(eqn.outvars)
        else:
            early.append(eqn)
            ahead.update(eqn.outvars)
    return once, early, late


def _run(eqns: Iterable[JaxprEqn], values: Values) -> None:
    """Evaluate equations in order, adding what they give to `values`."""
    for eqn in eqns:
        given = [_read(values, v) for v in eqn.invars]
        out = eqn.primitive.bind(*given, **eqn.primitive.get_bind_params(eqn.params))
        out = out if eqn.primitive.multiple_results else [out]
        values.update(zip(eqn.outvars, out, strict=True))


def _read(values: Values, v: Any) -> Any:
    return v.val if isinstance(v, Literal) else values[v]
