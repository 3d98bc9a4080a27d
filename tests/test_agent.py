"""The facade: what a user types, and what comes of it."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces as gym

import fathom
from fathom.agent import Agent
from fathom.algos import registry
from fathom.algos.policy.ppo import PPO
from fathom.algos.value.dqn import DQN
from fathom.core.errors import FathomError, UnknownName
from fathom.core.types import Masked
from fathom.envs.classic.cartpole import CartPole
from fathom.envs.probe.policy import MaskedProbe
from fathom.presets import Preset
from fathom.runs.folder import RunFolder
from fathom.train import engine as engines
from fathom.train.engine import NonFinite
from fathom.train.report import Report
from tests.contract.subjects import NETWORKS, SUBJECTS, bits, every_algorithm, learnt
from tests.train.probes import Metronome

ROOT = Path(__file__).parents[1]
TINY = SUBJECTS["ppo"].algorithm
STEPS = TINY.num_envs * TINY.num_steps  # of one update

# The least that learns: for the many environments of which each needs a program of its own.
LEAST = PPO(num_envs=2, num_steps=4, epochs=1, minibatches=1, hidden=(4,))


def agent_of(name: str = "ppo", env: Any = None, **options: Any) -> Agent:
    return Agent(SUBJECTS[name].algorithm, SUBJECTS[name].env if env is None else env, **options)


@pytest.mark.parametrize("name", sorted(registry.algorithms()))
def test_learners_of_environments_are_named_by_the_package(name):
    found = registry.get(name)
    if not found.__module__.startswith("fathom.algos.bandit"):
        assert getattr(fathom, found.__name__) is found
        assert found.__name__ in fathom.__all__


class Watcher:
    """A listener that writes down what it hears, and may act on it."""

    def __init__(self, act: Any = None) -> None:
        self.phases: list[tuple[str, str]] = []
        self.reports: list[Report] = []
        self.act = act

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append((name, detail))

    def chunk(self, report: Report) -> bool | None:
        self.reports.append(report)
        return self.act(report) if self.act else None


def in_a_new_process(code: str, *arguments: Any) -> subprocess.Popen[str]:
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Agent:
    """Two seeds of PPO on the native CartPole, half trained, with a folder. Not to be changed."""
    agent = agent_of(seeds=2, out=tmp_path_factory.mktemp("runs") / "trained")
    return agent.learn(STEPS * 10, horizon=STEPS * 20)


OBS = np.array([0.1, -0.2, 0.03, 0.4], np.float32)
BATCH = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)


# Learning and predicting, space by space


class Kind(gymnasium.Env):
    """Random observations of any space; every action of the space is taken."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, mask: bool = False) -> None:
        self.observation_space, self.action_space, self.mask = observation_space, action_space, mask

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), self.info()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        if self.mask:
            assert action % 2, "an illegal action"
        over = bool(self.np_random.random() < 0.2)
        return self.observation_space.sample(), 1.0, over, False, self.info()

    def info(self) -> dict[str, Any]:
        return {"action_mask": np.arange(4) % 2 == 1} if self.mask else {}


