"""A learner with a table, and beside it a record of what it did: visits, errors, and its last steps."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from fathom.algos.base import ActionValues, Metrics, Online, StateValues
from fathom.algos.tabular.control import Explorer
from fathom.core import spaces
from fathom.core.types import Action, Clock, EnvSpec, Obs, Transition
from fathom.nn.encoder import action_mask
from fathom.nn.table import QTable, VTable

KEPT = 256  # steps that are remembered

_SCALARS = (
    "state",
    "action",
    "reward",
    "next_state",
    "next_action",
    "terminated",
    "truncated",
    "alpha",
    "gamma",
    "epsilon",
    "td_error",
)


class Tracked(eqx.Module):
    """The learner's state and the record."""

    inner: PyTree
    visits: Int[Array, " state"]  # times that the learner acted in each state
    errors: Float[Array, " state"]  # size of the last TD error met in each state
    episodes: Int[Array, ""]  # episodes finished
    steps: Float[Array, "kept entry"]  # the last steps, a ring; see `Layout`


class Layout(NamedTuple):
    """Where the numbers of a step lie in its row of `Tracked.steps`."""

    tables: int  # of the learner; two for Double Q-learning
    columns: int  # of a table: one for each action, or one where states are valued

    @property
    def size(self) -> int:
        """Numbers in a row."""
        return len(_SCALARS) + self.tables * (2 + self.columns)

    def read(self, row: Float[np.ndarray, " entry"]) -> dict[str, Any]:
        """The step's numbers by name; `old`, `new` [table] and `following` [table, column] as well."""
        found: dict[str, Any] = dict(zip(_SCALARS, row.tolist(), strict=False))
        rest = row[len(_SCALARS) :].reshape(self.tables, 2 + self.columns)
        return found | {"old": rest[:, 0], "new": rest[:, 1], "following": rest[:, 2:]}


def tables_of(state: PyTree) -> list[QTable | VTable]:
    """The tables in a learner's state."""
    found = jax.tree.leaves(state, is_leaf=_is_table)
    return [leaf for leaf in found if _is_table(leaf)]


def _is_table(leaf: Any) -> bool:
    return isinstance(leaf, QTable | VTable)


class Watched(Online):
    """What it wraps, unchanged, and a record of it. One environment and one step an update."""

    inner: Online
    num_envs: int = 1
    num_steps: int = 1

    def check(self, spec: EnvSpec) -> None:
        """Raise FathomError where what is within does."""
        self.inner.check(spec)

    def layout(self, state: PyTree) -> Layout:
        """How a step of that learner is written down."""
        tables = tables_of(state)
        columns = tables[0].values.shape[-1] if isinstance(tables[0], QTable) else 1
        return Layout(len(tables), columns)

    def init(self, spec: EnvSpec, key: Key[Array, ""]) -> Tracked:
        """As within, with an empty record."""
        inner, states = self.inner.init(spec, key), spaces.cardinality(spec.obs_space)
        return Tracked(
            inner,
            jnp.zeros(states, jnp.int32),
            jnp.zeros(states, jnp.float32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((KEPT, self.layout(inner).size), jnp.float32),
        )

    def init_memory(self, state: Tracked, num_envs: int) -> PyTree:
        """As within."""
        return self.inner.init_memory(state.inner, num_envs)

    def values(self, state: Tracked, obs: Obs) -> Float[Array, "*batch column"]:
        """Q(s, ·), or V(s) as one column."""
        if isinstance(self.inner, ActionValues):
            return self.inner.action_values(state.inner, obs)
        assert isinstance(self.inner, StateValues)
        return self.inner.state_values(state.inner, obs)[..., None]

    def act(
        self, state: Tracked, memory: PyTree, obs: Obs, key: Key[Array, ""], clock: Clock, explore: bool
    ) -> tuple[Action, PyTree, dict[str, Any]]:
        """As within."""
        return self.inner.act(state.inner, memory, obs, key, clock, explore)

    def update(
        self, state: Tracked, memory: PyTree, step: Transition, key: Key[Array, ""], clock: Clock
    ) -> tuple[Tracked, PyTree, Metrics]:
        """As within, and the step is written down."""
        inner, memory, metrics = self.inner.update(state.inner, memory, step, key, clock)
        before, after = tables_of(state.inner), tables_of(inner)
        at, to = before[0].state(step.obs)[0], before[0].state(step.final_obs)[0]
        column = (step.action - before[0].action_space.start)[0]
        error = metrics["td_error"].sum if "td_error" in metrics else jnp.float32(0)

        own = self.inner
        alpha = own.alpha(clock) if hasattr(own, "alpha") else jnp.float32(jnp.nan)  # pyright: ignore
        epsilon = own.epsilon(clock) if isinstance(own, Explorer) else jnp.float32(jnp.nan)
        scalars = [at, column, step.reward[0], to, _ahead(memory), step.terminated[0], step.truncated[0]]
        scalars += [alpha, own.gamma, epsilon, error]  # pyright: ignore[reportAttributeAccessIssue]
        rows = [jnp.asarray(x, jnp.float32)[None] for x in scalars]
        legal = action_mask(step.final_obs)
        for old, new in zip(before, after, strict=True):
            pair = (at, column) if isinstance(old, QTable) else (at,)
            following = jnp.atleast_1d(old.values[to])
            if legal is not None and isinstance(old, QTable):
                following = jnp.where(legal[0], following, -jnp.inf)
            rows += [old.values[pair][None], new.values[pair][None], following]
        row = jnp.concatenate(rows)[None]
        steps = jax.lax.dynamic_update_slice(state.steps, row, (clock.update % KEPT, jnp.int32(0)))

        here = jax.nn.one_hot(at, state.visits.shape[0], dtype=jnp.bool_)
        over = (step.terminated | step.truncated)[0]
        tracked = Tracked(
            inner,
            state.visits + here.astype(jnp.int32),
            jnp.where(here, error, state.errors),
            state.episodes + over.astype(jnp.int32),
            steps,
        )
        return tracked, memory, metrics


def _ahead(memory: PyTree) -> Int[Array, ""]:
    """The action that a learner has chosen for its next step; −1 where it chooses when it comes to it."""
    ahead = getattr(memory, "next_action", memory)
    if isinstance(ahead, jax.Array) and jnp.issubdtype(ahead.dtype, jnp.integer):
        return ahead[0]
    return jnp.int32(-1)
