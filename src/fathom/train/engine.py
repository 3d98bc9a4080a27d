"""The engine: a host loop over compiled chunks, with one path for native environments and one for the host's.

Both paths call the same `act` and the same `learn`; they differ in who steps the environment.
"""

import abc
import dataclasses
import time
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from fathom.algos.base import Algorithm, Metrics, Online
from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds
from fathom.core.module import lift
from fathom.core.types import Clock, Metric, Rollout, Transition
from fathom.data import replay as replays
from fathom.data.store import Store
from fathom.envs.base import Env, spec_of, vec_reset
from fathom.envs.host import HostEnv, Workers
from fathom.train import loop, runtime
from fathom.train.loop import Carry, Health, Plan, Seed
from fathom.train.memory import Where, placed, require_memory

_COPY_AT_MOST = 2**30  # bytes of replay that the host path copies to compile ahead of the first update


_GIVEN = "The environment gave it: check it with `fathom check`."
_LEARNT = "It arose in learning: lower learning_rate or max_grad_norm, or scale the rewards."


class NonFinite(FathomError):
    """Training met a NaN or an Inf, and stopped at that very update."""


def over_seeds(function: Any, batched: bool, in_axes: Any) -> Any:
    """`function` for one seed, or vmapped for several. One seed goes unbatched: that is twice as fast."""
    return jax.vmap(function, in_axes=in_axes) if batched else function


def seed_keys(seed: int, seeds: int) -> Key[Array, "..."]:
    """The root keys of runs seed, seed + 1, …; hashed, so that neighbours share nothing."""
    if seeds == 1:
        return jax.random.key(seed)
    return jax.vmap(jax.random.key)(jnp.arange(seed, seed + seeds, dtype=jnp.uint32))


def require_countable(horizon: int, plan: Plan) -> None:
    """Raise FathomError for a horizon, in updates, that the counters of a run cannot hold."""
    if horizon * plan.ticks < 2**31:
        return
    if plan.ticks > 1:
        raise FathomError(
            f"the run would take {horizon * plan.ticks:,} steps of each environment, and counts them in 31 "
            "bits; raise num_envs, or train for fewer steps."
        )
    raise FathomError(
        f"the run would take {horizon:,} updates, and counts them in 31 bits; raise num_envs, num_steps "
        "or train_every, so that each update holds more steps."
    )


class Engine(abc.ABC):
    """A run under way. `carry` is its whole state; `advance` is the only thing that changes it."""

    carry: Carry

    def __init__(
        self, algorithm: Algorithm, spec: Any, seeds: int, seed: int, replay: Where, on_host: bool
    ) -> None:
        algorithm.check(spec)
        self.algorithm = lift(algorithm)
        self.spec = spec
        # Where replay is, and why, if its size decided that.
        self.plan, self.replay_told = placed(algorithm, spec, Plan.of(algorithm), seeds, replay, on_host)
        self.seeds = seeds
        self.seed = seed
        self.batched = seeds > 1
        self.replay_bytes = require_memory(algorithm, spec, self.plan, seeds)
        self.keys = seed_keys(seed, seeds)
        self.compile_seconds = 0.0
        self.told = ""  # what was chosen by measurement, for people
        self.broken = ""  # the error that left an update in its middle

    @property
    def update(self) -> int:
        """Updates done."""
        return int(self.carry.shared.update)

    @property
    def learner(self) -> PyTree:
        """The learner's state; with several seeds every leaf has a leading axis."""
        return self.carry.seeds.learner

    def compile(self, horizon: int) -> float:
        """Compile the program of this run without advancing it; seconds taken."""
        require_countable(horizon, self.plan)
        start = time.perf_counter()
        self._compile(horizon)
        seconds = time.perf_counter() - start
        self.compile_seconds += seconds
        return seconds

    def advance(self, n: int, horizon: int) -> Metrics:
        """Make n updates of a run that ends at `horizon` updates; metrics summed over them, [seeds].

        Raises NonFinite at the first update that meets a NaN or an Inf.
        """
        require_countable(horizon, self.plan)
        self.require_whole()
        before = self.update
        try:
            metrics, health = self._advance(n, horizon)
            # On the host: outside of a program each of these is an operation of its own, milliseconds in all.
            if health is not None and not all(map(np.all, jax.device_get(health.flags))):
                raise NonFinite(self._diagnosis(jax.device_get(health)))
        except BaseException as error:
            self.broken = type(error).__name__
            raise
        assert self.update == before + n
        return jax.tree.map(np.atleast_1d, jax.device_get(metrics))

    def require_whole(self) -> None:
        """Raise FathomError where an update was left in its middle: what is there is no state of the run."""
        if self.broken:
            raise FathomError(
                f"the run was stopped in the middle of an update ({self.broken}), and what it holds is no "
                "state to go on from or to keep. Go on from its last checkpoint, by Agent.resume or "
                "`fathom resume`; without a run folder, begin anew."
            )

    @abc.abstractmethod
    def start(self) -> None:
        """Set the run to its beginning: parameters drawn, environments reset."""

    @abc.abstractmethod
    def shape(self) -> Carry:
        """The shapes and dtypes of `carry`, without computing it."""

    @abc.abstractmethod
    def _compile(self, horizon: int) -> None: ...

    @abc.abstractmethod
    def _advance(self, n: int, horizon: int) -> tuple[Metrics, Health | None]: ...

    @abc.abstractmethod
    def snapshot(self) -> dict | None:
        """What must be saved besides `carry` to go on exactly; None where there is nothing to be had."""

    @abc.abstractmethod
    def restore(self, snapshot: dict | None) -> str | None:
        """Take up a snapshot; a warning that says what starts anew, or None if all is exact."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release what the run holds outside of this process's memory."""

    def _diagnosis(self, health: Health) -> str:
        flags = {"obs": health.obs, "action": health.action, "reward": health.reward}
        flags |= {f"metrics[{name!r}]": flag for name, flag in health.metrics.items()}
        good = np.logical_and.reduce([health.legal, *flags.values()])
        where = self._where(good)
        if not np.all(health.legal):
            return (
                f"an observation without a legal action at {where}: its mask is all False. End the episode "
                "there (terminated), or leave one action legal."
            )
        bad = [name for name, flag in flags.items() if not np.all(flag)]
        if "action" in bad:
            bad.remove("action")
            bad.insert(0, "action")
        given = "action" not in bad and ("obs" in bad or "reward" in bad)
        source = _GIVEN if given else _LEARNT
        rewards = f"[{np.min(health.reward_min):.4g}, {np.max(health.reward_max):.4g}]"
        return (
            f"NaN or Inf at {where}, first in {', '.join(bad)}{self._spoilt()}. Finite rewards of that "
            f"update were in {rewards}. {source}"
        )

    def _where(self, good: np.ndarray) -> str:
        """The update and step that the run has come to, and the seeds that are not good, for an error."""
        seeds = [self.seed + int(i) for i in np.flatnonzero(~np.atleast_1d(good))]
        return (
            f"update {self.update}, environment step {self.update * self.plan.steps:,}, "
            f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        )

    def _spoilt(self) -> str:
        """Which arrays of the learner are not finite, for an error."""
        leaves = jax.tree_util.tree_leaves_with_path(self.carry.seeds.learner)
        arrays = [
            f"learner{jax.tree_util.keystr(path)}"
            for path, leaf in leaves
            if jnp.issubdtype(leaf.dtype, jnp.floating) and not bool(jnp.isfinite(leaf).all())
        ]
        more = f" and {len(arrays) - 4} more" if len(arrays) > 4 else ""
        return f"; now also in {', '.join(arrays[:4])}{more}" if arrays else ""


