"""The stage of the deep lab: episodes that policies play beside the training, which they never touch."""

import dataclasses
import io
import time
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fathom.algos.base import ActionValues, Algorithm, StateValues
from fathom.core.errors import FathomError, UnknownName
from fathom.core.keys import env_seeds, named, numbered
from fathom.core.spaces import Box, Discrete
from fathom.core.types import Clock
from fathom.envs.base import Env
from fathom.envs.host import HostEnv
from fathom.envs.scene import Circle, Line, Polygon, Scene, Text, Tiles
from fathom.hub import messages
from fathom.hub.messages import Shape, Tensor
from fathom.runs.watch import renderable
from fathom.train import loop

SLOTS = 9  # policies on stage at most
PICTURES = 20.0  # a second, of environments that draw themselves

_STEPS_PER_SECOND = 30.0  # of an environment that does not tell its own time step
_FASTEST = 60.0
_PIXELS = 480  # the longer side of a picture
_QUALITY = 80  # of its JPEG


@dataclasses.dataclass
class _Slot:
    """A policy in the middle of an episode."""

    learner: PyTree | None  # of one seed; None for the present one
    u: int
    state: PyTree = None
    obs: PyTree = None
    memory: PyTree = None
    total: float = 0.0
    steps: int = 0
    episode: int = 0
    made: int = 0  # steps over all episodes, which number the keys
    over: bool = True
    action: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1, np.float32))
    values: np.ndarray | None = None


class Stage:
    """Slot 0 plays the present policy of seed 0, the others those of past updates."""

    def __init__(self, lab: Any) -> None:
        """`lab` is a Lab, or what of one a run of the command line has (`watching.Watched`)."""
        self._lab = lab
        self._env: Any = lab.line.env
        self._slots = [_Slot(None, lab.line.u)]
        self._forced: np.ndarray | None = None
        self._key = jax.random.key(0x57A6E)
        self._due = 0.0
        self._moving: np.ndarray | None = None  # which numbers of the view move; None where there is no view
        self._host = _HostStage(self._env, lab.engine.seed) if isinstance(self._env, HostEnv) else None
        self.take()
        step = getattr(_innermost(self._env), "dt", None)
        self.rate = min(_FASTEST, 1.0 / float(step)) if isinstance(step, float) else _STEPS_PER_SECOND
        if self._host is not None:
            self.rate = PICTURES

    def describe(self) -> messages.Stage | None:
        """What the page needs to draw it; None where pictures come, or there is nothing to see."""
        space = self._lab.engine.spec.action_space
        actions = [str(a) for a in range(space.n)] if isinstance(space, Discrete) else []
        box = isinstance(space, Box)
        low = np.asarray(space.low, np.float64).ravel().tolist() if box else []
        high = np.asarray(space.high, np.float64).ravel().tolist() if box else []
        if self._host is not None:
            return None
        state = self._reset(0)[0]
        scene = self._env.view(state)
        if scene is None:
            return None
        shapes = _shapes(scene)
        self._moving = _moving(self._env, state)
        row = np.concatenate([np.asarray(piece, np.float32).ravel() for piece in _pieces(scene)])
        return messages.Stage(
            shapes, [float(x) for x in scene.extent], Tensor.of(row), self._moving.tolist(),
            sorted(_pushes(state)), actions, low, high,
        )  # fmt: skip

    def take(self) -> None:
        """Take up the present policy: a copy, since training goes on with the original's memory.

        Not while the engine is at work.
        """
        lab, carry = self._lab, self._lab.carry()
        self._algorithm = lab.engine.algorithm
        self._present, self._clock = _taken(
            carry.seeds.learner, carry.shared, np.int32(lab.horizon), lab.engine.plan, lab.engine.batched
        )
        self._slots[0].u = lab.line.u

    def tick(self, now: float) -> bool:
        """Make the steps that are due; whether there were any."""
        if now < self._due:
            return False
        self._due = max(self._due + 1.0 / self.rate, now - 1.0 / self.rate)
        for index, slot in enumerate(self._slots):
            self._step(index, slot)
        return True

    def frame(self) -> tuple[dict[str, Tensor], bytes | None]:
        """What is seen of it now."""
        arrays = {
            "stage_return": Tensor.of([slot.total for slot in self._slots]),
            "stage_step": Tensor.of([slot.steps for slot in self._slots], "i4"),
            "stage_action": Tensor.of(np.stack([slot.action for slot in self._slots])),
            "stage_u": Tensor.of([slot.u for slot in self._slots], "i4"),
        }
        if self._slots[0].values is not None:
            arrays["stage_values"] = Tensor.of(np.stack([slot.values for slot in self._slots]))  # pyright: ignore
        if self._host is not None:
            return arrays, self._host.picture()
        if self._moving is not None:
            rows = [np.asarray(_view(self._env, slot.state)) for slot in self._slots]
            arrays["view"] = Tensor.of(np.stack(rows)[:, self._moving])
        return arrays, None

    def drive(self, action: list[float] | None, push: dict[str, float], reset: bool) -> None:
        """Take slot 0 in hand; FathomError for an action or a component that there is not."""
        if action is not None:
            self._forced = self._require_action(action)
        else:
            self._forced = None
        slot = self._slots[0]
        if push:
            if self._host is not None:
                raise FathomError("only native environments can be pushed; this one is Gymnasium's.")
            for name, amount in push.items():
                known = _pushes(slot.state)
                if name not in known:
                    raise UnknownName("component of the state", name, known)
                slot.state = _pushed(slot.state, name, amount)
        if reset:
            slot.over = True

    def exhibit(self, at: list[int]) -> list[int]:
        """Put policies of past updates on stage, beside the present one; these updates."""
        if len(at) >= SLOTS:
            raise FathomError(f"{len(at)} policies are more than the stage holds; show up to {SLOTS - 1}.")
        if self._host is not None:
            raise FathomError("past policies are shown on native environments; this one is Gymnasium's.")
        self._slots[1:] = [_Slot(self._of_seed(self._lab.learner(u)), u) for u in at]
        return list(at)

    def follow(self) -> None:
        """Take up the environment and the policy as they are now: something was changed."""
        self._env = self._lab.line.env
        self.take()

    def close(self) -> None:
        """Release the environment."""
        if self._host is not None:
            self._host.close()

    def _of_seed(self, tree: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[0], tree) if self._lab.engine.batched else tree

    def _reset(self, episode: int) -> tuple[PyTree, PyTree]:
        return _reset(self._env, numbered(named(self._key, "reset"), jnp.int32(episode)))

    def _require_action(self, action: list[float]) -> np.ndarray:
        space = self._lab.engine.spec.action_space
        if isinstance(space, Discrete):
            if len(action) != 1 or not float(action[0]).is_integer() or not 0 <= action[0] < space.n:
                raise FathomError(f"action is {action}; it is one whole number from 0 to {space.n - 1}.")
            return np.asarray(space.start + int(action[0]), np.int32)
        if isinstance(space, Box):
            wanted = int(np.prod(space.shape))
            if len(action) != wanted:
                raise FathomError(f"action has {len(action)} numbers; this environment takes {wanted}.")
            return np.clip(np.asarray(action, space.dtype).reshape(space.shape), space.low, space.high)
        raise FathomError(f"actions of {space!r} cannot be given by hand.")

    def _step(self, index: int, slot: _Slot) -> None:
        learner = slot.learner if slot.learner is not None else self._present
        if slot.over:
            slot.memory, slot.total, slot.steps, slot.over = None, 0.0, 0, False
            slot.episode += 1
            if self._host is not None:
                slot.obs = self._host.reset(slot.episode)
            else:
                slot.state, slot.obs = self._reset(slot.episode)
        made = np.int32(slot.made)
        action, slot.memory, values, key = _act(
            self._algorithm, learner, slot.memory, slot.obs, self._key, index, made, self._clock
        )
        slot.made += 1
        if index == 0 and self._forced is not None:
            action = jnp.asarray(self._forced)
        if self._host is not None:
            slot.obs, reward, slot.over = self._host.step(action)
        else:
            slot.state, slot.obs, reward, over = _move(self._env, slot.state, action, key)
            slot.over = bool(over)
        slot.total += float(reward)
        slot.steps += 1
        leaves = [np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(action)]
        slot.action = np.concatenate(leaves)
        slot.values = None if values is None else np.atleast_1d(np.asarray(values, np.float32))


