import subprocess
import sys

import pytest

import fathom
from fathom.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "train ALGO ENV"),
        (["--help"], "fathom COMMAND --help"),
        (["--version"], fathom.__version__),
        (["train", "--help"], "ppo"),
        (["list", "algorithms"], "dqn"),
        (["list", "presets"], "ppo"),
        (["eval", "--help"], "--episodes"),
        (["watch", "--help"], "--seed-index"),
        (["plot", "--help"], "--smoothing"),
    ],
)
def test_help_and_lists_answer_without_jax(arguments, words):
    code = (
        "import sys; from fathom.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'jax', 'numpy', 'matplotlib', 'gymnasium', 'scipy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert done.stderr == ""


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fathom", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fathom {fathom.__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["trian"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: unknown command 'trian'. Did you mean train?")


def test_errors_are_a_message_without_a_traceback(capsys, tmp_path):
    assert main(["eval", str(tmp_path / "none")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "there is no run folder" in err
    assert "Traceback" not in err
    assert len(err.splitlines()) == 1


def test_values_of_another_type_end_with_2(capsys):
    assert main(["eval", "run", "--episodes", "many"]) == 2
    assert "--episodes" in capsys.readouterr().err


def test_warnings_are_a_line(capsys, monkeypatch):
    import warnings

    from fathom.cli import listing

    def warn(arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the tide is low", stacklevel=1)
        return 0

    monkeypatch.setattr(listing, "run_list", warn)
    assert main(["list"]) == 0
    assert capsys.readouterr().err == "warning: the tide is low\n"


def test_an_interrupt_outside_of_training_ends_with_130(capsys, monkeypatch):
    from fathom.cli import listing

    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "run_list", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted.\n"
