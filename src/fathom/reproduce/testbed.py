"""Many runs of bandit learners side by side, each on a problem of its own, in one compiled program."""

import functools
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl
from jaxtyping import Array, Float, Key, PyTree, UInt32

from fathom.algos.base import Online
from fathom.core.errors import FathomError
from fathom.core.keys import named
from fathom.core.module import lift
from fathom.core.types import Clock, Transition
from fathom.envs.base import spec_of
from fathom.envs.toy.bandit import Bandit


class Played(NamedTuple):
    """What the runs of one learner gave: means over runs at each step, means over steps of each run."""

    reward: Float[np.ndarray, " step"]
    reward_std: Float[np.ndarray, " step"]  # standard deviation over runs
    optimal: Float[np.ndarray, " step"]  # part of the runs that took a best arm
    last_reward: Float[np.ndarray, " run"]  # over the last steps
    last_optimal: Float[np.ndarray, " run"]
    all_reward: Float[np.ndarray, " run"]  # over all steps


def play(
    learners: tuple[Online, ...],
    env: Bandit,
    runs: int,
    steps: int,
    last: int,
    seed: int = 0,
    words: int | None = 2,
) -> list[Played]:
    """Let each learner play `runs` problems for `steps` steps, by its own `act` and `update`.

    Run i of every learner meets the same problem and the same chance: what is compared differs by nothing
    else. `last` is how many of the last steps `last_reward` and `last_optimal` average. `words` is how many
    random numbers an `act` and a play take at most, drawn ahead for all steps in one batch; None where that
    is not known (rejection sampling): then each makes them from a key of its own, which is slower.
    """
    groups = _grouped(learners)
    stacked = tuple(_stack([learners[i] for i in group]) for group in groups)
    sizes = tuple(len(group) for group in groups)
    played = _play(stacked, lift(env), jax.random.key(seed), sizes, runs, steps, last, words)
    order = [i for group in groups for i in group]
    rows = {i: Played(*(np.asarray(x)[n] for x in played)) for n, i in enumerate(order)}
    return [rows[i] for i in range(len(learners))]


def _grouped(learners: tuple[Online, ...]) -> list[list[int]]:
    """Which learners differ in numbers alone: they share one program."""
    groups: dict[Any, list[int]] = {}
    for i, learner in enumerate(learners):
        groups.setdefault(jax.tree.structure(learner), []).append(i)
    return list(groups.values())


def _stack(learners: list[Online]) -> Online:
    """Learners of one structure as one, every leaf [learner]."""
    return jax.tree.map(lambda *leaves: np.stack([np.float32(x) for x in leaves]), *learners)


