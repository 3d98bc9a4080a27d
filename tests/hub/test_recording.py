"""Recordings: the same messages again, each as its hash says."""

import gzip
import time
from pathlib import Path
from typing import Any

import pytest

from fathom.core.errors import FathomError
from fathom.hub import messages
from fathom.hub.messages import Code, Frame, Reply, Run, Series, Tensor, encode
from fathom.hub.recording import Player, Recorder, read


def _frame(u: int) -> Frame:
    return Frame(0, u, u, f"{u:016x}", True, 1.0, {"q": Tensor.of([float(u)])}, None)


def _run() -> Run:
    return Run(
        1, "tabular", "q_learning", "Grid5x5-v0", "", [], None, None, None, 1, 0, 9, 1, ["values"],
        ["open", "play", "set", "seek"], [], [0], True, None, Code("", ""),
    )  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, list[Any]]:
    path = tmp_path / "a.rlog"
    recorder = Recorder(path)
    told = [
        _run(),
        _frame(0),
        Reply(2, 9, True, "", {}, None),
        Series(3, 0, 0, 5, {}, {}),
        _frame(5),
        _frame(9),
    ]
    for i, message in enumerate(told):
        recorder.add(encode(message), now=10.0 + i)
    recorder.close()
    return path, told


def test_what_was_recorded_is_read(recorded: tuple[Path, list[Any]]) -> None:
    path, told = recorded
    found = read(path)
    assert [m.seconds for m in found] == [0, 1, 2, 3, 4, 5]
    assert [m.payload for m in found] == [encode(m) for m in told]


def test_equal_recordings_are_equal_files(recorded: tuple[Path, list[Any]], tmp_path: Path) -> None:
    path, told = recorded
    again = Recorder(tmp_path / "b.rlog")
    for i, message in enumerate(told):
        again.add(encode(message), now=10.0 + i)
    again.close()
    assert (tmp_path / "b.rlog").read_bytes() == path.read_bytes()


def test_a_recording_cut_short_is_read_so_far(recorded: tuple[Path, list[Any]], tmp_path: Path) -> None:
    path, told = recorded
    whole = gzip.decompress(path.read_bytes())
    (tmp_path / "cut.rlog").write_bytes(gzip.compress(whole[:-10])[:-4])
    assert len(read(tmp_path / "cut.rlog")) == len(told) - 1


def test_damage_is_told(recorded: tuple[Path, list[Any]], tmp_path: Path) -> None:
    path, _ = recorded
    whole = bytearray(gzip.decompress(path.read_bytes()))
    whole[-3] ^= 1
    cases = {
        "flipped": gzip.compress(bytes(whole)),
        "text": b"hello",
        "other": gzip.compress(b"something else entirely"),
        "newer": gzip.compress(b"fathom rlog" + bytes([9])),
        "empty": gzip.compress(b"fathom rlog" + bytes([1])),
    }
    for name, data in cases.items():
        file = tmp_path / f"{name}.rlog"
        file.write_bytes(data)
        with pytest.raises(FathomError, match=name):
            read(file)


def _told(payloads: list[bytes]) -> list[Any]:
    return [messages.decode(p, messages.MESSAGES, messages.MESSAGE_BYTES) for p in payloads]


def test_a_player_sends_the_frames_that_were_recorded(recorded: tuple[Path, list[Any]]) -> None:
    path, told = recorded
    player = Player(read(path), first=7)
    begin = _told(player.start())
    assert isinstance(begin[0], Run)
    assert begin[0].can == ["open", "play", "seek"]
    assert not begin[0].playing
    play = _told(player.follow(messages.Play(1)))
    assert play[-1].ok
    rest = _told(player.due(time.monotonic() + 100.0))
    frames = [m for m in [*begin, *play, *rest] if isinstance(m, Frame)]
    assert [(m.u, m.hash, m.arrays) for m in frames] == [
        (m.u, m.hash, m.arrays) for m in told if isinstance(m, Frame)
    ]
    assert all(m.tip == 9 for m in frames)
    numbers = [m.seq for m in [*begin, *play, *rest] if hasattr(m, "seq")]
    assert numbers == list(range(7, 7 + len(numbers)))
    assert not player.playing


def test_a_player_seeks_and_refuses_changes(recorded: tuple[Path, list[Any]]) -> None:
    player = Player(read(recorded[0]))
    player.start()
    found = _told(player.follow(messages.Seek(4, u=7)))
    assert [m.u for m in found if isinstance(m, Frame)] == [5]
    assert found[-1].data == {"u": 7}
    assert not _told(player.follow(messages.Seek(5, u=99)))[-1].ok
    assert "recording" in _told(player.follow(messages.Set(6, {"epsilon": 0.1})))[-1].error
