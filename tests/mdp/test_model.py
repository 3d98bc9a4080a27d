import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from fathom.core.errors import FathomError
from fathom.core.spaces import Discrete
from fathom.envs.finite import FiniteEnv, Outcomes, mdp_of
from fathom.mdp import MDP, policy_iteration

from .problems import random_mdp, three_states

SURE = np.eye(2)[:, None]  # two states, one action that stays


def lists(**changed: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {
        "prob": np.full((2, 1, 2), 0.5),
        "next_state": np.zeros((2, 1, 2), np.int64),
        "reward": np.zeros((2, 1, 2)),
        "terminated": np.zeros((2, 1, 2), np.bool_),
        "start": np.array([1.0, 0.0]),
    }
    return arrays | changed


def at(index: tuple[int, ...], value: float, of: np.ndarray) -> np.ndarray:
    out = of.copy()
    out[index] = value
    return out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"prob": at((1, 0, 1), 0.4, np.full((2, 1, 2), 0.5))},
            r"state 1, action 0 sum to 0\.9: they have to sum",
        ),
        ({"prob": np.array([[[1.5, -0.5]], [[1, 0]]])}, r"state 0, action 0 has a probability of -0\.5"),
        (
            {"prob": at((0, 0, 0), np.nan, np.full((2, 1, 2), 0.5))},
            "state 0, action 0 has a probability of nan",
        ),
        ({"prob": np.ones((2, 2))}, r"its shape is \(2, 2\)"),
        ({"next_state": np.full((2, 1, 2), 2)}, "state 0, action 0 leads to state 2: states are 0 to 1"),
        ({"reward": at((1, 0, 0), np.nan, np.zeros((2, 1, 2)))}, "reward of state 1, action 0 is nan"),
        ({"reward": np.zeros((2, 1, 3))}, r"reward has shape \(2, 1, 3\), but prob has \(2, 1, 2\)"),
        ({"start": np.ones(3) / 3}, r"start has shape \(3,\)"),
        ({"start": np.array([0.5, 0.4])}, r"start has to be probabilities that sum to 1; they sum to 0\.9"),
    ],
)
def test_arrays_that_are_no_mdp_are_refused(changed: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(FathomError, match=says):
        MDP(**lists(**changed))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((SURE * 0.9, [0, 0]), r"state 0, action 0 sum to 0\.9"),
        ((np.ones((2, 1, 3)), [0, 0]), r"its shape is \(2, 1, 3\)"),
        ((SURE, np.zeros((3, 1))), r"reward has shape \(3, 1\); it has to be \[state, action\] \(2, 1\)"),
        ((SURE, [0, np.inf]), "reward of state 1, action 0 is inf"),
        ((SURE, [0, 0], None, [5]), "terminal state 5 is none: states are 0 to 1"),
    ],
)
def test_tensors_that_are_no_mdp_are_refused(arguments: tuple, says: str) -> None:
    with pytest.raises(FathomError, match=says):
        MDP.from_arrays(*arguments)


def test_tables_that_are_no_mdp_are_refused() -> None:
    with pytest.raises(FathomError, match=r"state 0, action 0 sum to 0\.25"):
        MDP.from_table({0: {0: [(0.25, 0, 0.0, False)]}})
    with pytest.raises(FathomError, match="state 1 has 2 actions, state 0 has 1"):
        MDP.from_table([[[(1.0, 0, 0.0, False)]], [[(1.0, 0, 0.0, False)]] * 2])
    with pytest.raises(FathomError, match="0 to 1"):
        MDP.from_table({0: {0: [(1.0, 0, 0.0, False)]}, 7: {0: [(1.0, 0, 0.0, False)]}})
    with pytest.raises(FathomError, match="CartPoleEnv has no table P"):
        MDP.from_table(gymnasium.make("CartPole-v1"))


def test_policies_that_are_none_are_refused() -> None:
    mdp = three_states()
    with pytest.raises(FathomError, match="action in state 1 is 2: they are 0 to 1"):
        mdp.action_probs([0, 2, 0])
    with pytest.raises(FathomError, match=r"this one is float64 of shape \(2, 2\)"):
        mdp.action_probs(np.ones((2, 2)))
    with pytest.raises(FathomError, match="probabilities in state 2 are"):
        mdp.action_probs([[1, 0], [0.5, 0.5], [0.5, 0.6]])


