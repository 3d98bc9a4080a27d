"""`fathom doctor`: what is installed, what is missing, and the command for each."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import fathom
from fathom.cli import parsing
from fathom.cli.options import DoctorOptions

_PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "gymnasium",
    "numpy",
    "scipy",
    "safetensors",
    "tyro",
    "rich",
)

# extra -> module that shows whether it is there, what it is for
_EXTRAS = {
    "box2d": ("Box2D", "LunarLander, BipedalWalker, CarRacing"),
    "mujoco": ("mujoco", "HalfCheetah, Hopper, Walker2d, Ant"),
    "atari": ("ale_py", "the games of the Atari 2600"),
    "envpool": ("envpool", "Atari games in C++ threads"),
    "classic": ("pygame", "Gymnasium's own rendering"),
    "video": ("imageio_ffmpeg", "films as .mp4"),
    "hub": ("msgpack", "the live page"),
}

Verdict = Literal["ok", "note", "bad"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    verdict: Verdict
    what: str
    advice: str = ""


def run_doctor(arguments: Sequence[str]) -> int:
    """Look over the installation; exit code 2 where something does not work."""
    parsing.parse(DoctorOptions, arguments, "fathom doctor", "Look over this installation.")
    findings = [*_versions(), *jax_pin(importlib.metadata.version("jax")), *_device(), *_extras(), *_cache()]
    findings += _smoke()
    signs = {"ok": "ok  ", "note": "note", "bad": "BAD "}
    for finding in findings:
        print(f"{signs[finding.verdict]}  {finding.what}")
        if finding.advice:
            print(f"      {finding.advice}")
    return 2 if any(f.verdict == "bad" for f in findings) else 0


def _versions() -> list[Finding]:
    found = [f"fathom {fathom.__version__}", f"Python {platform.python_version()}"]
    findings = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding("bad", f"{name} is not installed", f"pip install {name}"))
    return [Finding("ok", ", ".join(found[:2])), Finding("ok", ", ".join(found[2:])), *findings]


def jax_pin(version: str) -> list[Finding]:
    """Whether this version of jax is one that trains: 0.9.2 or newer, but none of 0.10."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    command = 'pip install "jax>=0.9.2,!=0.10.*"'
    if numbers[:2] == (0, 10):
        return [
            Finding(
                "bad", f"jax {version} hangs for ever in training loops over several seeds on CPU", command
            )
        ]
    if numbers < (0, 9, 2):
        return [Finding("bad", f"jax {version} is too old", command)]
    return []


def _device() -> list[Finding]:
    import jax
    import jax.numpy as jnp

    try:
        devices = jax.devices()
    except RuntimeError as error:
        return [Finding("bad", f"jax finds no device: {error}", "unset JAX_PLATFORMS, or reinstall jax")]
    kinds = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in devices}))
    found = [Finding("ok", f"{len(devices)} device{'s' if len(devices) > 1 else ''}: {kinds}")]
    if devices[0].platform == "cpu" and shutil.which("nvidia-smi"):
        found.append(
            Finding("note", "there is an NVIDIA GPU, but jax runs on the CPU", 'pip install "jax[cuda12]"')
        )
    if jnp.asarray(1.0).dtype == jnp.float64:
        found.append(Finding("note", "JAX_ENABLE_X64 is set: checkpoints and results differ from float32's"))
    return found


def _extras() -> list[Finding]:
    findings = []
    for extra, (module, use) in _EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            findings.append(Finding("ok", f"extra {extra}: {use}"))
        else:
            findings.append(
                Finding("note", f"without the extra {extra}: {use}", f'pip install "fathom-rl[{extra}]"')
            )
    return findings


def _cache() -> list[Finding]:
    from fathom.train.runtime import cache_dir

    folder = cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return [
            Finding(
                "note",
                f"the cache of compiled programs {folder} cannot be written ({error.strerror})",
                "every run compiles anew; set FATHOM_CACHE_DIR to a folder that can be",
            )
        ]
    size = sum(os.path.getsize(os.path.join(at, file)) for at, _, files in os.walk(folder) for file in files)
    return [Finding("ok", f"cache of compiled programs: {folder}, {size / 1e6:,.1f} MB")]


def _smoke() -> list[Finding]:
    import jax
    import jax.numpy as jnp

    def body(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.tanh(x @ x / 64), None

    start = time.perf_counter()
    try:
        x, _ = jax.jit(lambda x: jax.lax.scan(body, x, None, length=100))(jnp.ones((64, 64)))
        good = bool(jnp.isfinite(x).all())
    except Exception as error:
        return [Finding("bad", f"a small computation fails: {error}", "reinstall jax and jaxlib")]
    if not good:
        return [Finding("bad", "a small computation gives NaN", "reinstall jax and jaxlib")]
    return [Finding("ok", f"a small computation compiles and runs, in {time.perf_counter() - start:.2f} s")]
