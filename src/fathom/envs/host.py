"""Gymnasium environments on the host: spaces, a vector that steps them, exact copies of their state.

The vector steps its environments itself rather than through Gymnasium's vector classes. `SyncVectorEnv`
spends a good part of a CartPole's step on dictionaries of infos and on deep copies, and hands out final
observations as objects; `AsyncVectorEnv` waits for ever for a worker that died and has no way to ask one for
its state. Here both kinds share one loop over arrays, so that where an environment runs cannot change what
it yields.
"""

import abc
import copy
import dataclasses
import functools
import itertools
import multiprocessing
import os
import random
import signal
import statistics
import sys
import time
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import numpy as np
from jaxtyping import UInt32

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.module import Config
from fathom.core.types import EnvSpec, Masked, Stack, VecStep
from fathom.envs import physics

Workers = Literal["auto", "in-process", "subprocess"]

_STEP = jax.tree.structure(VecStep(0, 0, 0, 0, 0, 0))  # pyright: ignore[reportArgumentType]
_CHECKED_STEPS = 3
_SAMPLES = 200  # steps of a scratch environment, by which it is decided where to step
_SAMPLE_SECONDS = 2.0  # that they may take in all
_WORTH_A_PROCESS = 5e-4  # seconds of stepping saved per vector step; asking two workers costs about half
_MASK = "action_mask"


def creation_error(id: str, error: BaseException) -> FathomError:
    """What to tell the user when the environment `id` could not be created because of `error`."""
    if isinstance(error, FathomError):
        return error
    text = f"{type(error).__name__}: {error}"
    for extra, signs in _EXTRAS.items():
        if any(sign in text.lower() for sign in signs):
            package = "fathom-rl" if extra in _our_extras() else "gymnasium"
            return FathomError(
                f"the environment {id!r} needs a package that is not installed ({error}). "
                f'Install it with: pip install "{package}[{extra}]"'
            )
    return FathomError(f"the environment {id!r} could not be created: {text}")


_EXTRAS = {
    "box2d": ("box2d",),
    "mujoco": ("mujoco",),
    "atari": ("ale_py", "ale-py", "namespace ale"),
    "classic": ("pygame",),
}


def _our_extras() -> set[str]:
    from importlib import metadata

    try:
        return set(metadata.metadata("fathom-rl").get_all("Provides-Extra") or ())
    except metadata.PackageNotFoundError:
        return set(_EXTRAS)


@dataclass(frozen=True)
class _Facts:
    """What one look at an environment told."""

    obs_space: spaces.Space
    action_space: spaces.Space
    gym_obs_space: Any
    gym_action_space: Any
    max_episode_steps: int | None
    mask_from: Literal["info", "obs"] | None
    stack: Stack | None = None


class HostSettings(Config):
    """An environment of the host described by its settings alone, as run.json keeps them."""

    @abc.abstractmethod
    def host(self) -> "HostEnv":
        """The environment that has these settings."""

    @property
    @abc.abstractmethod
    def frames(self) -> int:
        """Frames stacked along an observation's last axis, newest last; 1 where nothing is stacked.

        An episode starts with its first frame repeated, and each step moves the stack on by one.
        """


class AnyVec(Protocol):
    """What the engine asks of a vector of host environments: see `HostVec`, which is the usual one."""

    told: str  # what was chosen, for people

    def reset(self, seeds: UInt32[np.ndarray, " env"]) -> Any:
        """Begin anew, each environment from its seed; the first observations [env, ...]."""
        ...

    def step(self, actions: Any) -> VecStep:
        """Step every environment, and reset those whose episode ended, `final_obs` as it was before."""
        ...

    def snapshot(self) -> dict[str, Any] | None:
        """An exact copy of every environment, or None where that cannot be had."""
        ...

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put every environment back to where `snapshot` found it."""
        ...

    def why_not_copyable(self) -> str:
        """Why `snapshot` gives None."""
        ...

    def close(self) -> None:
        """Release what the vector holds."""
        ...


@dataclass(frozen=True)
class HostEnv:
    """A Gymnasium environment, described by how to make one. Nothing is made before it is asked about.

    An environment that tells which actions are legal has a `spaces.Masked` observation space. It tells so by
    an `action_mask` in the info of `reset` and `step`, or by an entry `action_mask` of a Dict observation
    (the rest of which is then the observation; the rest alone, if it is a single entry).
    """

    make: Callable[[], Any]
    id: str = ""
    settings: "HostSettings | None" = None  # from which it can be made again: run.json keeps them
    evaluated: "HostEnv | None" = None  # what to evaluate on, where learning sees other rewards or ends
    vectorised: Callable[[int], "AnyVec"] | None = None  # makes the vector, where the package brings its own

    @property
    def task(self) -> "HostEnv":
        """The environment as it is evaluated and filmed."""
        return self.evaluated or self

    @property
    def frames(self) -> int:
        """Frames stacked along an observation's last axis, newest last, as far as settings tell."""
        return self.settings.frames if self.settings is not None else 1

    @functools.cached_property
    def _facts(self) -> _Facts:
        env = self.fresh()
        try:
            _, info = env.reset(seed=0)
            facts = _look_at(env, info)
            return dataclasses.replace(facts, stack=_stack_of(env, self.settings))
        except FathomError:
            raise
        except Exception as error:
            raise creation_error(self.id, error) from error
        finally:
            env.close()

    def fresh(self) -> Any:
        """A new Gymnasium environment. FathomError, with what to install, if it cannot be made."""
        import gymnasium

        try:
            env = self.make()
        except Exception as error:
            raise creation_error(self.id, error) from error
        if not isinstance(env, gymnasium.Env):
            raise FathomError(
                f"the constructor of {self.id or 'the environment'!r} returned {type(env).__name__}, which "
                "is not a gymnasium.Env. Return one, or derive from fathom.envs.base.Env."
            )
        return env

    @property
    def obs_space(self) -> spaces.Space:
        """The space of observations."""
        return self._facts.obs_space

    @property
    def action_space(self) -> spaces.Space:
        """The space of actions."""
        return self._facts.action_space

    @property
    def spec(self) -> EnvSpec:
        """What an algorithm may know of it."""
        return EnvSpec(self.obs_space, self.action_space, self.id, self.stack)

    @property
    def stack(self) -> Stack | None:
        """Of which frames observations are made, where settings or known wrappers tell."""
        return self._facts.stack

    @property
    def max_episode_steps(self) -> int | None:
        """The number of steps after which episodes are cut, or None where no limit is declared."""
        return self._facts.max_episode_steps

    def vector(self, num_envs: int, workers: Workers = "auto") -> "AnyVec":
        """`num_envs` copies that step together; "auto" takes processes where one step is slow enough.

        A package's own vector steps in its own threads, whatever `workers` says.
        """
        if self.vectorised is not None:
            return self.vectorised(num_envs)
        return HostVec(self, num_envs, workers)


