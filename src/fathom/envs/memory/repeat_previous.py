"""Cards that are to be named some steps after they were shown."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.core.types import TimeStep
from fathom.envs.base import Env
from fathom.envs.scene import Circle, Line, Scene
from fathom.envs.toy.shapes import point

_SUITS = "CDHS"


class RepeatPreviousState(eqx.Module):
    """The cards that matter, the newest last, and how many were shown."""

    shown: Int[Array, " card"]  # k + 1 of them; those not shown yet are drawn already
    count: Int[Array, ""]


class RepeatPrevious(Env):
    """Name the suit of the card shown `k` steps ago; the observation is the suit of the newest one.

    Every action after the first `k` steps earns 1/n where it is right and −1/n where it is wrong, n being
    their number in an episode: 1 is the best return, −0.5 that of guessing. `info["success"]` is 1 where the
    action was right. After Morad et al. 2023, "POPGym", arXiv:2303.01859, whose deck is dealt without
    replacement; here every card is drawn anew.
    """

    k: int = 4  # steps back, ≥ 1
    steps: int = 52  # of an episode, more than k
    suits: int = 4  # 2 to 26

    def __check_init__(self) -> None:
        if self.k < 1 or self.steps <= self.k or not 2 <= self.suits <= 26:
            raise FathomError(
                f"k is {self.k}, steps {self.steps} and suits {self.suits}; give k of at least 1, more steps "
                "than k, and 2 to 26 suits."
            )

    @property
    def obs_space(self) -> Discrete:
        """The suit of the newest card."""
        return Discrete(self.suits)

    @property
    def action_space(self) -> Discrete:
        """The suit that is named."""
        return Discrete(self.suits)

    def reset(self, key: Key[Array, ""]) -> tuple[RepeatPreviousState, Int[Array, ""]]:
        """A first card."""
        cards = jax.random.randint(key, (self.k + 1,), 0, self.suits)
        return RepeatPreviousState(cards, jnp.ones((), jnp.int32)), cards[-1]

    def step(
        self, key: Key[Array, ""], state: RepeatPreviousState, action: Int[Array, ""]
    ) -> tuple[RepeatPreviousState, TimeStep]:
        """Judge the name given, show another card."""
        asked = state.count > self.k
        right = asked & (action == state.shown[0])
        worth = jnp.where(right, 1.0, -1.0) / (self.steps - self.k)
        card = jax.random.randint(key, (), 0, self.suits)
        after = RepeatPreviousState(jnp.append(state.shown[1:], card), state.count + 1)
        over = state.count >= self.steps
        info = {"success": right.astype(jnp.float32)}
        reward = jnp.where(asked, worth, 0.0)
        return after, TimeStep(card, reward, over, jnp.zeros((), jnp.bool_), info)

    def view(self, state: RepeatPreviousState) -> Scene:
        """The last k + 1 cards as places on a scale of suits, the one that is asked for in another colour."""
        height: Float[Array, " card"] = state.shown.astype(jnp.float32)
        shapes = [
            Line(np.array([[-0.5, row], [self.k + 0.5, row]], np.float32), 0.03, "ground")
            for row in range(self.suits)
        ]
        dots = [
            Circle(point(i, height[i]), 0.3, "goal" if i == 0 else "accent" if i == self.k else "muted")
            for i in range(self.k + 1)
        ]
        return Scene((*shapes, *dots), (-1.0, self.k + 1.0, -1.0, float(self.suits)))

    def ascii(self, state: RepeatPreviousState) -> str:
        """The last cards, the one asked for in brackets; · where none was shown yet."""
        letters = _SUITS if self.suits <= len(_SUITS) else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        names = [letters[int(card)] for card in state.shown]
        hidden = max(self.k + 1 - int(state.count), 0)
        names[:hidden] = ["."] * hidden
        return f"[{names[0]}] {' '.join(names[1:])}"
