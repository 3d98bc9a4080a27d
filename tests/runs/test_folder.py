import errno
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.runs import checkpoint
from fathom.runs.folder import RunFolder

RUN = {"algorithm": {"name": "ppo"}, "env": {"id": "CartPole-v1"}}
LIKE = {"x": np.zeros(3)}


def tree(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full(3, float(value))}


@pytest.fixture
def folder(tmp_path):
    run = RunFolder.create(tmp_path / "run", RUN)
    yield run
    run.close()


def flip(path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_created_then_opened_it_tells_the_same(folder):
    assert RunFolder.open(folder.path).run == {"format": 1, **RUN}
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "checkpoints", "interventions.jsonl", "metrics.jsonl", "run.json"
    ]  # fmt: skip


def test_a_folder_with_a_run_is_refused_unless_asked(folder):
    folder.save_checkpoint(1, tree(1), {})
    folder.append_metrics({"update": 1})
    (folder.path / "notes.txt").write_text("mine")
    with pytest.raises(FathomError, match=r"holds a run already \(ppo on CartPole-v1\).*fathom resume"):
        RunFolder.create(folder.path, RUN)
    write = lambda new: new.save_checkpoint(7, tree(2), {})  # noqa: E731
    with pytest.raises(FathomError, match="holds a run already"):
        RunFolder.fill(folder.path, {"algorithm": "dqn"}, write)
    RunFolder.fill(folder.path, {"algorithm": "dqn"}, write, overwrite=True)
    again = RunFolder.open(folder.path)
    assert again.run["algorithm"] == "dqn"
    assert again.checkpoints() == [7]
    assert again.read_metrics() == []
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert [p.name for p in folder.path.iterdir() if p.name.startswith(".new")] == []


def test_a_run_stays_where_the_one_that_was_to_replace_it_cannot_be_written(folder):
    folder.save_checkpoint(3, tree(1), {})
    folder.append_metrics({"update": 1})
    folder.close()
    held = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}

    def fail(new):
        new.save_checkpoint(7, tree(2), {})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunFolder.fill(folder.path, {"algorithm": "dqn"}, fail, overwrite=True)
    assert {p: p.read_bytes() for p in held} == held
    assert RunFolder.open(folder.path).checkpoints() == [3]
    assert list(folder.path.glob(".new*")) == []
    with folder.lock(), pytest.raises(FathomError, match="is being written by"):
        RunFolder.fill(folder.path, {"algorithm": "dqn"}, fail, overwrite=True)
    assert RunFolder.open(folder.path).checkpoints() == [3]


def test_a_name_that_can_be_no_folder_is_refused(tmp_path):
    with pytest.raises(FathomError, match="Choose another --out"):
        RunFolder.create(tmp_path / ("x" * 300), RUN)
    with pytest.raises(FathomError, match="there is no run folder"):
        RunFolder.open(tmp_path / ("x" * 300))


def test_a_start_that_was_cut_short_is_no_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "lock").touch()
    RunFolder.create(tmp_path, RUN)
    with pytest.raises(FathomError, match="is a file"):
        RunFolder.create(tmp_path / "run.json", RUN)


def test_what_is_no_run_folder_is_told(tmp_path, folder):
    with pytest.raises(FathomError, match=r"no run folder .*rum.*Did you mean .*run"):
        RunFolder.open(tmp_path / "rum")
    with pytest.raises(FathomError, match=r"no run\.json"):
        RunFolder.open(tmp_path)
    (folder.path / "run.json").write_text('{"format": 1, ')
    with pytest.raises(FathomError, match="damaged: it is not JSON"):
        RunFolder.open(folder.path)
    (folder.path / "run.json").write_text('{"format": 2, "versions": {"fathom": "9.9"}}')
    with pytest.raises(FathomError, match=r"format version 2.*9\.9"):
        RunFolder.open(folder.path)


def test_the_last_two_checkpoints_are_kept(folder):
    for update in (5, 50, 500):
        folder.save_checkpoint(update, tree(update), {"horizon": 9})
    assert folder.checkpoints() == [50, 500]
    loaded = folder.load_checkpoint(LIKE)
    assert loaded.update == 500
    assert loaded.meta == {"horizon": 9, "update": 500}
    np.testing.assert_array_equal(loaded.tree["x"], 500)
    folder.save_checkpoint(600, tree(1), {}, keep=1)
    assert folder.checkpoints() == [600]


def test_a_damaged_newest_falls_back_and_is_named(folder):
    folder.save_checkpoint(1, tree(1), {})
    folder.save_checkpoint(2, tree(2), {})
    flip(folder.path / "checkpoints" / "2.safetensors")
    with pytest.warns(UserWarning, match=r"2\.safetensors is damaged.*going back to update 1"):
        loaded = folder.load_checkpoint(LIKE)
    assert loaded.update == 1
    np.testing.assert_array_equal(loaded.tree["x"], 1)


def test_saving_after_a_fall_back_never_leaves_only_damage(folder):
    folder.save_checkpoint(10, tree(10), {})
    folder.save_checkpoint(20, tree(20), {})
    flip(folder.path / "checkpoints" / "20.safetensors")
    folder.save_checkpoint(12, tree(12), {})
    assert folder.checkpoints() == [10, 12]
    assert folder.load_checkpoint(LIKE).update == 12


def test_no_checkpoint_and_none_intact_are_different_errors(folder):
    with pytest.raises(FathomError, match="has no checkpoint"):
        folder.load_checkpoint(LIKE)
    folder.save_checkpoint(1, tree(1), {})
    (folder.path / "checkpoints" / "1.safetensors").write_bytes(b"")
    with pytest.raises(FathomError, match=r"no checkpoint of .* is intact:\n.*1\.safetensors"):
        folder.load_checkpoint(LIKE)


