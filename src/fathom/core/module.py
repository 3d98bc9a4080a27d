"""The base of everything that is configured by its fields: algorithms, environments, wrappers."""

import inspect
import types
import typing
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

T = TypeVar("T")

_SHAPING = (int, bool, str, bytes, type(None))


def _shapes_the_program(annotation: Any) -> bool:
    """Whether a field of this type is part of the program (static) rather than a number in it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return True
    if origin in (typing.Union, types.UnionType):
        return all(_shapes_the_program(arm) for arm in typing.get_args(annotation))
    if origin is tuple:
        return all(arm is Ellipsis or _shapes_the_program(arm) for arm in typing.get_args(annotation))
    return annotation in _SHAPING


class Config(eqx.Module):
    """A frozen dataclass that is a pytree: `float` fields are leaves, what shapes the program is static.

    A subclass writes plain annotated fields. Those annotated `int`, `bool`, `str`, `Literal`, or tuples and
    unions of these, become static: changing one compiles a new program. All others (`float`, arrays, other
    modules) are leaves: they can be changed in the middle of a run without compiling, and vmapped.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, annotation in inspect.get_annotations(cls).items():
            if not _shapes_the_program(annotation):
                continue
            if name not in cls.__dict__:
                setattr(cls, name, eqx.field(static=True))
            elif isinstance(cls.__dict__[name], (*_SHAPING, tuple)):
                setattr(cls, name, eqx.field(default=cls.__dict__[name], static=True))


def lift(tree: T) -> T:
    """Turn every Python float or int leaf into a strongly typed array.

    A weakly typed leaf would compile the program twice: once for the Python number, once for the array that
    comes back from the first call.
    """
    return jax.tree.map(_lift_leaf, tree)


def _lift_leaf(leaf: Any) -> Any:
    if isinstance(leaf, bool):
        return jnp.asarray(leaf, jnp.bool_)
    if isinstance(leaf, float):
        return jnp.asarray(leaf, jnp.float32)
    if isinstance(leaf, int):
        return jnp.asarray(leaf, jnp.int32)
    return leaf
