"""A run with its whole past, to be gone on with, changed, forked and rewound: what the live page drives.

>>> lab = Lab(Recipe("q_learning", "Grid5x5-v0"))
>>> line = lab.advance(500)
>>> lab.set({"epsilon": 0.05})
>>> twin = lab.fork(at=250)
"""

import copy
import dataclasses
import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fathom.algos.base import ActionValues, Algorithm
from fathom.core.errors import FathomError
from fathom.core.keys import named, numbered
from fathom.core.module import lift
from fathom.core.types import Clock
from fathom.data import replay as replays
from fathom.envs.base import Env
from fathom.envs.finite import FiniteEnv, mdp_of
from fathom.envs.grid.board import Board
from fathom.envs.grid.values import cell_states
from fathom.envs.grid.world import GridWorld
from fathom.envs.host import unpack
from fathom.envs.wrappers import TimeLimit
from fathom.hub import probes, settings
from fathom.hub.equations import RULES, backup, source_of
from fathom.hub.history import Intervention, Ladder, Snapshot
from fathom.hub.messages import Backup, Exact, Setting, Source, Tensor, World, digest
from fathom.hub.probes import Scatter
from fathom.hub.recipe import Recipe, finite, from_link, from_run, to_link, with_settings
from fathom.hub.watched import KEPT, Watched, tables_of
from fathom.mdp import value_iteration
from fathom.nn.table import QTable, VTable
from fathom.runs.folder import Loaded, RunFolder
from fathom.train import loop, runtime
from fathom.train.engine import Engine, NativeEngine, NonFinite, make_engine, over_seeds

SHOWN_BACKUPS = 20
LOOKED_BACK = 16 * KEPT  # updates of which the backups of a value are looked for

BETWEEN = 0.1  # seconds of training of which snapshots need not be closer

LINKED = 10_000_000  # updates that opening a link may compute

_EPISODE_AT_MOST = 10_000  # updates in which an episode should end
_LEGEND = {
    "S": "start",
    ".": "free",
    "#": "wall",
    "G": "goal",
    "C": "cliff",
    "H": "hole",
}

Sums = dict[str, np.ndarray]


@dataclass
class Line:
    """A branch: one way that the run went on."""

    id: int
    parent: int | None
    at: int
    label: str
    algorithm: Algorithm  # as configured: Python's numbers
    env: Any
    ladder: Ladder
    u: int = 0
    tip: int = 0  # the last update known
    log: list[Intervention] = field(default_factory=list)
    applied: int = 0  # of the log
    carry: PyTree = None  # None while the engine has it
    host: dict | None = None
    kept: float = -BETWEEN  # when the last snapshot was due
    lifted: Any = None  # the algorithm and environment as the program takes them

    @property
    def at_tip(self) -> bool:
        """Whether nothing is known of what follows."""
        return self.u == self.tip and self.applied == len(self.log)


@dataclass(frozen=True)
class Look:
    """How a branch looks at one moment."""

    u: int
    arrays: Sums
    hash: str


@dataclass(frozen=True)
class Inspected:
    """What is known of one value of one seed."""

    u: int
    action: int
    backups: list[Backup]
    values: np.ndarray  # [action], now
    exact: np.ndarray | None
    outcomes: list[list[float]]
    source: Source