def layers(env: Any) -> list[Any]:
    """A Gymnasium environment's wrappers, outermost first, and then the environment itself."""
    import gymnasium

    found = [env]
    while isinstance(found[-1], gymnasium.Wrapper):
        found.append(found[-1].env)
    return found


def _stack_of(env: Any, settings: HostSettings | None) -> Stack | None:
    """The frames that observations are made of, None where that is not known for certain."""
    import gymnasium
    from gymnasium import wrappers

    if settings is not None:
        return Stack(settings.frames, -1) if settings.frames > 1 else None
    # Their subclasses may do anything, and so may wrappers that are not among them.
    blind = (
        wrappers.ClipAction,
        wrappers.ClipReward,
        wrappers.NormalizeReward,
        wrappers.OrderEnforcing,
        wrappers.PassiveEnvChecker,
        wrappers.RecordEpisodeStatistics,
        wrappers.RescaleAction,
        wrappers.TimeLimit,
        wrappers.TransformAction,
        wrappers.TransformReward,
    )
    seen = next(layer for layer in layers(env) if type(layer) not in blind)
    if (native := getattr(seen, "native", None)) is not None:  # ours, exported
        return native.stack
    if type(seen) is not wrappers.FrameStackObservation:
        return None
    space = seen.observation_space
    padding = {"reset": "repeat", "zero": "zero"}.get(seen.padding_type)
    if not isinstance(space, gymnasium.spaces.Box) or padding is None:
        return None
    try:
        # Its own space may be shared by all environments of its class, stream and all.
        env.step(copy.deepcopy(env.action_space).sample())
    except Exception:
        return None  # not every action need be legal
    # An environment that writes every observation into one array has stacks of one picture.
    queue = list(seen.obs_queue)
    if len(queue) > 1 and np.may_share_memory(np.asarray(queue[-1]), np.asarray(queue[-2])):
        return None
    return Stack(seen.stack_size, -len(space.shape), padding)  # pyright: ignore[reportArgumentType]


def _look_at(env: Any, info: dict[str, Any]) -> _Facts:
    import gymnasium

    action_space = spaces.from_gymnasium(env.action_space)
    limit = None
    for layer in layers(env):
        declared = layer.spec.max_episode_steps if layer.spec is not None else None
        limit = limit or getattr(layer, "_max_episode_steps", None) or declared
    obs_space, mask_from, mask = env.observation_space, None, None
    if isinstance(obs_space, gymnasium.spaces.Dict) and _MASK in obs_space.spaces:
        rest = {name: s for name, s in obs_space.spaces.items() if name != _MASK}
        if not rest:
            raise FathomError(
                "the observation holds an action_mask and nothing else; add what the agent sees."
            )
        mask_from, num_actions = "obs", spaces.flat_size(spaces.from_gymnasium(obs_space.spaces[_MASK]))
        ours = {name: spaces.from_gymnasium(s) for name, s in rest.items()}
        inner = spaces.Dict(ours) if len(ours) > 1 else next(iter(ours.values()))
    else:
        inner = spaces.from_gymnasium(obs_space)
        mask = info.get(_MASK)
        num_actions = 0 if mask is None else _flat_mask(mask).size
        mask_from = None if mask is None else "info"
    if mask_from is not None:
        expected = _mask_size(action_space)
        if num_actions != expected:
            raise FathomError(
                f"the action mask has {num_actions} entries but {action_space!r} needs {expected}; give one "
                "entry per action (for MultiDiscrete, those of all components in a row)."
            )
        inner = spaces.Masked(inner, num_actions)
    return _Facts(inner, action_space, env.observation_space, env.action_space, limit, mask_from)


def _mask_size(action_space: spaces.Space) -> int:
    if not isinstance(action_space, spaces.Discrete | spaces.MultiDiscrete):
        raise FathomError(
            f"an action mask goes with Discrete and MultiDiscrete actions, not with {action_space!r}; remove "
            "the action_mask or change the action space."
        )
    return spaces.flat_size(action_space)


def _flat_mask(mask: Any) -> np.ndarray:
    """A mask as a boolean vector; Gymnasium gives a tuple of vectors for MultiDiscrete."""
    if isinstance(mask, tuple | list) and mask and np.ndim(mask[0]) == 1:
        mask = np.concatenate(mask)
    return np.asarray(mask).reshape(-1) != 0


