"""The options of the commands. Field comments are the help texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Switch = tyro.conf.FlagCreatePairsOff
Run = tyro.conf.Positional[Path]
MaybeOutFile = Annotated[Path | None, tyro.conf.arg(aliases=["-o"])]
OutFile = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


@dataclass(frozen=True)
class TrainOptions:
    """How to run it."""

    steps: int = 100_000  # environment steps of each seed; by default the preset's, else 100,000
    seeds: int = 10  # seeds trained side by side; by default 10 where the environment is native, else 1
    seed: int = 0  # the first seed; the others follow it
    backend: Literal["auto", "native", "gymnasium"] = "auto"  # which version of the environment
    workers: Literal["auto", "in-process", "subprocess"] = "auto"  # where Gymnasium environments are stepped
    replay: Literal["auto", "device", "host"] = "auto"  # where replay of what they show is kept
    preset: str = "auto"  # tuned settings to start from: auto, none, or a name from `fathom list presets`
    episodes: int = 100  # episodes of each seed in the evaluation at the end
    out: Path | None = None  # the run's folder; by default runs/<algorithm>-<environment>-<time>
    json: Annotated[bool, Switch] = False  # write the summary, and nothing else, to standard output as JSON
    quiet: Annotated[bool, Switch] = False  # show no progress
    watch: Annotated[bool, Switch] = False  # show this very run on the live page (extra `hub`)
    record: Annotated[bool, Switch] = False  # with --watch: keep what was shown, as stream.rlog in the folder


@dataclass(frozen=True)
class ResumeOptions:
    """How to go on."""

    run: Run  # folder of the run
    steps: int | None = None  # environment steps of each seed to go on for; by default what is left
    workers: Literal["auto", "in-process", "subprocess"] | None = None  # where to step; by default as before
    replay: Literal["auto", "device", "host"] | None = None  # where replay is kept; by default as before
    episodes: int = 100  # episodes of each seed in the evaluation at the end
    json: Annotated[bool, Switch] = False  # write the summary, and nothing else, to standard output as JSON
    quiet: Annotated[bool, Switch] = False  # show no progress


@dataclass(frozen=True)
class EvalOptions:
    """How to evaluate."""

    run: Run  # folder of the run
    episodes: int = 100  # episodes of each seed
    stochastic: Annotated[bool, Switch] = False  # sample actions as in training, not the policy's best
    stream: int = 0  # number of the random stream: another number, other episodes
    json: Annotated[bool, Switch] = False  # write the result, and nothing else, to standard output as JSON


@dataclass(frozen=True)
class WatchOptions:
    """What to show."""

    run: Run  # folder of the run
    out: MaybeOutFile = None  # the film to write: .gif, or .mp4 with the video extra; none: in the terminal
    episodes: int = 1  # episodes, one after the other
    seed_index: int = 0  # which of the run's seeds plays, counted from 0
    max_steps: int = 1_000  # episodes are cut after so many steps
    seed: int = 0  # chooses the episodes
    speed: float | None = None  # steps per second; by default 4 in text and among values, else the film's own
    plain: Annotated[bool, Switch] = False  # text without colours, one frame after another


@dataclass(frozen=True)
class PlotOptions:
    """What to draw."""

    runs: tyro.conf.Positional[tuple[Path, ...]]  # folders of runs
    out: OutFile  # the picture to write: .png, .svg or .pdf
    metric: str = "episode_return"  # what to draw; an unknown name lists the known ones
    smoothing: float = 0.03  # part of the run to average each point over; 0 to 1


@dataclass(frozen=True)
class HubOptions:
    """What to serve."""

    runs: tyro.conf.Positional[Path | None] = None  # folder of runs, recordings and results to open
    port: int = 0  # of this machine; 0 takes a free one
    share: str | None = None  # open what a share link shows: its text, or the whole address
    record: Path | None = None  # keep what the first page is shown in this file, an .rlog
    browser: bool = True  # open the page in the browser; without, only print its address


@dataclass(frozen=True)
class PlayOptions:
    """What to play."""

    episodes: int = 10  # episodes of each environment
    max_steps: int = 500  # steps at which an episode is cut
    policy: str = (
        "auto"  # random; auto: the sign of the velocity on MountainCar, else random; or a run's folder
    )
    out: OutFile = Path("results.json")  # the file to write
    seed: int = 0  # chooses the episodes


@dataclass(frozen=True)
class DashboardOptions:
    """What to compare."""

    paths: tyro.conf.Positional[tuple[Path, ...]]  # folders of runs and results files
    out: OutFile = Path("dashboard.html")  # the page to write


@dataclass(frozen=True)
class ReproduceOptions:
    """What to make again."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()  # names from the list; or `list`, or `all`
    out: OutFile = Path("reproductions")  # folder of the pictures and the JSON files
    runs: int | None = None  # independent runs; by default as many as the source made
    seed: int = 0  # chooses the random numbers of all runs
    json: Annotated[bool, Switch] = False  # write the reports, and nothing else, to standard output as JSON


@dataclass(frozen=True)
class ListOptions:
    """What to list."""

    kind: tyro.conf.Positional[Literal["algorithms", "environments", "presets"]]  # what to list
    json: Annotated[bool, Switch] = False  # as JSON


@dataclass(frozen=True)
class CheckOptions:
    """What to test."""

    target: tyro.conf.Positional[str]  # an id, module:Name or file.py:Name of an environment


@dataclass(frozen=True)
class DoctorOptions:
    """Nothing to set."""
