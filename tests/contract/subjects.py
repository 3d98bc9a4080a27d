"""Every registered algorithm in a size that trains in milliseconds: what the contract tests run over."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import pytest

from fathom.algos.actor_critic.ddpg import DDPG
from fathom.algos.actor_critic.discrete_sac import DiscreteSAC
from fathom.algos.actor_critic.sac import SAC
from fathom.algos.actor_critic.td3 import TD3
from fathom.algos.actor_critic.tqc import TQC
from fathom.algos.bandit.epsilon_greedy import EpsilonGreedy
from fathom.algos.bandit.gradient_bandit import GradientBandit
from fathom.algos.bandit.thompson import Thompson
from fathom.algos.bandit.ucb import UCB
from fathom.algos.base import Algorithm
from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.algos.policy.ppo import PPO
from fathom.algos.policy.reinforce import Reinforce
from fathom.algos.policy.trpo import TRPO
from fathom.algos.registry import algorithms
from fathom.algos.tabular.count_q_learning import CountQLearning
from fathom.algos.tabular.double_q_learning import DoubleQLearning
from fathom.algos.tabular.dyna_q import DynaQ
from fathom.algos.tabular.expected_sarsa import ExpectedSarsa
from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda
from fathom.algos.tabular.monte_carlo import MonteCarlo, MonteCarloPrediction
from fathom.algos.tabular.n_step_sarsa import NStepSarsa
from fathom.algos.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo
from fathom.algos.tabular.q_learning import QLearning
from fathom.algos.tabular.sarsa import Sarsa
from fathom.algos.tabular.sarsa_lambda import SarsaLambda
from fathom.algos.tabular.td import TD
from fathom.algos.tabular.td_lambda import TDLambda
from fathom.algos.value.bootstrapped_dqn import BootstrappedDQN
from fathom.algos.value.c51 import C51
from fathom.algos.value.dqn import DQN
from fathom.algos.value.iqn import IQN
from fathom.algos.value.pqn import PQN
from fathom.algos.value.qr_dqn import QRDQN
from fathom.algos.value.rainbow import Rainbow
from fathom.algos.value.soft_q import SoftQ
from fathom.envs.bridge import as_env
from fathom.train.engine import Engine, make_engine

HORIZON = 40
FINITE = "tests.contract.finite:cut_walk"
STEERED = "Pendulum-v1"
BANDIT = "tests.contract.finite:cut_bandit"
REPLAYED: dict[str, Any] = {
    "num_envs": 2,
    "buffer_size": 128,
    "batch_size": 8,
    "learning_starts": 16,
    "train_every": 4,
    "hidden": (8,),
}
VALUED: dict[str, Any] = REPLAYED | {"target_every": 3}
SCHEDULED: dict[str, Any] = {"n_step": 3, "tau": 0.5, "scale_obs": True, "anneal_lr": True}
PARTS: dict[str, Any] = SCHEDULED | {
    "double": True,
    "dueling": True,
    "noisy": True,
    "prioritized": True,
    "ez_mu": 2.0,
}
SWITCHES: dict[str, Any] = {
    "n_step": 3,
    "anneal_lr": True,
    "normalize_obs": True,
    "normalize_reward": True,
    "tau": 0.5,
}


@dataclass(frozen=True)
class Subject:
    algorithm: Algorithm
    every_switch: Algorithm  # all optional parts on, so that every field has something to do
    env: str = "CartPole-v1"  # what it is tested on


SUBJECTS = {
    "a2c": Subject(
        A2C(num_envs=4, num_steps=8, hidden=(8,)),
        A2C(
            num_envs=4,
            num_steps=8,
            hidden=(8,),
            entropy_coef=0.01,
            anneal_lr=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
    ),
    "a3c": Subject(
        A3C(num_workers=2, num_envs=4, num_steps=8, hidden=(8,)),
        A3C(
            num_workers=2,
            num_envs=4,
            num_steps=8,
            hidden=(8,),
            lag=0.3,
            entropy_coef=0.01,
            anneal_lr=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
    ),
    "reinforce": Subject(
        Reinforce(num_envs=4, num_steps=16, value_epochs=2, value_minibatches=2, hidden=(8,)),
        Reinforce(
            num_envs=4,
            num_steps=16,
            value_epochs=2,
            value_minibatches=2,
            hidden=(8,),
            entropy_coef=0.01,
            anneal_lr=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
    ),
    "trpo": Subject(
        TRPO(num_envs=4, num_steps=8, value_epochs=2, value_minibatches=2, hidden=(8,)),
        TRPO(
            num_envs=4,
            num_steps=8,
            value_epochs=2,
            value_minibatches=2,
            hidden=(8,),
            anneal_lr=True,
            normalize_obs=True,
            normalize_reward=True,
        ),
    ),
    "ppo": Subject(
        PPO(num_envs=4, num_steps=8, epochs=2, minibatches=2, hidden=(8,)),
        PPO(
            num_envs=4,
            num_steps=8,
            epochs=2,
            minibatches=2,
            hidden=(8,),
            memory="gru",
            memory_units=4,
            target_kl=0.02,
            adaptive_kl=0.01,
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
            dueling=True,
            noisy=True,
            prioritized=True,
        ),
    ),
    "c51": Subject(C51(**VALUED, atoms=5), C51(**VALUED, **PARTS, atoms=5)),
    "qr_dqn": Subject(QRDQN(**VALUED, quantiles=4), QRDQN(**VALUED, **PARTS, quantiles=4)),
    "iqn": Subject(
        IQN(**VALUED, quantiles=3, target_quantiles=4, policy_quantiles=5, cosines=6),
        IQN(
            **VALUED,
            **SCHEDULED,
            double=True,
            prioritized=True,
            ez_mu=2.0,
            quantiles=3,
            target_quantiles=4,
            policy_quantiles=5,
            cosines=6,
        ),
    ),
    "rainbow": Subject(
        Rainbow(**VALUED, atoms=5), Rainbow(**VALUED, **SCHEDULED, atoms=5, ez_mu=2.0, epsilon_start=0.5)
    ),
    "bootstrapped_dqn": Subject(
        BootstrappedDQN(**VALUED, members=3), BootstrappedDQN(**VALUED, **SCHEDULED, members=3)
    ),
    "soft_q": Subject(SoftQ(**VALUED), SoftQ(**VALUED, **SCHEDULED)),
    "pqn": Subject(
        PQN(num_envs=4, num_steps=8, epochs=2, minibatches=2, hidden=(8,)),
        PQN(num_envs=4, num_steps=8, epochs=2, minibatches=2, hidden=(8,), scale_obs=True),
    ),
    "sac": Subject(SAC(**REPLAYED), SAC(**REPLAYED, **SWITCHES, target_entropy=-0.5, noise=0.3), STEERED),
    "tqc": Subject(
        TQC(**REPLAYED, critics=2, quantiles=5),
        TQC(**REPLAYED, **SWITCHES, critics=2, quantiles=5, target_entropy=-0.5),
        STEERED,
    ),
    "td3": Subject(TD3(**REPLAYED), TD3(**REPLAYED, **SWITCHES), STEERED),
    "ddpg": Subject(DDPG(**REPLAYED), DDPG(**REPLAYED, **SWITCHES), STEERED),
    "discrete_sac": Subject(DiscreteSAC(**REPLAYED), DiscreteSAC(**REPLAYED, **SWITCHES)),
    "q_learning": Subject(
        QLearning(num_envs=2, num_steps=4), QLearning(num_envs=2, num_steps=4, anneal_lr=True), FINITE
    ),
    "count_q_learning": Subject(
        CountQLearning(num_envs=2, num_steps=4),
        CountQLearning(num_envs=2, num_steps=4, anneal_lr=True),
        FINITE,
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
    "sarsa": Subject(Sarsa(num_envs=2, num_steps=4), Sarsa(num_envs=2, num_steps=4, anneal_lr=True), FINITE),
    "expected_sarsa": Subject(
        ExpectedSarsa(num_envs=2, num_steps=4), ExpectedSarsa(num_envs=2, num_steps=4, anneal_lr=True), FINITE
    ),
    "double_q_learning": Subject(
        DoubleQLearning(num_envs=2, num_steps=4),
        DoubleQLearning(num_envs=2, num_steps=4, anneal_lr=True),
        FINITE,
    ),
    "n_step_sarsa": Subject(
        NStepSarsa(num_envs=2, num_steps=4), NStepSarsa(num_envs=2, num_steps=4, n=2, anneal_lr=True), FINITE
    ),
    "sarsa_lambda": Subject(
        SarsaLambda(num_steps=4), SarsaLambda(num_steps=4, traces="dutch", anneal_lr=True), FINITE
    ),
    "linear_sarsa_lambda": Subject(
        LinearSarsaLambda(num_envs=2, num_steps=4, tilings=2, tiles=2),
        LinearSarsaLambda(num_envs=2, num_steps=4, tilings=2, tiles=2, anneal_lr=True),
        "MountainCar-v0",
    ),
    "td": Subject(TD(num_envs=2, num_steps=4), TD(num_envs=2, num_steps=4, n=2, anneal_lr=True), FINITE),
    "td_lambda": Subject(
        TDLambda(num_steps=4), TDLambda(num_steps=4, traces="dutch", anneal_lr=True), FINITE
    ),
    "monte_carlo": Subject(
        MonteCarlo(num_envs=2, num_steps=4),
        MonteCarlo(num_envs=2, num_steps=4, average=False, ties="random", anneal_lr=True),
        FINITE,
    ),
    "monte_carlo_prediction": Subject(
        MonteCarloPrediction(num_envs=2, num_steps=4),
        MonteCarloPrediction(num_envs=2, num_steps=4, average=False, anneal_lr=True),
        FINITE,
    ),
    "off_policy_monte_carlo": Subject(
        OffPolicyMonteCarlo(num_envs=2, num_steps=4), OffPolicyMonteCarlo(num_envs=2, num_steps=4), FINITE
    ),
    "dyna_q": Subject(
        DynaQ(num_envs=2, num_steps=4, planning_steps=2),
        DynaQ(num_envs=2, num_steps=4, planning_steps=2, kappa=0.1, anneal_lr=True),
        FINITE,
    ),
}

# One of each kind of loop: the quick set tries on these what all of a kind share, the slow set on all.
KINDS = ("dqn", "ppo", "q_learning")
# Those of them, and one with traces, on which the quick set also compares chunks and paths.
COMPARED = (*KINDS, "sarsa_lambda")
EVERY = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in sorted(SUBJECTS)]
every_algorithm = pytest.mark.parametrize("name", EVERY)

# The same for what concerns learners with networks, one with continuous actions among the quick ones.
NETWORKS = [
    pytest.param(name, marks=() if name in ("ppo", "sac") else pytest.mark.slow)
    for name in sorted(SUBJECTS)
    if SUBJECTS[name].env in ("CartPole-v1", STEERED)
]

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


def changed(value: Any, field: dataclasses.Field) -> Any:
    """Another legal value of a setting."""
    others = {
        "activation": "silu",
        "ties": "first",
        "hidden": (8, 8),
        "traces": "accumulating",
        "visits": "every",
        "policy": (1,) * 7,
        "rewards": "bernoulli",
        "process": "gaussian",
        "baseline": "normalized",
        "order": "fixed",
        "memory": "lstm",
        "target_episodes": 3,
        "std": "state" if value == "global" else "gsde",
    }
    if isinstance(value, bool):
        return not value
    if field.name in others:
        return others[field.name]
    match value:
        case int():
            return value * 2 or 1
        case float():
            return value * 0.75 if value else 0.125
        case None:
            return 0.5
    raise AssertionError(f"no other value known for {field.name} = {value!r}")
