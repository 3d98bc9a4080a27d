"""A listener that keeps the metrics of a run in its folder."""

from fathom.runs.folder import RunFolder
from fathom.train.report import Report


class MetricsWriter:
    """Writes a line to metrics.jsonl for each chunk: sums and counts per seed, so that any two lines add."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def phase(self, name: str, detail: str = "") -> None:
        """Phases leave no line."""

    def chunk(self, report: Report) -> None:
        """Append the chunk's line; FathomError when the disk is full."""
        self._folder.append_metrics(
            {
                "update": report.update,
                "env_steps": report.env_steps,
                "seconds": round(report.seconds, 4),
                "sums": report.sums,
                "counts": report.counts,
            }
        )
