"""One update of one run, as pure functions: the same lines for native and host environments.

`Seed` is what each seed has to itself and is vmapped; `Shared` is what all have in common and is not, so that
a `cond` on a counter stays a branch and a ring is written by slices.
"""

import math
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from fathom.algos.base import Algorithm, Metrics, OffPolicy, Online, OnPolicy
from fathom.core.errors import FathomError
from fathom.core.keys import named, numbered
from fathom.core.scan import scan_ahead
from fathom.core.types import Action, Batch, Clock, EnvSpec, Masked, Metric, Obs, Rollout, Transition
from fathom.data import replay as replays
from fathom.envs.base import Draws, Env, VecState, vec_draws, vec_step

EPISODE_METRICS = ("episode_return", "episode_length", "reward")  # those that the loop itself gives


_BEGINNING: Any = Clock(np.int32(0), np.int32(1), np.float32(1), np.int32(0))  # pyright: ignore


@dataclass(frozen=True)
class Plan:
    """What one update consists of; the static part of a run's program."""

    num_envs: int
    rows: int  # steps of each environment in one update
    gradient_steps: int  # rounds of `update` on replayed batches; 0 for algorithms without replay
    ring_rows: int  # rows of the replay ring; 0 for none
    ticks: int = 1  # of the clock: one, or one a row for algorithms that learn at every step
    prioritized: bool = False  # whether replay is by priority
    apart: bool = False  # whether the observations of replay are kept in the host's memory

    @property
    def steps(self) -> int:
        """Environment steps of one seed in one update."""
        return self.rows * self.num_envs

    @staticmethod
    def of(algorithm: Algorithm) -> "Plan":
        """The plan that an algorithm's settings ask for.

        Off-policy, an update spans the least number of environment steps that both `train_every` and
        `num_envs` divide, so that the gradient steps per environment step do not depend on `num_envs`.
        """
        if isinstance(algorithm, OnPolicy):
            return Plan(algorithm.num_envs, algorithm.num_steps, 0, 0)
        if isinstance(algorithm, OffPolicy):
            steps = math.lcm(algorithm.train_every, algorithm.num_envs)
            rows = steps // algorithm.num_envs
            rounds = algorithm.gradient_steps * (steps // algorithm.train_every)
            ring = replays.rows_needed(algorithm.buffer_size, algorithm.num_envs, rows)
            prioritized = algorithm.prioritisation(_BEGINNING) is not None
            return Plan(algorithm.num_envs, rows, rounds, max(ring, rows * 2), prioritized=prioritized)
        if isinstance(algorithm, Online):
            return Plan(algorithm.num_envs, algorithm.num_steps, 0, 0, ticks=algorithm.num_steps)
        raise FathomError(
            f"{type(algorithm).__name__} is none of OnPolicy, OffPolicy and Online; derive it from one."
        )


class Seed(eqx.Module):
    """All that one seed carries from update to update. With several seeds every leaf has a leading axis."""

    learner: PyTree
    env: VecState | None  # None where the environment lives on the host
    obs: Obs  # [env, ...]
    memory: PyTree  # [env, ...]
    key: Key[Array, "..."]  # the seed's root key, from which all others are derived by name and number
    episode_return: Float[Array, "... env"]  # of the episodes under way
    episode_length: Int[Array, "... env"]
    replay: replays.Replay | None


class Shared(eqx.Module):
    """Counters that all seeds have in common."""

    update: Int[Array, ""]
    gradient_step: Int[Array, ""]
    ring: replays.Ring


class Carry(eqx.Module):
    """The whole state of a run's loop: what a checkpoint holds."""

    seeds: Seed
    shared: Shared


NEVER = np.iinfo(np.int32).max  # a row that no rollout has


class Health(eqx.Module):
    """What the guard against NaN and Inf needs, of one update; True means finite."""

    legal: Bool[Array, "..."]  # whether every observation acted on had a legal action
    obs: Bool[Array, "..."]
    action: Bool[Array, "..."]  # no action in any environment before its first observation that is not
    reward: Bool[Array, "..."]
    metrics: dict[str, Bool[Array, "..."]]
    reward_min: Float[Array, "..."]
    reward_max: Float[Array, "..."]

    @property
    def flags(self) -> list[Bool[Array, "..."]]:
        """All that has to hold."""
        return [self.legal, self.obs, self.action, self.reward, *self.metrics.values()]

    @property
    def ok(self) -> Bool[Array, ""]:
        """Whether all is finite, for all seeds."""
        return jnp.stack([flag.all() for flag in self.flags]).all()


def clock_of(shared: Shared, horizon: Int[Array, ""], plan: Plan) -> Clock:
    """The clock that this update's `act` and `update` read."""
    return Clock(shared.update, horizon, jnp.asarray(plan.steps, jnp.float32), shared.gradient_step)


def clock_at_row(clock: Clock, plan: Plan, t: Int[Array, ""]) -> Clock:
    """The clock of the t-th row of an update, for algorithms that learn at every step.

    It counts rows, so that schedules and keys do not depend on how many of them the engine calls an update.
    """
    return Clock(
        clock.update * plan.rows + t,
        clock.horizon * plan.rows,
        jnp.asarray(plan.num_envs, jnp.float32),
        clock.gradient_step,
    )


def tick(shared: Shared, plan: Plan, learning: Bool[Array, ""]) -> Shared:
    """The counters after one update, in which gradient steps were made if `learning`."""
    done = jnp.where(learning, plan.gradient_steps, 0).astype(jnp.int32)
    return Shared(shared.update + 1, shared.gradient_step + done, ring_after(shared, plan))


def ring_after(shared: Shared, plan: Plan) -> replays.Ring:
    """The replay ring once this update's rows are in it."""
    return replays.advance(shared.ring, plan.rows, max(plan.ring_rows, 1))


def is_learning(algorithm: Algorithm, shared: Shared, plan: Plan) -> Bool[Array, ""]:
    """Whether enough has been collected, with this update's rows, to learn from replay."""
    if not isinstance(algorithm, OffPolicy):
        return jnp.asarray(True)
    return ring_after(shared, plan).filled * plan.num_envs >= algorithm.learning_starts


def advance(
    algorithm: Algorithm, env: Env, plan: Plan, seed: Seed, shared: Shared, horizon: Int[Array, ""]
) -> tuple[Seed, Metrics, Health]:
    """One update of one seed on native environments."""
    clock = clock_of(shared, horizon, plan)
    if isinstance(algorithm, Online):
        return learn_online(algorithm, env, plan, seed, clock)
    seed, rollout = collect(algorithm, env, plan, seed, clock)
    learning = is_learning(algorithm, shared, plan)
    return learn(algorithm, plan, seed, rollout, clock, shared.ring, learning)


def collect(algorithm: Algorithm, env: Env, plan: Plan, seed: Seed, clock: Clock) -> tuple[Seed, Rollout]:
    """Run the present policy for `plan.rows` steps of each native environment."""

    def step(carry: tuple, draws: tuple[Array, Draws]) -> tuple[tuple, Rollout]:
        env_state, obs, memory = carry
        key, env_draws = draws
        action, memory, extras = algorithm.act(seed.learner, memory, obs, key, clock, True)
        env_state, vec = vec_step(env, env_state, action, env_draws)
        memory = reset_memory(algorithm, seed.learner, memory, vec.terminated | vec.truncated)
        row = Rollout(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras, ())
        return (env_state, vec.obs, memory), row

    assert seed.env is not None
    start = (seed.env, seed.obs, seed.memory)
    keys = act_keys(seed.key, clock, plan)
    draws = (keys, vec_draws(env, seed.env, plan.rows))
    (env_state, obs, memory), rollout = jax.lax.scan(step, start, draws)
    rollout = eqx.tree_at(lambda r: r.memory, rollout, seed.memory)
    seed = eqx.tree_at(
        lambda s: (s.env, s.obs, s.memory), seed, (env_state, obs, memory), is_leaf=lambda x: x is None
    )
    return seed, rollout


def act_key(root: Key[Array, ""], clock: Clock, t: Int[Array, ""]) -> Key[Array, ""]:
    """The key of the t-th step of this update."""
    return numbered(numbered(named(root, "act"), clock.update), t)


def learn_online(
    algorithm: Online, env: Env, plan: Plan, seed: Seed, clock: Clock
) -> tuple[Seed, Metrics, Health]:
    """Act, step and learn for `plan.rows` steps of each native environment."""

    def row(carry: tuple, ahead: tuple[Array, Draws]) -> tuple[tuple, tuple[Transition, Metrics]]:
        env_state, obs, learner, memory = carry
        t, draws = ahead
        now = clock_at_row(clock, plan, t)
        action, memory, extras = act_online(algorithm, learner, memory, obs, seed.key, now)
        env_state, vec = vec_step(env, env_state, action, draws)
        step = Transition(obs, action, vec.reward, vec.terminated, vec.truncated, vec.final_obs, extras)
        learner, memory, metrics = learn_from_step(algorithm, learner, memory, step, seed.key, now)
        return (env_state, vec.obs, learner, memory), (step, metrics)

    assert seed.env is not None
    start = (seed.env, seed.obs, seed.learner, seed.memory)
    ahead = (jnp.arange(plan.rows, dtype=jnp.int32), vec_draws(env, seed.env, plan.rows))
    (env_state, obs, learner, memory), (steps, learnt) = scan_ahead(row, start, ahead)
    seed = eqx.tree_at(lambda s: (s.env, s.obs, s.learner, s.memory), seed, (env_state, obs, learner, memory))
    return account(seed, steps, jax.tree.map(lambda x: x.sum(axis=0), learnt))


def act_online(
    algorithm: Online, learner: PyTree, memory: PyTree, obs: Obs, root: Key[Array, ""], clock: Clock
) -> tuple[Action, PyTree, dict[str, Any]]:
    """`act` at the row that the clock shows."""
    key = numbered(named(root, "act"), clock.update)
    return algorithm.act(learner, memory, obs, key, clock, True)


def learn_from_step(
    algorithm: Online, learner: PyTree, memory: PyTree, step: Transition, root: Key[Array, ""], clock: Clock
) -> tuple[PyTree, PyTree, Metrics]:
    """`update` at the row that the clock shows; the memory is fresh where the step ended an episode."""
    key = numbered(named(root, "update"), clock.update)
    learner, memory, metrics = algorithm.update(learner, memory, step, key, clock)
    return learner, reset_memory(algorithm, learner, memory, step.terminated | step.truncated), metrics


def account(seed: Seed, rows: Rollout | Transition, learnt: Metrics) -> tuple[Seed, Metrics, Health]:
    """What an update's rows [time, env, ...] and its learning add to counts, metrics and health."""
    seed, metrics = episode_metrics(seed, rows)
    metrics |= learnt
    return seed, metrics, health_of(rows, metrics)


def act_keys(root: Key[Array, ""], clock: Clock, plan: Plan) -> Key[Array, " time"]:
    """The keys of all steps of this update."""
    return jax.vmap(lambda t: act_key(root, clock, t))(jnp.arange(plan.rows))


def reset_memory(algorithm: Algorithm, learner: PyTree, memory: PyTree, over: Bool[Array, " env"]) -> PyTree:
    """A policy's memory with that of the environments whose episode is over set back to the start."""
    fresh = algorithm.init_memory(learner, over.shape[0])

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(over.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(choose, fresh, memory)


def learn(
    algorithm: Algorithm,
    plan: Plan,
    seed: Seed,
    rollout: Rollout,
    clock: Clock,
    ring: replays.Ring,
    learning: Bool[Array, ""],
) -> tuple[Seed, Metrics, Health]:
    """Everything of one update that follows collecting. `ring` is as before this rollout was written."""
    key = update_key(seed.key, clock)
    if isinstance(algorithm, OnPolicy):
        learner, learnt = algorithm.update(seed.learner, rollout, key, clock)
        seed = eqx.tree_at(lambda s: s.learner, seed, learner)
    elif isinstance(algorithm, OffPolicy):
        assert seed.replay is not None
        replay = replays.add(seed.replay, rollout, ring, algorithm.n_step)
        after = replays.advance(ring, plan.rows, plan.ring_rows)
        learner = algorithm.observe(seed.learner, rollout)
        learner, replay, learnt = learn_from_replay(
            algorithm, plan, learner, replay, after, key, clock, learning
        )
        seed = eqx.tree_at(lambda s: (s.learner, s.replay), seed, (learner, replay))
    else:
        raise TypeError(type(algorithm))
    return account(seed, rollout, learnt)


def update_key(root: Key[Array, ""], clock: Clock) -> Key[Array, ""]:
    """The key of all that an update learns."""
    return numbered(named(root, "update"), clock.update)


def learn_from_replay(
    algorithm: OffPolicy,
    plan: Plan,
    learner: PyTree,
    replay: replays.Replay,
    ring: replays.Ring,
    key: Key[Array, ""],
    clock: Clock,
    learning: Bool[Array, ""],
    start: Int[Array, ""] | None = None,
    picked: tuple[PyTree, replays.Found] | None = None,
) -> tuple[PyTree, replays.Replay, Metrics]:
    """A round of gradient steps on batches drawn from replay, or nothing while it fills.

    The replay comes back with the priorities that were learnt, if it has any. Of a replay whose observations
    are elsewhere, `picked` holds those that are needed, and where in it they are, [step, batch, ...]: of the
    steps from `start` on, all or some.
    """
    count = plan.gradient_steps if picked is None else picked[1].env.shape[0]
    indices = jnp.arange(count, dtype=jnp.int32)
    if start is not None:
        indices = indices + start

    def draws(i: Array) -> tuple[PyTree, Array]:
        return drawn_at(algorithm, replay, ring, key, clock, i)

    def gradient_step(carry: tuple, given: tuple) -> tuple[tuple, Metrics]:
        (learner, tree), (i, (drawn, update_key), there) = carry, given
        now = eqx.tree_at(lambda r: r.tree, replay, tree, is_leaf=lambda x: x is None)
        drawn, found = find_batch(algorithm, now, ring, drawn, clock)
        if picked is None:
            seen = replays.fetch(replays.stack_of(replay), replays.observations(replay), found)
        else:
            seen = replays.fetch(replays.stack_of(replay), picked[0], there)
        batch = replays.whole(found, *seen)
        return learn_from_batch(algorithm, learner, now, batch, drawn, update_key, clock, i)

    def steps(carry: tuple) -> tuple[tuple, Metrics]:
        given = (indices, jax.vmap(draws)(indices), None if picked is None else picked[1])
        carry, metrics = jax.lax.scan(gradient_step, carry, given)
        return carry, jax.tree.map(lambda x: x.sum(axis=0), metrics)

    carry = (learner, replay.tree)
    shapes = jax.eval_shape(steps, carry)[1]
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (learner, tree), metrics = jax.lax.cond(learning, steps, lambda same: (same, nothing), carry)
    replay = eqx.tree_at(lambda r: r.tree, replay, tree, is_leaf=lambda x: x is None)
    return learner, replay, metrics


def drawn_at(
    algorithm: OffPolicy,
    replay: replays.Replay,
    ring: replays.Ring,
    key: Key[Array, ""],
    clock: Clock,
    i: Int[Array, ""],
) -> tuple[PyTree, Key[Array, ""]]:
    """What chance has to say of the i-th gradient step of a round: the draw of its batch, or the numbers
    by which a draw by priority is made when its turn comes; and the key of `update`.
    """
    sample_key, update_key = jax.random.split(numbered(key, i))
    if algorithm.prioritisation(clock) is not None:
        return jax.random.uniform(sample_key, (algorithm.batch_size,)), update_key
    rows, num_envs = replay.reward.shape
    drawn = replays.draw(rows, num_envs, ring, sample_key, algorithm.batch_size, algorithm.n_step)
    return drawn, update_key


def find_batch(
    algorithm: OffPolicy, replay: replays.Replay, ring: replays.Ring, drawn: PyTree, clock: Clock
) -> tuple[replays.Draw, replays.Found]:
    """The batch of what `drawn_at` gave, but for its observations."""
    rows, num_envs = replay.reward.shape
    prioritisation = algorithm.prioritisation(clock)
    weight = None
    if prioritisation is not None and replay.tree is not None:
        drawn, weight = replays.draw_prioritized(
            replay.tree, rows, num_envs, ring, drawn, prioritisation, algorithm.n_step
        )
    found = replays.find(replay, drawn, algorithm.n_step, jnp.asarray(algorithm.gamma), ring)
    assert found.batch is not None
    if weight is not None:
        if isinstance(replay.obs, replays.Frames):  # some may not count at all
            weight = weight * found.batch.weight
        found = eqx.tree_at(lambda f: f.batch.weight, found, weight)
    return drawn, found


def learn_from_batch(
    algorithm: OffPolicy,
    learner: PyTree,
    replay: replays.Replay,
    batch: Batch,
    drawn: replays.Draw,
    key: Key[Array, ""],
    clock: Clock,
    i: Int[Array, ""],
) -> tuple[tuple, Metrics]:
    """The i-th gradient step of a round; the learner and the tree of priorities after it."""
    now = eqx.tree_at(lambda c: c.gradient_step, clock, clock.gradient_step + i)
    learner, metrics, priority = algorithm.update(learner, batch, key, now)
    tree, prioritisation = replay.tree, algorithm.prioritisation(clock)
    if prioritisation is not None and tree is not None and priority is not None:
        # What does not count is not worth drawing again. And, the weight being read from the tree, it is
        # written after that: were the order open, XLA would copy the whole of it at every step.
        priority = jnp.where(batch.weight > 0.0, priority, 0.0)
        num_envs = replay.reward.shape[1]
        tree = replays.reprioritise(tree, num_envs, drawn, priority, prioritisation.exponent)
    return (learner, tree), metrics


def episode_metrics(seed: Seed, rollout: Rollout | Transition) -> tuple[Seed, Metrics]:
    """Count the rewards and steps of episodes; those that end in this rollout enter the metrics."""
    over = rollout.terminated | rollout.truncated

    def step(carry: tuple, row: tuple) -> tuple[tuple, tuple]:
        total, length = carry
        reward, ended = row
        total, length = total + reward, length + 1
        kept = (jnp.where(ended, 0.0, total), jnp.where(ended, 0, length))
        return kept, (total, length)

    start = (seed.episode_return, seed.episode_length)
    (total, length), (totals, lengths) = jax.lax.scan(step, start, (rollout.reward, over))
    seed = eqx.tree_at(lambda s: (s.episode_return, s.episode_length), seed, (total, length))
    return seed, {
        "episode_return": Metric.where(totals, over),
        "episode_length": Metric.where(lengths.astype(jnp.float32), over),
        "reward": Metric.of(rollout.reward),
    }


def health_of(rollout: Rollout | Transition, metrics: Metrics) -> Health:
    """Which of an update's observations, rewards and metrics are finite."""
    mask = rollout.obs.mask.any(axis=-1) if isinstance(rollout.obs, Masked) else jnp.asarray(True)
    known = jnp.isfinite(rollout.reward)
    return Health(
        legal=mask.all(),
        obs=finite((rollout.obs, rollout.final_obs)),
        action=jnp.all(first_not_finite(rollout.action) >= first_not_finite(rollout.obs)),
        reward=finite(rollout.reward),
        metrics={name: jnp.isfinite(metric.sum) for name, metric in metrics.items()},
        reward_min=jnp.where(known, rollout.reward, jnp.inf).min(),
        reward_max=jnp.where(known, rollout.reward, -jnp.inf).max(),
    )


def finite(tree: Any) -> Bool[Array, ""]:
    """Whether every floating-point number in a tree is finite."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).all() for x in floats] or [jnp.asarray(True)]).all()


def first_not_finite(tree: PyTree) -> Int[Array, " env"]:
    """The row of [time, env, ...] in which a number is not finite first, by environment; NEVER in none."""
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    if not floats:
        return jnp.asarray(NEVER)
    spoilt = jnp.stack([~jnp.isfinite(x).reshape(*x.shape[:2], -1).all(axis=-1) for x in floats]).any(axis=0)
    return jnp.where(spoilt.any(axis=0), jnp.argmax(spoilt, axis=0).astype(jnp.int32), NEVER)


def init_seed(
    algorithm: Algorithm, spec: EnvSpec, plan: Plan, key: Key[Array, ""], env: VecState | None, obs: Obs
) -> Seed:
    """The state of one seed before its first update."""
    learner = algorithm.init(spec, named(key, "init"))
    return Seed(
        learner=learner,
        env=env,
        obs=obs,
        memory=algorithm.init_memory(learner, plan.num_envs),
        key=key,
        episode_return=jnp.zeros(plan.num_envs),
        episode_length=jnp.zeros(plan.num_envs, jnp.int32),
        replay=replays.init(spec, plan.ring_rows, plan.num_envs, plan.prioritized, not plan.apart)
        if plan.ring_rows
        else None,
    )


def init_shared() -> Shared:
    """The counters before the first update."""
    zero = jnp.asarray(0, jnp.int32)
    return Shared(zero, jnp.copy(zero), replays.Ring(jnp.copy(zero), jnp.copy(zero)))