def test_another_structure_does_not_fall_back(folder):
    folder.save_checkpoint(1, tree(1), {})
    folder.save_checkpoint(2, {"x": np.zeros(4)}, {})
    with pytest.raises(FathomError, match=r"\[4\].*\[3\]"):
        folder.load_checkpoint(LIKE)


def test_the_structure_may_depend_on_the_meta(folder):
    folder.save_checkpoint(1, {"x": np.zeros(7)}, {"size": 7})
    loaded = folder.load_checkpoint(build_like=lambda meta: {"x": np.zeros(meta["size"])})
    assert loaded.tree["x"].shape == (7,)


def test_metrics_lines_are_on_the_file_at_once_and_are_strict_json(folder):
    folder.append_metrics({"update": 1, "sums": {"r": np.array([1.0, np.nan])}, "counts": {"r": [1, np.inf]}})
    text = (folder.path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["sums"] == {"r": [1.0, None]}
    line = folder.read_metrics()[0]
    assert line["sums"]["r"][0] == 1.0
    assert math.isnan(line["sums"]["r"][1])


def test_resuming_drops_later_lines_and_a_torn_one(folder):
    for update in (1, 2, 3):
        folder.append_metrics({"update": update})
    folder.close()
    with open(folder.path / "metrics.jsonl", "a") as file:
        file.write('{"update": 4, "su')
    folder.go_back(2)
    folder.append_metrics({"update": 3})
    assert [line["update"] for line in folder.read_metrics()] == [1, 2, 3]
    assert len((folder.path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_line_after_a_torn_one_is_whole(folder):
    (folder.path / "interventions.jsonl").write_text('{"update": 1}\n{"upd')
    folder.append_intervention({"update": 2})
    assert folder.read_interventions() == [{"update": 1}, {"update": 2}]


def test_the_summary_is_replaced(folder):
    assert folder.read_summary() is None
    folder.write_summary({"mean": np.float32(1.5), "ci95": (1.0, math.inf)})
    assert folder.read_summary() == {"mean": 1.5, "ci95": [1.0, None]}


def test_a_full_disk_is_told_and_nothing_is_lost(folder, monkeypatch):
    folder.save_checkpoint(1, tree(1), {})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (
        lambda: folder.save_checkpoint(2, tree(2), {}),
        lambda: folder.write_summary({}),
        lambda: folder.go_back(0),
        lambda: folder.update_run(horizon=3),
    ):
        with pytest.raises(FathomError, match="disk is full"):
            write()
    monkeypatch.undo()
    assert folder.load_checkpoint(LIKE).update == 1
    assert RunFolder.open(folder.path).run["algorithm"] == RUN["algorithm"]


def test_the_limit_of_a_file_s_size_is_a_clear_error(tmp_path):
    pytest.importorskip("resource")
    code = f"""
        import resource, numpy as np
        from fathom.core.errors import FathomError
        from fathom.runs.folder import RunFolder
        folder = RunFolder.create({str(tmp_path / "run")!r}, {{}})
        folder.save_checkpoint(1, {{"x": np.zeros(3)}}, {{}})
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            folder.save_checkpoint(2, {{"x": np.zeros(100_000)}}, {{}})
        except FathomError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "2.safetensors needs 0.8 MB" in done.stdout
    assert RunFolder.open(tmp_path / "run").load_checkpoint(LIKE).update == 1


def test_two_writers_are_kept_apart_and_a_dead_one_is_not_in_the_way(folder):
    code = f"""
        import time
        from fathom.runs.folder import RunFolder
        with RunFolder.open({str(folder.path)!r}).lock():
            print("held", flush=True)
            time.sleep(600)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(FathomError, match=f"written by process {child.pid}"), folder.lock():
            pass
    finally:
        child.kill()
        child.communicate()
    leftover = folder.path / "checkpoints" / ".3.safetensors.1.tmp"
    leftover.write_bytes(b"half")
    with folder.lock():
        assert not leftover.exists()
        with pytest.raises(FathomError, match=f"process {os.getpid()}"), RunFolder.open(folder.path).lock():
            pass
        with pytest.raises(FathomError, match="is being written"):
            RunFolder.open(folder.path).go_back(0)
        folder.go_back(0)
    with folder.lock():
        pass


_WRITER = """
    import sys
    import numpy as np
    from fathom.runs.folder import RunFolder
    folder = RunFolder.open(sys.argv[1])
    with folder.lock():
        update = int(sys.argv[2])
        print("ready", flush=True)
        while True:
            update += 1
            folder.append_metrics({"update": update, "sums": {"r": [0.0] * 200}, "counts": {}})
            folder.save_checkpoint(update, {"x": np.full(200_000, float(update))}, {})
"""


def test_killed_at_any_moment_of_writing_the_folder_loads(folder):
    like = {"x": np.zeros(200_000)}
    folder.save_checkpoint(0, {"x": np.zeros(200_000)}, {})
    rng = np.random.default_rng(0)
    update = 0
    for _ in range(6):
        command = [sys.executable, "-c", textwrap.dedent(_WRITER), str(folder.path), str(update)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(float(rng.uniform(0.0, 0.15)))
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.communicate()
        loaded = folder.load_checkpoint(like)
        assert loaded.update >= update
        np.testing.assert_array_equal(loaded.tree["x"], loaded.update)
        update = loaded.update
        folder.go_back(update)
        assert [line["update"] for line in folder.read_metrics()] == list(range(1, update + 1))
        for name in folder.checkpoints():
            checkpoint.verify(folder.path / "checkpoints" / f"{name}.safetensors")
    assert update > 0
