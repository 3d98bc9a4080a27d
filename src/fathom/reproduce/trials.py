"""Many runs of online learners side by side, each in its own environment, with a trace of every step."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.algos.base import Online
from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named
from fathom.core.module import lift
from fathom.core.scan import scan_ahead
from fathom.core.types import Clock, Obs, Transition
from fathom.envs.base import Draws, Env, VecState, spec_of, vec_draws, vec_reset, vec_step
from fathom.train.loop import act_online, learn_from_step

Watch = Callable[[PyTree, Transition], PyTree]

_AHEAD = 1 << 19  # steps of all runs whose random numbers are held at once


class Trace(NamedTuple):
    """Every step that every run of every learner made; `seen` is what was watched after each step."""

    reward: Float[np.ndarray, "learner run step"]
    over: Bool[np.ndarray, "learner run step"]
    seen: PyTree  # [learner, run, step, ...]


class Episodes(NamedTuple):
    """The first episodes of every run of every learner."""

    total: Float[np.ndarray, "learner run episode"]  # sum of rewards
    length: Int[np.ndarray, "learner run episode"]  # steps
    seen: Float[np.ndarray, "learner run episode"]  # what was watched after its last step


class _Carry(eqx.Module):
    """Between two steps. Leaves are [run, learner, ...], but for `key` [run] and `done` []."""

    env: PyTree
    obs: Obs
    learner: PyTree
    memory: PyTree
    key: Key[Array, " run"]
    streams: Key[Array, " run"]  # the environments' chance: that of a run is the same for every learner
    done: Int[Array, ""]  # steps made


def watch_nothing(learner: PyTree, step: Transition) -> Array:
    """For those whom rewards and ends of episodes tell enough."""
    return jnp.zeros((), jnp.float32)


class Trials:
    """`runs` runs of each learner by its own `act` and `update`, step by step as `train.loop` makes them.

    The learners are of one class and differ in numbers alone: they share one program. Run i of every learner
    draws the same random numbers. `watch(learner, step)` gives, after each step, what the trace is to hold
    of it. `abreast` computes all runs at once; without it one after the other, which is faster for learners
    that loop within a step a number of times that depends on the run. FathomError for learners of several
    structures, or with several environments each.
    """

    def __init__(
        self,
        learners: Sequence[Online],
        env: Env,
        runs: int,
        seed: int = 0,
        watch: Watch = watch_nothing,
        abreast: bool = True,
    ) -> None:
        if len({jax.tree.structure(learner) for learner in learners}) != 1:
            raise FathomError("learners that are played together differ in numbers alone; play others apart.")
        if learners[0].num_envs != 1:
            raise FathomError(f"num_envs is {learners[0].num_envs}; a run here is one of one environment.")
        for learner in learners:
            learner.check(spec_of(env))
        self._learners = jax.tree.map(lambda *x: jnp.stack(x), *(lift(learner) for learner in learners))
        self._runs, self._watch, self._abreast = runs, watch, abreast
        self._carry = _begin(self._learners, lift(env), jax.random.key(seed), runs)

    def steps(self, env: Env, count: int) -> Trace:
        """The next `count` steps of every run.

        `env` is the environment, or another of the same structure: the world may change between calls.
        """
        self._carry, trace = _advance(
            self._learners, lift(env), self._carry, count, self._watch, self._abreast
        )
        return Trace(*jax.tree.map(lambda x: np.asarray(x).swapaxes(0, 1), trace))

    def episodes(self, env: Env, count: int, at_a_time: int = 1024) -> Episodes:
        """The first `count` episodes from here on of every run; of `seen`, one number a step.

        Steps are made `at_a_time` or fewer for all runs until the last is through: others go beyond `count`.
        """
        rows = max(1, min(at_a_time, _AHEAD // self._runs))
        lanes = jax.tree.leaves(self._learners)[0].shape[0] * self._runs
        sums = {name: np.zeros(lanes * count) for name in Episodes._fields}
        begun = np.zeros(lanes, np.int64)  # episodes over
        while begun.min() < count:
            trace = self.steps(env, rows)
            over = trace.over.reshape(lanes, rows)
            after = begun[:, None] + over.cumsum(axis=-1)
            index = after - over  # of the episode that each step belongs to
            cell = np.arange(lanes)[:, None] * count + index
            kept, ended = index < count, over & (index < count)
            for name, where, what in (
                ("total", kept, trace.reward),
                ("length", kept, np.ones(over.shape)),
                ("seen", ended, trace.seen),
            ):
                sums[name] += np.bincount(cell[where], what.reshape(over.shape)[where], lanes * count)
            begun = after[:, -1]
        whole = {name: x.reshape(-1, self._runs, count) for name, x in sums.items()}
        return Episodes(whole["total"], whole["length"].astype(np.int64), whole["seen"])


def episodes_apart(
    learners: Sequence[Online], env: Env, runs: int, count: int, seed: int = 0, watch: Watch = watch_nothing
) -> Episodes:
    """The first `count` episodes of every run of every learner, as `Trials` of all would give them.

    One learner is played after the other, by one program, so that none waits for those that take many more
    steps: on MountainCar, where some step sizes diverge, that is the faster way.
    """
    each = [Trials([one], env, runs, seed, watch).episodes(env, count) for one in learners]
    return Episodes(*(np.concatenate(parts) for parts in zip(*each, strict=True)))


@partial(jax.jit, static_argnames="runs")
def _begin(learners: Online, env: Env, key: Key[Array, ""], runs: int) -> _Carry:
    keys = jax.random.split(named(key, "runs"), runs)
    spec = spec_of(env)

    def one(learner: Online, key: Key[Array, ""]) -> tuple:
        vec, obs = vec_reset(env, env_seeds(key, 1))
        state = learner.init(spec, named(key, "init"))
        return vec, obs, state, learner.init_memory(state, 1)

    vec, obs, state, memory = jax.vmap(jax.vmap(one, (0, None)), (None, 0))(learners, keys)
    return _Carry(vec.env, obs, state, memory, keys, vec.key[:, 0, 0], jnp.zeros((), jnp.int32))


@partial(jax.jit, static_argnames=("count", "watch", "abreast"))
def _advance(
    learners: Online, env: Env, carry: _Carry, count: int, watch: Watch, abreast: bool
) -> tuple[_Carry, Trace]:
    def run(lane: tuple) -> tuple:
        """One run of all learners."""
        start, key, stream = lane[:4], lane[4], lane[5]

        def step(carry: tuple, now: tuple[Array, Draws]) -> tuple[tuple, tuple]:
            t, draws = now
            clock = Clock(t, jnp.ones((), jnp.int32), jnp.ones((), jnp.float32), jnp.zeros((), jnp.int32))

            def one(learner: Online, inner: PyTree, obs: Obs, state: PyTree, memory: PyTree) -> tuple:
                action, memory, extras = act_online(learner, state, memory, obs, key, clock)
                vec_state = VecState(inner, stream[None], t.astype(jnp.uint32)[None])
                vec_state, vec = vec_step(env, vec_state, action, draws)
                made = Transition(
                    obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras
                )
                state, memory, _ = learn_from_step(learner, state, memory, made, key, clock)
                trace = (vec.reward[0], (vec.terminated | vec.truncated)[0], watch(state, made))
                return (vec_state.env, vec.obs, state, memory), trace

            return jax.vmap(one)(learners, *carry)

        rows = carry.done + jnp.arange(count, dtype=jnp.int32)
        origin = VecState(
            jax.tree.map(lambda x: x[0], start[0]), stream[None], carry.done.astype(jnp.uint32)[None]
        )
        return scan_ahead(step, start, (rows, vec_draws(env, origin, count)))

    lanes = (carry.env, carry.obs, carry.learner, carry.memory, carry.key, carry.streams)
    (inner, obs, learner, memory), trace = jax.vmap(run)(lanes) if abreast else jax.lax.map(run, lanes)
    after = _Carry(inner, obs, learner, memory, carry.key, carry.streams, carry.done + count)
    return after, Trace(*jax.tree.map(lambda x: jnp.moveaxis(x, 1, 2), trace))
