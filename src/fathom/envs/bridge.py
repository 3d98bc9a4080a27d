"""Bridges between native environments and Gymnasium's, in both directions.

An exported environment uses its keys exactly as `base.vec_reset` and `base.vec_step` do, so that a host loop
over it gives the rollout of the native path.
"""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec as GymSpec
from jaxtyping import Array, Key, PyTree, UInt32

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.types import Masked, TimeStep
from fathom.envs.base import Env
from fathom.envs.host import HostEnv, layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

Backend = Literal["auto", "native", "gymnasium"]


@jax.jit
def _begin(env: Env, seed: UInt32[Array, ""]) -> tuple[Key[Array, ""], PyTree, PyTree]:
    carry_key, reset_key = jax.random.split(jax.random.key(seed))
    state, obs = env.reset(reset_key)
    return carry_key, state, obs


@jax.jit
def _begin_again(env: Env, reset_key: Key[Array, ""]) -> tuple[PyTree, PyTree]:
    return env.reset(reset_key)


@jax.jit
def _advance(
    env: Env, key: Key[Array, ""], state: PyTree, action: PyTree
) -> tuple[Key[Array, ""], Key[Array, ""], PyTree, TimeStep]:
    carry_key, step_key, reset_key = jax.random.split(key, 3)
    state, step = env.step(step_key, state, action)
    return carry_key, reset_key, state, step


