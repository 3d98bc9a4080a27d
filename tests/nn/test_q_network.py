import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.spaces import Box
from fathom.nn.layers import LayerNorm, NoisyLinear, SmallCNN
from fathom.nn.network import Network
from fathom.nn.q_network import init_q_network, init_quantile_network, q_outputs

KEY = jax.random.key(0)
SPACE = Box(-1.0, 1.0, (3,))
OBS = jax.random.normal(jax.random.key(1), (5, 3))


def noise_of(key, *shape):
    drawn = np.asarray(jax.random.normal(key, shape))
    return np.sign(drawn) * np.sqrt(np.abs(drawn))


def test_a_noisy_layer_is_a_linear_one_whose_weights_have_been_moved():
    """Eq. 9 to 11: written out with the whole noise matrix."""
    layer = NoisyLinear.init(KEY, 3, 4)
    key = jax.random.key(7)
    noise = noise_of(key, 7)
    into, out = noise[:3], noise[3:]
    weight = np.asarray(layer.weight) + np.asarray(layer.weight_scale) * np.outer(into, out)
    bias = np.asarray(layer.bias) + np.asarray(layer.bias_scale) * out
    np.testing.assert_allclose(layer(OBS, key), np.asarray(OBS) @ weight + bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layer(OBS), np.asarray(OBS) @ np.asarray(layer.weight) + np.asarray(layer.bias), rtol=1e-5, atol=1e-6
    )


def test_each_element_may_have_noise_of_its_own_or_all_the_same():
    layer = NoisyLinear.init(KEY, 3, 4)
    same = jnp.broadcast_to(OBS[:1], OBS.shape)
    shared, own = layer(same, KEY), layer(same, KEY, True)
    assert len(np.unique(np.asarray(shared), axis=0)) == 1
    assert len(np.unique(np.asarray(own), axis=0)) == 5


def test_noisy_layers_begin_as_the_paper_has_it():
    layer = NoisyLinear.init(KEY, 100, 50)
    bound = 1 / np.sqrt(100)
    assert np.abs(layer.weight).max() <= bound
    assert np.asarray(layer.weight).std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    np.testing.assert_allclose(layer.weight_scale, 0.5 * bound)
    np.testing.assert_allclose(layer.bias_scale, 0.5 * bound)
    # The noise of one output: deviations of x ∘ f(ε) σ f(ε'), of variance |x|² σ² E[|ε|]².
    x = jnp.ones((4000, 100))
    spread = np.asarray(layer(x, KEY, True) - layer(x)).std()
    wanted = np.sqrt(101 * (0.5 * bound) ** 2 * 2 / np.pi)
    assert spread == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("atoms", [1, 4])
@pytest.mark.parametrize("noisy", [False, True])
def test_dueling_streams_are_joined_over_the_actions(atoms, noisy):
    """Q = V + A − mean over actions of A, atom by atom: trap 11."""
    net = init_q_network(KEY, SPACE, 3, atoms, (6, 8), "tanh", dueling=True, noisy=noisy)
    key = jax.random.key(3)
    got = np.asarray(q_outputs(net, OBS, key)).reshape(5, 3, atoms)
    features = net.encoder(OBS)
    keys = jax.random.split(key)
    value, advantage = (np.asarray(s(features, k)) for s, k in zip(net.streams, keys, strict=True))
    advantage = advantage.reshape(5, 3, atoms)
    for action in range(3):
        for atom in range(atoms):
            wanted = value[:, atom] + advantage[:, action, atom] - advantage[:, :, atom].mean(axis=1)
            np.testing.assert_allclose(got[:, action, atom], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got.mean(axis=1), value, rtol=1e-4, atol=1e-5)


def test_a_plain_network_has_one_output_to_each_atom_of_each_action():
    net = init_q_network(KEY, SPACE, 3, 4, (6,), "relu")
    assert isinstance(net, Network)
    assert q_outputs(net, OBS, KEY).shape == (5, 12)
    np.testing.assert_array_equal(q_outputs(net, OBS, KEY), net(OBS))


@pytest.mark.parametrize("hidden", [(), (4,), (4, 6)])
def test_networks_of_any_depth(hidden):
    for kind in ({"dueling": True}, {"noisy": True}, {"dueling": True, "noisy": True}):
        net = init_q_network(KEY, SPACE, 3, 2, hidden, "relu", **kind)
        assert q_outputs(net, OBS, KEY).shape == (5, 6)
        assert q_outputs(net, OBS[0]).shape == (6,)
    quantiles = init_quantile_network(KEY, SPACE, 3, 5, hidden, "relu")
    assert quantiles(OBS, jnp.full((5, 7), 0.5)).shape == (5, 7, 3)


def test_quantile_values_written_out():
    net = init_quantile_network(KEY, SPACE, 2, 5, (4, 6), "relu")
    tau = jax.random.uniform(jax.random.key(2), (5, 3))
    got = np.asarray(net(OBS, tau))
    features = np.asarray(net.encoder(OBS))
    w, b = np.asarray(net.embedding.weight), np.asarray(net.embedding.bias)
    for i in range(5):
        for j in range(3):
            cosines = np.cos(np.pi * np.arange(5) * float(tau[i, j]))
            phi = np.maximum(cosines @ w + b, 0.0)
            wanted = net.stream(jnp.asarray(features[i] * phi))
            np.testing.assert_allclose(got[i, j], wanted, rtol=1e-4, atol=1e-5)


def test_layer_norm_by_hand():
    x = jnp.array([[1.0, 2.0, 3.0, 6.0]])
    norm = LayerNorm(jnp.array([1.0, 2.0, 1.0, 1.0]), jnp.array([0.0, 0.0, 0.0, 5.0]))
    unit = (np.asarray(x) - 3.0) / np.sqrt(3.5)
    np.testing.assert_allclose(norm(x), unit * [1, 2, 1, 1] + [0, 0, 0, 5], rtol=1e-4)


def test_a_convolution_of_small_pictures_written_out():
    shape = (5, 6, 2)
    net = SmallCNN.init(KEY, shape, top=1)
    picture = jax.random.bernoulli(KEY, 0.5, (3, *shape)).astype(jnp.uint8)
    got = np.asarray(net(picture)).reshape(3, 3, 4, 16)
    kernel = np.asarray(net.conv.weight)
    for i in range(3):
        for j in range(4):
            patch = np.asarray(picture)[:, i : i + 3, j : j + 3].astype(float)
            wanted = np.maximum(np.einsum("bhwc,hwco->bo", patch, kernel) + np.asarray(net.conv.bias), 0.0)
            np.testing.assert_allclose(got[:, i, j], wanted, rtol=1e-4, atol=1e-5)
    assert SmallCNN.features(shape) == 3 * 4 * 16
    np.testing.assert_allclose(
        SmallCNN.init(KEY, shape, top=255)(picture * jnp.uint8(255)), net(picture), rtol=1e-5
    )
