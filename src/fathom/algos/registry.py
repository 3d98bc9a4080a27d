"""The names of algorithms. Listing them imports none of them."""

import importlib
from typing import NamedTuple

from fathom.core.errors import UnknownName


class Entry(NamedTuple):
    """Where an algorithm is defined, and what it is in a line."""

    module: str
    class_name: str
    summary: str


_ALGORITHMS = {
    "sarsa": Entry("fathom.algos.tabular.sarsa", "Sarsa", "SARSA with a table (Rummery & Niranjan 1994)"),
    "expected_sarsa": Entry(
        "fathom.algos.tabular.expected_sarsa",
        "ExpectedSarsa",
        "Expected SARSA with a table (van Seijen et al. 2009)",
    ),
    "double_q_learning": Entry(
        "fathom.algos.tabular.double_q_learning",
        "DoubleQLearning",
        "Double Q-learning with two tables (van Hasselt 2010)",
    ),
    "n_step_sarsa": Entry(
        "fathom.algos.tabular.n_step_sarsa",
        "NStepSarsa",
        "n-step SARSA with a table (Sutton & Barto 2018, Section 7.2)",
    ),
    "sarsa_lambda": Entry(
        "fathom.algos.tabular.sarsa_lambda",
        "SarsaLambda",
        "SARSA(λ) with a table; accumulating, replacing, dutch traces (Rummery 1995)",
    ),
    "linear_sarsa_lambda": Entry(
        "fathom.algos.tabular.linear_sarsa_lambda",
        "LinearSarsaLambda",
        "SARSA(λ) with tile coding, or n-step (Sutton & Barto 2018, 12.7)",
    ),
    "td": Entry(
        "fathom.algos.tabular.td", "TD", "TD(0) and n-step TD: the values of a given policy (Sutton 1988)"
    ),
    "td_lambda": Entry(
        "fathom.algos.tabular.td_lambda",
        "TDLambda",
        "TD(λ): the values of a given policy; true online (van Seijen et al. 2016)",
    ),
    "monte_carlo": Entry(
        "fathom.algos.tabular.monte_carlo",
        "MonteCarlo",
        "Monte Carlo control, first or every visit (Sutton & Barto 2018, 5.4)",
    ),
    "monte_carlo_prediction": Entry(
        "fathom.algos.tabular.monte_carlo",
        "MonteCarloPrediction",
        "Monte Carlo: the values of a given policy (Sutton & Barto 2018, 5.1)",
    ),
    "off_policy_monte_carlo": Entry(
        "fathom.algos.tabular.off_policy_monte_carlo",
        "OffPolicyMonteCarlo",
        "Monte Carlo with weighted importance sampling (Sutton & Barto 2018, 5.6)",
    ),
    "dyna_q": Entry(
        "fathom.algos.tabular.dyna_q", "DynaQ", "Dyna-Q and Dyna-Q+: Q-learning that plans (Sutton 1990)"
    ),
    "count_q_learning": Entry(
        "fathom.algos.tabular.count_q_learning",
        "CountQLearning",
        "Q-learning with a bonus for pairs seldom visited (Strehl & Littman 2008)",
    ),
    "dqn": Entry(
        "fathom.algos.value.dqn",
        "DQN",
        "Deep Q-Network; double, dueling, noisy, prioritised replay (Mnih 2015)",
    ),
    "c51": Entry("fathom.algos.value.c51", "C51", "C51: the return's distribution (Bellemare et al. 2017)"),
    "qr_dqn": Entry("fathom.algos.value.qr_dqn", "QRDQN", "QR-DQN: quantiles of the return (Dabney 2018)"),
    "iqn": Entry(
        "fathom.algos.value.iqn", "IQN", "IQN: the return's quantile function; CVaR (Dabney et al. 2018)"
    ),
    "rainbow": Entry(
        "fathom.algos.value.rainbow", "Rainbow", "Rainbow: six extensions of DQN at once (Hessel et al. 2018)"
    ),
    "bootstrapped_dqn": Entry(
        "fathom.algos.value.bootstrapped_dqn",
        "BootstrappedDQN",
        "An ensemble with random priors: deep exploration (Osband et al. 2016, 2018)",
    ),
    "soft_q": Entry(
        "fathom.algos.value.soft_q", "SoftQ", "Soft Q-learning, Boltzmann play (Haarnoja et al. 2017)"
    ),
    "pqn": Entry(
        "fathom.algos.value.pqn", "PQN", "Q(λ) from many environments, no replay (Gallici et al. 2025)"
    ),
    "epsilon_greedy": Entry(
        "fathom.algos.bandit.epsilon_greedy",
        "EpsilonGreedy",
        "Bandit: action values, ε-greedy, greedy or optimistic (Sutton & Barto 2018, 2.4-2.6)",
    ),
    "gradient_bandit": Entry(
        "fathom.algos.bandit.gradient_bandit",
        "GradientBandit",
        "Bandit: preferences by stochastic gradient ascent (Sutton & Barto 2018, 2.8)",
    ),
    "a2c": Entry("fathom.algos.policy.a2c", "A2C", "Advantage actor-critic, synchronous (Mnih et al. 2016)"),
    "a3c": Entry(
        "fathom.algos.policy.a3c",
        "A3C",
        "A2C by workers out of date with one another, a seeded schedule (Mnih et al. 2016)",
    ),
    "reinforce": Entry(
        "fathom.algos.policy.reinforce",
        "Reinforce",
        "REINFORCE: returns of whole episodes, with or without a baseline (Williams 1992)",
    ),
    "trpo": Entry(
        "fathom.algos.policy.trpo", "TRPO", "Trust Region Policy Optimization (Schulman et al. 2015)"
    ),
    "ppo": Entry(
        "fathom.algos.policy.ppo", "PPO", "Proximal Policy Optimization, clipped (Schulman et al. 2017)"
    ),
    "q_learning": Entry(
        "fathom.algos.tabular.q_learning", "QLearning", "Q-learning with a table (Watkins 1989)"
    ),
    "sac": Entry(
        "fathom.algos.actor_critic.sac",
        "SAC",
        "Soft Actor-Critic: twin critics, learnt temperature (Haarnoja et al. 2018)",
    ),
    "ddpg": Entry(
        "fathom.algos.actor_critic.ddpg",
        "DDPG",
        "Deep Deterministic Policy Gradient (Lillicrap et al. 2016)",
    ),
    "td3": Entry(
        "fathom.algos.actor_critic.td3",
        "TD3",
        "Twin Delayed DDPG: double critics, smoothed targets (Fujimoto et al. 2018)",
    ),
    "discrete_sac": Entry(
        "fathom.algos.actor_critic.discrete_sac",
        "DiscreteSAC",
        "Soft Actor-Critic for discrete actions; masks (Christodoulou 2019)",
    ),
    "tqc": Entry(
        "fathom.algos.actor_critic.tqc",
        "TQC",
        "Truncated Quantile Critics: SAC with distributions (Kuznetsov et al. 2020)",
    ),
    "thompson": Entry(
        "fathom.algos.bandit.thompson", "Thompson", "Bandit: Thompson sampling, Gaussian or Bernoulli rewards"
    ),
    "ucb": Entry("fathom.algos.bandit.ucb", "UCB", "Bandit: upper confidence bounds (Auer et al. 2002)"),
}


def algorithms() -> dict[str, Entry]:
    """All algorithms by their name on the command line, which is also that of their file or its kin."""
    return dict(_ALGORITHMS)


def get(name: str) -> type:
    """The class of an algorithm; UnknownName with the nearest names if there is none."""
    entry = _ALGORITHMS.get(name.lower().replace("-", "_"))
    if entry is None:
        raise UnknownName("algorithm", name, _ALGORITHMS)
    return getattr(importlib.import_module(entry.module), entry.class_name)


def name_of(algorithm: object) -> str:
    """The registered name of an algorithm object, or its class's name in lower case."""
    kind = type(algorithm)
    for name, entry in _ALGORITHMS.items():
        if (entry.module, entry.class_name) == (kind.__module__, kind.__name__):
            return name
    return kind.__name__.lower()