class _Layout:
    """How observations of one environment are laid into arrays [env, ...], one for each leaf."""

    def __init__(self, obs_space: spaces.Space, mask_from: Literal["info", "obs"] | None) -> None:
        self.mask_from = mask_from
        self.masked = isinstance(obs_space, spaces.Masked)
        inner = obs_space.obs if isinstance(obs_space, spaces.Masked) else obs_space
        leaves: list[tuple[tuple[Any, ...], spaces.Space]] = []
        self._collect(inner, (), leaves)
        self.inner = inner
        if mask_from == "obs" and not isinstance(inner, spaces.Dict):
            self.single_entry = True
        else:
            self.single_entry = False
        self.paths = [path for path, _ in leaves]
        self.leaf_spaces = [space for _, space in leaves]
        self.shapes = [tuple(space.shape) for space in self.leaf_spaces]  # pyright: ignore
        self.dtypes = [np.dtype(space.dtype) for space in self.leaf_spaces]  # pyright: ignore
        if isinstance(obs_space, spaces.Masked):
            self.shapes.append((obs_space.num_actions,))
            self.dtypes.append(np.dtype(bool))
        self.plain = self.paths == [()] and not self.masked

    def _collect(self, space: spaces.Space, path: tuple[Any, ...], into: list) -> None:
        match space:
            case spaces.Dict(spaces=entries):
                for name, entry in entries.items():
                    self._collect(entry, (*path, name), into)
            case spaces.Tuple(spaces=parts):
                for index, part in enumerate(parts):
                    self._collect(part, (*path, index), into)
            case _:
                into.append((path, space))

    def empty(self, num_envs: int) -> list[np.ndarray]:
        return [np.empty((num_envs, *s), d) for s, d in zip(self.shapes, self.dtypes, strict=True)]

    def write(self, arrays: list[np.ndarray], index: int, obs: Any, info: dict[str, Any]) -> None:
        if self.plain:
            arrays[0][index] = obs
            return
        for array, leaf in zip(arrays, self.pick(obs), strict=False):
            array[index] = leaf
        if self.masked:
            mask = obs[_MASK] if self.mask_from == "obs" else info.get(_MASK)
            if mask is None:
                raise FathomError(
                    "the info has no 'action_mask', though that of the first reset had; always give it."
                )
            arrays[-1][index] = _flat_mask(mask)

    def pick(self, obs: Any) -> Iterator[Any]:
        """The leaves of one observation, in the order of the arrays."""
        if self.single_entry:
            obs = next(value for name, value in obs.items() if name != _MASK)
        for path in self.paths:
            leaf = obs
            for part in path:
                leaf = leaf[part]
            yield leaf

    def tree(self, arrays: Sequence[np.ndarray]) -> Any:
        if self.plain:
            return arrays[0]
        leaves = iter(arrays)
        obs = self._build(self.inner, leaves)
        return Masked(obs, next(leaves)) if self.masked else obs  # pyright: ignore[reportArgumentType]

    def _build(self, space: spaces.Space, leaves: Iterator[np.ndarray]) -> Any:
        match space:
            case spaces.Dict(spaces=entries):
                return {name: self._build(entry, leaves) for name, entry in entries.items()}
            case spaces.Tuple(spaces=parts):
                return tuple(self._build(part, leaves) for part in parts)
        return next(leaves)

    def check(self, obs: Any) -> str:
        """What is wrong with the form of one observation, or an empty string."""
        try:
            leaves = list(self.pick(obs))
        except (KeyError, IndexError, TypeError, StopIteration, AttributeError):
            return f"the observation {_short(obs)} has not the structure of the space {self.inner!r}"
        for path, space, shape, dtype, leaf in zip(
            self.paths, self.leaf_spaces, self.shapes, self.dtypes, leaves, strict=False
        ):
            where = f"the observation{''.join(f'[{p!r}]' for p in path)}"
            got = np.asarray(leaf)
            if got.shape != shape:
                return (
                    f"{where} has shape {got.shape}, but its space says {shape}; the value is {_short(leaf)}"
                )
            if not _fits(got.dtype, dtype):
                return (
                    f"{where} has dtype {got.dtype}, but its space says {dtype}; the value is {_short(leaf)}"
                )
            outside = isinstance(space, spaces.Discrete) and not space.contains(got)
            if outside:
                return f"{where} is {_short(leaf)}, which is not in {space!r}"
        return ""


def _fits(got: np.dtype, wanted: np.dtype) -> bool:
    if np.issubdtype(wanted, np.floating):
        return got.kind in "fiub"
    return got.kind in "iub"


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else text[:117] + "..."


def _unbatcher(space: Any) -> Callable[[Any], list[Any]]:
    """A function from actions [env, ...] to one action per environment, as `space` (Gymnasium's) has them.

    The arrays are copied: JAX hands out read-only ones, and an environment may write to its action.
    """
    import gymnasium

    if isinstance(space, gymnasium.spaces.Dict):
        parts = {name: _unbatcher(s) for name, s in space.spaces.items()}

        def unbatch_dict(actions: Any) -> list[Any]:
            columns = [part(actions[name]) for name, part in parts.items()]
            return [dict(zip(parts, row, strict=True)) for row in zip(*columns, strict=True)]

        return unbatch_dict
    if isinstance(space, gymnasium.spaces.Tuple):
        members = [_unbatcher(s) for s in space.spaces]

        def unbatch_tuple(actions: Any) -> list[Any]:
            return list(zip(*(m(a) for m, a in zip(members, actions, strict=True)), strict=True))

        return unbatch_tuple
    shape, dtype = tuple(space.shape or ()), space.dtype

    def unbatch(actions: Any) -> list[Any]:
        array = np.array(actions, dtype)
        if array.shape[1:] != shape:
            raise FathomError(
                f"actions have shape {array.shape}, but one action of {space} has shape {shape}; pass one "
                f"per environment, [env, {', '.join(map(str, shape))}]."
            )
        return list(array)

    return unbatch


