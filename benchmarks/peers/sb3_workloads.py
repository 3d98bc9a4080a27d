"""The workloads of Stable-Baselines3 and of SBX, which share one API."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import clock
import gymnasium
import numpy as np
import positions
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecFrameStack

ENV = "CartPole-v1"
Algorithm = Callable[..., BaseAlgorithm]


def linear(initial: float) -> Callable[[float], float]:
    """A value that falls to 0 with the progress that remains."""
    return lambda remaining: remaining * initial


# "native" is the schedule that Fathom and rejax run on native environments.
PPO_SCHEDULES: dict[str, dict[str, Any]] = {
    "default": {"n_steps": 2048, "batch_size": 64, "n_epochs": 10},
    "native": {"n_steps": 128, "batch_size": 2048, "n_epochs": 4, "ent_coef": 0.01},
    "zoo": {
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": linear(0.001),
        "clip_range": linear(0.2),
    },
}
DQN_ZOO: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}


OFF_POLICY: dict[str, Any] = {
    "batch_size": 256,
    "learning_starts": 100,
    "train_freq": 1,
    "gradient_steps": 1,
    "policy_kwargs": {"net_arch": [256, 256]},
}


A2C_DEFAULT: dict[str, Any] = {"n_steps": 5}
A2C_LONG: dict[str, Any] = {"n_steps": 16}
RECURRENT: dict[str, Any] = {
    "n_steps": 128,
    "batch_size": 128,
    "n_epochs": 10,
    "policy_kwargs": {"net_arch": [64], "lstm_hidden_size": 64},
}


class Marks(BaseCallback):
    """Notes the clock between iterations, an iteration being a rollout and the updates that follow it."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[int, float]] = []

    def mark(self) -> None:
        """Adds (env steps so far, seconds)."""
        self.marks.append((self.num_timesteps, time.perf_counter()))

    def _on_rollout_start(self) -> None:
        self.mark()

    def _on_training_end(self) -> None:
        self.mark()

    def _on_step(self) -> bool:
        return True


class Curve(BaseCallback):
    """Evaluates the greedy policy every `every` env steps, off the clock."""

    def __init__(self, env: str, every: int, episodes: int, seed: int) -> None:
        super().__init__()
        self.eval_env = make_vec_env(env, n_envs=episodes, seed=10_000 + seed)
        self.every, self.episodes, self.seconds, self.returns = every, episodes, 0.0, []

    def _on_training_start(self) -> None:
        self.resumed = time.perf_counter()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps and self.num_timesteps % self.every == 0:
            self.check()

    def _on_training_end(self) -> None:
        self.check()

    def check(self) -> None:
        """Stops the clock and evaluates."""
        stopped = time.perf_counter()
        self.seconds += stopped - self.resumed
        mean, _ = evaluate_policy(self.model, self.eval_env, self.episodes, deterministic=True)
        self.returns.append(float(mean))  # pyright: ignore[reportArgumentType]
        self.resumed = time.perf_counter()


class UntilSolved(BaseCallback):
    """Evaluates the greedy policy about every `every` env steps, off the clock; stops at `target`."""

    def __init__(self, target: float, every: int, episodes: int) -> None:
        super().__init__()
        self.target, self.every, self.episodes = target, every, episodes
        self.eval_env = make_vec_env(ENV, n_envs=episodes, seed=10_000)
        self.next_at, self.seconds, self.eval_seconds, self.solved = every, 0.0, 0.0, False

    def _on_training_start(self) -> None:
        self.resumed = time.perf_counter()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.next_at:
            self.check()

    def _on_training_end(self) -> None:
        if not self.solved:
            self.check()

    def _on_step(self) -> bool:
        return not self.solved

    def check(self) -> None:
        """Stops the clock and evaluates."""
        stopped = time.perf_counter()
        self.seconds += stopped - self.resumed
        self.steps = self.num_timesteps
        self.next_at = self.steps + self.every
        returns, _ = evaluate_policy(self.model, self.eval_env, self.episodes, deterministic=True)
        self.solved = float(returns) >= self.target  # pyright: ignore[reportArgumentType]
        self.resumed = time.perf_counter()
        self.eval_seconds += self.resumed - stopped


