"""Evaluation against loops written by hand, on both paths."""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.core.keys import env_seeds, named, numbered
from fathom.envs.bridge import as_env
from fathom.envs.classic.cartpole import CartPole
from fathom.train.evaluate import Evaluation
from tests.contract.subjects import SUBJECTS, bits

from .probes import Diary, Endless, Metronome

PPO = SUBJECTS["ppo"].algorithm
# Equally good actions would be chosen by chance, which a loop by hand cannot repeat.
DQN = dataclasses.replace(SUBJECTS["dqn"].algorithm, ties="first")

both_paths = pytest.mark.parametrize("path", ["native", "gymnasium"])


@pytest.fixture(scope="module")
def agents() -> Any:
    """DQN with two seeds, trained a little so that their policies differ, on each path."""
    made = {}
    for path in ("native", "gymnasium"):
        made[path] = Agent(DQN, "CartPole-v1", seeds=2, backend=path)
        made[path].learn(made[path].engine.plan.steps * 30)
    yield made
    for agent in made.values():
        agent.close()


def test_native_returns_equal_a_hand_written_loop(agents: dict[str, Agent]) -> None:
    agent = agents["native"]
    episodes = 3
    result = agent.evaluate(episodes, stream=7)
    env: Any = agent.engine.env  # pyright: ignore[reportAttributeAccessIssue]
    step = jax.jit(lambda key, state, action: env.step(key, state, action))
    for seed in range(2):
        key = numbered(named(agent.engine.keys[seed], "evaluate"), 7)
        for episode, reset_key in enumerate(jax.random.split(named(key, "reset"), episodes)):
            state, obs = env.reset(reset_key)
            total, length, over = 0.0, 0, False
            while not over:
                action = agent.predict(np.asarray(obs), seed_index=seed)
                state, ts = step(reset_key, state, action)  # CartPole draws nothing in a step
                obs, over = ts.obs, bool(ts.terminated | ts.truncated)
                total, length = total + float(ts.reward), length + 1
            assert (result.returns[seed, episode], result.lengths[seed, episode]) == (total, length)


def test_host_returns_equal_a_hand_written_loop(agents: dict[str, Agent]) -> None:
    """Thirteen episodes on ten environments: three of them play two, one after the other."""
    import gymnasium

    agent = agents["gymnasium"]
    episodes, width = 13, 10
    result = agent.evaluate(episodes, stream=7)
    for seed in range(2):
        key = numbered(named(agent.engine.keys[seed], "evaluate"), 7)
        expected = []
        for number, env_seed in enumerate(np.asarray(env_seeds(key, width))):
            env = gymnasium.make("CartPole-v1")
            for episode in range(2 if number < episodes - width else 1):
                obs, _ = env.reset(seed=None if episode else int(env_seed))
                total, length, over = 0.0, 0, False
                while not over:
                    action = agent.predict(obs, seed_index=seed)
                    obs, reward, terminated, truncated, _ = env.step(int(action))
                    total, length, over = total + float(reward), length + 1, terminated or truncated
                expected.append((total, length))
            env.close()
        got = zip(result.returns[seed], result.lengths[seed], strict=True)
        assert sorted(got) == sorted(expected)


@pytest.mark.parametrize("episodes", [1, 4, 23])
def test_each_host_environment_plays_its_even_share(episodes: int) -> None:
    """Else short episodes, of which there are more in the same time, would count more often."""
    diary: list[Diary] = []
    agent = Agent(PPO, as_env(Diary.keeping(diary)), workers="in-process")
    result = agent.evaluate(episodes)
    width = min(episodes, 10)
    expected = []
    for number, env in enumerate(diary[-width:]):  # those before were made to train in and to look at
        share = episodes // width + (number < episodes % width)
        assert len(env.finished) >= share
        expected += [(sum(rewards), len(rewards)) for rewards in env.finished[:share]]
    got = sorted(zip(result.returns[0], result.lengths[0], strict=True))
    np.testing.assert_allclose(got, sorted(expected), rtol=1e-5, atol=1e-5)
    agent.close()


@both_paths
def test_the_same_stream_gives_the_same_episodes_and_another_one_others(
    agents: dict[str, Agent], path: str
) -> None:
    agent = agents[path]
    first, again, other = (agent.evaluate(12, stream=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.returns, again.returns)
    np.testing.assert_array_equal(first.lengths, again.lengths)
    assert np.any(first.returns != other.returns)
    # The seeds do not see the same episodes either.
    assert np.any(first.returns[0] != first.returns[1])


@both_paths
def test_a_stochastic_policy_differs_from_its_mode(agents: dict[str, Agent], path: str) -> None:
    agent = agents[path]
    greedy = agent.evaluate(12)
    exploring = agent.evaluate(12, deterministic=False)
    assert np.any(greedy.returns != exploring.returns)
    np.testing.assert_array_equal(exploring.returns, agent.evaluate(12, deterministic=False).returns)


@both_paths
def test_evaluating_leaves_the_run_as_it_was(agents: dict[str, Agent], path: str) -> None:
    before = bits(agents[path].engine.carry)
    agents[path].evaluate(3)
    assert bits(agents[path].engine.carry) == before


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("kind", [partial(Metronome, length=0.0), Endless])
def test_the_step_cap_cuts_what_never_ends_and_counts_it(kind: Any, seeds: int) -> None:
    agent = Agent(DQN, kind, seeds=seeds)
    result = agent.evaluate(3, max_steps=7)
    np.testing.assert_array_equal(result.lengths, np.full((seeds, 3), 7))
    earned = 7.0 if kind is Endless else 28.0
    np.testing.assert_array_equal(result.returns, np.full((seeds, 3), earned))
    assert result.cut == 3 * seeds
    agent.close()


@both_paths
@pytest.mark.parametrize(("cap", "cut"), [(500, 0), (501, 0), (5, 3)])
def test_an_episode_that_its_own_time_limit_ended_is_not_cut(path: str, cap: int, cut: int) -> None:
    """Nothing falls in Gymnasium's CartPole without gravity and force; a limit of 5 is below its 500."""
    if path == "native":
        from fathom.envs.wrappers import TimeLimit

        env: Any = TimeLimit(CartPole(gravity=0.0, force=0.0, start_spread=0.0), 500)
    else:
        env = Weightless
    agent = Agent(DQN, env)
    result = agent.evaluate(3, max_steps=cap)
    np.testing.assert_array_equal(result.lengths, np.full((1, 3), min(cap, 500)))
    assert result.cut == cut
    agent.close()


def Weightless() -> Any:
    import gymnasium

    env = gymnasium.make("CartPole-v1")
    env.unwrapped.gravity = env.unwrapped.force_mag = 0.0  # pyright: ignore[reportAttributeAccessIssue]

    class AtRest(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            return self.env.reset(seed=seed, options={"low": 0.0, "high": 0.0})

    return AtRest(env)


def test_means_are_over_episodes_then_seeds() -> None:
    result = Evaluation(np.array([[1.0, 3.0], [5.0, 7.0]]), np.ones((2, 2)), 0)
    np.testing.assert_array_equal(result.per_seed, [2.0, 6.0])
    assert result.mean == 4.0