class Lab:
    """A run and its branches. One program, compiled once, serves them all."""

    def __init__(self, recipe: Recipe) -> None:
        """Make and compile it; FathomError for what does not fit together."""
        runtime.configure()
        self.recipe = recipe
        algorithm, env, self.tabular = recipe.make()
        self.algo = recipe.algo.lower().replace("-", "_")
        self.engine: Engine = make_engine(
            self._within(algorithm), env, recipe.seeds, recipe.seed, replay="device"
        )
        self.native = isinstance(self.engine, NativeEngine)
        self.horizon = recipe.updates(self.engine.plan.steps, self.tabular)
        self.engine.start()
        self.engine.compile(self.horizon)
        self._inside: Line | None = None
        first = self._snapshot(0, 0, self.engine.carry, algorithm, env)
        line = Line(0, None, 0, "", algorithm, env, Ladder.of(first))
        line.carry, line.host = self.engine.carry, first.host
        self.lines: dict[int, Line] = {0: line}
        self.focus: list[int] = [0]
        self._next = 1
        self._exact: tuple[FiniteEnv, float, Exact | None] | None = None  # as last asked for
        self._world: tuple[FiniteEnv, World] | None = None
        self.warnings: list[str] = []

    @staticmethod
    def of_link(text: str) -> "Lab":
        """The run of a share link, at the update that it shows."""
        recipe, log, u = from_link(text)
        if u > LINKED:
            raise FathomError(
                f"the link shows update {u:,}; to get there all is computed again, up to {LINKED:,} updates."
            )
        lab = Lab(recipe)
        line = lab.lines[0]
        lab._require_playable(line, log)
        line.log = log
        line.tip = max([u, *(entry.u for entry in log)])
        lab.seek(u)
        return lab

    @staticmethod
    def of_run(path: str | Path) -> "Lab":
        """The run of a folder as its newest checkpoint has it, to be gone on with and forked here.

        The folder is only read, and no code that it names is run: FathomError for a run of an environment or
        an algorithm that is not registered, for one of a table, and for one whose horizon was changed.
        """
        folder = RunFolder.open(path)
        recipe, log = from_run(folder)
        lab = Lab(recipe)
        if lab.tabular:
            lab.close()
            raise FathomError(
                f"{path} is the run of a table, which the lab begins anew: open {recipe.algo} on "
                f"{recipe.env}."
            )
        lab._take_up(folder.load_checkpoint(lab.engine.shape()), log)
        return lab

    def _take_up(self, loaded: Loaded, log: list[Intervention]) -> None:
        """Put a checkpoint in the place of the beginning."""
        line, host = self.lines[0], loaded.meta.get("host")
        line.log = [entry for entry in log if entry.u <= loaded.update]
        self._require_playable(line, line.log)
        for entry in line.log:
            own = {name: float(value) for name, value in entry.what.items()}
            line.algorithm = dataclasses.replace(line.algorithm, **own)  # pyright: ignore[reportArgumentType]
        line.host = unpack(host["arrays"], host["text"]) if host else None
        line.u = line.tip = line.at = loaded.update
        line.applied, line.lifted = len(line.log), None
        first = self._snapshot(
            line.u, line.applied, loaded.tree, line.algorithm, line.env, line.host, pinned=True
        )
        line.carry, line.ladder = loaded.tree, Ladder.of(first)

    @property
    def line(self) -> Line:
        """The branch that is meant where none is named."""
        return self.lines[self.focus[0]]

    def of(self, branch: int | None) -> Line:
        """The branch of that number; FathomError where there is none."""
        if branch is None:
            return self.line
        if branch not in self.lines:
            raise FathomError(f"there is no branch {branch}; there are {', '.join(map(str, self.lines))}.")
        return self.lines[branch]

    def advance(self, n: int, branch: int | None = None) -> tuple[Sums, Sums]:
        """Make n updates, by the log where these were made before; sums and counts of the metrics, [seed]."""
        return self._advance(self.of(branch), n, keep=True)

    def episode(self, branch: int | None = None) -> tuple[Sums, Sums, int]:
        """Go on until seed 0 has finished an episode; the updates made are returned too."""
        line, made = self.of(branch), 0
        sums: Sums = {}
        counts: Sums = {}
        while made < _EPISODE_AT_MOST:
            more = self.advance(1, line.id)
            made += 1
            _add(sums, more[0])
            _add(counts, more[1])
            if more[1]["episode_return"][0] > 0:
                return sums, counts, made
        raise FathomError(f"no episode of seed 0 ended within {_EPISODE_AT_MOST:,} updates; step by updates.")

    def set(self, patch: dict[str, float], branch: int | None = None) -> Line:
        """Change live settings: `learning_rate`, or `env.slip` of the environment.

        The branch that was changed: a new one where later updates were known. FathomError for names that
        are not live and for values out of range; then nothing has changed.
        """
        line = self.of(branch)
        if not patch:
            raise FathomError("set needs at least one setting.")
        settings.require_known(self.settings(line), patch, live=True)
        numbers = {name: float(value) for name, value in settings.spread(patch).items()}
        return self._intervene(line, Intervention(line.u, "set", numbers))

    def surgery(self, op: str, branch: int | None = None, **args: Any) -> Line:
        """Change the state by hand: see `messages.Surgery`. The branch that was changed."""
        line = self.of(branch)
        return self._intervene(line, Intervention(line.u, "surgery", {"op": op, **args}))

    def fork(
        self,
        at: int | None = None,
        patch: dict[str, float] | None = None,
        label: str = "",
        branch: int | None = None,
        before: bool = False,
    ) -> Line:
        """A new branch that leaves at an update, by default the present one; both are in focus then.

        `before` leaves out what was changed at that very update.
        """
        parent = self.of(branch)
        u = parent.u if at is None else at
        known = parent.applied if at is None else _made(parent.log, u, before)
        self._require_within(parent, u)
        child = Line(
            self._next, parent.id, u, label, parent.algorithm, parent.env, parent.ladder.until(u, known)
        )
        child.log, child.tip = parent.log[:known], u
        if at is None and parent.at_tip:
            self._leave()
            child.u, child.applied, child.lifted = u, known, parent.lifted
            child.carry, child.host = copied(parent.carry), copy.deepcopy(parent.host)
        else:
            self._go(child, u, known)
        if patch:
            settings.require_known(self.settings(child), patch, live=True)
            numbers = {name: float(value) for name, value in settings.spread(patch).items()}
            child = self._intervene(child, Intervention(u, "set", numbers))
        self._next += 1
        self.lines[child.id] = child
        self.focus = [parent.id, child.id]
        return child

    def seek(self, u: int, branch: int | None = None, before: bool = False) -> Line:
        """Go to an update that is known: the nearest snapshot, and what follows computed again."""
        line = self.of(branch)
        self._require_within(line, u)
        self._go(line, u, _made(line.log, u, before))
        return line

    def settings(self, line: Line) -> list[Setting]:
        """All settings as they are now."""
        env = line.env if isinstance(line.env, Env) else None
        return settings.settings_of(line.algorithm, env, self.tabular)

    def link(self, branch: int | None = None) -> str:
        """The text of a link that shows this branch where it is."""
        line = self.of(branch)
        return to_link(self.recipe, line.log[: line.applied], line.u)

    def look(self, branch: int | None = None, hashed: bool = True) -> Look:
        """What is shown of a branch, [seed, …]; nothing is changed. Large networks need not be hashed."""
        line = self.of(branch)
        carry = self._carry(line)
        if not self.tabular:
            leaves = (
                [np.asarray(x) for x in jax.tree.leaves(carry.seeds.learner) if _plain(x)] if hashed else []
            )
            return Look(line.u, {}, digest(*leaves) if hashed else "")
        if line.lifted is None:
            line.lifted = lift((self._within(line.algorithm), line.env))
        found = jax.device_get(glance(*line.lifted, carry, self.engine.batched))
        arrays = {k: np.asarray(v) if self.engine.batched else np.asarray(v)[None] for k, v in found.items()}
        values = arrays["q"] if "q" in arrays else arrays["v"]
        told = digest(values, arrays["visits"], arrays["agent"], arrays["ret"])
        return Look(line.u, arrays, told)

    def shown(self, agents: np.ndarray) -> np.ndarray:
        """The state that each cell stands for, all else being as the agents see it, [seed, cell]."""
        board = finite(self.line.env)
        assert isinstance(board, Board)
        return np.stack([cell_states(board, int(state)) for state in agents])

    def world(self, branch: int | None = None) -> World | None:
        """The cells of a finite environment; None in the deep lab."""
        env = finite(self.of(branch).env) if self.tabular else None
        if env is None:
            return None
        if self._world is None or self._world[0] is not env:
            self._world = (env, world_of(env))
        return self._world[1]

    def exact(self, branch: int | None = None) -> Exact | None:
        """The values of the best policy, by dynamic programming; None where they are not finite."""
        line = self.of(branch)
        env = finite(line.env) if self.tabular else None
        if env is None:
            return None
        gamma = float(line.algorithm.gamma)  # pyright: ignore[reportAttributeAccessIssue]
        known = self._exact
        if known is None or known[0] is not env or known[1] != gamma:
            known = self._exact = (env, gamma, solve(env, gamma))
        return known[2]

    def inspect(
        self,
        state: int,
        action: int | None = None,
        seed: int = 0,
        u: int | None = None,
        branch: int | None = None,
    ) -> Inspected:
        """The last backups of a value, as their rule reads with their numbers.

        They are found in the learner's record, and where it reaches back too short a way, by going through
        the past again; the branch stays where it is.
        """
        line = self.of(branch)
        if not self.tabular:
            raise FathomError("backups are shown of learners with a table; this one has none.")
        env = finite(line.env)
        assert env is not None
        if not 0 <= state < env.num_states or not (action is None or 0 <= action < env.num_actions):
            raise FathomError(
                f"state {state}, action {action}: states are 0 to {env.num_states - 1}, actions 0 to "
                f"{env.num_actions - 1}."
            )
        self._require_seed(seed)
        at = line.u if u is None else u
        self._require_within(line, at)
        ghost = line
        if at != line.u:
            ghost = self._ghost(line)
            self._go(ghost, at, _made(line.log, at, False), keep=False)
        tracked = self._tracked(ghost, seed)
        steps = self._steps_until(ghost.u, tracked)
        if action is None:
            here = [step for _, step in steps if int(step["state"]) == state]
            values = _row(tracked.inner, state)
            action = int(here[-1]["action"]) if here else int(values.argmax()) if values.size > 1 else 0
        valued = isinstance(tables_of(tracked.inner)[0], VTable)
        wanted = self._of_value(steps, state, action, valued)
        if len(wanted) < SHOWN_BACKUPS and at > KEPT:
            wanted = self._of_value(self._steps_again(line, at, seed), state, action, valued)
        exact = self.exact(line.id)
        rule = RULES[self.algo]
        return Inspected(
            u=at,
            action=action,
            backups=[backup(rule, when, step) for when, step in wanted[-SHOWN_BACKUPS:]],
            values=_row(tracked.inner, state),
            exact=exact.q.array()[state] if exact else None,
            outcomes=_outcomes_of(env, state, action),
            source=source_of(self.algo),
        )

    def learner(self, u: int, branch: int | None = None) -> PyTree:
        """The learner's state at a past update; the branch stays where it is."""
        line = self.of(branch)
        self._require_within(line, u)
        ghost = self._ghost(line)
        self._go(ghost, u, _made(line.log, u, False), keep=False)
        learner = copied(self._carry(ghost).seeds.learner)
        self._leave()
        return learner

    def ratios(self, seed: int = 0, branch: int | None = None) -> Scatter:
        """Probability ratios against advantages of the update that comes next, made ahead on a copy.

        FathomError for algorithms without a ratio to clip, and where the environment is the host's.
        """
        line = self.of(branch)
        self._require_probed(probes.knows_ratios(self.engine.algorithm), "probability ratios")
        self._require_seed(seed)
        ghost = self._ghost(line)
        ghost.carry = copied(self._carry(line))
        before, clock = copied((self._one(ghost.carry.seeds, seed), self._clock(line)))
        self._advance(ghost, 1, keep=False)
        # What was set at this very update is in force in it, and so in the copy.
        algorithm, env = lift((ghost.algorithm, ghost.env))
        after = copied(self._one(self._carry(ghost).seeds.learner, seed))
        self._leave()
        return probes.ratios(algorithm, env, self.engine.plan, before, after, clock)

    def returns(self, seed: int = 0, branch: int | None = None) -> Scatter:
        """What actions are taken to be worth against what they bring, in episodes beside the training.

        FathomError for algorithms without action values, and where the environment is the host's.
        """
        line = self.of(branch)
        known = probes.knows_returns(self.engine.algorithm, self.engine.spec)
        self._require_probed(known, "action values in the units of the rewards")
        self._require_seed(seed)
        carry = self._carry(line)
        learner, root = self._one((carry.seeds.learner, carry.seeds.key), seed)
        key = numbered(named(root, "probe"), jnp.int32(line.u))
        algorithm, env = lift((line.algorithm, line.env))
        return probes.returns(algorithm, env, self.engine.spec, learner, key, self._clock(line))

    def carry(self, branch: int | None = None) -> PyTree:
        """The whole state of a branch, to be read only, and before it goes on."""
        return self._carry(self.of(branch))

    def close(self) -> None:
        """Release what the engine holds."""
        self.engine.close()

    def _one(self, tree: PyTree, seed: int) -> PyTree:
        return jax.tree.map(lambda x: x[seed], tree) if self.engine.batched else tree

    def _clock(self, line: Line) -> Clock:
        shared = self._carry(line).shared
        return loop.clock_of(shared, jnp.asarray(self.horizon, jnp.int32), self.engine.plan)

    def _require_probed(self, known: bool, what: str) -> None:
        if self.tabular or not known:
            raise FathomError(f"{self.algo} has no {what} to show.")
        if not self.native:
            raise FathomError(
                f"{what} are shown of native environments; this one is Gymnasium's, and cannot be gone "
                "through twice."
            )

    def _require_seed(self, seed: int) -> None:
        if not 0 <= seed < self.recipe.seeds:
            raise FathomError(f"seed is {seed}; this run has 0 to {self.recipe.seeds - 1}.")

    def _within(self, algorithm: Any) -> Any:
        return Watched(inner=algorithm) if self.tabular else algorithm

    def _carry(self, line: Line) -> PyTree:
        return self.engine.carry if self._inside is line else line.carry

    def _enter(self, line: Line) -> None:
        """Give the branch's state to the engine."""
        if self._inside is line:
            return
        self._leave()
        if line.lifted is None:
            line.lifted = lift((self._within(line.algorithm), line.env)) if self.native else (
                lift(line.algorithm), None
            )  # fmt: skip
        self.engine.algorithm = line.lifted[0]
        if self.native:
            self.engine.env = line.lifted[1]  # pyright: ignore[reportAttributeAccessIssue]
        self.engine.carry, line.carry = line.carry, None
        warning = None if self.native else self.engine.restore(line.host)
        if warning and warning not in self.warnings:
            self.warnings.append(warning)
        self._inside = line

    def _leave(self) -> None:
        line = self._inside
        if line is not None:
            line.carry, line.host = self.engine.carry, self.engine.snapshot()
            self._inside = None

    def _advance(self, line: Line, n: int, keep: bool) -> tuple[Sums, Sums]:
        sums: Sums = {}
        counts: Sums = {}
        end = line.u + n
        if end > 2**31 - 2:
            raise FathomError("updates are counted in 31 bits, and this run has come to the last.")
        self._catch_up(line)
        while line.u < end:
            ahead = line.log[line.applied].u if line.applied < len(line.log) else end
            m = min(end, ahead) - line.u
            self._enter(line)
            try:
                metrics = self.engine.advance(m, self.horizon)
            except NonFinite:
                self._inside, self.engine.broken = None, ""
                self._take(line, line.ladder.before(line.u, line.applied))
                raise
            line.u += m
            line.tip = max(line.tip, line.u)
            _add(sums, {k: np.asarray(v.sum, np.float64) for k, v in metrics.items()})
            _add(counts, {k: np.asarray(v.count, np.float64) for k, v in metrics.items()})
            if keep and self._due(line):
                self._keep(line)
            self._catch_up(line)
        return sums, counts

    def _due(self, line: Line) -> bool:
        """Whether a snapshot is; what lies behind the last one is quickly made again, save on the host."""
        now = time.monotonic()
        if self.native and now - line.kept < BETWEEN:
            return False
        line.kept = now
        return True

    def _keep(self, line: Line, pinned: bool = False) -> None:
        host = None
        if not self.native:
            host = self.engine.snapshot() if self._inside is line else line.host
        line.ladder.most = line.ladder.room // len(self.lines) + 4
        line.ladder.add(
            self._snapshot(line.u, line.applied, self._carry(line), line.algorithm, line.env, host, pinned)
        )

    def _snapshot(
        self,
        u: int,
        applied: int,
        carry: PyTree,
        algorithm: Any,
        env: Any,
        host: Any = None,
        pinned: bool = False,
    ) -> Snapshot:
        if not self.native and host is None:
            host = self.engine.snapshot()
        return Snapshot(u, applied, copied(carry), algorithm, env, host, pinned)

    def _catch_up(self, line: Line) -> None:
        """Make the interventions of the log that are due."""
        while line.applied < len(line.log) and line.log[line.applied].u <= line.u:
            self._apply(line, line.log[line.applied])
            line.applied += 1

    def _intervene(self, line: Line, entry: Intervention) -> Line:
        if not line.at_tip:
            child = self._fork_here(line)
            self.focus = [child.id if b == line.id else b for b in self.focus]
            line = child
        self._keep(line, pinned=True)
        self._apply(line, entry)
        line.log.append(entry)
        line.applied += 1
        return line

    def _fork_here(self, line: Line) -> Line:
        """A branch that leaves where this one is, also between two changes at one update."""
        self._leave()
        child = Line(
            self._next, line.id, line.u, "", line.algorithm, line.env, line.ladder.until(line.u, line.applied)
        )
        child.u, child.tip = line.u, line.u
        child.log, child.applied = line.log[: line.applied], line.applied
        child.carry, child.host = copied(line.carry), copy.deepcopy(line.host)
        self._next += 1
        self.lines[child.id] = child
        return child

    def _apply(self, line: Line, entry: Intervention) -> None:
        """Make one change; FathomError, with nothing changed, where it cannot be made."""
        algorithm, env = line.algorithm, line.env
        if entry.op == "set":
            own = {k: float(v) for k, v in entry.what.items() if not k.startswith(settings.ENV)}
            others = {k.removeprefix(settings.ENV): float(v) for k, v in entry.what.items() if k not in own}
            algorithm = dataclasses.replace(algorithm, **own)  # pyright: ignore[reportArgumentType]
            algorithm.check(self.engine.spec)
            env = with_settings(env, others)
            self._change(line, algorithm, env, None)
            return
        args = {k: v for k, v in entry.what.items() if k != "op"}
        op = _SURGERY.get(str(entry.what.get("op")))
        if op is None:
            raise FathomError(
                f"there is no surgery {entry.what.get('op')!r}; there is {', '.join(_SURGERY)}."
            )
        env, carry = op(self, line, args)
        self._change(line, algorithm, env, carry)

    def _change(self, line: Line, algorithm: Any, env: Any, carry: PyTree) -> None:
        self._leave()
        line.algorithm, line.env, line.lifted = algorithm, env, None
        if carry is not None:
            # Whole arrays of its own: the next update takes the old ones for its results.
            line.carry = copied(carry)

    def _go(self, line: Line, u: int, applied: int, keep: bool = True) -> None:
        """Bring a branch to a point of its past, or of what is known to follow."""
        ahead = line.carry is not None or self._inside is line
        near = line.ladder.before(u, applied)
        if not (ahead and near.u <= line.u <= u and line.applied <= applied):
            self._take(line, near)
        while line.applied < applied or line.u < u:
            if line.applied < applied and line.log[line.applied].u <= line.u:
                self._apply(line, line.log[line.applied])
                line.applied += 1
                continue
            stop = min(u, line.log[line.applied].u) if line.applied < applied else u
            log, line.log = line.log, line.log[:applied]
            self._advance(line, stop - line.u, keep)
            line.log = log

    def _take(self, line: Line, snapshot: Snapshot) -> None:
        if self._inside is line:
            self._inside = None
        line.carry, line.host = copied(snapshot.carry), snapshot.host
        line.algorithm, line.env, line.lifted = snapshot.algorithm, snapshot.env, None
        line.u, line.applied = snapshot.u, snapshot.applied

    def _ghost(self, line: Line) -> Line:
        """A copy of a branch to look around in its past."""
        return dataclasses.replace(line, id=-1, carry=None, host=None, lifted=None)

    def _tracked(self, line: Line, seed: int) -> PyTree:
        learner = self._carry(line).seeds.learner
        return jax.tree.map(lambda x: np.asarray(x[seed] if self.engine.batched else x), learner)

    def _steps_until(self, u: int, tracked: Any) -> list[tuple[int, dict[str, Any]]]:
        """The steps in a learner's record, oldest first, each with its update."""
        within = self._within(self.line.algorithm)
        layout = within.layout(tracked.inner)
        first = max(0, u - KEPT)
        return [(i, layout.read(tracked.steps[i % KEPT])) for i in range(first, u)]

    def _steps_again(self, line: Line, u: int, seed: int) -> list[tuple[int, dict[str, Any]]]:
        ghost = self._ghost(line)
        start = max(0, u - LOOKED_BACK)
        self._go(ghost, start, _made(line.log, start, True), keep=False)
        found: list[tuple[int, dict[str, Any]]] = []
        while ghost.u < u:
            before = ghost.u
            self._advance(ghost, min(KEPT, u - ghost.u), keep=False)
            steps = self._steps_until(ghost.u, self._tracked(ghost, seed))
            found += [step for step in steps if step[0] >= before]
        self._leave()
        return found

    @staticmethod
    def _of_value(
        steps: list[tuple[int, dict[str, Any]]], state: int, action: int, valued: bool
    ) -> list[tuple[int, dict[str, Any]]]:
        return [
            (u, step)
            for u, step in steps
            if int(step["state"]) == state and (valued or int(step["action"]) == action)
        ]

    def _require_within(self, line: Line, u: int) -> None:
        first = line.ladder.kept[0].u
        if not first <= u <= line.tip:
            raise FathomError(f"update {u:,} is not known; this branch goes from {first:,} to {line.tip:,}.")

    def _require_playable(self, line: Line, log: list[Intervention]) -> None:
        for entry in log:
            if entry.op == "set":
                live = {f for s in self.settings(line) if s.live for f in (s.fields or [s.name])}
                wrong = [n for n, v in entry.what.items() if n not in live or not isinstance(v, int | float)]
                if wrong:
                    raise FathomError(f"the link sets {', '.join(wrong)}, which cannot change in a run.")
            elif entry.what.get("op") not in _SURGERY:
                raise FathomError(f"the link asks for a surgery {entry.what.get('op')!r} that there is not.")


