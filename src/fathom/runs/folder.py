"""The folder of a run: run.json, metrics.jsonl, interventions.jsonl, checkpoints/, summary.json."""

import contextlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fathom.core.errors import FathomError, nearest
from fathom.runs import checkpoint

FORMAT = 1

_RUN, _SUMMARY, _LOCK = "run.json", "summary.json", "lock"
_METRICS, _INTERVENTIONS, _CHECKPOINTS = "metrics.jsonl", "interventions.jsonl", "checkpoints"


@dataclass(frozen=True)
class Loaded:
    """A checkpoint as `RunFolder.load_checkpoint` found it."""

    update: int
    tree: Any
    meta: dict[str, Any]
    path: Path


class RunFolder:
    """What a run leaves behind. Every file is either replaced whole or appended to by lines.

    Make one with `create` (a new run) or `open` (an existing one).
    """

    def __init__(self, path: str | Path, run: dict[str, Any]) -> None:
        self.path = Path(path)
        self.run = run
        self._lines: dict[str, TextIO] = {}
        self._locked = False

    @classmethod
    def create(cls, path: str | Path, run: dict[str, Any]) -> "RunFolder":
        """Make the folder of a new run and write `run` (JSON) to its run.json.

        Raises FathomError when the folder holds a run already.
        """
        path = Path(path)
        require_vacant(path)
        try:
            (path / _CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            (path / _METRICS).touch()
            (path / _INTERVENTIONS).touch()
        except OSError as error:
            checkpoint.raise_disk_error(error, path, 0, "Nothing was started.")
        folder = cls(path, {"format": FORMAT, **run})
        folder._replace_json(_RUN, folder.run)
        return folder

    @classmethod
    def fill(
        cls,
        path: str | Path,
        run: dict[str, Any],
        write: Callable[["RunFolder"], None],
        *,
        overwrite: bool = False,
    ) -> None:
        """Make the folder of a new run and have `write` put into it all that it is to hold.

        Raises FathomError when the folder holds a run already, unless `overwrite`: then the files of that run
        (and no others) give way, once the new ones are on the disk; until then it stays as it is.
        """
        path = Path(path)
        if not overwrite or not _files_of_a_run(path):
            folder = cls.create(path, run)
            with folder.lock():
                write(folder)
            return
        with cls(path, {}).lock():
            folder = cls.create(path / f".new-{os.getpid()}", run)
            try:
                with folder.lock():
                    write(folder)
                _swap(folder.path, path)
            except OSError as error:
                checkpoint.raise_disk_error(error, path, 0, "The run that was there is as it was.")
            finally:
                shutil.rmtree(folder.path, ignore_errors=True)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """The folder of an existing run; FathomError where there is none or run.json cannot be read."""
        path = Path(path)
        if not os.path.isdir(path):
            siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            near = nearest(path.name, [s for s in siblings if (path.parent / s / _RUN).is_file()])
            hint = f" Did you mean {' or '.join(str(path.parent / n) for n in near)}?" if near else ""
            raise FathomError(f"there is no run folder {path}.{hint} A run is made by `fathom train`.")
        file = path / _RUN
        if not file.is_file():
            raise FathomError(
                f"{path} is not the folder of a run: it has no {_RUN}. Give the folder that `fathom train` "
                "named at its end."
            )
        run = _read_json(file)
        if run.get("format", 0) > FORMAT:
            raise FathomError(
                f"{file} has format version {run['format']}; this Fathom reads up to {FORMAT}. Install the "
                f"newer Fathom ({run.get('versions', {}).get('fathom', 'see its changelog')}) that wrote it."
            )
        return cls(path, run)

    def update_run(self, **changes: Any) -> None:
        """Change entries of run.json, as the horizon when a run is extended."""
        self.run = {**self.run, **changes}
        self._replace_json(_RUN, self.run)

    def save_checkpoint(
        self,
        update: int,
        tree: Any,
        meta: dict[str, Any],
        host: dict[str, Any] | None = None,
        keep: int = 2,
    ) -> Path:
        """Write checkpoints/<update>.safetensors, then remove all but the newest `keep`.

        Checkpoints of later updates go too: the run went back behind them. Removing begins only when the new
        file is on the disk, so that an intact checkpoint is there at every moment.
        """
        path = self.path / _CHECKPOINTS / f"{update}.safetensors"
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            checkpoint.raise_disk_error(error, path, 0, "The files of the run are as they were.")
        checkpoint.write(path, tree, {**meta, "update": update}, host)
        updates = self.checkpoints()
        past = [u for u in updates if u <= update]
        for stale in set(updates) - set(past[-max(keep, 1) :]):
            (path.parent / f"{stale}.safetensors").unlink(missing_ok=True)
        return path

    def checkpoints(self) -> list[int]:
        """The updates of which there is a checkpoint, ascending."""
        folder = self.path / _CHECKPOINTS
        return sorted(int(p.stem) for p in folder.glob("*.safetensors") if p.stem.isdecimal())

    def load_checkpoint(
        self, like: Any = None, *, build_like: Callable[[dict[str, Any]], Any] | None = None
    ) -> Loaded:
        """The newest checkpoint that is intact, in the structure of `like`.

        `build_like(meta)` may be given in place of `like`, where the structure depends on what was saved. A
        damaged file is passed over with a warning that names it. Raises FathomError when there is no
        checkpoint, when none is intact, and when one is intact but of another structure or newer format.
        """
        broken: list[str] = []
        for update in reversed(self.checkpoints()):
            path = self.path / _CHECKPOINTS / f"{update}.safetensors"
            try:
                structure = build_like(checkpoint.read_meta(path)) if build_like else like
                tree, meta = checkpoint.read(path, structure)
            except checkpoint.CheckpointDamaged as error:
                broken.append(str(error).partition(". ")[0])
                continue
            for text in broken:
                warnings.warn(f"{text}; going back to update {update}.", stacklevel=2)
            return Loaded(update, tree, meta, path)
        if broken:
            raise FathomError(
                f"no checkpoint of {self.path} is intact:\n  " + "\n  ".join(broken) + "\nRestore one from a "
                "copy, or train again: run.json holds the settings."
            )
        raise FathomError(
            f"the run {self.path} has no checkpoint: it ended before its first was written. Train again; "
            "run.json holds the settings."
        )

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl, at once on the file. NaN and infinities are written as null."""
        self._append(_METRICS, line)

    def append_intervention(self, line: dict[str, Any]) -> None:
        """Append one line to interventions.jsonl, at once on the file."""
        self._append(_INTERVENTIONS, line)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The whole lines of metrics.jsonl; null inside sums and counts reads as NaN."""
        lines = _whole_lines(self.path / _METRICS)
        for line in lines:
            for kind in ("sums", "counts"):
                for name, values in line.get(kind, {}).items():
                    line[kind][name] = [math.nan if v is None else v for v in values]
        return lines

    def read_interventions(self) -> list[dict[str, Any]]:
        """The whole lines of interventions.jsonl."""
        return _whole_lines(self.path / _INTERVENTIONS)

    def go_back(self, update: int) -> None:
        """Drop the metrics and interventions of later updates, and lines that were cut short.

        A resumed run writes them again. Takes the lock while it does, unless this folder holds it:
        FathomError when another process writes.
        """
        with self.held():
            for name in (_METRICS, _INTERVENTIONS):
                self._truncate(name, update)

    def _truncate(self, name: str, update: int) -> None:
        path = self.path / name
        if not path.is_file():
            return
        kept = [line for line in _whole_lines(path) if line["update"] <= update]
        self._close(name)
        self._replace(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replace summary.json."""
        self._replace_json(_SUMMARY, summary)

    def read_summary(self) -> dict[str, Any] | None:
        """The summary, or None while the run is not finished."""
        path = self.path / _SUMMARY
        return _read_json(path) if path.is_file() else None

    def held(self) -> contextlib.AbstractContextManager[None]:
        """`lock`, or nothing where this folder holds it already."""
        return contextlib.nullcontext() if self._locked else self.lock()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the run to this process until the block ends; FathomError when another one writes it.

        The system frees the lock of a process that dies, however it dies. Files that such a process left
        half written are removed.
        """
        try:
            file = open(self.path / _LOCK, "a+", encoding="utf-8")  # noqa: SIM115 closed below
        except OSError as error:
            checkpoint.raise_disk_error(error, self.path / _LOCK, 0, "The files of the run are as they were.")
        with file:
            if not _try_lock(file):
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise FathomError(
                    f"the run {self.path} is being written by {holder}. Wait for it or stop it first; to "
                    "train beside it, choose another --out."
                )
            file.truncate(0)
            file.write(f"process {os.getpid()}\n")
            file.flush()
            self._remove_leftovers()
            self._locked = True
            try:
                yield
            finally:
                self._locked = False
                self.close()
                file.truncate(0)

    def close(self) -> None:
        """Close the files that are appended to; the next line opens them again."""
        for name in list(self._lines):
            self._close(name)

    def _append(self, name: str, line: dict[str, Any]) -> None:
        path = self.path / name
        try:
            if name not in self._lines:
                _cut_torn_line(path)
                self._lines[name] = open(path, "a", encoding="utf-8")  # noqa: SIM115 kept open over the run
            # Flushed line by line: a process killed here tears at most the last one.
            self._lines[name].write(json.dumps(jsonable(line)) + "\n")
            self._lines[name].flush()
        except OSError as error:
            checkpoint.raise_disk_error(error, path, 0, "All checkpoints written before are intact.")

    def _close(self, name: str) -> None:
        file = self._lines.pop(name, None)
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _remove_leftovers(self) -> None:
        for folder in (self.path, self.path / _CHECKPOINTS):
            for file in folder.glob(".*.tmp"):
                file.unlink(missing_ok=True)

    def _replace_json(self, name: str, value: dict[str, Any]) -> None:
        self._replace(self.path / name, json.dumps(jsonable(value), indent=2, ensure_ascii=False) + "\n")

    def _replace(self, path: Path, text: str) -> None:
        try:
            with checkpoint.replacing(path) as file:
                file.write(text.encode())
        except OSError as error:
            checkpoint.raise_disk_error(error, path, len(text), "The files of the run are as they were.")


def require_vacant(path: Path) -> None:
    """Raise FathomError if `path` holds a run already, or is a file."""
    try:
        in_the_way = path.exists() and not path.is_dir()
    except OSError as error:
        raise FathomError(f"{path} can be no folder: {error.strerror}. Choose another --out.") from error
    if in_the_way:
        raise FathomError(f"{path} is a file; a run needs a folder. Choose another --out.")
    if _files_of_a_run(path):
        raise FathomError(
            f"the folder {path} holds a run already ({_describe(path)}). Go on with it by "
            f"`fathom resume {path}`, or choose another --out."
        )


def _files_of_a_run(path: Path) -> list[Path]:
    """The files of a run that a folder holds; empty ones, which a start that was cut short leaves, not."""
    names = (_RUN, _METRICS, _INTERVENTIONS, _SUMMARY)
    files = [path / name for name in names if (path / name).is_file() and (path / name).stat().st_size]
    return files + sorted((path / _CHECKPOINTS).glob("*.safetensors"))


def _swap(new: Path, path: Path) -> None:
    """Put the files of a run in the place of another's: nothing but renaming, and then removing."""
    past = new / "past"
    past.mkdir()
    for file in (path / _CHECKPOINTS).glob("*.safetensors"):
        file.rename(past / file.name)
    (path / _CHECKPOINTS).mkdir(exist_ok=True)
    for file in (new / _CHECKPOINTS).glob("*.safetensors"):
        file.rename(path / _CHECKPOINTS / file.name)
    for name in (_RUN, _METRICS, _INTERVENTIONS):
        (new / name).replace(path / name)
    (path / _SUMMARY).unlink(missing_ok=True)


def _describe(path: Path) -> str:
    with contextlib.suppress(FathomError):
        if (path / _RUN).is_file():
            run = _read_json(path / _RUN)
            algorithm, env = run.get("algorithm"), run.get("env")
            algorithm = algorithm.get("name", algorithm) if isinstance(algorithm, dict) else algorithm
            env = env.get("id", env) if isinstance(env, dict) else env
            return f"{algorithm} on {env}"
    return "its run.json cannot be read"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FathomError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise FathomError(
            f"{path} is damaged: it is not JSON ({error}). Restore it from a copy; the arrays in "
            "checkpoints/ can be read without it by `fathom.runs.checkpoint.read_arrays`."
        ) from error
    if not isinstance(value, dict):
        raise FathomError(f"{path} is damaged: it holds a {type(value).__name__}, not an object.")
    return value


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are whole; one that a killed process cut short is passed over."""
    if not path.is_file():
        return []
    lines = []
    for raw in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            line = json.loads(raw)
            if isinstance(line, dict):
                lines.append(line)
    return lines


def _cut_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def jsonable(value: Any) -> Any:
    """`value` as strict JSON: arrays as lists, NumPy numbers as Python's, NaN and infinities as null."""
    match value:
        case dict():
            return {str(k): jsonable(v) for k, v in value.items()}
        case list() | tuple():
            return [jsonable(v) for v in value]
        case Path():
            return str(value)
        case float():
            return value if math.isfinite(value) else None
        case np.ndarray() | np.generic():
            return jsonable(value.tolist())
    return value


def _try_lock(file: TextIO) -> bool:
    if os.name == "nt":
        import msvcrt

        # A byte far behind the text, which stays readable: Windows locks keep other readers out.
        file.seek(1 << 30)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        except OSError:
            return False
        return True
    import errno
    import fcntl

    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            warnings.warn(
                f"this file system knows no locks: see that only one process writes {file.name}.",
                stacklevel=2,
            )
            return True
        return False
    return True
