"""MuJoCo's environments, where they are installed: `pip install "fathom-rl[mujoco]"`."""

import numpy as np
import pytest

from fathom.envs import physics
from fathom.envs.host import HostEnv, pack, unpack
from fathom.envs.registry import make

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

SLOW = ("HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "InvertedPendulum-v5", "Reacher-v5")


@pytest.mark.parametrize("name", ["Ant-v5", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_an_environment_goes_on_in_another_from_a_copy_to_the_bit(name):
    host = make(name)
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (120, 2, *host.action_space.shape)).astype(np.float32)

    def rows(vector):
        steps = [vector.step(action) for action in actions[40:]]
        return [tuple(np.asarray(x).tobytes() for x in (s.obs, s.reward, s.terminated)) for s in steps]

    with host.vector(2, "in-process") as vector:
        vector.reset(np.array([1, 2], np.uint32))
        for action in actions[:40]:
            vector.step(action)
        copy = unpack(*pack(vector.snapshot()))
        wanted = rows(vector)
    with host.vector(2, "in-process") as other:
        other.reset(np.array([3, 4], np.uint32))
        other.step(actions[0])
        other.restore(copy)
        assert rows(other) == wanted


def test_a_changed_model_is_not_taken_for_the_same():
    one, other = (gymnasium.make("InvertedPendulum-v5").unwrapped for _ in range(2))
    assert physics.same_model(one.model, other.model)
    other.model.body_mass[1] *= 1.5
    assert not physics.same_model(one.model, other.model)

    made = []

    def heavier():
        env = gymnasium.make("InvertedPendulum-v5")
        env.unwrapped.model.body_mass[1] *= 1.0 + len(made)
        made.append(env)
        return env

    with HostEnv(heavier, "Heavier").vector(1, "in-process") as vector:
        vector.reset(np.array([0], np.uint32))
        assert vector.snapshot() is None
        assert "model other than a new environment's" in vector.why_not_copyable()
