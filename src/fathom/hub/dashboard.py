"""The comparison of runs and results as one HTML file, which opens from disk and needs no network."""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fathom.core.errors import FathomError
from fathom.hub import files

STATIC = Path(__file__).parent / "static"

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)


def write_dashboard(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write the page that compares these runs and results; the comparison is returned.

    A folder that is no run is looked through for runs and results. Raises FathomError where nothing was
    found to compare, and where the page cannot be written.
    """
    runs: list[tuple[Path, str]] = []
    results: list[tuple[Path, str]] = []
    errors: list[dict[str, str]] = []
    if not paths:
        raise FathomError("nothing to compare: give folders of runs, or results files.")
    for path in paths:
        if path.is_file():
            files.read_results(path)  # named on the command line: what is wrong with it ends the command
            results.append((path, path.name))
        elif (path / "run.json").is_file():
            runs.append((path, path.as_posix()))
        elif path.is_dir():
            found = files.listing(path)
            runs += [(path / one["path"], one["path"]) for one in found["runs"]]
            results += [(path / one["path"], one["path"]) for one in found["results"]]
            errors += found["errors"]
        else:
            raise FathomError(f"there is no {path}; give folders of runs, or results files.")
    told = files.comparison(runs, results, errors)
    if not told["rows"] and not told["results"]:
        raise FathomError(
            "nothing to compare was found."
            + "".join(f" {error['path']}: {error['error']}" for error in told["errors"][:3])
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page(told), encoding="utf-8")
    except OSError as error:
        raise FathomError(f"cannot write {out}: {error.strerror or error}.") from error
    return told


def page(told: dict[str, Any], title: str = "Fathom: comparison") -> str:
    """The page, with all it needs inside."""
    try:
        script = (STATIC / "dashboard.js").read_text(encoding="utf-8")
        style = (STATIC / "dashboard.css").read_text(encoding="utf-8")
    except OSError as error:
        raise FathomError(
            f"the page's own files are missing ({error.filename}): build them by `npm ci && npm run "
            "build` in web/."
        ) from error
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_closed(style, 'style')}</style>\n</head>\n"
        '<body>\n<div id="app"></div>\n'
        f'<script type="application/json" id="fathom-data">{_data(told)}</script>\n'
        f"<script>{_closed(script, 'script')}</script>\n</body>\n</html>\n"
    )


def _data(told: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in, whatever the names of runs hold."""
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _closed(text: str, tag: str) -> str:
    if f"</{tag}" in text.lower():
        raise FathomError(f"the page's own file holds </{tag}, which would end it too soon; build it anew.")
    return text
