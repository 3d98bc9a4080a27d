"""A session: one page's run, its numbered messages as far back as there is room, and who hears them."""

import asyncio
import collections
import contextlib
import dataclasses
import secrets
import sys
import time
from typing import Any

from fathom.core.errors import FathomError
from fathom.hub import files, messages, recording, wire
from fathom.hub.trainer import request

SERIES_BYTES = 8 * 2**20  # of series that a session keeps for those who come back
OTHERS = 4096  # events and replies that it keeps
BACKLOG = 64 * 2**20  # bytes that a page may be behind with numbered messages before it is cut off

_FORGET = 0  # the id of the server's own request
_PATIENCE = 5.0  # seconds in which a trainer should have forgotten its run


class Client:
    """One connection: numbered messages in order, and of frames the newest."""

    def __init__(self) -> None:
        self._numbered: collections.deque[bytes] = collections.deque()
        self._latest: dict[int, bytes] = {}
        self._ready = asyncio.Event()
        self._waiting = 0
        self.overrun = False  # it reads too slowly to be told all

    def numbered(self, payload: bytes) -> None:
        """Queue a message that must arrive."""
        self._numbered.append(payload)
        self._waiting += len(payload)
        self.overrun = self.overrun or self._waiting > BACKLOG
        self._ready.set()

    def latest(self, branch: int, payload: bytes) -> None:
        """Queue a frame in the place of the one that waits."""
        self._latest[branch] = payload
        self._ready.set()

    async def next(self) -> bytes:
        """The next message to send: numbered ones go first."""
        while not (self._numbered or self._latest):
            self._ready.clear()
            await self._ready.wait()
        if self._numbered:
            payload = self._numbered.popleft()
            self._waiting -= len(payload)
            return payload
        return self._latest.pop(next(iter(self._latest)))


class Journal:
    """The numbered messages of the present run, bounded: series and answers give way, events stay longer."""

    def __init__(self) -> None:
        self._kept: dict[str, collections.deque[tuple[int, bytes]]] = {
            kind: collections.deque() for kind in ("run", "series", "event", "reply")
        }
        self._bytes = 0
        self.last = 0  # number of the newest message
        self.gone = 0  # the greatest number of those that gave way

    def add(self, seq: int, payload: bytes) -> None:
        """Keep one."""
        kind = messages.kind_of(payload)
        kind = kind if kind in self._kept else "reply"
        if kind == "run":
            for queue in self._kept.values():
                queue.clear()
            self._bytes = self.gone = 0
        self.last = max(self.last, seq)
        queue = self._kept[kind]
        queue.append((seq, payload))
        if kind == "series":
            self._bytes += len(payload)
            while self._bytes > SERIES_BYTES:
                self._bytes -= len(queue[0][1])
                self.gone = max(self.gone, queue.popleft()[0])
        elif len(queue) > OTHERS:
            self.gone = max(self.gone, queue.popleft()[0])

    def since(self, seq: int) -> list[bytes]:
        """What came after that number, in order; if some of it is gone, an event says so."""
        found = sorted((s, p) for queue in self._kept.values() for s, p in queue if s > seq)
        if self.gone > max(seq, 0):
            gap = messages.Event(
                self.gone, "gap", 0, 0, "the older part of the series is no longer kept", {}, None
            )
            found.insert(
                1 if found and messages.kind_of(found[0][1]) == "run" else 0,
                (self.gone, messages.encode(gap)),
            )
        return [payload for _, payload in found]

    @property
    def run(self) -> bool:
        """Whether there is a run."""
        return bool(self._kept["run"])


