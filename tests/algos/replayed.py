"""Helpers for tests of algorithms that learn from replay: plain networks, batches, compiled calls."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fathom.core.spaces import Box
from fathom.core.types import Batch, EnvSpec, TimeStep
from fathom.envs.base import Env
from fathom.train.engine import NativeEngine

KEY = jax.random.key(0)
LOW, HIGH = np.array([-0.4, 0.0], np.float32), np.array([2.0, 10.0], np.float32)
SPEC = EnvSpec(Box(-1.0, 1.0, (3,)), Box(LOW, HIGH))

update = jax.jit(lambda algorithm, *args: algorithm.update(*args))
act = partial(jax.jit, static_argnames="explore")(
    lambda algorithm, *args, explore: algorithm.act(*args, explore)
)


def net(network: Any, *inputs: Any) -> Any:
    """What a network gives, written out."""
    x = jnp.concatenate(inputs, axis=-1)
    for layer in network.encoder.mlp.layers:
        x = jnp.maximum(x @ layer.weight + layer.bias[None], 0.0)
    return x @ network.head.weight + network.head.bias[None]


def unit(action: Any) -> Any:
    """Actions in the box of SPEC, in [−1, 1]."""
    return 2.0 * (action - LOW[None]) / (HIGH - LOW)[None] - 1.0


def in_box(action: Any) -> bool:
    """Whether all actions lie in the box of SPEC."""
    action = np.asarray(action)
    return bool(np.all((action >= LOW) & (action <= HIGH)))


def batch_of(seed: int, size: int = 6) -> Batch:
    """Random transitions of SPEC, one of them terminal."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    action = jnp.asarray(rng.uniform(LOW, HIGH, (size, 2)), jnp.float32)
    discount = jnp.full(size, 0.9).at[0].set(0.0)
    weight = jnp.asarray(rng.uniform(0.5, 1.0, size), jnp.float32)
    return Batch(draw(size, 3), action, draw(size), discount, draw(size, 3), weight)


def shaken(tree: Any, seed: int, scale: float = 0.3) -> Any:
    """The weights with noise added, so that no two networks are alike and no output near 0."""
    leaves, form = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return form.unflatten(
        [x + scale * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


def started(algorithm: Any, env: Any, seed: int = 0) -> NativeEngine:
    engine = NativeEngine(algorithm, env, seed=seed)
    engine.start()
    return engine


def assert_close(got: Any, wanted: Any, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, wanted)


class Sleeper(Env):
    """Nothing happens, whatever the action of SPEC's box: episodes end after `length` steps."""

    length: int = 3

    @property
    def obs_space(self) -> Box:
        return SPEC.obs_space

    @property
    def action_space(self) -> Box:
        return SPEC.action_space

    def reset(self, key: Any) -> tuple[Any, Any]:
        return jnp.zeros((), jnp.int32), jnp.zeros(3)

    def step(self, key: Any, state: Any, action: Any) -> tuple[Any, TimeStep]:
        never = jnp.zeros((), jnp.bool_)
        return state + 1, TimeStep(jnp.zeros(3), action.sum(), never, state + 1 >= self.length)
