"""Pictures and texts of a trained policy at work."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named, numbered
from fathom.core.types import Masked
from fathom.envs.base import Env
from fathom.envs.grid.board import Board, Index
from fathom.envs.grid.values import (
    CellValues,
    Piece,
    cell_states,
    cell_values,
    numerals,
    value_scene,
    value_text,
)
from fathom.envs.host import HostEnv, layers
from fathom.envs.render import draw, write_gif, write_mp4
from fathom.envs.wrappers import TimeLimit

Frame = UInt8[np.ndarray, "height width 3"]
Lines = list[list[Piece]]

STEPS_PER_SECOND = 4.0  # of a walk among values: slow enough to read them

_FPS = 30.0
_GIF_FPS = 50.0  # players slow faster ones down

_WIDTH, _LONGEST, _LEAST = 480, 960, 120  # pixels of a grid's picture: across, at most, at least
_CELL = 72  # pixels of a cell's side in which a number can be read with ease
_HEAD = 3  # lines of a text above and below the grid
_LISTED = 12  # actions whose values are listed


def record(
    agent: Any,
    episodes: int = 1,
    seed_index: int = 0,
    max_steps: int = 1_000,
    seed: int = 0,
    speed: float | None = None,
) -> tuple[list[Frame], float]:
    """Frames of whole episodes under the deterministic policy of one seed, and frames per second.

    Episodes are cut after `max_steps`. Native environments are drawn from their `view`, with values and
    greedy actions where the learner values the cells of a grid; Gymnasium's by their own "rgb_array"
    rendering. `seed` chooses the episodes; training is not touched. `speed` is in steps per second; by
    default 4 with values, else what the environment gives, or 30.

    Raises FathomError where there is nothing to see, and says what to add to the environment.
    """
    key = _checked_key(agent, episodes, seed_index, max_steps, seed, speed)
    if not isinstance(agent.env, Env):
        frames, fps = _record_host(agent, episodes, seed_index, max_steps, key)
        return frames, speed or fps
    laid = _Laid.over(agent, seed_index)
    moments = _walk(agent, episodes, seed_index, max_steps, key)
    if laid is None:
        return [draw(agent.env.view(moment.state)) for moment in moments], speed or _FPS
    return [laid.picture(moment) for moment in moments], speed or STEPS_PER_SECOND


def narrate(
    agent: Any,
    episodes: int = 1,
    seed_index: int = 0,
    max_steps: int = 1_000,
    seed: int = 0,
    *,
    framed: bool = True,
    unicode: bool = True,
    size: tuple[int, int] | None = None,
) -> Iterator[Lines]:
    """The same episodes as text, a list of lines in pieces (text, colour's role) for each step.

    A grid shows the value of each cell and arrows for its greedy actions; where that does not fit into
    `size` (columns, lines), the map with an arrow in each cell. Other environments show their `ascii`, and
    beside it the values of the present state. `framed` and `unicode` as in `value_text`.

    Raises FathomError, before the first step, where there is nothing to show.
    """
    key = _checked_key(agent, episodes, seed_index, max_steps, seed, None)
    if not isinstance(agent.env, Env):
        raise FathomError(
            f"{agent.env_id} runs in Gymnasium, which draws pictures not text; film it with -o FILE.gif."
        )
    laid = _Laid.over(agent, seed_index)

    def show(moment: _Moment) -> Lines:
        end = "" if not moment.over else ", the end" if moment.terminated else ", cut"
        head = (
            f"{agent.env_id}, seed {agent.seed + seed_index}: episode {moment.episode + 1} of {episodes}, "
            f"step {moment.step}, return {moment.total:g}{end}"
        )
        body = laid.text(moment, framed, unicode, size) if laid else _beside(agent, moment, seed_index)
        return [[(head, "")], [], *body]

    moments = _walk(agent, episodes, seed_index, max_steps, key)
    first = next(moments)
    if not laid and agent.env.ascii(first.state) is None and agent.values(first.obs) is None:
        film = (
            "film it with -o FILE.gif"
            if agent.env.view(first.state) is not None
            else "nor a picture: give it an `ascii` or a `view` to look at it"
        )
        raise FathomError(f"{agent.env_id} has no text to show, and its learner no values; {film}.")
    return (show(moment) for moment in itertools.chain([first], moments))


def write_film(path: str | Path, frames: list[Frame], fps: float) -> Path:
    """Write frames to a .gif or .mp4. A GIF shows every k-th frame where `fps` is beyond what GIFs can.

    Raises FathomError for another suffix, where the file cannot be written, and for .mp4 without the `video`
    extra.
    """
    path = Path(path)
    require_film(path)
    try:
        if path.suffix.lower() == ".mp4":
            write_mp4(path, frames, fps)
        else:
            stride = int(np.ceil(fps / _GIF_FPS))
            write_gif(path, frames[::stride], fps / stride)
    except OSError as error:
        raise FathomError(f"cannot write {path}: {error.strerror or error}.") from error
    return path


def require_film(path: Path) -> None:
    """Raise FathomError unless `path` names a kind of film that can be written."""
    if path.suffix.lower() not in (".gif", ".mp4"):
        raise FathomError(f"cannot film to {path}; give a name that ends in .gif or .mp4.")


def _checked_key(
    agent: Any, episodes: int, seed_index: int, max_steps: int, seed: int, speed: float | None
) -> jax.Array:
    """The key that chooses the episodes; FathomError for settings out of range."""
    if episodes < 1 or max_steps < 1:
        raise FathomError(f"episodes is {episodes} and max_steps {max_steps}; both must be at least 1.")
    if not 0 <= seed_index < agent.seeds:
        raise FathomError(f"seed_index is {seed_index}; the run has the seeds 0 to {agent.seeds - 1}.")
    if not 0 <= seed < 2**32:
        raise FathomError(f"seed is {seed}; it must lie between 0 and 2**32 - 1.")
    require_speed(speed)
    return named(jax.random.key(seed), "watch")


def require_speed(speed: float | None) -> None:
    """Raise FathomError unless `speed` is a number of steps per second, or None."""
    if speed is not None and not 0 < speed < math.inf:
        raise FathomError(f"speed is {speed}; it is in steps per second, above 0 and finite.")


class _Moment(NamedTuple):
    """A state of an episode."""

    episode: int
    step: int
    state: Any
    obs: Any
    acted: Any  # the state of the latest choice: this one, or the one before where the episode is over
    total: float  # the rewards so far
    terminated: bool
    over: bool  # terminated, truncated or cut


def _walk(agent: Any, episodes: int, seed_index: int, max_steps: int, key: jax.Array) -> Iterator[_Moment]:
    env = agent.env
    # Not the bound methods: they would be compared by their environment, whose arrays have no hash.
    reset = jax.jit(lambda key: env.reset(key))
    step = jax.jit(lambda key, state, action: env.step(key, state, action))
    player = agent.player(deterministic=True, seed_index=seed_index)
    for episode in range(episodes):
        player.reset()
        episode_key = numbered(key, episode)
        state, obs = reset(named(episode_key, "reset"))
        total = 0.0
        yield _Moment(episode, 0, state, obs, state, total, False, False)
        for t in range(max_steps):
            action = player(obs)
            after, seen = step(numbered(named(episode_key, "step"), t), state, action)
            total += float(seen.reward)
            over = bool(seen.terminated | seen.truncated)
            done = over or t + 1 == max_steps
            acted = state if done else after
            yield _Moment(episode, t + 1, after, seen.obs, acted, total, bool(seen.terminated), done)
            if over:
                break
            state, obs = after, seen.obs


class _Laid(NamedTuple):
    """A grid, and a learner that values its cells."""

    agent: Any
    seed_index: int
    board: Board
    limits: int  # wrappers around the grid

    @classmethod
    def over(cls, agent: Any, seed_index: int) -> "_Laid | None":
        """None where the environment is no grid, or the learner tells no values, or sees something else."""
        env, limits = agent.env, 0
        # Other wrappers may change what the learner sees of a cell.
        while isinstance(env, TimeLimit):
            env, limits = env.env, limits + 1
        if not isinstance(env, Board):
            return None
        laid = cls(agent, seed_index, env, limits)
        return laid if laid.worth(0) is not None else None

    def inner(self, state: Any) -> int:
        """The grid's own state."""
        for _ in range(self.limits):
            state = state.env
        return int(state)

    def worth(self, state: Index) -> CellValues | None:
        """The values of all cells, all else being as in a state of the grid."""
        obs = jax.vmap(self.board.observe)(jnp.asarray(cell_states(self.board, state)))
        values = self.agent.values(obs, seed_index=self.seed_index)
        if values is None:
            return None
        return cell_values(self.board, state, values, _mask(obs))

    def known(self, moment: _Moment) -> CellValues:
        """The values among which the latest choice was made."""
        known = self.worth(self.inner(moment.acted))
        assert known is not None
        return known

    def picture(self, moment: _Moment) -> Frame:
        rows, cols = self.board.shape
        side = min(max(_CELL, _WIDTH / cols), _LONGEST / max(rows, cols))
        state = np.int32(self.inner(moment.state))
        return draw(value_scene(self.board, state, self.known(moment), side), max(_LEAST, round(side * cols)))

    def text(self, moment: _Moment, framed: bool, unicode: bool, size: tuple[int, int] | None) -> Lines:
        state, known = self.inner(moment.state), self.known(moment)
        lines = value_text(self.board, state, known, framed=framed, unicode=unicode)
        if size is None or (_width(lines) <= size[0] and len(lines) + _HEAD <= size[1]):
            return lines
        arrows = [
            [self.board.arrows[int(best.argmax())] if best.any() else "" for best in row]
            for row in known.best
        ]
        return [[(line, "")] for line in self.board.ascii(state, arrows).split("\n")]


def _beside(agent: Any, moment: _Moment, seed_index: int) -> Lines:
    """The environment's text, and beside it what its state is taken to be worth, unless all is over."""
    text = agent.env.ascii(moment.state)
    left = (f"observation {_plain(moment.obs)}" if text is None else text).split("\n")
    right = [] if moment.over else _listed(agent.values(moment.obs, seed_index=seed_index), _mask(moment.obs))
    width = max(len(line) for line in left)
    return [
        [(a.ljust(width + 4) if b else a, ""), (b, "")]
        for a, b in itertools.zip_longest(left, right, fillvalue="")
    ]


def _listed(values: np.ndarray | None, mask: np.ndarray | None) -> list[str]:
    """The values of legal actions as lines, greedy ones starred, of many the best; or the state's value."""
    if values is None:
        return []
    numbers = numerals(np.atleast_2d(values).astype(np.float64))[0]
    if values.ndim == 0:
        return [f"value {numbers[0]}"]
    legal = [a for a in range(len(values)) if mask is None or mask[a]]
    best = max((values[a] for a in legal), default=0.0)
    shown = sorted(sorted(legal, key=lambda a: -values[a])[:_LISTED])
    width = max((len(numbers[a]) for a in shown), default=0)
    lines = [f"{'*' if values[a] == best else ' '} action {a:<3} {numbers[a]:>{width}}" for a in shown]
    return [*lines, f"  and {len(legal) - len(shown)} more"] if len(legal) > len(shown) else lines


def _mask(obs: Any) -> np.ndarray | None:
    return np.asarray(obs.mask) if isinstance(obs, Masked) else None


def _plain(obs: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x).tolist(), obs.obs if isinstance(obs, Masked) else obs)


