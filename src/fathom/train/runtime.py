"""Settings of JAX that a run wants, made once and only where the user has made none."""

import hashlib
import os
import platform
import sys
from pathlib import Path

import jax

import fathom


def cache_dir() -> Path:
    """The folder for compiled programs: $FATHOM_CACHE_DIR, else `fathom` in the user's cache folder."""
    if own := os.environ.get("FATHOM_CACHE_DIR"):
        return Path(own)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "fathom"


def processor_id() -> str:
    """A short name of this processor's kind: machine code compiled for one may be illegal on another."""
    text = f"{platform.machine()} {platform.processor()}"
    try:
        with open("/proc/cpuinfo") as lines:
            text += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        pass
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def one_thread() -> dict[str, bool | str]:
    """Compiler options for small programs that are called often: XLA runs them on the calling thread.

    Handing pieces of a 64-row product or of a single `act` to a pool costs more than the pieces: on 2 cores
    PPO's host path took 600-700 µs a step and 190-230 a minibatch with it, 310-440 and 150-160 without.
    """
    if _version(jax.__version__) >= (0, 13):  # not tried: an option that XLA no longer knows is an error
        return {}
    return {"xla_cpu_multi_thread_eigen": False, "xla_cpu_enable_concurrency_optimized_scheduler": False}


def once() -> dict[str, bool | str]:
    """Compiler options for a program that runs once: the time it takes is the compiler's.

    The beginning of PPO on CartPole compiles in 1.0 s with them and in 2.7 s without, on jax 0.9.2. A later
    jax compiles it as usual: on 0.12 a program without the optimiser was seen to give NaN.
    """
    if _version(jax.__version__) >= (0, 10):
        return {}
    return {"xla_backend_optimization_level": "0", "xla_cpu_use_fusion_emitters": False}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


def configure() -> None:
    """Settings of JAX for the whole process, where the user has made none.

    Programs run on the thread that calls them: every call here waits for its result at once, and waking
    another thread costs a tenth of a millisecond. The persistent compilation cache is turned on, unless the
    user has chosen a folder, or none can be made, or JAX was imported before Fathom could quiet it: XLA then
    prints kilobytes of warnings whenever it loads a program from the cache.
    """
    if "JAX_CPU_ENABLE_ASYNC_DISPATCH" not in os.environ:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    chosen = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is not None or not fathom.XLA_IS_QUIET:
        return
    folder = cache_dir() / "xla" / processor_id()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
