"""What all tests share: a quiet CPU, strict arithmetic, checked shapes, remembered compilations."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# XLA calls each remembered CPU program a misfit, for settings that are no features of the machine.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest
from jaxtyping import install_import_hook

# Before fathom is imported, or its functions stay unchecked.
install_import_hook(["fathom.ops"], "beartype.beartype")


def _cache_folder() -> Path:
    """A folder of this user, one for each worker: two processes writing one entry would spoil it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if not os.access(base if base.exists() else base.parent, os.W_OK):
        base = Path(tempfile.gettempdir())
    return base / "fathom" / "test-programs" / os.environ.get("PYTEST_XDIST_WORKER", "main")


jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    from hypothesis import settings

    if "not slow" in config.option.markexpr:
        # Most of a quick test is compilation, which takes a fifth of the time without LLVM's optimiser and
        # fusion emitters. From 0.10 on there is no turning off the emitters, and without the optimiser SAC's
        # loop gives NaN. The slow tests, and `XLA_FLAGS= pytest`, run programs as users get them.
        old = tuple(map(int, jax.__version__.split(".")[:2])) < (0, 10)
        level = "0 --xla_cpu_use_fusion_emitters=false" if old else "1"
        os.environ.setdefault("XLA_FLAGS", f"--xla_backend_optimization_level={level}")
    # A half-written entry of another process is compiled anew: no fault of the code under test.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compilation cache")
    settings.register_profile("fathom", deadline=None, derandomize=True, max_examples=30, database=None)
    settings.load_profile("fathom")


_MAPS_AT_MOST = 20_000  # of the 65,530 memory maps that Linux allows a process


@pytest.fixture(autouse=True, scope="module")
def _forget_programs() -> Iterator[None]:
    """Let go of compiled programs where they are many: each is a few memory maps, and XLA aborts without."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MAPS_AT_MOST:
        jax.clear_caches()
        gc.collect()
