import numpy as np

from fathom.runs.folder import RunFolder
from fathom.runs.metrics import MetricsWriter
from fathom.train.report import Report


def test_a_chunk_becomes_a_line(tmp_path):
    folder = RunFolder.create(tmp_path / "run", {})
    writer = MetricsWriter(folder)
    sums = {"episode_return": np.array([30.0, 0.0], np.float32)}
    counts = {"episode_return": np.array([2.0, 0.0], np.float32)}
    writer.phase("train")
    report = Report(7, 700, 1_400, 2, 1.25, 0.5, 200, sums, counts)
    assert not writer.chunk(report)
    assert folder.read_metrics() == [
        {
            "update": 7,
            "env_steps": 700,
            "seconds": 1.25,
            "sums": {"episode_return": [30.0, 0.0]},
            "counts": {"episode_return": [2.0, 0.0]},
        }
    ]
    folder.close()
