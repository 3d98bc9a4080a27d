import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from fathom.nn.heads import PolicyHead, to_env
from fathom.ops.distributions import Bernoulli, Categorical, DiagGaussian, MultiCategorical

KEY = jax.random.key(0)
INPUTS = 6
SPACES = {
    "discrete": (Discrete(3, start=4), Categorical),
    "multi discrete": (MultiDiscrete((2, 3)), MultiCategorical),
    "multi binary": (MultiBinary(4), Bernoulli),
    "box": (Box([-0.4, 0.0], [2.0, 0.5]), DiagGaussian),
    "matrix": (Box(-1.0, 3.0, (2, 2)), DiagGaussian),
    "unbounded": (Box(-np.inf, np.inf, (2,)), DiagGaussian),
    "half bounded": (Box([0.0, -np.inf], [np.inf, 1.0]), DiagGaussian),
}


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_action_space_has_its_distribution(name, batch):
    space, kind = SPACES[name]
    head = PolicyHead.init(KEY, INPUTS, space)
    pi = head(jax.random.normal(KEY, (*batch, INPUTS)))
    assert isinstance(pi, kind)
    action, log_prob = pi.sample_and_log_prob(KEY)
    assert log_prob.shape == pi.entropy().shape == batch
    for own in (action, pi.mode()):
        taken = jax.device_get(head.to_env(own))
        assert taken.shape == (*batch, *space.shape)
        for one in taken.reshape(-1, *space.shape):
            assert space.contains(one)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_gradients_are_finite_and_reach_all_weights(name):
    space, _ = SPACES[name]
    head = PolicyHead.init(KEY, INPUTS, space)
    features = jax.random.normal(KEY, (5, INPUTS))
    action = head(features).sample(KEY)

    def loss(head):
        pi = head(features)
        return (pi.log_prob(action) * jnp.arange(5.0) + pi.entropy()).sum()

    for leaf in jax.tree.leaves(jax.grad(loss)(head)):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)


@pytest.mark.parametrize("name", ["discrete", "multi discrete", "multi binary"])
def test_the_first_policy_is_near_uniform(name):
    space, _ = SPACES[name]
    head = PolicyHead.init(KEY, INPUTS, space)
    pi = head(jax.random.normal(KEY, (50, INPUTS)))
    uniform = {"discrete": np.log(3), "multi discrete": np.log(6), "multi binary": 4 * np.log(2)}[name]
    np.testing.assert_allclose(pi.entropy(), uniform, atol=2e-3)


def test_a_gaussian_begins_with_the_deviation_asked_for():
    head = PolicyHead.init(KEY, INPUTS, Box(-1.0, 1.0, (2,)), log_std=-0.5)
    np.testing.assert_allclose(head(jnp.zeros((3, INPUTS))).log_std, -0.5)


@pytest.mark.parametrize("name", ["discrete", "multi discrete"])
def test_a_mask_reaches_the_distribution(name):
    space, _ = SPACES[name]
    head = PolicyHead.init(KEY, INPUTS, space)
    size = head.layer.bias.shape[0]
    mask = np.ones((4000, size), bool)
    mask[:, [0, size - 1]] = False
    draws = np.asarray(head(jnp.ones((4000, INPUTS)), jnp.asarray(mask)).sample(KEY)).reshape(4000, -1)
    expected = [{1}] if name == "discrete" else [{1}, {0, 1}]
    assert [set(column) for column in draws.T] == expected


def test_actions_without_a_distribution_are_refused():
    with pytest.raises(FathomError, match=r"Dict.*takes Discrete, MultiDiscrete, MultiBinary and Box"):
        PolicyHead.init(KEY, INPUTS, Dict({"a": Discrete(2)}))


def test_integers_are_shifted_to_their_start():
    np.testing.assert_array_equal(to_env(Discrete(3, start=4), jnp.arange(3)), [4, 5, 6])


def test_an_asymmetric_box_is_filled():
    box = Box([-0.4, 10.0], [2.0, 11.0])
    actions = jnp.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0], [-9.0, 9.0]])
    expected = np.array([[-0.4, 10.0], [0.8, 10.5], [2.0, 11.0], [-0.4, 11.0]], np.float32)
    np.testing.assert_allclose(to_env(box, actions), expected, rtol=1e-6)


# XLA takes subnormal numbers for 0.
largest = float(np.finfo(np.float32).max)
finite = st.floats(-largest, largest, width=32, allow_subnormal=False)
bound = st.one_of(st.sampled_from([-0.4, 2.0, 0.0, 1e-30, -3e38, 3e38]), finite)


@given(a=bound, b=bound, action=st.floats(-1e6, 1e6, width=32, allow_subnormal=False))
def test_actions_are_in_any_bounded_box_and_its_ends_are_reached(a, b, action):
    low, high = sorted(np.float32([a, b]))
    box = Box(low, high, (1,))
    inside = np.asarray(to_env(box, jnp.array([[action], [-1.0], [1.0]], jnp.float32)))
    assert all(box.contains(one) for one in inside)
    np.testing.assert_array_equal(inside[1:, 0], [low, high])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-np.inf, np.inf, [-7.0, -1.0, 0.0, 1.0, 7.0]),
        (0.5, np.inf, [0.5, 0.5, 0.5, 1.0, 7.0]),
        (-np.inf, -2.0, [-7.0, -2.0, -2.0, -2.0, -2.0]),
    ],
)
def test_an_infinite_box_takes_actions_as_they_are_and_clips_them(low, high, expected):
    actions = jnp.array([-7.0, -1.0, 0.0, 1.0, 7.0])[:, None]
    np.testing.assert_array_equal(to_env(Box(low, high, (1,)), actions)[:, 0], expected)


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_flat_actions_take_the_shape_of_the_box(batch):
    box = Box(np.zeros((2, 3)), np.arange(1.0, 7.0).reshape(2, 3))
    np.testing.assert_array_equal(
        to_env(box, jnp.ones((*batch, 6))), np.broadcast_to(box.high, (*batch, 2, 3))
    )
