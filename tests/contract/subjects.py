"""Every registered algorithm in a size that trains in milliseconds: what the contract tests run over."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from fathom.algos.base import Algorithm
from fathom.algos.policy.ppo import PPO
from fathom.algos.registry import algorithms
from fathom.algos.value.dqn import DQN
from fathom.envs.bridge import as_env
from fathom.train.engine import Engine, make_engine

HORIZON = 40


@dataclass(frozen=True)
class Subject:
    algorithm: Algorithm
    every_switch: Algorithm  # all optional parts on, so that every field has something to do


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
            ez_mu=2.0,
            scale_obs=True,
        ),
    ),
}

assert set(SUBJECTS) == set(algorithms()), "a registered algorithm without a contract test"


def engine_of(name: str, backend: str, seeds: int = 1, seed: int = 0, env: Any = "CartPole-v1") -> Engine:
    engine = make_engine(SUBJECTS[name].algorithm, as_env(env, backend), seeds, seed)
    engine.start()
    return engine


def bits(tree: Any) -> list[bytes]:
    """A tree's leaves as bytes, so that equality is equality of bits."""
    data = jax.tree.map(
        lambda x: jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree
    )
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(data)]
