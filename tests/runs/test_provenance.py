import json
import subprocess
from typing import Any

import equinox as eqx
import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from fathom.algos.policy.ppo import PPO
from fathom.core.errors import FathomError
from fathom.core.module import Config, lift
from fathom.envs.classic.cartpole import CartPole
from fathom.runs import provenance


class Inner(Config):
    rate: float = 0.1  # a number
    sizes: tuple[int, ...] = (1, 2)  # some


class Outer(Config):
    inner: Inner  # another
    table: Any  # an array
    limit: float | None = None  # optional
    name: str = "x"  # a text


class GymEnv(gymnasium.Env):
    pass


def through_json(value):
    return json.loads(json.dumps(value))


def test_a_configuration_comes_back_through_json():
    config = Outer(Inner(0.3, (4,)), np.arange(3, dtype=np.int16), float("inf"))
    back = provenance.decode_config(through_json(provenance.encode_config(config)))
    assert isinstance(back, Outer)
    assert back.inner == config.inner
    assert back.limit == float("inf")
    assert back.table.dtype == np.int16
    assert eqx.tree_equal(back.table, config.table)


def test_a_lifted_number_is_written_as_it_was_typed():
    record = provenance.encode_config(lift(PPO(learning_rate=3e-4)))
    assert record["fields"]["learning_rate"] == 3e-4
    assert provenance.encode_config(PPO(learning_rate=3e-4)) == record
    assert provenance.decode_config(record) == PPO(learning_rate=3e-4)
    assert jnp.float32(record["fields"]["learning_rate"]) == lift(PPO()).learning_rate


def test_only_configurations_are_called():
    with pytest.raises(FathomError, match="no subclass of Config"):
        provenance.decode_config({"class": "os:system", "fields": {"command": "true"}})
    with pytest.raises(FathomError, match="no environment class"):
        provenance.restore_env({"id": "x", "class": "subprocess:Popen"})


def test_a_field_of_another_version_is_named():
    record = provenance.encode_config(PPO())
    record["fields"]["clipping"] = 1
    with pytest.raises(FathomError, match=r"sets clipping of .*PPO, which has no such field"):
        provenance.decode_config(record)
    with pytest.raises(FathomError, match="cannot be imported"):
        provenance.decode_config({"class": "fathom.algos.gone:PPO", "fields": {}})


def test_environments_by_id_object_and_class_come_back():
    assert provenance.restore_env(provenance.describe_env("CartPole-v1", "CartPole-v1")) == "CartPole-v1"
    native = CartPole(gravity=3.0)
    assert provenance.restore_env(through_json(provenance.describe_env(native, "CartPole"))) == native
    assert provenance.restore_env(provenance.describe_env(GymEnv, "GymEnv")) is GymEnv


@pytest.mark.parametrize("env", [GymEnv(), lambda: GymEnv()])
def test_what_only_the_user_can_make_is_asked_for_again(env):
    record = provenance.describe_env(env, "mine")
    assert "GymEnv" in record["object"] or "function" in record["object"]
    with pytest.raises(FathomError, match=r"Agent\.resume\(path, env=\.\.\.\)"):
        provenance.restore_env(record)


def test_a_run_is_described_in_strict_json():
    run = provenance.describe_run(
        PPO(clip=0.1), "CartPole-v1", env_id="CartPole-v1", backend="native", seeds=3, seed=5, horizon=100
    )
    run = json.loads(json.dumps(run, allow_nan=False))
    assert run["algorithm"]["name"] == "ppo"
    assert run["algorithm"]["fields"]["clip"] == 0.1
    assert set(run["versions"]) == {
        "python", "fathom", "jax", "jaxlib", "equinox", "optax", "gymnasium", "numpy"
    }  # fmt: skip
    assert (run["seeds"], run["seed"], run["horizon"], run["device"]["platform"]) == (3, 5, 100, "cpu")


def test_the_commit_is_that_of_the_folder(tmp_path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert provenance.git_state(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "first")
    state = provenance.git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert state["changed"] is False
    (tmp_path / "a").write_text("2")
    assert provenance.git_state(tmp_path) == {"commit": state["commit"], "changed": True}
