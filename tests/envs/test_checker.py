import re
import sys

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces as gym

from fathom.core.spaces import Box, Discrete
from fathom.core.spaces import Masked as MaskedSpace
from fathom.core.types import Masked, TimeStep
from fathom.envs import registry
from fathom.envs.base import Env, first_key
from fathom.envs.checker import check
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.wrappers import TimeLimit


def findings(report, level):
    return " | ".join(f"{f.what} -> {f.mend}" for f in report.of(level))


class Fine(gymnasium.Env):
    """A walk on a line, without a fault."""

    observation_space = gym.Box(-10, 10, (2,))
    action_space = gym.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.count = self.np_random.uniform(-1, 1), 0
        return self.see(), {}

    def see(self):
        return np.array([self.x, self.count / 10], np.float32)

    def step(self, action):
        self.x += (2 * int(action) - 1) * 0.5 + 0.1 * self.np_random.normal()
        self.count += 1
        return self.see(), float(-abs(self.x)), bool(abs(self.x) > 3), self.count >= 20, {}


def test_a_sound_environment_passes():
    report = check(Fine, steps=200)
    assert report.ok
    assert report.kind == "gymnasium"
    assert not report.of("warning"), report.text()
    assert "mean length" in report.facts["episodes"]
    assert report.text().startswith("Fine (gymnasium): fine")


def variant(**members):
    return type("Broken", (Fine,), members)


def stepping(change):
    """A Fine whose step's result is changed by `change(self, result)`."""

    def step(self, action):
        return change(self, Fine.step(self, action))

    return variant(step=step)


def seeing(make):
    return variant(see=make)


def _raise(error):
    raise error


GYM_ERRORS = {
    "shape": (seeing(lambda self: np.zeros(3, np.float32)), r"has shape \(3,\), its space \(2,\)"),
    "bounds": (
        seeing(lambda self: np.array([50, self.x], np.float32)),
        r"\[0\] is 50, outside its bounds \[-10, 10\]",
    ),
    "nan": (seeing(lambda self: np.array([self.x, np.nan], np.float32)), r"\[1\] is nan.*logarithm"),
    "text": (seeing(lambda self: "north"), "'north'"),
    "seed": (variant(reset=lambda self, **kw: (Fine.reset(self)[0], {})), "twice gave.*np_random"),
    "no seed": (variant(reset=lambda self: Fine.reset(self)), r"reset\(seed=0\) raised.*\*, seed=None"),
    "old reset": (variant(reset=lambda self, **kw: Fine.reset(self, **kw)[0]), "reset returned a ndarray"),
    "old step": (stepping(lambda self, r: (*r[:3], r[4])), "4 values, not 5.*old `done`"),
    "reward array": (stepping(lambda self, r: (r[0], np.zeros(1), *r[2:])), r"shape \(1,\)"),
    "reward nan": (stepping(lambda self, r: (r[0], float("nan"), *r[2:])), "reward of step 1 is nan"),
    "flag": (stepping(lambda self, r: (*r[:2], int(r[2]), *r[3:])), r"terminated of step 1 is 0 \(int\)"),
    "info": (stepping(lambda self, r: (*r[:4], None)), "info of step 1 is a NoneType"),
    "random": (
        stepping(lambda self, r: (r[0] + np.float32(1e-3 * np.random.default_rng().random()), *r[1:])),
        "the same seed and actions gave at step 1",
    ),
    "raises": (
        stepping(lambda self, r: _raise(RuntimeError("no more fuel"))),
        "RuntimeError: no more fuel.*test_checker",
    ),
    "no space": (variant(action_space=None), "action_space is None"),
    "odd space": (variant(observation_space=gym.Text(3)), "no counterpart"),
    "mask length": (
        variant(reset=lambda self, **kw: (Fine.reset(self, **kw)[0], {"action_mask": np.ones(3, np.int8)})),
        "mask has 3 entries",
    ),
    "mask empty": (
        type(
            "Broken",
            (Fine,),
            {
                "reset": lambda self, **kw: (Fine.reset(self, **kw)[0], {"action_mask": np.ones(2, np.int8)}),
                "step": lambda self, a: (*Fine.step(self, a)[:4], {"action_mask": np.zeros(2, np.int8)}),
            },
        ),
        "allows no action",
    ),
    "init": (variant(__init__=lambda self: _raise(OSError("no such track"))), "OSError: no such track"),
}


@pytest.mark.parametrize("fault", GYM_ERRORS)
def test_a_fault_of_a_gymnasium_environment_is_an_error_with_its_value(fault):
    target, expected = GYM_ERRORS[fault]
    report = check(target, steps=60)
    assert not report.ok
    assert re.search(expected, findings(report, "error")), report.text()
    assert "needs mending" in report.text()


def _reused(self):
    if not hasattr(self, "buffer"):
        self.buffer = np.zeros(2, np.float32)
    self.buffer[:] = [self.x, self.count / 10]
    return self.buffer


