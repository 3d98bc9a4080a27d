"""`fathom reproduce`: published figures made again, ours against theirs."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tyro

from fathom.cli import parsing
from fathom.cli.options import ReproduceOptions
from fathom.core.errors import FathomError

if TYPE_CHECKING:
    from fathom.reproduce.base import Experiment, Report

MISSED = 1


def run_reproduce(arguments: Sequence[str]) -> int:
    """Make published figures again; exit code 1 where a published value is missed."""
    options, settings = _parse(arguments)
    if not options.names:
        raise FathomError("say what to reproduce: a name, `all`, or `list` for the names.")
    from fathom.reproduce import registry

    if [name.lower() for name in options.names] == ["list"]:
        _list(options.json)
        return 0
    chosen = (
        [e for e in registry.experiments().values() if not e.long]
        if [name.lower() for name in options.names] == ["all"]
        else [registry.get(name) for name in options.names]
    )
    from fathom.reproduce.base import Work, reproduce
    from fathom.runs.folder import jsonable
    from fathom.train import runtime

    runtime.configure()
    reports = []
    for experiment in chosen:
        if experiment.arrange is not None:
            work = Work(options.out / experiment.name, _say)
            experiment = experiment.arrange(settings or experiment.settings, work)
        _say(f"{experiment.name}: {experiment.title}")
        report = reproduce(experiment, options.runs, options.seed)
        files = report.write(options.out)
        reports.append(report)
        if not options.json:
            _show(report)
            print(*files, sep="\n", flush=True)
    if options.json:
        print(json.dumps(jsonable([report.record() for report in reports])))
    return 0 if all(report.met for report in reports) else MISSED


def _parse(arguments: Sequence[str]) -> tuple[ReproduceOptions, Any]:
    """The options, and the settings of the one experiment that is named, if it has any."""
    text = (
        "Make figures and tables of the literature again: of each a picture, and a JSON of ours against "
        "theirs. `fathom reproduce list` lists them, `fathom reproduce all` makes all of them but those that "
        "take hours. The exit code is 1 where a published value is missed."
    )
    named = _named(arguments)
    if named is None or named.settings is None:
        return parsing.parse(ReproduceOptions, arguments, "fathom reproduce", text), None
    kind = dataclasses.make_dataclass(
        "Reproduce",
        [
            ("run", tyro.conf.OmitArgPrefixes[ReproduceOptions]),
            ("settings", tyro.conf.OmitArgPrefixes[type(named.settings)]),
        ],
        frozen=True,
    )
    given: Any = parsing.parse(
        kind,
        arguments,
        f"fathom reproduce {named.name}",
        f"{named.title} ({named.source}).",
        kind(ReproduceOptions(), named.settings),
    )
    return given.run, given.settings


def _named(arguments: Sequence[str]) -> "Experiment | None":
    """The experiment named, where it is one alone."""
    if not any(not word.startswith("-") for word in arguments):
        return None
    from fathom.reproduce.registry import experiments

    known = experiments()
    named = [known[word.lower()] for word in arguments if word.lower() in known]
    return named[0] if len(named) == 1 else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _list(as_json: bool) -> None:
    from fathom.reproduce.registry import experiments

    found = experiments().values()
    if as_json:
        rows = [
            {
                "name": e.name,
                "title": e.title,
                "source": e.source,
                "readings": len(e.readings),
                "long": e.long,
            }
            for e in found
        ]
        print(json.dumps(rows, indent=2))
        return
    width = max(len(e.name) for e in found)
    for e in found:
        hours = ", takes hours: not in `all`" if e.long else ""
        print(f"{e.name:<{width}}  {e.title}  ({e.source}{hours})")


def _show(report: "Report") -> None:
    """The table of one report, published values first."""
    record = report.record()
    rows = [("", "ours", "95 % interval", "published", "")]
    for line in [*record["readings"], *record["figures"]]:
        published, verdict = "–", ""
        if "met" in line:
            published = _number(line["published"])
            verdict = "met" if line["met"] else f"MISSED: more than {_number(line['allowed'])} away"
        rows.append((line["label"], _number(line["ours"]), _interval(line), published, verdict))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{report.experiment.source}: {report.runs:,} runs, {report.seconds:.1f} s")
    for row in rows:
        label, *numbers, verdict = (cell.ljust(w) for cell, w in zip(row, widths, strict=True))
        print("  ".join([label, *(n.strip().rjust(len(n)) for n in numbers), verdict]).rstrip())


def _interval(line: dict[str, Any]) -> str:
    ci = line["ci95"]
    return "–" if ci is None else f"{_number(ci[0])} to {_number(ci[1])}"


def _number(x: float) -> str:
    return f"{x:.4g}".replace("-", "−")
