"""PPO with a memory: what acting had is what learning sees, episodes are kept apart, and it solves a maze."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom import Agent
from fathom.algos.policy.common import sequences
from fathom.algos.policy.ppo import PPO
from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.envs.base import spec_of
from fathom.envs.bridge import as_env
from fathom.envs.memory.t_maze import TMaze
from fathom.envs.wrappers import TimeLimit
from fathom.train import loop
from fathom.train.engine import make_engine

from ..contract.subjects import bits
from .probes import KINDS, clock_of, started

KEY = jax.random.key(0)
PROBLEM = PPO(
    num_envs=3,
    num_steps=12,
    epochs=1,
    minibatches=1,
    hidden=(4,),
    memory="gru",
    memory_units=5,
    normalize_obs=True,
    normalize_reward=True,
    learning_rate=0.01,
)
collect = partial(jax.jit, static_argnames="plan")(loop.collect)


@pytest.fixture(scope="module", params=["gru", "lstm"])
def engine(request):
    """A run in whose rollouts episodes end and are cut, once it has learnt a little."""
    algorithm = dataclasses.replace(PROBLEM, memory=request.param, clip=1e-5)
    return started(algorithm, KINDS["masked"])


def test_the_ratio_is_one_on_the_first_minibatch(engine):
    """With one epoch of one minibatch there is only a first; what lies off by more than 1e-5 is counted."""
    first, later = engine.advance(1, 10), engine.advance(4, 10)
    assert later["clip_fraction"].count == 4
    assert first["clip_fraction"].sum == later["clip_fraction"].sum == 0
    assert np.all(later["grad_norm"].sum > 0)


def test_values_are_those_of_each_episode_s_own_past(engine):
    """V along a rollout, and of last observations, by a loop that acts step by step and forgets at ends."""
    engine.advance(2, 10)
    algorithm, seeds = engine.algorithm, engine.carry.seeds
    plan = loop.Plan.of(algorithm)
    clock = loop.clock_of(engine.carry.shared, jnp.asarray(10), plan)
    _, rollout = collect(lift(algorithm), lift(engine.env), plan, seeds, clock)[:2]
    params = seeds.learner.params
    over = rollout.terminated | rollout.truncated
    assert over.any(axis=0).all()
    assert rollout.truncated.any()
    memories = params.memories(rollout.obs, rollout.memory[0], over)
    values = params.values(rollout.obs, memories)
    finals = params.values(rollout.final_obs, params.remember(rollout.final_obs, memories))

    memory, _ = rollout.memory
    for t in range(plan.rows):
        at = lambda tree, t=t: jax.tree.map(lambda x: x[t], tree)  # noqa: E731
        memory = params.remember(at(rollout.obs), memory)
        np.testing.assert_allclose(values[t], params.values(at(rollout.obs), memory), rtol=1e-5, atol=1e-6)
        last = params.remember(at(rollout.final_obs), memory)
        np.testing.assert_allclose(
            finals[t], params.values(at(rollout.final_obs), last), rtol=1e-5, atol=1e-6
        )
        memory = jax.tree.map(lambda m, fresh: jnp.where(over[t][:, None], fresh, m), memory, params.start(3))  # noqa: B023


@pytest.mark.parametrize("backend", ["native", "gymnasium"])
def test_cutting_a_run_in_chunks_changes_no_bit_of_weights_or_memories(backend):
    whole, cut = (make_engine(PROBLEM, as_env("CartPole-v1", backend), 2, 0) for _ in range(2))
    whole.start()
    cut.start()
    whole.advance(3, 10)
    for updates in (1, 2):
        cut.advance(updates, 10)
    assert bits(whole.carry.seeds) == bits(cut.carry.seeds)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(whole.carry.seeds.memory)) > 0
    whole.close()
    cut.close()


@pytest.mark.parametrize(("envs", "count"), [(4, 2), (5, 2), (3, 3)])
def test_minibatches_are_whole_sequences_of_environments(envs, count):
    data = jnp.arange(6 * envs).reshape(6, envs)
    memory = jnp.arange(envs)
    batches, starts = sequences(data, memory, count, KEY)
    assert batches.shape == (count, 6, -(-envs // count))
    np.testing.assert_array_equal(batches[:, 0], starts)
    np.testing.assert_array_equal(batches[:, 5], starts + 5 * envs)
    assert set(np.asarray(starts).ravel()) == set(range(envs))


def test_an_update_stops_once_the_policy_has_moved_as_far_as_allowed():
    """At once after the first minibatch, where nothing is allowed: as if it had been the only one."""
    env = KINDS["box"]
    one = started(PROBLEM, env)
    stopped = started(dataclasses.replace(PROBLEM, epochs=3, target_kl=1e-9), env)
    one.advance(1, 10)
    metrics = stopped.advance(1, 10)
    params = (jax.tree.leaves(run.carry.seeds.learner.params) for run in (one, stopped))
    for a, b in zip(*params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    part = metrics["stopped"]
    assert float(np.sum(part.sum) / np.sum(part.count)) == pytest.approx(2 / 3)


def test_more_minibatches_than_environments_are_refused():
    with pytest.raises(FathomError, match="minibatches is 4, more than num_envs 3"):
        dataclasses.replace(PROBLEM, minibatches=4).check(spec_of(TMaze()))


@pytest.mark.parametrize(("memory", "solved"), [("gru", True), ("none", False)])
def test_a_maze_is_solved_with_memory_and_only_with_it(memory, solved):
    algorithm = PPO(
        num_envs=16,
        num_steps=32,
        epochs=4,
        minibatches=4,
        hidden=(16,),
        memory=memory,
        memory_units=16,
        learning_rate=3e-3,
        gamma=0.95,
        entropy_coef=0.01,
    )
    run = started(algorithm, TimeLimit(TMaze(length=3), 20))
    run.advance(60, 80)
    late = run.advance(20, 80)
    mean = float(np.sum(late["episode_return"].sum) / np.sum(late["episode_return"].count))
    assert mean > 3.5 if solved else mean < 2.5


def test_a_player_remembers_and_predictions_do_not():
    """Three observations in a row: by the player as the network unrolled, by `predict` as first ones."""
    agent = Agent(PROBLEM, TMaze(length=3))
    obs = np.array([[[0, 1, 1], [1, 1, 0]], [[1, 0, 1]] * 2, [[0, 1, 0]] * 2], np.float32)
    agent.learn(PROBLEM.num_envs * PROBLEM.num_steps * 3)
    state = agent.engine.learner
    player = agent.player()
    memory = state.params.start(2), ()
    for now in obs:
        action, memory, _ = agent.engine.algorithm.act(
            state, memory, jnp.asarray(now), KEY, clock_of(), False
        )
        np.testing.assert_array_equal(player(now), action)
    np.testing.assert_array_equal(agent.predict(obs[0]), Agent.player(agent)(obs[0]))
    with pytest.raises(FathomError, match="observations of 1 environments"):
        player(obs[0][0])
    player.reset()
    assert player(obs[0][0]) == agent.predict(obs[0][0])
