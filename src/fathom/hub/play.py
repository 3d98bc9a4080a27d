"""Short episodes of the classic tasks by simple policies or a trained one, as results.json keeps them."""

import contextlib
import importlib.util
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fathom.core.errors import FathomError

ENVIRONMENTS = ("CartPole-v1", "MountainCar-v0")
_BOX2D = "LunarLander-v3"  # where Box2D is installed


def play(episodes: int = 10, max_steps: int = 500, policy: str = "auto", seed: int = 0) -> dict[str, Any]:
    """Returns and lengths of episodes of each environment, in the fixed format of results.json.

    `policy` is "random", "auto" (on MountainCar push the way the car rolls, else random), or the folder of a
    run, which plays its own environment. Environments are Gymnasium's; episodes are cut after `max_steps`, or
    earlier by the environment's own limit. `seed` chooses the episodes.

    Raises FathomError for numbers that are none, and for a policy that there is not.
    """
    if episodes < 1:
        raise FathomError(f"episodes is {episodes}; play at least 1.")
    if max_steps < 1:
        raise FathomError(f"max_steps is {max_steps}; allow an episode at least 1.")
    if policy in ("random", "auto"):
        found = importlib.util.find_spec("Box2D") is not None
        ids = [*ENVIRONMENTS, *([_BOX2D] if found else [])]
        envs = [_play_simple(id, policy, episodes, max_steps, seed) for id in ids]
    else:
        envs = [_play_run(policy, episodes, max_steps, seed)]
    return {
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "episodes_per_env": episodes,
        "policy": policy,
        "envs": envs,
    }


def write_results(path: str | Path, results: dict[str, Any]) -> None:
    """Write results.json; FathomError where it cannot be written."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise FathomError(f"cannot write {path}: {error.strerror or error}.") from error


def _play_simple(id: str, policy: str, episodes: int, max_steps: int, seed: int) -> dict[str, Any]:
    import gymnasium

    env = gymnasium.make(id)
    heuristic = policy == "auto" and id.startswith("MountainCar-")
    env.action_space.seed(seed)

    def act(obs: Any) -> Any:
        # 0 pushes left and 2 right: always the way it rolls, which adds energy.
        return (2 if obs[1] >= 0 else 0) if heuristic else env.action_space.sample()

    with contextlib.closing(env):
        return _told(
            id, "velocity-sign" if heuristic else "random", _rollouts(env, act, episodes, max_steps, seed)
        )


def _play_run(policy: str, episodes: int, max_steps: int, seed: int) -> dict[str, Any]:
    from fathom.agent import Agent
    from fathom.envs.base import Env
    from fathom.envs.bridge import to_gymnasium

    if not Path(policy).is_dir():
        raise FathomError(f"there is no policy {policy!r}; use random, auto, or the folder of a run.")
    with contextlib.closing(Agent.load(policy)) as agent:
        env = to_gymnasium(agent.env) if isinstance(agent.env, Env) else agent.env.fresh()
        player = agent.player()
        with contextlib.closing(env):
            found = _rollouts(env, player, episodes, max_steps, seed, player.reset)
            return _told(agent.env_id, policy, found)


def _rollouts(
    env: Any,
    act: Callable[[Any], Any],
    episodes: int,
    max_steps: int,
    seed: int,
    begin: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    found = []
    for episode in range(episodes):
        begin()
        obs, _ = env.reset(seed=seed + episode)
        total, length = 0.0, 0
        for _ in range(max_steps):
            obs, reward, terminated, truncated, _ = env.step(act(obs))
            total += float(reward)
            length += 1
            if terminated or truncated:
                break
        found.append({"episode": episode, "return_": total, "length": length})
    return found


def _told(id: str, policy: str, returns: list[dict[str, Any]]) -> dict[str, Any]:
    values = [one["return_"] for one in returns]
    return {
        "env_id": id,
        "policy": policy,
        "episodes": len(returns),
        "avg_return": float(np.mean(values)),
        "best_return": float(np.max(values)),
        "returns": returns,
    }
