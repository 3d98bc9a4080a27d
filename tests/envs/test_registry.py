import sys

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec

from fathom.core.errors import FathomError, UnknownName
from fathom.envs import registry
from fathom.envs.base import Env
from fathom.envs.bridge import as_env
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.host import HostEnv
from fathom.envs.wrappers import TimeLimit


@pytest.mark.parametrize(
    ("id", "limit"),
    [
        ("CartPole-v1", 500),
        ("MountainCar-v0", 200),
        ("MountainCarContinuous-v0", 999),
        ("Pendulum-v1", 200),
        ("Acrobot-v1", 500),
    ],
)
def test_native_versions_have_gymnasiums_limit_and_spaces(id, limit):
    native, host = registry.make(id), registry.make(id, "gymnasium")
    assert isinstance(native, TimeLimit)
    assert native.max_steps == limit == host.max_episode_steps
    assert native.action_space == host.action_space
    assert native.obs_space.shape == host.obs_space.shape


def test_what_has_no_native_version_comes_from_gymnasium(monkeypatch):
    spec = EnvSpec("OnlyTheirs-v0", entry_point="gymnasium.envs.classic_control:CartPoleEnv")
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    assert isinstance(registry.make("OnlyTheirs-v0"), HostEnv)
    with pytest.raises(FathomError, match=r"no native version.*CartPole-v1"):
        registry.make("OnlyTheirs-v0", "native")


def test_a_probe_has_a_name_and_can_be_exported():
    probe = registry.make("probe/Truncation")
    assert isinstance(probe, TimeLimit)
    assert isinstance(registry.make("probe/Truncation", "gymnasium"), HostEnv)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("CartPol-v1", "Did you mean CartPole-v1"),
        ("frozenlake-v1", "FrozenLake-v1"),
        ("CartPole-v7", "v7.*the newest is 'CartPole-v1'"),
        ("LunarLander-v2", "the newest is 'LunarLander-v3'"),
        ("Taxi", "names no version; the newest is 'Taxi-v4'"),
        ("HalfCheetah-v2", "the newest version is 'HalfCheetah-v5'"),
        ("probe/Truncatoin", "probe/Truncation"),
    ],
)
def test_an_unknown_or_old_name_is_answered_with_the_right_one(id, message):
    with pytest.raises(FathomError, match=message):
        registry.make(id)


def test_an_unknown_backend_is_refused():
    with pytest.raises(FathomError, match="'auto', 'native' or 'gymnasium'"):
        registry.make("CartPole-v1", "torch")


@pytest.mark.parametrize(
    ("cause", "command"),
    [
        (gymnasium.error.DependencyNotInstalled("Box2D is not installed"), 'pip install "fathom-rl[box2d]"'),
        (gymnasium.error.DependencyNotInstalled("MuJoCo is not installed"), "[mujoco]"),
        (ModuleNotFoundError("No module named 'ale_py'"), "[atari]"),
        (gymnasium.error.DependencyNotInstalled("pygame is not installed"), "[classic"),
    ],
)
def test_a_missing_package_is_answered_with_the_command(cause, command):
    def make():
        raise cause

    with pytest.raises(FathomError) as caught:
        _ = HostEnv(make, "Some-v0").obs_space
    assert command in str(caught.value)


def test_registering(monkeypatch):
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    registry.register("Mine-v0", CartPole, max_steps=7, description="Mine.")
    assert registry.make("Mine-v0").max_steps == 7
    registry.register("Mine-v0", CartPole, max_steps=7, description="Mine.")
    with pytest.raises(FathomError, match="registered already"):
        registry.register("Mine-v0", CartPole, max_steps=8)
    registry.register("Theirs-v0", lambda: gymnasium.make("Blackjack-v1"), max_steps=9)
    assert registry.make("Theirs-v0").max_episode_steps == 9
    registry.register("Named-v0", "fathom.envs.classic.cartpole:CartPole")
    assert isinstance(registry.make("Named-v0"), CartPole)
    assert registry.Listing("Mine-v0", ("native",), "Mine.") in registry.environments()
    with pytest.raises(FathomError, match="at least 1"):
        registry.register("Zero-v0", CartPole, max_steps=0)


def test_the_list_has_both_registries_with_a_line_each():
    listings = {listing.id: listing for listing in registry.environments()}
    assert listings["CartPole-v1"].backends == ("native", "gymnasium")
    assert listings["LunarLander-v3"].backends == ("gymnasium",)
    assert "probe/Truncation" in listings
    assert "HalfCheetah-v4" not in listings
    assert all(listing.description and "\n" not in listing.description for listing in listings.values())


MODULE = """
import gymnasium
from fathom.envs.classic.cartpole import CartPole
class Mine(CartPole):
    pass
def theirs():
    return gymnasium.make("CartPole-v1")
ready = CartPole()
gymnasium.register("InModule-v0", theirs)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_envs.py").write_text(MODULE)
    (tmp_path / "own_broken.py").write_text("\nimport math\nx = math.sqrt(-1)\n")
    (tmp_path / "own_missing.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "own_envs"
    sys.modules.pop("own_envs", None)
    gymnasium.registry.pop("InModule-v0", None)


def test_a_module_of_the_current_folder_is_found(module):
    assert isinstance(registry.make(f"{module}:Mine"), Env)
    assert isinstance(registry.make(f"{module}:theirs"), HostEnv)
    assert isinstance(as_env(f"{module}:ready"), CartPole)
    assert isinstance(registry.make(f"./{module}.py:Mine"), Env)
    assert registry.make(f"{module}:InModule-v0").action_space.n == 2


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("own_envs:Min", "Did you mean Mine"),
        ("own_nothing:Mine", "no module 'own_nothing'"),
        ("own_broken:Mine", r"ValueError: math domain error \(own_broken.py:3\)"),
        ("own_missing:Mine", "no_such_package"),
        ("./gone.py:Mine", "no file"),
    ],
)
def test_a_module_that_does_not_serve_says_why(module, id, message):
    with pytest.raises(FathomError, match=message):
        registry.make(id)


def test_an_unknown_name_is_its_own_kind_of_error():
    with pytest.raises(UnknownName):
        registry.make("Nowhere-v0")
