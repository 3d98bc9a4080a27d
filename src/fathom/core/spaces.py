"""Spaces of observations and actions, as pytrees, with converters to and from Gymnasium."""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from fathom.core.errors import FathomError
from fathom.core.types import Masked as MaskedObs


class Space(eqx.Module):
    """A set of arrays (or trees of arrays) of one shape and dtype."""

    def sample(self, key: Key[Array, ""]) -> Any:
        """A random element."""
        raise NotImplementedError

    def contains(self, x: Any) -> bool:
        """Whether `x` (concrete, unbatched) is an element."""
        raise NotImplementedError


class Discrete(Space):
    """Integers start, …, start + n − 1, as int32."""

    n: int = eqx.field(static=True)
    start: int = eqx.field(static=True, default=0)

    shape = ()
    dtype = jnp.int32

    def sample(self, key: Key[Array, ""]) -> Array:
        """A uniform element."""
        return jax.random.randint(key, (), self.start, self.start + self.n)

    def contains(self, x: Any) -> bool:
        """Whether `x` is an integer scalar in range."""
        x = np.asarray(x)
        return bool(x.shape == () and np.issubdtype(x.dtype, np.integer) and 0 <= x - self.start < self.n)


class _Bounds:
    """A constant array that can be compared and hashed, as part of a compiled program's identity must."""

    def __init__(self, value: Any, shape: tuple[int, ...], dtype: Any) -> None:
        self.array = np.broadcast_to(np.asarray(value), shape).astype(dtype)
        self.array.flags.writeable = False
        self._identity = (shape, self.array.dtype.str, self.array.tobytes())
        self._hash = hash(self._identity)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bounds) and self._identity == other._identity

    def __repr__(self) -> str:
        first = self.array.flat[0] if self.array.size else None
        uniform = self.array.size == 0 or np.all(self.array == first)
        return repr(first) if uniform else str(self.array.tolist())


class Box(Space):
    """Arrays of one shape and dtype, each element between its bounds (infinite ones allowed)."""

    bounds: tuple[_Bounds, _Bounds] = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)

    def __init__(self, low: Any, high: Any, shape: tuple[int, ...] | None = None, dtype: Any = np.float32):
        if shape is None:
            shape = np.broadcast_shapes(np.shape(low), np.shape(high))
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)
        self.bounds = (_Bounds(low, self.shape, self.dtype), _Bounds(high, self.shape, self.dtype))
        if np.any(self.low > self.high):
            raise FathomError(f"Box: low {low} is above high {high}; swap the bounds.")

    @property
    def low(self) -> np.ndarray:
        """The lower bounds, of the space's shape and dtype, read-only."""
        return self.bounds[0].array

    @property
    def high(self) -> np.ndarray:
        """The upper bounds, of the space's shape and dtype, read-only."""
        return self.bounds[1].array

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite."""
        return bool(np.all(np.isfinite(self.low)) and np.all(np.isfinite(self.high)))

    def sample(self, key: Key[Array, ""]) -> Array:
        """Uniform where bounded, standard normal elsewhere (shifted to the one bound there is)."""
        if np.issubdtype(self.dtype, np.integer):
            # The largest int32 has no integer above it that JAX could take: it is then never drawn.
            above = np.minimum(self.high.astype(np.int64) + 1, np.iinfo(np.int32).max).astype(np.int32)
            return jax.random.randint(key, self.shape, self.low.astype(np.int32), above).astype(self.dtype)
        uniform_key, normal_key = jax.random.split(key)
        low, high = self.low, self.high
        bounded = np.isfinite(low) & np.isfinite(high)
        uniform = jax.random.uniform(uniform_key, self.shape)
        inside = np.where(bounded, low, 0) + uniform * np.where(bounded, high - low, 0)
        normal = jax.random.normal(normal_key, self.shape)
        beyond = jnp.where(np.isfinite(low), low + jnp.abs(normal), normal)
        beyond = jnp.where(np.isfinite(high) & ~np.isfinite(low), high - jnp.abs(normal), beyond)
        return jnp.where(bounded, inside, beyond).astype(self.dtype)

    def contains(self, x: Any) -> bool:
        """Whether `x` has the shape, a dtype that fits, and lies within the bounds."""
        x = np.asarray(x)
        if x.shape != self.shape or not np.can_cast(x.dtype, self.dtype, "same_kind"):
            return False
        return bool(np.all(x >= self.low) and np.all(x <= self.high))


class MultiDiscrete(Space):
    """Several independent integers, the i-th in 0, …, nvec[i] − 1, as an int32 vector."""

    nvec: tuple[int, ...] = eqx.field(static=True, converter=lambda v: tuple(int(n) for n in v))

    dtype = jnp.int32

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis: the components."""
        return (len(self.nvec),)

    def sample(self, key: Key[Array, ""]) -> Array:
        """Each component uniform."""
        return jax.random.randint(key, self.shape, 0, np.array(self.nvec))

    def contains(self, x: Any) -> bool:
        """Whether `x` is an integer vector with each component in range."""
        x = np.asarray(x)
        if x.shape != self.shape or not np.issubdtype(x.dtype, np.integer):
            return False
        return bool(np.all(x >= 0) and np.all(x < np.array(self.nvec)))


