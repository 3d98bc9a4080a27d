"""The live page: how soon, how smoothly, how faithfully, and what it costs the training.

    python benchmarks/hub.py                    # all, about 15 minutes; the browser's parts need playwright
    python benchmarks/hub.py --only memory --minutes 60         # an hour's stream
    python benchmarks/hub.py --only server      # of server, browser, memory, watch, size

A server of its own, trainers and all, on this machine; a websocket client, and Debian's Chromium under
Playwright, look at it. Raw figures go to `benchmarks/results/hub-<date>.json`. Run it on a quiet machine.
"""

import argparse
import contextlib
import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from speed import machine

from fathom.hub import messages

HERE = Path(__file__).resolve().parent
STATIC = HERE.parent / "src" / "fathom" / "hub" / "static"
GRID = {"algo": "q_learning", "env": "Grid5x5-v0", "seeds": 10}
PACE = 2000.0  # steps of each seed a second
FILLING = 5.0  # minutes until snapshots have filled their room

# figure -> what is aimed at, and whether less is better
AIMS = {
    "page to first frame, s": (2.0, True),
    "frames painted a second": (50.0, False),
    "paint, p95, ms": (8.0, True),
    "slider to frame, p50, ms": (50.0, True),
    "slider to frame, p99, ms": (150.0, True),
    "compilations by sliders": (0.0, True),
    "fork, p95, ms": (100.0, True),
    "seek, p95, ms": (300.0, True),
    "growth of the trainer, MiB": (32.0, True),
    "growth of the server, MiB": (32.0, True),
    "growth of the page's heap, MiB": (16.0, True),
    "initial JavaScript, KB gzipped": (120.0, True),
    "slowed by being watched, %": (5.0, True),
}