GYM_ADVICE = {
    "reused": (seeing(_reused), "warning", "same array"),
    "constant": (seeing(lambda self: np.zeros(2, np.float32)), "warning", "never changes"),
    "float64": (seeing(lambda self: [self.x, 0.1 * self.count]), "warning", "is a list"),
    "large": (
        variant(
            observation_space=gym.Box(-1e6, 1e6, (2,)),
            see=lambda self: np.array([self.x * 1e4, self.count], np.float32),
        ),
        "warning",
        "component 0 has mean .*normalise",
    ),
    "reward": (stepping(lambda self, r: (r[0], -500.0, *r[2:])), "warning", "root mean square of 500"),
    "endless": (
        stepping(lambda self, r: (np.clip(r[0], -9, 9), r[1], False, False, {})),
        "warning",
        "no episode ended in",
    ),
    "no reward": (stepping(lambda self, r: (r[0], 0.0, *r[2:])), "note", "are 0"),
    "wide actions": (
        variant(action_space=gym.Box(-2, 5, (1,)), step=lambda self, a: Fine.step(self, a[0] > 0)),
        "note",
        "actions run from -2 to 5, not symmetric",
    ),
    "endless actions": (
        variant(action_space=gym.Box(-np.inf, np.inf, (1,)), step=lambda self, a: Fine.step(self, a[0] > 0)),
        "warning",
        "infinite bounds",
    ),
    "one start": (
        variant(
            reset=lambda self, **kw: (Fine.reset(self, **kw), setattr(self, "x", 0.0), (self.see(), {}))[2]
        ),
        "note",
        "five different seeds",
    ),
    "no copy": (
        variant(reset=lambda self, **kw: (setattr(self, "world", iter(())), Fine.reset(self, **kw))[1]),
        "note",
        "cannot be copied: Broken.world",
    ),
}


@pytest.mark.parametrize("matter", GYM_ADVICE)
def test_what_makes_learning_hard_is_told(matter):
    target, level, expected = GYM_ADVICE[matter]
    report = check(target, steps=200)
    assert report.ok, report.text()
    assert re.search(expected, findings(report, level)), report.text()


class Walk(Env):
    """A walk on a line, native and without a fault."""

    scale: float = 1.0  # of a step

    @property
    def obs_space(self):
        return Box(-20, 20, (1,))

    @property
    def action_space(self):
        return Discrete(2)

    def reset(self, key):
        x = jax.random.uniform(key, (1,), jnp.float32)
        return x, x

    def step(self, key, state, action):
        x = state + self.scale * jnp.where(action == 1, 0.5, -0.5)
        return x, TimeStep(x, -jnp.abs(x[0]), jnp.abs(x[0]) > 2, jnp.zeros((), jnp.bool_))


def test_a_sound_native_environment_passes():
    report = check(Walk, steps=60)
    assert report.ok
    assert report.kind == "native"
    assert not report.of("warning"), report.text()


def test_ours_pass():
    report = check(TimeLimit(CartPole(), 50), steps=200)
    assert report.ok, report.text()
    assert not report.of("warning"), report.text()


def test_episodes_of_one_step_are_no_fault():
    assert check(registry.make("probe/Value"), steps=20).ok


class Branch(Walk):
    def step(self, key, state, action):
        if action == 1:
            state = state + 1
        return super().step(key, state, action)


class WithNumPy(Walk):
    def step(self, key, state, action):
        return state, TimeStep(np.sin(np.asarray(state)), state[0], state[0] > 2, state[0] > 3)


class Widens(Walk):
    def step(self, key, state, action):
        state, step = Walk.step(self, key, state, action)
        return state.astype(jnp.int32), step


class Named(eqx.Module):
    x: jax.Array
    speed: jax.Array


class ChangesField(Walk):
    def reset(self, key):
        x = jnp.zeros((1,), jnp.float32)
        return Named(x, jnp.zeros((), jnp.int32)), x

    def step(self, key, state, action):
        return Named(state.x, jnp.zeros((), jnp.float32)), TimeStep(state.x, *_signals())


def _signals():
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.bool_), jnp.zeros((), jnp.bool_)


class OtherTree(Walk):
    def step(self, key, state, action):
        return {"x": state}, TimeStep(state, *_signals())


class FloatFlags(Walk):
    def step(self, key, state, action):
        return state, TimeStep(state, state[0], jnp.zeros((), jnp.float32), state[0] > 2)


class VectorReward(Walk):
    def step(self, key, state, action):
        return state, TimeStep(state, state, *_signals()[1:])


class Impure(Walk):
    def reset(self, key):
        x = jnp.full((1,), np.random.default_rng().random(), jnp.float32)
        return x, x


class WrongShape(Walk):
    @property
    def obs_space(self):
        return Box(-1, 1, (3,))


