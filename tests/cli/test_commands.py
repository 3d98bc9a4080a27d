"""The commands on one tiny run: what they write where, and their exit codes."""

import json
import os
import re
import signal
import subprocess
import sys

import jax
import pytest
from PIL import Image, ImageSequence

from fathom import Agent
from fathom.cli import main
from fathom.cli.theatre import to_rich
from fathom.envs.render import PALETTES
from fathom.runs.folder import RunFolder

TINY = ["--num-envs", "4", "--num-steps", "16", "--epochs", "1", "--minibatches", "2", "--hidden", "8"]
SUMMARY = {
    "algorithm", "env", "backend", "seeds", "steps", "returns_per_seed", "mean", "iqm", "ci95",
    "steps_per_second", "compile_seconds", "wall_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    arguments = ["train", "ppo", "CartPole-v1", "--preset", "none", "--steps", "2048", "--seeds", "2"]
    assert main([*arguments, *TINY, "--episodes", "4", "--out", str(folder), "--quiet"]) == 0
    return folder


def test_a_run_leaves_its_folder(run):
    assert {p.name for p in run.iterdir()} >= {
        "run.json", "metrics.jsonl", "interventions.jsonl", "checkpoints", "summary.json"
    }  # fmt: skip
    folder = RunFolder.open(run)
    assert folder.run["algorithm"]["name"] == "ppo"
    assert folder.run["algorithm"]["fields"]["num_steps"] == 16
    assert folder.run["env"] == {"id": "CartPole-v1"}
    assert (folder.run["seeds"], folder.run["horizon"]) == (2, 2048)
    summary = folder.read_summary()
    assert summary.keys() >= SUMMARY
    assert len(summary["returns_per_seed"]) == 2
    lines = folder.read_metrics()
    assert lines[-1]["env_steps"] == 2048
    assert len(lines[0]["sums"]["episode_return"]) == 2


def test_json_puts_the_summary_alone_on_standard_output(capfd, tmp_path):
    arguments = ["train", "ppo", "CartPole-v1", "--preset", "none", "--steps", "512", "--seeds", "2", *TINY]
    assert main([*arguments, "--episodes", "2", "--out", str(tmp_path / "x"), "--json"]) == 0
    out, err = capfd.readouterr()
    summary = json.loads(out)
    assert summary.keys() >= SUMMARY
    assert summary == json.loads((tmp_path / "x" / "summary.json").read_text())
    assert summary["steps"] == 512
    for words in ("ppo on CartPole-v1, native", "no preset", "compiling", "100%", "evaluating"):
        assert words in err


def test_the_table_says_what_to_type_next(capsys, run):
    assert main(["resume", str(run)]) == 0
    out, err = capsys.readouterr()
    assert "finished at 2,048 steps" in err
    for words in (
        "mean return",
        "IQM",
        "95 % interval",
        "steps/s",
        f"fathom watch {run} -o",
        f"fathom plot {run} -o",
    ):
        assert words in out


def test_resume_trains_on(capsys, run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["resume", str(copy), "--steps", "512", "--episodes", "2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == 2560
    assert "at 2,048 steps" in err
    steps = [line["env_steps"] for line in RunFolder.open(copy).read_metrics()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 2560


def test_eval_gives_each_seed_s_return(capsys, run):
    assert main(["eval", str(run), "--episodes", "3", "--json"]) == 0
    first = capsys.readouterr().out
    result = json.loads(first)
    assert (result["episodes"], len(result["returns_per_seed"]), result["seeds"]) == (3, 2, 2)
    assert main(["eval", str(run), "--episodes", "3", "--json"]) == 0
    assert capsys.readouterr().out == first
    assert main(["eval", str(run), "--episodes", "3", "--stream", "1", "--stochastic"]) == 0
    out = capsys.readouterr().out
    assert "ppo on CartPole-v1, native: 2 seeds, 3 episodes of each seed" in out
    assert main(["eval", str(run), "--episodes", "0"]) == 2


def test_watch_writes_a_film(capsys, run, tmp_path):
    film = tmp_path / "a.gif"
    assert main(["watch", str(run), "-o", str(film), "--max-steps", "5", "--seed-index", "1"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{film}\n"
    frames = int(re.match(r"(\d+) frames", err)[1])
    with Image.open(film) as image:
        assert image.n_frames == frames == 6
    assert main(["watch", str(run), "-o", "x.avi"]) == 2
    assert main(["watch", str(run), "-o", str(film), "--seed-index", "2"]) == 2


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A table that nobody has taught anything."""
    folder = tmp_path_factory.mktemp("runs") / "lake"
    return Agent("q_learning", "FrozenLake-v1", seeds=2, preset="none").save(folder)


def test_watch_without_a_terminal_writes_frames_one_after_another(capsys, lake):
    arguments = ["watch", str(lake), "--max-steps", "2", "--seed-index", "1"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.isascii()
    frames = out.strip().split("\n\nFrozenLake-v1")
    assert 2 <= len(frames) <= 3
    assert frames[0].split("\n")[:6] == [
        "FrozenLake-v1, seed 1: episode 1 of 1, step 0, return 0",
        "",
        "+-------------------------+",
        "| @ any   any   any   any |",
        "|  0.00  0.00  0.00  0.00 |",
        "|                         |",
    ]
    assert main([*arguments, "--plain"]) == 0
    assert capsys.readouterr().out == out


def test_watch_tells_what_cannot_be_shown(capsys, run, lake):
    assert main(["watch", str(run)]) == 2
    assert "film it with -o" in capsys.readouterr().err
    assert main(["watch", str(lake), "--speed", "0"]) == 2
    assert "steps per second" in capsys.readouterr().err
    assert main(["watch", str(lake), "--seed-index", "2"]) == 2


def test_watch_films_values(capsys, lake, tmp_path):
    film = tmp_path / "lake.gif"
    assert main(["watch", str(lake), "-o", str(film), "--max-steps", "2", "--speed", "5"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{film}\n"
    assert err.endswith("frames at 5 per second\n")
    with Image.open(film) as image:
        assert image.size == (480, 480)
        # Where the walker bumps into the edge, equal frames are kept as one that lasts as long.
        lasting = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert sum(lasting) == 3 * 200


def test_ctrl_c_ends_watching_quietly(capsys, lake, monkeypatch):
    def interrupt(lines):
        raise KeyboardInterrupt

    monkeypatch.setattr("fathom.cli.theatre.to_text", interrupt)
    assert main(["watch", str(lake), "--max-steps", "2"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_words_on_their_colours():
    shown = to_rich([[("head", "")], [("0.50", "value0"), (" ", ""), ("@", "accent")]])
    assert shown.plain == "head\n0.50 @"
    light = PALETTES["light"]
    styles = {shown.plain[s.start : s.end]: str(s.style).upper() for s in shown.spans}
    assert styles["0.50"] == f"{light['body']} ON {light['value0']}"
    assert styles["@"] == f"BOLD {light['background']} ON {light['accent']}"


def test_plot_writes_a_picture(capsys, run, tmp_path):
    picture = tmp_path / "a.svg"
    assert main(["plot", str(run), str(run), "-o", str(picture)]) == 0
    assert capsys.readouterr().out == f"{picture}\n"
    assert "PPO (tiny), 2 seeds" in picture.read_text()
    assert main(["plot", str(run), "-o", str(picture), "--metric", "value_los"]) == 2
    assert "value_loss" in capsys.readouterr().err


def test_lists_are_lines_or_json(capsys):
    assert main(["list", "environments"]) == 0
    assert re.search(r"^CartPole-v1 +native, gymnasium", capsys.readouterr().out, re.MULTILINE)
    for kind, key in (("algorithms", "name"), ("environments", "id"), ("presets", "name")):
        assert main(["list", kind, "--json"]) == 0
        assert all(row[key] for row in json.loads(capsys.readouterr().out))
    assert main(["list", "algoritms"]) == 2
    assert "Did you mean algorithms?" in capsys.readouterr().err


def test_check_tells_what_to_mend(capsys):
    assert main(["check", "CartPole-v1"]) == 0
    assert "CartPole" in capsys.readouterr().out
    assert main(["check", "CartPol-v1"]) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "which algorithm? Usage: fathom train ALGO ENV"),
        ("ppo", "which environment? Usage: fathom train ppo ENV"),
        ("pppo CartPole-v1", "unknown algorithm 'pppo'. Did you mean ppo"),
        ("ppo CartPol-v1", "Did you mean CartPole-v1"),
        ("ppo CartPole-v1 --lerning-rate 1", "Did you mean --learning-rate"),
        ("ppo CartPole-v1 --preset ppo-cartpoll", "Did you mean"),
        ("ppo CartPole-v1 --preset dqn-cartpole", "one of dqn, not of ppo"),
        ("ppo CartPole-v1 --clip -1", "clip is -1"),
        ("ppo CartPole-v1 --steps 0", "steps is 0"),
        ("ppo CartPole-v1 --seeds 0", "seeds is 0"),
        ("ppo CartPole-v1 --backend nativ", "--backend"),
        ("ppo CartPole-v1 more", "does not know what to do with 'more'"),
    ],
)
def test_bad_input_is_a_message_and_2(capsys, monkeypatch, tmp_path, line, words):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err
    assert len(err.splitlines()) < 24
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_run_is_not_written_over(capsys, run):
    before = (run / "run.json").read_bytes()
    assert main(["train", "ppo", "CartPole-v1", "--out", str(run)]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before


def test_help_shows_the_preset_of_the_environment(capsys):
    assert main(["train", "ppo", "CartPole-v1", "--help"]) == 0
    text = capsys.readouterr().out
    assert "fathom train ppo CartPole-v1" in text
    for flag in ("--learning-rate", "--gae-lambda", "--normalize-obs, --no-normalize-obs", "--seeds"):
        assert flag in text


def test_the_default_folder_names_algorithm_environment_and_time(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "ppo", "CartPole-v1", "--steps", "64", "--seeds", "2", "--preset", "none", *TINY]
    assert main([*arguments, "--episodes", "1", "--quiet"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"ppo-CartPole-v1-\d{8}-\d{6}", folder.name)
    assert f"fathom eval runs/{folder.name}" in capsys.readouterr().out


def test_ctrl_c_saves_and_says_how_to_resume(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "fathom", "train", "ppo", "CartPole-v1", "--preset", "none", *TINY]
    command += ["--seeds", "2", "--steps", "1000000000", "--out", str(folder)]
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir)}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if "steps/s" in line:
                break
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 130, err
    assert out == ""
    saved = RunFolder.open(folder).checkpoints()[-1]
    assert saved > 0
    assert f"saved at update {saved:,}. Go on with: fathom resume {folder}" in err
    assert RunFolder.open(folder).read_metrics()[-1]["update"] == saved
