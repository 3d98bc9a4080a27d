"""What run.json says of a run: enough to run it again. Configurations as JSON, and back."""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import fathom
from fathom.algos.registry import name_of
from fathom.core.errors import FathomError
from fathom.core.module import Config

_PACKAGES = ("jax", "jaxlib", "equinox", "optax", "gymnasium", "numpy")


def describe_run(
    algorithm: Config,
    env: Any,
    *,
    env_id: str,
    backend: str,
    seeds: int,
    seed: int,
    horizon: int,
    preset: str | None = None,
) -> dict[str, Any]:
    """The content of run.json. `env` is what the user gave; `horizon` counts environment steps of a seed."""
    device = jax.devices()[0]
    return {
        "algorithm": {"name": name_of(algorithm), **encode_config(algorithm)},
        "env": describe_env(env, env_id),
        "backend": backend,
        "seeds": seeds,
        "seed": seed,
        "horizon": horizon,
        "preset": preset,
        "versions": versions(),
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "git": git_state(Path.cwd()),
        "command": list(sys.argv),
    }


def versions() -> dict[str, str]:
    """Versions of Python, Fathom and the packages that results depend on."""
    found = {"python": platform.python_version(), "fathom": fathom.__version__}
    for name in _PACKAGES:
        found[name] = importlib.metadata.version(name)
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit of the repository that `folder` is in, and whether files differ from it; None outside."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if not commit:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "changed": None if changed is None else bool(changed)}


def encode_config(config: Config) -> dict[str, Any]:
    """A configuration as JSON: its class and every field."""
    fields = {f.name: _encode(getattr(config, f.name)) for f in dataclasses.fields(config)}
    return {"class": _address(type(config)), "fields": fields}


def decode_config(record: dict[str, Any]) -> Any:
    """The configuration that `encode_config` wrote down.

    Only subclasses of Config are called. Raises FathomError where the class cannot be imported, or no longer
    takes a field.
    """
    address = record["class"]
    if address is None:
        raise FathomError("the run's class was not importable when it was recorded; give the object again.")
    cls = _resolve(address)
    if not (isinstance(cls, type) and issubclass(cls, Config)):
        raise FathomError(f"run.json names {address} as a configuration, but that is no subclass of Config.")
    known = {f.name for f in dataclasses.fields(cls)}
    unknown = sorted(set(record["fields"]) - known)
    if unknown:
        raise FathomError(
            f"run.json sets {', '.join(unknown)} of {address}, which has no such field in this version of "
            "Fathom. Install the version that run.json names."
        )
    return cls(**{name: _decode(value) for name, value in record["fields"].items()})


def describe_env(env: Any, env_id: str) -> dict[str, Any]:
    """An environment for run.json, with what `restore_env` needs to make it again, where that is possible."""
    if isinstance(env, str):
        return {"id": env}
    if isinstance(env, Config):
        with contextlib.suppress(FathomError):
            config = encode_config(env)
            if config["class"] is not None:
                return {"id": env_id, "config": config}
    if isinstance(env, type) and _address(env) is not None:
        return {"id": env_id, "class": _address(env)}
    what = f"{type(env).__module__}:{type(env).__qualname__}"
    name = _address(env) if callable(env) else None
    return {
        "id": env_id,
        "object": name or what,
        "note": "made by the user's own code: give the environment again to resume, evaluate or watch",
    }


def restore_env(record: dict[str, Any]) -> Any:
    """The environment of run.json: an id, a configured native environment, or a class to construct.

    Raises FathomError where the run was given an object that only the user's code can make.
    """
    if "config" in record:
        return decode_config(record["config"])
    if "class" in record:
        cls = _resolve(record["class"])
        import gymnasium

        if not (isinstance(cls, type) and issubclass(cls, gymnasium.Env | Config)):
            raise FathomError(
                f"run.json names {record['class']} as the environment, but that is no environment class."
            )
        return cls
    if "object" in record:
        raise FathomError(
            f"this run's environment is an object of your own ({record['object']}), which a file cannot "
            "hold. Give it again: Agent.load(path, env=...) or Agent.resume(path, env=...)."
        )
    return record["id"]


def _encode(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if np.isfinite(value) else {"float": repr(value)}
        case Config():
            return encode_config(value)
        case tuple():
            return [_encode(v) for v in value]
        case jax.Array() | np.ndarray() | np.generic():
            array = np.asarray(value)
            if array.ndim == 0 and array.dtype == np.float32:
                # The shortest decimal of that float32: 0.0003, where .item() gives 0.0003000000142492354.
                return _encode(float(str(array[()])))
            if array.ndim == 0:
                return _encode(array.item())
            return {"array": array.tolist(), "dtype": array.dtype.name}
    raise FathomError(
        f"a field holds {value!r}, which run.json cannot: fields are numbers, texts, tuples, arrays, Configs."
    )


def _decode(value: Any) -> Any:
    match value:
        case {"float": text}:
            return float(text)
        case {"array": numbers, "dtype": dtype}:
            return np.asarray(numbers, dtype)
        case {"class": _, "fields": _}:
            return decode_config(value)
        case list():
            return tuple(_decode(v) for v in value)
    return value


def _address(value: type | Callable[..., Any]) -> str | None:
    """`module:name` under which another process finds this very class or function, or None."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return None
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return f"{module}:{name}" if found is value else None


def _resolve(address: str) -> Any:
    module, _, name = address.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FathomError(
            f"run.json names {address}, which cannot be imported ({error}). Run the command in the folder "
            "that it was trained in, or install the package that holds it."
        ) from error
    return found