BOX = gym.Box(-1.0, 1.0, (3,))
KINDS = {
    "box to discrete": (BOX, gym.Discrete(3)),
    "discrete to shifted discrete": (gym.Discrete(4), gym.Discrete(3, start=5)),
    "picture in floats to box": (gym.Box(0.0, 1.0, (2, 2, 1)), gym.Box(-0.4, 2.0, (2,))),
    "dict to multi-discrete": (gym.Dict(b=BOX, a=gym.Discrete(3)), gym.MultiDiscrete([2, 4])),
    "tuple to multi-binary": (gym.Tuple((BOX, gym.MultiBinary(2))), gym.MultiBinary(3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_learn_and_predict_take_every_kind_of_space(kind: str) -> None:
    observation_space, action_space = KINDS[kind]
    agent = Agent(LEAST, partial(Kind, observation_space, action_space), workers="in-process")
    agent.learn(LEAST.num_envs * LEAST.num_steps)

    observation_space.seed(0)
    single = [observation_space.sample() for _ in range(5)]
    stack = lambda *leaves: np.stack(leaves)  # noqa: E731
    batch = jax.tree.map(stack, *(dict(o) if isinstance(o, dict) else o for o in single))
    actions = agent.predict(batch)
    assert len(actions) == 5
    for obs, action in zip(single, actions, strict=True):
        one = agent.predict(obs)
        np.testing.assert_array_equal(one, action)
        assert isinstance(one, np.ndarray | np.generic)
        typed = np.asarray(one).astype(action_space.dtype)
        # Gaussian policies reach beyond the box at times; what the environment gets is within.
        assert action_space.contains(typed if typed.shape else typed[()])
    agent.close()


@pytest.mark.parametrize("deterministic", [True, False])
def test_illegal_actions_are_never_predicted(deterministic: bool) -> None:
    agent = Agent(LEAST, partial(Kind, BOX, gym.Discrete(4), True), workers="in-process")
    agent.learn(LEAST.num_envs * LEAST.num_steps)
    mask = np.random.default_rng(1).random((50, 4)) < 0.4
    mask[:, 2] |= ~mask.any(axis=1)
    obs = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    actions = agent.predict(Masked(obs, mask), deterministic)
    assert mask[np.arange(50), actions].all()
    assert len(set(actions)) > 1
    assert mask[0, agent.predict(Masked(obs[0], mask[0]), deterministic)]
    with pytest.raises(FathomError, match="with its action mask"):
        agent.predict(obs)
    agent.close()


def test_native_masks_are_predicted_with_too() -> None:
    agent = Agent(dataclasses.replace(SUBJECTS["dqn"].algorithm), MaskedProbe())
    only = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(agent.predict(Masked(np.ones((4, 1), np.float32), only)), np.arange(4))


def test_predict_is_the_policy_of_the_seed_asked_for(trained: Agent) -> None:
    first, second = (trained.predict(BATCH, seed_index=i) for i in (0, 1))
    assert first.shape == (64,)
    assert np.any(first != second)
    np.testing.assert_array_equal(first, trained.predict(BATCH))
    np.testing.assert_array_equal(first, trained.predict(BATCH))
    with pytest.raises(FathomError, match="seed_index is 2; this agent has the seeds 0 to 1"):
        trained.predict(OBS, seed_index=2)


def test_stochastic_predictions_are_drawn_anew(trained: Agent) -> None:
    draws = np.stack([trained.predict(BATCH, deterministic=False) for _ in range(8)])
    assert len({row.tobytes() for row in draws}) > 1


def test_predict_takes_what_gymnasium_gives(trained: Agent) -> None:
    env = gymnasium.make("CartPole-v1")
    obs, _ = env.reset(seed=0)
    assert env.action_space.contains(trained.predict(obs))
    assert trained.predict(obs.astype(np.float64)) == trained.predict(obs)
    env.close()


@pytest.mark.parametrize(
    ("obs", "message"),
    [
        (np.zeros(3), r"shape \(3,\); the environment's is \(4,\), or a batch"),
        (np.zeros((2, 2, 4)), r"shape \(2, 2, 4\)"),
        (np.zeros(()), r"shape \(\)"),
        ({"obs": np.zeros(4)}, "an observation of Box.*got dict"),
        (None, "got NoneType"),
    ],
)
def test_an_observation_of_another_shape_is_refused(trained: Agent, obs: Any, message: str) -> None:
    with pytest.raises(FathomError, match=f"(?s){message}"):
        trained.predict(obs)


# What names an environment and an algorithm


class Own(gymnasium.Env):
    """An environment as a user writes one."""

    observation_space = BOX
    action_space = gym.Discrete(2)

    def __init__(self, reward: float = 1.0) -> None:
        self.reward, self.t = reward, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.full(3, self.t / 5, np.float32), self.reward, False, self.t == 5, {}


@pytest.mark.parametrize("env", [Own(2.0), lambda: Own(2.0), partial(Own, 2.0)])
def test_own_gymnasium_environments_by_object_and_by_constructor(env: Any) -> None:
    agent = Agent(LEAST, env, workers="in-process").learn(8)
    assert agent.backend == "gymnasium"
    assert agent.evaluate(3).mean == 10.0
    agent.close()


@pytest.mark.parametrize("env", [CartPole(gravity=1.6), lambda: CartPole(gravity=1.6)])
def test_own_native_environments_by_object_and_by_constructor(env: Any) -> None:
    agent = Agent(LEAST, env)
    assert agent.backend == "native"
    assert float(agent.engine.env.gravity) == np.float32(1.6)  # pyright: ignore[reportAttributeAccessIssue]
    assert agent.env_id == "CartPole"


def test_the_backend_can_be_chosen() -> None:
    assert agent_of().backend == "native"
    agent = agent_of(backend="gymnasium")
    assert agent.backend == "gymnasium"
    agent.close()
    agent = agent_of(env=CartPole(), backend="gymnasium")
    assert agent.backend == "gymnasium"
    with pytest.raises(FathomError, match="backend is 'x'"):
        agent_of(backend="x")


def test_presets_go_to_names_and_classes_and_not_to_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = Preset("tuned", "ppo", "CartPole-v1", 1000, {"clip": 0.07, "num_envs": 3, "minibatches": 4})
    other = Preset("other", "ppo", "CartPole-v1", 1000, {"clip": 0.5}, automatic=False)
    monkeypatch.setattr(fathom.presets, "_PRESETS", {"tuned": tuned, "other": other})
    for algorithm in ("ppo", "PPO", PPO):
        agent = Agent(algorithm, "CartPole-v1")
        assert (agent.preset, agent.algorithm.clip, agent.algorithm.num_envs) == (tuned, 0.07, 3)
    agent = Agent("ppo", "CartPole-v1", preset="other")
    assert (agent.preset, agent.algorithm.clip) == (other, 0.5)
    for agent in (
        Agent(PPO(), "CartPole-v1"),
        Agent("ppo", "CartPole-v1", preset="none"),
        Agent("ppo", "Acrobot-v1"),
    ):
        assert agent.preset is None
        assert agent.algorithm.clip == PPO().clip
    with pytest.raises(FathomError, match="Leave one of the two out"):
        Agent(PPO(), "CartPole-v1", preset="tuned")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Agent("pp0", "CartPole-v1"), "unknown algorithm 'pp0'. Did you mean ppo"),
        (lambda: Agent(3, "CartPole-v1"), "3 is no algorithm"),  # pyright: ignore[reportArgumentType]
        (lambda: Agent(Agent, "CartPole-v1"), "is no algorithm; give a name"),
        (lambda: Agent("ppo", "CartPol-v1"), "Did you mean CartPole-v1"),
        (lambda: Agent("ppo", 3), "cannot make an environment of 3"),
        (lambda: Agent("ppo", "CartPole-v1", preset="ppo-cartpol"), "unknown preset 'ppo-cartpol'. Did you"),
        (lambda: Agent("ppo", "CartPole-v1", preset="dqn-cartpole"), "is one of dqn, not of ppo"),
        (lambda: agent_of(seeds=0), "seeds is 0; train at least 1"),
        (lambda: agent_of(seed=-1), "seed is -1; it must lie between"),
        (lambda: agent_of(seed=2**32), "seed is 4294967296"),
        (lambda: Agent(DQN(), "Pendulum-v1"), "DQN chooses among finitely many actions"),
        (lambda: Agent(PPO(clip=-0.1), "CartPole-v1"), "clip is -0.1; it must be above 0"),
        (lambda: Agent(PPO(minibatches=10**6), "CartPole-v1"), "lower minibatches"),
        (lambda: agent_of().learn(), "give steps"),
        (lambda: agent_of().learn(0), "steps is 0; train for at least 1"),
        (lambda: agent_of().evaluate(0), "episodes is 0"),
        (lambda: agent_of().evaluate(1, max_steps=0), "max_steps is 0"),
        (lambda: Agent.load("/nowhere/at/all"), "there is no run folder"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(make: Any, message: str) -> None:
    with pytest.raises(FathomError, match=message):
        make()


# Horizons and seeds


@every_algorithm
def test_two_halves_equal_the_whole_where_they_have_its_horizon(name: str) -> None:
    whole, halves, short = (agent_of(name) for _ in range(3))
    steps = whole.engine.plan.steps * 10
    whole.learn(2 * steps)
    halves.learn(steps, horizon=2 * steps).learn(steps)
    assert bits(halves.engine.carry) == bits(whole.engine.carry)
    assert halves.env_steps == whole.env_steps == 2 * steps
    # Without it each call is a run of its own to its schedules: DQN explores less at the end of the first.
    short.learn(steps).learn(steps)
    assert (bits(short.engine.carry) == bits(whole.engine.carry)) == (name == "ppo")


def test_learn_without_steps_goes_on_to_the_horizon() -> None:
    agent = agent_of().learn(STEPS * 3, horizon=STEPS * 7)
    assert agent.learn().env_steps == STEPS * 7
    assert agent.learn().env_steps == STEPS * 7
    assert agent.learn(horizon=STEPS * 8).env_steps == STEPS * 8


def test_steps_are_rounded_up_to_whole_updates() -> None:
    assert agent_of().learn(1).env_steps == STEPS
    assert agent_of().learn(STEPS + 1).env_steps == 2 * STEPS


@every_algorithm
def test_a_seed_learns_alike_alone_and_beside_others(name: str) -> None:
    """Equal up to rounding while it cannot add up, and of one distribution ever after."""
    together = agent_of(name, seeds=3, seed=20)
    steps = together.engine.plan.steps
    watch = Watcher()
    early = 6
    together.learn(steps * early, horizon=steps * 60)
    first = jax.tree.map(np.asarray, learnt(together.engine.learner))
    together.learn(listeners=[watch])
    pooled = _mean_return([watch])
    alone = []
    for i in range(3):
        agent = agent_of(name, seed=20 + i).learn(steps * early, horizon=steps * 60)
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-4),
            first,
            learnt(agent.engine.learner),
        )
        alone.append(Watcher())
        agent.learn(listeners=[alone[-1]])
    assert _mean_return(alone) == pytest.approx(pooled, rel=0.25)


def _mean_return(watchers: list[Watcher]) -> float:
    reports = [r for w in watchers for r in w.reports]
    total, count = (
        sum(getattr(r, kind)["episode_return"].sum() for r in reports) for kind in ("sums", "counts")
    )
    return total / count


# Saving, loading, resuming, forking

PREDICT = """
import pickle, sys
import fathom, numpy as np

agent_class = fathom.Agent
def refuse(*args, **kwargs):
    raise AssertionError("a file was unpickled")
pickle.load = pickle.loads = pickle.Unpickler = refuse

folder, batch, out = sys.argv[1:]
agent = agent_class.load(folder)
np.save(out, np.stack([agent.predict(np.load(batch), d) for d in (True, False)]))
assert agent.evaluate(4).returns.tolist() == eval(sys.stdin.read())
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_process_loads_the_same_policy_to_the_bit(name: str, tmp_path: Path) -> None:
    agent = agent_of(name)
    agent.learn(agent.engine.plan.steps * 20)
    agent.save(tmp_path / "saved")
    batch = BATCH[:, : agent.engine.spec.obs_space.shape[0]]
    expected = np.stack([agent.predict(batch, d) for d in (True, False)])
    np.save(tmp_path / "batch.npy", batch)
    code = PREDICT.replace("sys.stdin.read()", repr(repr(agent.evaluate(4).returns.tolist())))
    arguments = (tmp_path / "saved", tmp_path / "batch.npy", tmp_path / "out.npy")
    with in_a_new_process(code, *arguments) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_a_saved_agent_is_arrays_and_json_and_names_no_code_to_run(trained: Agent, tmp_path: Path) -> None:
    path = trained.save(tmp_path / "saved")
    kinds = {p.suffix for p in path.rglob("*") if p.is_file() and p.name != "lock"}
    assert kinds == {".json", ".jsonl", ".safetensors"}
    run = json.loads((path / "run.json").read_text())
    marker = tmp_path / "executed"
    run["algorithm"] = {"class": "os:mkdir", "fields": {"path": str(marker)}}
    (path / "run.json").write_text(json.dumps(run))
    with pytest.raises(FathomError, match="no subclass of Config"):
        Agent.load(path)
    run["algorithm"], run["env"] = {"class": "fathom:PPO", "fields": {}}, {"id": "x", "class": "os:getcwd"}
    (path / "run.json").write_text(json.dumps(run))
    with pytest.raises(FathomError, match="no environment class"):
        Agent.load(path)
    assert not marker.exists()


def test_saving_overwrites_only_when_asked(trained: Agent, tmp_path: Path) -> None:
    path = trained.save(tmp_path / "saved")
    with pytest.raises(FathomError, match="holds a run already"):
        trained.save(path)
    fresh = agent_of(seeds=2)
    fresh.save(path, overwrite=True)
    assert bits(Agent.load(path).engine.carry) == bits(fresh.engine.carry)
    with pytest.raises(FathomError, match="holds a run already"):
        agent_of(out=path).learn(1)


def test_what_another_process_has_written_is_not_deleted(tmp_path: Path) -> None:
    out = tmp_path / "run"
    agent_of(out=out).learn(STEPS * 2, horizon=STEPS * 9)
    stale = Agent.resume(out)
    agent = Agent.resume(out).learn(STEPS * 3)
    held = RunFolder.open(out).checkpoints()
    assert held[-1] == 5
    for write in (
        lambda: stale.learn(STEPS),
        lambda: stale.set(learning_rate=1e-4),
        lambda: stale.save(out),
    ):
        with pytest.raises(FathomError, match=r"another process.*update 5.*at 2.*Agent\.resume"):
            write()
    assert RunFolder.open(out).checkpoints() == held
    assert float(stale.algorithm.learning_rate) == float(TINY.learning_rate)
    stale.save(tmp_path / "elsewhere")
    agent.learn(STEPS)
    with RunFolder.open(out).lock(), pytest.raises(FathomError, match="is being written by"):
        agent.set(learning_rate=1e-4)


def test_an_update_left_in_its_middle_is_not_saved(tmp_path: Path) -> None:
    agent = agent_of(env=Metronome(length=0.0, nan_obs_at=60.0), out=tmp_path / "run")
    with pytest.raises(NonFinite):
        agent.learn(STEPS * 30)
    held = {p: p.read_bytes() for p in (tmp_path / "run" / "checkpoints").iterdir()}
    for write in (
        lambda: agent.set(learning_rate=1e-5),
        lambda: agent.save(tmp_path / "run"),
        lambda: agent.save(tmp_path / "other"),
        lambda: agent.learn(STEPS),
        lambda: agent.fork(),
    ):
        with pytest.raises(FathomError, match=r"in the middle of an update \(NonFinite\).*Agent\.resume"):
            write()
    assert {p: p.read_bytes() for p in (tmp_path / "run" / "checkpoints").iterdir()} == held
    assert Agent.load(tmp_path / "run").engine.update == 0


def test_the_log_of_what_was_changed_goes_with_a_run(tmp_path: Path) -> None:
    agent = agent_of().learn(STEPS)
    agent.set(learning_rate=1e-4).learn(STEPS)
    agent.save(tmp_path / "a")
    line = {"update": 1, "set": {"learning_rate": 1e-4}}
    assert RunFolder.open(tmp_path / "a").read_interventions() == [line]
    loaded = Agent.load(tmp_path / "a")
    assert loaded.interventions() == [line]
    loaded.save(tmp_path / "b")
    assert Agent.load(tmp_path / "b").interventions() == [line]
    later = agent_of()
    later.learn(STEPS).set(learning_rate=1e-4)
    later.out = tmp_path / "c"
    later.learn(STEPS)
    assert later.interventions() == [line]


def test_a_horizon_that_moves_is_kept_at_once(tmp_path: Path) -> None:
    out = tmp_path / "run"
    agent_of(out=out).learn(STEPS * 2)

    class Killed(Exception):
        """Ends the process before its first checkpoint."""

    def kill(report: Report) -> None:
        raise Killed

    with pytest.raises(Killed):
        Agent.resume(out).learn(STEPS * 4, listeners=[Watcher(kill)])
    again = Agent.resume(out)
    assert (again.env_steps, again.horizon) == (STEPS * 2, 6)
    assert again.interventions() == [{"update": 2, "horizon": STEPS * 6}]
    again.learn()
    whole = agent_of().learn(STEPS * 2)
    whole.learn(STEPS * 4)
    assert bits(again.engine.carry) == bits(whole.engine.carry)


def test_where_environments_are_stepped_is_kept_with_the_run(tmp_path: Path) -> None:
    agent = agent_of(backend="gymnasium", workers="subprocess", out=tmp_path / "run")
    agent.learn(STEPS)
    agent.close()
    for given, wanted in ((None, "subprocess"), ("in-process", "in-process")):
        loaded = Agent.load(tmp_path / "run", workers=given)
        try:
            assert loaded.engine.vector.workers == wanted
        finally:
            loaded.close()


@pytest.mark.parametrize("stream", [-1, 2**32])
def test_a_stream_that_is_none_is_refused(trained: Agent, stream: int) -> None:
    with pytest.raises(FathomError, match=f"stream is {stream}"):
        trained.evaluate(2, stream=stream)


def test_load_reads_and_resume_goes_on_in_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "run"
    agent = agent_of(out=out, seeds=2, seed=4).learn(STEPS * 5, horizon=STEPS * 9)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    loaded = Agent.load(out)
    assert (loaded.seeds, loaded.seed, loaded.env_id, loaded.backend) == (2, 4, "CartPole-v1", "native")
    assert loaded.algorithm == agent.algorithm
    assert bits(loaded.engine.carry) == bits(agent.engine.carry)
    loaded.learn(STEPS)
    loaded.summary(2)
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before

    resumed = Agent.resume(out).learn()
    whole = loaded.learn()
    assert resumed.env_steps == whole.env_steps == STEPS * 9
    assert bits(resumed.engine.carry) == bits(whole.engine.carry)
    assert RunFolder.open(out).checkpoints()[-1] == 9


def test_an_own_environment_is_asked_for_again(tmp_path: Path) -> None:
    agent = Agent(LEAST, lambda: Own(2.0), workers="in-process", out=tmp_path / "run").learn(8)
    with pytest.raises(FathomError, match=r"Agent\.load\(path, env=\.\.\.\)"):
        Agent.load(tmp_path / "run")
    loaded = Agent.load(tmp_path / "run", lambda: Own(2.0))
    assert bits(loaded.engine.carry) == bits(agent.engine.carry)
    assert loaded.evaluate(2).mean == 10.0
    agent.close()
    loaded.close()


def test_a_fork_has_a_life_and_a_folder_of_its_own(tmp_path: Path) -> None:
    parent = agent_of(out=tmp_path / "parent").learn(STEPS * 4, horizon=STEPS * 8)
    lines = len(RunFolder.open(tmp_path / "parent").read_metrics())
    child = parent.fork(tmp_path / "child").set(learning_rate=1e-2).learn()
    assert (child.env_steps, parent.env_steps) == (STEPS * 8, STEPS * 4)
    assert len(RunFolder.open(tmp_path / "parent").read_metrics()) == lines
    assert parent.algorithm.learning_rate == TINY.learning_rate
    parent.learn()
    assert bits(parent.engine.carry) != bits(child.engine.carry)
    assert Agent.load(tmp_path / "child").algorithm.learning_rate == 1e-2


# Changing settings while it runs


def test_a_setting_changed_live_acts_from_the_next_update_and_is_logged(tmp_path: Path) -> None:
    def changing(agent: Agent) -> Watcher:
        return Watcher(lambda r: agent.set(learning_rate=5e-3) and None if r.update == 3 else None)

    plain, changed = agent_of(), agent_of(out=tmp_path / "run")
    plain.learn(STEPS * 3, horizon=STEPS * 10)
    same = bits(plain.engine.carry)
    plain.learn(STEPS * 3)
    compiled = engines._run_native._cache_size()
    seen = {}
    watcher = changing(changed)
    act = watcher.act
    watcher.act = lambda r: (seen.update({r.update: bits(changed.engine.carry)}), act(r))[1]
    changed.learn(STEPS * 6, horizon=STEPS * 10, chunk_seconds=1e-9, listeners=[watcher])
    assert engines._run_native._cache_size() == compiled
    assert seen[3] == same
    assert seen[6] != bits(plain.engine.carry)

    by_hand = agent_of().learn(STEPS * 3, horizon=STEPS * 10).set(learning_rate=5e-3).learn(STEPS * 3)
    assert bits(by_hand.engine.carry) == seen[6]
    folder = RunFolder.open(tmp_path / "run")
    assert folder.read_interventions() == [{"update": 3, "set": {"learning_rate": 5e-3}}]

    resumed = Agent.resume(tmp_path / "run")
    assert resumed.algorithm.learning_rate == 5e-3
    assert bits(resumed.learn().engine.carry) == bits(by_hand.learn().engine.carry)
    # What the run began with stays on record.
    assert folder.run["algorithm"]["fields"]["learning_rate"] == TINY.learning_rate


def test_only_live_settings_can_be_set_and_the_error_lists_them() -> None:
    agent = agent_of()
    live = "learning_rate, gamma, gae_lambda, clip, value_coef, entropy_coef, max_grad_norm"
    for name in ("num_envs", "hidden", "activation", "anneal_lr", "value_clip"):
        with pytest.raises(FathomError, match=f"{name} shapes the program.*{live}") as caught:
            agent.set(**{name: 1})
        assert "minibatches" not in str(caught.value)
    with pytest.raises(UnknownName, match=r"unknown setting 'gama'\. Did you mean gamma"):
        agent.set(gama=0.9)
    with pytest.raises(FathomError, match=r"gamma is 2\.0; it must lie between 0 and 1"):
        agent.set(gamma=2.0)
    with pytest.raises(FathomError, match=r"set takes numbers.*fast"):
        agent.set(learning_rate="fast")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FathomError):
        agent.set(clip=0.1, num_envs=3)
    assert agent.algorithm == TINY


def test_a_setting_changed_after_the_last_checkpoint_survives_a_crash(tmp_path: Path) -> None:
    agent = agent_of(out=tmp_path / "run").learn(STEPS * 3, horizon=STEPS * 6)
    agent.set(learning_rate=5e-3)
    agent.close()  # as if it were killed here: nothing more is written
    resumed = Agent.resume(tmp_path / "run")
    assert resumed.algorithm.learning_rate == 5e-3


# Listeners, interruption, summary


def test_listeners_hear_phases_and_every_chunk(tmp_path: Path) -> None:
    watch, other = Watcher(), Watcher()
    agent = agent_of("dqn", seeds=2, out=tmp_path / "run")
    steps = agent.engine.plan.steps
    agent.learn(steps * 30, horizon=steps * 40, listeners=[watch, other], chunk_seconds=1e-9)
    assert [name for name, _ in watch.phases] == ["compile", "train", "save"]
    assert watch.phases[0][1].startswith("replay takes ")
    assert len(watch.reports) == len(other.reports) == 30
    for number, report in enumerate(watch.reports, 1):
        assert (report.update, report.env_steps, report.seeds) == (number, number * steps, 2)
        assert (report.chunk_steps, report.horizon_steps) == (2 * steps, 30 * steps)
        assert report.sums.keys() == report.counts.keys() > {"episode_return", "reward", "loss"}
        np.testing.assert_array_equal(report.mean("reward"), [1.0, 1.0])
    assert np.isnan(watch.reports[0].mean("loss")).all()
    seconds = [r.seconds for r in watch.reports]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx(sum(r.chunk_seconds for r in watch.reports))


def test_a_listener_can_stop_the_run_and_all_others_still_hear_it(tmp_path: Path) -> None:
    stopper, other = Watcher(lambda r: r.update >= 4), Watcher()
    agent = agent_of(out=tmp_path / "run")
    agent.learn(STEPS * 20, listeners=[stopper, other], chunk_seconds=1e-9)
    assert agent.env_steps == 4 * STEPS
    assert other.reports[-1].update == 4
    assert RunFolder.open(tmp_path / "run").checkpoints()[-1] == 4
    assert RunFolder.open(tmp_path / "run").read_metrics()[-1]["update"] == 4
    assert agent.learn().env_steps == 20 * STEPS


def test_an_error_in_a_listener_leaves_the_run_to_be_resumed(tmp_path: Path) -> None:
    def fail(report: Report) -> None:
        raise RuntimeError("the screen is gone")

    agent = agent_of(out=tmp_path / "run")
    with pytest.raises(RuntimeError, match="screen"):
        agent.learn(STEPS * 4, listeners=[Watcher(fail)])
    assert Agent.resume(tmp_path / "run").learn().env_steps == STEPS * 4


INTERRUPTED = """
import sys, time
import fathom
from tests.contract.subjects import SUBJECTS

class Loud:
    def phase(self, name, detail=""):
        print(name, flush=True)
    def chunk(self, report):
        print("chunk", report.update, flush=True)
        time.sleep(0.02)

agent = fathom.Agent(SUBJECTS["ppo"].algorithm, "CartPole-v1", out=sys.argv[1])
try:
    agent.learn(32 * 10_000, chunk_seconds=1e-9, checkpoint_seconds=1e9, listeners=[Loud()])
except KeyboardInterrupt:
    print("interrupted", agent.engine.update, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_saves_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    with in_a_new_process(INTERRUPTED, tmp_path / "run") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line == "chunk 5\n":
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().split("\n")
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    words, update = rest[-2].split()
    assert words == "interrupted"
    assert rest[-3] == "save"
    assert 5 <= int(update) < 10_000
    resumed = Agent.resume(tmp_path / "run")
    assert resumed.engine.update == int(update)
    whole = agent_of().learn(STEPS * (int(update) + 3), horizon=STEPS * 10_000)
    assert bits(resumed.learn(STEPS * 3).engine.carry) == bits(whole.engine.carry)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_summary_says_all_that_it_should(seeds: int, trained: Agent, tmp_path: Path) -> None:
    agent = trained.fork(tmp_path / "run") if seeds == 2 else agent_of(out=tmp_path / "run")
    agent.learn(STEPS * 3)
    summary = agent.summary(episodes=5)
    assert set(summary) == {
        "algorithm", "env", "backend", "preset", "seeds", "seed", "steps", "episodes", "returns_per_seed",
        "mean", "iqm", "ci95", "steps_per_second", "compile_seconds", "wall_seconds",
    }  # fmt: skip
    assert (summary["algorithm"], summary["env"], summary["backend"]) == ("ppo", "CartPole-v1", "native")
    assert (summary["seeds"], summary["steps"], summary["episodes"]) == (seeds, agent.env_steps, 5)
    result = agent.evaluate(5)
    assert summary["returns_per_seed"] == result.per_seed.tolist()
    assert summary["mean"] == pytest.approx(result.mean)
    if seeds == 1:
        assert summary["ci95"] is None
    else:
        low, high = summary["ci95"]
        assert low <= summary["mean"] <= high
    assert all(summary[k] >= 0 for k in ("steps_per_second", "compile_seconds", "wall_seconds"))
    assert RunFolder.open(tmp_path / "run").read_summary() == summary


def test_the_summary_counts_episodes_that_the_step_cap_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of()
    cut = agent.evaluate(4, max_steps=2)
    assert cut.cut == 4
    monkeypatch.setattr(agent, "evaluate", lambda episodes: cut)
    assert agent.summary(4)["episodes_cut"] == 4
