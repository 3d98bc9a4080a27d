"""Multi-armed bandits."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.scene import Line, Polygon, Scene, Text
from fathom.envs.toy.shapes import rectangle, shown

_TALL = 3.5  # standard deviations of q*, or half the range of probabilities, that a picture has room for


class BanditState(eqx.Module):
    """The problem: what each arm pays on average."""

    value: Float[Array, " arm"]  # q*


class Bandit(Env):
    """k arms, one state, no end: each `reset` draws a problem, and every play of it pays q*(a) on average.

    "gaussian": q*(a) ~ N(mean, spread²), rewards N(q*(a), noise²); with the defaults the 10-armed testbed of
    Sutton & Barto 2018, Section 2.3. "bernoulli": q*(a) uniform on [0, 1], rewards 1 with probability q*(a),
    else 0. With `drifts` every q* takes an independent step N(0, drift²) after each play (Exercise 2.5);
    probabilities stay within [0, 1]. `values` fixes the problem: then every reset gives the same.

    `info["optimal"]` is 1 where the arm played was a best one, else 0. Without an end, a run is one problem:
    another seed is another problem, and so is an evaluation, unless `values` are given.
    """

    arms: int = 10  # k
    rewards: Literal["gaussian", "bernoulli"] = "gaussian"  # what an arm pays
    mean: float = 0.0  # of the q* drawn; 4 in Sutton & Barto's Figure 2.5
    spread: float = 1.0  # standard deviation of the q* drawn
    noise: float = 1.0  # standard deviation of a reward about q*
    drifts: bool = False  # q* take a random walk
    drift: float = 0.01  # standard deviation of that walk's steps
    values: tuple[float, ...] | None = None  # q* of each arm, in place of drawing them

    def __check_init__(self) -> None:
        if self.arms < 1:
            raise FathomError(f"arms is {self.arms}; a bandit has at least 1.")
        if self.values is not None and len(self.values) != self.arms:
            raise FathomError(
                f"values gives {len(self.values)} arms and arms is {self.arms}; give one for each."
            )

    @property
    def obs_space(self) -> Discrete:
        """The one state."""
        return Discrete(1)

    @property
    def action_space(self) -> Discrete:
        """The arms."""
        return Discrete(self.arms)

    def reset(self, key: Key[Array, ""]) -> tuple[BanditState, Int[Array, ""]]:
        """A problem."""
        if self.values is not None:
            value = jnp.stack([jnp.asarray(v, jnp.float32) for v in self.values])
        elif self.rewards == "gaussian":
            value = self.mean + self.spread * jax.random.normal(key, (self.arms,))
        else:
            value = jax.random.uniform(key, (self.arms,))
        return BanditState(value), jnp.zeros((), jnp.int32)

    def step(
        self, key: Key[Array, ""], state: BanditState, action: Int[Array, ""]
    ) -> tuple[BanditState, TimeStep]:
        """One play."""
        played = jnp.arange(self.arms, dtype=jnp.int32) == action
        value = jnp.where(played, state.value, 0.0).sum()
        # Not equality: XLA may compute a value twice, with another last bit.
        best = state.value.max()
        optimal = (value >= best - 1e-6 * jnp.abs(best)).astype(jnp.float32)
        never = jnp.zeros((), jnp.bool_)
        if self.drifts:
            reward_key, drift_key = jax.random.split(key)
            state = self.moved(drift_key, state)
        else:
            reward_key = key
        if self.rewards == "gaussian":
            reward = value + self.noise * jax.random.normal(reward_key)
        else:
            reward = (jax.random.uniform(reward_key) < value).astype(jnp.float32)
        step = TimeStep(jnp.zeros((), jnp.int32), reward, never, never, {"optimal": optimal})
        return state, step

    def moved(self, key: Key[Array, ""], state: BanditState) -> BanditState:
        """The problem after one step of its random walk."""
        value = state.value + self.drift * jax.random.normal(key, (self.arms,))
        return BanditState(jnp.clip(value, 0.0, 1.0) if self.rewards == "bernoulli" else value)

    def view(self, state: BanditState) -> Scene:
        """A bar for each arm, from the mean of all problems to its q*, a best arm's in the colour of goals.

        Values further than 3.5 deviations from the mean are drawn as if they were there.
        """
        middle, scale = (0.5, 0.5 / _TALL) if self.rewards == "bernoulli" else (self.mean, self.spread)
        height = jnp.clip((state.value - middle) / jnp.maximum(scale, 1e-6), -_TALL, _TALL)
        best = state.value == state.value.max()
        shapes: list[Any] = [Line(np.array([[-0.5, 0], [self.arms - 0.5, 0]], np.float32), 0.03, "muted")]
        for arm in range(self.arms):
            bar = rectangle(arm - 0.35, 0.0, arm + 0.35, height[arm])
            shapes += [Polygon(bar, "accent"), Polygon(shown(bar, best[arm]), "goal")]
            shapes.append(Text(np.array([arm, -_TALL - 0.5], np.float32), str(arm), color="body"))
        return Scene(tuple(shapes), (-0.8, self.arms - 0.2, -_TALL - 1.0, _TALL + 0.3))

    def ascii(self, state: BanditState) -> str:
        """q* of each arm, best ones starred."""
        values = np.asarray(state.value)
        return "\n".join(
            f"arm {arm}  {value:+.2f}{' *' if value == values.max() else ''}"
            for arm, value in enumerate(values)
        )
