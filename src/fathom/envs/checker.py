"""Looks an environment over, ours or Gymnasium's, and says what to mend."""

import math
import os
import re
import sysconfig
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.core.types import Masked, TimeStep, VecStep
from fathom.envs.base import Env, vec_reset, vec_step
from fathom.envs.host import HostEnv, _copy_env, _look_at, _NotCopyable, layers

Level = Literal["error", "warning", "note"]

_NATIVE_ENVS = 8
_SECONDS = 5.0  # of random stepping on the host, at most
_SLOW_STEP = 1e-3  # seconds; from here on a process for each environment pays
_LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """Something seen, with its value, and what to do about it."""

    level: Level
    what: str
    mend: str


@dataclass
class CheckReport:
    """What `check` found: errors first. `ok` is False if anything is an error."""

    name: str
    kind: Literal["native", "gymnasium", "unknown"] = "unknown"
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)  # what was measured, for reading

    @property
    def ok(self) -> bool:
        """Whether nothing found is an error."""
        return not any(finding.level == "error" for finding in self.findings)

    def of(self, level: Level) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def text(self) -> str:
        """The report for a terminal."""
        counts = [(len(self.of(level)), level) for level in _LEVELS]
        tally = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for n, level in counts if n)
        verdict = ", ".join(part for part in ("fine" if self.ok else "needs mending", tally) if part)
        lines = [f"{self.name} ({self.kind}): {verdict}"]
        for level in _LEVELS:
            for finding in self.of(level):
                lines += [f"  {level:<8} {finding.what}", f"           → {finding.mend}"]
        width = max((len(name) for name in self.facts), default=0)
        lines += [f"  {name:<{width}}  {value}" for name, value in self.facts.items()]
        return "\n".join(lines)