class FathomGymEnv(gymnasium.Env):
    """A native environment as a Gymnasium one. `reset` and `step` are compiled once per kind of environment.

    `reset(seed=s)` begins the stream `jax.random.key(s)`; a `reset()` without a seed goes on with it. The mask
    of legal actions, where there is one, is the info's "action_mask". Named reward terms are in the info.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, native: Env, id: str = "", render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise FathomError(f"render_mode is {render_mode!r}; use 'rgb_array' or None.")
        self.native: Env = lift(native)
        self.render_mode = render_mode
        self.observation_space = spaces.to_gymnasium(native.obs_space)
        self.action_space = spaces.to_gymnasium(native.action_space)
        name = id or f"fathom/{type(native).__name__}"
        self.spec = GymSpec(name, functools.partial(FathomGymEnv, native, name))
        self._action_types = jax.tree.map(np.asarray, spaces.zeros(native.action_space))
        self._obs_caster = _caster(native.obs_space)
        self._key: Any = None  # of the stream, after the last step or reset
        self._reset_key: Any = None  # for the next reset without a seed; None once consumed
        self._state: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """A new episode: of the stream of `seed`, or of the one begun before."""
        super().reset(seed=seed)
        if seed is None and self._key is None:
            seed = int(self.np_random.integers(2**31))
        if seed is not None:
            if seed >= 2**32:
                raise FathomError(f"seed {seed} is too large; use one below 2**32.")
            self._key, self._state, obs = _begin(self.native, np.uint32(seed))
        else:
            if self._reset_key is None:
                self._key, self._reset_key = jax.random.split(self._key)
            self._state, obs = _begin_again(self.native, self._reset_key)
        self._reset_key = None
        return self._give(jax.device_get(obs), {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """One step; FathomError before the first reset. Going on after the end is up to the native one."""
        if self._state is None:
            raise FathomError("step before reset; call reset(seed=...) first.")
        action = jax.tree.map(lambda a, t: np.asarray(a, t.dtype), self._ordered(action), self._action_types)
        self._key, self._reset_key, self._state, step = _advance(self.native, self._key, self._state, action)
        step = jax.device_get(step)
        info = {name: _number(value) for name, value in step.info.items()}
        obs, info = self._give(step.obs, info)
        return obs, float(step.reward), bool(step.terminated), bool(step.truncated), info

    def _ordered(self, action: Any) -> Any:
        """Gymnasium's Dict samples may be any mapping; JAX wants plain dictionaries."""
        return dict(action) if isinstance(self.action_space, gymnasium.spaces.Dict) else action

    def _give(self, obs: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if isinstance(obs, Masked):
            info["action_mask"] = np.asarray(obs.mask, np.int8)
            obs = obs.obs
        return self._obs_caster(obs), info

    def render(self) -> "NDArray[np.uint8] | None":  # pyright: ignore[reportIncompatibleMethodOverride]
        """The picture of the present state, uint8 [height, width, 3], with render_mode "rgb_array"."""
        if self.render_mode is None:
            return None
        if self._state is None:
            raise FathomError("render before reset; call reset(seed=...) first.")
        from fathom.envs import render

        scene = self.native.view(self._state)
        if scene is None:
            raise FathomError(f"{type(self.native).__name__} has nothing to see: its view() returns None.")
        return render.draw(scene)

    def get_state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain data."""
        return {
            "key": self._key,
            "reset_key": self._reset_key,
            "leaves": None if self._state is None else jax.tree.leaves(self._state),
            "np_random": self._np_random,
            "np_random_seed": self._np_random_seed,
        }

    def set_state(self, tree: dict[str, Any]) -> None:
        """Go back to what `get_state` told. FathomError if it is of another kind of environment."""
        self._key, self._reset_key = tree["key"], tree["reset_key"]
        self._np_random, self._np_random_seed = tree["np_random"], tree["np_random_seed"]
        self._state = None
        if tree["leaves"] is None:
            return
        like, _ = jax.eval_shape(_begin_again, self.native, jax.random.key(0))
        expected = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(like)]
        got = [(leaf.shape, leaf.dtype) for leaf in tree["leaves"]]
        if got != expected:
            raise FathomError(f"the state has leaves {got}; {type(self.native).__name__} has {expected}.")
        self._state = jax.tree.unflatten(jax.tree.structure(like), tree["leaves"])


def _number(value: Any) -> Any:
    """A scalar array as the number in it: Gymnasium's infos hold numbers."""
    return value[()] if isinstance(value, np.ndarray) and value.shape == () else value


def _caster(space: spaces.Space) -> Callable[[Any], Any]:
    """What turns fetched observations into those of the Gymnasium space: integers as int64, new arrays."""
    match space:
        case spaces.Masked(obs=inner):
            return _caster(inner)
        case spaces.Dict(spaces=entries):
            casters = {name: _caster(entry) for name, entry in entries.items()}
            return lambda obs: {name: cast(obs[name]) for name, cast in casters.items()}
        case spaces.Tuple(spaces=parts):
            members = [_caster(part) for part in parts]
            return lambda obs: tuple(cast(o) for cast, o in zip(members, obs, strict=True))
        case spaces.Discrete():
            return np.int64
        case spaces.MultiDiscrete():
            return lambda obs: np.array(obs, np.int64)
    return np.array


def to_gymnasium(env: Env, id: str = "", render_mode: str | None = None) -> FathomGymEnv:
    """A native environment as a `gymnasium.Env`, bit for bit the same as the native path at equal seeds."""
    return FathomGymEnv(env, id, render_mode)


def as_env(x: Any, backend: Backend = "auto") -> Env | HostEnv:
    """An environment from whatever names or makes one.

    `x` is an id ("CartPole-v1", "module:Name"), an `Env`, a `HostEnv`, a Gymnasium environment, or a class or
    function without arguments that makes either kind. A Gymnasium environment is made again from its spec
    where that gives the same; else it is copied, once for each environment of a vector. `backend` as in
    `registry.make`. Raises FathomError for anything else, or where the backend asked for does not exist.
    """
    from fathom.envs import registry

    if backend not in ("auto", "native", "gymnasium"):
        raise FathomError(f"backend is {backend!r}; use 'auto', 'native' or 'gymnasium'.")
    if isinstance(x, str):
        return registry.make(x, backend)
    if isinstance(x, FathomGymEnv) and backend != "gymnasium":
        return x.native
    if isinstance(x, Env):
        if backend != "gymnasium":
            return x
        return HostEnv(functools.partial(FathomGymEnv, x), f"fathom/{type(x).__name__}")
    if isinstance(x, gymnasium.Env):
        return _on_host(_from_object(x), backend)
    if isinstance(x, HostEnv):
        return _on_host(x, backend)
    if callable(x):
        return _from_constructor(x, backend)
    if isinstance(x, gymnasium.vector.VectorEnv):
        raise FathomError("a vector environment; pass one environment, Fathom makes the vector.")
    raise FathomError(
        f"cannot make an environment of {x!r} ({type(x).__name__}); pass an id, an environment, or a class or "
        "function without arguments that makes one."
    )


def _on_host(host: HostEnv, backend: Backend) -> HostEnv:
    if backend == "native":
        raise FathomError(
            f"{host.id or 'this environment'!r} is Gymnasium's and has no native version; use backend='auto'."
        )
    return host


def _from_constructor(make: Callable[[], Any], backend: Backend) -> Env | HostEnv:
    name = getattr(make, "__name__", type(make).__name__)
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise FathomError(
            f"{name} needs arguments ({error}); pass a function without any, as lambda: {name}(...)."
        ) from error
    except ValueError:
        pass  # built-in callables tell no signature
    try:
        made = make()
    except Exception as error:
        raise FathomError(f"{name}() raised {type(error).__name__}: {error}") from error
    if isinstance(made, gymnasium.Env) and not isinstance(made, FathomGymEnv):
        made.close()
        return _on_host(HostEnv(make, name), backend)
    if isinstance(made, Env | HostEnv | FathomGymEnv):
        return as_env(made, backend)
    raise FathomError(
        f"{name}() made a {type(made).__name__}; make a fathom.envs.base.Env or a gymnasium.Env instead."
    )


def _from_object(env: gymnasium.Env) -> HostEnv:
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    if _spec_recreates(env):
        return HostEnv(functools.partial(gymnasium.make, env.spec), name)
    try:
        master = copy.deepcopy(env)
    except Exception as error:
        raise FathomError(
            f"the environment object {name!r} can be neither made again from its spec nor copied ({error}); pass "
            "a function that makes it, as lambda: MyWrapper(gymnasium.make(...))."
        ) from error
    return HostEnv(functools.partial(copy.deepcopy, master), name)


def _spec_recreates(env: gymnasium.Env) -> bool:
    """Whether `gymnasium.make` of the spec gives the same layers, spaces and constants."""
    if env.spec is None or env.spec.entry_point is None:
        return False
    try:
        again = gymnasium.make(env.spec)
    except Exception:
        return False
    try:
        mine, theirs = layers(env), layers(again)
        alike = [type(a) for a in mine] == [type(b) for b in theirs]
        return (
            alike
            and env.observation_space == again.observation_space
            and env.action_space == again.action_space
            and all(_same_constants(a, b) for a, b in zip(mine, theirs, strict=True))
        )
    finally:
        again.close()


def _same_constants(mine: Any, other: Any) -> bool:
    """Whether plain numbers and names that a layer was made with agree, as far as both have them.

    One that was set after making is lost in an environment made again. What differs because an episode has
    begun differs too; then the object is copied instead, which is never wrong.
    """
    plain = (bool, int, float, str)
    ours, theirs = vars(mine), vars(other)
    return all(
        value == theirs[name]
        for name, value in ours.items()
        if type(value) in plain and type(theirs.get(name)) in plain and not name.startswith("_np_random")
    )
