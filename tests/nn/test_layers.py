import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core.errors import UnknownName
from fathom.nn.layers import ACTIVATIONS, MLP, Conv, Linear, NatureCNN, activate, orthogonal

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9)])
@pytest.mark.parametrize("gain", [0.01, 1.0, 2.0**0.5])
def test_weights_are_orthogonal_times_the_gain(shape, gain):
    w = np.asarray(orthogonal(KEY, shape, gain)) / gain
    small = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(small, np.eye(min(shape)), atol=1e-5)


def test_layers_begin_orthogonal_with_zero_bias():
    mlp = MLP.init(KEY, 5, (8, 3), "tanh")
    for layer in mlp.layers:
        inputs, outputs = layer.weight.shape
        w = np.asarray(layer.weight)
        small = w @ w.T if inputs < outputs else w.T @ w
        np.testing.assert_allclose(small, 2.0 * np.eye(min(inputs, outputs)), atol=1e-5)
        np.testing.assert_array_equal(layer.bias, 0.0)
    conv = Conv.init(KEY, 2, 5, 3, 1)
    flat = np.asarray(conv.weight).reshape(-1, 5)
    np.testing.assert_allclose(flat.T @ flat, 2.0 * np.eye(5), atol=1e-5)


def test_layers_of_one_network_differ():
    first, second = MLP.init(KEY, 4, (4, 4), "tanh").layers
    assert not np.array_equal(first.weight, second.weight)


def test_linear_by_hand():
    layer = Linear(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([0.5, -0.5]))
    np.testing.assert_array_equal(layer(jnp.array([1.0, 10.0])), [31.5, 41.5])


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_leading_axes_pass_through(batch):
    x = jax.random.normal(KEY, (*batch, 4))
    mlp = MLP.init(KEY, 4, (6, 5), "relu")
    out = mlp(x)
    assert out.shape == (*batch, 5)
    rows = x.reshape(-1, 4)
    one_by_one = jnp.stack([mlp(row) for row in rows]).reshape(*batch, 5)
    np.testing.assert_allclose(out, one_by_one, rtol=1e-5, atol=1e-6)


def test_an_mlp_without_layers_is_the_identity():
    x = jax.random.normal(KEY, (2, 4))
    np.testing.assert_array_equal(MLP.init(KEY, 4, (), "tanh")(x), x)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_bends_and_has_finite_gradients(name):
    x = jnp.array([-50.0, -1.0, 0.0, 1.0, 50.0])
    y = activate(name, x)
    assert np.isfinite(y).all()
    assert not np.allclose(np.diff(y) / np.diff(x), 1.0)
    assert np.isfinite(jax.grad(lambda x: activate(name, x).sum())(x)).all()


def test_an_unknown_activation_is_refused():
    with pytest.raises(UnknownName, match=r"'rellu'.*relu"):
        activate("rellu", jnp.zeros(1))


@pytest.mark.parametrize("batch", [(), (2,), (2, 1)])
def test_convolution_against_a_loop(batch):
    conv = Conv.init(KEY, 2, 3, 3, 2)
    x = jax.random.normal(jax.random.key(1), (*batch, 7, 6, 2))
    out = conv(x)
    assert out.shape == (*batch, 3, 2, 3)
    w, pictures = np.asarray(conv.weight), np.asarray(x).reshape(-1, 7, 6, 2)
    for picture, got in zip(pictures, np.asarray(out).reshape(-1, 3, 2, 3), strict=True):
        for i, j in np.ndindex(3, 2):
            patch = picture[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            np.testing.assert_allclose(got[i, j], np.einsum("hwc,hwco->o", patch, w), rtol=1e-4, atol=1e-5)


def test_the_nature_cnn_has_as_many_parameters_as_in_the_paper():
    shapes = jax.eval_shape(lambda: NatureCNN.init(KEY, (84, 84, 4)))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    convolutions = (8 * 8 * 4 * 32 + 32) + (4 * 4 * 32 * 64 + 64) + (3 * 3 * 64 * 64 + 64)
    assert count == convolutions + (7 * 7 * 64 * 512 + 512) == 1_684_128


def test_the_nature_cnn_on_the_smallest_picture():
    least = NatureCNN.LEAST
    cnn = NatureCNN.init(KEY, (least, least, 1), features=6)
    x = jax.random.randint(KEY, (2, 3, least, least, 1), 0, 256).astype(jnp.uint8)
    out = cnn(x)
    assert out.shape == (2, 3, 6)
    np.testing.assert_allclose(out[1, 2], cnn(x[1, 2]), rtol=1e-4, atol=1e-5)
    grads = jax.grad(lambda cnn: cnn(x).sum())(cnn)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert any(np.any(g != 0) for g in jax.tree.leaves(grads.convs[0]))


def test_pictures_are_scaled_to_one():
    """White bytes are fed as ones."""
    least = NatureCNN.LEAST
    cnn = NatureCNN.init(KEY, (least, least, 1), features=4)
    white = jnp.full((least, least, 1), 255, jnp.uint8)
    x = jnp.ones((least, least, 1))
    for conv in cnn.convs:
        x = jax.nn.relu(conv(x))
    np.testing.assert_allclose(cnn(white), jax.nn.relu(cnn.out(x.reshape(-1))), rtol=1e-5)
