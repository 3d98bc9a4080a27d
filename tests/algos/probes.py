"""Environments that share one compiled program, and small helpers for the tests of algorithms."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from fathom.core.spaces import Box, Discrete, Masked, MultiBinary, MultiDiscrete, Space
from fathom.core.types import Clock, EnvSpec, Rollout, TimeStep
from fathom.core.types import Masked as MaskedObs
from fathom.envs.base import Env
from fathom.envs.probe.policy import ObsPolicyProbe, PolicyProbe
from fathom.envs.probe.value import CreditProbe, ObsValueProbe, ValueProbe
from fathom.train.engine import NativeEngine

PROBES = (ValueProbe(), ObsValueProbe(), CreditProbe(), PolicyProbe(), ObsPolicyProbe())
NAMES = [type(p).__name__ for p in PROBES]
ENDS = jnp.array([[-1.0], [1.0]])  # the observations there are, [−1] and [1]


class OneProbe(Env):
    """One of PROBES, chosen by a number in the program: five problems, one compilation."""

    which: float  # index of the probe

    @property
    def obs_space(self) -> Box:
        return Box(-1.0, 1.0, (1,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, key: Array) -> tuple[Array, Array]:
        obs = self.choose([p.reset(key)[1] for p in PROBES])
        return obs, obs

    def step(self, key: Array, state: Array, action: Array) -> tuple[Array, TimeStep]:
        stateless = (ValueProbe, PolicyProbe)
        steps = [p.step(key, () if isinstance(p, stateless) else state, action)[1] for p in PROBES]
        step = self.choose(steps)
        return step.obs, step

    def choose(self, options: list) -> Any:
        return jax.tree.map(lambda *x: jnp.stack(x)[jnp.asarray(self.which, jnp.int32)], *options)


class Wandering(Env):
    """Observations that drift, for any action space; masked ones draw a new mask at each step."""

    actions: Space
    masked: bool = False

    @property
    def obs_space(self) -> Space:
        box = Box(-1e6, 1e6, (3,))
        return Masked(box, self.mask_size) if self.masked else box

    @property
    def mask_size(self) -> int:
        return self.actions.n if isinstance(self.actions, Discrete) else sum(self.actions.nvec)

    @property
    def action_space(self) -> Space:
        return self.actions

    def reset(self, key: Array) -> tuple[Array, Any]:
        state = 5.0 + jax.random.normal(key, (3,)) * jnp.array([0.1, 1.0, 30.0])
        return state, self.observe(key, state)

    def step(self, key: Array, state: Array, action: Any) -> tuple[Array, TimeStep]:
        walk_key, end_key, mask_key = jax.random.split(key, 3)
        state = state + jax.random.normal(walk_key, (3,))
        ends = jax.random.uniform(end_key, (2,)) < 0.1
        return state, TimeStep(self.observe(mask_key, state), state[1] * 3.0, ends[0], ends[1])

    def observe(self, key: Array, state: Array) -> Any:
        if not self.masked:
            return state
        mask = jax.random.bernoulli(key, 0.5, (self.mask_size,))
        sizes = [self.actions.n] if isinstance(self.actions, Discrete) else self.actions.nvec
        firsts = [sum(sizes[:i]) for i in range(len(sizes))]  # one legal choice at least in each component
        return MaskedObs(state, mask.at[jnp.array(firsts)].set(True))


def clock_of(update: int = 0, horizon: int = 100, gradient_step: int = 0) -> Clock:
    """The clock of an update whose length does not matter."""
    return Clock(jnp.int32(update), jnp.int32(horizon), jnp.float32(1.0), jnp.int32(gradient_step))


KINDS = {
    "discrete": Wandering(Discrete(3, start=1)),
    "multi binary": Wandering(MultiBinary(3)),
    "box": Wandering(Box([-0.4, 0.0], [2.0, 1.0])),
    "masked": Wandering(Discrete(4), masked=True),
    "masked multi discrete": Wandering(MultiDiscrete((2, 3)), masked=True),
}


# Of these the quick set tries one with real numbers and one with a mask.
every_kind = pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=() if k in ("box", "masked") else pytest.mark.slow) for k in sorted(KINDS)]
)


def started(algorithm: Any, env: Env, seed: int = 0) -> NativeEngine:
    """A run at its beginning."""
    engine = NativeEngine(algorithm, env, seed=seed)
    engine.start()
    return engine


def rollout_of(time: int, env: int, seed: int = 0, actions: int = 2) -> Rollout:
    """A random rollout for observations Box(1) and Discrete actions, under the uniform policy."""
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(time, env, 1)).astype(np.float32)
    final = rng.normal(size=(time, env, 1)).astype(np.float32)
    action = rng.integers(0, actions, (time, env)).astype(np.int32)
    flags = rng.random((2, time, env)) < 0.2
    extras = {"action": action, "log_prob": np.full((time, env), -np.log(actions), np.float32)}
    reward = rng.normal(size=(time, env)).astype(np.float32)
    memory = ((), ())  # as PPO has it without any
    return jax.tree.map(jnp.asarray, Rollout(obs, action, reward, *flags, final, extras, memory))


SMALL = EnvSpec(Box(-np.inf, np.inf, (1,)), Discrete(2))
