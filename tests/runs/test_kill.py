"""The third invariant: killed at any moment and resumed, a run ends with the bits of one left in peace."""

import os
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from fathom.agent import Agent
from fathom.core.errors import FathomError
from fathom.runs.folder import RunFolder
from fathom.train.report import Report
from tests.contract.subjects import KINDS, NETWORKS, STEERED, SUBJECTS, bits

ROOT = Path(__file__).parents[2]
UPDATES = 100
COUNTED = ("reward", "episode_return", "episode_length")

# A short pause after each chunk leaves time to be killed in; where saves may follow each other at once, most
# kills hit one of them.
TRAIN = """
import sys, time
import fathom.agent
from tests.contract.subjects import SUBJECTS

name, path, out, updates, seeds, save_share = sys.argv[1:]
fathom.agent._SAVE_SHARE = int(save_share)

class Slowly:
    def phase(self, name, detail=""):
        pass

    def chunk(self, report):
        print(report.update, flush=True)
        time.sleep(0.002)

if fathom.agent.Path(out).exists():
    agent = fathom.agent.Agent.resume(out)
else:
    agent = fathom.agent.Agent(
        SUBJECTS[name].algorithm, SUBJECTS[name].env, seeds=int(seeds), backend=path, out=out
    )
left = int(updates) - agent.engine.update
agent.learn(
    left * agent.engine.plan.steps, horizon=int(updates) * agent.engine.plan.steps,
    chunk_seconds=1e-9, checkpoint_seconds=0.0, listeners=[Slowly()],
)
"""


class Totals:
    """A listener that adds up all chunks, as anybody who reads metrics.jsonl would."""

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.counts: dict[str, Any] = {}

    def phase(self, name: str, detail: str = "") -> None: ...

    def chunk(self, report: Report) -> None:
        self.add(report.sums, report.counts)

    def add(self, sums: dict[str, Any], counts: dict[str, Any]) -> None:
        for mine, theirs in ((self.sums, sums), (self.counts, counts)):
            for name, value in theirs.items():
                mine[name] = mine.get(name, 0.0) + np.asarray(value, np.float64)


_UNINTERRUPTED: dict[Any, tuple[list[bytes], Totals]] = {}


def uninterrupted(name: str, path: str, seeds: int) -> tuple[list[bytes], Totals]:
    if (name, path, seeds) not in _UNINTERRUPTED:
        agent = Agent(SUBJECTS[name].algorithm, SUBJECTS[name].env, seeds=seeds, backend=path)
        totals = Totals()
        agent.learn(UPDATES * agent.engine.plan.steps, listeners=[totals])
        _UNINTERRUPTED[name, path, seeds] = bits(agent.engine.carry), totals
        agent.close()
    return _UNINTERRUPTED[name, path, seeds]


def train_and_kill(
    name: str, path: str, out: Path, seeds: int, save_share: int, update: int, delay: float
) -> None:
    """Train in a process of its own, and kill it `delay` seconds after `update` updates."""
    env = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    arguments = [name, path, str(out), str(UPDATES), str(seeds), str(save_share)]
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, *arguments],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= update:
                    break
            time.sleep(delay)
        finally:
            process.kill()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == -9, errors


def resume_after_kills(name: str, path: str, trial: int, out: Path) -> None:
    """Kill a run once or twice at moments drawn from `trial`, go on here, and compare with one left alone."""
    draw = random.Random(f"{name} {path} {trial}")
    seeds = draw.choice((1, 2))
    expected, totals = uninterrupted(name, path, seeds)
    least = 1
    for _ in range(draw.choice((1, 1, 2))):
        update = draw.randint(least, UPDATES - 20)
        share = draw.choice((0, 0, 20))
        train_and_kill(name, path, out, seeds, share, update, draw.uniform(0.0, 0.02))
        least = max(RunFolder.open(out).checkpoints()[-1] + 1, 1)
        if least > UPDATES - 20:
            break

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing restarts and no checkpoint is damaged
        agent = Agent.resume(out)
    assert 0 <= agent.engine.update < UPDATES
    agent.learn()
    assert agent.engine.update == UPDATES
    assert bits(agent.engine.carry) == expected
    agent.close()

    lines = RunFolder.open(out).read_metrics()
    updates = [line["update"] for line in lines]
    assert updates == sorted(set(updates))
    assert updates[-1] == UPDATES
    written = Totals()
    for line in lines:
        written.add(line["sums"], line["counts"])
    steps = UPDATES * agent.engine.plan.steps
    np.testing.assert_array_equal(written.counts["reward"], [steps] * seeds)
    for metric in COUNTED:
        np.testing.assert_array_equal(written.counts[metric], totals.counts[metric])
        np.testing.assert_array_equal(written.sums[metric], totals.sums[metric])


needs_kill = pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX's")


@needs_kill
@pytest.mark.parametrize(("name", "path"), [("ppo", "gymnasium"), ("dqn", "native")])
def test_a_killed_run_resumes_to_the_same_bits(name: str, path: str, tmp_path: Path) -> None:
    resume_after_kills(name, path, 0, tmp_path / "run")


@needs_kill
@pytest.mark.slow
@pytest.mark.parametrize("trial", range(1, 6))
@pytest.mark.parametrize("path", ["native", "gymnasium"])
@pytest.mark.parametrize("name", KINDS)
def test_twenty_killed_runs_resume_to_the_same_bits(name: str, path: str, trial: int, tmp_path: Path) -> None:
    resume_after_kills(name, path, trial, tmp_path / "run")


def test_a_run_killed_before_its_first_checkpoint_says_so(tmp_path: Path) -> None:
    Agent(SUBJECTS["ppo"].algorithm, "CartPole-v1").save(tmp_path / "run")
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(FathomError, match="no checkpoint"):
        Agent.resume(tmp_path / "run")


class Sealed(CartPoleEnv):
    """Holds, like a physics engine, something that only its own code can make."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.seal = threading.Lock()
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize("name", [p for p in NETWORKS if SUBJECTS[p.values[0]].env != STEERED])
@pytest.mark.parametrize("seeds", [1, 2])
def test_where_an_environment_cannot_be_copied_the_resumed_run_says_what_starts_anew(
    name: str, seeds: int, tmp_path: Path
) -> None:
    agent = Agent(SUBJECTS[name].algorithm, Sealed, seeds=seeds, out=tmp_path / "run")
    steps = agent.engine.plan.steps
    agent.learn(steps * 20, horizon=steps * 30)
    agent.close()
    with pytest.warns(UserWarning, match="start anew") as caught:
        resumed = Agent.resume(tmp_path / "run", Sealed)
    (warning,) = caught
    assert "Sealed.seal" in str(warning.message)
    assert "learner goes on exactly" in str(warning.message)
    # It names the line that resumes, not one inside of Fathom.
    assert warning.filename == __file__

    before, after = agent.engine.carry.seeds, resumed.engine.carry.seeds
    # All but what it keeps of the episodes under way, which are given up.
    assert bits(after.learner) == bits(agent.algorithm.restart(before.learner))
    assert resumed.engine.update == 20
    assert not np.any(after.episode_length)
    assert not np.any(after.episode_return)
    # Gymnasium starts every component within ± 0.05: these are first observations.
    assert np.all(np.abs(np.asarray(after.obs)) <= 0.05)
    if after.replay is not None:
        last = (int(resumed.engine.carry.shared.ring.cursor) - 1) % resumed.engine.plan.ring_rows
        row = np.asarray(after.replay.truncated)[..., last, :]
        assert row.all(), "an episode that was cut off would run into the next one"
    resumed.learn()
    assert resumed.engine.update == 30
    resumed.close()