class _HostStage:
    """An environment of Gymnasium's, stepped here and drawn by itself."""

    def __init__(self, env: HostEnv, seed: int) -> None:
        made: list[Any] = []

        def construct() -> Any:
            made.append(renderable(env))
            return made[-1]

        host = HostEnv(construct, env.id)
        self._seed = seed
        self._vector = host.vector(1, workers="in-process")
        self._made = made
        self._drawn = 0.0
        self._picture: bytes | None = None

    def reset(self, episode: int) -> PyTree:
        """The first observation of an episode."""
        key = numbered(named(jax.random.key(self._seed), "stage"), jnp.int32(episode))
        obs = self._vector.reset(np.asarray(env_seeds(key, 1)))
        return jax.tree.map(lambda x: x[0], obs)

    def step(self, action: PyTree) -> tuple[PyTree, float, bool]:
        """One step: what is seen then, the reward, and whether the episode is over."""
        step = self._vector.step(jax.tree.map(lambda a: np.asarray(a)[None], action))
        over = bool(step.terminated[0] | step.truncated[0])
        return jax.tree.map(lambda x: x[0], step.obs), float(step.reward[0]), over

    def picture(self) -> bytes | None:
        """A JPEG of how it looks now, at most so many a second; None where it is the same."""
        from PIL import Image

        now = time.monotonic()
        if now - self._drawn < 1.0 / PICTURES:
            return None
        self._drawn = now
        image = Image.fromarray(np.asarray(self._made[-1].render()))
        image.thumbnail((_PIXELS, _PIXELS))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()

    def close(self) -> None:
        """Close the environment."""
        self._vector.close()


@jax.jit
def _reset(env: Env, key: Any) -> tuple[PyTree, PyTree]:
    return env.reset(key)


