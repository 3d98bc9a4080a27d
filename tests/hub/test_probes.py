"""Looks into a learner: exact, and without a trace in what is trained."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from fathom.core.errors import FathomError
from fathom.hub.lab import Lab
from fathom.hub.probes import REMAINDER
from fathom.hub.recipe import Recipe

PPO = {"num_envs": 4, "num_steps": 16, "minibatches": 2, "epochs": 2, "hidden": [8], "learning_rate": 3e-3}
DQN = {"hidden": [8], "learning_starts": 64, "buffer_size": 256, "batch_size": 16}


@pytest.fixture(scope="module")
def ppo() -> Iterator[Lab]:
    lab = Lab(Recipe("ppo", "CartPole-v1", config=PPO, seeds=2))
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def dqn() -> Iterator[Lab]:
    lab = Lab(Recipe("dqn", "CartPole-v1", config=DQN, seeds=2))
    yield lab
    lab.close()


def _leaves(lab: Lab) -> list[np.ndarray]:
    leaves = jax.tree.leaves(lab.carry())
    keys = [jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    return [np.asarray(jax.random.key_data(x) if k else x) for x, k in zip(leaves, keys, strict=True)]


def test_looking_leaves_no_trace(ppo: Lab, dqn: Lab) -> None:
    for lab, what in ((ppo, "ratios"), (dqn, "returns")):
        lab.seek(0)
        lab.advance(3)
        kept = [x.copy() for x in _leaves(lab)]
        lab.advance(4)
        alone, mark = [x.copy() for x in _leaves(lab)], lab.look().hash
        lab.seek(3)
        getattr(lab, what)(seed=1)
        assert all(np.array_equal(a, b) for a, b in zip(kept, _leaves(lab), strict=True))
        for _ in range(4):
            lab.advance(1)
            getattr(lab, what)()
        assert lab.look().hash == mark
        assert all(np.array_equal(a, b) for a, b in zip(alone, _leaves(lab), strict=True))
        assert (lab.line.u, lab.line.tip, lab.line.log) == (7, 7, [])


def test_ratios_are_those_of_the_update_that_comes(ppo: Lab) -> None:
    ppo.seek(0)
    ppo.advance(2)
    before = jax.tree.map(lambda x: x[1], ppo.learner(2))
    seen = ppo.ratios(seed=1)
    sums, counts = ppo.advance(1)
    after = jax.tree.map(lambda x: x[1], ppo.learner(3))
    assert seen.u == 2
    assert len(seen.x) == len(seen.y) == 64
    assert seen.facts["clip"] == pytest.approx(0.2)
    # Normalised, as the loss has them.
    assert seen.x.mean() == pytest.approx(0.0, abs=1e-5)
    assert seen.x.std() == pytest.approx(1.0, abs=1e-4)
    moved = [not np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)]
    assert any(moved)
    # KL(old ‖ new) by the estimator of the metric, over the whole rollout: of the size that minibatches saw.
    kl = float(np.mean(seen.y - 1 - np.log(seen.y)))
    told = float(sums["approx_kl"][1] / counts["approx_kl"][1])
    assert told / 8 < kl < told * 8
    assert ((np.abs(seen.y - 1) > 0.2).mean()) == pytest.approx(seen.facts["outside"])


def test_ratios_are_one_where_the_policy_does_not_move() -> None:
    lab = Lab(Recipe("ppo", "CartPole-v1", config=PPO, seeds=2))
    lab.advance(1)
    lab.set({"learning_rate": 1e-30})
    np.testing.assert_allclose(lab.ratios().y, 1.0, atol=1e-5)
    lab.close()


def test_returns_are_those_of_whole_episodes(dqn: Lab) -> None:
    dqn.seek(0)
    dqn.advance(200)
    seen = dqn.returns()
    gamma = seen.facts["gamma"]
    assert gamma == pytest.approx(float(dqn.line.algorithm.gamma))
    assert seen.facts["bias"] == pytest.approx(float((seen.x - seen.y).mean()), abs=0.2)
    # CartPole pays 1 a step: a return is (1 − γᵏ)/(1 − γ) of the k steps that were left.
    steps = np.log(1 - seen.y * (1 - gamma)) / np.log(gamma)
    np.testing.assert_allclose(steps, np.round(steps), atol=0.02)
    assert steps.min() >= 1 - 0.02
    again = dqn.returns()
    np.testing.assert_array_equal(seen.x, again.x)
    other = dqn.returns(seed=1)
    assert len(other.x) != len(seen.x) or not np.array_equal(other.x, seen.x)


def test_returns_of_cut_episodes_are_those_that_are_known() -> None:
    # Pays 1 a step and is cut after 40 of them, never over by itself; γ is small enough to know most returns.
    config = DQN | {"gamma": 0.5, "env.max_steps": 40}
    recipe = Recipe("dqn", "Grid5x5-v0", config=config, seeds=1)
    lab = Lab(recipe)
    lab.advance(10)
    seen = lab.returns()
    cut = [s for s in (seen.x, seen.y) if np.isfinite(s).all()]
    assert len(cut) == 2
    # Of 40 steps the last ones, whose rest weighs more than the remainder allowed, are left out.
    left_out = int(np.ceil(np.log(REMAINDER) / np.log(0.5))) - 1
    assert seen.facts["steps"] <= 8 * (40 - left_out)
    lab.close()


def test_who_has_nothing_to_show_says_so(ppo: Lab, dqn: Lab) -> None:
    with pytest.raises(FathomError, match="no action values"):
        ppo.returns()
    with pytest.raises(FathomError, match="no probability ratios"):
        dqn.ratios()
    with pytest.raises(FathomError, match="seed is 7"):
        dqn.returns(seed=7)
    assert dataclasses.is_dataclass(dqn.returns())
