"""Recordings: the same messages that the page got, gzipped, each with its time and its hash."""

import dataclasses
import gzip
import hashlib
import struct
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fathom.core.errors import FathomError
from fathom.hub import messages

FORMAT = 1

_MAGIC = b"fathom rlog"
_HEAD = struct.Struct("<dI8s")  # seconds since the beginning, length, hash
_UNPACKED = 2**31  # bytes that a recording may unpack to


class Moment(NamedTuple):
    """A message and when it came."""

    seconds: float
    payload: bytes


class Recorder:
    """Writes messages as they come. A process that dies leaves all but the last few readable."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._raw: BinaryIO = open(self.path, "wb")  # noqa: SIM115 closed by `close`
        except OSError as error:
            raise FathomError(f"cannot record to {path}: {error.strerror or error}.") from error
        # No name and no time in the file: equal recordings are equal files.
        self._file = gzip.GzipFile("", "wb", 6, self._raw, mtime=0)
        self._file.write(_MAGIC + bytes([FORMAT]))
        self._begin: float | None = None
        self._flushed = 0.0

    def add(self, payload: bytes, now: float | None = None) -> None:
        """One message."""
        now = time.monotonic() if now is None else now
        self._begin = now if self._begin is None else self._begin
        self._file.write(_HEAD.pack(now - self._begin, len(payload), _hash(payload)) + payload)
        if now - self._flushed > 1.0:
            self._flushed = now
            self._file.flush(zlib.Z_SYNC_FLUSH)
            self._raw.flush()

    def close(self) -> None:
        """Finish the file."""
        if not self._raw.closed:
            self._file.close()
            self._raw.close()


def read(path: str | Path) -> list[Moment]:
    """The messages of a recording, each as its hash says it was.

    A recording that was cut short is read up to there. FathomError for what is no recording, for one of a
    newer format, and where a message is not what was recorded.
    """
    path, found = Path(path), []
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(len(_MAGIC) + 1)
            if head[:-1] != _MAGIC:
                raise FathomError(f"{path} is no recording of Fathom's hub.")
            if head[-1] > FORMAT:
                raise FathomError(f"{path} has format {head[-1]}; this Fathom reads up to {FORMAT}.")
            total = 0
            while len(start := file.read(_HEAD.size)) == _HEAD.size:
                seconds, length, told = _HEAD.unpack(start)
                total += length
                if length > messages.MESSAGE_BYTES or total > _UNPACKED:
                    raise FathomError(f"{path} holds a message of {length:,} bytes; it is damaged.")
                payload = file.read(length)
                if len(payload) < length:
                    break
                if _hash(payload) != told:
                    raise FathomError(
                        f"{path} is damaged: message {len(found) + 1} is not what was recorded."
                    )
                messages.decode(payload, messages.MESSAGES, messages.MESSAGE_BYTES)
                found.append(Moment(seconds, payload))
    except EOFError:
        pass  # the recorder was stopped in the middle: what came before is whole
    except (OSError, zlib.error, messages.BadMessage) as error:
        raise FathomError(f"{path} cannot be read as a recording: {error}") from error
    if not found:
        raise FathomError(f"{path} is a recording of nothing.")
    return found


def _hash(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=8).digest()


class Player:
    """Plays a recording as if it were live: play, pause, seek and speed; all else is answered with an error.

    `due(now)` gives the messages that are due, numbered anew from `first`.
    """

    CAN = ("open", "sub", "unsub", "play", "pause", "seek", "speed", "step", "ping")

    def __init__(self, moments: list[Moment], first: int = 1) -> None:
        limit = messages.MESSAGE_BYTES
        told = [(m.seconds, messages.decode(m.payload, messages.MESSAGES, limit)) for m in moments]
        self._moments: list[tuple[float, Any]] = told
        runs = [i for i, (_, m) in enumerate(self._moments) if isinstance(m, messages.Run)]
        if not runs:
            raise FathomError("the recording holds no run.")
        # What follows the last beginning is one history; what came before was another run.
        self._moments = self._moments[runs[-1] :]
        self._times = [seconds for seconds, _ in self._moments]
        self._next = 0
        self._clock = self._times[0]
        self._last: float | None = None
        self._seq = first
        self.playing = False
        self.factor = 1.0  # how many times as fast as it was recorded
        tips = [m.u for _, m in self._moments if isinstance(m, messages.Frame)]
        self.tip = max(tips, default=0)

    def start(self) -> list[bytes]:
        """The run, and its first frame."""
        return self._send_until(lambda m: isinstance(m, messages.Frame))

    def due(self, now: float) -> list[bytes]:
        """The messages that have become due."""
        if self.playing and self._last is not None:
            self._clock += (now - self._last) * self.factor
        self._last = now
        found: list[bytes] = []
        while self.playing and self._next < len(self._moments) and self._times[self._next] <= self._clock:
            found += self._send(self._moments[self._next][1])
            self._next += 1
        if self.playing and self._next >= len(self._moments):
            self.playing = False
            found += self._state()
        return found

    def follow(self, ask: Any) -> list[bytes]:
        """The answer to a request."""
        found: list[bytes] = []
        error, data = "", {}
        match ask:
            case messages.Play():
                if self._next >= len(self._moments):
                    found += self._seek(0)
                self.playing, self._last = True, time.monotonic()
                found += self._state()
            case messages.Pause():
                self.playing = False
                found += self._state()
            case messages.Speed():
                # Frames come as they were recorded; 60 steps a second, the lab's own beginning, is as it was.
                self.factor = 8.0 if ask.steps_per_s is None else max(0.05, min(64.0, ask.steps_per_s / 60.0))
            case messages.Seek():
                if 0 <= ask.u <= self.tip:
                    found += self._seek(ask.u)
                    data = {"u": ask.u}
                else:
                    error = f"update {ask.u:,} is not in this recording; it goes from 0 to {self.tip:,}."
            case messages.Step():
                self.playing = False
                for _ in range(max(1, min(ask.n, 10_000))):
                    found += self._send_until(lambda m: isinstance(m, messages.Frame))
                found += self._state()
            case messages.Sub() | messages.Unsub() | messages.Ping():
                data = {"t": ask.t} if isinstance(ask, messages.Ping) else {}
            case _:
                error = (
                    "this is a recording: it can be played, and nothing in it changed. Open a run to do that."
                )
        reply = messages.Reply(0, ask.id, not error, error, data, None)
        return [*found, *self._send(reply)]

    def _seek(self, u: int) -> list[bytes]:
        """Go to the last frame that shows an update up to u; what comes before is not sent again."""
        shown = [i for i, (_, m) in enumerate(self._moments) if isinstance(m, messages.Frame) and m.u <= u]
        frames = [i for i, (_, m) in enumerate(self._moments) if isinstance(m, messages.Frame)]
        at = shown[-1] if shown else frames[0] if frames else 0
        self._next, self._clock = at + 1, self._times[at]
        return self._send(self._moments[at][1])

    def _send_until(self, enough: Any) -> list[bytes]:
        found: list[bytes] = []
        while self._next < len(self._moments):
            message = self._moments[self._next][1]
            self._clock = self._times[self._next]
            self._next += 1
            found += self._send(message)
            if enough(message):
                break
        return found

    def _send(self, message: Any) -> list[bytes]:
        if isinstance(message, messages.Frame):
            return [messages.encode(dataclasses.replace(message, playing=self.playing, tip=self.tip))]
        if isinstance(message, messages.Reply | messages.Inspection) and message.seq:
            return []  # answers to questions that nobody here has asked
        if isinstance(message, messages.Run):
            able = [name for name in message.can if name in self.CAN]
            message = dataclasses.replace(message, can=able, playing=self.playing)
        if isinstance(message, messages.Event) and message.kind == "state":
            return []  # whether it plays is the player's affair
        seq, self._seq = self._seq, self._seq + 1
        return [messages.encode(dataclasses.replace(message, seq=seq))]

    def _state(self) -> list[bytes]:
        """Whether it plays."""
        seq, self._seq = self._seq, self._seq + 1
        text, data = "playing" if self.playing else "paused", {"playing": self.playing}
        return [messages.encode(messages.Event(seq, "state", 0, 0, text, data, None))]