def _made(log: list[Intervention], u: int, before: bool) -> int:
    """How many interventions were made once update u is reached, those at u itself included or not."""
    return sum(entry.u < u or (entry.u == u and not before) for entry in log)


def _add(total: Sums, more: Sums) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _plain(leaf: Any) -> bool:
    return not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@jax.jit
def copied(tree: PyTree) -> PyTree:
    """The same arrays in memory of their own: an update takes that of the old carry for its results."""
    return jax.tree.map(jnp.copy, tree)


@functools.partial(jax.jit, static_argnames=("batched",))
def glance(algorithm: Any, env: Any, carry: PyTree, batched: bool) -> dict[str, Any]:
    """All that is shown of a learner with a table, [seed, …]; more of it where it is `Watched`."""
    world = finite(env)
    assert world is not None
    start = world.start()

    watched = isinstance(algorithm, Watched)

    def one(seed: Any) -> dict[str, Any]:
        table = tables_of(seed.learner)[0]
        obs = jax.vmap(world.observe)(jnp.arange(table.values.shape[0], dtype=jnp.int32))
        if watched:
            found = algorithm.values(seed.learner, obs)
        elif isinstance(algorithm, ActionValues):
            found = algorithm.action_values(seed.learner, obs)
        else:
            found = algorithm.state_values(seed.learner, obs)[:, None]
        shown = {"q": found} if isinstance(table, QTable) else {"v": found[:, 0]}
        state, stack = seed.env.env, env
        while isinstance(stack, TimeLimit):
            state, stack = state.env, stack.env
        trace = getattr(seed.memory, "trace", None)
        if trace is not None:
            shown["trace"] = trace[0].reshape(table.values.shape)
        if watched:
            shown |= {"visits": seed.learner.visits, "td": seed.learner.errors}
            shown["episode"] = seed.learner.episodes
        return shown | {
            "agent": state[0],
            "ret": seed.episode_return[0],
            "v_start": (start * found.max(axis=-1)).sum() / start.sum(),
        }

    return jax.vmap(one)(carry.seeds) if batched else one(carry.seeds)