class MultiBinary(Space):
    """n bits, as int8 like Gymnasium's."""

    n: int = eqx.field(static=True)

    dtype = jnp.int8

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis: the bits."""
        return (self.n,)

    def sample(self, key: Key[Array, ""]) -> Array:
        """Each bit fair."""
        return jax.random.bernoulli(key, shape=self.shape).astype(jnp.int8)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a vector of n zeros and ones."""
        x = np.asarray(x)
        return bool(x.shape == self.shape and np.all((x == 0) | (x == 1)))


class Dict(Space):
    """A dictionary of spaces; keys are in sorted order, as JAX flattens them."""

    spaces: dict[str, Space] = eqx.field(converter=lambda s: dict(sorted(s.items())))

    def sample(self, key: Key[Array, ""]) -> dict[str, Any]:
        """Each entry by its own key."""
        keys = jax.random.split(key, len(self.spaces))
        return {name: space.sample(k) for (name, space), k in zip(self.spaces.items(), keys, strict=True)}

    def contains(self, x: Any) -> bool:
        """Whether `x` has just these keys, each with an element of its space."""
        if not isinstance(x, Mapping) or set(x) != set(self.spaces):
            return False
        return all(space.contains(x[name]) for name, space in self.spaces.items())


class Tuple(Space):
    """A tuple of spaces."""

    spaces: tuple[Space, ...] = eqx.field(converter=tuple)

    def sample(self, key: Key[Array, ""]) -> tuple[Any, ...]:
        """Each entry by its own key."""
        keys = jax.random.split(key, len(self.spaces))
        return tuple(space.sample(k) for space, k in zip(self.spaces, keys, strict=True))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a tuple of as many elements, each of its space."""
        if not isinstance(x, tuple) or len(x) != len(self.spaces):
            return False
        return all(space.contains(e) for space, e in zip(self.spaces, x, strict=True))


class Masked(Space):
    """Observations that carry the mask of legal actions: elements are `core.types.Masked`."""

    obs: Space
    num_actions: int = eqx.field(static=True)  # length of the mask: the sum of nvec for MultiDiscrete

    def sample(self, key: Key[Array, ""]) -> MaskedObs:
        """A random observation, all actions legal."""
        return MaskedObs(self.obs.sample(key), jnp.ones(self.num_actions, jnp.bool_))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a `Masked` of an element and a boolean mask of the right length."""
        if not isinstance(x, MaskedObs):
            return False
        mask = np.asarray(x.mask)
        return mask.shape == (self.num_actions,) and mask.dtype == np.bool_ and self.obs.contains(x.obs)


def is_image(space: Space) -> bool:
    """Whether a space holds uint8 pictures [height, width, channels]."""
    return isinstance(space, Box) and len(space.shape) == 3 and space.dtype == np.uint8


