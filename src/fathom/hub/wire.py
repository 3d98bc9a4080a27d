"""Messages over a pipe between trainer and server: a header, then the message as it goes to the page."""

import collections
import struct
import threading
from typing import Any, BinaryIO, NamedTuple

from fathom.core.errors import FathomError
from fathom.hub import messages

NUMBERED, LATEST, NOTE = b"N", b"L", b"S"  # a note is for the server alone: a link to the last snapshot

_HEADER = struct.Struct("<cQiI")  # class, number, branch, length


class Packet(NamedTuple):
    """One message on its way."""

    kind: bytes
    seq: int
    branch: int
    payload: bytes


def pack(packet: Packet) -> bytes:
    """The packet with its header."""
    return _HEADER.pack(packet.kind, packet.seq, packet.branch, len(packet.payload)) + packet.payload


def header_size() -> int:
    """Bytes of a header."""
    return _HEADER.size


def unpack_header(data: bytes) -> tuple[bytes, int, int, int]:
    """Class, number, branch and length; FathomError for what is no header."""
    kind, seq, branch, length = _HEADER.unpack(data)
    if kind not in (NUMBERED, LATEST, NOTE) or length > messages.MESSAGE_BYTES:
        raise FathomError(f"the pipe of the trainer holds {data!r}, which is no header.")
    return kind, seq, branch, length


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """So many bytes of an unbuffered stream; fewer where it ends."""
    found = bytearray()
    while len(found) < length and (part := stream.read(length - len(found))):
        found += part
    return bytes(found)


class Outbox:
    """Sends messages in a thread of its own: all numbered ones, and of frames the newest of each branch.

    Whoever reads slowly delays no training: frames are replaced while they wait.
    """

    def __init__(self, stream: BinaryIO, first: int = 1) -> None:
        self._stream = stream
        self._seq = first
        self._numbered: collections.deque[Packet] = collections.deque()
        self._latest: dict[tuple[bytes, int], Packet] = {}
        self._ready = threading.Condition()
        self._closed = False
        self.broken = False  # nobody reads any more
        self._thread = threading.Thread(target=self._send_all, name="fathom-hub-outbox", daemon=True)
        self._thread.start()

    def numbered(self, kind: type, /, **fields: Any) -> int:
        """Send a message that must not be lost; its number."""
        with self._ready:
            seq, self._seq = self._seq, self._seq + 1
            payload = messages.encode(kind(seq=seq, **fields))
            self._numbered.append(Packet(NUMBERED, seq, int(fields.get("branch", 0)), payload))
            self._ready.notify()
        return seq

    def latest(self, frame: messages.Frame) -> None:
        """Send a frame, unless a newer one comes before it is its turn."""
        self._replace(Packet(LATEST, 0, frame.branch, messages.encode(frame)))

    def note(self, text: str, u: int) -> None:
        """Tell the server, and nobody else, how to come back to here."""
        self._replace(Packet(NOTE, u, 0, text.encode()))

    def _replace(self, packet: Packet) -> None:
        with self._ready:
            self._latest[(packet.kind, packet.branch)] = packet
            self._ready.notify()

    def close(self, timeout: float = 5.0) -> None:
        """Send what is left and stop."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join(timeout)

    def _send_all(self) -> None:
        try:
            while True:
                with self._ready:
                    while not (self._numbered or self._latest or self._closed):
                        self._ready.wait()
                    batch = list(self._numbered) + list(self._latest.values())
                    self._numbered.clear()
                    self._latest.clear()
                    if not batch and self._closed:
                        return
                rest = memoryview(b"".join(map(pack, batch)))
                while len(rest):
                    # A pipe may take a part of what it is given.
                    rest = rest[self._stream.write(rest) :]
        except (OSError, ValueError):
            self.broken = True
