"""rejax on one workload; run with the Python of its own virtual environment."""

import time
from typing import Any

import clock
import jax
from flax import linen as nn
from rejax import DQN, PPO
from rejax.networks import DiscreteQNetwork, EpsilonGreedyPolicy


def ppo_native(settings: dict[str, Any]) -> clock.Figures:
    """PPO on gymnax's CartPole: the second call of one compiled training, of `steps` steps per seed.

    Evaluation is replaced by nothing. With `seeds` above 1, training is vmapped over that many keys, and
    the rates count all seeds together.
    """
    seeds = settings.get("seeds", 1)
    shape = {"num_envs": 64, "num_steps": 128, "num_epochs": 4, "num_minibatches": 4}
    iteration = shape["num_envs"] * shape["num_steps"]
    steps = max(1, settings.get("steps", 2_097_152) // iteration) * iteration
    ppo = PPO.create(
        env="CartPole-v1",
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
        learning_rate=3e-4,
        max_grad_norm=0.5,
        **shape,
    ).replace(eval_callback=lambda ppo, state, key: ())

    key = jax.random.key(settings.get("seed", 0))
    keys = key if seeds == 1 else jax.random.split(key, seeds)
    began = time.perf_counter()
    train = jax.jit(ppo.train if seeds == 1 else jax.vmap(ppo.train)).lower(keys).compile()
    compile_seconds = time.perf_counter() - began
    jax.block_until_ready(train(keys))

    began = time.perf_counter()
    jax.block_until_ready(train(keys))
    seconds = time.perf_counter() - began
    updates = steps // iteration * shape["num_epochs"] * shape["num_minibatches"]
    return {
        "env_steps": steps * seeds,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps * seeds / seconds,
        "updates_per_second": updates * seeds / seconds,
    }


def dqn_native(settings: dict[str, Any]) -> clock.Figures:
    """DQN on gymnax's CartPole: the second call of one compiled training, an update of 64 every step."""
    steps = settings.get("steps", 50_000)
    dqn = DQN.create(
        env="CartPole-v1",
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
        num_envs=1,
        buffer_size=100_000,
        fill_buffer=1_000,
        batch_size=64,
        learning_rate=1e-3,
        max_grad_norm=10.0,
        target_update_freq=500,
        ddqn=False,
    )
    agent = EpsilonGreedyPolicy(DiscreteQNetwork)(
        hidden_layer_sizes=(128, 128), action_dim=2, activation=nn.relu
    )
    dqn = dqn.replace(agent=agent, eval_callback=lambda dqn, state, key: ())
    key = jax.random.key(settings.get("seed", 0))
    began = time.perf_counter()
    train = jax.jit(dqn.train).lower(key).compile()
    compile_seconds = time.perf_counter() - began
    jax.block_until_ready(train(key))

    began = time.perf_counter()
    jax.block_until_ready(train(key))
    seconds = time.perf_counter() - began
    return {
        "env_steps": steps,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps / seconds,
    }


if __name__ == "__main__":
    packages = ["rejax", "gymnax", "jax", "flax", "optax", "distrax", "numpy"]
    clock.answer("rejax", packages, {"ppo-cartpole-native": ppo_native, "dqn-cartpole-native": dqn_native})
