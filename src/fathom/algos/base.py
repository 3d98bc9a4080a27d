"""What every algorithm is: a frozen dataclass that is a pytree, and a handful of pure functions."""

import abc
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float, Key, PyTree

from fathom.core.errors import FathomError
from fathom.core.module import Config
from fathom.core.spaces import Discrete, Masked, MultiDiscrete, flat_size
from fathom.core.types import (
    Action,
    Batch,
    Clock,
    EnvSpec,
    Metric,
    Obs,
    Prioritisation,
    Rollout,
    Transition,
)

Metrics = dict[str, Metric]


class Algorithm(Config):
    """The contract. An algorithm sees arrays: never an environment, a loop, a file or a screen.

    `act` and `update` take batches [env, ...] and [time, env, ...]; several seeds are vmapped by the engine.
    """

    num_envs: eqx.AbstractVar[int]

    @abc.abstractmethod
    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError, with the value and what to do, for settings or spaces that cannot work."""

    @abc.abstractmethod
    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> PyTree:
        """The learner's state before the first update: parameters, optimiser, statistics."""

    @abc.abstractmethod
    def init_memory(self, state: PyTree, num_envs: int) -> PyTree:
        """The policy's memory at the start of an episode, [env, ...]; () for feed-forward policies."""

    def restart(self, state: Any) -> Any:
        """The learner's state where the episodes under way are given up and others begin."""
        return state

    @abc.abstractmethod
    def act(
        self, state: PyTree, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """Actions for obs [env, ...], the next memory, and what `update` will want to know of them.

        `explore=False` gives the policy that is evaluated.
        """


class OnPolicy(Algorithm):
    """Learns from the rollout that its present policy has just made."""

    gamma: eqx.AbstractVar[float]
    num_steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def update(
        self, state: PyTree, rollout: Rollout, key: Key[Array, ""], clock: Clock
    ) -> tuple[PyTree, Metrics]:
        """Learn from one rollout [time, env, ...]."""


class OffPolicy(Algorithm):
    """Learns from transitions that any policy may have made, drawn from a replay buffer."""

    gamma: eqx.AbstractVar[float]
    buffer_size: eqx.AbstractVar[int]
    batch_size: eqx.AbstractVar[int]
    learning_starts: eqx.AbstractVar[int]
    train_every: eqx.AbstractVar[int]
    gradient_steps: eqx.AbstractVar[int]
    n_step: eqx.AbstractVar[int]

    def prioritisation(self, clock: Clock) -> Prioritisation | None:
        """How batches are drawn by priority at this point of the run; None, for all of it, uniformly."""
        return None

    def observe(self, state: Any, rollout: Rollout) -> Any:
        """The state once a rollout [time, env, ...] was collected; for statistics of what is seen."""
        return state

    @abc.abstractmethod
    def update(
        self, state: PyTree, batch: Batch, key: Key[Array, ""], clock: Clock
    ) -> tuple[PyTree, Metrics, Array | None]:
        """Learn from one batch; the third value is the size of each transition's error, its
        new priority, which uniform replay ignores; None where there is none.
        """


class Online(Algorithm):
    """Learns at every step from the transition just made, as the algorithms of textbooks do.

    `num_steps` steps make one update of the engine: it is how often a run counts, reports and can be cut, and
    what is learnt does not depend on it.
    """

    num_steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def update(
        self, state: PyTree, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[PyTree, PyTree, Metrics]:
        """Learn from one step of every environment.

        `memory` is as `act` left it: eligibility traces, the last n steps, an action chosen ahead. What is
        returned of it goes to the next `act`, fresh (`init_memory`) where the episode ended with this step.
        """


@runtime_checkable
class ActionValues(Protocol):
    """An algorithm that can tell what it takes actions to be worth, for people to look at."""

    def action_values(self, state: Any, obs: Obs) -> Float[Array, "*batch action"]:
        """Q(s, ·) in each observation."""
        ...


@runtime_checkable
class StateValues(Protocol):
    """An algorithm that can tell what it takes states to be worth, for people to look at."""

    def state_values(self, state: Any, obs: Obs) -> Float[Array, "*batch"]:
        """V(s) of each observation."""
        ...


@runtime_checkable
class Ratios(Protocol):
    """An algorithm that can tell how far an update moved the odds of what was done, for people to look at."""

    def ratios(
        self, before: Any, after: Any, rollout: Rollout, clock: Clock
    ) -> tuple[Float[Array, "time env"], Float[Array, "time env"], Float[Array, ""]]:
        """π(a|s) / π_old(a|s) and the advantage of each step, and ε: ratios are clipped at 1 ± ε."""
        ...


def require(condition: bool, message: str) -> None:
    """Raise FathomError with this message unless the condition holds."""
    if not condition:
        raise FathomError(message)


def require_positive(algorithm: Algorithm, *names: str) -> None:
    """Every named field must be above 0."""
    for name in names:
        value = getattr(algorithm, name)
        require(value is None or value > 0, f"{name} is {value}; it must be above 0.")


def require_fraction(algorithm: Algorithm, *names: str) -> None:
    """Every named field must lie in [0, 1]."""
    for name in names:
        value = getattr(algorithm, name)
        require(0 <= value <= 1, f"{name} is {value}; it must lie between 0 and 1.")


def require_replay(algorithm: OffPolicy) -> None:
    """The settings of replay must be positive, and fit one another."""
    require_positive(algorithm, "buffer_size", "batch_size", "train_every", "gradient_steps", "n_step")
    first = algorithm.n_step * algorithm.num_envs
    require(
        algorithm.learning_starts >= first,
        f"learning_starts is {algorithm.learning_starts}; it must be at least n_step × num_envs = {first}, "
        f"so that a first {algorithm.n_step}-step transition exists.",
    )
    require(
        algorithm.buffer_size >= max(algorithm.batch_size, algorithm.learning_starts),
        f"buffer_size is {algorithm.buffer_size}; it must hold a batch ({algorithm.batch_size}) and the "
        f"first {algorithm.learning_starts} transitions (learning_starts).",
    )


def require_mask_fits(spec: EnvSpec) -> None:
    """Where observations carry a mask, it must have one entry for each action that can be chosen."""
    if not isinstance(spec.obs_space, Masked):
        return
    space, length = spec.action_space, spec.obs_space.num_actions
    require(
        isinstance(space, Discrete | MultiDiscrete),
        f"action masks go with Discrete and MultiDiscrete actions, not with {space!r}; drop the mask.",
    )
    require(
        length == flat_size(space),
        f"the action mask has {length} entries and {space!r} needs {flat_size(space)}: one for each action "
        "(for MultiDiscrete, those of all components in a row).",
    )
