"""Run folders taken up in the lab: from their checkpoint, to the bit, and read only."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from fathom import Agent
from fathom.algos.policy.ppo import PPO
from fathom.core.errors import FathomError
from fathom.hub import files, messages
from fathom.hub.lab import Lab
from fathom.hub.trainer import Trainer
from tests.hub.test_trainer import Heard

SMALL = PPO(num_envs=4, num_steps=16, minibatches=2, epochs=2, hidden=(8,), anneal_lr=True)
ROW = 64  # environment steps of an update


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    agent = Agent(SMALL, "CartPole-v1", seeds=2, seed=5, out=path)
    agent.learn(6 * ROW, horizon=20 * ROW)
    agent.set(clip=0.3)
    agent.learn(2 * ROW, horizon=20 * ROW)
    agent.save(path)
    agent.close()
    return path


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _learner(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def _same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(_learner(a), _learner(b), strict=True))


def test_it_goes_on_as_the_run_itself_would(folder: Path) -> None:
    before = _contents(folder)
    lab = Lab.of_run(folder)
    agent = Agent.load(folder)
    assert lab.line.u == lab.line.tip == lab.line.at == 8
    assert (lab.recipe.algo, lab.recipe.env, lab.recipe.seeds, lab.recipe.seed) == (
        "ppo",
        "CartPole-v1",
        2,
        5,
    )
    assert lab.line.algorithm.clip == pytest.approx(0.3)
    assert lab.horizon == agent.horizon == 20
    assert _same(lab.carry().seeds.learner, agent.engine.learner)
    twin = lab.fork()
    for branch in (0, twin.id):
        lab.advance(3, branch)
    agent.engine.advance(3, agent.horizon)
    for branch in (0, twin.id):
        assert _same(lab.carry(branch).seeds.learner, agent.engine.learner)
    lab.seek(8)
    with pytest.raises(FathomError, match="goes from 8 to 11"):
        lab.seek(7)
    assert _contents(folder) == before
    agent.close()
    lab.close()


def test_its_link_computes_the_run_from_the_beginning(folder: Path) -> None:
    lab = Lab.of_run(folder)
    lab.advance(2)
    mark, link = lab.look().hash, lab.link()
    again = Lab.of_link(link)
    assert again.line.u == 10
    assert again.look().hash == mark
    for one in (lab, again):
        one.close()


def test_the_page_is_told_of_its_past(folder: Path) -> None:
    trainer = Trainer(Heard())  # pyright: ignore
    trainer.follow([messages.Open(1, file=str(folder))])
    heard: Any = trainer.out
    assert [m.error for m in heard.of(messages.Reply)] == [""]
    run = heard.of(messages.Run)[0]
    assert (run.kind, run.branches[0].at, run.branches[0].u, run.branches[0].tip) == ("deep", 8, 8, 8)
    assert "Lab.of_run" in run.code.python
    told = heard.of(messages.Series)
    assert sum(m.du for m in told) == told[-1].u0 + told[-1].du == 8
    # Eight updates of 64 steps, each step rewarded by 1.
    counted = sum(m.counts["reward"].array() for m in told)
    np.testing.assert_array_equal(counted, [8 * ROW, 8 * ROW])
    assert [e.data["patch"] for e in heard.of(messages.Event) if e.kind == "set"] == [
        {"clip": pytest.approx(0.3)}
    ]
    assert "ratios" in run.can
    trainer.close()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"env": {"id": "CartPole-v1", "object": "mine:make"}}, "settings of its own"),
        ({"env": {"id": "CartPole-v1", "class": "os:system"}}, "settings of its own"),
        ({"env": {"id": "mine.py:Env"}}, "settings of its own"),
        ({"backend": "gymnasium"}, "Gymnasium|gymnasium"),
        ({"algorithm": {"name": "mine", "class": "mine:Mine", "fields": {}}}, "not registered"),
        ({"algorithm": 3}, "not as `fathom train` writes it"),
        ({"parent": {"interventions": [{"update": 3, "horizon": 9}]}}, "horizon"),
    ],
)
def test_what_the_page_may_not_run_is_refused(folder: Path, tmp_path: Path, change: dict, why: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    run = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(run | change))
    with pytest.raises(FathomError, match=why):
        Lab.of_run(other)


def test_only_runs_below_the_served_folder_are_taken(folder: Path) -> None:
    assert files.run_folder(folder.parent, "run") == folder.resolve()
    for path in ("../", str(folder.parent.parent), "nothing"):
        with pytest.raises(FathomError):
            files.run_folder(folder.parent, path)