_init_jit: Any = partial(jax.jit, compiler_options=runtime.once())


@partial(_init_jit, static_argnames=("plan", "seeds"))
def _init_native(algorithm: Algorithm, env: Env, keys: Array, plan: Plan, seeds: int) -> Carry:
    spec = spec_of(env)

    def one(key: Array) -> Seed:
        env_state, obs = vec_reset(env, env_seeds(key, plan.num_envs))
        return loop.init_seed(algorithm, spec, plan, key, env_state, obs)

    return Carry(over_seeds(one, seeds > 1, 0)(keys), loop.init_shared())


@partial(jax.jit, static_argnames=("plan", "seeds"), donate_argnames=("carry",))
def _run_native(
    algorithm: Algorithm,
    env: Env,
    carry: Carry,
    n: Int[Array, ""],
    horizon: Int[Array, ""],
    plan: Plan,
    seeds: int,
) -> tuple[Carry, Metrics, Health]:
    """Make n updates, fewer if one meets a NaN. `n` is traced: one program serves every chunk length."""

    def one_update(carry: Carry) -> tuple[Carry, Metrics, Health]:
        learning = loop.is_learning(algorithm, carry.shared, plan)

        def one(seed: Seed) -> tuple[Seed, Metrics, Health]:
            return loop.advance(algorithm, env, plan, seed, carry.shared, horizon)

        seed, metrics, health = over_seeds(one, seeds > 1, 0)(carry.seeds)
        return Carry(seed, loop.tick(carry.shared, plan, learning)), metrics, health

    def body(state: tuple) -> tuple:
        i, carry, total, _ = state
        carry, metrics, health = one_update(carry)
        return i + 1, carry, jax.tree.map(jnp.add, total, metrics), health

    _, shapes, health = jax.eval_shape(one_update, carry)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    good = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), health)
    start = (jnp.asarray(0, jnp.int32), carry, zeros, good)
    _, carry, metrics, health = jax.lax.while_loop(lambda s: (s[0] < n) & s[3].ok, body, start)
    return carry, metrics, health


