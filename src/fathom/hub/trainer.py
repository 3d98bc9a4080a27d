"""The trainer: a process of its own that holds a `Lab`, does what the page asks, and tells how it looks.

`python -m fathom.hub.trainer` reads requests from its standard input and writes messages to its standard
output; it ends when its input does, so that it never outlives the server.
"""

import contextlib
import os
import queue
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from fathom.core.errors import FathomError
from fathom.hub import code, files, messages
from fathom.hub.coach import Coach
from fathom.hub.lab import Lab, Line, Look, Sums
from fathom.hub.messages import Branch, Code, Exact, Frame, Tensor, World
from fathom.hub.probes import Scatter, knows_ratios, knows_returns
from fathom.hub.recipe import Recipe
from fathom.hub.stage import Stage
from fathom.hub.wire import Outbox, read_exactly
from fathom.runs.folder import RunFolder
from fathom.train.engine import NonFinite

TICK = 1 / 60  # seconds between two looks at what is to be done
SERIES = 0.1  # seconds between two lines of a series
BRANCHES = 64

DEFAULT = Recipe("q_learning", "Grid5x5-v0")  # what the page begins with

_CHUNK = 0.012  # seconds of training in a tick as fast as it goes: requests wait no longer
_DEBT = 2.0  # ticks of training that may be made up for
_NOTE = 1.0  # seconds between two notes of where the run is

_ABLE = (
    *("open", "sub", "unsub", "play", "pause", "step", "speed"),
    *("set", "surgery", "fork", "focus", "seek", "share", "ping"),
)

_SPEED = 60.0  # steps a second of a tabular lab: slow enough to see each

_LENGTH = struct.Struct("<I")


