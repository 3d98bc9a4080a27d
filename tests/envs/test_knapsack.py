"""The knapsack: what fits, what it earns, and that the best packing earns 1."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.core.module import lift
from fathom.envs.registry import make
from fathom.envs.render import draw
from fathom.envs.toy.knapsack import Knapsack

ENV = Knapsack(items=5)
reset = jax.jit(lambda env, key: env.reset(key))
step_once = jax.jit(lambda env, state, action: env.step(jax.random.key(0), state, action))


def play(seed, order):
    """The rewards and the ends of packing the items in this order, those that are illegal left out."""
    state, obs = reset(lift(ENV), jax.random.key(seed))
    earned, ends, success = [], [], []
    for item in order:
        if not bool(obs.mask[item]):
            continue
        state, step = step_once(lift(ENV), state, jnp.int32(item))
        obs = step.obs
        earned.append(float(step.reward))
        ends.append(bool(step.terminated))
        success.append(float(step.info["success"]))
    return earned, ends, success


@pytest.mark.parametrize("seed", range(3))
def test_the_best_order_of_all_earns_one_and_no_order_more(seed):
    plays = [play(seed, order) for order in itertools.permutations(range(5))]
    returns = [sum(earned) for earned, _, _ in plays]
    assert max(returns) == pytest.approx(1.0, abs=1e-5)
    for (_, ends, success), total in zip(plays, returns, strict=True):
        assert ends == [False] * (len(ends) - 1) + [True]
        assert success[-1] == (total > 1.0 - 1e-5)


def test_the_mask_says_what_fits_and_what_does_not_changes_nothing():
    state, obs = reset(lift(ENV), jax.random.key(1))
    room = float(state.room)
    assert room == pytest.approx(0.5 * float(state.weight.sum()), rel=1e-6)
    np.testing.assert_array_equal(obs.mask, np.asarray(state.weight) <= room)
    assert make("Knapsack-v0").obs_space.contains(
        jax.tree.map(np.asarray, reset(make("Knapsack-v0"), jax.random.key(0))[1])
    )
    item = int(np.argmax(obs.mask))
    after, step = step_once(lift(ENV), state, jnp.int32(item))
    assert not bool(step.obs.mask[item])
    again, idle = step_once(lift(ENV), after, jnp.int32(item))
    assert float(idle.reward) == 0.0
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, after))
    np.testing.assert_allclose(step.obs.obs[-1], room - float(state.weight[item]), rtol=1e-6)


def test_it_can_be_looked_at():
    state, _ = reset(lift(ENV), jax.random.key(1))
    after, _ = step_once(
        lift(ENV), state, jnp.int32(int(np.argmax(reset(lift(ENV), jax.random.key(1))[1].mask)))
    )
    view = jax.jit(lambda env, state: env.view(state))
    pictures = [draw(view(lift(ENV), s), width=90) for s in (state, after)]
    assert (pictures[0] != pictures[1]).any()
    assert ENV.ascii(after).count("[") == 2
    assert "[" not in ENV.ascii(state)


def test_too_many_items_are_refused():
    with pytest.raises(FathomError, match="items is 13"):
        Knapsack(items=13)
