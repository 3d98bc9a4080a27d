"""The files that the page may see: runs, recordings and results below one folder."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.errors import FathomError
from fathom.runs import statistics
from fathom.runs.folder import RunFolder, jsonable

SUFFIX = ".rlog"  # of a recording
RESULTS = "results.json"
RESULTS_BYTES = 16 * 2**20
RUNS = 500  # of a folder that are listed
POINTS = 400  # of a curve

_DEPTH = 4  # folders below the one that is served


class Forbidden(FathomError):
    """A path outside of the folder that is served."""


def within(folder: Path | None, path: str, suffix: str = "") -> Path:
    """A path below the folder; Forbidden where it leads out of it, by a link as well as by dots."""
    if folder is None:
        raise FathomError("no folder is served; name one: `fathom hub RUNS`.")
    root = Path(folder).resolve()
    try:
        found = (root / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise Forbidden("that is no path.") from error
    if not found.is_relative_to(root) or "\0" in path:
        raise Forbidden("that path lies outside of the folder that is served.")
    if suffix and found.suffix != suffix:
        raise FathomError(f"{path} is no {suffix} file.")
    if not found.exists():
        raise FathomError(f"there is no {path} in the folder that is served.")
    return found


def run_folder(folder: Path | None, path: str) -> Path:
    """A run folder below the one that is served."""
    found = within(folder, path)
    RunFolder.open(found)
    return found


def listing(folder: Path | None) -> dict[str, Any]:
    """Runs, results and recordings below the folder."""
    found: dict[str, list[Any]] = {"runs": [], "results": [], "recordings": [], "errors": []}
    if folder is None:
        return found
    for path in _walk(Path(folder)):
        name = path.relative_to(folder).as_posix() or "."
        try:
            if path.name == "run.json":
                found["runs"].append(_digest(path.parent, path.parent.relative_to(folder).as_posix()))
            elif path.suffix == SUFFIX:
                found["recordings"].append({"path": name, "bytes": path.stat().st_size})
            elif path.suffix == ".json" and path.name.startswith("results"):
                found["results"].append({"path": name, **_headline(read_results(path))})
        except FathomError as error:
            found["errors"].append({"path": name, "error": str(error)})
    return found


def _walk(folder: Path) -> list[Path]:
    """The files that matter, by name; those of deep folders and of links that lead out are left out."""
    found = []
    root = folder.resolve()
    for depth in range(_DEPTH):
        for path in sorted(folder.glob("/".join(["*"] * (depth + 1)))):
            wanted = path.suffix == SUFFIX or path.name == "run.json" or path.name.startswith("results")
            if wanted and path.is_file() and path.resolve().is_relative_to(root):
                found.append(path)
    return found[: 3 * RUNS]


def _digest(path: Path, name: str) -> dict[str, Any]:
    folder = RunFolder.open(path)
    run, summary = folder.run, folder.read_summary()
    return {
        "path": name,
        "algorithm": _word(run.get("algorithm"), "name"),
        "env": _word(run.get("env"), "id"),
        "seeds": run.get("seeds"),
        "finished": summary is not None,
        "mean": summary.get("mean") if summary else None,
        "recording": (path / f"stream{SUFFIX}").is_file(),
    }


def _word(value: Any, key: str) -> str:
    return str(value.get(key, "?") if isinstance(value, dict) else value)


def run_of(path: Path, name: str) -> dict[str, Any]:
    """A run folder in full: run.json, summary, curves of at most `POINTS` points, interventions."""
    folder = RunFolder.open(path)
    return {
        "path": name,
        "run": folder.run,
        "summary": folder.read_summary(),
        "metrics": _metrics(folder),
        "interventions": folder.read_interventions(),
    }


def merged(folder: RunFolder, until: int | None = None) -> list[dict[str, Any]]:
    """The lines of a run's metrics up to an update, neighbours added up until there are at most `POINTS`."""
    lines = [line for line in folder.read_metrics() if {"update", "env_steps", "sums", "counts"} <= set(line)]
    lines = [line for line in lines if until is None or line["update"] <= until]
    stride = max(1, math.ceil(len(lines) / POINTS))
    found = []
    for i in range(0, len(lines), stride):
        group = lines[i : i + stride]
        one = {"update": group[-1]["update"], "env_steps": group[-1]["env_steps"]}
        for kind in ("sums", "counts"):
            names = {name for line in group for name in line[kind]}
            one[kind] = {
                name: np.sum(
                    [line[kind][name] for line in group if name in line[kind]], axis=0, dtype=np.float64
                )
                for name in names
            }
        found.append(one)
    return found