class Session:
    """A run that one page, or several, look at: a trainer's, a recording, or one of the command line's."""

    def __init__(self, id: str | None = None) -> None:
        self.id = id or secrets.token_urlsafe(9)
        self.journal = Journal()
        self.clients: set[Client] = set()
        self.left = time.monotonic()  # when the last page went away
        self.recorder: recording.Recorder | None = None
        self._frames: dict[int, bytes] = {}
        self._trainer: Process | None = None
        self._player: recording.Player | None = None
        self._playing: asyncio.Task | None = None
        self._note = ("", 0)
        self._subs: dict[str, Any] = {}
        self.writer: asyncio.StreamWriter | None = None  # of a run of the command line's
        self.over = False  # that run has ended

    def join(self, client: Client, seq: int | None) -> None:
        """Let a page hear: what it missed since `seq`, or everything."""
        self.clients.add(client)
        for payload in self.journal.since(-1 if seq is None else seq):
            client.numbered(payload)
        for branch, payload in self._frames.items():
            client.latest(branch, payload)

    def part(self, client: Client) -> None:
        """A page is gone."""
        self.clients.discard(client)
        self.left = time.monotonic()

    def numbered(self, seq: int, payload: bytes) -> None:
        """Pass a message on to all, and keep it."""
        if messages.kind_of(payload) == "run":
            self._frames.clear()
        self.journal.add(seq, payload)
        if self.recorder is not None:
            self.recorder.add(payload)
        for client in self.clients:
            client.numbered(payload)

    def latest(self, branch: int, payload: bytes) -> None:
        """Pass a frame on to all."""
        self._frames[branch] = payload
        if self.recorder is not None:
            self.recorder.add(payload)
        for client in self.clients:
            client.latest(branch, payload)

    def tell(self, kind: type, /, **fields: Any) -> None:
        """Send a message of the server's own."""
        seq = self.journal.last + 1
        self.numbered(seq, messages.encode(kind(seq=seq, **fields)))

    def refuse(self, id: int, error: str) -> None:
        """Answer a request with an error."""
        # Numbers are the trainer's to give: this answer goes without.
        reply = messages.encode(messages.Reply(0, id, False, error, {}, None))
        for client in self.clients:
            client.numbered(reply)

    async def follow(self, ask: Any, data: bytes, house: Any) -> None:
        """Do what a request asks: the trainer does, or the player of a recording."""
        if self.over:
            self.refuse(ask.id, "this run is over; `fathom hub` opens the next one.")
            return
        if isinstance(ask, messages.Open) and self.writer is None:
            if ask.file is not None and ask.file.endswith(files.SUFFIX):
                await self._replay(ask, house.recording(ask.file))
                return
            if ask.file is not None:
                # A page names a folder below the one that is served; only the trainer is told where it lies.
                path = files.run_folder(house.folder, ask.file)
                data = messages.encode(dataclasses.replace(ask, file=str(path)))
            await self._stop_player()
        if self._player is not None:
            self._send_all(self._player.follow(ask))
            return
        if self.writer is not None:
            self.writer.write(request(data))
            await self.writer.drain()
            return
        if isinstance(ask, messages.Sub | messages.Unsub):
            # A trainer that begins later is told what this page had asked for.
            self._subs[type(ask).__name__] = data
        trainer = self._trainer
        if trainer is None or trainer.dead:
            if not isinstance(ask, messages.Open | messages.Sub | messages.Unsub | messages.Ping):
                self.refuse(ask.id, "there is no run; open one.")
                return
            trainer = self._trainer = await house.trainer(self)
            if not isinstance(ask, messages.Sub | messages.Unsub):
                for known in self._subs.values():
                    await trainer.send(known)
        await trainer.send(data)

    async def _replay(self, ask: messages.Open, moments: list[recording.Moment]) -> None:
        player = recording.Player(moments, self.journal.last + 1)
        await self._stop_player()
        await self.stop()
        self._player = player
        self._send_all(player.start())
        self._send_all(player.follow(messages.Ping(ask.id)))
        self._playing = asyncio.create_task(self._play())

    async def _play(self) -> None:
        while self._player is not None:
            self._send_all(self._player.due(time.monotonic()))
            await asyncio.sleep(1 / messages.HZ)

    async def _stop_player(self) -> None:
        self._player = None
        if self._playing is not None:
            self._playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._playing
            self._playing = None

    def _send_all(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            message = messages.decode(payload, messages.MESSAGES, messages.MESSAGE_BYTES)
            if isinstance(message, messages.Frame):
                self.latest(message.branch, payload)
            else:
                self.numbered(message.seq, payload)

    def packet(self, packet: wire.Packet) -> None:
        """Take a packet of the trainer's."""
        if packet.kind == wire.NUMBERED:
            self.numbered(packet.seq, packet.payload)
        elif packet.kind == wire.LATEST:
            self.latest(packet.branch, packet.payload)
        else:
            self._note = (packet.payload.decode(), packet.seq)

    def died(self, process: "Process", code: int | None) -> None:
        """A trainer is gone: tell the page, and offer it the last snapshot."""
        if self._trainer is not process:
            return
        self._trainer = None
        link, u = self._note
        data = {"fatal": True, "last": u, "share": link or None}
        how = f"with the exit code {code}" if code is not None else "without a word"
        text = f"the trainer has ended {how}; it can go on from update {u:,}." if link else (
            f"the trainer has ended {how}."
        )  # fmt: skip
        self.tell(messages.Event, kind="error", branch=0, u=u, text=text, data=data, code=None)

    @property
    def trainer_pid(self) -> int | None:
        """The process that trains, for those who watch over it."""
        return self._trainer.pid if self._trainer is not None else None

    async def stop(self) -> None:
        """End the trainer."""
        if self._trainer is not None:
            trainer, self._trainer = self._trainer, None
            await trainer.stop()

    def release(self) -> "Process | None":
        """Its trainer, which is no longer its own; None where there is none that lives."""
        trainer, self._trainer = self._trainer, None
        return None if trainer is None or trainer.dead else trainer

    async def close(self) -> None:
        """End all that belongs to it."""
        await self._stop_player()
        await self.stop()
        if self.recorder is not None:
            self.recorder.close()


class Process:
    """A trainer's process. It ends with its input, which is ours."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._reading: asyncio.Task | None = None
        self._session: Session | None = None
        self._quiet = asyncio.Event()  # it has answered that it forgot its run
        self._stopped = False

    @classmethod
    async def start(cls, first: int = 1, warm: bool = False) -> "Process":
        """A new one whose messages are numbered from `first`; `warm`, with a run ready to be shown."""
        words = [sys.executable, "-m", "fathom.hub.trainer", str(first), *(["--warm"] if warm else [])]
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=messages.MESSAGE_BYTES,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def dead(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def serve(self, session: Session) -> None:
        """Give what it says to a session from now on."""
        self._session = session
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    async def forget(self) -> "Process":
        """Have it forget its run, for another page: what it still says of it is heard by nobody."""
        self._session = None
        # Twice: with the first answer a frame may come that waited for its turn.
        for _ in range(2):
            if self._reading is None or self._reading.done():
                break
            self._quiet.clear()
            await self.send(messages.encode(messages.Leave(_FORGET)))
            try:
                await asyncio.wait_for(self._quiet.wait(), _PATIENCE)
            except TimeoutError:
                # It compiles, or trains one long update: a new one is sooner there.
                await self.stop()
        return self

    def packet(self, packet: wire.Packet) -> None:
        """Take what it says."""
        if self._session is not None:
            self._session.packet(packet)
        elif packet.kind == wire.NUMBERED and messages.kind_of(packet.payload) == "reply":
            answer = messages.decode(packet.payload, messages.MESSAGES, messages.MESSAGE_BYTES)
            if answer.id == _FORGET:
                self._quiet.set()

    async def send(self, data: bytes) -> None:
        """Pass on a request."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(request(data))
            await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, FathomError):
            await read_packets(self._process.stdout, self)
        code = await self._process.wait()
        self._quiet.set()
        if self._session is not None and not self._stopped:
            self._session.died(self, code)

    async def stop(self) -> None:
        """End it by closing its input; by force where that is not enough."""
        self._stopped = True
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5.0)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading


async def read_packets(stream: asyncio.StreamReader, session: "Session | Process") -> None:
    """Give a stream's packets to who takes them until it ends."""
    while True:
        kind, seq, branch, length = wire.unpack_header(await stream.readexactly(wire.header_size()))
        session.packet(wire.Packet(kind, seq, branch, await stream.readexactly(length)))


class House:
    """All sessions of a server, and a trainer that waits, warm, for the next one."""

    def __init__(self, folder: Any = None, most: int = 4, patience: float = 120.0) -> None:
        self.folder = folder
        self.sessions: dict[str, Session] = {}
        self.shown: Session | None = None  # what every page that comes is shown: a run of the command line's
        self.record: str | None = None  # file to record the first session to
        self._most, self._patience = most, patience
        self._spare: asyncio.Task[Process] | None = None

    def recording(self, path: str) -> list[recording.Moment]:
        """A recording below the served folder."""
        return recording.read(files.within(self.folder, path, files.SUFFIX))

    def prepare(self) -> None:
        """Begin a trainer for whoever comes next."""
        if self._spare is None and self.shown is None:
            self._spare = asyncio.create_task(Process.start(warm=True))

    async def trainer(self, session: Session) -> Process:
        """A trainer for a session, the one that waits if its numbers fit."""
        process: Process | None = None
        if self._spare is not None and session.journal.last == 0:
            spare, self._spare = self._spare, None
            process = await spare
            if process.dead:
                process = None
        if process is None:
            process = await Process.start(session.journal.last + 1)
        process.serve(session)
        return process

    async def welcome(self, resume: messages.Resume | None) -> tuple[Session, int | None]:
        """The session that a page belongs to, and the number after which it wants to hear."""
        if resume is not None and resume.session in self.sessions:
            session = self.sessions[resume.session]
            if 0 <= resume.seq <= session.journal.last:
                return session, resume.seq
            return session, None
        if self.shown is not None:
            return self.shown, None
        await self._make_room()
        session = Session()
        if self.record is not None:
            session.recorder, self.record = recording.Recorder(self.record), None
        self.sessions[session.id] = session
        return session, None

    async def leave(self, session: Session) -> None:
        """A page was closed: its session is over, and its trainer waits for the next one."""
        if session.clients or session is self.shown or self.sessions.pop(session.id, None) is None:
            return
        if self._spare is None and (trainer := session.release()) is not None:
            self._spare = asyncio.create_task(trainer.forget())
        await session.close()

    async def _make_room(self) -> None:
        """End sessions that nobody has looked at for a while, and the oldest of them where there are many."""
        idle = sorted((s for s in self.sessions.values() if not s.clients), key=lambda s: s.left)
        now = time.monotonic()
        for session in idle:
            if now - session.left > self._patience or len(self.sessions) >= self._most:
                del self.sessions[session.id]
                await session.close()
        if len(self.sessions) >= self._most:
            raise FathomError(
                f"{self._most} pages are open, each with a trainer of its own; close one of them first."
            )

    async def close(self) -> None:
        """End everything."""
        for session in [*self.sessions.values(), *([self.shown] if self.shown else [])]:
            await session.close()
        if self._spare is not None:
            process = await self._spare
            self._spare = None
            await process.stop()