class _Slice:
    """Some environments of a vector, in this process."""

    def __init__(self, make: Callable[[], Any], first: int, count: int, facts: _Facts) -> None:
        self.make = make
        self.first = first
        self.layout = _Layout(facts.obs_space, facts.mask_from)
        self.unbatch = _unbatcher(facts.gym_action_space)
        self.envs: list[Any] = []
        self.make_envs(count)
        self.pristine: Any = None
        self.info_keys: list[str] | None = None
        self.steps = 0
        self.unchecked = _CHECKED_STEPS
        self.used = False

    def make_envs(self, count: int) -> None:
        for env in self.envs:
            env.close()
        self.envs = [self.make() for _ in range(count)]
        self.step_fns = [env.step for env in self.envs]
        self.reset_fns = [env.reset for env in self.envs]

    def reset(self, seeds: Sequence[int]) -> list[np.ndarray]:
        self.used = True
        self.steps, self.unchecked = 0, _CHECKED_STEPS
        obs = self.layout.empty(len(self.envs))
        for index, (reset, seed) in enumerate(zip(self.reset_fns, seeds, strict=True)):
            self._reset_one(obs, index, functools.partial(reset, seed=int(seed)), check=True)
        self._legal(obs)
        return obs

    def _reset_one(self, obs: list[np.ndarray], index: int, reset: Callable[[], Any], check: bool) -> None:
        try:
            value, info = reset()
            if check and (wrong := self.layout.check(value)):
                raise FathomError(wrong)
            self.layout.write(obs, index, value, info)
        except Exception as error:
            raise self._blame(error, index, "reset") from error

    def step(self, actions: Any) -> tuple[Any, ...]:
        acts = self.unbatch(actions)
        count = len(self.envs)
        if len(acts) != count:
            raise FathomError(f"{len(acts)} actions for {count} environments; pass one for each.")
        if not self.used:
            raise FathomError("step before reset; call reset(seeds) or restore(snapshot) first.")
        layout, check = self.layout, self.unchecked > 0
        final = layout.empty(count)
        reward = np.empty(count, np.float32)
        terminated = np.zeros(count, bool)
        truncated = np.zeros(count, bool)
        infos: list[dict[str, Any]] = []
        over: list[int] = []
        index = 0
        try:
            for index, step in enumerate(self.step_fns):
                value, gain, ended, cut, info = step(acts[index])
                if check:
                    self._check_step(value, gain, ended, cut)
                layout.write(final, index, value, info)
                reward[index] = gain
                infos.append(info)
                if ended or cut:
                    terminated[index], truncated[index] = ended, cut
                    over.append(index)
        except Exception as error:
            raise self._blame(error, index, "step") from error
        obs = [array.copy() for array in final]
        for index in over:
            self._reset_one(obs, index, self.reset_fns[index], check)
        self._legal(obs)
        self.steps += 1
        self.unchecked -= check
        return obs, final, reward, terminated, truncated, self._gather(infos)

    def _check_step(self, value: Any, gain: Any, ended: Any, cut: Any) -> None:
        if wrong := self.layout.check(value):
            raise FathomError(wrong)
        number = np.asarray(gain)
        if number.ndim or number.dtype.kind not in "fiub":
            raise FathomError(f"the reward is {_short(gain)} ({type(gain).__name__}); return one real number")
        if not np.isfinite(number):
            raise FathomError(f"the reward is {gain}; return a finite number")
        for name, flag in (("terminated", ended), ("truncated", cut)):
            if np.ndim(flag) or np.asarray(flag).dtype.kind != "b":
                raise FathomError(f"{name} is {_short(flag)} ({type(flag).__name__}); return True or False")

    def _blame(self, error: Exception, index: int, what: str) -> FathomError:
        place = f"environment {self.first + index}, {what}"
        if what == "step" or self.steps:
            place += f" {self.steps + 1}" if what == "step" else f" after step {self.steps + 1}"
        if isinstance(error, FathomError):
            return FathomError(f"{place}: {error}")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{os.path.basename(frame.filename)}:{frame.lineno}"
        return FathomError(
            f"{place} raised {type(error).__name__}: {error} (at {at}). Mend the environment; "
            "`fathom check` looks it over."
        )

    def _legal(self, obs: list[np.ndarray]) -> None:
        """Refuse observations to act on in which nothing is legal; in a final one nothing need be."""
        if not self.layout.masked:
            return
        stuck = np.flatnonzero(~obs[-1].any(axis=1))
        if stuck.size:
            raise FathomError(
                f"environment {self.first + stuck[0]}, step {self.steps + 1}: the action mask allows no "
                "action at all. Allow at least one, or return terminated=True there."
            )

    def _gather(self, infos: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        """The numbers that the infos name, as they stood in the first step; NaN where one is missing."""
        if self.info_keys is None:
            self.info_keys = sorted(key for key, value in infos[0].items() if _is_number(value))
        if not self.info_keys:
            return {}
        return {
            key: np.array([_number(info.get(key)) for info in infos], np.float32) for key in self.info_keys
        }

    def snapshot(self) -> tuple[list[Any] | None, str]:
        if self.pristine is None:
            self.pristine = self.make()
        try:
            return [_copy_env(env, self.pristine) for env in self.envs], ""
        except _NotCopyable as error:
            return None, str(error)

    def restore(self, states: list[Any], info_keys: list[str] | None, steps: int) -> None:
        if self.used:
            self.make_envs(len(self.envs))
        for env, state in zip(self.envs, states, strict=True):
            _restore_env(env, state)
        self.info_keys, self.steps, self.used = info_keys, steps, True

    def close(self) -> None:
        for env in (*self.envs, *((self.pristine,) if self.pristine is not None else ())):
            env.close()
        self.envs = []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_) or (
        isinstance(value, np.ndarray | jax.Array) and value.shape == () and value.dtype.kind in "fiub"
    )


def _number(value: Any) -> float:
    """A number of an info; NaN where there is none."""
    return float(value) if _is_number(value) else np.nan


