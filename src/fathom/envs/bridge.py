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
from jaxtyping import Array, PyTree

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.types import Masked
from fathom.envs import physics
from fathom.envs.base import Env, env_keys, first_key
from fathom.envs.host import HostEnv, HostSettings, layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

Backend = Literal["auto", "native", "gymnasium"]


class _Program:
    """The compiled functions of one kind of environment, on lists of leaves with keys as plain numbers.

    They step two copies at once and the second is thrown away: XLA rounds a lone environment otherwise than
    one of several (a sine of one number is another routine than that of a vector). Lists and plain numbers
    because typed keys and trees of modules cost more at each call than the step does.
    """

    def __init__(self, env: Env) -> None:
        self.env_form = jax.tree.structure(env)
        self.state_like, _ = jax.eval_shape(env.reset, jax.random.key(0))
        self.state_form = jax.tree.structure(self.state_like)
        self.begin = jax.jit(self._begin)
        self.begin_again = jax.jit(self._begin_again)
        self.advance = jax.jit(self._advance)

    def _lower(self, state: PyTree) -> list[Array]:
        return [_raw(leaf) for leaf in jax.tree.leaves(state)]

    def _raise(self, leaves: list[Array]) -> PyTree:
        like = jax.tree.leaves(self.state_like)
        typed = [_typed(raw, form) for raw, form in zip(leaves, like, strict=True)]
        return jax.tree.unflatten(self.state_form, typed)

    def _begin(self, env_leaves: list[Array], seeds: Array) -> tuple[Array, list[Array], PyTree]:
        env = jax.tree.unflatten(self.env_form, env_leaves)

        def start(seed: Array) -> tuple[Array, list[Array], PyTree]:
            key = jax.random.key(seed)
            state, obs = env.reset(first_key(key))
            return _raw(key), self._lower(state), obs

        return jax.vmap(start)(seeds)

    def _begin_again(self, env_leaves: list[Array], keys: Array, steps: Array) -> tuple[list[Array], PyTree]:
        """The reset that follows the last of `steps` steps."""
        env = jax.tree.unflatten(self.env_form, env_leaves)

        def start(raw_key: Array) -> tuple[list[Array], PyTree]:
            _, reset_key = env_keys(jax.random.wrap_key_data(raw_key), steps - jnp.uint32(1))
            state, obs = env.reset(reset_key)
            return self._lower(state), obs

        return jax.vmap(start)(keys)

    def _advance(
        self, env_leaves: list[Array], keys: Array, steps: Array, states: list[Array], actions: PyTree
    ) -> tuple[list[Array], tuple[Any, ...]]:
        """One step more than `steps`."""
        env = jax.tree.unflatten(self.env_form, env_leaves)

        def move(raw_key: Array, leaves: list[Array], action: PyTree) -> tuple[Any, ...]:
            step_key, _ = env_keys(jax.random.wrap_key_data(raw_key), steps)
            state, step = env.step(step_key, self._raise(leaves), action)
            return self._lower(state), (step.obs, step.reward, step.terminated, step.truncated, step.info)

        return jax.vmap(move)(keys, states, actions)

    def state(self, leaves: list[Array]) -> PyTree:
        """The state of the one environment, as its own functions take it."""
        return self._raise([leaf[0] for leaf in leaves])


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Array) -> Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _typed(raw: Array, form: Any) -> Array:
    return jax.random.wrap_key_data(raw) if _is_key(form) else raw


_programs: dict[Any, _Program] = {}