def world_of(env: FiniteEnv) -> World:
    """The cells of a finite environment, those of a chain in a row."""
    start = [float(x) for x in np.asarray(env.start(), np.float64)]
    if isinstance(env, Board):
        rows, cols = env.shape
        plan = env.plan(0)
        letters = [letter or "." for row in plan.letters for letter in row]
        plain = env.num_states == rows * cols
        if isinstance(env, GridWorld):
            starts = np.asarray(env.starts).reshape(-1) > 0
            letters = [
                "S" if begins and letter == "." else letter
                for begins, letter in zip(starts, letters, strict=True)
            ]
        return World(
            rows, cols, letters, isinstance(env, GridWorld), _LEGEND, plan.walls.reshape(-1).tolist(),
            plan.acts.reshape(-1).tolist(), list(env.arrows), _action_names(env), env.num_states, plain,
            start,
        )  # fmt: skip
    states = env.num_states
    letters = ["S" if p > 0 else "." for p in start]
    names = _action_names(env)
    return World(
        1, states, letters, False, {"S": "start", ".": "state"}, [False] * states, [True] * states,
        names, names, states, True, start,
    )  # fmt: skip


def _action_names(env: FiniteEnv) -> list[str]:
    if isinstance(env, GridWorld):
        return list(env.moves)
    if isinstance(env, Board):
        return list(env.arrows)
    return [str(a) for a in range(env.num_actions)]


