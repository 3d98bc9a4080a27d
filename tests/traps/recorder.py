"""An algorithm that learns nothing and keeps what the loop gave it."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fathom.algos.base import OnPolicy
from fathom.core import spaces
from fathom.core.types import Clock, EnvSpec, Metric, Rollout


class Recorder(OnPolicy):
    """Acts at random; its state is the last rollout, as `update` received it."""

    num_envs: int = 3
    num_steps: int = 16
    gamma: float = 0.9

    def check(self, spec: EnvSpec) -> None:
        """Anything goes."""

    def init(self, spec: EnvSpec, key: Array) -> Rollout:
        lead = (self.num_steps, self.num_envs)
        room = lambda x: jnp.zeros((*lead, *x.shape), x.dtype)  # noqa: E731
        obs = jax.tree.map(room, spaces.zeros(spec.obs_space))
        flags = jnp.zeros(lead, jnp.bool_)
        action = jax.tree.map(room, spaces.zeros(spec.action_space))
        return Rollout(obs, action, jnp.zeros(lead), flags, flags, obs, {}, ())

    def init_memory(self, state: Rollout, num_envs: int) -> Any:
        return ()

    def act(self, state: Rollout, memory: Any, obs: Any, key: Array, clock: Clock, explore: bool) -> Any:
        return jax.random.randint(key, (self.num_envs,), 0, 3), memory, {}

    def update(self, state: Rollout, rollout: Rollout, key: Array, clock: Clock) -> tuple[Rollout, dict]:
        ends = (rollout.terminated | rollout.truncated).astype(jnp.float32)
        return rollout, {"ends": Metric.of(ends), "draw": Metric.of(jax.random.uniform(key))}