def test_the_three_shapes_of_rewards_mean_what_they_say() -> None:
    rng = np.random.default_rng(0)
    prob = rng.random((3, 2, 3)) * (rng.random((3, 2, 3)) < 0.8) + 1e-3
    prob /= prob.sum(axis=-1, keepdims=True)
    entering, stepping = rng.normal(size=3), rng.normal(size=(3, 2))
    full = rng.normal(size=(3, 2, 3))
    assert MDP.from_arrays(prob, entering).expected_reward == pytest.approx(prob @ entering)
    assert MDP.from_arrays(prob, stepping).expected_reward == pytest.approx(stepping)
    assert MDP.from_arrays(prob, full).expected_reward == pytest.approx((prob * full).sum(axis=-1))


def test_a_tensor_comes_back_as_it_was() -> None:
    mdp = three_states()
    assert mdp.prob.shape == (3, 2, 1)
    dense, reward = mdp.to_dense()
    assert (dense[:, 1].argmax(axis=-1) == [1, 2, 2]).all()
    again = MDP.from_arrays(dense, reward)
    for name in ("prob", "next_state", "reward", "terminated", "start"):
        assert (getattr(again, name) == getattr(mdp, name)).all()


def test_terminal_states_end_episodes_and_their_rows_are_not_read() -> None:
    prob = np.zeros((3, 1, 3))
    prob[0, 0, 1] = prob[1, 0, 2] = 1
    mdp = MDP.from_arrays(prob, [[-1.0], [-1.0], [7.0]], terminal=[2])
    assert mdp.terminated.ravel().tolist() == [False, True, True]
    assert mdp.start.tolist() == [0.5, 0.5, 0.0]
    assert policy_iteration(mdp, 1.0).values.tolist() == [-2.0, -1.0, 0.0]


def test_sparse_matrices_agree_with_the_dense_ones() -> None:
    mdp = random_mdp(np.random.default_rng(3), 5, 3, 4, ends=0.3)
    dense, reward = mdp.to_dense()
    assert mdp.transitions().toarray().reshape(3, 5, 5).swapaxes(0, 1) == pytest.approx(dense)
    assert dense.sum(axis=-1) == pytest.approx(mdp.continuing.sum(axis=-1))
    probs = np.random.default_rng(4).dirichlet(np.ones(3), size=5)
    assert mdp.policy_transitions(probs).toarray() == pytest.approx(np.einsum("sa,sat->st", probs, dense))
    assert mdp.policy_reward(probs) == pytest.approx((probs * reward).sum(axis=-1))
    first = mdp.policy_transitions([2, 0, 1, 1, 0]).toarray()
    assert first == pytest.approx(dense[np.arange(5), [2, 0, 1, 1, 0]])


class Coin(FiniteEnv):
    """Heads (1) or tails (0) by a third; heads ends it and pays 2, a toss costs 1."""

    num_states = 2
    num_actions = 1

    @property
    def obs_space(self) -> Discrete:
        return Discrete(2)

    def start(self) -> Array:
        return jnp.array([1.0, 0.0], jnp.float32)

    def outcomes(self, state: Array, action: Array) -> Outcomes:
        third = jnp.float32(1 / 3)
        return Outcomes(
            jnp.stack([third, jnp.float32(1) - third]),
            jnp.array([1, 0], jnp.int32),
            {"pay": jnp.array([2.0, 0.0], jnp.float32), "cost": jnp.array([-1.0, -1.0], jnp.float32)},
            jnp.array([True, False]),
        )

    def observe(self, state: Array) -> Array:
        return state


def test_a_native_environment_gives_its_mdp() -> None:
    mdp = mdp_of(Coin())
    assert mdp.prob[0, 0].sum() == 1.0
    # Three tosses on average, the last of which pays.
    assert policy_iteration(mdp, 1.0).values[0] == pytest.approx(2 - 3, abs=1e-6)