# Runs lie along the last axis of every array, so that what is done over actions is vectorised over runs.
@partial(jax.jit, static_argnames=("sizes", "runs", "steps", "last", "words"))
def _play(
    groups: tuple[Online, ...],
    env: Bandit,
    key: Key[Array, ""],
    sizes: tuple[int, ...],
    runs: int,
    steps: int,
    last: int,
    words: int | None,
) -> tuple[Array, ...]:
    problem_keys = _keys(named(key, "problems"), (runs,), env.arms)
    problems, obs = jax.vmap(env.reset, out_axes=(-1, None))(problem_keys)
    obs, spec = obs[None], spec_of(env)
    zero = jnp.zeros((), jnp.int32)
    clock = Clock(zero, zero, jnp.ones((), jnp.float32), zero)  # no learner of bandits has a schedule

    def begin(learner: Online) -> PyTree:
        state = learner.init(spec, named(key, "init"))
        return jax.tree.map(lambda x: jnp.broadcast_to(x[..., None], (*x.shape, runs)), state)

    def act(learner: Online, state: PyTree, act_key: Array) -> Array:
        return learner.act(state, (), obs, act_key, clock, True)[0][0]

    def pay(env_key: Array, problem: PyTree, action: Array) -> tuple[PyTree, Array, Array]:
        problem, step = env.step(env_key, problem, action)
        return problem, step.reward, step.info["optimal"]

    def update(learner: Online, state: PyTree, action: Array, reward: Array, key: Array) -> PyTree:
        never = jnp.zeros(1, jnp.bool_)
        step = Transition(obs, action[None], reward[None], never, never, obs, {})
        return learner.update(state, (), step, key, clock)[0]

    # The outer map is over the learners of a group, the inner one over runs.
    act_all = jax.vmap(jax.vmap(act, (None, -1, 0)), (0, -2, None))
    pay_all = jax.vmap(jax.vmap(pay, (0, -1, 0), (-1, 0, 0)), (None, -2, 0), (-2, 0, 0))
    update_all = jax.vmap(jax.vmap(update, (None, -1, 0, 0, 0), -1), (0, -2, 0, 0, None), -2)
    bounds = np.cumsum(sizes)[:-1]

    def step(carry: tuple, now: tuple) -> tuple:
        states, problems, total, late = carry
        act_keys, env_keys, is_late = now
        actions = [act_all(g, s, act_keys) for g, s in zip(groups, states, strict=True)]
        problems, reward, optimal = pay_all(env_keys, problems, jnp.concatenate(actions))
        rewards = jnp.split(reward, bounds)
        states = tuple(
            update_all(g, s, a, r, act_keys)
            for g, s, a, r in zip(groups, states, actions, rewards, strict=True)
        )
        late = jax.tree.map(lambda sum, x: sum + is_late * x, late, (reward, optimal))
        mean = reward.mean(axis=-1)
        spread = jnp.square(reward - mean[:, None]).mean(axis=-1)
        return (states, problems, total + reward, late), (mean, spread, optimal.mean(axis=-1))

    learners = sum(sizes)
    states = tuple(jax.vmap(begin, out_axes=-2)(group) for group in groups)
    problems = jax.tree.map(
        lambda x: jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], learners, runs)), problems
    )
    zeros = jnp.zeros((learners, runs), jnp.float32)
    is_late = (jnp.arange(steps) >= steps - last).astype(jnp.float32)
    inputs = (
        _keys(named(key, "act"), (steps, runs), words),
        _keys(named(key, "play"), (steps, runs), words),
        is_late,
    )
    carry = (states, problems, zeros, (zeros, zeros))
    (_, _, total, late), (mean, spread, optimal) = jax.lax.scan(step, carry, inputs)
    std = jnp.sqrt(spread * (runs / max(runs - 1, 1)))
    return mean.T, std.T, optimal.T, late[0] / last, late[1] / last, total / steps


def _keys(key: Key[Array, ""], shape: tuple[int, ...], words: int | None) -> Key[Array, "..."]:
    """Keys of a shape: of `words` random numbers each, drawn here, or ordinary ones."""
    size = math.prod(shape)
    if words is None:
        return jax.random.split(key, size).reshape(shape)
    # Flat: a batch of several axes makes counters of 64 bits, which took ten times as long to compile.
    drawn = jax.random.bits(key, (size * words,)).reshape(*shape, words)
    return jax.random.wrap_key_data(drawn, impl=_drawn(words))


@functools.cache
def _drawn(words: int) -> Any:
    """Keys that are random numbers themselves and give them out once, as a key is to be consumed once.

    In a scan a call of Threefry is a loop of its own; these cost nothing there. They cannot be split.
    """

    def bits(key: UInt32[Array, " word"], width: int, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
        size = math.prod(shape)
        if width != 32 or size > words:
            raise FathomError(
                f"{size} random numbers of {width} bits were asked of a key of {words} of 32 bits: give more "
                "`words`, or None."
            )
        return key[:size].reshape(shape)

    def refuse(*_: Any) -> Any:
        raise FathomError("keys drawn beforehand cannot be split; give `words=None`.")

    def seed(_: Array) -> UInt32[Array, " word"]:
        return jnp.zeros(words, jnp.uint32)

    return define_prng_impl(
        key_shape=(words,),
        seed=seed,
        split=refuse,
        random_bits=bits,
        fold_in=refuse,
        name=f"drawn{words}",
        tag=f"d{words}",
    )