def _width(lines: Lines) -> int:
    return max(sum(len(text) for text, _ in line) for line in lines)


def _record_host(
    agent: Any, episodes: int, seed_index: int, max_steps: int, key: jax.Array
) -> tuple[list[Frame], float]:
    task = agent.env.task
    made = renderable(task)
    fps = float(made.metadata.get("render_fps") or _FPS)
    made.close()
    frames: list[Frame] = []
    host = HostEnv(lambda: _filmed(task, frames), task.id)
    host.obs_space  # noqa: B018 its first look makes and resets an environment, which is not to be filmed
    seeds = np.asarray(env_seeds(key, episodes))
    vector = host.vector(1, workers="in-process")
    kept: list[Frame] = []
    player = agent.player(deterministic=True, seed_index=seed_index)
    try:
        for seed in seeds:
            frames.clear()
            player.reset()
            obs = vector.reset(np.array([seed]))
            for _ in range(max_steps):
                action = player(_first(obs))
                before = len(frames)
                step = vector.step(jax.tree.map(lambda a: np.asarray(a)[None], action))
                obs = step.obs
                if bool(step.terminated[0] | step.truncated[0]):
                    # The vector has begun the next episode: its first picture is not of this one.
                    del frames[before + 1 :]
                    break
            kept.extend(frames)
    finally:
        vector.close()
    return kept, fps


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[0], tree)