def solve(env: FiniteEnv, gamma: float) -> Exact | None:
    """The values of the best policy; None where they are not finite."""
    try:
        mdp = mdp_of(env)
        solution = value_iteration(mdp, gamma)
    except FathomError:
        return None  # without a discount the values of a world without end are not finite
    start = float(mdp.start @ solution.values)
    return Exact(Tensor.of(solution.values), Tensor.of(solution.q), start, gamma)


def _outcomes_of(env: FiniteEnv, state: int, action: int) -> list[list[float]]:
    found = jax.device_get(_listed(lift(env), jnp.int32(state), jnp.int32(action)))
    prob, reward = np.asarray(found.prob), np.asarray(found.reward)
    rows = zip(prob, reward, found.next_state, found.terminated, strict=True)
    return [[float(p), float(r), float(s), float(t)] for p, r, s, t in rows if p > 0]


@jax.jit
def _listed(env: FiniteEnv, state: Any, action: Any) -> Any:
    return env.outcomes(state, action)


def _row(inner: Any, state: int) -> np.ndarray:
    """The values of a state: of its actions, or one; the mean over tables where there are two."""
    return np.mean([np.atleast_1d(table.values[state]) for table in tables_of(inner)], axis=0)


def _whole(args: dict[str, Any], name: str, below: int) -> int:
    value = args.get(name)
    if type(value) is not int or not 0 <= value < below:
        raise FathomError(f"{name} is {value!r}; it is a whole number from 0 to {below - 1}.")
    return value