def _metrics(folder: RunFolder) -> dict[str, Any]:
    """Curves per seed."""
    lines = merged(folder)
    columns: dict[str, list[Any]] = {}
    for name in sorted({name for line in lines for name in line["sums"]}):
        rows = []
        for line in lines:
            sums, counts = line["sums"].get(name, np.zeros(1)), line["counts"].get(name, np.zeros(1))
            mean = np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
            rows.append([None if math.isnan(x) else float(x) for x in np.atleast_1d(mean)])
        columns[name] = rows
    return {
        "update": [line["update"] for line in lines],
        "env_steps": [line["env_steps"] for line in lines],
        "columns": columns,
    }


def read_results(path: Path) -> dict[str, Any]:
    """A results.json as `fathom play` writes it; FathomError, with the place, where it is malformed."""
    try:
        if path.stat().st_size > RESULTS_BYTES:
            raise FathomError(f"{path.name} has more than {RESULTS_BYTES:,} bytes; it is no results file.")
        return checked_results(path.read_bytes(), path.name)
    except OSError as error:
        raise FathomError(f"cannot read {path}: {error.strerror or error}.") from error


def checked_results(data: bytes, name: str = RESULTS) -> dict[str, Any]:
    """The results that JSON holds, in the fixed format; FathomError, with the place, where it is another.

    {generated_at, episodes_per_env, policy, envs: [{env_id, policy, episodes, avg_return, best_return,
    returns: [{episode, return_, length}]}]}
    """
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FathomError(f"{name} is not JSON: {error}.") from error
    _require(isinstance(told, dict), name, "it is no object")
    _require(isinstance(told.get("generated_at"), str), name, "generated_at is no text")
    _require(_is_count(told.get("episodes_per_env")), name, "episodes_per_env is no whole number")
    _require(isinstance(told.get("policy"), str), name, "policy is no text")
    _require(isinstance(told.get("envs"), list), name, "envs is no list")
    for i, env in enumerate(told["envs"]):
        where = f"envs[{i}]"
        _require(isinstance(env, dict), name, f"{where} is no object")
        for key in ("env_id", "policy"):
            _require(isinstance(env.get(key), str), name, f"{where}.{key} is no text")
        _require(_is_count(env.get("episodes")), name, f"{where}.episodes is no whole number")
        for key in ("avg_return", "best_return"):
            _require(_is_number(env.get(key)), name, f"{where}.{key} is no number")
        _require(isinstance(env.get("returns"), list), name, f"{where}.returns is no list")
        for j, episode in enumerate(env["returns"]):
            at = f"{where}.returns[{j}]"
            _require(isinstance(episode, dict), name, f"{at} is no object")
            _require(_is_number(episode.get("return_")), name, f"{at}.return_ is no number")
            for key in ("episode", "length"):
                _require(_is_count(episode.get(key)), name, f"{at}.{key} is no whole number")
    return told


def _require(good: bool, name: str, what: str) -> None:
    if not good:
        raise FathomError(f"{name} is no results file of `fathom play`: {what}.")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _headline(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "generated_at": told["generated_at"],
        "policy": told["policy"],
        "envs": [env["env_id"] for env in told["envs"]],
    }