def ppo_rate(ppo: Algorithm, schedule: str, num_envs: int, settings: dict[str, Any]) -> clock.Figures:
    """PPO's env steps per second, learning included, after a first iteration that is not counted."""
    schedule, num_envs = settings.get("schedule", schedule), settings.get("num_envs", num_envs)
    config = PPO_SCHEDULES[schedule]
    iteration = num_envs * config["n_steps"]
    marks = Marks()
    model = ppo("MlpPolicy", make_vec_env(ENV, n_envs=num_envs), seed=settings.get("seed", 0), **config)
    model.learn(max(settings.get("steps", 0), 2 * iteration), callback=marks)
    figures = clock.steady(marks.marks, warmup=1)
    updates = config["n_epochs"] / config["batch_size"]
    return figures | {"updates_per_second": figures["steps_per_second"] * updates}


def dqn_rate(dqn: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """DQN's env steps per second on the Zoo's schedule, after 2,048 steps that are not counted."""
    marks = Marks()
    model = dqn("MlpPolicy", make_vec_env(ENV, n_envs=1), seed=settings.get("seed", 0), **DQN_ZOO)
    model.learn(max(settings.get("steps", 50_000), 4096), callback=marks)
    figures = clock.steady(marks.marks, warmup=8)
    updates = DQN_ZOO["gradient_steps"] / DQN_ZOO["train_freq"]
    return figures | {"updates_per_second": figures["steps_per_second"] * updates}


def dqn_every_step(dqn: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """DQN on CartPole, an update of 64 transitions every step, after 1,500 steps that are not counted."""
    marks, warmup = Marks(), 1_500
    config = {"batch_size": 64, "learning_starts": 1_000, "train_freq": 1, "learning_rate": 1e-3}
    net = {"policy_kwargs": {"net_arch": [128, 128]}, "buffer_size": 100_000, "target_update_interval": 500}
    model = dqn("MlpPolicy", make_vec_env(ENV, n_envs=1), seed=settings.get("seed", 0), **config, **net)
    model.learn(max(settings.get("steps", 5_000), 2 * warmup), callback=marks)
    return clock.steady(marks.marks, warmup)


class SmallCNN(BaseFeaturesExtractor):
    """MinAtar's network (Young & Tian 2019): 16 filters of 3 × 3, then 128 units."""

    def __init__(self, space: gymnasium.spaces.Box) -> None:
        super().__init__(space, 128)
        height, width, channels = space.shape
        flat = 16 * (height - 2) * (width - 2)
        self.conv, self.dense = torch.nn.Conv2d(channels, 16, 3), torch.nn.Linear(flat, 128)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """Features of boards [batch, height, width, channel]."""
        seen = torch.relu(self.conv(obs.permute(0, 3, 1, 2)))
        return torch.relu(self.dense(seen.flatten(1)))


def dqn_breakout(dqn: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """DQN with its own settings on the MinAtar package's Breakout, after 1,000 steps that are not counted."""
    from minatar.gym import register_envs

    register_envs()

    class Numbers(gymnasium.ObservationWrapper):
        def __init__(self) -> None:
            super().__init__(gymnasium.make("MinAtar/Breakout-v1"))
            self.observation_space = gymnasium.spaces.Box(0.0, 1.0, self.env.observation_space.shape)

        def observation(self, observation: Any) -> Any:
            return np.asarray(observation, np.float32)

    marks, warmup = Marks(), 250
    net = {"features_extractor_class": SmallCNN, "net_arch": []}
    env = make_vec_env(Numbers, n_envs=1)
    model = dqn("MlpPolicy", env, seed=settings.get("seed", 0), buffer_size=100_000, policy_kwargs=net)
    model.learn(max(settings.get("steps", 5_000), 4_000), callback=marks)
    return clock.steady(marks.marks, warmup)


def dqn_pong(dqn: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """DQN on Pong: 8 games by ale-py, an update of 32 stacks for every 4 steps. Frames are the game's."""
    import ale_py

    gymnasium.register_envs(ale_py)
    env = make_atari_env(
        "ALE/Pong-v5", n_envs=8, env_kwargs={"frameskip": 1, "repeat_action_probability": 0.0}
    )
    config = {
        "learning_rate": 1e-4,
        "train_freq": 1,
        "gradient_steps": 2,
        "batch_size": 32,
        "buffer_size": 10_000,
        "learning_starts": 100,
        "target_update_interval": 1_000,
        "exploration_final_eps": 0.01,
    }
    marks, warmup = Marks(), 30
    model = dqn("CnnPolicy", VecFrameStack(env, 4), seed=settings.get("seed", 0), **config)
    model.learn(max(settings.get("steps", 2_000), 480), callback=marks)
    figures = clock.steady(marks.marks, warmup)
    return figures | {"frames_per_second": figures["steps_per_second"] * 4}


def pendulum_rate(algorithm: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """An update every step on Pendulum, after 500 steps that are not counted."""
    marks, warmup = Marks(), 500
    env = make_vec_env("Pendulum-v1", n_envs=1)
    model = algorithm("MlpPolicy", env, seed=settings.get("seed", 0), **OFF_POLICY)
    model.learn(max(settings.get("steps", 5_000), 2 * warmup), callback=marks)
    figures = clock.steady(marks.marks, warmup)
    return figures | {"updates_per_second": figures["steps_per_second"]}


def cheetah_curve(algorithm: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """HalfCheetah, an update every step from 1,000 steps on: greedy returns on the way, and the rate."""
    (steps, every), curves, seconds = clock.stretches(settings), [], 0.0
    first = settings.get("seed", 0)
    for seed in range(first, first + settings.get("seeds", 1)):
        curve = Curve("HalfCheetah-v5", every, settings.get("episodes", 10), seed)
        env = make_vec_env("HalfCheetah-v5", n_envs=1, seed=seed)
        model = algorithm("MlpPolicy", env, seed=seed, **{**OFF_POLICY, "learning_starts": 1_000})
        model.learn(steps, callback=curve)
        curves.append(curve.returns)
        seconds += curve.seconds
    return clock.curve(curves, steps, every, seconds)


def a2c_rate(
    a2c: Algorithm, schedule: dict[str, Any], num_envs: int, settings: dict[str, Any]
) -> clock.Figures:
    """A2C's env steps per second, learning included, after 50 iterations that are not counted."""
    iteration, warmup, marks = num_envs * schedule["n_steps"], 50, Marks()
    model = a2c("MlpPolicy", make_vec_env(ENV, n_envs=num_envs), seed=settings.get("seed", 0), **schedule)
    model.learn(max(settings.get("steps", 0), 2 * warmup * iteration), callback=marks)
    figures = clock.steady(marks.marks, warmup)
    return figures | {"updates_per_second": figures["steps_per_second"] / iteration}


def recurrent_rate(ppo: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """Recurrent PPO's env steps per second without velocities, after a first iteration not counted."""
    marks = Marks()
    env = make_vec_env(positions.cartpole, n_envs=8)
    model = ppo("MlpLstmPolicy", env, seed=settings.get("seed", 0), **RECURRENT)
    model.learn(max(settings.get("steps", 0), 2 * 8 * RECURRENT["n_steps"]), callback=marks)
    figures = clock.steady(marks.marks, warmup=1)
    updates = RECURRENT["n_epochs"] / RECURRENT["batch_size"]
    return figures | {"updates_per_second": figures["steps_per_second"] * updates}


def ppo_solve(ppo: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """Training seconds, evaluation excluded, until the mean greedy return of 20 episodes is 475."""
    seconds: list[float | None] = []
    steps: list[int] = []
    spent = fresh = 0.0
    for seed in range(settings.get("seed", 0), settings.get("seed", 0) + settings.get("seeds", 3)):
        until = UntilSolved(settings.get("target", 475.0), settings.get("every", 2048), episodes=20)
        model = ppo("MlpPolicy", make_vec_env(ENV, n_envs=8, seed=seed), seed=seed, **PPO_SCHEDULES["zoo"])
        model.learn(settings.get("steps", 100_000), callback=until)
        seconds.append(until.seconds if until.solved else None)
        steps.append(until.steps)
        spent += until.seconds
        fresh = fresh or clock.since_start() - until.eval_seconds
    return clock.solved(seconds, steps, spent, fresh)


def ppo_run(ppo: Algorithm, settings: dict[str, Any]) -> clock.Figures:
    """One seed of 100,000 steps as a user would write it; the whole process is what is measured."""
    schedule = settings.get("schedule", "default")
    num_envs = settings.get("num_envs", 8 if schedule == "zoo" else 1)
    env = make_vec_env(ENV, n_envs=num_envs)
    model = ppo("MlpPolicy", env, seed=settings.get("seed", 0), **PPO_SCHEDULES[schedule])
    began = time.perf_counter()
    model.learn(settings.get("steps", 100_000))
    seconds = time.perf_counter() - began
    return {
        "env_steps": model.num_timesteps,
        "seconds": seconds,
        "steps_per_second": model.num_timesteps / seconds,
    }


def answer(
    peer: str,
    packages: list[str],
    algorithms: Mapping[str, Algorithm],
    compiles: bool,
) -> None:
    """Answers the request on the command line with these algorithms, by name, on the CPU.

    What the first iteration costs above the later ones is called compilation only where there is one.
    """

    def with_threads(workload: clock.Workload) -> clock.Workload:
        def run(settings: dict[str, Any]) -> clock.Figures:
            torch.set_num_threads(settings.get("threads", 1))
            figures = workload(settings)
            if not compiles:
                figures.pop("compile_seconds", None)
            return figures

        return run

    on_cpu = {name: partial(algorithm, device="cpu") for name, algorithm in algorithms.items()}
    rates: dict[str, tuple[str, Callable[..., clock.Figures], tuple[Any, ...]]] = {
        "ppo-cartpole-native": ("ppo", ppo_rate, ("native", 64)),
        "ppo-cartpole-host": ("ppo", ppo_rate, ("default", 8)),
        "ppo-cartpole-solve": ("ppo", ppo_solve, ()),
        "ppo-cartpole-100k": ("ppo", ppo_run, ()),
        "dqn-cartpole-host": ("dqn", dqn_rate, ()),
        "sac-pendulum-host": ("sac", pendulum_rate, ()),
        "td3-pendulum-host": ("td3", pendulum_rate, ()),
        "dqn-cartpole-every-step": ("dqn", dqn_every_step, ()),
        "dqn-breakout": ("dqn", dqn_breakout, ()),
        "dqn-pong": ("dqn", dqn_pong, ()),
        "sac-cheetah": ("sac", cheetah_curve, ()),
        "td3-cheetah": ("td3", cheetah_curve, ()),
        "a2c-cartpole-host": ("a2c", a2c_rate, (A2C_DEFAULT, 8)),
        "a2c-cartpole-native": ("a2c", a2c_rate, (A2C_LONG, 16)),
        "recurrent-positions-host": ("recurrent", recurrent_rate, ()),
    }
    workloads = {
        workload: with_threads(partial(rate, on_cpu[name], *arguments))
        for workload, (name, rate, arguments) in rates.items()
        if name in on_cpu
    }
    clock.answer(peer, packages, workloads)