class NativeEngine(Engine):
    """Environment, policy and learning in one compiled loop."""

    def __init__(
        self, algorithm: Algorithm, env: Env, seeds: int = 1, seed: int = 0, replay: Where = "auto"
    ) -> None:
        Engine.__init__(self, algorithm, spec_of(env), seeds, seed, replay, on_host=False)
        self.env = lift(env)

    def start(self) -> None:
        """Draw the parameters and reset the environments, in one compiled call."""
        begin = time.perf_counter()
        self.carry = jax.block_until_ready(self._init(_init_native))
        self.compile_seconds += time.perf_counter() - begin

    def shape(self) -> Carry:
        """The shapes and dtypes of `carry`."""
        return jax.eval_shape(partial(self._init, _init_native.__wrapped__))

    def _init(self, program: Any) -> Carry:
        return program(self.algorithm, self.env, self.keys, self.plan, self.seeds)

    def _compile(self, horizon: int) -> None:
        self._advance(0, horizon)

    def _advance(self, n: int, horizon: int) -> tuple[Metrics, Health | None]:
        self.carry, metrics, health = _run_native(
            self.algorithm, self.env, self.carry, np.int32(n), np.int32(horizon), self.plan, self.seeds
        )
        jax.block_until_ready(self.carry)
        return metrics, health

    def snapshot(self) -> dict | None:
        """Nothing: the environments are in the carry."""
        return None

    def restore(self, snapshot: dict | None) -> str | None:
        """Nothing to do: the carry is exact."""
        return None

    def close(self) -> None:
        """Nothing is held outside."""


_host_jit: Any = partial(jax.jit, compiler_options=runtime.one_thread())


@partial(_init_jit, static_argnames=("plan", "seeds"))
def _init_host(algorithm: Algorithm, keys: Array, obs: PyTree, spec: Any, plan: Plan, seeds: int) -> Carry:
    def one(key: Array, obs: PyTree) -> Seed:
        return loop.init_seed(algorithm, spec, plan, key, None, obs)

    return Carry(over_seeds(one, seeds > 1, 0)(keys, obs), loop.init_shared())


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"))
def _act_host(
    fixed: list,
    leaves: list,
    memory: PyTree,
    obs: PyTree,
    over: Array,
    keys: Key[Array, "... time"],
    t: Array,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[PyTree, PyTree, PyTree]:
    """One call of `act` for all seeds, with the t-th of `_act_keys`.

    Algorithm, horizon (`fixed`) and carry come as flat leaves: flattening modules costs as much as acting.
    """
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)

    def one(learner: PyTree, memory: PyTree, obs: PyTree, over: Array, keys: Array) -> tuple:
        memory = loop.reset_memory(algorithm, learner, memory, over)
        return algorithm.act(learner, memory, obs, keys[t], clock, True)

    return over_seeds(one, seeds > 1, 0)(carry.seeds.learner, memory, obs, over, keys)


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"))
def _act_keys(fixed: list, leaves: list, tree: Any, plan: Plan, seeds: int) -> Key[Array, "... time"]:
    """The keys of all calls of `act` in an update: drawn in one call, they cost next to nothing each."""
    _, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)
    return over_seeds(lambda key: loop.act_keys(key, clock, plan), seeds > 1, 0)(carry.seeds.key)


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves", "total"))
def _learn_host(
    fixed: list,
    leaves: list,
    total: Metrics | None,
    rollout: Rollout,
    obs: PyTree,
    memory: PyTree,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Metrics, Health, Bool[Array, ""]]:
    """All of an update that follows collecting: the new carry's leaves, metrics added to `total`, health."""
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)
    learning = loop.is_learning(algorithm, carry.shared, plan)

    def one(seed: Seed, rollout: Rollout, obs: PyTree, memory: PyTree) -> tuple[Seed, Metrics, Health]:
        over = rollout.terminated[-1] | rollout.truncated[-1]
        memory = loop.reset_memory(algorithm, seed.learner, memory, over)
        rollout = eqx.tree_at(lambda r: r.memory, rollout, seed.memory)
        seed = eqx.tree_at(lambda s: (s.obs, s.memory), seed, (obs, memory))
        return loop.learn(algorithm, plan, seed, rollout, clock, carry.shared.ring, learning)

    seed, metrics, health = over_seeds(one, seeds > 1, 0)(carry.seeds, rollout, obs, memory)
    if total is not None:
        metrics = jax.tree.map(jnp.add, total, metrics)
    carry = Carry(seed, loop.tick(carry.shared, plan, learning))
    return jax.tree.leaves(carry), metrics, health, health.ok


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves", "learnt"))
def _online_host(
    fixed: list,
    leaves: list,
    learnt: Metrics,
    step: Transition | None,
    obs: PyTree,
    t: Array,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Metrics, PyTree, PyTree]:
    """Learn from the step of row t − 1, if given, and act at row t: one call for each step.

    The new carry's leaves, metrics added to `learnt`, the actions and what `update` will want of them.
    """
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)

    def one(seed: Seed, step: Transition | None, obs: PyTree) -> tuple[Seed, Metrics, PyTree, PyTree]:
        seed, metrics = _follow(algorithm, plan, seed, step, t - 1, clock)
        now = loop.clock_at_row(clock, plan, t)
        action, memory, extras = loop.act_online(algorithm, seed.learner, seed.memory, obs, seed.key, now)
        return eqx.tree_at(lambda s: s.memory, seed, memory), metrics, action, extras

    seed, metrics, action, extras = over_seeds(one, seeds > 1, 0)(carry.seeds, step, obs)
    learnt = jax.tree.map(jnp.add, learnt, metrics) if step is not None else learnt
    return jax.tree.leaves(Carry(seed, carry.shared)), learnt, action, extras


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves", "learnt", "total"))
def _account_host(
    fixed: list,
    leaves: list,
    learnt: Metrics | None,
    total: Metrics | None,
    step: Transition,
    rows: Transition,
    obs: PyTree,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Metrics, Health, Bool[Array, ""]]:
    """Learn from the last step of an update, and end it as `_learn_host` does."""
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)

    def one(
        seed: Seed, learnt: Metrics | None, step: Transition, rows: Transition, obs: PyTree
    ) -> tuple[Seed, Metrics, Health]:
        seed, metrics = _follow(algorithm, plan, seed, step, jnp.asarray(plan.rows - 1, jnp.int32), clock)
        if learnt is not None:
            metrics = jax.tree.map(jnp.add, learnt, metrics)
        seed = eqx.tree_at(lambda s: s.obs, seed, obs)
        return loop.account(seed, rows, metrics)

    seed, metrics, health = over_seeds(one, seeds > 1, 0)(carry.seeds, learnt, step, rows, obs)
    if total is not None:
        metrics = jax.tree.map(jnp.add, total, metrics)
    carry = Carry(seed, loop.tick(carry.shared, plan, jnp.asarray(True)))
    return jax.tree.leaves(carry), metrics, health, health.ok