def _require_only(args: dict[str, Any], *names: str) -> None:
    for name in args:
        if name not in names:
            raise FathomError(f"this surgery has no {name!r}; it takes {', '.join(names) or 'nothing'}.")


def _seeds_of(lab: Lab, args: dict[str, Any]) -> Any:
    """The index of the seeds that are meant into leaves that have an axis of seeds."""
    if args.get("seed") is None:
        return slice(None) if lab.engine.batched else ()
    return (_whole(args, "seed", lab.recipe.seeds),) if lab.engine.batched else ()


def _index(where: Any, *rest: Any) -> tuple:
    return (*(where if isinstance(where, tuple) else (where,)), *rest)


def _set_value(lab: Lab, line: Line, args: dict[str, Any]) -> tuple[Any, PyTree]:
    _require_only(args, "state", "action", "value", "seed")
    env = _finite_or_error(line, lab)
    state, value = _whole(args, "state", env.num_states), args.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise FathomError(f"value is {value!r}; it is a number.")
    where, carry = _seeds_of(lab, args), lab._carry(line)
    action = _whole(args, "action", env.num_actions) if args.get("action") is not None else slice(None)

    def edit(leaf: Any) -> Any:
        if isinstance(leaf, QTable):
            at = _index(where, state, action)
        elif isinstance(leaf, VTable):
            at = _index(where, state)
        else:
            return leaf
        return eqx.tree_at(lambda t: t.values, leaf, leaf.values.at[at].set(value))

    learner = jax.tree.map(edit, carry.seeds.learner, is_leaf=lambda x: isinstance(x, QTable | VTable))
    return line.env, eqx.tree_at(lambda c: c.seeds.learner, carry, learner)


