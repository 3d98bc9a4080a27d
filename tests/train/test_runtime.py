import builtins
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from fathom.train import runtime

_OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def no_cache() -> Iterator[None]:
    """JAX as it is where the user has set nothing."""
    before = {name: getattr(jax.config, name) for name in _OPTIONS}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_programs_go_to_the_folder_asked_for(
    no_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FATHOM_CACHE_DIR", str(tmp_path / "here"))
    runtime.configure()
    folder = tmp_path / "here" / "xla" / runtime.processor_id()
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert folder.is_dir()


def test_a_folder_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = jax.config.jax_compilation_cache_dir
    assert chosen is not None
    monkeypatch.setenv("FATHOM_CACHE_DIR", str(tmp_path / "here"))
    runtime.configure()
    assert jax.config.jax_compilation_cache_dir == chosen
    assert not (tmp_path / "here").exists()


def test_where_no_folder_can_be_made_there_is_no_cache_and_no_error(
    no_cache: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FATHOM_CACHE_DIR", str(tmp_path / "file"))
    runtime.configure()
    assert jax.config.jax_compilation_cache_dir is None


@pytest.mark.parametrize(
    ("system", "variable", "inside"),
    [
        ("linux", "XDG_CACHE_HOME", "fathom"),
        ("win32", "LOCALAPPDATA", "fathom"),
        ("darwin", None, "Library/Caches/fathom"),
    ],
)
def test_each_system_has_its_own_place(
    system: str, variable: str | None, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FATHOM_CACHE_DIR", raising=False)
    monkeypatch.setattr(runtime.sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert runtime.cache_dir() == tmp_path / inside


def test_a_processor_is_told_by_what_it_can_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert re.fullmatch("[0-9a-f]{12}", runtime.processor_id())
    assert runtime.processor_id() == runtime.processor_id()

    def with_flags(text: str) -> str:
        (tmp_path / "cpuinfo").write_text(text)
        real = builtins.open
        reads_ours = lambda path, *a, **k: real(tmp_path / "cpuinfo", *a, **k)  # noqa: E731
        with monkeypatch.context() as patch:
            patch.setattr(builtins, "open", reads_ours)
            return runtime.processor_id()

    avx, more = (with_flags(f"model name: x\nflags: {flags}\n") for flags in ("avx", "avx avx512f"))
    assert avx != more


def test_a_system_without_cpuinfo_has_a_processor_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*args: Any, **kwargs: Any) -> Any:
        raise FileNotFoundError

    monkeypatch.setattr(builtins, "open", nothing)
    assert re.fullmatch("[0-9a-f]{12}", runtime.processor_id())
