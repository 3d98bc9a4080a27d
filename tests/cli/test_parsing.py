from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import tyro

from fathom.cli.options import TrainOptions
from fathom.cli.parsing import flag_value, flags, parse, switches, take_word
from fathom.cli.train import _command_type
from fathom.core.errors import FathomError, UnknownName
from fathom.core.module import Config


class Algo(Config):
    """An algorithm of two lines."""

    learning_rate: float = 3e-4  # the step size α
    anneal_lr: bool = False  # whether α falls
    hidden: tuple[int, ...] = (64, 64)  # units
    activation: Literal["tanh", "relu"] = "tanh"  # of the layers
    value_clip: float | None = None  # none in the paper


COMMAND = _command_type(Algo)
DEFAULT = COMMAND(TrainOptions(steps=7), Algo(learning_rate=0.5))


def run(*arguments: str):
    return parse(COMMAND, arguments, "fathom train algo ENV", "", DEFAULT)


def test_defaults_are_those_of_the_preset():
    assert run() == DEFAULT


def test_every_field_is_a_flag():
    given = run(
        "--learning-rate", "1e-2", "--anneal-lr", "--hidden", "8", "16", "--activation", "relu",
        "--value-clip", "0.2", "--steps", "9", "--json",
    )  # fmt: skip
    assert given.settings == Algo(0.01, True, (8, 16), "relu", 0.2)
    assert (given.run.steps, given.run.json, given.run.quiet) == (9, True, False)
    assert run("--no-anneal-lr", "--value_clip", "None").settings == Algo(0.5, False)


class Game(Config):
    """A game with settings of its own."""

    sticky: float = 0.25  # how often an action holds
    clip: bool = True  # whether rewards are clipped


def test_settings_of_the_environment_are_flags_of_their_own():
    command = _command_type(Algo, Game)
    default = command(DEFAULT.run, DEFAULT.settings, Game())
    words = ("--env.sticky", "0.5", "--env.no-clip", "--learning-rate", "1e-2")
    given = parse(command, words, "fathom train algo ENV", "", default)
    assert given.env == Game(0.5, False)
    assert given.settings == Algo(0.01)
    assert {"--env.sticky", "--env.clip", "--env.no-clip", "--learning-rate"} <= set(flags(command))
    assert {"--env.clip", "--env.no-clip", "--json"} <= switches(command)
    assert "--env.sticky" not in switches(command)
    with pytest.raises(UnknownName, match=r"--env\.sticky"):
        parse(command, ["--env.stikcy", "0"], "fathom train algo ENV", "", default)


def test_help_shows_comments_and_the_preset_s_values(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for words in (
        "the step size α (default: 0.5)",
        "--anneal-lr, --no-anneal-lr",
        "{tanh,relu}",
        "(default: 7)",
    ):
        assert words in text


def test_an_unknown_flag_names_the_nearest():
    with pytest.raises(UnknownName, match=r"unknown setting '--lerning-rate'. Did you mean --learning-rate"):
        run("--lerning-rate", "3")
    with pytest.raises(UnknownName, match="--no-anneal-lr"):
        run("--no-aneal-lr")
    with pytest.raises(FathomError, match="does not know what to do with 'over'"):
        run("over")


def test_flags_of_a_dataclass():
    assert {"--steps", "--learning-rate", "--anneal-lr", "--no-anneal-lr"} <= set(flags(COMMAND))
    assert {"--json", "--quiet", "--anneal-lr", "--no-anneal-lr", "--help"} <= switches(COMMAND)
    assert not {"--steps", "--hidden", "--learning-rate"} & switches(COMMAND)


@pytest.mark.parametrize(
    ("line", "word", "rest"),
    [
        ("ppo CartPole-v1 --seeds 3", "ppo", "CartPole-v1 --seeds 3"),
        ("--seeds 3 ppo CartPole-v1", "ppo", "--seeds 3 CartPole-v1"),
        ("--json ppo", "ppo", "--json"),
        ("--out runs/x ppo", "ppo", "--out runs/x"),
        ("--out=runs/x ppo", "ppo", "--out=runs/x"),
        ("--hidden 64 64 ppo", "ppo", "--hidden 64 64"),
        ("--double ppo", "ppo", "--double"),
        ("--no-double ppo", "ppo", "--no-double"),
        ("--log-std -1.5 ppo", "ppo", "--log-std -1.5"),
        ("--help", None, "--help"),
        ("", None, ""),
    ],
)
def test_the_word_is_found_wherever_it_stands(line, word, rest):
    assert take_word(line.split(), switches(TrainOptions), {"ppo"}) == (word, rest.split())


def test_a_flag_s_value_is_found_before_parsing():
    assert flag_value(["--preset", "none"], "--preset") == "none"
    assert flag_value(["--preset=x"], "--preset") == "x"
    assert flag_value(["--preset"], "--preset") is None
    assert flag_value(["--presets", "x"], "--preset") is None


def test_dataclasses_that_are_annotated_are_looked_into():
    @dataclass
    class Whole:
        part: tyro.conf.OmitArgPrefixes[TrainOptions]
        quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    assert {"--quick", "--seeds"} <= set(flags(Whole))