def _finite_or_error(line: Line, lab: Lab) -> FiniteEnv:
    env = finite(line.env) if lab.tabular else None
    if env is None:
        raise FathomError("this surgery is one of the tabular lab.")
    return env


def _paint(lab: Lab, line: Line, args: dict[str, Any]) -> tuple[Any, PyTree]:
    _require_only(args, "row", "col", "letter")
    world = _finite_or_error(line, lab)
    if not isinstance(world, GridWorld):
        raise FathomError(f"{lab.recipe.env} has no cells to paint.")
    rows, cols = world.shape
    row, col = _whole(args, "row", rows), _whole(args, "col", cols)
    painted = world.paint(row, col, str(args.get("letter")))
    env = _with_inner(line.env, painted)
    agents = np.atleast_1d(_agents(lab, line))
    if args.get("letter") == "#" and (agents == row * cols + col).any():
        # A learner walled in would never get out: those who stand there begin again at the start.
        start = int(np.argmax(np.asarray(painted.starts)))
        carry = lab._carry(line)
        for seed in np.flatnonzero(agents == row * cols + col):
            carry = _moved(lab, carry, painted, int(seed), start)
        return env, carry
    return env, None


def _with_inner(env: Any, inner: Any) -> Any:
    if isinstance(env, TimeLimit):
        return dataclasses.replace(env, env=_with_inner(env.env, inner))
    return inner