def _follow(
    algorithm: Online, plan: Plan, seed: Seed, step: Transition | None, t: Array, clock: Clock
) -> tuple[Seed, Metrics]:
    """Learn from the step of row t, if there is one."""
    if step is None:
        return seed, {}
    now = loop.clock_at_row(clock, plan, t)
    learner, memory, metrics = loop.learn_from_step(algorithm, seed.learner, seed.memory, step, seed.key, now)
    return eqx.tree_at(lambda s: (s.learner, s.memory), seed, (learner, memory)), metrics


@partial(jax.jit, static_argnames=("plan", "seeds"))
def _restart_episodes(
    algorithm: Algorithm, carry: Carry, obs: PyTree, plan: Plan, seeds: int
) -> tuple[Carry, Int[Array, "... env"] | None]:
    """The carry with all episodes at their start; those cut off count as truncated in the replay.

    Also what `replays.cut` tells of their last frames.
    """

    def one(seed: Seed, obs: PyTree) -> tuple[Seed, Array | None]:
        replay, place = seed.replay, None
        if replay is not None:
            replay, place = replays.cut(replay, carry.shared.ring)
        learner = algorithm.restart(seed.learner)
        begun = Seed(
            learner,
            seed.env,
            obs,
            algorithm.init_memory(learner, plan.num_envs),
            seed.key,
            jnp.zeros_like(seed.episode_return),
            jnp.zeros_like(seed.episode_length),
            replay,
        )
        return begun, place

    begun, place = over_seeds(one, seeds > 1, 0)(carry.seeds, obs)
    return Carry(begun, carry.shared), place


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves",))
def _admit_host(
    fixed: list,
    leaves: list,
    rollout: Rollout,
    obs: PyTree,
    memory: PyTree,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Int[Array, "... time env"], Bool[Array, ""]]:
    """Where replay keeps its observations apart: an update until these are written.

    The new carry's leaves, the places that `replays.add_rows` tells, and whether there is enough to learn.
    """
    algorithm, _, carry = jax.tree.unflatten(tree, [*fixed, *leaves])

    def one(seed: Seed, rollout: Rollout, obs: PyTree, memory: PyTree) -> tuple[Seed, Array]:
        over = rollout.terminated[-1] | rollout.truncated[-1]
        memory = loop.reset_memory(algorithm, seed.learner, memory, over)
        rollout = eqx.tree_at(lambda r: r.memory, rollout, seed.memory)
        assert seed.replay is not None
        replay, place = replays.add_rows(seed.replay, rollout, carry.shared.ring, algorithm.n_step)
        learner = algorithm.observe(seed.learner, rollout)
        changed = (learner, obs, memory, replay)
        return eqx.tree_at(lambda s: (s.learner, s.obs, s.memory, s.replay), seed, changed), place

    seed, place = over_seeds(one, seeds > 1, 0)(carry.seeds, rollout, obs, memory)
    learning = loop.is_learning(algorithm, carry.shared, plan)
    return jax.tree.leaves(Carry(seed, carry.shared)), place, learning


