"""Pictures of a trained policy at work."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from fathom.core.errors import FathomError
from fathom.core.keys import env_seeds, named, numbered
from fathom.envs.base import Env
from fathom.envs.host import HostEnv
from fathom.envs.render import draw, write_gif, write_mp4

Frame = UInt8[np.ndarray, "height width 3"]

_FPS = 30.0
_GIF_FPS = 50.0  # players slow faster ones down


def record(
    agent: Any, episodes: int = 1, seed_index: int = 0, max_steps: int = 1_000, seed: int = 0
) -> tuple[list[Frame], float]:
    """Frames of whole episodes under the deterministic policy of one seed, and frames per second.

    Episodes are cut after `max_steps`. Native environments are drawn from their `view`, Gymnasium's by their
    own "rgb_array" rendering. `seed` chooses the episodes; training is not touched.

    Raises FathomError where there is nothing to see, and says what to add to the environment.
    """
    if episodes < 1 or max_steps < 1:
        raise FathomError(f"episodes is {episodes} and max_steps {max_steps}; both must be at least 1.")
    if not 0 <= seed_index < agent.seeds:
        raise FathomError(f"seed_index is {seed_index}; the run has the seeds 0 to {agent.seeds - 1}.")
    key = named(jax.random.key(seed), "watch")
    if isinstance(agent.env, Env):
        return _record_native(agent, episodes, seed_index, max_steps, key), _FPS
    return _record_host(agent, episodes, seed_index, max_steps, key)


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


def _record_native(agent: Any, episodes: int, seed_index: int, max_steps: int, key: jax.Array) -> list[Frame]:
    reset, step = jax.jit(agent.env.reset), jax.jit(agent.env.step)
    frames = []
    for episode in range(episodes):
        episode_key = numbered(key, episode)
        state, obs = reset(named(episode_key, "reset"))
        frames.append(draw(agent.env.view(state)))
        for t in range(max_steps):
            action = agent.predict(obs, deterministic=True, seed_index=seed_index)
            state, seen = step(numbered(named(episode_key, "step"), t), state, action)
            obs = seen.obs
            frames.append(draw(agent.env.view(state)))
            if bool(seen.terminated | seen.truncated):
                break
    return frames


def _record_host(
    agent: Any, episodes: int, seed_index: int, max_steps: int, key: jax.Array
) -> tuple[list[Frame], float]:
    made = _renderable(agent.env)
    fps = float(made.metadata.get("render_fps") or _FPS)
    made.close()
    frames: list[Frame] = []
    host = HostEnv(lambda: _filmed(agent.env, frames), agent.env.id)
    host.obs_space  # noqa: B018 its first look makes and resets an environment, which is not to be filmed
    seeds = np.asarray(env_seeds(key, episodes))
    vector = host.vector(1, workers="in-process")
    kept: list[Frame] = []
    try:
        for seed in seeds:
            frames.clear()
            obs = vector.reset(np.array([seed]))
            for _ in range(max_steps):
                action = agent.predict(_first(obs), deterministic=True, seed_index=seed_index)
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

    return Filmed(_renderable(env))


def _renderable(env: HostEnv) -> Any:
    """A new environment that renders to arrays."""
    import gymnasium

    if env.id in gymnasium.registry:
        try:
            return gymnasium.make(env.id, render_mode="rgb_array")
        except Exception as error:
            raise FathomError(
                f"{env.id} cannot be rendered: {error} `fathom doctor` names missing packages."
            ) from error
    made = env.fresh()
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