class Outside(Walk):
    @property
    def obs_space(self):
        return Box(-0.6, 0.6, (1,))


class Nan(Walk):
    def step(self, key, state, action):
        state, step = Walk.step(self, key, state, action)
        return state, eqx.tree_at(lambda s: s.reward, step, jnp.log(-1 - jnp.abs(state[0])))


class NoTimeStep(Walk):
    def step(self, key, state, action):
        return state, state, 0.0, False


class NoSpace(Walk):
    @property
    def action_space(self):
        return 2


class Unwritten(Walk):
    def reset(self, key):
        raise NotImplementedError("later")


class Abstract(Env):
    pass


class NothingLegal(Walk):
    @property
    def obs_space(self):
        return MaskedSpace(Box(-20, 20, (1,)), 2)

    def reset(self, key):
        state, obs = Walk.reset(self, key)
        return state, Masked(obs, jnp.ones(2, jnp.bool_))

    def step(self, key, state, action):
        state, step = Walk.step(self, key, state, action)
        return state, TimeStep(Masked(step.obs, jnp.zeros(2, jnp.bool_)), *_signals())


class Ageing(Walk):
    """Its clock is not set back by a reset, as it counts from what the first state was."""

    def reset(self, key):
        x = jax.random.uniform(key, (1,), jnp.float32)
        first = key == first_key(jax.random.key(0))
        return (x, jnp.where(first, 0, 5)), x

    def step(self, key, state, action):
        x, age = state
        return (x, age + 1), TimeStep(x, x[0], age >= 5, jnp.zeros((), jnp.bool_))


class WideSpace(Walk):
    @property
    def obs_space(self):
        return Box(-20, 20, (1,), np.float64)


NATIVE_ERRORS = {
    Branch: r"jnp.where or jax.lax.cond",
    WithNumPy: r"TracerArrayConversionError.*use jax.numpy",
    Widens: r"state is float32\[1\] in reset and int32\[1\] in step",
    ChangesField: r"state.speed is int32\[\] in reset and float32\[\] in step",
    OtherTree: "state of step has another structure",
    FloatFlags: r"terminated is float32 of shape \(\) -> return a boolean scalar array",
    VectorReward: r"reward is float32 of shape \(1,\)",
    Impure: "reset gives another program each time",
    WrongShape: r"float32\[3\] in the space and float32\[1\] in reset",
    Outside: "outside its bounds",
    Nan: "the reward is nan",
    NoTimeStep: "step returned a tuple.*TimeStep",
    NoSpace: "action_space is 2",
    Unwritten: r"NotImplementedError: later \(at test_checker.py.*write this method",
    Abstract: "abstract",
    NothingLegal: "allows no action",
    Ageing: "first episode took 6 steps",
    WideSpace: "declares float64",
}


@pytest.mark.parametrize("target", NATIVE_ERRORS, ids=lambda cls: cls.__name__)
def test_a_fault_of_a_native_environment_is_an_error_with_its_place(target):
    report = check(target, steps=60)
    assert not report.ok
    assert re.search(NATIVE_ERRORS[target], findings(report, "error")), report.text()


class Endless(Walk):
    def step(self, key, state, action):
        return jnp.clip(state, -1, 1), TimeStep(state, *_signals())


class Talks(Walk):
    def step(self, key, state, action):
        jax.debug.callback(lambda x: None, state)
        return Walk.step(self, key, state, action)


class Weak(Walk):
    def reset(self, key):
        return (jnp.asarray(0.5), jnp.ones(1, jnp.float32)), jax.random.uniform(key, (1,), jnp.float32)

    def step(self, key, state, action):
        new, step = Walk.step(self, key, state[1], action)
        return (jnp.zeros((), jnp.float32), new), step


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Endless, "no episode ended in .*TimeLimit"),
        (Talks, "acts on the host"),
        (Weak, r"state\[0\] is weakly typed in reset only"),
    ],
)
def test_native_warnings(target, expected):
    report = check(target, steps=60)
    assert report.ok, report.text()
    assert re.search(expected, findings(report, "warning")), report.text()


def test_a_target_by_name_and_one_that_does_not_exist(tmp_path, monkeypatch):
    (tmp_path / "checked_envs.py").write_text(
        "from fathom.envs.classic.cartpole import CartPole\nclass Mine(CartPole):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    report = check("checked_envs:Mine", steps=50)
    assert report.ok, report.text()
    assert report.name == "checked_envs:Mine"
    assert "Did you mean Mine" in findings(check("checked_envs:Min"), "error")
    assert "Did you mean CartPole-v1" in findings(check("CartPol-v1"), "error")
    assert "int" in findings(check(3), "error")
    sys.modules.pop("checked_envs", None)


def test_gymnasiums_own_pass():
    for id in ("CartPole-v1", "Taxi-v4", "Pendulum-v1"):
        assert check(registry.make(id, "gymnasium"), steps=100).ok