def comparison(
    runs: list[tuple[Path, str]], results: list[tuple[Path, str]], errors: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """Runs and results side by side: a row for each run, groups by what tells them apart, and who is better.

    Runs without a summary, which are not finished, are compared by their last returns in training.
    """
    rows: list[dict[str, Any]] = []
    wrong = list(errors or [])
    for path, name in runs:
        try:
            rows.append(_row(path, name))
        except FathomError as error:
            wrong.append({"path": name, "error": str(error)})
    told = []
    for path, name in results:
        try:
            told.append({"path": name, **read_results(path)})
        except FathomError as error:
            wrong.append({"path": name, "error": str(error)})
    return jsonable(
        {
            "generated_at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "rows": rows,
            "groupings": _groupings(rows),
            "improvement": _improvement(rows),
            "results": told,
            "errors": wrong,
        }
    )


def compared(folder: Path | None) -> dict[str, Any]:
    """The comparison of all that lies below a folder."""
    found = listing(folder)
    if folder is None:
        return comparison([], [])
    runs = [(Path(folder) / run["path"], run["path"]) for run in found["runs"]]
    results = [(Path(folder) / one["path"], one["path"]) for one in found["results"]]
    return comparison(runs, results, found["errors"])


def _row(path: Path, name: str) -> dict[str, Any]:
    folder = RunFolder.open(path)
    run, summary = folder.run, folder.read_summary()
    curve = _curve(folder)
    if summary is not None:
        returns = [float(r) for r in summary["returns_per_seed"]]
    elif curve["x"]:
        returns = [r for r in curve["last"] if r is not None]
    else:
        raise FathomError("this run has neither a summary nor a line of metrics yet.")
    if not returns:
        raise FathomError("no episode of this run has ended yet.")
    algorithm = run.get("algorithm")
    fields = algorithm.get("fields", {}) if isinstance(algorithm, dict) else {}
    summary = summary or {}
    return {
        "path": name,
        "name": Path(name).name if name != "." else path.resolve().name,
        "algorithm": _word(algorithm, "name"),
        "env": _word(run.get("env"), "id"),
        "backend": run.get("backend"),
        "preset": run.get("preset"),
        "seeds": run.get("seeds"),
        "steps": summary.get("steps", curve["x"][-1] if curve["x"] else 0),
        "finished": bool(summary),
        **statistics.summarize(np.asarray(returns)),
        "iqm_ci95": _interval(returns),
        "steps_per_second": summary.get("steps_per_second"),
        "wall_seconds": summary.get("wall_seconds"),
        "settings": {
            key: value for key, value in fields.items() if isinstance(value, str | int | float | bool)
        },
        "curve": {key: curve[key] for key in ("x", "mean", "low", "high")},
    }


def _interval(values: list[float]) -> list[float] | None:
    found = statistics.ci95(np.asarray(values), "iqm")
    return None if found is None else list(found)


def _curve(folder: RunFolder) -> dict[str, Any]:
    """The return over training: the mean over seeds, and its 95 % interval."""
    from fathom.runs.plot import curve

    try:
        found = curve(folder.read_metrics(), "episode_return", 0.03)
    except FathomError:
        return {"x": [], "mean": [], "low": [], "high": [], "last": []}
    stride = max(1, math.ceil(len(found.env_steps) / POINTS))
    kept = sorted({*range(0, len(found.env_steps), stride), len(found.env_steps) - 1})

    def numbers(values: Any) -> list[float | None]:
        return [None if not math.isfinite(x) else float(x) for x in np.asarray(values, np.float64)]

    several = found.per_seed.shape[1] > 1
    return {
        "x": [int(x) for x in np.asarray(found.env_steps)[kept]],
        "mean": numbers(np.asarray(found.mean)[kept]),
        "low": numbers(np.asarray(found.low)[kept]) if several else [],
        "high": numbers(np.asarray(found.high)[kept]) if several else [],
        "last": numbers(found.per_seed[-1]),
    }


def _groupings(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Seeds pooled by each thing that differs; environments are never mixed: returns have no common scale."""
    settings = sorted({name for row in rows for name in row["settings"]})
    differing = [s for s in settings if len({str(row["settings"].get(s)) for row in rows}) > 1]
    found: dict[str, list[dict[str, Any]]] = {}
    for by in ("algorithm", "env", "preset", *differing):
        groups: dict[tuple[str, str], list[int]] = {}
        for i, row in enumerate(rows):
            value = row[by] if by in row else row["settings"].get(by)
            groups.setdefault((row["env"], str(value)), []).append(i)
        found[by] = []
        for (env, key), members in sorted(groups.items()):
            values = np.concatenate([rows[i]["returns_per_seed"] for i in members])
            told = statistics.summarize(values)
            del told["returns_per_seed"]
            found[by].append(
                {"env": env, "key": key, "n": len(values), "runs": members, **told,
                 "iqm_ci95": _interval(values.tolist())}
            )  # fmt: skip
    return found


def _improvement(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """P(a seed of A does better than one of B) for all pairs of runs on one environment."""
    found = []
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            if i != j and a["env"] == b["env"]:
                p = statistics.probability_of_improvement(
                    np.asarray(a["returns_per_seed"]), np.asarray(b["returns_per_seed"])
                )
                found.append({"a": i, "b": j, "env": a["env"], "p": p})
    return found