class Server:
    """`fathom hub` in a process of its own; what its trainers compile is written to a file."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fathom", "hub", "--no-browser"],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | {"JAX_LOG_COMPILES": "1"},
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.token = self.url.partition("token=")[2]

    def compilations(self) -> int:
        """How many programs its trainers have compiled so far."""
        return self.log.read_text(errors="replace").count("Finished XLA compilation")

    def trainers(self) -> list[int]:
        """The processes that train."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(stat.parent.name))
        return found

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def resident(pid: int) -> float:
    """Memory of a process, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Client:
    """A page without a browser."""

    def __init__(self, server: Server) -> None:
        from websockets.sync.client import connect

        address = server.url.replace("http://", "ws://").replace("/?", "/ws?")
        self._stack = contextlib.ExitStack()
        self.socket = self._stack.enter_context(connect(address, max_size=None, compression=None))
        self.frames: list[tuple[float, int]] = []  # when, and the update it shows
        self.replies: dict[int, Any] = {}
        self.bytes = 0
        self._news = threading.Condition()
        self._id = 0
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask(messages.Hello, v=messages.VERSION, token=server.token)

    def ask(self, kind: type, **fields: Any) -> Any:
        """Send a request and wait for its answer."""
        self._id += 1
        number = self._id
        self.socket.send(messages.encode(kind(id=number, **fields)))
        with self._news:
            assert self._news.wait_for(lambda: number in self.replies, 600), kind
        reply = self.replies.pop(number)
        assert getattr(reply, "ok", True), reply.error
        return reply

    def close(self) -> None:
        """Break the connection."""
        self._stack.close()

    def frame_after(self, u: int) -> float:
        """When the first frame came that shows more than u updates."""
        with self._news:
            assert self._news.wait_for(lambda: self.frames and self.frames[-1][1] > u, 60)
            return next(when for when, shown in self.frames if shown > u)

    def _listen(self) -> None:
        for data in self.socket:
            message = messages.decode(data, messages.MESSAGES, messages.MESSAGE_BYTES)
            now = time.perf_counter()
            with self._news:
                self.bytes += len(data)
                if isinstance(message, messages.Frame):
                    self.frames.append((now, message.u))
                elif isinstance(message, messages.Reply):
                    self.replies[message.id] = message
                self._news.notify_all()


def memory_figures(server: Server, minutes: float) -> dict[str, Any]:
    """What grows while a run is streamed; snapshots of the past fill their room in the first minutes."""
    with streaming(server) as page:

        def sample() -> list[float]:
            heap = "(globalThis.gc && gc(), performance.memory.usedJSHeapSize / 2**20)"
            trainer = max(server.trainers(), key=resident)
            return [resident(server.process.pid), resident(trainer), page.evaluate(heap)]

        began, at, samples = time.monotonic(), [0.0], [sample()]
        while at[-1] < minutes:
            time.sleep(min(15.0, 6 * minutes))
            samples.append(sample())
            at.append((time.monotonic() - began) / 60)
    first = next(i for i, minute in enumerate(at) if minute >= min(FILLING, minutes / 2))
    found: dict[str, Any] = {"minutes of streaming": at[-1], "minutes before growth is looked at": at[first]}
    for k, name in enumerate(("server", "trainer", "page's heap")):
        found[f"growth of the {name}, MiB"] = samples[-1][k] - samples[first][k]
        found[f"growth of the {name} before, MiB"] = samples[first][k] - samples[0][k]
    return found


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def server_figures(server: Server, updates: int) -> dict[str, float]:
    """What a websocket sees: pace, sliders, forks, seeking."""
    found: dict[str, float] = {}
    page = Client(server)
    page.ask(messages.Open, **GRID)
    page.ask(messages.Sub, channels=["values", "visits", "td", "agent", "series"])
    page.ask(messages.Speed, steps_per_s=PACE)
    page.ask(messages.Play)
    time.sleep(3)
    page.frames.clear()
    sent, began = page.bytes, time.perf_counter()
    time.sleep(15)
    seconds = time.perf_counter() - began
    found["frames a second, at the socket"] = len(page.frames) / seconds
    found["steps of each seed a second"] = (page.frames[-1][1] - page.frames[0][1]) / seconds
    found["KB a second"] = (page.bytes - sent) / seconds / 1e3

    page.ask(messages.Set, patch={"epsilon": 0.15})
    time.sleep(1)
    compiled, waits = server.compilations(), []
    for k in range(200):
        time.sleep(random.uniform(0.0, 0.05))
        page.frames.clear()
        began = time.perf_counter()
        reply = page.ask(messages.Set, patch={"epsilon": 0.05 + 0.001 * k})
        waits.append(1e3 * (page.frame_after(reply.data["u"]) - began))
    found["slider to frame, p50, ms"] = statistics.median(waits)
    found["slider to frame, p99, ms"] = quantile(waits, 0.99)
    found["compilations by sliders"] = server.compilations() - compiled

    page.ask(messages.Pause)
    page.ask(messages.Open, **GRID)
    page.ask(messages.Unsub, channels=list(messages.CHANNELS))
    began = time.perf_counter()
    page.ask(messages.Speed)
    page.ask(messages.Play)
    page.ask(messages.Sub, channels=["agent"], hz=1.0)
    while not page.frames or page.frames[-1][1] < updates:
        time.sleep(0.2)
    found["updates a second, as fast as it goes"] = page.frames[-1][1] / (time.perf_counter() - began)
    tip = page.ask(messages.Pause).data["u"]
    found["updates of the long run"] = tip
    seeks = []
    for u in random.Random(0).choices(range(tip), k=100):
        began = time.perf_counter()
        page.ask(messages.Seek, u=u)
        seeks.append(1e3 * (time.perf_counter() - began))
    found["seek, p50, ms"] = statistics.median(seeks)
    found["seek, p95, ms"] = quantile(seeks, 0.95)
    found["seek, worst, ms"] = max(seeks)
    page.ask(messages.Seek, u=tip)
    forks = []
    for _ in range(30):
        began = time.perf_counter()
        page.ask(messages.Fork, branch=0)
        forks.append(1e3 * (time.perf_counter() - began))
    found["fork, p50, ms"] = statistics.median(forks)
    found["fork, p95, ms"] = quantile(forks, 0.95)
    page.close()
    return found


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """The machine's Chromium."""
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    flags = ["--no-sandbox", "--enable-precise-memory-info", "--js-flags=--expose-gc"]
    with sync_playwright() as running:
        made = running.chromium.launch(executable_path=path, args=flags)
        yield made
        made.close()


@contextlib.contextmanager
def streaming(server: Server, found: dict[str, float] | None = None) -> Iterator[Any]:
    """The tabular lab in a browser, at full pace; `found` is told how soon its first frame came."""
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        began = time.perf_counter()
        page.goto(server.url + "#/tabular")
        # The page's policy lets no script of ours wait in it.
        while not page.evaluate("globalThis.fathomMeter ? fathomMeter.frames : 0"):
            time.sleep(0.005)
        if found is not None:
            found["page to first frame, s"] = time.perf_counter() - began
        page.locator(".speed input").fill("89")  # of 100 stops: 2,100 steps a second
        if "Play" in page.get_by_test_id("play").inner_text():
            page.get_by_test_id("play").click()
        time.sleep(5)
        yield page