def _program(env: Env) -> _Program:
    """One program for all environments of a structure, whatever their constants."""
    leaves, form = jax.tree.flatten(env)
    kind = (form, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
    if kind not in _programs:
        _programs[kind] = _Program(env)
    return _programs[kind]


class FathomGymEnv(gymnasium.Env):
    """A native environment as a Gymnasium one. `reset` and `step` are compiled once per kind of environment.

    Equal to the bit, on one device, to an environment of a native vector of two or more: a lone one, and now
    and then one at the end of a vector of odd length, XLA rounds otherwise.

    `reset(seed=s)` begins the stream `jax.random.key(s)`; a `reset()` without a seed goes on with it. The
    mask of legal actions, where there is one, is the info's "action_mask"; named reward terms are there too.
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
        self.spec = GymSpec(name, functools.partial(FathomGymEnv, native, name))  # pyright: ignore[reportArgumentType]
        self._program = _program(self.native)
        self._env_leaves = jax.tree.leaves(self.native)
        self._action_types = jax.tree.map(lambda a: np.dtype(a.dtype), spaces.zeros(native.action_space))
        self._obs_caster = _caster(native.obs_space)
        self._keys: Any = None  # of the stream; two copies, as of the states
        self._steps = 0  # made in this stream, over all episodes
        self._stepped = False  # since the last reset
        self._states: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        """A new episode: of the stream of `seed`, or of the one begun before."""
        super().reset(seed=seed)
        if seed is None and self._keys is None:
            seed = int(self.np_random.integers(2**31))
        if seed is not None:
            if seed >= 2**32:
                raise FathomError(f"seed {seed} is too large; use one below 2**32.")
            seeds = np.full(2, seed, np.uint32)
            self._keys, self._states, obs = self._program.begin(self._env_leaves, seeds)
            self._steps = 0
        else:
            # A reset that follows no step takes the place of one: else it would repeat the episode's start.
            self._steps += not self._stepped
            steps = np.uint32(self._steps)
            self._states, obs = self._program.begin_again(self._env_leaves, self._keys, steps)
        self._stepped = False
        return self._give(_first(obs), {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """One step; FathomError before the first reset. Going on after the end is up to the native one."""
        if self._states is None:
            raise FathomError("step before reset; call reset(seed=...) first.")
        pair = jax.tree.map(self._pair, self._action_types, self._ordered(action))
        self._states, seen = self._program.advance(
            self._env_leaves, self._keys, np.uint32(self._steps), self._states, pair
        )
        self._steps, self._stepped = self._steps + 1, True
        obs, reward, terminated, truncated, info = _first(seen)
        obs, info = self._give(obs, {name: _number(value) for name, value in info.items()})
        return obs, float(reward), bool(terminated), bool(truncated), info

    def _pair(self, dtype: np.dtype, action: Any) -> np.ndarray:
        return np.asarray([action, action], dtype)

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
        if self._states is None:
            raise FathomError("render before reset; call reset(seed=...) first.")
        from fathom.envs import render

        scene = self.native.view(self._program.state(self._states))
        if scene is None:
            raise FathomError(f"{type(self.native).__name__} has nothing to see: its view() returns None.")
        return render.draw(scene)

    def get_state(self) -> dict[str, Any]:
        """All that the future depends on, as arrays and plain data."""
        return {
            "keys": _host(self._keys),
            "steps": self._steps,
            "stepped": self._stepped,
            "states": _host(self._states),
            "np_random": self._np_random,
            "np_random_seed": self._np_random_seed,
        }

    def set_state(self, tree: dict[str, Any]) -> None:
        """Go back to what `get_state` told. FathomError if it is of another kind of environment."""
        states = tree["states"]
        if states is not None:
            like = jax.eval_shape(self._program._begin, self._env_leaves, np.zeros(2, np.uint32))[1]
            expected = [(leaf.shape, str(leaf.dtype)) for leaf in like]
            got = [(leaf.shape, str(leaf.dtype)) for leaf in states]
            if got != expected:
                raise FathomError(f"the state has leaves {got}; {type(self.native).__name__} has {expected}.")
        self._keys, self._states = tree["keys"], states
        self._steps, self._stepped = tree["steps"], tree["stepped"]
        self._np_random, self._np_random_seed = tree["np_random"], tree["np_random_seed"]


def _host(tree: Any) -> Any:
    return jax.tree.map(np.array, tree)


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], tree)


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

    `x` is an id ("CartPole-v1", "module:Name"), an `Env`, a `HostEnv`, settings of one as `Atari("pong")`, a
    Gymnasium environment, or a class or function without arguments that makes either kind. A Gymnasium
    environment is made again from its spec where that gives the same; else it is copied, once for each
    environment of a vector. `backend` as in `registry.make`. Raises FathomError for anything else, or where
    the backend asked for does not exist.
    """
    from fathom.envs import registry

    if backend not in ("auto", "native", "gymnasium"):
        raise FathomError(f"backend is {backend!r}; use 'auto', 'native' or 'gymnasium'.")
    if isinstance(x, str):
        return registry.make(x, backend)
    if isinstance(x, FathomGymEnv) and backend != "gymnasium":
        return x.native
    if isinstance(x, HostSettings):
        return _on_host(x.host(), backend)
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
        f"cannot make an environment of {x!r} ({type(x).__name__}); pass an id, an environment, or a class "
        "or function without arguments that makes one."
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
    if env.spec is not None and _spec_recreates(env):
        return HostEnv(functools.partial(gymnasium.make, env.spec), name)
    try:
        master = copy.deepcopy(env)
    except Exception as error:
        raise FathomError(
            f"the environment object {name!r} can be neither made again from its spec nor copied ({error}); "
            "pass a function that makes it, as lambda: MyWrapper(gymnasium.make(...))."
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
    """Whether numbers, names, arrays and models that a layer was made with agree, as far as both have them.

    One that was set after making is lost in an environment made again. What differs because an episode has
    begun differs too; then the object is copied instead, which is never wrong.
    """
    ours, theirs = vars(mine), vars(other)
    return all(
        _same(value, theirs[name])
        for name, value in ours.items()
        if name in theirs and not name.startswith("_np_random")
    )


def _same(value: Any, other: Any) -> bool:
    """Whether two constants are equal; True for what is no constant and cannot be compared."""
    if physics.is_model(value) and physics.is_model(other):
        return physics.same_model(value, other)
    if isinstance(value, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(value, other, equal_nan=value.dtype.kind == "f")
    numbers = (bool, int, float)
    if type(value) is type(other) and type(value) in (str, list, tuple, dict, set):
        try:
            return bool(value == other)
        except ValueError:  # arrays inside
            return False
    return type(value) not in numbers or type(other) not in numbers or value == other
