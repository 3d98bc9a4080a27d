"""The facade: an algorithm and an environment, to train, ask, evaluate, save and resume."""

import dataclasses
import math
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, PyTree

from fathom import presets
from fathom.algos.base import ActionValues, Algorithm, StateValues
from fathom.algos.registry import get, name_of
from fathom.core.errors import FathomError, UnknownName
from fathom.core.module import lift
from fathom.core.spaces import Space
from fathom.core.types import Clock, Masked
from fathom.envs.base import Env
from fathom.envs.bridge import as_env
from fathom.envs.host import HostEnv, Workers, pack, unpack
from fathom.presets import Preset
from fathom.runs import provenance, statistics
from fathom.runs.folder import RunFolder
from fathom.runs.metrics import MetricsWriter
from fathom.train import runtime
from fathom.train.engine import Engine, HostEngine, NonFinite, clock_at, make_engine, require_countable
from fathom.train.evaluate import STEP_CAP, Evaluation, evaluate
from fathom.train.memory import Where, human
from fathom.train.report import Listener, Report

Backend = Literal["auto", "native", "gymnasium"]

_GROWTH = 4  # a chunk is at most this many times longer than the one before
_SAVE_SHARE = 20  # at least this many times as long is trained as saving took


class Agent:
    """An algorithm on an environment, over one or more seeds.

    >>> agent = Agent("ppo", "CartPole-v1", seeds=10).learn(100_000)
    >>> agent.evaluate(episodes=100).mean
    """

    def __init__(
        self,
        algorithm: Algorithm | type | str,
        env: str | Env | HostEnv | Any,
        *,
        seeds: int = 1,
        seed: int = 0,
        backend: Backend = "auto",
        out: str | Path | None = None,
        preset: str = "auto",
        workers: Literal["auto", "in-process", "subprocess"] = "auto",
        replay: Literal["auto", "device", "host"] = "auto",
    ) -> None:
        """Put them together; nothing is compiled yet.

        `algorithm` is an instance, taken as it is, or a name ("ppo") or class, to which the preset for this
        environment is applied: `preset` is "auto", "none" or a preset's name. `env` is an id, an environment
        of ours or of Gymnasium, or a constructor of either. Seeds seed, …, seed + seeds − 1 are trained side
        by side. With `out` the run is kept in that folder. `workers` says where Gymnasium environments run,
        and `replay` where the observations of their replay are kept: by default on the device, and in the
        host's memory where only that can hold them. Neither changes what is drawn and learnt, but for the
        last bits of sums, which XLA may add up otherwise in another program.

        Raises FathomError for unknown names, and for settings or spaces that do not fit.
        """
        if seeds < 1:
            raise FathomError(f"seeds is {seeds}; train at least 1.")
        if not 0 <= seed < 2**32 - seeds:
            raise FathomError(f"seed is {seed}; it must lie between 0 and 2**32 - seeds.")
        runtime.configure()
        self.given_env = env
        self.env = as_env(env, backend)
        self.backend = "native" if isinstance(self.env, Env) else "gymnasium"
        self.env_id = _id_of(env, self.env)
        self.algorithm, self.preset = _resolve(algorithm, self.env_id, self.backend, preset)
        self.seeds, self.seed = seeds, seed
        self.out = None if out is None else Path(out)
        self.horizon = 0  # updates at which the schedules end
        self.train_seconds = self.wall_seconds = self.compile_seconds = 0.0
        self._trained = 0  # environment steps of all seeds, over all sessions
        self._predictions = 0
        self._parent: dict[str, Any] | None = None  # of a fork: the run and update that it left from
        self._workers: Workers = workers
        self._replay: Where = replay
        self._engine: Engine | None = None
        self._folder: RunFolder | None = None
        self._known: set[int] = set()  # the updates of the folder's checkpoints that are this agent's past
        self._interventions: list[dict[str, Any]] = []  # where there is no folder
        spec = _spec(self.env, self.env_id)
        self.algorithm.check(spec)

    @property
    def engine(self) -> Engine:
        """The run's engine, made when first needed."""
        if self._engine is None:
            self._engine = self._make_engine()
            self._engine.start()
        return self._engine

    def _make_engine(self) -> Engine:
        return make_engine(self.algorithm, self.env, self.seeds, self.seed, self._workers, self._replay)

    @property
    def env_steps(self) -> int:
        """Environment steps of each seed so far."""
        return self.engine.update * self.engine.plan.steps

    @property
    def steps_per_second(self) -> float:
        """Environment steps of all seeds per second of training, compiling not counted."""
        return self._trained / self.train_seconds if self.train_seconds else 0.0

    def learn(
        self,
        steps: int | None = None,
        *,
        horizon: int | None = None,
        listeners: Sequence[Listener] = (),
        chunk_seconds: float = 0.5,
        checkpoint_seconds: float = 60.0,
    ) -> "Agent":
        """Train for `steps` environment steps of each seed more, rounded up to whole updates.

        Without `steps`, train to the horizon. `horizon` is the environment step at which schedules end; by
        default it is where the first call ends, moved on when a later call goes beyond it. To split a run in
        two, give the first call the horizon of the whole. Listeners hear of each phase and each chunk of
        about `chunk_seconds`; one that returns True stops the run there. With a run folder, a checkpoint is
        written at the start, at the end, and about every `checkpoint_seconds`.

        Ctrl-C ends the chunk under way, saves, and then raises KeyboardInterrupt. Raises NonFinite at the
        first NaN or Inf; the last checkpoint before it stays.
        """
        if steps is not None and steps <= 0:
            raise FathomError(f"steps is {steps}; train for at least 1.")
        begin = time.perf_counter()
        engine = self.engine
        target, self.horizon = self._targets(engine, steps, horizon)
        with ExitStack() as stack:
            folder = self._open_folder(stack)
            hear = [*listeners, *([MetricsWriter(folder)] if folder else [])]
            stopped = stack.enter_context(_interruptible())
            replay = f"replay takes {human(engine.replay_bytes)}" if engine.replay_bytes else ""
            replay += " of the host's memory" if engine.plan.apart else ""
            _tell(hear, "compile", replay)
            engine.compile(self.horizon)
            self.compile_seconds += engine.compile_seconds
            engine.compile_seconds = 0.0
            _tell(hear, "train")
            try:
                self._train(engine, folder, target, hear, stopped, chunk_seconds, checkpoint_seconds)
            finally:
                self.wall_seconds += time.perf_counter() - begin
            if folder:
                _tell(hear, "save")
                self._save_checkpoint(folder)
            if stopped():
                raise KeyboardInterrupt
        return self

    def _targets(self, engine: Engine, steps: int | None, horizon: int | None) -> tuple[int, int]:
        per_update = engine.plan.steps
        if steps is None:
            if not self.horizon and horizon is None:
                raise FathomError(
                    "learn() without steps goes on to the horizon, and none is set; give steps."
                )
            target = self.horizon if horizon is None else math.ceil(horizon / per_update)
        else:
            target = engine.update + math.ceil(steps / per_update)
        end = self.horizon if horizon is None else math.ceil(horizon / per_update)
        end = max(end, target)
        require_countable(end, engine.plan)
        return target, end

    def _train(
        self,
        engine: Engine,
        folder: RunFolder | None,
        target: int,
        listeners: Sequence[Listener],
        stopped: Callable[[], bool],
        chunk_seconds: float,
        checkpoint_seconds: float,
    ) -> None:
        n, saved, patience = 1, time.perf_counter(), checkpoint_seconds
        session = 0.0
        while engine.update < target and not stopped():
            n = min(n, target - engine.update)
            start = time.perf_counter()
            metrics = engine.advance(n, self.horizon)
            seconds = time.perf_counter() - start
            steps = n * engine.plan.steps * self.seeds
            session += seconds
            self.train_seconds += seconds
            self._trained += steps
            report = Report(
                update=engine.update,
                env_steps=self.env_steps,
                horizon_steps=target * engine.plan.steps,
                seeds=self.seeds,
                seconds=session,
                chunk_seconds=seconds,
                chunk_steps=steps,
                sums={name: np.asarray(m.sum) for name, m in metrics.items()},
                counts={name: np.asarray(m.count) for name, m in metrics.items()},
            )
            # Every listener is told, also when an early one asks to stop.
            if any([listener.chunk(report) for listener in listeners]):  # noqa: C419
                return
            if folder and time.perf_counter() - saved >= patience:
                began = time.perf_counter()
                self._save_checkpoint(folder)
                saved = time.perf_counter()
                patience = max(checkpoint_seconds, _SAVE_SHARE * (saved - began))
            n = max(1, min(int(n * chunk_seconds / max(seconds, 1e-6)), n * _GROWTH))

    def evaluate(
        self,
        episodes: int = 100,
        deterministic: bool = True,
        *,
        max_steps: int = STEP_CAP,
        stream: int = 0,
    ) -> Evaluation:
        """Returns of whole episodes of each seed's present policy, raw reward; training is not touched.

        `stream` numbers the random stream of the evaluation: the same number gives the same episodes.
        """
        if episodes < 1:
            raise FathomError(f"episodes is {episodes}; evaluate at least 1.")
        if max_steps < 1:
            raise FathomError(f"max_steps is {max_steps}; allow an episode at least 1.")
        if not 0 <= stream < 2**32:
            raise FathomError(f"stream is {stream}; random streams are numbered from 0 to 2**32 - 1.")
        return evaluate(
            self.engine,
            episodes,
            horizon=max(self.horizon, 1),
            deterministic=deterministic,
            max_steps=max_steps,
            stream=stream,
        )

    def summary(self, episodes: int = 100) -> dict[str, Any]:
        """The run in figures, its policies evaluated over `episodes`; kept as summary.json in its folder.

        Keys: algorithm, env, backend, preset, seeds, seed, steps (of each seed), episodes, returns_per_seed,
        mean, iqm, ci95 (of the mean over seeds, None for one seed), steps_per_second (of all seeds together),
        compile_seconds, wall_seconds.
        """
        begin = time.perf_counter()
        result = self.evaluate(episodes)
        self.wall_seconds += time.perf_counter() - begin
        summary = {
            "algorithm": name_of(self.algorithm),
            "env": self.env_id,
            "backend": self.backend,
            "preset": self.preset.name if self.preset else None,
            "seeds": self.seeds,
            "seed": self.seed,
            "steps": self.env_steps,
            "episodes": episodes,
            **statistics.summarize(result.returns),
            "steps_per_second": self.steps_per_second,
            "compile_seconds": self.compile_seconds,
            "wall_seconds": self.wall_seconds,
        }
        if result.cut:
            summary["episodes_cut"] = result.cut
        if self._folder:
            self._folder.write_summary(summary)
        return summary

    def predict(self, obs: Any, deterministic: bool = True, *, seed_index: int = 0) -> Any:
        """The action for one observation or a batch of them, as NumPy, by the policy of one seed.

        A policy with a memory takes each for the first of an episode; `player` gives one that remembers.
        Raises FathomError for observations that are not of the environment's space.
        """
        return self.player(deterministic, seed_index=seed_index)(obs)

    def player(self, deterministic: bool = True, *, seed_index: int = 0) -> "Player":
        """The policy of one seed, to be asked step by step: it remembers the episode that it is in.

        >>> player = agent.player()
        >>> action = player(obs)  # again and again, and `player.reset()` where an episode begins
        """
        return Player(self, deterministic, seed_index)

    def _act(
        self, obs: PyTree, memory: PyTree | None, explore: bool, seed_index: int
    ) -> tuple[PyTree, PyTree]:
        """Actions for a batch of observations, and the memory after them; None is that of a start."""
        engine = self.engine
        learner, key = self._of_seed(seed_index, (engine.learner, engine.keys))
        clock = clock_at(engine, max(self.horizon, 1))
        count = np.int32(self._predictions)
        self._predictions += 1
        return _predict(engine.algorithm, learner, memory, obs, key, clock, count, explore)

    def values(self, obs: Any, *, seed_index: int = 0) -> np.ndarray | None:
        """What one seed's learner takes one observation or a batch of them to be worth.

        Q(s, ·), [action] or [batch, action], where the algorithm values actions; V(s), a number or [batch],
        where it values states; None where it tells of neither. Raises FathomError as `predict`.
        """
        engine = self.engine
        if not isinstance(engine.algorithm, ActionValues | StateValues):
            return None
        obs, batched = _batch_of(engine.spec.obs_space, obs)
        values = np.asarray(_values(engine.algorithm, self._of_seed(seed_index, engine.learner), obs))
        return values if batched else values[0]

    def _of_seed(self, seed_index: int, tree: PyTree) -> PyTree:
        """What belongs to one seed of a tree whose leaves have an axis of seeds, if there are several."""
        if not 0 <= seed_index < self.seeds:
            raise FathomError(f"seed_index is {seed_index}; this agent has the seeds 0 to {self.seeds - 1}.")
        return jax.tree.map(lambda x: x[seed_index], tree) if self.engine.batched else tree

    def set(self, **fields: float) -> "Agent":
        """Change settings in the middle of the run, without compiling; the change is logged in its folder.

        Only those that are numbers in the program can change; FathomError names them.
        """
        names = {f.name: f for f in dataclasses.fields(self.algorithm)}  # pyright: ignore[reportArgumentType]
        live = [n for n, f in names.items() if not f.metadata.get("static", False)]
        for name in fields:
            if name not in names:
                raise UnknownName("setting", name, live)
            if name not in live or getattr(self.algorithm, name) is None:
                raise FathomError(
                    f"{name} shapes the program and cannot change in the middle of a run; these can: "
                    f"{', '.join(n for n in live if getattr(self.algorithm, n) is not None)}."
                )
        try:
            numbers = {name: float(value) for name, value in fields.items()}
        except (TypeError, ValueError) as error:
            raise FathomError(f"set takes numbers: {error}.") from error
        self.engine.require_whole()
        line = {"update": self.engine.update, "set": numbers}
        if self._folder is None:
            self._apply(numbers)
            self._interventions.append(line)
            return self
        with self._folder.held():
            self._require_last(self._folder)
            self._apply(numbers)
            # In this order a kill between the two loses nothing: `resume` applies what is logged.
            self._folder.append_intervention(line)
            self._save_checkpoint(self._folder)
        return self

    def _require_last(self, folder: RunFolder) -> None:
        """Raise FathomError where another process has gone on with the run since this agent was loaded."""
        others = set(folder.checkpoints()) - self._known
        if others:
            raise FathomError(
                f"another process has gone on with the run {folder.path}: it has a checkpoint of update "
                f"{max(others):,}, which this agent, at {self.engine.update:,}, neither wrote nor read. Go "
                "on from there by Agent.resume, or save this one elsewhere."
            )

    def _apply(self, numbers: dict[str, float]) -> None:
        changed = dataclasses.replace(self.algorithm, **numbers)  # pyright: ignore[reportArgumentType]
        changed.check(self.engine.spec)
        self.algorithm = changed
        self.engine.algorithm = lift(changed)

    def fork(self, out: str | Path | None = None) -> "Agent":
        """A second agent in this one's exact state; from here the two go their own ways."""
        self.engine.require_whole()
        twin = self._twin(out)
        engine = twin._make_engine()
        # Also NumPy's arrays, as what they are: a replay in the host's memory stays there.
        engine.carry = jax.tree.map(lambda x: x.copy(), self.engine.carry)
        warning = engine.restore(self.engine.snapshot())
        if warning:
            warnings.warn(warning, stacklevel=2)
        twin._engine = engine
        return twin

    def _twin(self, out: str | Path | None) -> "Agent":
        twin = Agent(
            self.algorithm, self.given_env, seeds=self.seeds, seed=self.seed, out=out, workers=self._workers,
            replay=self._replay, backend=self.backend,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        twin.preset, twin.horizon = self.preset, self.horizon
        twin._parent = {"run": str(self.out) if self.out else None, "update": self.engine.update}
        twin._parent["interventions"] = self.interventions()
        return twin

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write all of the run's state to a run folder; FathomError if it holds another run.

        Loading it runs no code: arrays in safetensors, the rest JSON.
        """
        path = Path(path)
        self.engine.require_whole()
        if self._folder and path.resolve() == self._folder.path.resolve():
            with self._folder.held():
                self._require_last(self._folder)
                self._save_checkpoint(self._folder)
            return path

        def fill(folder: RunFolder) -> None:
            for line in self.interventions():
                folder.append_intervention(line)
            self._write_checkpoint(folder)

        RunFolder.fill(path, self._describe(), fill, overwrite=overwrite)
        return path

    def interventions(self) -> list[dict[str, Any]]:
        """What was changed in the middle of the run, as {"update": u, "set": {name: value}}, in order."""
        return self._folder.read_interventions() if self._folder else list(self._interventions)

    @classmethod
    def load(
        cls,
        path: str | Path,
        env: Any = None,
        workers: Workers | None = None,
        replay: Where | None = None,
    ) -> "Agent":
        """The agent of a run folder, as its newest intact checkpoint has it.

        `env` is needed where the run's environment was an object of the user's own. `workers` and `replay`
        are as the run was made, unless they are given. The folder is not written to: see `resume`.
        """
        return cls._load(path, env, workers, replay)

    @classmethod
    def resume(
        cls,
        path: str | Path,
        env: Any = None,
        workers: Workers | None = None,
        replay: Where | None = None,
    ) -> "Agent":
        """The agent of a run folder, to go on in that folder: `learn()` finishes its horizon.

        `env`, `workers` and `replay` are as in `load`.
        """
        agent = cls._load(path, env, workers, replay)
        agent.out = Path(path)
        agent._folder = RunFolder.open(path)
        agent._known = set(agent._folder.checkpoints())
        update = agent.engine.update
        agent._folder.go_back(update)
        for line in agent._folder.read_interventions():
            if line["update"] == update and "set" in line:
                agent._apply(line["set"])
        return agent

    @classmethod
    def _load(cls, path: str | Path, env: Any, workers: Workers | None, replay: Where | None) -> "Agent":
        folder = RunFolder.open(path)
        run = folder.run
        agent = cls(
            provenance.decode_config(run["algorithm"]),
            provenance.restore_env(run["env"]) if env is None else env,
            seeds=run["seeds"],
            seed=run["seed"],
            backend=run["backend"],
            workers=workers or run.get("workers", "auto"),
            replay=replay or run.get("replay", "auto"),
        )
        agent.env_id = run["env"]["id"]
        agent.preset = presets.named(run["preset"]) if run.get("preset") else None
        agent._take(folder)
        update = agent.engine.update
        agent._interventions = [line for line in folder.read_interventions() if line["update"] <= update]
        return agent

    def close(self) -> None:
        """End worker processes and close the run's files."""
        if self._engine:
            self._engine.close()
        if self._folder:
            self._folder.close()

    def _open_folder(self, stack: ExitStack) -> RunFolder | None:
        if self.out is None:
            return None
        new = self._folder is None
        if self._folder is None:
            self._folder = RunFolder.create(self.out, self._describe())
        stack.enter_context(self._folder.lock())
        self._require_last(self._folder)
        horizon = self.horizon * self.engine.plan.steps
        if new:
            for line in self._interventions:
                self._folder.append_intervention(line)
            self._save_checkpoint(self._folder)
        elif self._folder.run["horizon"] != horizon:
            # Schedules refer to it: a run that is killed before its next checkpoint must find it.
            self._folder.append_intervention({"update": self.engine.update, "horizon": horizon})
            self._save_checkpoint(self._folder)
            self._folder.update_run(horizon=horizon)
        return self._folder

    def _describe(self) -> dict[str, Any]:
        # Settings are written out also where an id stood for them: its defaults may change one day.
        settings = self.env.settings if isinstance(self.env, HostEnv) else None
        described = provenance.describe_run(
            self.algorithm,
            settings or self.given_env,
            env_id=self.env_id,
            backend=self.backend,
            seeds=self.seeds,
            seed=self.seed,
            horizon=self.horizon * self.engine.plan.steps,
            preset=self.preset.name if self.preset else None,
        )
        described |= {"workers": self._workers, "replay": self._replay}
        return described | ({"parent": self._parent} if self._parent else {})

    def _save_checkpoint(self, folder: RunFolder) -> None:
        """A checkpoint in this agent's own folder."""
        self._write_checkpoint(folder)
        self._known = set(folder.checkpoints())

    def _write_checkpoint(self, folder: RunFolder) -> None:
        engine = self.engine
        meta = {
            "horizon": self.horizon,
            "train_seconds": self.train_seconds,
            "compile_seconds": self.compile_seconds,
            "wall_seconds": self.wall_seconds,
            "trained": self._trained,
            "algorithm": provenance.encode_config(self.algorithm),
        }
        snapshot = engine.snapshot()
        host = None
        if snapshot is not None:
            arrays, text = pack(snapshot)
            host = {"arrays": arrays, "text": text}
        folder.save_checkpoint(engine.update, engine.carry, meta, host)

    def _take(self, folder: RunFolder) -> None:
        engine = self._make_engine()
        loaded = folder.load_checkpoint(engine.shape())
        meta = loaded.meta
        self.algorithm = provenance.decode_config(meta["algorithm"])
        engine.algorithm = lift(self.algorithm)
        engine.carry = loaded.tree
        host = meta.get("host")
        warning = engine.restore(unpack(host["arrays"], host["text"]) if host else None)
        if warning:
            # The line that loads or resumes, above `_load` and its public caller.
            warnings.warn(warning, stacklevel=4)
        self.horizon, self._trained = meta["horizon"], meta["trained"]
        self.train_seconds, self.wall_seconds = meta["train_seconds"], meta["wall_seconds"]
        self.compile_seconds = meta["compile_seconds"]
        self._engine = engine


class Player:
    """A policy in the middle of an episode, or of several side by side: see `Agent.player`."""

    def __init__(self, agent: Agent, deterministic: bool, seed_index: int) -> None:
        self._agent, self._explore, self._seed_index = agent, not deterministic, seed_index
        self.reset()

    def reset(self) -> None:
        """Forget: the next observation is the first of an episode, or of any number of them."""
        self._memory: PyTree | None = None
        self._count: int | None = None

    def __call__(self, obs: Any) -> Any:
        """The action for one observation or a batch of them, as NumPy.

        FathomError for observations that are not of the environment's space, or of another number of
        environments than the one before.
        """
        obs, batched = _batch_of(self._agent.engine.spec.obs_space, obs)
        count = jax.tree.leaves(obs)[0].shape[0]
        if self._count not in (None, count):
            raise FathomError(
                f"these are observations of {count} environments, and the episodes under way are "
                f"{self._count}; `reset()` the player to begin others."
            )
        action, self._memory = self._agent._act(obs, self._memory, self._explore, self._seed_index)
        self._count = count
        action = jax.tree.map(np.asarray, action)
        return action if batched else jax.tree.map(lambda x: x[0], action)


def _resolve(
    algorithm: Algorithm | type | str, env_id: str, backend: str, preset: str
) -> tuple[Algorithm, Preset | None]:
    """The algorithm, with the preset's settings where it was given by name or class."""
    if isinstance(algorithm, Algorithm):
        if preset not in ("auto", "none"):
            raise FathomError(
                f"the preset {preset!r} goes with an algorithm given by name or class; "
                f"{type(algorithm).__name__}(...) has settings of its own. Leave one of the two out."
            )
        return algorithm, None
    kind = get(algorithm) if isinstance(algorithm, str) else algorithm
    if not (isinstance(kind, type) and issubclass(kind, Algorithm)):
        raise FathomError(f"{algorithm!r} is no algorithm; give a name such as 'ppo', or PPO(...).")
    name = _name_of_class(kind)  # not the word given, which may be spelt "PPO"
    chosen = None
    if preset == "auto":
        chosen = presets.find(name, env_id, backend)
    elif preset != "none":
        chosen = presets.named(preset)
        if chosen.algorithm != name:
            raise FathomError(f"the preset {preset!r} is one of {chosen.algorithm}, not of {name}.")
    return kind(**(chosen.settings if chosen else {})), chosen


def _name_of_class(kind: type) -> str:
    return name_of(object.__new__(kind))


def _id_of(given: Any, env: Env | HostEnv) -> str:
    if isinstance(given, str):
        return given
    if isinstance(env, HostEnv):
        return env.id
    inner = env
    while hasattr(inner, "env"):
        inner = inner.env  # pyright: ignore[reportAttributeAccessIssue]
    return type(inner).__name__


def _spec(env: Env | HostEnv, env_id: str) -> Any:
    from fathom.core.types import EnvSpec

    return EnvSpec(env.obs_space, env.action_space, env_id)


@partial(jax.jit, static_argnames=("explore",))
def _predict(
    algorithm: Algorithm,
    learner: PyTree,
    memory: PyTree | None,
    obs: PyTree,
    key: Array,
    clock: Clock,
    count: Array,
    explore: bool,
) -> tuple[PyTree, PyTree]:
    from fathom.core.keys import named, numbered

    if memory is None:
        memory = algorithm.init_memory(learner, jax.tree.leaves(obs)[0].shape[0])
    key = numbered(named(key, "predict"), count)
    return algorithm.act(learner, memory, obs, key, clock, explore)[:2]


@jax.jit
def _values(algorithm: ActionValues | StateValues, learner: PyTree, obs: PyTree) -> Array:
    if isinstance(algorithm, ActionValues):
        return algorithm.action_values(learner, obs)
    return algorithm.state_values(learner, obs)


def _batch_of(space: Space, obs: Any) -> tuple[Any, bool]:
    """Observations as a batch of the space's dtypes, and whether they were one before."""
    batched = _is_batched(space, obs)
    obs = jax.tree.map(lambda x, like: np.asarray(x, like.dtype), obs, _like(space, obs))
    return obs if batched else jax.tree.map(lambda x: x[None], obs), batched


def _like(space: Space, obs: Any) -> Any:
    from fathom.core import spaces

    like = spaces.zeros(space)
    if jax.tree.structure(like) != jax.tree.structure(obs):
        what = "an observation with its action mask: core.types.Masked(obs, mask)" if isinstance(
            like, Masked
        ) else f"an observation of {space!r}"  # fmt: skip
        raise FathomError(f"predict needs {what}; got {type(obs).__name__}.")
    return like


def _is_batched(space: Space, obs: Any) -> bool:
    """Whether an observation has one leading axis more than the space's; FathomError if neither fits."""
    like = jax.tree.leaves(_like(space, obs))
    shapes = [(np.shape(x), leaf.shape) for x, leaf in zip(jax.tree.leaves(obs), like, strict=True)]
    if all(got == wanted for got, wanted in shapes):
        return False
    if all(got[1:] == wanted and len(got) == len(wanted) + 1 for got, wanted in shapes):
        return True
    got, wanted = next((g, w) for g, w in shapes if g != w)
    raise FathomError(
        f"predict got an observation of shape {got}; the environment's is {wanted}, or a batch."
    )


def _tell(listeners: Sequence[Listener], phase: str, detail: str = "") -> None:
    for listener in listeners:
        listener.phase(phase, detail)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that state is whole when the run stops; the second one raises."""
    hits: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: bool(hits)
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        if hits:
            raise KeyboardInterrupt
        hits.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(hits)
    finally:
        signal.signal(signal.SIGINT, before)


__all__ = ["Agent", "Evaluation", "HostEngine", "NonFinite"]
