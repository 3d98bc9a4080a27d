import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.core import spaces
from fathom.core.errors import FathomError
from fathom.core.spaces import Box, Dict, Discrete, Masked, MultiBinary, MultiDiscrete, Tuple
from fathom.core.types import Masked as MaskedObs
from fathom.nn.encoder import Encoder, action_mask

KEY = jax.random.key(0)
PICTURE = Box(0, 255, (36, 37, 2), np.uint8)
SPACES = {
    "discrete": Discrete(5, start=-2),
    "box": Box(-1.0, 1.0, (3,)),
    "matrix": Box(-1.0, 1.0, (2, 3)),
    "scalar": Box(-1.0, 1.0, ()),
    "integers": Box(0, 9, (4,), np.int32),
    "picture": PICTURE,
    "small picture": Box(0, 1, (10, 9, 4), np.uint8),
    "multi discrete": MultiDiscrete((2, 3)),
    "multi binary": MultiBinary(4),
    "dict": Dict({"z": Box(-1.0, 1.0, (2,)), "a": Discrete(3)}),
    "dict of pictures": Dict({"near": PICTURE, "far": PICTURE, "speed": Box(0.0, 9.0, (1,))}),
    "tuple": Tuple((Discrete(2), Dict({"x": MultiBinary(2)}))),
    "masked": Masked(Dict({"x": Box(-1.0, 1.0, (2,)), "y": Discrete(2)}), 3),
    "masked picture": Masked(PICTURE, 3),
}


def drawn(space, batch):
    keys = jax.random.split(KEY, batch) if batch else KEY
    draw = space.sample
    for _ in batch:
        draw = jax.vmap(draw)
    return draw(keys)


@pytest.fixture(scope="module")
def two_eyes():
    return Encoder.init(KEY, SPACES["dict of pictures"], (7,), "tanh")


@pytest.mark.parametrize("hidden", [(7, 6), ()], ids=["hidden", "linear"])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_space_becomes_features(name, hidden):
    space = SPACES[name]
    encoder = jax.eval_shape(lambda: Encoder.init(KEY, space, hidden, "tanh"))
    if hidden:
        assert encoder.features == hidden[-1]
    like = jax.eval_shape(lambda: spaces.zeros(space))
    for batch in (2, 3), (6,), ():
        obs = jax.tree.map(lambda x, b=batch: jax.ShapeDtypeStruct((*b, *x.shape), x.dtype), like)
        out = jax.eval_shape(lambda e, x: e(x), encoder, obs)
        assert out.shape == (*batch, encoder.features)
        assert out.dtype == jnp.float32


@pytest.mark.parametrize("name", ["matrix", "dict", "tuple", "masked"])
def test_what_is_in_a_batch_does_not_matter(name):
    space = SPACES[name]
    encoder = Encoder.init(KEY, space, (5,), "tanh")
    obs = drawn(space, (2, 3))
    one = encoder(jax.tree.map(lambda x: x[1, 2], obs))
    np.testing.assert_allclose(one, encoder(obs)[1, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tuple", "multi discrete", "masked", "dict of pictures"])
def test_gradients_are_finite_and_reach_every_layer(name, two_eyes):
    space = SPACES[name]
    encoder = two_eyes if name == "dict of pictures" else Encoder.init(KEY, space, (7,), "tanh")
    obs = drawn(space, (2,))
    grads = jax.jit(jax.grad(lambda e: jnp.square(e(obs)).sum()))(encoder)
    for cnn in grads.cnns:
        assert all(np.any(np.asarray(conv.weight) != 0) for conv in cnn.convs)
    assert np.any(np.asarray(grads.mlp.layers[0].weight) != 0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_pictures_of_one_observation_have_networks_of_their_own(two_eyes):
    assert len(two_eyes.cnns) == 2
    assert not np.array_equal(two_eyes.cnns[0].convs[0].weight, two_eyes.cnns[1].convs[0].weight)
    black, white = np.zeros(PICTURE.shape, np.uint8), np.full(PICTURE.shape, 255, np.uint8)
    pair = np.stack([black, white])
    near_black, far_black = two_eyes(
        {"near": pair, "far": pair[::-1].copy(), "speed": np.zeros((2, 1), np.float32)}
    )
    assert not np.allclose(near_black, far_black)


def test_each_integer_has_features_of_its_own():
    encoder = Encoder.init(KEY, Discrete(5, start=-2), (), "tanh")
    np.testing.assert_array_equal(encoder(jnp.arange(-2, 3)), np.eye(5))


@pytest.mark.parametrize("shape", [(2, 84, 3), (84, 2, 3), (1, 1, 1)])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Dict({"eye": s}), lambda s: Masked(s, 2)])
def test_a_picture_too_small_is_refused_with_what_to_do(shape, wrap):
    space = wrap(Box(0, 255, shape, np.uint8))
    with pytest.raises(FathomError) as error:
        Encoder.init(KEY, space, (4,), "relu")
    text = str(error.value)
    assert str(shape) in text
    assert "3×3" in text
    assert "enlarge" in text


def test_a_small_float_picture_is_flattened():
    encoder = Encoder.init(KEY, Box(0.0, 1.0, (5, 5, 1)), (), "relu")
    assert encoder.features == 25


def test_the_mask_is_told_and_never_a_feature():
    space = SPACES["masked"]
    encoder = Encoder.init(KEY, space, (4,), "tanh")
    inner = space.obs.sample(KEY)
    masks = jnp.array([True, True, True]), jnp.array([True, False, False])
    out = [encoder(MaskedObs(inner, mask)) for mask in masks]
    np.testing.assert_array_equal(out[0], out[1])
    assert action_mask(inner) is None
    assert action_mask(MaskedObs(inner, masks[1])) is masks[1]
    assert encoder.mlp.layers[0].weight.shape[0] == spaces.flat_size(space)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_integers_are_read_as_the_one_hot_vectors_that_they_stand_for(layer_norm, masked):
    integers = Discrete(7, start=-2)
    space = Masked(integers, 3) if masked else integers
    encoder = Encoder.init(KEY, space, (5, 4), "tanh", layer_norm)
    at = jnp.array([[-2, 4, 0], [3, -3, 5]])  # -3 and 5 lie outside: all zeros
    obs = MaskedObs(at, jnp.ones((2, 3, 3), bool)) if masked else at

    def read(mlp):
        return eqx.tree_at(lambda e: e.mlp, encoder, mlp)(obs)

    def product(mlp):
        return mlp(jax.nn.one_hot(at + 2, 7))

    def all_of(f):
        change = jax.tree.map(lambda x: jnp.cos(jnp.arange(x.size)).reshape(x.shape), encoder.mlp)
        backward = jax.grad(lambda mlp: jnp.square(f(mlp)).sum())(encoder.mlp)
        return f(encoder.mlp), backward, jax.jvp(f, (encoder.mlp,), (change,))

    for given, due in zip(*(jax.tree.leaves(all_of(f)) for f in (read, product)), strict=True):
        np.testing.assert_array_equal(given, due)