class HostVec:
    """`num_envs` Gymnasium environments that step together and reset themselves in the step that ends them.

    After an episode an environment is reset without a seed: its own random stream goes on. All arrays that
    come out are new at each call. Shapes: observations [env, ...], with float64 turned into float32.
    """

    def __init__(self, host: HostEnv, num_envs: int, workers: Workers = "auto") -> None:
        if num_envs < 1:
            raise FathomError(f"num_envs is {num_envs}; a vector needs at least one environment.")
        if workers not in ("auto", "in-process", "subprocess"):
            raise FathomError(f"workers is {workers!r}; use 'auto', 'in-process' or 'subprocess'.")
        self.host = host
        self.num_envs = num_envs
        self._facts = host._facts
        self._layout = _Layout(self._facts.obs_space, self._facts.mask_from)
        self._reason = ""
        self.told = ""  # what was measured and chosen, for people
        if workers == "auto":
            workers, self.told = _choose(host, num_envs)
        self.workers: Workers = workers
        self._closed = False
        self._slice: _Slice | None = None
        self._workers: list[_Worker] = []
        if self.workers == "in-process":
            try:
                self._slice = _Slice(host.make, 0, num_envs, self._facts)
            except Exception as error:
                raise creation_error(host.id, error) from error
        else:
            self._start_workers()

    @property
    def obs_space(self) -> spaces.Space:
        """The space of one environment's observations."""
        return self._facts.obs_space

    @property
    def action_space(self) -> spaces.Space:
        """The space of one environment's actions."""
        return self._facts.action_space

    def _start_workers(self) -> None:
        import cloudpickle

        count = min(self.num_envs, _cores())
        bounds = np.linspace(0, self.num_envs, count + 1).astype(int)
        try:
            payload = cloudpickle.dumps((self.host.make, self._facts))
        except Exception as error:
            raise FathomError(
                f"the environment {self.host.id!r} cannot be sent to a process ({error}); use "
                "workers='in-process', or give a constructor instead of an object."
            ) from error
        try:
            for number, (first, last) in enumerate(itertools.pairwise(bounds)):
                self._workers.append(_Worker(number, int(first), int(last), payload))
            for worker in self._workers:
                worker.answer()
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: UInt32[np.ndarray, " env"]) -> Any:
        """Begin anew, each environment from its seed. Returns the first observations [env, ...]."""
        self._check_open()
        if len(seeds) != self.num_envs:
            raise FathomError(f"{len(seeds)} seeds for {self.num_envs} environments; pass one for each.")
        numbers = [int(seed) for seed in seeds]
        if self._slice is not None:
            return self._layout.tree(self._slice.reset(numbers))
        parts = self._ask_all("reset", [(numbers[w.first : w.last],) for w in self._workers])
        return self._layout.tree(_join(parts))

    def step(self, actions: Any) -> VecStep:
        """Step every environment with its action [env, ...]; reset those whose episode ended.

        `final_obs` is the observation reached before any reset, for all environments: where no episode ended
        it equals `obs`. `info` holds the numbers that the environments' infos named at their first step, as
        float32 [env].

        Raises FathomError, with the environment and the step, if an environment fails or, in the first steps,
        yields something not of its space.
        """
        if self._slice is not None:
            obs, final, *rest = self._slice.step(actions)
        else:
            self._check_open()
            obs, final, *rest = self._step_workers(actions)
        tree = self._layout.tree
        # Building the module through its constructor costs as much as two CartPole steps.
        return _STEP.unflatten((tree(obs), *rest[:3], tree(final), rest[3]))

    def _step_workers(self, actions: Any) -> tuple[Any, ...]:
        actions = jax.tree.map(np.asarray, actions)
        for leaf in jax.tree.leaves(actions):
            if np.ndim(leaf) == 0 or len(leaf) != self.num_envs:
                raise FathomError(f"actions of shape {np.shape(leaf)} for {self.num_envs} environments.")
        shares = [(jax.tree.map(lambda a, w=w: a[w.first : w.last], actions),) for w in self._workers]
        parts = self._ask_all("step", shares)
        obs, final = _join([p[0] for p in parts]), _join([p[1] for p in parts])
        reward, terminated, truncated = (np.concatenate([p[i] for p in parts]) for i in (2, 3, 4))
        missing = [np.full(len(p[2]), np.nan, np.float32) for p in parts]
        keys = sorted({key for p in parts for key in p[5]})
        info = {
            key: np.concatenate([p[5].get(key, no) for p, no in zip(parts, missing, strict=True)])
            for key in keys
        }
        return obs, final, reward, terminated, truncated, info

    def snapshot(self) -> dict[str, Any] | None:
        """An exact copy of every environment, or None where one cannot be copied (see `why_not_copyable`).

        Plain data and NumPy arrays only; see `pack` for files. An environment is copied by what its layers'
        attributes hold, or by its own `get_state()` and `set_state(tree)` if it has them.
        """
        self._check_open()
        if self._slice is not None:
            parts = [self._slice.snapshot()]
            keys, steps = self._slice.info_keys, self._slice.steps
        else:
            answers = self._ask_all("snapshot", [()] * len(self._workers))
            parts = [a[0] for a in answers]
            keys, steps = answers[0][1], answers[0][2]
        self._reason = next((reason for states, reason in parts if states is None), "")
        if self._reason:
            return None
        states = [state for part, _ in parts for state in part or ()]
        return {"version": 1, "steps": steps, "info_keys": keys, "envs": states}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Put every environment back to where `snapshot` found it; what follows is the same to the bit."""
        self._check_open()
        if snapshot.get("version") != 1:
            raise FathomError(
                f"a snapshot of version {snapshot.get('version')!r}; this Fathom reads version 1."
            )
        states = snapshot["envs"]
        if len(states) != self.num_envs:
            raise FathomError(
                f"the snapshot holds {len(states)} environments and this vector {self.num_envs}; make a "
                "vector of the same number."
            )
        rest = (snapshot["info_keys"], snapshot["steps"])
        if self._slice is not None:
            self._slice.restore(states, *rest)
        else:
            self._ask_all("restore", [(states[w.first : w.last], *rest) for w in self._workers])

    def why_not_copyable(self) -> str:
        """Which attribute keeps `snapshot` from copying the environments; empty where it can."""
        self.snapshot()
        return self._reason

    def close(self) -> None:
        """Close the environments and end the processes. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._slice is not None:
            self._slice.close()
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _check_open(self) -> None:
        if self._closed:
            raise FathomError("this vector of environments is closed; make a new one.")

    def _ask_all(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Ask all workers, then hear all: an error of one must not leave another's answer in its pipe."""
        for worker, given in zip(self._workers, arguments, strict=True):
            worker.ask(command, *given)
        answers, failure = [], None
        for worker in self._workers:
            try:
                answers.append(worker.answer())
            except FathomError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return answers

    def __enter__(self) -> "HostVec":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _join(parts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(leaves) for leaves in zip(*parts, strict=True)]


def _cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose(host: HostEnv, num_envs: int) -> tuple[Workers, str]:
    """Processes where they save more than they cost, by a scratch environment's steps; and the reason."""
    processes = min(num_envs, _cores())
    if processes < 2:
        return "in-process", ""
    env = host.fresh()
    if hasattr(env, "native"):  # ours: each process would compile it again
        env.close()
        return "in-process", ""
    try:
        seconds = statistics.median(_step_seconds(env))
    except Exception:
        return "in-process", ""  # the vector will meet the same error and say where it arose
    finally:
        env.close()
    saved = seconds * num_envs * (1 - 1 / processes)
    measured = f"{host.id} takes {seconds * 1e3:.2g} ms a step"
    if saved > _WORTH_A_PROCESS:
        return "subprocess", f"{measured}: {num_envs} environments in {processes} processes"
    return "in-process", f"{measured}: {num_envs} environments in this process"


def _step_seconds(env: Any) -> list[float]:
    """How long each of an environment's steps by random actions takes."""
    seconds: list[float] = []
    end = time.perf_counter() + _SAMPLE_SECONDS
    env.reset(seed=0)
    # Its own space may be shared by all environments of its class, stream and all.
    action_space = copy.deepcopy(env.action_space)
    action_space.seed(0)
    while len(seconds) < _SAMPLES and time.perf_counter() < end:
        action = action_space.sample()
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(action)
        seconds.append(time.perf_counter() - start)
        if terminated or truncated:
            env.reset()
    return seconds


class _Worker:
    """The near end of a process that holds some of the environments."""

    def __init__(self, number: int, first: int, last: int, payload: bytes) -> None:
        self.number, self.first, self.last = number, first, last
        # Never fork: JAX has threads, and a forked copy of them deadlocks.
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(far, payload, first, last - first), daemon=True, name=f"fathom-env-{number}"
        )
        with _without_main():
            self.process.start()
        far.close()

    def ask(self, command: str, *arguments: Any) -> None:
        try:
            self.pipe.send((command, arguments))
        except (BrokenPipeError, ConnectionResetError, OSError) as error:
            raise self._died() from error

    def answer(self) -> Any:
        try:
            while not self.pipe.poll(1.0):
                if not self.process.is_alive() and not self.pipe.poll(0):
                    raise self._died()
            fine, value = self.pipe.recv()
        except (EOFError, ConnectionResetError, BrokenPipeError) as error:
            raise self._died() from error
        if not fine:
            raise FathomError(f"{value}")
        return value

    def _died(self) -> FathomError:
        self.process.join(2.0)
        code = self.process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
            if -code == 9:
                how += ", often the system's answer to too little memory"
        return FathomError(
            f"worker {self.number}, which held environments {self.first} to {self.last - 1}, died ({how}). "
            "Resume from the last checkpoint; to see what the environment does, use workers='in-process', or "
            "fewer environments if memory is short."
        )

    def close(self) -> None:
        with suppress(OSError):
            self.pipe.send(("close", ()))
        self.process.join(5.0)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        self.pipe.close()
        self.process.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a new process from running the user's script again: what it needs arrives by cloudpickle.

    Otherwise a script without `if __name__ == "__main__":` would fail as soon as it used processes.
    """
    main = sys.modules["__main__"]
    hidden = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__dict__["__spec__"] = None
    try:
        yield
    finally:
        main.__dict__.pop("__spec__", None)
        main.__dict__.update(hidden)


def _serve(pipe: Any, payload: bytes, first: int, count: int) -> None:
    """The far end: answer commands until told to close or until the other end is gone."""
    import cloudpickle

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the one who asks
    jax.config.update("jax_platforms", "cpu")  # the accelerator belongs to the learner
    part: _Slice | None = None
    try:
        try:
            make, facts = cloudpickle.loads(payload)
            part = _Slice(make, first, count, facts)
            pipe.send((True, None))
        except Exception as error:
            pipe.send((False, f"environments {first} to {first + count - 1}: {creation_error('', error)}"))
            return
        while True:
            command, arguments = pipe.recv()
            if command == "close":
                return
            try:
                value = getattr(part, command)(*arguments)
                if command == "snapshot":
                    value = (value, part.info_keys, part.steps)
                pipe.send((True, value))
            except FathomError as error:
                pipe.send((False, str(error)))
            except Exception as error:
                pipe.send((False, f"environments {first} to {first + count - 1}: {error!r}"))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        if part is not None:
            part.close()


class _NotCopyable(Exception):
    """Names what cannot be copied."""


_KEPT = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
    type,
    np.ufunc,
    np.dtype,
    functools.partial,
)
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
_LARGE = 100  # a table this long that equals a new environment's is not chance: it is left out of copies


def _copy_env(env: Any, pristine: Any) -> list[Any]:
    """The state of each layer; `pristine` is an environment just made, which tells what never changes."""
    chain, fresh_chain = layers(env), layers(pristine)
    if [type(layer) for layer in chain] != [type(layer) for layer in fresh_chain]:
        raise _NotCopyable("the wrappers differ from those of a new environment")
    copier = _Copier(chain)
    states = []
    for layer, fresh in zip(chain, fresh_chain, strict=True):
        name = type(layer).__name__
        if _offers_state(layer):
            states.append({"own": copier.encode(layer.get_state(), None, f"{name}.get_state()")})
            continue
        attributes = {
            key: copier.encode(value, vars(fresh).get(key), f"{name}.{key}")
            for key, value in vars(layer).items()
        }
        states.append({"attributes": attributes})
    copier.check_views()
    return states


def _offers_state(layer: Any) -> bool:
    return all(callable(getattr(type(layer), name, None)) for name in ("get_state", "set_state"))


def _restore_env(env: Any, states: list[Any]) -> None:
    chain = layers(env)
    if len(chain) != len(states):
        raise FathomError(
            f"the snapshot is of {len(states)} layers of wrappers and this environment has {len(chain)}; "
            "make the environment as it was made then."
        )
    restorer = _Restorer(chain)
    for layer, state in zip(chain, states, strict=True):
        if "own" in state:
            layer.set_state(restorer.decode(state["own"], None))
            continue
        have = vars(layer)
        for gone in set(have) - set(state["attributes"]):
            del have[gone]
        for key, node in state["attributes"].items():
            if node != {"~": "keep"}:
                have[key] = restorer.decode(node, have.get(key))


class _Copier:
    """Turns values into plain data: None, bool, int, float, str, arrays, and nodes {"~": kind, ...}.

    Objects that two places share are written once and named by "id" afterwards, so that they are shared again
    when restored.
    """

    def __init__(self, chain: list[Any]) -> None:
        self.chain = {id(layer): number for number, layer in enumerate(chain)}
        self.seen: dict[int, int] = {}
        self.alive: list[Any] = []  # an id is only good while its object lives
        self.arrays: list[tuple[np.ndarray, str]] = []

    def encode(self, value: Any, fresh: Any, path: str) -> Any:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic):
            return {"~": "scalar", "of": self.plain_array(np.asarray(value), path)}
        if type(value) is bytes:
            return {"~": "bytes", "of": value.decode("latin-1")}
        if id(value) in self.chain:
            return {"~": "layer", "of": self.chain[id(value)]}
        if self.is_constant(value, fresh, path):
            if fresh is None:
                raise _NotCopyable(f"{path}, a {type(value).__name__} that a new environment has not there")
            return {"~": "keep"}
        if type(value) is tuple:
            return {"~": "tuple", "of": self.encode_all(value, fresh, path)}
        if type(value) is frozenset:
            return {"~": "frozenset", "of": self.encode_all(list(value), None, path)}
        if id(value) in self.seen:
            return {"~": "same", "id": self.seen[id(value)]}
        number = self.seen[id(value)] = len(self.seen)
        self.alive.append(value)
        return {"id": number, **self.encode_object(value, fresh, path)}

    def encode_all(self, values: Sequence[Any], fresh: Any, path: str) -> list[Any]:
        alike = type(fresh) in (tuple, list) and len(fresh) == len(values)
        return [
            self.encode(value, fresh[i] if alike else None, f"{path}[{i}]") for i, value in enumerate(values)
        ]

    def encode_object(self, value: Any, fresh: Any, path: str) -> dict[str, Any]:
        import gymnasium

        kind = type(value)
        if kind is np.ndarray:
            self.arrays.append((value, path))
            node: dict[str, Any] = {"~": "array", "of": self.plain_array(value, path)}
            if value.flags.f_contiguous and not value.flags.c_contiguous:
                node["fortran"] = True  # the order of memory is the order of sums
            if not value.flags.writeable:
                node["frozen"] = True
            return node
        if kind is list:
            return {"~": "list", "of": self.encode_all(value, fresh, path)}
        if kind is dict:
            old = fresh if type(fresh) is dict else {}
            pairs = []
            for key, item in value.items():
                place = f"{path}[{key!r}]"
                pairs.append([self.encode(key, None, place), self.encode(item, old.get(key), place)])
            return {"~": "dict", "of": pairs}
        if kind is deque:
            return {"~": "deque", "most": value.maxlen, "of": self.encode_all(list(value), None, path)}
        if kind is set:
            return {"~": "set", "of": self.encode_all(list(value), None, path)}
        if kind is np.random.Generator:
            return self.encode_generator(value, path)
        if kind is np.random.RandomState:
            return {"~": "randomstate", "of": self.encode(value.get_state(legacy=False), None, path)}
        if kind is random.Random:
            return {"~": "random", "of": self.encode(value.getstate(), None, path)}
        if isinstance(value, jax.Array):
            if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
                data = np.asarray(jax.random.key_data(value))
                return {"~": "key", "impl": str(jax.random.key_impl(value)), "of": data}
            return {"~": "jax", "of": self.plain_array(np.asarray(value), path)}
        if isinstance(value, gymnasium.Space):
            if type(fresh) is not type(value) or fresh != value:
                raise _NotCopyable(f"{path}, a space that differs from a new environment's")
            streams = [part._np_random for part in _parts(value)]
            return {"~": "space", "of": self.encode_all(streams, None, path)}
        if physics.is_data(value) and physics.is_data(fresh):
            return {"~": "mujoco", "of": self.encode(physics.state(value), None, path)}
        raise _NotCopyable(f"{path}, a {kind.__module__}.{kind.__qualname__}")

    def encode_generator(self, value: np.random.Generator, path: str) -> dict[str, Any]:
        bits = value.bit_generator
        name = type(bits).__name__
        sequence = bits.seed_seq
        if name not in _BIT_GENERATORS or type(sequence) is not np.random.SeedSequence:
            raise _NotCopyable(f"{path}, a generator of numbers by {name}")
        return {
            "~": "generator",
            "bits": name,
            "state": self.encode(bits.state, None, path),
            "seeds": self.encode(
                {
                    "entropy": sequence.entropy,
                    "spawn_key": sequence.spawn_key,
                    "pool_size": sequence.pool_size,
                    "n_children_spawned": sequence.n_children_spawned,
                },
                None,
                path,
            ),
        }

    def plain_array(self, array: np.ndarray, path: str) -> np.ndarray:
        if array.dtype.hasobject or array.dtype.kind == "V":
            raise _NotCopyable(f"{path}, an array of {array.dtype}")
        return np.array(array, order="C")

    def is_constant(self, value: Any, fresh: Any, path: str) -> bool:
        from gymnasium.envs.registration import EnvSpec as GymSpec

        if isinstance(value, types.MethodType):
            if id(value.__self__) not in self.chain and not isinstance(value.__self__, type):
                raise _NotCopyable(f"{path}, a method of an object outside the environment")
            if fresh is not None and getattr(fresh, "__func__", None) is not value.__func__:
                raise _NotCopyable(f"{path}, a method other than a new environment's")
            return True
        if isinstance(value, types.FunctionType) and isinstance(fresh, types.FunctionType):
            if value.__code__ is not fresh.__code__:
                raise _NotCopyable(f"{path}, a function other than a new environment's")
            return True
        if isinstance(value, _KEPT):
            if fresh is not None and not _alike(value, fresh):
                raise _NotCopyable(f"{path}, a {type(value).__name__} other than a new environment's")
            return True
        if isinstance(value, GymSpec) or type(value).__name__ in ("PjitFunction", "Logger"):
            return True
        if physics.is_model(value) and not physics.same_model(value, fresh):
            raise _NotCopyable(f"{path}, a model other than a new environment's")
        if physics.is_model(value) or physics.is_view(value):
            return True
        if type(value) in (dict, list, tuple) and len(value) >= _LARGE and type(fresh) is type(value):
            try:
                return len(fresh) == len(value) and bool(fresh == value)
            except ValueError:  # arrays inside: no one answer to whether they are equal
                return False
        return False

    def check_views(self) -> None:
        """Two arrays over one memory would be restored as two memories: an exact copy is not possible."""
        for i, (array, path) in enumerate(self.arrays):
            for other, other_path in self.arrays[:i]:
                if (array.base is not None or other.base is not None) and np.may_share_memory(array, other):
                    raise _NotCopyable(f"{path}, which shares its memory with {other_path}")


def _parts(space: Any) -> list[Any]:
    """A Gymnasium space and the spaces inside it, each of which has its own random stream."""
    inside = getattr(space, "spaces", ())
    inside = list(inside.values()) if isinstance(inside, dict) else list(inside)
    return [space, *(part for inner in inside for part in _parts(inner))]


def _alike(value: Any, fresh: Any) -> bool:
    """Whether two functions, classes or dtypes are one; partial functions, whether they would do the same."""
    if not isinstance(value, functools.partial):
        return bool(value == fresh)
    if not isinstance(fresh, functools.partial):
        return False
    try:
        return (value.func, value.args, value.keywords) == (fresh.func, fresh.args, fresh.keywords)
    except ValueError:  # arrays inside: no one answer to whether they are equal
        return False


class _Restorer:
    """The inverse of `_Copier`; what it left out ("keep") is taken from the environment restored."""

    def __init__(self, chain: list[Any]) -> None:
        self.chain = chain
        self.known: dict[int, Any] = {}

    def decode(self, node: Any, fresh: Any) -> Any:
        if not isinstance(node, dict):
            return node
        match node["~"]:
            case "keep":
                return fresh
            case "layer":
                return self.chain[node["of"]]
            case "same":
                return self.known[node["id"]]
            case "scalar":
                return node["of"][()]
            case "bytes":
                return node["of"].encode("latin-1")
            case "tuple":
                return tuple(self.decode_all(node["of"], fresh))
            case "frozenset":
                return frozenset(self.decode_all(node["of"], None))
        return self.decode_object(node, fresh)

    def decode_all(self, nodes: list[Any], fresh: Any) -> list[Any]:
        alike = type(fresh) in (tuple, list) and len(fresh) == len(nodes)
        return [self.decode(node, fresh[i] if alike else None) for i, node in enumerate(nodes)]

    def decode_object(self, node: dict[str, Any], fresh: Any) -> Any:
        number, of = node["id"], node.get("of")
        match node["~"]:
            case "list":
                self.known[number] = made = []
                made.extend(self.decode_all(of, fresh))  # pyright: ignore[reportArgumentType]
                return made
            case "dict":
                old = fresh if type(fresh) is dict else {}
                self.known[number] = made = {}
                for key_node, item in of:  # pyright: ignore[reportOptionalIterable]
                    key = self.decode(key_node, None)
                    made[key] = self.decode(item, old.get(key))
                return made
            case "deque":
                self.known[number] = made = deque(maxlen=node["most"])
                made.extend(self.decode_all(of, None))  # pyright: ignore[reportArgumentType]
                return made
        self.known[number] = made = self.decode_leaf(node, of, fresh)
        return made

    def decode_leaf(self, node: dict[str, Any], of: Any, fresh: Any) -> Any:
        match node["~"]:
            case "array":
                array = np.array(of, order="F" if node.get("fortran") else "C")
                array.flags.writeable = not node.get("frozen", False)
                return array
            case "set":
                return set(self.decode_all(of, None))
            case "generator":
                seeds = np.random.SeedSequence(**self.decode(node["seeds"], None))
                if node["bits"] not in _BIT_GENERATORS:
                    raise FathomError(f"the snapshot names a generator {node['bits']!r}; it is damaged.")
                bits = getattr(np.random, node["bits"])(seeds)
                bits.state = self.decode(node["state"], None)
                return np.random.Generator(bits)
            case "randomstate":
                legacy = np.random.RandomState()
                legacy.set_state(self.decode(of, None))
                return legacy
            case "random":
                plain = random.Random()
                plain.setstate(self.decode(of, None))
                return plain
            case "jax":
                return jax.numpy.asarray(of)
            case "key":
                return jax.random.wrap_key_data(of, impl=node["impl"])
            case "space":
                for part, stream in zip(_parts(fresh), of, strict=True):
                    part._np_random = self.decode(stream, None)
                return fresh
            case "mujoco":
                physics.restore(fresh, self.decode(of, None))
                return fresh
        raise FathomError(
            f"the snapshot holds a {node['~']!r}, which this Fathom does not know; it is newer."
        )


_FILED = tuple(
    np.dtype(name) for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)


def pack(snapshot: dict[str, Any]) -> tuple[dict[str, np.ndarray], str]:
    """A snapshot as (arrays by name, JSON text), for a file. The arrays have dtypes that every format has."""
    import json

    arrays: dict[str, np.ndarray] = {}

    def take(node: Any) -> Any:
        if isinstance(node, np.ndarray):
            name = str(len(arrays))
            arrays[name] = node
            if node.dtype in _FILED:
                return {"@": name}
            arrays[name] = np.frombuffer(node.tobytes(), np.uint8)
            return {"@": name, "dtype": node.dtype.str, "shape": list(node.shape)}
        if isinstance(node, dict):
            return {key: take(value) for key, value in node.items()}
        if isinstance(node, list):
            return [take(value) for value in node]
        return node

    text = json.dumps(take(snapshot))
    return arrays, text


def unpack(arrays: dict[str, np.ndarray], text: str) -> dict[str, Any]:
    """The snapshot that `pack` took apart."""
    import json

    def put(node: Any) -> Any:
        if isinstance(node, dict):
            if "@" not in node:
                return {key: put(value) for key, value in node.items()}
            array = np.asarray(arrays[node["@"]])
            if "dtype" in node:
                return np.frombuffer(array.tobytes(), np.dtype(node["dtype"])).reshape(node["shape"])
            return array
        if isinstance(node, list):
            return [put(value) for value in node]
        return node

    return put(json.loads(text))
