import pytest

from fathom.cli import doctor, main


def test_it_looks_over_this_installation(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FATHOM_CACHE_DIR", str(tmp_path / "cache"))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for words in ("Python", "jax ", "1 device: cpu", str(tmp_path / "cache"), "compiles and runs"):
        assert words in text


@pytest.mark.parametrize(
    ("version", "bad"),
    [
        ("0.9.2", False),
        ("0.9.1", True),
        ("0.10.0", True),
        ("0.10.2", True),
        ("0.11.2", False),
        ("0.12.0", False),
    ],
)
def test_versions_of_jax_that_hang_or_are_too_old_are_named(version, bad):
    findings = doctor.jax_pin(version)
    assert [f.verdict for f in findings] == ["bad"] * bad
    assert all(f"jax {version}" in f.what and "pip install" in f.advice for f in findings)


def test_a_missing_extra_comes_with_its_command(capsys, monkeypatch):
    monkeypatch.setitem(doctor._EXTRAS, "box2d", ("no_such_module", "LunarLander"))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert 'pip install "fathom-rl[box2d]"' in text


def test_a_cache_that_cannot_be_written_is_a_note(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FATHOM_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["doctor"]) == 0
    assert "set FATHOM_CACHE_DIR" in capsys.readouterr().out


def test_what_does_not_work_ends_with_2(capsys, monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0.10.1")
    assert main(["doctor"]) == 2
    assert "BAD" in capsys.readouterr().out