def _agents(lab: Lab, line: Line) -> np.ndarray:
    state, env = lab._carry(line).seeds.env.env, line.env
    while isinstance(env, TimeLimit):
        state, env = state.env, env.env
    return np.asarray(state)[..., 0]


def _move(lab: Lab, line: Line, args: dict[str, Any]) -> tuple[Any, PyTree]:
    _require_only(args, "state", "seed")
    world = _finite_or_error(line, lab)
    state = _whole(args, "state", world.num_states)
    if isinstance(world, Board) and not world.plan(state).acts.reshape(-1)[_cell(world, state)]:
        raise FathomError(f"state {state} is no place to stand; choose a free cell.")
    carry = lab._carry(line)
    for seed in range(lab.recipe.seeds) if args.get("seed") is None else [
        _whole(args, "seed", lab.recipe.seeds)
    ]:  # fmt: skip
        carry = _moved(lab, carry, world, seed, state)
    return line.env, carry


def _cell(world: Board, state: int) -> int:
    row, col = world.cell_of(state)
    return int(row) * world.shape[1] + int(col)


def _moved(lab: Lab, carry: PyTree, world: FiniteEnv, seed: int, state: int) -> PyTree:
    """The carry with the agent of one seed elsewhere: what it remembered of the way is forgotten."""
    at = (seed, 0) if lab.engine.batched else (0,)
    inner, path = carry.seeds.env.env, []
    while not isinstance(inner, jax.Array):
        inner = inner.env
        path.append("env")

    def place(c: Any) -> Any:
        found = c.seeds.env.env
        for name in path:
            found = getattr(found, name)
        return found

    obs = world.observe(jnp.int32(state))
    seeds = carry.seeds
    learner = jax.tree.map(lambda x: x[seed], seeds.learner) if lab.engine.batched else seeds.learner
    fresh = lab.engine.algorithm.init_memory(learner, 1)
    which = seed if lab.engine.batched else slice(None)
    memory = jax.tree.map(lambda old, new: old.at[which].set(new), seeds.memory, fresh)
    seen = jax.tree.map(lambda old, new: old.at[at].set(new), seeds.obs, obs)
    carry = eqx.tree_at(place, carry, place(carry).at[at].set(state))
    return eqx.tree_at(lambda c: (c.seeds.obs, c.seeds.memory), carry, (seen, memory))


def _reset_optimiser(lab: Lab, line: Line, args: dict[str, Any]) -> tuple[Any, PyTree]:
    _require_only(args)
    carry = lab._carry(line)
    learner = carry.seeds.learner
    names = [f.name for f in dataclasses.fields(learner) if "opt" in f.name]
    if not names:
        raise FathomError(f"{lab.algo} has no optimiser to reset.")
    # A beginning of the same shapes: zeros everywhere, as every optimiser here starts.
    fresh = [jax.tree.map(jnp.zeros_like, getattr(learner, name)) for name in names]
    changed = eqx.tree_at(lambda s: [getattr(s, name) for name in names], learner, fresh)
    return line.env, eqx.tree_at(lambda c: c.seeds.learner, carry, changed)


def _clear_buffer(lab: Lab, line: Line, args: dict[str, Any]) -> tuple[Any, PyTree]:
    _require_only(args)
    carry = lab._carry(line)
    if carry.seeds.replay is None:
        raise FathomError(f"{lab.algo} has no replay buffer to clear.")
    ring = carry.shared.ring
    empty = jax.tree.map(jnp.zeros_like, ring)
    one = lambda replay: replays.clear(replay, ring)  # noqa: E731
    cleared = over_seeds(one, lab.engine.batched, 0)(carry.seeds.replay)
    return line.env, eqx.tree_at(lambda c: (c.seeds.replay, c.shared.ring), carry, (cleared, empty))


_SURGERY: dict[str, Any] = {
    "value": _set_value,
    "paint": _paint,
    "move": _move,
    "reset_optimiser": _reset_optimiser,
    "clear_buffer": _clear_buffer,
}

__all__ = ["Inspected", "Lab", "Line", "Look"]