class Trainer:
    """Follows requests one by one, and trains in between."""

    def __init__(self, outbox: Outbox) -> None:
        self.out = outbox
        self.lab: Lab | None = None
        self.stage: Stage | None = None
        self.playing = False
        self.speed: float | None = _SPEED  # environment steps of each seed a second; None: as fast as it goes
        self._tabular = True  # the kind of lab that this speed was meant for
        self.channels: set[str] = set()
        self.hz = messages.HZ
        self._ready: dict[str, Lab] = {}
        self._sums: dict[int, tuple[int, int, Sums, Sums]] = {}  # first and last update, of each branch
        self._aside = ThreadPoolExecutor(1, "fathom-hub-training")
        self._chunk: Future | None = None  # training of the deep lab that is under way
        self._sent = self._flushed = self._noted = 0.0
        self._due = 0.0  # environment steps owed
        self._last = time.monotonic()
        self._pace = 1.0  # updates that fit into a chunk
        self._rate = _Rate()
        self._dirty = False
        self._begun: set[int] = set()  # branches of which an episode is over
        self._worlds: dict[int, tuple[Exact | None, World | None]] = {}  # as last told of each branch
        self._plain = True  # whether states are cells
        self._coaches: dict[int, Coach] = {}
        self._handlers: dict[type, Callable[[Any], tuple[dict[str, Any], Code | None] | None]] = {
            messages.Open: self._open,
            messages.Sub: self._sub,
            messages.Unsub: self._unsub,
            messages.Play: self._play,
            messages.Pause: self._pause,
            messages.Step: self._step,
            messages.Speed: self._speed,
            messages.Set: self._set,
            messages.Surgery: self._surgery,
            messages.Fork: self._fork,
            messages.Focus: self._focus,
            messages.Seek: self._seek,
            messages.Inspect: self._inspect,
            messages.Drive: self._drive,
            messages.Exhibit: self._exhibit,
            messages.Ratios: self._ratios,
            messages.Returns: self._returns,
            messages.Share: self._share,
            messages.Leave: self._leave,
            messages.Ping: lambda ask: ({"t": ask.t}, None),
        }

    def warm(self, recipe: Recipe) -> None:
        """Make and compile a run ahead of the page that will ask for it."""
        lab = Lab(recipe)
        lab.look()
        lab.exact()
        self._ready[_key(recipe)] = lab

    def follow(self, asks: list[Any]) -> None:
        """Do what these requests ask, in order; a change that the next one makes again is left out."""
        for i, ask in enumerate(asks):
            later = asks[i + 1] if i + 1 < len(asks) else None
            if _again(ask, later):
                data = {"superseded": True}
                self.out.numbered(messages.Reply, id=ask.id, ok=True, error="", data=data, code=None)
            else:
                self._answer(ask)

    def tick(self, now: float) -> None:
        """Train what is due, and tell how it looks."""
        lab = self.lab
        if lab is None:
            self._last = now
            return
        if self._chunk is not None and self._chunk.done():
            self._settle()
        if self.playing and self._chunk is None:
            self._train(lab, now)
        self._last = now
        if self.stage is not None and "view" in self.channels and self.stage.tick(now):
            self._dirty = True
        if self._dirty and now - self._sent >= 0.9 / self.hz:
            self._show(lab, now)
        if now - self._flushed >= SERIES:
            self._flush(now)
        if self.playing and now - self._noted >= _NOTE:
            self._noted = now
            self.out.note(lab.link(), lab.line.u)

    def idle(self, now: float) -> float:
        """Seconds until there is something to do."""
        if self.lab is None:
            return 1.0
        staged = self.stage is not None and "view" in self.channels
        if not (self.playing or staged or self._sums or self._dirty):
            return 1.0
        if self.playing and self.speed is None and self.stage is None:
            return 0.0
        return max(0.0, self._last + TICK - now)

    def close(self) -> None:
        """Release what runs hold."""
        self._settle()
        self._aside.shutdown()
        for lab in [*self._ready.values(), *([self.lab] if self.lab else [])]:
            lab.close()
        if self.stage is not None:
            self.stage.close()

    def _answer(self, ask: Any) -> None:
        said = {"id": ask.id, "ok": True, "error": "", "data": {}, "code": None}
        try:
            if not isinstance(ask, _AT_ONCE):
                self._settle()
            done = self._handlers[type(ask)](ask)
            if done is None:
                return
            said["data"], said["code"] = done
        except FathomError as error:
            said |= {"ok": False, "error": str(error)}
            if isinstance(error, NonFinite):
                self.halt(str(error))
        except Exception as error:
            traceback.print_exc()
            said |= {"ok": False, "error": f"this did not work, by a mistake of Fathom's: {error!r}"}
        self.out.numbered(messages.Reply, **said)
        self._dirty = True

    def _require(self) -> Lab:
        if self.lab is None:
            raise FathomError("there is no run yet; open one.")
        return self.lab

    def _open(self, ask: messages.Open) -> tuple[dict[str, Any], Code | None]:
        began = time.monotonic()
        if ask.share is not None:
            lab = Lab.of_link(ask.share)
        elif ask.file is not None:
            lab = Lab.of_run(ask.file)
        else:
            recipe = Recipe(ask.algo, ask.env, ask.map, ask.config, ask.seeds, ask.seed, ask.horizon)
            lab = self._ready.pop(_key(recipe), None) or Lab(recipe)
            lab.recipe = recipe
        self._close_lab()
        self.lab, self.playing, self._sums = lab, False, {}
        world = lab.world()
        self._begun, self._worlds, self._coaches = set(), {0: (lab.exact(), world)}, {}
        self._plain = world is None or world.plain
        self._pace, self._due, self._rate = 1.0, 0.0, _Rate()
        if lab.tabular != self._tabular:
            # An update of the deep lab is thousands of steps: at a pace for the eye none would come.
            self._tabular, self.speed = lab.tabular, _SPEED if lab.tabular else None
        self.stage = None if lab.tabular else Stage(lab)
        opened = code.opened(lab.recipe) if ask.file is None else code.taken_up(ask.file)
        self._tell_run(lab, opened)
        if ask.file is not None:
            self._tell_past(lab, Path(ask.file))
        self.out.note(lab.link(), lab.line.u)
        self._warn(lab)
        seconds = round(time.monotonic() - began, 3)
        return {"seconds": seconds, "compile_seconds": lab.engine.compile_seconds, "u": lab.line.u}, opened

    def _leave(self, ask: messages.Leave) -> tuple[dict[str, Any], None]:
        self._close_lab()
        self.lab = self.stage = None
        self.playing, self._sums, self._dirty = False, {}, False
        self.channels, self.hz = set(), messages.HZ
        self.speed, self._tabular = _SPEED, True
        return {}, None

    def _close_lab(self) -> None:
        if self.stage is not None:
            self.stage.close()
        if self.lab is not None:
            self.lab.close()

    def _tell_run(self, lab: Lab, opened: Code) -> None:
        line, recipe = lab.line, lab.recipe
        self.out.numbered(
            messages.Run,
            kind="tabular" if lab.tabular else "deep",
            algo=lab.algo,
            env=recipe.env,
            title=f"{lab.algo.replace('_', '-')} on {recipe.env or 'a world of your own'}",
            settings=lab.settings(line),
            world=lab.world(),
            stage=self.stage.describe() if self.stage else None,
            exact=lab.exact(),
            seeds=recipe.seeds,
            seed=recipe.seed,
            horizon=lab.horizon,
            steps_per_update=lab.engine.plan.steps,
            channels=self._channels(lab),
            can=self._able(lab),
            branches=self._branches(lab),
            focus=lab.focus,
            playing=self.playing,
            speed=self.speed,
            code=opened,
        )
        for entry in line.log:
            if entry.op == "set":
                self._event("set", line, entry.u, _told(entry.what), {"patch": entry.what})
            else:
                args = {name: value for name, value in entry.what.items() if name != "op"}
                op = entry.what["op"]
                self._event("surgery", line, entry.u, f"{op} {_told(args)}", {"op": op, "args": args})

    def _tell_past(self, lab: Lab, path: Path) -> None:
        """What a run folder's metrics say of the updates before its checkpoint."""
        u = 0
        for line in files.merged(RunFolder.open(path), lab.line.u):
            end, sums, counts = line["update"], line["sums"], line["counts"]
            if end > u:
                self._coach(lab, lab.line, u, end, sums, counts)
                self._series(0, u, end, sums, counts)
            u = end

    def _channels(self, lab: Lab) -> list[str]:
        if not lab.tabular:
            return ["view", "series"]
        found = ["values", "visits", "td", "agent", "series"]
        return [*found, "traces"] if "trace" in lab.look().arrays else found

    def _able(self, lab: Lab) -> list[str]:
        if lab.tabular:
            return [*_ABLE, "inspect"]
        algorithm, spec = lab.engine.algorithm, lab.engine.spec
        seen = {"ratios": knows_ratios(algorithm), "returns": knows_returns(algorithm, spec)}
        return [*_ABLE, "drive", "exhibit", *(name for name in seen if seen[name] and lab.native)]

    def _branches(self, lab: Lab) -> list[Branch]:
        return [Branch(n.id, n.parent, n.at, n.u, n.tip, n.label) for n in lab.lines.values()]

    def _sub(self, ask: messages.Sub) -> tuple[dict[str, Any], None]:
        for name in ask.channels:
            if name not in messages.CHANNELS:
                raise FathomError(f"there is no channel {name!r}; there is {', '.join(messages.CHANNELS)}.")
        if not 0 < ask.hz <= messages.HZ:
            raise FathomError(
                f"hz is {ask.hz:g}; frames come above 0 and up to {messages.HZ:g} times a second."
            )
        self.channels |= set(ask.channels)
        self.hz = ask.hz
        self._dirty = True
        return {"channels": sorted(self.channels)}, None

    def _unsub(self, ask: messages.Unsub) -> tuple[dict[str, Any], None]:
        self.channels -= set(ask.channels)
        return {"channels": sorted(self.channels)}, None

    def _play(self, ask: messages.Play) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        self.playing, self._due, self._last = True, 0.0, time.monotonic()
        self._rate = _Rate()
        self._tell_state(lab)
        return {}, Code(code.shared(lab.link()), "while True: lab.advance(100)")

    def _pause(self, ask: messages.Pause) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        self._stop(lab)
        return {"u": lab.line.u}, Code(code.shared(lab.link()), "# advance returns when its updates are made")

    def _stop(self, lab: Lab) -> None:
        if self.playing:
            self.playing = False
            self._tell_state(lab)
        self._flush(time.monotonic())
        self.out.note(lab.link(), lab.line.u)

    def _step(self, ask: messages.Step) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        if not 1 <= ask.n <= 1_000_000:
            raise FathomError(f"n is {ask.n}; make 1 to 1,000,000 steps.")
        if self.playing:
            self._stop(lab)
        for branch in list(lab.focus):
            line = lab.lines[branch]
            if ask.unit == "episode":
                for _ in range(ask.n):
                    u = line.u
                    sums, counts, _ = lab.episode(branch)
                    self._note_series(line, u, sums, counts)
            else:
                n = -(-ask.n // lab.engine.plan.steps) if ask.unit == "env" else ask.n
                u = line.u
                self._note_series(line, u, *lab.advance(n, branch))
        self._flush(time.monotonic())
        line = lab.line
        return {"u": line.u}, code.stepped(ask.n, ask.unit, lab.link(), line.id)

    def _speed(self, ask: messages.Speed) -> tuple[dict[str, Any], None]:
        if ask.steps_per_s is not None and not 0 < ask.steps_per_s <= 1e9:
            raise FathomError(f"steps_per_s is {ask.steps_per_s:g}; it is above 0, or null.")
        self.speed, self._due = ask.steps_per_s, 0.0
        self._rate = _Rate()
        if self.lab is not None:
            self._tell_state(self.lab)
        return {}, None

    def _set(self, ask: messages.Set) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        before = lab.of(ask.branch)
        self._room(lab, before)
        line = lab.set(ask.patch, ask.branch)
        data, text = {"patch": ask.patch}, _told(ask.patch)
        return self._after(
            lab, before, line, "set", data, text, lambda link: code.changed(ask.patch, link, line.id)
        )

    def _surgery(self, ask: messages.Surgery) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        before = lab.of(ask.branch)
        self._room(lab, before)
        line = lab.surgery(ask.op, ask.branch, **ask.args)
        data = {"op": ask.op, "args": ask.args}
        text = f"{ask.op.replace('_', ' ')} {_told(ask.args)}".strip()
        return self._after(lab, before, line, "surgery", data, text, lambda link: (
            code.operated(ask.op, ask.args, link, line.id)
        ))  # fmt: skip

    def _after(
        self,
        lab: Lab,
        before: Line,
        line: Line,
        kind: Any,
        data: dict[str, Any],
        text: str,
        coded: Callable[[str], Code],
    ) -> tuple[dict[str, Any], Code]:
        """Tell of a change: the branch it began, the point of return, itself, and what is exact now."""
        self._flush(time.monotonic())
        if line is not before:
            branch = Branch(line.id, line.parent, line.at, line.u, line.tip, line.label)
            self._event("fork", line, line.u, f"branch {line.id} leaves branch {before.id}", vars(branch))
            self._tell_state(lab)
        told = coded(lab.link(line.id))
        self._event("snapshot", line, line.u, "a point to return to")
        self._event(kind, line, line.u, text, data, told)
        self._tell_exact(lab, line)
        if self.stage is not None:
            self.stage.follow()
        self._dirty = True
        self._show(lab, time.monotonic())
        return {"branch": line.id, "u": line.u}, told

    def _tell_exact(self, lab: Lab, line: Line) -> None:
        if lab.tabular:
            exact, world = lab.exact(line.id), lab.world(line.id)
            known = self._worlds.get(line.id)
            # Mostly the very same objects: a slider that is dragged changes neither.
            if known is not None and known[0] is exact and known[1] is world:
                return
            if known is None or _worded(*known) != _worded(exact, world):
                data = {"exact": messages.plain(exact), "world": messages.plain(world)}
                self._event("exact", line, line.u, "the world or the discount changed", data)
            self._worlds[line.id] = (exact, world)

    def _fork(self, ask: messages.Fork) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        parent = lab.of(ask.branch)
        self._room(lab, None)
        self._flush(time.monotonic())
        line = lab.fork(ask.at, ask.patch, ask.label, ask.branch, ask.before)
        told = code.forked(line.at, ask.patch, lab.link(line.id), parent.id)
        branch = Branch(line.id, line.parent, line.at, line.u, line.tip, line.label)
        text = f"branch {line.id} leaves branch {parent.id}" + (f": {_told(ask.patch)}" if ask.patch else "")
        self._event("fork", line, line.u, text, vars(branch), told)
        if ask.patch:
            self._event("set", line, line.u, _told(ask.patch), {"patch": ask.patch})
        self._tell_exact(lab, line)
        self._tell_state(lab)
        self._show(lab, time.monotonic())
        return {"branch": line.id, "at": line.at}, told

    def _room(self, lab: Lab, line: Line | None) -> None:
        if (line is None or not line.at_tip) and len(lab.lines) >= BRANCHES:
            raise FathomError(
                f"there are {BRANCHES} branches, which is all that are kept; open the run anew."
            )

    def _focus(self, ask: messages.Focus) -> tuple[dict[str, Any], None]:
        lab = self._require()
        if not 1 <= len(ask.branches) <= 4 or len(set(ask.branches)) < len(ask.branches):
            raise FathomError("focus takes 1 to 4 different branches.")
        for branch in ask.branches:
            lab.of(branch)
        self._flush(time.monotonic())
        lab.focus = list(ask.branches)
        self._tell_state(lab)
        for branch in ask.branches:
            self._tell_exact(lab, lab.lines[branch])
        return {"focus": lab.focus}, None

    def _seek(self, ask: messages.Seek) -> tuple[dict[str, Any], Code | None]:
        lab = self._require()
        line = lab.of(ask.branch)
        self._flush(time.monotonic())
        came = line.u
        lab.seek(ask.u, ask.branch, ask.before)
        told = code.sought(ask.u, lab.link(line.id), line.id)
        self._event(
            "seek", line, line.u, f"from update {came:,} to {line.u:,}", {"from": came, "to": line.u}, told
        )
        self._tell_exact(lab, line)
        if self.stage is not None:
            self.stage.follow()
        self._show(lab, time.monotonic())
        return {"u": line.u, "hash": lab.look(line.id).hash}, told

    def _inspect(self, ask: messages.Inspect) -> None:
        from fathom.hub.equations import RULES

        lab = self._require()
        line = lab.of(ask.branch)
        found = lab.inspect(ask.state, ask.action, ask.seed, ask.u, ask.branch)
        rule = RULES[lab.algo]
        self.out.numbered(
            messages.Inspection,
            id=ask.id,
            branch=line.id,
            u=found.u,
            seed=ask.seed,
            state=ask.state,
            action=found.action,
            equation=rule.latex,
            plain=rule.plain,
            backups=found.backups,
            values=Tensor.of(found.values),
            exact=None if found.exact is None else Tensor.of(found.exact),
            outcomes=found.outcomes,
            source=found.source,
            code=code.inspected(ask.state, found.action, ask.seed, found.u, lab.link(line.id), line.id),
        )

    def _ratios(self, ask: messages.Ratios) -> tuple[dict[str, Any], Code]:
        lab = self._require()
        return self._probed(lab, "ratios", lab.ratios(ask.seed, ask.branch), ask)

    def _returns(self, ask: messages.Returns) -> tuple[dict[str, Any], Code]:
        lab = self._require()
        return self._probed(lab, "returns", lab.returns(ask.seed, ask.branch), ask)

    def _probed(self, lab: Lab, what: str, found: Scatter, ask: Any) -> tuple[dict[str, Any], Code]:
        line = lab.of(ask.branch)
        told = code.probed(what, ask.seed, lab.link(line.id), line.id)
        x, y = Tensor.of(found.x), Tensor.of(found.y)
        return {"u": found.u, "x": x, "y": y, "facts": found.facts}, told

    def _drive(self, ask: messages.Drive) -> tuple[dict[str, Any], None]:
        self._on_stage().drive(ask.action, ask.push, ask.reset)
        return {}, None

    def _exhibit(self, ask: messages.Exhibit) -> tuple[dict[str, Any], None]:
        return {"at": self._on_stage().exhibit(ask.at)}, None

    def _on_stage(self) -> Stage:
        self._require()
        if self.stage is None:
            raise FathomError("the tabular lab has no stage: its agents are those that learn.")
        return self.stage

    def _share(self, ask: messages.Share) -> tuple[dict[str, Any], Code]:
        lab = self._require()
        link = lab.link()
        return {"link": f"#share={link}", "u": lab.line.u}, Code(
            code.shared(link), f"lab = Lab.of_link({link!r})"
        )

    def _train(self, lab: Lab, now: float) -> None:
        steps = lab.engine.plan.steps
        if self.speed is None:
            n = max(1, int(self._pace))
        else:
            self._due = min(
                self._due + (now - self._last) * self.speed, _DEBT * TICK * self.speed + 2 * steps
            )
            n = min(int(self._due / steps), max(1, int(2.5 * self._pace)))
            if n == 0:
                return
            self._due -= n * steps
        if self.stage is None:
            self._learnt(lab, n, *_advance(lab, n))
            return
        # One chunk may take a second: beside it the stage goes on, with the policy of before.
        self.stage.take()
        self._chunk = self._aside.submit(_advance, lab, n)

    def _settle(self) -> None:
        """Wait for the training that is under way, and take up what it gave."""
        if self._chunk is not None:
            chunk, self._chunk = self._chunk, None
            made = chunk.result()
            assert self.lab is not None
            self._learnt(self.lab, sum(m.n for m in made[0][:1]), *made)
            if self.stage is not None:
                self.stage.take()

    def _learnt(self, lab: Lab, n: int, made: list["_Made"], seconds: float, error: str) -> None:
        """Take up what a chunk gave."""
        for one in made:
            self._note_series(one.line, one.u, one.sums, one.counts)
            if one.applied:
                self._tell_exact(lab, one.line)
        if error:
            self.halt(error)
            return
        steps = lab.engine.plan.steps
        began = time.monotonic() - seconds
        # A chunk may grow, but not at a bound: what was slow once may have been compiling.
        self._pace = min(max(n * _CHUNK / seconds, self._pace / 2, 1.0), self._pace * 2 + 1)
        self._rate.add(n * steps, began)
        self._dirty = True

    def halt(self, text: str) -> None:
        """Pause, and say why."""
        lab = self.lab
        if lab is not None:
            self._stop(lab)
            self._event("error", lab.line, lab.line.u, text, {"fatal": False})

    def _note_series(self, line: Line, u: int, sums: Sums, counts: Sums) -> None:
        if line.id in self._sums:
            first, _, old_sums, old_counts = self._sums[line.id]
            for name in sums:
                old_sums[name] = old_sums[name] + sums[name]
                old_counts[name] = old_counts[name] + counts[name]
            self._sums[line.id] = (first, line.u, old_sums, old_counts)
        else:
            self._sums[line.id] = (u, line.u, sums, counts)
        best = counts.get("episode_return")
        if best is not None and best[0] > 0 and line.id not in self._begun:
            self._begun.add(line.id)
            self._event(
                "milestone", line, line.u, "the first episode of seed 0 is over", {"name": "first_episode"}
            )

    def _flush(self, now: float) -> None:
        self._flushed = now
        for branch, (u, end, sums, counts) in self._sums.items():
            assert self.lab is not None
            if end <= u:
                continue
            if not self.lab.tabular:
                self._coach(self.lab, self.lab.lines[branch], u, end, sums, counts)
            if "series" not in self.channels:
                continue
            if self.lab.tabular:
                start = np.asarray(self.lab.look(branch).arrays["v_start"], np.float64)
                sums, counts = sums | {"v_start": start}, counts | {"v_start": np.ones_like(start)}
            self._series(branch, u, end, sums, counts)
        self._sums = {}

    def _series(self, branch: int, u: int, end: int, sums: Sums, counts: Sums) -> None:
        self.out.numbered(
            messages.Series,
            branch=branch,
            u0=u,
            du=end - u,
            sums={name: Tensor.of(value) for name, value in sums.items()},
            counts={name: Tensor.of(value) for name, value in counts.items()},
        )

    def _coach(self, lab: Lab, line: Line, u: int, end: int, sums: Sums, counts: Sums) -> None:
        if line.id not in self._coaches:
            self._coaches[line.id] = Coach.of(lab.engine, lab.horizon)
        for found in self._coaches[line.id].note(u, end, sums, counts, vars(line.algorithm)):
            self._event("finding", line, end, found.text, vars(found))

    def _show(self, lab: Lab, now: float) -> None:
        """A frame of every branch in focus."""
        wanted = self.channels - {"series"}
        self._dirty, self._sent = False, now
        if not wanted:
            return
        for branch in lab.focus:
            line, look = lab.lines[branch], lab.look(branch, hashed=lab.tabular or not self.playing)
            arrays, picture = self._arrays(lab, look), None
            if self.stage is not None and "view" in self.channels and branch == lab.focus[0]:
                arrays, picture = self.stage.frame()
            self.out.latest(
                Frame(
                    branch, line.u, line.tip, look.hash, self.playing, self._rate.value(now), arrays, picture
                )
            )

    def _arrays(self, lab: Lab, look: Look) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, (channel, kind) in SHOWN.items():
            if channel in self.channels and name in look.arrays:
                found[name] = Tensor.of(look.arrays[name], kind)
        if "agent" in found and not self._plain:
            found["shown"] = Tensor.of(lab.shown(look.arrays["agent"]), "i4")
        return found

    def _tell_state(self, lab: Lab) -> None:
        data = {
            "playing": self.playing,
            "speed": self.speed,
            "focus": lab.focus,
            "branches": [messages.plain(branch) for branch in self._branches(lab)],
        }
        self._event("state", lab.line, lab.line.u, "playing" if self.playing else "paused", data)
        self._dirty = True

    def _warn(self, lab: Lab) -> None:
        for text in lab.warnings:
            self._event("error", lab.line, lab.line.u, text, {"fatal": False})
        lab.warnings.clear()

    def _event(
        self,
        kind: Any,
        line: Line,
        u: int,
        text: str,
        data: dict[str, Any] | None = None,
        told: Code | None = None,
    ) -> None:
        self.out.numbered(
            messages.Event, kind=kind, branch=line.id, u=u, text=text, data=data or {}, code=told
        )


SHOWN: dict[str, tuple[str, Any]] = {
    "q": ("values", "f4"),
    "v": ("values", "f4"),
    "visits": ("visits", "u4"),
    "td": ("td", "f4"),
    "trace": ("traces", "f4"),
    "agent": ("agent", "i4"),
    "ret": ("agent", "f4"),
    "episode": ("agent", "i4"),
}


class _Made(NamedTuple):
    """What a chunk of training gave one branch."""

    line: Line
    u: int
    n: int
    applied: bool  # whether changes of the log were made again on the way
    sums: Sums
    counts: Sums


def _advance(lab: Lab, n: int) -> tuple[list[_Made], float, str]:
    """Make n updates of each branch in focus: what they gave, seconds, and what went wrong or ""."""
    made, error, began = [], "", time.monotonic()
    for branch in list(lab.focus):
        line = lab.lines[branch]
        u, was = line.u, line.applied
        try:
            sums, counts = lab.advance(n, branch)
        except FathomError as wrong:
            error = str(wrong)
            break
        made.append(_Made(line, u, n, line.applied != was, sums, counts))
    return made, max(time.monotonic() - began, 1e-6), error


# Requests that need not wait for the training that is under way.
_AT_ONCE = (messages.Sub, messages.Unsub, messages.Drive, messages.Ping)


class _Rate:
    """Steps a second over the last second or so."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def add(self, steps: int, now: float) -> None:
        self._marks.append((now, steps))
        while len(self._marks) > 1 and now - self._marks[0][0] > 1.0:
            self._marks.pop(0)

    def value(self, now: float) -> float:
        if len(self._marks) < 2 or now - self._marks[-1][0] > 1.0:
            return 0.0
        return sum(n for _, n in self._marks[1:]) / max(self._marks[-1][0] - self._marks[0][0], 1e-9)


def _worded(exact: Exact | None, world: World | None) -> str:
    """What of a world has been told, to compare."""
    return f"{exact.v.b if exact else b''!r}{world}"


def _again(ask: Any, later: Any) -> bool:
    """Whether a change is made again by the request that follows."""
    both = isinstance(ask, messages.Set) and isinstance(later, messages.Set)
    return both and ask.branch == later.branch and set(ask.patch) <= set(later.patch)


def _told(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} = {v:g}" if isinstance(v, float) else f"{k} = {v}" for k, v in values.items())


def _key(recipe: Recipe) -> str:
    return repr(recipe)


def read_requests(stream: BinaryIO, asked: queue.SimpleQueue[Any]) -> None:
    """Put the requests of a stream into a queue, and None where it ends."""
    with contextlib.suppress(OSError, ValueError):
        while len(head := read_exactly(stream, _LENGTH.size)) == _LENGTH.size:
            (length,) = _LENGTH.unpack(head)
            data = read_exactly(stream, length)
            if len(data) < length:
                break
            try:
                asked.put(messages.decode(data))
            except messages.BadMessage:
                traceback.print_exc()
    asked.put(None)


def serve(stream_in: BinaryIO, stream_out: BinaryIO, first: int = 1, warm: bool = False) -> None:
    """Follow the requests of a stream until it ends."""
    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()
    reading = (stream_in, asked)
    threading.Thread(target=read_requests, args=reading, name="fathom-hub-requests", daemon=True).start()
    trainer = Trainer(Outbox(stream_out, first))
    if warm:
        with contextlib.suppress(FathomError):
            trainer.warm(DEFAULT)
    try:
        while not trainer.out.broken:
            waited = trainer.idle(time.monotonic())
            batch: list[Any] = []
            with contextlib.suppress(queue.Empty):
                batch.append(asked.get(timeout=waited) if waited > 0 else asked.get_nowait())
                while batch[-1] is not None:
                    batch.append(asked.get_nowait())
            if None in batch:
                return
            trainer.follow(batch)
            try:
                trainer.tick(time.monotonic())
            except Exception as error:
                traceback.print_exc()
                trainer.halt(f"training stopped, by a mistake of Fathom's: {error!r}")
    finally:
        trainer.out.close()
        trainer.close()


def request(data: bytes) -> bytes:
    """A request as it goes into the trainer's input."""
    return _LENGTH.pack(len(data)) + data


def main() -> None:
    """The process: messages own the standard output, all else that is printed goes to standard error."""
    # Ctrl-C in a terminal reaches all processes: the server's end is what ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    first = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    # Not `sys.stdin`: its lock would be held by the reading thread when the interpreter ends.
    with os.fdopen(os.dup(1), "wb", buffering=0) as out, os.fdopen(os.dup(0), "rb", buffering=0) as asked:
        os.dup2(2, 1)
        serve(asked, out, first, "--warm" in sys.argv)


__all__ = ["DEFAULT", "Trainer", "main", "request", "serve"]

if __name__ == "__main__":
    main()