@partial(_host_jit, static_argnames=("count", "tree", "plan", "seeds"))
def _find_host(
    fixed: list, leaves: list, start: Array, count: int, tree: Any, plan: Plan, seeds: int
) -> replays.Found:
    """Where the observations of `count` of an update's batches are, from the `start`-th on, [step, ...]."""
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)
    ring = loop.ring_after(carry.shared, plan)

    def one(seed: Seed) -> replays.Found:
        key = loop.update_key(seed.key, clock)

        def step(i: Array) -> replays.Found:
            assert seed.replay is not None
            drawn, _ = loop.drawn_at(algorithm, seed.replay, ring, key, clock, i)
            _, found = loop.find_batch(algorithm, seed.replay, ring, drawn, clock)
            return dataclasses.replace(found, batch=None)

        return jax.vmap(step)(start + jnp.arange(count, dtype=jnp.int32))

    return over_seeds(one, seeds > 1, 0)(carry.seeds)


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves",))
def _fit_host(
    fixed: list,
    leaves: list,
    start: Array,
    picked: tuple[PyTree, replays.Found],
    learning: Array,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Metrics]:
    """The gradient steps from the `start`-th on, with the observations picked for them."""
    algorithm, horizon, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    clock = loop.clock_of(carry.shared, horizon, plan)
    ring = loop.ring_after(carry.shared, plan)

    def one(seed: Seed, picked: tuple[PyTree, replays.Found]) -> tuple[Seed, Metrics]:
        assert seed.replay is not None
        key = loop.update_key(seed.key, clock)
        learner, replay, metrics = loop.learn_from_replay(
            algorithm, plan, seed.learner, seed.replay, ring, key, clock, learning, start, picked
        )
        return eqx.tree_at(lambda s: (s.learner, s.replay), seed, (learner, replay)), metrics

    seed, metrics = over_seeds(one, seeds > 1, 0)(carry.seeds, picked)
    return jax.tree.leaves(Carry(seed, carry.shared)), metrics


@partial(_host_jit, static_argnames=("tree", "plan", "seeds"), donate_argnames=("leaves", "total"))
def _end_host(
    fixed: list,
    leaves: list,
    learnt: Metrics,
    total: Metrics | None,
    rollout: Rollout,
    learning: Array,
    tree: Any,
    plan: Plan,
    seeds: int,
) -> tuple[list, Metrics, Health, Bool[Array, ""]]:
    """End an update as `_learn_host` does; `learnt` are the metrics of its rounds of steps, [round, ...]."""
    _, _, carry = jax.tree.unflatten(tree, [*fixed, *leaves])
    learnt = jax.tree.map(lambda x: x.sum(axis=0), learnt)
    seed, metrics, health = over_seeds(loop.account, seeds > 1, 0)(carry.seeds, rollout, learnt)
    if total is not None:
        metrics = jax.tree.map(jnp.add, total, metrics)
    carry = Carry(seed, loop.tick(carry.shared, plan, learning))
    return jax.tree.leaves(carry), metrics, health, health.ok