def _filmed(env: HostEnv, frames: list[Frame]) -> Any:
    """The environment, rendering into `frames` at every reset and step."""
    import gymnasium

    class Filmed(gymnasium.Wrapper):
        def reset(self, **kwargs: Any) -> Any:
            result = self.env.reset(**kwargs)
            frames.append(_rendered(self.env, env.id))
            return result

        def step(self, action: Any) -> Any:
            result = self.env.step(action)
            frames.append(_rendered(self.env, env.id))
            return result

    return Filmed(renderable(env))


def renderable(env: HostEnv) -> Any:
    """A new environment that renders to arrays."""
    import gymnasium

    made = env.fresh()
    if made.render_mode == "rgb_array":
        return made
    if made.spec is not None and made.spec.entry_point is not None:
        kinds = [type(layer) for layer in layers(made)]
        try:
            filmed = gymnasium.make(made.spec, render_mode="rgb_array")
        except Exception as error:
            raise FathomError(
                f"{env.id} cannot be rendered: {error} `fathom doctor` names missing packages."
            ) from error
        if [type(layer) for layer in layers(filmed)] == kinds:
            made.close()
            return filmed
        filmed.close()
    if made.render_mode != "rgb_array":
        raise FathomError(
            f"the environment {env.id} was made with render_mode={made.render_mode!r}; to film it, let its "
            'constructor set render_mode="rgb_array".'
        )
    return made


def _rendered(env: Any, id: str) -> Frame:
    try:
        frame = np.asarray(env.render())
    except Exception as error:
        raise FathomError(
            f"{id} cannot be rendered: {error} `fathom doctor` names missing packages."
        ) from error
    if frame.dtype != np.uint8 or frame.ndim != 3:
        raise FathomError(
            f"{id}'s render() gave {frame.dtype}{list(frame.shape)}; a picture is uint8[height, width, 3]."
        )
    return frame
