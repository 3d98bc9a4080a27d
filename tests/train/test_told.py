"""Environments whose learner sees other rewards or ends than the task has: what is reported and evaluated."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.envs.host import HostEnv
from tests.contract.subjects import SUBJECTS


class Rounds(gymnasium.Env):
    """A game of 6 steps that pay 1, 2, …, 6; for the learner, clipped to 1, an episode is 2 of them."""

    def __init__(self, learning: bool = True) -> None:
        self.observation_space = gymnasium.spaces.Discrete(7)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.learning = learning
        self.step_of_game = 6

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.step_of_game = 0 if seed is not None else self.step_of_game % 6
        return self.step_of_game, {}

    def step(self, action: int) -> Any:
        self.step_of_game += 1
        over = self.step_of_game == 6
        told = {"episode_return": 21.0 if over else np.nan, "episode_length": 6.0 if over else np.nan}
        reward = 1.0 if self.learning else float(self.step_of_game)
        ended = over or (self.learning and self.step_of_game % 2 == 0)
        return self.step_of_game, reward, ended, False, told if self.learning else {}


def rounds() -> HostEnv:
    return HostEnv(Rounds, "Rounds", evaluated=HostEnv(lambda: Rounds(learning=False), "Rounds"))


class Reports(list):
    def phase(self, name: str, detail: str = "") -> None: ...

    def chunk(self, report: Any) -> None:
        self.append(report)


@pytest.mark.parametrize(("name", "seeds"), [("dqn", 1), ("dqn", 2), ("q_learning", 1)])
def test_whole_games_are_reported_and_evaluated(name, seeds):
    reports = Reports()
    agent = Agent(SUBJECTS[name].algorithm, rounds(), seeds=seeds).learn(120, listeners=[reports])
    games = np.full(seeds, 2 * (60 // 6))  # 2 environments of 60 steps
    for metric, value in (("episode_return", 21), ("episode_length", 6)):
        np.testing.assert_array_equal(sum(r.counts[metric] for r in reports), games)
        np.testing.assert_array_equal(sum(r.sums[metric] for r in reports), games * value)
    np.testing.assert_array_equal(sum(r.sums["reward"] for r in reports), np.full(seeds, 120))
    found = agent.evaluate(3)
    assert (found.returns == 21).all()
    assert (found.lengths == 6).all()
    agent.close()