def flat_size(space: Space) -> int:
    """Length of the vector that `flatten` makes of an element."""
    match space:
        case Discrete(n=n):
            return n
        case Box(shape=shape):
            return math.prod(shape)
        case MultiDiscrete(nvec=nvec):
            return sum(nvec)
        case MultiBinary(n=n):
            return n
        case Dict(spaces=spaces):
            return sum(flat_size(s) for s in spaces.values())
        case Tuple(spaces=spaces):
            return sum(flat_size(s) for s in spaces)
        case Masked(obs=inner):
            return flat_size(inner)
    raise FathomError(f"no flat form for the space {space!r}; use one of fathom.core.spaces.")


def flatten(space: Space, x: Any) -> Array:
    """Elements [*batch, ...] as float32 vectors [*batch, flat_size]: integers one-hot, trees concatenated."""
    match space:
        case Discrete(n=n, start=start):
            return jax.nn.one_hot(x - start, n, dtype=jnp.float32)
        case Box(shape=shape):
            batch = x.shape[: x.ndim - len(shape)]
            return x.reshape(*batch, math.prod(shape)).astype(jnp.float32)
        case MultiDiscrete(nvec=nvec):
            parts = [jax.nn.one_hot(x[..., i], n, dtype=jnp.float32) for i, n in enumerate(nvec)]
            return jnp.concatenate(parts, axis=-1)
        case MultiBinary():
            return x.astype(jnp.float32)
        case Dict(spaces=spaces):
            return jnp.concatenate([flatten(s, x[name]) for name, s in spaces.items()], axis=-1)
        case Tuple(spaces=spaces):
            return jnp.concatenate([flatten(s, e) for s, e in zip(spaces, x, strict=True)], axis=-1)
        case Masked(obs=inner):
            return flatten(inner, x.obs)
    raise FathomError(f"no flat form for the space {space!r}; use one of fathom.core.spaces.")


def to_unit(space: Space, x: Any) -> Any:
    """Elements [*batch, ...] with each real number that has two bounds mapped from these to [−1, 1].

    All else stays as it is: integers, masks, and numbers without bounds.
    """
    match space:
        case Box() if np.issubdtype(space.dtype, np.floating):
            with np.errstate(over="ignore", invalid="ignore"):  # a spread that overflows bounds nothing
                spread = space.high - space.low
            bounded = np.isfinite(spread) & (spread > 0)
            low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
            centre, half = ((v / 2).astype(space.dtype) for v in (high + low, high - low))
            return (x - jnp.broadcast_to(centre, x.shape)) / jnp.broadcast_to(half, x.shape)
        case Dict(spaces=spaces):
            return {name: to_unit(s, x[name]) for name, s in spaces.items()}
        case Tuple(spaces=spaces):
            return tuple(to_unit(s, e) for s, e in zip(spaces, x, strict=True))
        case Masked(obs=inner):
            return MaskedObs(to_unit(inner, x.obs), x.mask)
    return x


def cardinality(space: Space) -> int:
    """How many elements a space has: the rows of a table over it.

    FathomError for spaces that are not finite, and for those that 31 bits cannot number.
    """
    match space:
        case Discrete(n=n):
            count = n
        case MultiDiscrete(nvec=nvec):
            count = math.prod(nvec)
        case MultiBinary(n=n):
            count = 2**n
        case Dict(spaces=spaces):
            count = math.prod(cardinality(s) for s in spaces.values())
        case Tuple(spaces=spaces):
            count = math.prod(cardinality(s) for s in spaces)
        case Masked(obs=inner):
            count = cardinality(inner)
        case _:
            raise FathomError(
                f"a table has no row for each element of {space!r}: it takes Discrete, MultiDiscrete and "
                "MultiBinary spaces, and Dict or Tuple of these. DQN and PPO take continuous ones; or "
                "discretise it in a wrapper."
            )
    if count >= 2**31:
        raise FathomError(
            f"{space!r} has {count:,} elements, too many for a table. DQN and PPO take such spaces; or "
            "observe less."
        )
    return count