def browser_figures(server: Server) -> dict[str, float]:
    """What a user sees: the first frame, and painting."""
    found: dict[str, float] = {}
    with streaming(server, found) as page:
        page.evaluate("fathomMeter.paintMs.length = 0")
        time.sleep(10)
        paints = page.evaluate("fathomMeter.paintMs")
        found["frames painted a second"] = len(paints) / 10
        found["paint, p50, ms"] = statistics.median(paints)
        found["paint, p95, ms"] = quantile(paints, 0.95)
    return found


class Stopwatch:
    """A listener that notes when each chunk of a run was over."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, float]] = []

    def phase(self, name: str, detail: str = "") -> None:
        """Nothing is noted."""

    def chunk(self, report: Any) -> None:
        """Note it."""
        self.marks.append((report.update, time.perf_counter()))

    def seconds(self) -> float:
        """Of a thousand updates, once a fifth of the run is over: the server has started, all is compiled."""
        last, end = self.marks[-1]
        first, began = next(mark for mark in self.marks if mark[0] >= last / 5)
        return 1e3 * (end - began) / (last - first)


def watch_figures() -> dict[str, float]:
    """What being watched at 10 Hz costs a run: the same updates without and with a server, by turns."""
    from fathom.agent import Agent
    from fathom.hub.watching import Watching

    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(8):
        watched = turn % 2 == 1
        agent = Agent("ppo", "CartPole-v1", seeds=4)
        watching, stopwatch = Watching(agent, show=False) if watched else None, Stopwatch()
        listeners = [watching, stopwatch] if watching else [stopwatch]
        agent.learn(300_000, listeners=listeners, chunk_seconds=0.1)
        seconds[watched].append(stopwatch.seconds())
        if watching:
            watching.close()
        agent.close()
    alone, seen = statistics.median(seconds[False]), statistics.median(seconds[True])
    return {
        "seconds of 1,000 updates alone": alone,
        "seconds of 1,000 updates watched": seen,
        "slowed by being watched, %": 100 * (seen / alone - 1),
    }


def size_figures() -> dict[str, float]:
    """What a browser has to load before anything is seen."""
    script = sum(len(gzip.compress(path.read_bytes(), 9)) for path in [STATIC / "app.js"])
    style = len(gzip.compress((STATIC / "app.css").read_bytes(), 9))
    return {"initial JavaScript, KB gzipped": script / 1e3, "style, KB gzipped": style / 1e3}


def main() -> None:
    """Measure, keep the figures, and show them beside what is aimed at."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("browser", "server", "memory", "watch", "size")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    parser.add_argument("--minutes", type=float, default=10.0, help="of streaming while memory is looked at")
    parser.add_argument("--updates", type=int, default=1_000_000, help="of the run that is rewound")
    given = parser.parse_args()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        if {"server", "browser", "memory"} & set(given.only):
            server = Server(Path(folder) / "log")
            time.sleep(20)  # the trainer that waits for a page gets warm
            try:
                if "browser" in given.only:
                    found |= browser_figures(server)
                if "server" in given.only:
                    found |= server_figures(server, given.updates)
                if "memory" in given.only:
                    found |= memory_figures(server, given.minutes)
            finally:
                server.close()
        if "watch" in given.only:
            found |= watch_figures()
        if "size" in given.only:
            found |= size_figures()
    told = {
        "format": 1,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": machine(),
        "load": os.getloadavg()[0],
        "figures": found,
        "aims": {name: aim for name, aim in AIMS.items() if name in found},
    }
    out = HERE / "results" / f"hub-{datetime.now():%Y-%m-%d-%H%M}.json"
    out.write_text(json.dumps(told, indent=2) + "\n")
    for name, value in found.items():
        aim = AIMS.get(name)
        mark = ""
        if aim is not None:
            met = value <= aim[0] if aim[1] else value >= aim[0]
            mark = f"{'≤' if aim[1] else '≥'} {aim[0]:g}  {'met' if met else 'MISSED'}"
        print(f"{name:<42} {value:>10.2f}  {mark}")
    print(out)


if __name__ == "__main__":
    main()
