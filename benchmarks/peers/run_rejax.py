"""rejax on one workload; run with the Python of its own virtual environment."""

import time
from typing import Any

import clock
import jax
from rejax import PPO


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


if __name__ == "__main__":
    packages = ["rejax", "gymnax", "jax", "flax", "optax", "distrax", "numpy"]
    clock.answer("rejax", packages, {"ppo-cartpole-native": ppo_native})