def index(space: Space, x: Any) -> Array:
    """The number of elements [*batch, ...] among all of a finite space, int32 [*batch], from 0.

    Mixed radix: of several components the last changes fastest. FathomError as `cardinality`.
    """
    match space:
        case Discrete(start=start):
            return x.astype(jnp.int32) - start
        case MultiDiscrete(nvec=nvec):
            return _mixed_radix(nvec, [x[..., i].astype(jnp.int32) for i in range(len(nvec))])
        case MultiBinary(n=n):
            return _mixed_radix((2,) * n, [x[..., i].astype(jnp.int32) for i in range(n)])
        case Dict(spaces=spaces):
            return index(Tuple(tuple(spaces.values())), tuple(x[name] for name in spaces))
        case Tuple(spaces=spaces):
            digits = [index(s, e) for s, e in zip(spaces, x, strict=True)]
            return _mixed_radix(tuple(cardinality(s) for s in spaces), digits)
        case Masked(obs=inner):
            return index(inner, x.obs)
    cardinality(space)
    raise AssertionError(space)


def _mixed_radix(sizes: tuple[int, ...], digits: list[Array]) -> Array:
    number = digits[0]
    for size, digit in zip(sizes[1:], digits[1:], strict=True):
        number = number * size + digit
    return number


def zeros(space: Space) -> Any:
    """An array tree of the space's shapes and dtypes (zeros; not always an element)."""
    match space:
        case Dict(spaces=spaces):
            return {name: zeros(s) for name, s in spaces.items()}
        case Tuple(spaces=spaces):
            return tuple(zeros(s) for s in spaces)
        case Masked(obs=inner, num_actions=n):
            return MaskedObs(zeros(inner), jnp.ones(n, jnp.bool_))
    return jnp.zeros(space.shape, space.dtype)  # pyright: ignore[reportAttributeAccessIssue]


def from_gymnasium(space: Any) -> Space:
    """Our form of a Gymnasium space; FathomError for kinds that have none (Text, Graph, Sequence)."""
    from gymnasium import spaces as gym

    match space:
        case gym.Discrete():
            return Discrete(int(space.n), int(space.start))
        case gym.Box():
            low, high, dtype = space.low, space.high, space.dtype
            if np.issubdtype(dtype, np.floating):
                dtype = np.float32
            elif dtype in (np.int64, np.uint64):  # JAX has 32 bits
                dtype, info = np.int32, np.iinfo(np.int32)
                low, high = (np.clip(bound, info.min, info.max) for bound in (low, high))
            with np.errstate(over="ignore"):  # a bound beyond float32 is none
                return Box(low, high, space.shape, dtype)
        case gym.MultiDiscrete():
            if space.nvec.ndim != 1 or np.any(space.start != 0):
                raise FathomError(
                    f"{space}: only flat MultiDiscrete spaces from 0 are supported; flatten or shift it."
                )
            return MultiDiscrete(tuple(space.nvec))
        case gym.MultiBinary():
            if len(space.shape) != 1:
                raise FathomError(f"{space}: only flat MultiBinary spaces are supported; flatten it.")
            return MultiBinary(int(space.shape[0]))
        case gym.Dict():
            return Dict({name: from_gymnasium(s) for name, s in space.spaces.items()})
        case gym.Tuple():
            return Tuple(tuple(from_gymnasium(s) for s in space.spaces))
    raise FathomError(
        f"the Gymnasium space {space} has no counterpart here. Supported: Discrete, Box, MultiDiscrete, "
        "MultiBinary, and Dict or Tuple of these; wrap the environment to give one of them."
    )


def to_gymnasium(space: Space) -> Any:
    """The Gymnasium form of one of our spaces; a masked space gives that of its observation."""
    from gymnasium import spaces as gym

    match space:
        case Discrete(n=n, start=start):
            return gym.Discrete(n, start=start)
        case Box(shape=shape, dtype=dtype):
            return gym.Box(space.low.copy(), space.high.copy(), shape, dtype)
        case MultiDiscrete(nvec=nvec):
            return gym.MultiDiscrete(np.array(nvec))
        case MultiBinary(n=n):
            return gym.MultiBinary(n)
        case Dict(spaces=spaces):
            return gym.Dict({name: to_gymnasium(s) for name, s in spaces.items()})
        case Tuple(spaces=spaces):
            return gym.Tuple([to_gymnasium(s) for s in spaces])
        case Masked(obs=inner):
            return to_gymnasium(inner)
    raise FathomError(f"no Gymnasium form for the space {space!r}.")