class HostEngine(Engine):
    """The environment is stepped by Python; acting and learning are compiled.

    With the observations of replay in the host's memory, `carry` holds them as NumPy arrays, which are
    written in place. Its names and shapes, and so checkpoints, are those of a replay on the device.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        env: HostEnv,
        seeds: int = 1,
        seed: int = 0,
        workers: Workers = "auto",
        replay: Where = "auto",
    ) -> None:
        Engine.__init__(self, algorithm, env.spec, seeds, seed, replay, on_host=True)
        self.env = env
        self.store: Store | None = None
        self.vector = env.vector(seeds * self.plan.num_envs, workers=workers)
        self.told = self.vector.told
        self._rows: Any = None
        self._leaves: list = []  # of the carry
        self._form: Any = None
        self._never_over = np.zeros((self.seeds, self.plan.num_envs)[not self.batched :], bool)
        self._zero: Metrics | None = None  # metrics of no update yet
        self._learnt_zero: Metrics = {}  # those of them that an online algorithm gives
        self._told: dict[str, np.ndarray] = {}  # sums and counts of the episodes that infos told of

    @property
    def carry(self) -> Carry:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The run's state but for its environments."""
        carry = self._within
        if self.store is None:
            return carry
        assert carry.seeds.replay is not None
        cursor = int(carry.shared.ring.cursor)
        replay = self.store.joined(carry.seeds.replay, cursor, self.plan.rows)
        return Carry(dataclasses.replace(carry.seeds, replay=replay), carry.shared)

    @carry.setter
    def carry(self, carry: Carry) -> None:
        if self.plan.apart:
            assert carry.seeds.replay is not None
            arrays = replays.observations(carry.seeds.replay)
            self.store = self._new_store()
            if jax.tree.leaves(arrays):
                self.store.arrays = jax.tree.map(_writable, arrays)
            carry = _with_observations(carry, None)
        self._leaves, self._form = jax.tree.flatten(carry)

    @property
    def _within(self) -> Carry:
        """What of the carry is on the device."""
        return jax.tree.unflatten(self._form, self._leaves)

    def _new_store(self) -> Store:
        return Store(self.spec, self.plan.ring_rows, self.plan.num_envs, self.seeds)

    def start(self) -> None:
        """Reset the environments, by the seeds that native ones start from, and draw the parameters."""
        per_seed = over_seeds(partial(env_seeds, num_envs=self.plan.num_envs), self.batched, 0)(self.keys)
        self.obs = self._split(self.vector.reset(np.asarray(per_seed).ravel()))
        begin = time.perf_counter()
        self.carry = jax.block_until_ready(self._init(_init_host, self.obs))
        self.compile_seconds += time.perf_counter() - begin

    def shape(self) -> Carry:
        """The shapes and dtypes of `carry`."""
        lead = (self.seeds, self.plan.num_envs)[not self.batched :]
        zeros = spaces.zeros(self.spec.obs_space)
        obs = jax.tree.map(lambda x: jax.ShapeDtypeStruct((*lead, *x.shape), x.dtype), zeros)
        carry = jax.eval_shape(partial(self._init, _init_host.__wrapped__), obs)
        if not self.plan.apart:
            return carry
        # By one zero each: a checkpoint is read into arrays of the kind of these, which are NumPy's.
        one = lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape)  # noqa: E731
        return _with_observations(carry, jax.tree.map(one, self._new_store().arrays))

    def _init(self, program: Any, obs: PyTree) -> Carry:
        return program(self.algorithm, self.keys, obs, self.spec, self.plan, self.seeds)

    def _split(self, tree: PyTree) -> PyTree:
        """[seed · env, ...] to [seed, env, ...], or as it is with one seed."""
        if not self.batched:
            return tree
        return jax.tree.map(lambda x: x.reshape(self.seeds, self.plan.num_envs, *x.shape[1:]), tree)

    def _join(self, tree: PyTree) -> PyTree:
        """The inverse of `_split`, as NumPy arrays."""
        if not self.batched:
            return jax.tree.map(np.asarray, tree)
        return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

    def _fixed(self, horizon: int) -> tuple[list, Any]:
        """What stays over a chunk, as leaves, and the structure to which these and the carry unpack."""
        fixed = jax.tree.leaves((self.algorithm, np.int32(horizon)))
        return fixed, jax.tree.structure((self.algorithm, 0, self._within))

    def _compile(self, horizon: int) -> None:
        if self._rows is not None:
            return
        fixed, tree = self._fixed(horizon)
        if isinstance(self.algorithm, Online):
            self._compile_online(fixed, tree)
            return
        memory, obs, over = self._within.seeds.memory, self.obs, self._never_over
        options = {"tree": tree, "plan": self.plan, "seeds": self.seeds}
        keys = _act_keys(fixed, self._leaves, **options)
        out = _act_host(fixed, self._leaves, memory, obs, over, keys, np.int32(0), **options)
        action, memory, extras = jax.device_get(out)
        self._store(0, (obs, action, over.astype(np.float32), over, over, obs, extras))
        if self.replay_bytes > _COPY_AT_MOST and not self.plan.apart:
            return
        # Learning is compiled on a copy that is thrown away: it must not advance the run.
        copies = [jnp.copy(leaf) for leaf in self._leaves]
        if self.plan.apart:
            jax.block_until_ready(self._learn_apart(fixed, copies, None, obs, memory, tree, rehearsal=True))
            return
        jax.block_until_ready(self._learn(fixed, copies, None, obs, memory, tree))

    def _compile_online(self, fixed: list, tree: Any) -> None:
        """Both programs, on a copy of the carry that is thrown away."""
        options = {"tree": tree, "plan": self.plan, "seeds": self.seeds}
        call = partial(_online_host, **options)
        leaves = [jnp.copy(leaf) for leaf in self._leaves]
        obs, over, zero = self.obs, self._never_over, np.int32(0)
        leaves, _, action, extras = call(fixed, leaves, {}, None, obs, zero)
        row: tuple = (obs, jax.device_get(action), over.astype(np.float32), over, over, obs)
        self._store(0, (*row, {}))
        step = Transition(*row, extras)  # pyright: ignore[reportCallIssue]
        rows = self._transitions()
        end = partial(_account_host, **options)
        shapes = jax.eval_shape(
            partial(_account_host.__wrapped__, **options), fixed, leaves, None, None, step, rows, obs
        )[1]
        self._zero = {k: jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), m) for k, m in shapes.items()}
        self._learnt_zero = {k: m for k, m in self._zero.items() if k not in loop.EPISODE_METRICS}
        leaves, learnt, *_ = call(fixed, leaves, self._learnt_zero, step, obs, zero)
        jax.block_until_ready(end(fixed, leaves, learnt, self._zero, step, rows, obs))

    def _transitions(self) -> Transition:
        """The rows stored last, [time, env, ...]."""
        assert self._rows is not None
        return Transition(*self._rows)

    def _learn(
        self, fixed: list, leaves: list, total: Metrics | None, obs: Any, memory: Any, tree: Any
    ) -> tuple:
        assert self._rows is not None
        rollout = Rollout(*self._rows, ())  # pyright: ignore[reportCallIssue]
        if total is None:
            total = self._no_metrics(fixed, leaves, rollout, obs, memory, tree)
        return _learn_host(
            fixed, leaves, total, rollout, obs, memory, tree=tree, plan=self.plan, seeds=self.seeds
        )

    def _learn_apart(
        self,
        fixed: list,
        leaves: list,
        total: Metrics | None,
        obs: Any,
        memory: Any,
        tree: Any,
        rehearsal: bool = False,
    ) -> tuple:
        """`_learn` where the store holds the observations, to which a rehearsal writes nothing."""
        assert self._rows is not None
        assert self.store is not None
        rollout = Rollout(*self._rows, ())  # pyright: ignore[reportCallIssue]
        options = {"tree": tree, "plan": self.plan, "seeds": self.seeds}
        ring = jax.device_get(jax.tree.unflatten(self._form, leaves).shared.ring)
        leaves, place, learning = _admit_host(fixed, leaves, rollout, obs, memory, **options)
        if not rehearsal:
            self.store.write(
                rollout.obs, rollout.final_obs, int(ring.cursor), int(ring.filled), np.asarray(place)
            )
        learnt = []
        # By priority, what is drawn depends on the step before.
        count = 1 if self.plan.prioritized else self.plan.gradient_steps
        rounds = self.plan.gradient_steps // count if bool(learning) or rehearsal else 0
        for start in (np.int32(i * count) for i in range(rounds)):
            found = jax.device_get(_find_host(fixed, leaves, start, count, **options))
            picked = self.store.fetch(found)
            leaves, metrics = _fit_host(fixed, leaves, start, picked, learning, **options)
            learnt.append(jax.device_get(metrics))
        if self._zero is None:
            self._learnt_zero, self._zero = self._apart_zeros(fixed, leaves, rollout, learning, options)
        told = jax.tree.map(lambda *steps: np.stack(steps), *learnt) if learnt else self._learnt_zero
        return _end_host(fixed, leaves, told, total or self._zero, rollout, learning, **options)

    def _apart_zeros(
        self, fixed: list, leaves: list, rollout: Rollout, learning: Any, options: dict[str, Any]
    ) -> tuple[Metrics, Metrics]:
        """Metrics of a round in which nothing is learnt, and of no update yet."""

        def zeros(tree: PyTree, *lead: int) -> PyTree:
            return jax.tree.map(lambda s: np.zeros((*lead, *s.shape), s.dtype), tree)

        assert self.store is not None
        count = 1 if self.plan.prioritized else self.plan.gradient_steps
        start, find = np.int32(0), partial(_find_host.__wrapped__, count=count, **options)
        picked = self.store.fetch(zeros(jax.eval_shape(find, fixed, leaves, start)))
        fit = partial(_fit_host.__wrapped__, **options)
        shapes = jax.eval_shape(fit, fixed, leaves, start, picked, learning)[1]
        learnt = zeros(shapes, self.plan.gradient_steps // count)
        end = partial(_end_host.__wrapped__, **options)
        return learnt, zeros(jax.eval_shape(end, fixed, leaves, learnt, None, rollout, learning)[1])

    def _no_metrics(self, *arguments: Any) -> Metrics:
        """Metrics of no update yet: given from the first on, so that one program serves all."""
        zero = self._zero
        if zero is None:
            fixed, leaves, *rest, tree = arguments
            call = partial(_learn_host.__wrapped__, tree=tree, plan=self.plan, seeds=self.seeds)
            shapes = jax.eval_shape(call, fixed, leaves, None, *rest)[1]
            zero = self._zero = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
        return zero

    def _store(self, t: int, row: tuple) -> None:
        """Write one row into the preallocated rollout, [seed, time, env, ...] or [time, env, ...]."""
        if self._rows is None:
            axis = int(self.batched)

            def room(x: Any) -> np.ndarray:
                x = np.asarray(x)
                return np.zeros((*x.shape[:axis], self.plan.rows, *x.shape[axis:]), x.dtype)

            self._rows = jax.tree.map(room, row)
            self._row_leaves = jax.tree.leaves(self._rows)
        at = (slice(None), t) if self.batched else t
        for whole, part in zip(self._row_leaves, jax.tree.leaves(row), strict=True):
            whole[at] = part

    def _advance(self, n: int, horizon: int) -> tuple[Metrics, Health | None]:
        self._told = {}
        advance = self._advance_online if isinstance(self.algorithm, Online) else self._advance_rounds
        metrics, health = advance(n, horizon)
        return metrics | self._told_metrics(), health

    def _hear(self, info: dict[str, np.ndarray]) -> None:
        """Note whole episodes that the infos tell of, where learning sees other rewards or ends."""
        for name in ("episode_return", "episode_length"):
            if name not in info:
                continue
            values = info[name].astype(np.float64).reshape(self.seeds, -1)
            known = np.isfinite(values)
            heard = np.stack([np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1)])
            self._told[name] = self._told.get(name, 0.0) + heard

    def _told_metrics(self) -> Metrics:
        """The metrics of the episodes heard of, in place of those counted from the learner's rewards."""
        return {
            name: jax.tree.map(
                lambda x: x.astype(np.float32), Metric(*(heard if self.batched else heard[:, 0]))
            )
            for name, heard in self._told.items()
        }

    def _advance_rounds(self, n: int, horizon: int) -> tuple[Metrics, Health | None]:
        fixed, tree = self._fixed(horizon)
        total, health = None, None
        learn = self._learn_apart if self.plan.apart else self._learn
        for _ in range(n):
            memory = self._collect(fixed, tree)
            self._leaves, total, health, ok = learn(fixed, self._leaves, total, self.obs, memory, tree)
            # NumPy rows are handed over without a copy: waiting for `ok` keeps them until they are used.
            if not bool(ok):
                break
        return total if total is not None else {}, health

    def _collect(self, fixed: list, tree: Any) -> PyTree:
        memory, obs, over = self._within.seeds.memory, self.obs, self._never_over
        options = {"tree": tree, "plan": self.plan, "seeds": self.seeds}
        keys = _act_keys(fixed, self._leaves, **options)
        for t in range(self.plan.rows):
            action, memory, extras = _act_host(
                fixed, self._leaves, memory, obs, over, keys, np.int32(t), **options
            )
            (reward, terminated, truncated, final), following = self._step(action, obs)
            self._store(t, (obs, action, reward, terminated, truncated, final, extras))
            obs, over = following, terminated | truncated
        self.obs = obs
        return memory

    def _step(self, action: PyTree, obs: PyTree) -> tuple[tuple, PyTree]:
        """Step the environments: what the step gave, and the observations to act on next."""
        try:
            step = self.vector.step(self._join(action))
        except FathomError as error:
            self._require_actions(action, obs, error)
            raise
        if self.env.evaluated is not None:
            self._hear(step.info)
        given = (step.reward, step.terminated, step.truncated, step.final_obs)
        return self._split(given), self._split(step.obs)

    def _require_actions(self, action: PyTree, obs: PyTree, error: FathomError) -> None:
        """Raise NonFinite where an environment failed at what was no action: that was not its mistake."""
        start = self.spec.action_space.start if isinstance(self.spec.action_space, spaces.Discrete) else 0
        sane = [
            np.isfinite(x) if np.issubdtype(x.dtype, np.floating) else x >= start
            for x in map(np.asarray, jax.tree.leaves(action))
        ]
        good = np.logical_and.reduce([x.reshape(self.seeds, -1).all(axis=1) for x in sane])
        if not good.all():
            seen = bool(loop.finite(obs))
            what, source = ("action", _LEARNT) if seen else ("obs", _GIVEN)
            raise NonFinite(
                f"NaN or Inf after {self._where(good)}, first in {what}{self._spoilt()}. {source}"
            ) from error

    def _advance_online(self, n: int, horizon: int) -> tuple[Metrics, Health | None]:
        self._compile(horizon)
        fixed, tree = self._fixed(horizon)
        options = {"tree": tree, "plan": self.plan, "seeds": self.seeds}
        total, health = self._zero, None
        rows = self._transitions()
        for _ in range(n):
            learnt, step = self._learnt_zero, None
            for t in range(self.plan.rows):
                self._leaves, learnt, action, extras = _online_host(
                    fixed, self._leaves, learnt, step, self.obs, np.int32(t), **options
                )
                given, following = self._step(action, self.obs)
                self._store(t, (self.obs, action, *given, {}))
                step = Transition(self.obs, action, *given, extras)  # pyright: ignore[reportCallIssue]
                self.obs = following
            self._leaves, total, health, ok = _account_host(
                fixed, self._leaves, learnt, total, step, rows, self.obs, **options
            )
            # NumPy rows are handed over without a copy: waiting for `ok` keeps them until they are used.
            if not bool(ok):
                break
        return total if total is not None else {}, health

    def snapshot(self) -> dict | None:
        """The environments, where they can be copied."""
        return self.vector.snapshot()

    def restore(self, snapshot: dict | None) -> str | None:
        """Take up the environments where they were; else start their episodes anew, and say so."""
        if snapshot is not None:
            self.vector.restore(snapshot)
            self.obs = jax.tree.map(np.asarray, self._within.seeds.obs)
            return None
        keys = jax.random.fold_in(jax.random.key(self.seed), self.update)
        self.obs = self._split(
            self.vector.reset(np.asarray(env_seeds(keys, self.seeds * self.plan.num_envs)))
        )
        carry, place = _restart_episodes(self.algorithm, self._within, self.obs, self.plan, self.seeds)
        self._leaves, self._form = jax.tree.flatten(carry)
        if self.store is not None:
            self.store.move(np.asarray(place))
        return (
            f"the environment {self.env.id} cannot be copied ({self.vector.why_not_copyable()}): the learner "
            "goes on exactly, the episodes under way start anew."
        )

    def close(self) -> None:
        """Close the environments and end their worker processes."""
        self.vector.close()


def _with_observations(carry: Carry, arrays: PyTree) -> Carry:
    """The carry with these as the observations of its replay."""
    assert carry.seeds.replay is not None
    replay = replays.with_observations(carry.seeds.replay, arrays)
    return Carry(dataclasses.replace(carry.seeds, replay=replay), carry.shared)


def _writable(array: Any) -> np.ndarray:
    """An array of NumPy's that may be written to: this one, if it is."""
    return array if isinstance(array, np.ndarray) and array.flags.writeable else np.array(array)


def make_engine(
    algorithm: Algorithm,
    env: Env | HostEnv,
    seeds: int,
    seed: int,
    workers: Workers = "auto",
    replay: Where = "auto",
) -> Engine:
    """The engine that fits the environment; `replay` is where its replay is to be: see `memory.placed`."""
    if isinstance(env, Env):
        return NativeEngine(algorithm, env, seeds, seed, replay)
    return HostEngine(algorithm, env, seeds, seed, workers, replay)


def clock_at(engine: Engine, horizon: int) -> Clock:
    """The engine's clock, for acting outside of the loop."""
    return loop.clock_of(engine.carry.shared, jnp.asarray(horizon, jnp.int32), engine.plan)