@jax.jit
def _move(env: Env, state: PyTree, action: PyTree, key: Any) -> tuple[PyTree, PyTree, Any, Any]:
    state, step = env.step(key, state, action)
    return state, step.obs, step.reward, step.terminated | step.truncated


@partial(jax.jit, static_argnames=("plan", "batched"))
def _taken(
    learner: PyTree, shared: loop.Shared, horizon: Any, plan: loop.Plan, batched: bool
) -> tuple[PyTree, Clock]:
    """A copy of the first seed's learner, and the clock. One program: leaf by leaf it took milliseconds."""
    one = jax.tree.map(lambda x: jnp.copy(x[0] if batched else x), learner)
    return one, jax.tree.map(jnp.copy, loop.clock_of(shared, horizon, plan))


@partial(jax.jit, static_argnames=("slot",))
def _act(
    algorithm: Algorithm,
    learner: PyTree,
    memory: PyTree | None,
    obs: PyTree,
    root: Any,
    slot: int,
    made: Any,
    clock: Clock,
) -> tuple[PyTree, PyTree, Any, Any]:
    """The action in one environment of the policy that is evaluated, what it takes things to be worth, and
    the key of this step.
    """
    key = numbered(named(root, f"act{slot}"), made)
    batch = jax.tree.map(lambda x: jnp.asarray(x)[None], obs)
    if memory is None:
        memory = algorithm.init_memory(learner, 1)
    action, memory, _ = algorithm.act(learner, memory, batch, key, clock, False)
    values = None
    if isinstance(algorithm, ActionValues):
        values = algorithm.action_values(learner, batch)[0]
    elif isinstance(algorithm, StateValues):
        values = algorithm.state_values(learner, batch)[0]
    return jax.tree.map(lambda x: x[0], action), memory, values, key


def _innermost(env: Any) -> Any:
    while isinstance(getattr(env, "env", None), Env):
        env = env.env
    return env


def _pieces(scene: Scene) -> list[Any]:
    """The numbers of a scene's shapes, in their order."""
    found: list[Any] = []
    for shape in scene.shapes:
        match shape:
            case Polygon() | Line():
                found.append(shape.points)
            case Circle():
                found += [shape.center, shape.radius]
            case Text():
                found += [shape.at, *([] if shape.value is None else [shape.value])]
            case Tiles():
                found.append(shape.kinds)
            case _:
                raise FathomError(f"a {type(shape).__name__} cannot be drawn on the page.")
    return found


def _shapes(scene: Scene) -> list[Shape]:
    found, at = [], 0
    for shape in scene.shapes:
        counts = [int(np.size(piece)) for piece in _pieces(Scene((shape,), scene.extent))]
        tiles = isinstance(shape, Tiles)
        rows, cols = np.shape(shape.kinds) if tiles else (0, 0)
        found.append(
            Shape(
                kind=type(shape).__name__.lower(),  # pyright: ignore[reportArgumentType]
                color="" if tiles else shape.color,
                at=at,
                counts=counts,
                width=float(shape.size if tiles else getattr(shape, "width", 0.0)),
                text=getattr(shape, "text", ""),
                size=shape.size if isinstance(shape, Text) else None,
                roles=list(shape.roles) if tiles else [],
                rows=rows,
                cols=cols,
                round=tiles and shape.round,
            )
        )
        at += sum(counts)
    return found


def _moving(env: Env, state: PyTree) -> np.ndarray:
    """Which of a scene's numbers follow from the state; the others never change."""
    traced = jax.make_jaxpr(lambda s: _pieces(env.view(s)))(state)
    moved = set(traced.jaxpr.invars)
    for equation in traced.jaxpr.eqns:
        if any(not hasattr(v, "val") and v in moved for v in equation.invars):
            moved |= set(equation.outvars)
    found, at = [], 0
    for out in traced.jaxpr.outvars:
        size = int(np.prod(out.aval.shape))  # pyright: ignore[reportAttributeAccessIssue]
        if not hasattr(out, "val") and out in moved:
            found.append(np.arange(at, at + size))
        at += size
    return np.concatenate(found) if found else np.zeros(0, np.int64)


@jax.jit
def _view(env: Env, state: PyTree) -> Any:
    scene = env.view(state)
    if scene is None:
        return None
    return jnp.concatenate([jnp.asarray(p, jnp.float32).ravel() for p in _pieces(scene)])


def _pushes(state: PyTree) -> dict[str, list[str]]:
    """The components of a state that can be pushed: name -> the fields that lead to it."""
    path: list[str] = []
    while (inner := getattr(state, "env", None)) is not None:
        state = inner
        path.append("env")
    if not dataclasses.is_dataclass(state):
        return {}
    return {
        f.name: [*path, f.name]
        for f in dataclasses.fields(state)
        if jnp.shape(getattr(state, f.name)) == () and jnp.result_type(getattr(state, f.name)) == jnp.float32
    }


def _pushed(state: PyTree, name: str, amount: float) -> PyTree:
    path = _pushes(state)[name]

    def place(s: Any) -> Any:
        for part in path:
            s = getattr(s, part)
        return s

    return eqx.tree_at(place, state, place(state) + jnp.float32(amount))