class _Notes:
    """Collects findings; of several under one key the first stays."""

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        self.keys: set[str] = set()

    def add(self, level: Level, key: str, what: str, mend: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.report.findings.append(Finding(level, what, mend))

    @contextmanager
    def trying(self, what: str, mend: str = "") -> Iterator[None]:
        """Turn an exception into a finding that names the line."""
        try:
            yield
        except _Stop:
            raise
        except Exception as error:
            message = " ".join(str(error).split())
            advice = mend or _advice(error)
            self.add("error", what, f"{what} raised {_describe(error, message)}{_line(error)}", advice)
            raise _Stop from error


class _Stop(Exception):
    """What follows cannot be checked; the finding is written already."""


def _describe(error: Exception, message: str) -> str:
    message = message if len(message) <= 300 else message[:297] + "..."
    return message if isinstance(error, FathomError) else f"{type(error).__name__}: {message}"


def _line(error: BaseException) -> str:
    """Where in the user's code the error arose, or where it arose at all."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    libraries = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), os.path.dirname(__file__))
    own = [f for f in frames if not f.filename.startswith(libraries)]
    frame = (own or frames or [None])[-1]
    return f" (at {os.path.basename(frame.filename)}:{frame.lineno}, in {frame.name})" if frame else ""


def _advice(error: Exception) -> str:
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "an `if` or `while` on an array cannot be compiled: use jnp.where or jax.lax.cond."
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "NumPy cannot compute on traced arrays: use jax.numpy in reset and step."
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerIntegerConversionError):
        return (
            "a traced array was used as a Python number: keep it an array, or make the field an int (static)."
        )
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError):
        return "shapes must be fixed: select by jnp.where instead of a boolean index."
    if isinstance(error, NotImplementedError):
        return "write this method."
    return "mend the line named."


def check(target: Any, *, steps: int = 1000, seed: int = 0) -> CheckReport:
    """Look an environment over: an id, "module:Name", a class, a function, or an environment of either kind.

    Takes `steps` random steps (fewer of a slow environment) and reports errors (training would fail or be
    wrong), warnings (it would likely suffer) and notes. Never raises because of the environment: what it
    raises becomes a finding, with the line.
    """
    report = CheckReport(_name(target))
    notes = _Notes(report)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            _check(target, steps, seed, report, notes)
        except _Stop:
            pass
        except Exception as error:
            message = " ".join(str(error).split())
            what = f"the check broke off: {_describe(error, message)}{_line(error)}"
            notes.add("error", "broke", what, _advice(error))
    for warning in heard:
        if not issubclass(warning.category, DeprecationWarning | ResourceWarning | PendingDeprecationWarning):
            what = " ".join(str(warning.message).split())
            where = f"{os.path.basename(warning.filename)}:{warning.lineno}"
            notes.add(
                "note", f"warned {what}", f"a warning was given: {what} ({where})", "see whether it matters."
            )
    report.findings.sort(key=lambda finding: _LEVELS.index(finding.level))
    return report


def _name(target: Any) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, HostEnv):
        return target.id or "HostEnv"
    return getattr(target, "__name__", type(target).__name__)


def _check(target: Any, steps: int, seed: int, report: CheckReport, notes: _Notes) -> None:
    from fathom.envs.bridge import as_env

    with notes.trying("making the environment"):
        env = as_env(target)
    if isinstance(env, HostEnv):
        report.kind = "gymnasium"
        _check_host(env, steps, seed, report, notes)
    else:
        report.kind = "native"
        _check_native(env, steps, seed, report, notes)


def _explain(space: spaces.Space, x: Any, name: str) -> Iterator[tuple[Level, str, str]]:
    """(level, what, mend) for each way in which `x` (concrete, unbatched) is not of `space`."""
    match space:
        case spaces.Dict(spaces=entries):
            keys = set(x) if hasattr(x, "keys") else None
            if keys != set(entries):
                got = sorted(keys) if keys is not None else type(x).__name__
                yield "error", f"{name} has keys {got}, its space {sorted(entries)}", "give just those keys."
                return
            for key, entry in entries.items():
                yield from _explain(entry, x[key], f"{name}[{key!r}]")
        case spaces.Tuple(spaces=parts):
            if not isinstance(x, tuple) or len(x) != len(parts):
                yield (
                    "error",
                    f"{name} is a {type(x).__name__}, its space a tuple of {len(parts)}",
                    "give a tuple.",
                )
                return
            for i, part in enumerate(parts):
                yield from _explain(part, x[i], f"{name}[{i}]")
        case spaces.Masked(obs=inner, num_actions=n):
            if not isinstance(x, Masked):
                yield (
                    "error",
                    f"{name} is a {type(x).__name__}, its space is Masked",
                    "return core.types.Masked.",
                )
                return
            yield from _explain(inner, x.obs, f"{name}.obs")
            yield from _explain_mask(x.mask, n, f"{name}.mask")
        case _:
            yield from _explain_leaf(space, x, name)


def _explain_mask(mask: Any, num_actions: int, name: str) -> Iterator[tuple[Level, str, str]]:
    mask = np.asarray(mask)
    if mask.shape != (num_actions,):
        yield "error", f"{name} has shape {mask.shape}", f"give one entry per action: ({num_actions},)."
    elif mask.dtype.kind not in "bui" or not np.all((mask == 0) | (mask == 1)):
        yield "error", f"{name} is {mask.tolist()} ({mask.dtype})", "give booleans: True where legal."


def _explain_leaf(space: Any, x: Any, name: str) -> Iterator[tuple[Level, str, str]]:
    value = np.asarray(x)
    if value.dtype == object or value.dtype.kind not in "fiub":
        yield "error", f"{name} is {str(x)[:80]!r} ({type(x).__name__})", f"return an array for {space!r}."
        return
    if value.shape != tuple(space.shape):
        what = f"{name} has shape {value.shape}, its space {tuple(space.shape)}"
        yield "error", what, "return that shape, or declare the one you return."
        return
    if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
        where = np.argwhere(~np.isfinite(value))[0].tolist()
        what = f"{name}{where or ''} is {value[tuple(where)]}"
        yield "error", what, "find the division, root or logarithm that makes it; clip its argument."
        return
    wanted = np.dtype(space.dtype)
    if value.dtype.kind == "f" and wanted.kind != "f":
        yield "error", f"{name} has dtype {value.dtype}, its space {wanted}", "return integers."
        return
    if not isinstance(x, np.ndarray | np.generic | jax.Array) and value.ndim:
        yield "warning", f"{name} is a {type(x).__name__}", f"return a NumPy array of {wanted}."
    elif value.dtype.kind != wanted.kind and wanted.kind == "f":
        yield "warning", f"{name} has dtype {value.dtype}, its space {wanted}", f"return {wanted}."
    if not isinstance(space, spaces.Box):
        if not space.contains(value):
            yield (
                "error",
                f"{name} is {value.tolist()}, not in {space!r}",
                "return only elements of the space.",
            )
        return
    outside = (value < space.low) | (value > space.high)
    if np.any(outside):
        at = tuple(np.argwhere(outside)[0].tolist())
        low, high = space.low[at], space.high[at]
        what = (
            f"{name}{list(at) if at else ''} is {value[at]:.6g}, outside its bounds [{low:.6g}, {high:.6g}]"
        )
        yield "error", what, "widen the bounds of the space to what can occur, or clip the value."


def _judge_spaces(obs_space: spaces.Space, action_space: spaces.Space, notes: _Notes) -> None:
    for leaf in _leaf_spaces(action_space):
        if not isinstance(leaf, spaces.Box):
            continue
        if not leaf.bounded:
            notes.add(
                "warning",
                "action bounds",
                f"the action space has infinite bounds ({_range(leaf)})",
                "give the bounds of what makes sense; algorithms scale their actions to them.",
            )
        elif not (np.allclose(leaf.low, -1) and np.allclose(leaf.high, 1)):
            symmetric = np.allclose(leaf.low, -leaf.high)
            notes.add(
                "note",
                "action scale",
                f"actions run from {_range(leaf)}, {'' if symmetric else 'not symmetric, '}not -1 to 1",
                "SAC, TD3 and DDPG scale to the bounds; for a Gaussian policy (PPO, A2C) declare -1 to 1 and "
                "scale inside the environment.",
            )
    boxes = [leaf for leaf in _leaf_spaces(obs_space) if isinstance(leaf, spaces.Box)]
    endless = sum(int(np.sum(~np.isfinite(leaf.low) | ~np.isfinite(leaf.high))) for leaf in boxes)
    if endless:
        total = sum(leaf.low.size for leaf in boxes)
        notes.add(
            "note",
            "obs bounds",
            f"the observation has infinite bounds in {endless} of {total} components",
            "fine where no bound is known; then watch the measured scale.",
        )


def _range(leaf: spaces.Box) -> str:
    ends = []
    for bound in (leaf.low, leaf.high):
        same = bound.size and np.all(bound == bound.flat[0])
        ends.append(f"{bound.flat[0]:g}" if same else _vector(bound.reshape(-1)))
    return " to ".join(ends)


def _leaf_spaces(space: spaces.Space) -> list[spaces.Space]:
    match space:
        case spaces.Dict(spaces=entries):
            return [leaf for entry in entries.values() for leaf in _leaf_spaces(entry)]
        case spaces.Tuple(spaces=parts):
            return [leaf for part in parts for leaf in _leaf_spaces(part)]
        case spaces.Masked(obs=inner):
            return _leaf_spaces(inner)
    return [space]


@dataclass
class _Seen:
    """What random play yielded."""

    obs: list[np.ndarray]  # for each leaf of the space, [sample, ...]
    rewards: np.ndarray
    lengths: list[int]  # of the episodes that ended
    returns: list[float]
    longest: int  # steps of the longest episode, ended or not


def _judge_numbers(
    obs_space: spaces.Space, seen: _Seen, limit: int | None, report: CheckReport, notes: _Notes
) -> None:
    for leaf, values in zip(_leaf_spaces(obs_space), seen.obs, strict=True):
        if isinstance(leaf, spaces.Box) and np.issubdtype(leaf.dtype, np.floating) and values.size:
            _judge_scale(values.reshape(len(values), -1).astype(np.float64), report, notes)
    rewards = seen.rewards.astype(np.float64)
    if rewards.size:
        report.facts["reward per step"] = (
            f"mean {rewards.mean():.4g}, from {rewards.min():.4g} to {rewards.max():.4g}"
        )
        if not np.any(rewards):
            notes.add(
                "note",
                "reward zero",
                f"all {rewards.size} rewards of random play are 0",
                "if the reward is rare, random exploration may never find it: consider a bonus or shaping.",
            )
        elif (size := float(np.sqrt(np.mean(np.square(rewards))))) > 20:
            notes.add(
                "warning",
                "reward scale",
                f"rewards have a root mean square of {size:.4g}",
                "scale rewards to about 1 or normalise them: critics learn slowly from large targets.",
            )
    if seen.lengths:
        mean, returns = np.mean(seen.lengths), np.mean(seen.returns)
        report.facts["episodes"] = (
            f"{len(seen.lengths)} ended, mean length {mean:.4g}, mean return {returns:.4g}"
        )
    elif limit is None:
        notes.add(
            "warning",
            "unbounded",
            f"no episode ended in {seen.longest} steps and no time limit is declared",
            "set one (TimeLimit, or max_episode_steps), else returns are never counted and nothing is reset.",
        )
    else:
        report.facts["episodes"] = f"none ended in {seen.longest} steps (limit {limit})"


def _judge_scale(values: np.ndarray, report: CheckReport, notes: _Notes) -> None:
    mean, std = values.mean(0), values.std(0)
    report.facts.setdefault("observation", f"mean {_vector(mean)}, standard deviation {_vector(std)}")
    moving = std > 1e-8
    far = (np.abs(mean) > 10) | (moving & ((std > 10) | (std < 0.01)))
    if np.any(far):
        worst = int(
            np.argmax(np.where(far, np.abs(mean) + std + np.where(std < 0.01, 1 / (std + 1e-8), 0), -1))
        )
        notes.add(
            "warning",
            "obs scale",
            f"{int(far.sum())} of {far.size} components of the observation are far from unit scale; "
            f"component {worst} has mean {mean[worst]:.4g} and standard deviation {std[worst]:.4g}",
            "normalise observations (the algorithms' normalize_obs, or scale them in the environment).",
        )
    if not np.any(moving) and len(values) > 1:
        notes.add(
            "warning",
            "obs constant",
            f"the observation never changes: {_vector(mean)} in all {len(values)} samples",
            "the agent cannot tell states apart; see whether the observation is built from the new state.",
        )


def _vector(values: np.ndarray) -> str:
    shown = ", ".join(f"{v:.3g}" for v in values[:6])
    return f"[{shown}{', ...' if values.size > 6 else ''}]"


def _judge_time(seconds: float, native: bool, report: CheckReport, notes: _Notes) -> None:
    report.facts["time per step"] = f"{seconds * 1e6:.3g} µs" + (" of one environment" if native else "")
    if not native and seconds > _SLOW_STEP:
        notes.add(
            "note",
            "slow",
            f"a step takes {seconds * 1e3:.3g} ms",
            "use workers='subprocess' to step on all cores, or write it as a native environment.",
        )


def _check_host(host: HostEnv, steps: int, seed: int, report: CheckReport, notes: _Notes) -> None:
    with notes.trying("making the environment"):
        env = host.fresh()
    try:
        _HostCheck(host, env, seed, report, notes).all(steps)
    finally:
        try:
            env.close()
        except Exception as error:
            notes.add(
                "warning", "close", f"close() raised {error!r}{_line(error)}", "make it callable at any time."
            )


class _HostCheck:
    """The checks of one Gymnasium environment, in order; each needs what the ones before it found fine."""

    def __init__(self, host: HostEnv, env: Any, seed: int, report: CheckReport, notes: _Notes) -> None:
        self.host, self.env, self.seed, self.report, self.notes = host, env, seed, report, notes

    def all(self, steps: int) -> None:
        self.spaces()
        obs, info = self.resets()
        with self.notes.trying("reading the spaces"):
            self.facts = _look_at(self.env, info)
        _judge_spaces(self.facts.obs_space, self.facts.action_space, self.notes)
        self.masked = isinstance(self.facts.obs_space, spaces.Masked)
        self.see(obs, info, "the first observation", over=False)
        first = self.play(min(steps, 50))
        again = self.play(min(steps, 50))
        self.compare(first, again)
        self.long_play(steps)
        self.copies()

    def spaces(self) -> None:
        import gymnasium

        for name in ("observation_space", "action_space"):
            space = getattr(self.env, name, None)
            if not isinstance(space, gymnasium.Space):
                what = f"{name} is {space!r}, not a gymnasium.Space"
                self.notes.add(
                    "error", name, what, f"set self.{name} in __init__, as a gymnasium.spaces.Box(...)."
                )
                raise _Stop
            with self.notes.trying(f"reading {name}"):
                spaces.from_gymnasium(space)

    def reset(self, seed: int | None) -> tuple[Any, dict[str, Any]]:
        mend = "define reset(self, *, seed=None, options=None) and begin it with super().reset(seed=seed)."
        try:
            result = self.env.reset(seed=seed)
        except TypeError as error:
            if "seed" in str(error):
                self.notes.add("error", "reset", f"reset(seed={seed}) raised {error}{_line(error)}", mend)
                raise _Stop from error
            with self.notes.trying("reset"):
                raise
        except Exception:
            with self.notes.trying("reset"):
                raise
        if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], dict):
            what = f"reset returned a {type(result).__name__}"
            if isinstance(result, tuple):
                what += f" of {len(result)} ({', '.join(type(part).__name__ for part in result)})"
            self.notes.add("error", "reset form", what, "return (obs, info), info a dictionary.")
            raise _Stop
        return _frozen(result)

    def resets(self) -> tuple[Any, dict[str, Any]]:
        first = self.reset(self.seed)
        again = self.reset(self.seed)
        if not _equal(first[0], again[0]):
            self.notes.add(
                "error",
                "seed ignored",
                f"reset(seed={self.seed}) twice gave {_brief(first[0])} and {_brief(again[0])}",
                "draw every random number from self.np_random, after super().reset(seed=seed).",
            )
        others = [self.reset(self.seed + 1 + i)[0] for i in range(4)]
        if all(_equal(first[0], other) for other in others):
            self.notes.add(
                "note",
                "one start",
                "five different seeds gave the same first observation",
                "fine if every episode begins in one state; else draw the start from self.np_random.",
            )
        self.reset(None)
        return self.reset(self.seed)

    def see(self, obs: Any, info: dict[str, Any], name: str, over: bool) -> list[np.ndarray]:
        """Check one observation; returns its leaves."""
        inner, mask = obs, None
        space = self.facts.obs_space
        if isinstance(space, spaces.Masked):
            if self.facts.mask_from == "obs":
                mask = obs.get("action_mask") if hasattr(obs, "get") else None
                inner = {k: v for k, v in obs.items() if k != "action_mask"} if hasattr(obs, "items") else obs
                if not isinstance(space.obs, spaces.Dict) and isinstance(inner, dict) and len(inner) == 1:
                    inner = next(iter(inner.values()))
            else:
                mask = info.get("action_mask")
            self.see_mask(mask, space.num_actions, name, over)
            space = space.obs
        wrong = list(_explain(space, inner, name))
        for level, what, mend in wrong:
            self.notes.add(level, f"obs {mend}", what, mend)
        if any(level == "error" for level, _, _ in wrong):
            return []
        return [np.array(leaf) for leaf in _leaves(space, inner)]

    def see_mask(self, mask: Any, num_actions: int, name: str, over: bool) -> None:
        if mask is None:
            what = f"{name} comes without an action_mask, unlike the first"
            self.notes.add("error", "mask gone", what, "give it at every reset and step.")
            raise _Stop
        from fathom.envs.host import _flat_mask

        flat = np.concatenate(mask) if isinstance(mask, tuple) else np.asarray(mask)
        for level, what, mend in _explain_mask(flat, num_actions, f"the action mask of {name}"):
            self.notes.add(level, "mask form", what, mend)
            raise _Stop
        if not over and not _flat_mask(mask).any():
            what = f"the action mask of {name} allows no action"
            self.notes.add(
                "error", "mask empty", what, "allow at least one action, or end the episode there."
            )
            raise _Stop

    def action(self, obs: Any, info: dict[str, Any], rng: np.random.Generator) -> Any:
        if self.masked and isinstance(self.facts.action_space, spaces.Discrete):
            mask = obs["action_mask"] if self.facts.mask_from == "obs" else info.get("action_mask")
            self.see_mask(mask, self.facts.action_space.n, "an observation to act on", over=False)
            return np.int64(rng.choice(np.flatnonzero(np.asarray(mask))) + self.facts.action_space.start)
        return self.env.action_space.sample()

    def step(self, action: Any, name: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        with self.notes.trying(f"{name}, with action {_brief(action)},"):
            result = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 5:
            count = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
            mend = "return (obs, reward, terminated, truncated, info)."
            if isinstance(result, tuple) and len(result) == 4:
                mend += " Split the old `done`: truncated where a time limit cut the episode."
            self.notes.add("error", "step form", f"step returned {count}, not 5", mend)
            raise _Stop
        obs, reward, terminated, truncated, info = result
        number = np.asarray(reward)
        if number.ndim or number.dtype.kind not in "fiub":
            what = f"the reward of {name} is {_brief(reward)} ({type(reward).__name__}, shape {number.shape})"
            self.notes.add("error", "reward form", what, "return one number: float(reward).")
            raise _Stop
        if not math.isfinite(float(number)):
            what = f"the reward of {name} is {float(number)}"
            self.notes.add("error", "reward finite", what, "find the division or logarithm that makes it.")
        for flag, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_):
                what = f"{flag} of {name} is {_brief(value)} ({type(value).__name__})"
                self.notes.add("error", flag, what, f"return a bool: bool({flag}).")
                if np.ndim(value):
                    raise _Stop
        if not isinstance(info, dict):
            what = f"the info of {name} is a {type(info).__name__}"
            self.notes.add("error", "info", what, "return a dictionary, {} if there is nothing to tell.")
            info = {}
        return obs, float(number), bool(terminated), bool(truncated), info

    def play(self, steps: int) -> list[Any]:
        """One episode or `steps` steps from the same seed, with the same actions."""
        self.env.action_space.seed(self.seed)
        rng = np.random.default_rng(self.seed)
        obs, info = self.reset(self.seed)
        trace: list[Any] = []
        for i in range(steps):
            obs, reward, terminated, truncated, info = self.step(self.action(obs, info, rng), f"step {i + 1}")
            trace.append(_frozen((obs, reward, terminated, truncated)))
            if terminated or truncated:
                break
        return trace

    def compare(self, first: list[Any], again: list[Any]) -> None:
        for i, (a, b) in enumerate(zip(first, again, strict=False)):
            if not _equal(a, b):
                self.notes.add(
                    "error",
                    "step random",
                    f"the same seed and actions gave at step {i + 1} {_brief(a)} and {_brief(b)}",
                    "draw every random number from self.np_random and reset all that changes: a run cannot "
                    "be repeated otherwise.",
                )
                return

    def long_play(self, steps: int) -> None:
        rng = np.random.default_rng(self.seed)
        obs, info = self.reset(self.seed)
        samples = [leaves] if (leaves := self.see(obs, info, "the first observation", over=False)) else []
        rewards, lengths, returns = [], [], []
        length, total, longest, busy = 0, 0.0, 0, 0.0
        held: list[tuple[Any, Any]] = []
        taken = 0
        for i in range(steps):
            name = f"step {i + 1}"
            action = self.action(obs, info, rng)
            start = time.perf_counter()
            obs, reward, terminated, truncated, info = self.step(action, name)
            busy += time.perf_counter() - start
            taken += 1
            over = terminated or truncated
            if leaves := self.see(obs, info, f"the observation of {name}", over):
                samples.append(leaves)
            if i < 3:
                held.append((obs, _frozen(obs)))
            rewards.append(reward)
            length, total = length + 1, total + reward
            longest = max(longest, length)
            if over:
                lengths.append(length)
                returns.append(total)
                length, total = 0, 0.0
                obs, info = self.reset(None)
                self.see(obs, info, f"the observation of the reset after {name}", over=False)
            if busy > _SECONDS:
                break
        if any(not _equal(live, then) for live, then in held):
            self.notes.add(
                "warning",
                "obs reused",
                "an observation changed after it was returned: the environment writes into the same array",
                "return a copy, self.obs.copy().",
            )
        columns = [np.stack(column) for column in zip(*samples, strict=True)]
        inner = self.facts.obs_space
        if not columns:
            columns = [np.zeros(0) for _ in _leaf_spaces(inner)]
        seen = _Seen(columns, np.array(rewards), lengths, returns, longest)
        _judge_numbers(inner, seen, self.facts.max_episode_steps, self.report, self.notes)
        _judge_time(busy / max(taken, 1), False, self.report, self.notes)

    def copies(self) -> None:
        try:
            pristine = self.host.fresh()
            try:
                _copy_env(self.env, pristine)
            finally:
                pristine.close()
        except _NotCopyable as error:
            self.notes.add(
                "note",
                "copy",
                f"the environment's state cannot be copied: {error} ({type(layers(self.env)[-1]).__name__})",
                "a resumed run restarts its episodes; write get_state() and set_state(tree) to avoid it.",
            )


def _leaves(space: spaces.Space, x: Any) -> list[Any]:
    match space:
        case spaces.Dict(spaces=entries):
            return [leaf for name, entry in entries.items() for leaf in _leaves(entry, x[name])]
        case spaces.Tuple(spaces=parts):
            return [leaf for part, value in zip(parts, x, strict=True) for leaf in _leaves(part, value)]
        case spaces.Masked(obs=inner):
            return _leaves(inner, x.obs)
    return [x]


def _frozen(x: Any) -> Any:
    """A copy that later writes cannot reach."""
    if isinstance(x, dict):
        return {key: _frozen(value) for key, value in x.items()}
    if type(x) is tuple:
        return tuple(_frozen(value) for value in x)
    return np.array(x) if isinstance(x, np.ndarray) else x


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(_equal, a, b))
    a, b = np.asarray(a), np.asarray(b)
    floats = a.dtype.kind == "f" and b.dtype.kind == "f"
    return bool(np.array_equal(a, b, equal_nan=floats))


def _brief(x: Any) -> str:
    text = " ".join(str(x).split())
    return text if len(text) <= 100 else text[:97] + "..."


def _check_native(env: Env, steps: int, seed: int, report: CheckReport, notes: _Notes) -> None:
    for name in ("obs_space", "action_space"):
        with notes.trying(f"reading {name}"):
            space = getattr(env, name)
        if not isinstance(space, spaces.Space):
            what = f"{name} is {_brief(space)} ({type(space).__name__})"
            notes.add("error", name, what, "return one of fathom.core.spaces.")
            raise _Stop
    for name, space in (("obs_space", env.obs_space), ("action_space", env.action_space)):
        for leaf in _leaf_spaces(space):
            if np.dtype(leaf.dtype).itemsize == 8 and not jax.config.jax_enable_x64:  # pyright: ignore
                what = f"{name} declares {np.dtype(leaf.dtype)}, which JAX cuts to 32 bits"  # pyright: ignore
                notes.add("error", f"{name} wide", what, "declare float32 or int32.")
    env = lift(env)
    obs_space, action_space = env.obs_space, env.action_space
    _judge_spaces(obs_space, action_space, notes)
    key = jax.random.key(seed)
    like = _native_forms(env, key, notes)
    _pure(env, key, like, notes)
    _native_reset(env, key, notes)
    seen, seconds = _native_play(env, steps, seed, notes)
    limit = getattr(env, "max_steps", None)
    _judge_numbers(obs_space, seen, limit if isinstance(limit, int) else None, report, notes)
    _judge_time(seconds, True, report, notes)


def _native_forms(env: Env, key: Key[Array, ""], notes: _Notes) -> Any:
    """Trace `reset` and `step` without computing: the shapes and dtypes of what they return."""
    with notes.trying("compiling reset"):
        first = jax.eval_shape(env.reset, key)
    if not isinstance(first, tuple) or len(first) != 2:
        notes.add("error", "reset form", f"reset returned a {type(first).__name__}", "return (state, obs).")
        raise _Stop
    state, obs = first
    with notes.trying("sampling an action"):
        action = jax.eval_shape(env.action_space.sample, key)
    with notes.trying("compiling step"):
        second = jax.eval_shape(env.step, key, state, action)
    if not isinstance(second, tuple) or len(second) != 2 or not isinstance(second[1], TimeStep):
        what = f"step returned a {type(second).__name__}"
        if isinstance(second, tuple):
            what += f" ({', '.join(type(part).__name__ for part in second)})"
        notes.add("error", "step form", what, "return (state, core.types.TimeStep(...)).")
        raise _Stop
    new_state, step = second
    broken = _changes(state, new_state, "state", "reset", "step", notes)
    broken |= _changes(obs, step.obs, "obs", "reset", "step", notes)
    try:
        declared = jax.eval_shape(env.obs_space.sample, key)
    except Exception:
        declared = None
    if declared is not None:
        broken |= _changes(declared, obs, "obs", "the space", "reset", notes)
    for name, kind, wanted in (
        ("reward", "f", "a float32 scalar"),
        ("terminated", "b", "a boolean scalar array"),
        ("truncated", "b", "a boolean scalar array"),
    ):
        value = getattr(step, name)
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape != () or dtype is None or np.dtype(dtype).kind != kind:
            broken = True
            got = f"{type(value).__name__} {_brief(value)}" if dtype is None else f"{dtype} of shape {shape}"
            notes.add("error", name, f"{name} is {got}", f"return {wanted}: jnp.asarray(...).")
    if not isinstance(step.info, dict):
        notes.add("error", "info", f"info is a {type(step.info).__name__}", "return a dictionary of arrays.")
    if broken:
        raise _Stop
    return state, action


def _changes(old: PyTree, new: PyTree, what: str, before: str, after: str, notes: _Notes) -> bool:
    """Report each leaf that changes form from `old` to `new`; whether one does so fatally."""
    if jax.tree.structure(old) != jax.tree.structure(new):
        names = [
            {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(t)}
            for t in (old, new)
        ]
        lost, come = sorted(names[0] - names[1]), sorted(names[1] - names[0])
        detail = f"; {before} has {lost}, {after} has {come}" if lost or come else ""
        notes.add(
            "error",
            f"{what} structure",
            f"the {what} of {after} has another structure than that of {before}{detail}".replace("\n", " "),
            "return the same fields and types from both.",
        )
        return True
    broken = False
    pairs = zip(jax.tree_util.tree_leaves_with_path(old), jax.tree.leaves(new), strict=True)
    for (path, a), b in pairs:
        name = f"{what}{jax.tree_util.keystr(path)}"
        if a.shape != b.shape or a.dtype != b.dtype:
            broken = True
            notes.add(
                "error",
                f"{name} {before}",
                f"{name} is {a.dtype}{list(a.shape)} in {before} and {b.dtype}{list(b.shape)} in {after}",
                f"make them the same, as with .astype(jnp.{a.dtype}): a compiled loop needs one form.",
            )
        elif what == "state" and getattr(a, "weak_type", False) != getattr(b, "weak_type", False):
            notes.add(
                "warning",
                f"{name} weak",
                f"{name} is weakly typed in {before if getattr(a, 'weak_type', False) else after} only",
                f"give the dtype, jnp.asarray(..., jnp.{a.dtype}): else the program is compiled twice.",
            )
    return broken


def _pure(env: Env, key: Key[Array, ""], like: Any, notes: _Notes) -> None:
    """Trace twice: a program that comes out differently depends on something outside its arguments."""
    state, action = like
    functions: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("reset", lambda: jax.make_jaxpr(env.reset)(key)),
        ("step", lambda: jax.make_jaxpr(env.step)(key, state, action)),
    )
    for name, trace in functions:
        one, two = trace(), trace()
        same = _program_text(one) == _program_text(two) and all(map(_equal, one.consts, two.consts))
        if not same:
            notes.add(
                "error",
                f"{name} impure",
                f"{name} gives another program each time it is compiled",
                "it reads NumPy's random state, a clock or a global; use the key and the state alone.",
            )
        if one.effects:
            notes.add(
                "warning",
                f"{name} effects",
                f"{name} acts on the host ({', '.join(sorted(str(e) for e in one.effects))})",
                "remove prints and callbacks: they slow training, and order and number are not certain.",
            )


def _program_text(jaxpr: Any) -> str:
    """A program's text without the addresses of host functions, which differ at each tracing."""
    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


def _native_reset(env: Env, key: Key[Array, ""], notes: _Notes) -> None:
    with notes.trying("running reset"):
        keys = [key, key, *jax.random.split(key, 4)]
        reset = eqx.filter_jit(lambda env, key: env.reset(key)[1])
        firsts = [jax.device_get(reset(env, k)) for k in keys]
    for level, what, mend in _explain(env.obs_space, firsts[0], "the first observation"):
        notes.add(level, f"obs {mend}", what, mend)
    if _bits(firsts[0]) != _bits(firsts[1]):
        what = "reset with the same key gave two observations"
        notes.add("error", "key ignored", what, "use nothing but the key.")
    if all(_bits(firsts[0]) == _bits(other) for other in firsts[2:]):
        what = "five different keys gave the same first observation"
        notes.add(
            "note", "one start", what, "fine if every episode begins in one state; else draw it from the key."
        )


def _bits(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def _random_action(space: spaces.Space, obs: Any, key: Key[Array, ""]) -> Any:
    """A random legal action of one environment."""
    if not isinstance(obs, Masked):
        return space.sample(key)
    logits = jnp.where(obs.mask, 0.0, -jnp.inf)
    match space:
        case spaces.Discrete(start=start):
            return (jax.random.categorical(key, logits) + start).astype(jnp.int32)
        case spaces.MultiDiscrete(nvec=nvec):
            ends = np.cumsum(nvec)[:-1].tolist()
            parts = jnp.split(logits, ends)
            keys = jax.random.split(key, len(nvec))
            draws = [jax.random.categorical(k, part) for k, part in zip(keys, parts, strict=True)]
            return jnp.stack(draws).astype(jnp.int32)
    return space.sample(key)


def _native_play(env: Env, steps: int, seed: int, notes: _Notes) -> tuple[_Seen, float]:
    """Random play of several environments in one compiled loop, as training does it."""
    length = max(1, steps // 2)
    seeds = jnp.arange(seed, seed + _NATIVE_ENVS, dtype=jnp.uint32)

    @eqx.filter_jit
    def play(env: Env, seeds: Array) -> tuple[PyTree, VecStep]:
        state, obs = vec_reset(env, seeds)

        def advance(carry: Any, key: Key[Array, ""]) -> tuple[Any, VecStep]:
            state, obs = carry
            keys = jax.random.split(key, _NATIVE_ENVS)
            action = jax.vmap(lambda o, k: _random_action(env.action_space, o, k))(obs, keys)
            state, step = vec_step(env, state, action)
            return (state, step.obs), step

        keys = jax.random.split(jax.random.key(seed), length)
        _, rollout = jax.lax.scan(advance, (state, obs), keys)
        return obs, rollout

    with notes.trying("stepping many at once (jit, vmap and scan)"):
        jax.block_until_ready(play(env, seeds))
        start = time.perf_counter()
        first, rollout = jax.block_until_ready(play(env, seeds))
        seconds = (time.perf_counter() - start) / (length * _NATIVE_ENVS)
        first, rollout = jax.device_get((first, rollout))
    _native_values(env, rollout, notes)
    over = rollout.terminated | rollout.truncated
    _auto_reset(over, notes)
    lengths, returns, longest = _episodes(rollout.reward, over)
    leaves = _leaves(env.obs_space, rollout.final_obs)
    flat = [leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves]
    return _Seen(flat, rollout.reward.reshape(-1), lengths, returns, longest), seconds


def _native_values(env: Env, rollout: VecStep, notes: _Notes) -> None:
    if not np.all(np.isfinite(rollout.reward)):
        t, i = np.argwhere(~np.isfinite(rollout.reward))[0]
        what = f"the reward is {rollout.reward[t, i]} at step {t + 1}"
        notes.add("error", "reward finite", what, "find the division, root or logarithm that makes it.")
    # Elements far apart in time show what a look at the first would miss; all would take minutes.
    times = np.unique(np.linspace(0, len(rollout.reward) - 1, 100).astype(int))
    for t in times:
        for name, tree in (("observation", rollout.obs), ("final observation", rollout.final_obs)):
            one = jax.tree.map(lambda leaf, t=t: leaf[t, t % _NATIVE_ENVS], tree)
            for level, what, mend in _explain(env.obs_space, one, f"the {name} of step {t + 1}"):
                notes.add(level, f"obs {mend}", what, mend)
    for leaf in jax.tree.leaves(rollout.final_obs):
        if np.issubdtype(leaf.dtype, np.floating) and not np.all(np.isfinite(leaf)):
            t = int(np.argwhere(~np.isfinite(leaf))[0][0])
            what = f"an observation is not finite at step {t + 1}"
            mend = "find the division, root or logarithm that makes it; clip its argument."
            notes.add("error", f"obs {mend}", what, mend)
    if isinstance(rollout.obs, Masked) and not np.all(rollout.obs.mask.any(-1)):
        t = int(np.argwhere(~rollout.obs.mask.any(-1))[0][0])
        what = f"the action mask after step {t + 1} allows no action"
        notes.add("error", "mask empty", what, "allow at least one action, or terminate there.")


def _auto_reset(over: np.ndarray, notes: _Notes) -> None:
    """Where a first episode takes several steps and all later ones end at once, reset did not reset."""
    for column in over.T:
        ends = np.flatnonzero(column)
        if ends.size > 2 and ends[0] > 0 and np.all(column[ends[0] :]):
            notes.add(
                "error",
                "stuck over",
                f"the first episode took {ends[0] + 1} steps, and every one after it ends in its first step",
                "see whether reset returns a state that is over already.",
            )


def _episodes(reward: np.ndarray, over: np.ndarray) -> tuple[list[int], list[float], int]:
    """Lengths and returns of the episodes that ended in [time, env] arrays, and the longest stretch."""
    lengths, returns, longest = [], [], 0
    for i in range(over.shape[1]):
        begin = 0
        for end in [*np.flatnonzero(over[:, i]).tolist(), None]:
            if end is None:
                longest = max(longest, len(over) - begin)
                continue
            lengths.append(end + 1 - begin)
            returns.append(float(reward[begin : end + 1, i].sum()))
            longest = max(longest, end + 1 - begin)
            begin = end + 1
    return lengths, returns, longest
