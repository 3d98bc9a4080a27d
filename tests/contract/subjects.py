"""Every registered algorithm in a size that trains in milliseconds: what the contract tests run over."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
from fathom.algos.bandit.gradient_bandit import GradientBandit
from fathom.algos.bandit.thompson import Thompson
from fathom.algos.bandit.ucb import UCB
from fathom.algos.base import Algorithm
from fathom.algos.policy.ppo import PPO
from fathom.algos.registry import algorithms
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.value.dqn import DQN
from fathom.envs.bridge import as_env
from fathom.train.engine import Engine, make_engine

HORIZON = 40
FINITE = "tests.contract.finite:cut_walk"
BANDIT = "tests.contract.finite:cut_bandit"


@dataclass(frozen=True)
class Subject:
    algorithm: Algorithm
    every_switch: Algorithm  # all optional parts on, so that every field has something to do
    env: str = "CartPole-v1"  # what it is tested on


SUBJECTS = {
    "ppo": Subject(
        PPO(num_envs=4, num_steps=8, epochs=2, minibatches=2, hidden=(8,)),
        PPO(
            num_envs=4,
            num_steps=8,
            epochs=2,
            minibatches=2,
            hidden=(8,),
            value_clip=0.3,
            entropy_coef=0.01,
            anneal_lr=True,
            anneal_clip=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
    ),
    "dqn": Subject(
        DQN(
            num_envs=2,
            buffer_size=128,
            batch_size=8,
            learning_starts=16,
            train_every=4,
            target_every=3,
            hidden=(8,),
        ),
        DQN(
            num_envs=2,
            buffer_size=128,
            batch_size=8,
            learning_starts=16,
            train_every=4,
            target_every=3,
            hidden=(8,),
            double=True,
            n_step=3,
            tau=0.5,
        ),
    ),
    "q_learning": Subject(
        QLearning(num_envs=2, num_steps=4), QLearning(num_envs=2, num_steps=4, anneal_lr=True), FINITE
    ),
    "epsilon_greedy": Subject(
        EpsilonGreedy(num_envs=2, num_steps=4),
        EpsilonGreedy(num_envs=2, num_steps=4, sample_average=False),
        BANDIT,
    ),
    "ucb": Subject(UCB(num_envs=2, num_steps=4), UCB(num_envs=2, num_steps=4), BANDIT),
    "gradient_bandit": Subject(
        GradientBandit(num_envs=2, num_steps=4), GradientBandit(num_envs=2, num_steps=4), BANDIT
    ),
    "thompson": Subject(Thompson(num_envs=2, num_steps=4), Thompson(num_envs=2, num_steps=4), BANDIT),
}

NETWORKS = sorted(name for name, subject in SUBJECTS.items() if subject.env == "CartPole-v1")

assert set(SUBJECTS) == set(algorithms()), "a registered algorithm without a contract test"


def engine_of(name: str, backend: str, seeds: int = 1, seed: int = 0) -> Engine:
    subject = SUBJECTS[name]
    engine = make_engine(subject.algorithm, as_env(subject.env, backend), seeds, seed)
    engine.start()
    return engine


def learnt(learner: Any) -> Any:
    """What a learner has learnt: its parameters, or all of it where it has none by that name."""
    return getattr(learner, "params", learner)


def bits(tree: Any) -> list[bytes]:
    """A tree's leaves as bytes, so that equality is equality of bits."""
    data = jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree
    )
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(data)]
