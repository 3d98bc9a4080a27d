"""`fathom train --watch`: the page shows that very run, trained on the command line.

The training is the user's process; the server is its child, and may end without harm. `python -m
fathom.hub.watching` is that server: messages come by its standard input, requests leave by its output.
"""

import asyncio
import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from fathom.algos.registry import name_of
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.hub import messages, settings, wire
from fathom.hub.coach import Coach
from fathom.hub.lab import glance, solve, world_of
from fathom.hub.messages import Branch, Code, Frame, Tensor
from fathom.hub.recipe import finite, is_tabular
from fathom.hub.stage import Stage
from fathom.hub.trainer import SHOWN, read_requests
from fathom.train.report import Report

HZ = 10.0  # looks at the run in a second: what training is slowed by
UNHURRIED = 0.5  # seconds between looks of the coach, and between policies taken up by the stage
CAN = ("play", "pause", "set", "sub", "unsub", "ping")

_REFUSED = (
    "this run is trained on the command line: it can be watched, paused and its live settings changed. "
    "`fathom hub` opens runs that can be forked and rewound."
)


class Watching:
    """A listener of a run that shows it on a page. What it sends, it sends in a thread of its own."""

    def __init__(self, agent: Any, record: Path | None = None, show: bool = True) -> None:
        """Start the server, which prints its address to standard error and opens it."""
        from fathom.hub.server import require_packages

        require_packages()
        words = [sys.executable, "-m", "fathom.hub.watching", str(record or ""), "show" if show else ""]
        self._server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._agent = agent
        self._out = wire.Outbox(self._server.stdin)  # pyright: ignore[reportArgumentType]
        self._asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
        reading = (self._server.stdout, self._asked)
        threading.Thread(target=read_requests, args=reading, daemon=True).start()
        env, kind = agent.env, type(agent.algorithm)
        self._tabular = is_tabular(kind, env)
        self._playing = True
        self._channels = {"values", "agent", "traces", "view", "series"}
        self._shown = self._told = 0
        self._looked = 0.0
        self._speed = 0.0
        self._stage: Stage | None = None
        self._coach: Coach | None = None
        # Chunks that the coach has not been told of, with their first updates.
        self._unheard: list[tuple[int, Report]] = []
        self._heard = self._taken = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        """Tell the page where the run is."""
        if name == "train":
            self._begin()
        elif self._told:
            self._advise()
            self._event("milestone", f"{name} {detail}".strip(), {"name": name})

    def chunk(self, report: Report) -> bool | None:
        """Tell of a chunk, and do what the page asks; while it asks for a pause, training waits here."""
        self._speed = report.chunk_steps / self._agent.seeds / max(report.chunk_seconds, 1e-9)
        self._series(report)
        self._follow()
        while not self._playing and not self._out.broken:
            self._look()
            time.sleep(0.02)
            self._follow()
        self._look()
        return None

    def close(self) -> None:
        """Training is over: the page stays for as long as somebody has it open, or until Ctrl-C."""
        self._out.close()
        assert self._server.stdin is not None
        with contextlib.suppress(OSError):
            self._server.stdin.close()
        try:
            self._server.wait()
        except KeyboardInterrupt:
            self._server.terminate()
            self._server.wait()
        finally:
            assert self._server.stdout is not None
            self._server.stdout.close()
            if self._stage is not None:
                self._stage.close()

    def _begin(self) -> None:
        agent = self._agent
        if not self._tabular:
            self._stage = Stage(_Source(agent))
            self._coach = Coach.of(agent.engine, max(agent.horizon, 1))
        world = finite(agent.env) if self._tabular else None
        gamma = float(agent.algorithm.gamma) if world is not None else 0.0
        engine = agent.engine
        branch = Branch(0, None, 0, engine.update, engine.update, "")
        self._told = self._out.numbered(
            messages.Run,
            kind="tabular" if self._tabular else "deep",
            algo=name_of(agent.algorithm),
            env=agent.env_id,
            title=f"{name_of(agent.algorithm).replace('_', '-')} on {agent.env_id}",
            settings=settings.settings_of(
                agent.algorithm, agent.env if self._native else None, self._tabular
            ),
            world=world_of(world) if world is not None else None,
            stage=self._stage.describe() if self._stage else None,
            exact=solve(world, gamma) if world is not None else None,
            seeds=agent.seeds,
            seed=agent.seed,
            horizon=agent.horizon,
            steps_per_update=engine.plan.steps,
            channels=["values", "agent", "series"] if self._tabular else ["view", "series"],
            can=list(CAN),
            branches=[branch],
            focus=[0],
            playing=True,
            speed=None,
            code=Code(f"fathom resume {agent.out}", f"agent = Agent.resume({str(agent.out)!r})"),
        )

    @property
    def _native(self) -> bool:
        return self._agent.backend == "native"

    def _follow(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                ask = self._asked.get_nowait()
                if ask is not None:
                    self._answer(ask)

    def _answer(self, ask: Any) -> None:
        data: dict[str, Any] = {}
        error, code = "", None
        try:
            match ask:
                case messages.Set():
                    data, code = self._set(ask)
                case messages.Play() | messages.Pause():
                    self._playing = isinstance(ask, messages.Play)
                    text = "playing" if self._playing else "paused"
                    self._event("state", text, {"playing": self._playing})
                case messages.Sub():
                    self._channels |= set(ask.channels)
                case messages.Unsub():
                    self._channels -= set(ask.channels)
                case messages.Ping():
                    data = {"t": ask.t}
                case messages.Drive() if self._stage is not None:
                    self._stage.drive(ask.action, ask.push, ask.reset)
                case _:
                    raise FathomError(_REFUSED)
        except FathomError as wrong:
            error = str(wrong)
        self._out.numbered(messages.Reply, id=ask.id, ok=not error, error=error, data=data, code=code)

    def _set(self, ask: messages.Set) -> tuple[dict[str, Any], Code]:
        agent = self._agent
        if any(name.startswith(settings.ENV) for name in ask.patch):
            raise FathomError(
                "settings of the environment change in `fathom hub`; here, those of the algorithm."
            )
        numbers = settings.spread(ask.patch)
        agent.set(**numbers)
        written = ", ".join(f"{name}={value!r}" for name, value in numbers.items())
        code = Code(f"fathom resume {agent.out}", f"agent.set({written})")
        self._event("set", written, {"patch": ask.patch}, code)
        return {"branch": 0, "u": agent.engine.update}, code

    def _event(self, kind: Any, text: str, data: dict[str, Any], code: Code | None = None) -> None:
        u = self._agent.engine.update
        self._out.numbered(messages.Event, kind=kind, branch=0, u=u, text=text, data=data, code=code)

    def _series(self, report: Report) -> None:
        if "series" not in self._channels:
            return
        first, self._shown = self._shown, report.update
        if self._coach is not None:
            self._unheard.append((first, report))
            if time.monotonic() - self._heard >= UNHURRIED:
                self._advise()
        sums = {name: Tensor.of(np.atleast_1d(value)) for name, value in report.sums.items()}
        counts = {name: Tensor.of(np.atleast_1d(value)) for name, value in report.counts.items()}
        if report.update > first:
            self._out.numbered(
                messages.Series, branch=0, u0=first, du=report.update - first, sums=sums, counts=counts
            )

    def _advise(self) -> None:
        """Tell the coach of several chunks at once: its rules take longer than a chunk's other messages."""
        if self._coach is None or not self._unheard:
            return
        start, end = self._unheard[0][0], self._unheard[-1][1].update
        sums = _total([report.sums for _, report in self._unheard])
        counts = _total([report.counts for _, report in self._unheard])
        self._unheard, self._heard = [], time.monotonic()
        for found in self._coach.note(start, end, sums, counts, vars(self._agent.algorithm)):
            self._event("finding", found.text, vars(found))

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < 1 / HZ:
            return
        self._looked = now
        engine, picture = self._agent.engine, None
        arrays: dict[str, Tensor] = {}
        told = ""
        if self._tabular:
            found = jax.device_get(
                glance(engine.algorithm, lift(self._agent.env), engine.carry, engine.batched)
            )
            shown = {k: np.asarray(v) if engine.batched else np.asarray(v)[None] for k, v in found.items()}
            told = messages.digest(shown.get("q", shown.get("v")))
            for name, (channel, kind) in SHOWN.items():
                if name in shown and channel in self._channels:
                    arrays[name] = Tensor.of(shown[name], kind)
        elif self._stage is not None and "view" in self._channels:
            if now - self._taken >= UNHURRIED:
                self._taken = now
                self._stage.take()
            self._stage.tick(now)
            arrays, picture = self._stage.frame()
        u = engine.update
        self._out.latest(Frame(0, u, u, told, self._playing, self._speed, arrays, picture))


def _total(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of each name over the parts that have it."""
    found: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found[name] + value if name in found else value
    return found


class _Source:
    """What of a lab the stage needs, of a run of the command line."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    @property
    def line(self) -> Any:
        """Where it is."""
        return SimpleNamespace(env=self._agent.env, u=self._agent.engine.update)

    @property
    def engine(self) -> Any:
        """The run's engine."""
        return self._agent.engine

    @property
    def horizon(self) -> int:
        """In updates."""
        return max(self._agent.horizon, 1)

    def carry(self) -> PyTree:
        """The whole state."""
        return self._agent.engine.carry

    def learner(self, u: int) -> Any:
        """Of the past nothing is kept here."""
        raise FathomError(_REFUSED)


async def serve(record: str, show: bool) -> None:
    """The server of a run of the command line, until its messages end and nobody looks any more."""
    from fathom.hub import server
    from fathom.hub.recording import Recorder
    from fathom.hub.session import House, Session, read_packets

    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=messages.MESSAGE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(0), "rb"))
    session = Session()
    session.writer = _Writer(os.dup(1))  # pyright: ignore[reportAttributeAccessIssue]
    os.dup2(2, 1)
    session.recorder = Recorder(record) if record else None
    house = House()
    house.shown = session
    house.sessions[session.id] = session
    made = server.Server(house)
    print(f"watch it at {made.url}", file=sys.stderr, flush=True)
    if show:
        server.browse(made.url)

    async def hear() -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, FathomError):
            await read_packets(reader, session)
        session.over = True
        session.tell(
            messages.Event, kind="milestone", branch=0, u=0, text="the run is over", data={"name": "over"},
            code=None,
        )  # fmt: skip
        while session.clients:
            await asyncio.sleep(0.2)
        made.stop()

    hearing = asyncio.create_task(hear())
    await made.serve()
    hearing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hearing


class _Writer:
    """Requests on their way to the run; small, and rare."""

    def __init__(self, file: int) -> None:
        self._file = file

    def write(self, data: bytes) -> None:
        """Send one."""
        with contextlib.suppress(OSError):
            os.write(self._file, data)

    async def drain(self) -> None:
        """Nothing waits."""


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(sys.argv[1], sys.argv[2] == "show"))
