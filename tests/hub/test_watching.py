"""A run of the command line on the page: the same run, and the same bits."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from fathom.agent import Agent
from fathom.algos.tabular.q_learning import QLearning
from fathom.hub import messages
from fathom.hub.recording import Player, read
from fathom.hub.watching import Watching
from tests.hub.client import Page


def _agent(out: Path | None = None) -> Agent:
    return Agent(QLearning(num_steps=8), "Grid5x5-v0", seeds=2, out=out)


def test_being_watched_changes_nothing(tmp_path: Path) -> None:
    alone = _agent().learn(20_000)
    seen = _agent()
    watching = Watching(seen, tmp_path / "a.rlog", show=False)
    seen.learn(20_000, listeners=[watching], chunk_seconds=0.02)
    watching.close()
    for a, b in zip(jax.tree.leaves(alone.engine.learner), jax.tree.leaves(seen.engine.learner), strict=True):
        assert np.array_equal(a, b)
    kinds = [messages.kind_of(moment.payload) for moment in read(tmp_path / "a.rlog")]
    assert kinds[0] == "run"
    assert {"series", "frame", "event"} <= set(kinds)
    Player(read(tmp_path / "a.rlog")).start()


@pytest.mark.skipif(sys.platform == "win32", reason="the address is read from a pipe")
def test_a_page_pauses_and_changes_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, end = os.pipe()

    def with_pipe(words: list[str], **settings: object) -> subprocess.Popen:
        return subprocess.Popen(words, stderr=end, **settings)  # pyright: ignore

    only_there = SimpleNamespace(Popen=with_pipe, PIPE=subprocess.PIPE)
    monkeypatch.setattr("fathom.hub.watching.subprocess", only_there)
    agent = _agent(tmp_path / "run")
    watching = Watching(agent, show=False)
    with open(said) as lines:
        address = re.search(r"http://127.0.0.1:(\d+)/\?token=(\S+)", lines.readline())
        assert address is not None
        page = Page(int(address[1]), address[2])
        training = threading.Thread(
            target=lambda: agent.learn(400_000, listeners=[watching], chunk_seconds=0.02)
        )
        training.start()
        page.until(lambda m: isinstance(m, messages.Frame) and m.u > 0)
        assert "set" in page.of(messages.Run)[0].can
        assert page.ask(messages.Pause).ok
        changed = page.ask(messages.Set, patch={"epsilon": 0.5})
        assert changed.ok
        assert "shapes the program" in page.ask(messages.Set, patch={"num_envs": 2}).error
        assert "command line" in page.ask(messages.Fork).error
        assert page.ask(messages.Play).ok
        training.join()
        page.close()
        watching.close()
        os.close(end)
    assert agent.algorithm.epsilon_start == 0.5  # pyright: ignore
    lines_kept = (tmp_path / "run" / "interventions.jsonl").read_text()
    assert '"epsilon_end": 0.5' in lines_kept
    assert agent.env_steps == 400_000
