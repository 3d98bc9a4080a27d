import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.spaces import Box, Dict, Discrete, Tuple
from fathom.nn.network import Network, init_critics, judge, tanh_gaussian

KEY = jax.random.key(0)
SPACE = Tuple((Dict({"x": Box(-4.0, 4.0, (2,)), "gear": Discrete(3)}), Box(-1.0, 1.0, (2,))))


def drawn(space, *batch):
    draw = space.sample
    for _ in batch:
        draw = jax.vmap(draw)
    return draw(jax.random.split(KEY, batch) if batch else KEY)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_critics_judge_observations_and_actions_each_in_its_own_way(batch):
    critics = init_critics(KEY, 3, SPACE, 5, (8,), "relu")
    x = drawn(SPACE, *batch)
    given = judge(critics, x)
    assert given.shape == (3, *batch, 5)
    for i, critic in enumerate(critics):
        np.testing.assert_array_equal(given[i], critic(x))
    assert not np.allclose(given[0], given[1])


def test_no_hidden_layers_make_a_network_linear():
    network = Network.init(KEY, SPACE, 2, (), "relu")
    obs, action = drawn(SPACE, 4)
    flat = jnp.concatenate([jax.nn.one_hot(obs["gear"], 3), obs["x"], action], axis=-1)
    np.testing.assert_allclose(network((obs, action)), flat @ network.head.weight, rtol=1e-5, atol=1e-6)


def test_scaled_numbers_are_mapped_from_their_bounds_and_integers_are_not():
    plain, scaled = (Network.init(KEY, SPACE, 2, (8,), "tanh", scale_obs=on) for on in (False, True))
    obs, action = drawn(SPACE, 4)
    smaller = {"x": obs["x"] / 4.0, "gear": obs["gear"]}
    np.testing.assert_allclose(scaled((obs, action)), plain((smaller, action)), rtol=1e-5, atol=1e-6)


def test_the_last_layer_takes_its_gain():
    for gain in (1.0, 0.01):
        network = Network.init(KEY, SPACE, 2, (8,), "tanh", gain=gain)
        np.testing.assert_allclose(jnp.linalg.norm(network.head.weight, axis=0), gain, rtol=1e-5)


def test_a_gaussian_before_tanh_keeps_its_deviation_within_limits():
    actor = Network.init(KEY, Box(-1.0, 1.0, (3,)), 4, (), "relu")
    obs = jnp.array([[1e3, 0.0, 0.0], [-1e3, 0.0, 0.0], [0.0, 0.0, 0.0]])
    pi = tanh_gaussian(actor, obs)
    out = actor(obs)
    np.testing.assert_array_equal(pi.mode(), jnp.tanh(out[:, :2]))
    np.testing.assert_array_equal(pi.normal.log_std, jnp.clip(out[:, 2:], -20.0, 2.0))
    assert {-20.0, 2.0} <= set(np.asarray(pi.normal.log_std).ravel().tolist())
