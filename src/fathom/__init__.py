"""Fathom: reinforcement learning whose every run is a pure function of what went into it."""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

# JAX takes three quarters of a GPU's memory at its start unless told otherwise.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# XLA reports its own tuning hints as missing processor features whenever it loads a compiled program from the
# cache. Set it to 0 to see all that XLA says.
XLA_IS_QUIET = "jaxlib" not in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

_PLACES = {
    "Agent": "fathom.agent",
    "Evaluation": "fathom.train.evaluate",
    "A2C": "fathom.algos.policy.a2c",
    "A3C": "fathom.algos.policy.a3c",
    "Reinforce": "fathom.algos.policy.reinforce",
    "TRPO": "fathom.algos.policy.trpo",
    "PPO": "fathom.algos.policy.ppo",
    "DQN": "fathom.algos.value.dqn",
    "C51": "fathom.algos.value.c51",
    "QRDQN": "fathom.algos.value.qr_dqn",
    "IQN": "fathom.algos.value.iqn",
    "Rainbow": "fathom.algos.value.rainbow",
    "BootstrappedDQN": "fathom.algos.value.bootstrapped_dqn",
    "SoftQ": "fathom.algos.value.soft_q",
    "PQN": "fathom.algos.value.pqn",
    "DDPG": "fathom.algos.actor_critic.ddpg",
    "TD3": "fathom.algos.actor_critic.td3",
    "SAC": "fathom.algos.actor_critic.sac",
    "DiscreteSAC": "fathom.algos.actor_critic.discrete_sac",
    "TQC": "fathom.algos.actor_critic.tqc",
    "QLearning": "fathom.algos.tabular.q_learning",
    "CountQLearning": "fathom.algos.tabular.count_q_learning",
    "Sarsa": "fathom.algos.tabular.sarsa",
    "ExpectedSarsa": "fathom.algos.tabular.expected_sarsa",
    "DoubleQLearning": "fathom.algos.tabular.double_q_learning",
    "NStepSarsa": "fathom.algos.tabular.n_step_sarsa",
    "SarsaLambda": "fathom.algos.tabular.sarsa_lambda",
    "LinearSarsaLambda": "fathom.algos.tabular.linear_sarsa_lambda",
    "TD": "fathom.algos.tabular.td",
    "TDLambda": "fathom.algos.tabular.td_lambda",
    "MonteCarlo": "fathom.algos.tabular.monte_carlo",
    "MonteCarloPrediction": "fathom.algos.tabular.monte_carlo",
    "OffPolicyMonteCarlo": "fathom.algos.tabular.off_policy_monte_carlo",
    "DynaQ": "fathom.algos.tabular.dyna_q",
    "Env": "fathom.envs.base",
    "GridWorld": "fathom.envs.grid.world",
    "FathomError": "fathom.core.errors",
    "make": "fathom.envs.registry",
    "register": "fathom.envs.registry",
    "to_gymnasium": "fathom.envs.bridge",
    "check": "fathom.envs.checker",
}

__all__ = [*_PLACES, "__version__"]

if TYPE_CHECKING:
    from fathom.agent import Agent as Agent
    from fathom.algos.actor_critic.ddpg import DDPG as DDPG
    from fathom.algos.actor_critic.discrete_sac import DiscreteSAC as DiscreteSAC
    from fathom.algos.actor_critic.sac import SAC as SAC
    from fathom.algos.actor_critic.td3 import TD3 as TD3
    from fathom.algos.actor_critic.tqc import TQC as TQC
    from fathom.algos.policy.a2c import A2C as A2C
    from fathom.algos.policy.a3c import A3C as A3C
    from fathom.algos.policy.ppo import PPO as PPO
    from fathom.algos.policy.reinforce import Reinforce as Reinforce
    from fathom.algos.policy.trpo import TRPO as TRPO
    from fathom.algos.tabular.count_q_learning import CountQLearning as CountQLearning
    from fathom.algos.tabular.double_q_learning import DoubleQLearning as DoubleQLearning
    from fathom.algos.tabular.dyna_q import DynaQ as DynaQ
    from fathom.algos.tabular.expected_sarsa import ExpectedSarsa as ExpectedSarsa
    from fathom.algos.tabular.linear_sarsa_lambda import LinearSarsaLambda as LinearSarsaLambda
    from fathom.algos.tabular.monte_carlo import MonteCarlo as MonteCarlo
    from fathom.algos.tabular.monte_carlo import MonteCarloPrediction as MonteCarloPrediction
    from fathom.algos.tabular.n_step_sarsa import NStepSarsa as NStepSarsa
    from fathom.algos.tabular.off_policy_monte_carlo import OffPolicyMonteCarlo as OffPolicyMonteCarlo
    from fathom.algos.tabular.q_learning import QLearning as QLearning
    from fathom.algos.tabular.sarsa import Sarsa as Sarsa
    from fathom.algos.tabular.sarsa_lambda import SarsaLambda as SarsaLambda
    from fathom.algos.tabular.td import TD as TD
    from fathom.algos.tabular.td_lambda import TDLambda as TDLambda
    from fathom.algos.value.bootstrapped_dqn import BootstrappedDQN as BootstrappedDQN
    from fathom.algos.value.c51 import C51 as C51
    from fathom.algos.value.dqn import DQN as DQN
    from fathom.algos.value.iqn import IQN as IQN
    from fathom.algos.value.pqn import PQN as PQN
    from fathom.algos.value.qr_dqn import QRDQN as QRDQN
    from fathom.algos.value.rainbow import Rainbow as Rainbow
    from fathom.algos.value.soft_q import SoftQ as SoftQ
    from fathom.core.errors import FathomError as FathomError
    from fathom.envs.base import Env as Env
    from fathom.envs.bridge import to_gymnasium as to_gymnasium
    from fathom.envs.checker import check as check
    from fathom.envs.grid.world import GridWorld as GridWorld
    from fathom.envs.registry import make as make
    from fathom.envs.registry import register as register
    from fathom.train.evaluate import Evaluation as Evaluation


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import fathom` alone stays instant."""
    if name not in _PLACES:
        raise AttributeError(f"module 'fathom' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
