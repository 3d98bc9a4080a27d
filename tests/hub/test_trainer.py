"""The trainer without its process: what it does with requests, and what it tells."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fathom.hub import messages
from fathom.hub.lab import Lab
from fathom.hub.recipe import Recipe
from fathom.hub.trainer import Trainer

WORLD = {"algo": "q_learning", "env": "ThreeState-v0", "seeds": 2}
DEEP = {
    "algo": "dqn",
    "env": "CartPole-v1",
    "seeds": 2,
    "config": {"hidden": [8], "learning_starts": 64, "buffer_size": 256, "batch_size": 16},
}


class Heard:
    """In the place of an outbox: what was told, in order."""

    broken = False

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.notes: list[str] = []

    def numbered(self, kind: type, /, **fields: Any) -> int:
        self.told.append(kind(seq=len(self.told) + 1, **fields))
        return len(self.told)

    def latest(self, frame: messages.Frame) -> None:
        self.told.append(frame)

    def note(self, text: str, u: int) -> None:
        self.notes.append(text)

    def close(self) -> None:
        """Nothing is kept."""

    def of(self, kind: type) -> list[Any]:
        return [m for m in self.told if isinstance(m, kind)]


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    made = Trainer(Heard())  # pyright: ignore
    yield made
    made.close()


def _ask(trainer: Trainer, *asks: Any) -> list[messages.Reply]:
    trainer.follow(list(asks))
    answers = {m.id: m for m in trainer.out.of(messages.Reply)}  # pyright: ignore
    return [answers[ask.id] for ask in asks]


def _open(trainer: Trainer, what: dict[str, Any]) -> None:
    assert all(
        a.ok for a in _ask(trainer, messages.Open(1, **what), messages.Sub(2, list(messages.CHANNELS)))
    )


def test_of_many_changes_the_newest_is_made(trainer: Trainer) -> None:
    _open(trainer, WORLD)
    first, second, other = _ask(
        trainer,
        messages.Set(3, {"epsilon": 0.5}),
        messages.Set(4, {"epsilon": 0.6}),
        messages.Set(5, {"gamma": 0.7}),
    )
    assert first.data == {"superseded": True}
    assert "superseded" not in second.data
    assert other.ok
    assert [entry.what for entry in trainer.lab.line.log] == [  # pyright: ignore
        {"epsilon_start": 0.6, "epsilon_end": 0.6},
        {"gamma": 0.7},
    ]


def test_series_add_up_to_all_that_happened(trainer: Trainer) -> None:
    _open(trainer, WORLD)
    _ask(trainer, messages.Step(3, 30), messages.Step(4, 12), messages.Step(5, 1, "episode"))
    series = trainer.out.of(messages.Series)  # pyright: ignore
    assert [(s.u0, s.u0 + s.du) for s in series][:2] == [(0, 30), (30, 42)]
    counted = sum(s.counts["reward"].array() for s in series)
    assert counted.tolist() == [trainer.lab.line.u] * 2  # pyright: ignore
    assert series[-1].counts["episode_return"].array()[0] >= 1
    assert np.isfinite(series[-1].sums["v_start"].array()).all()


def test_a_refused_request_leaves_the_run(trainer: Trainer) -> None:
    assert "open one" in _ask(trainer, messages.Play(1))[0].error
    _open(trainer, WORLD)
    _ask(trainer, messages.Step(3, 20))
    for ask in (
        messages.Open(4, "q_learning", "No-v0"),
        messages.Open(5, share="!"),
        messages.Set(6, {"gamma": 7.0}),
        messages.Seek(7, 99),
        messages.Sub(8, ["colours"]),
        messages.Sub(9, ["values"], 1e9),
        messages.Focus(10, []),
        messages.Step(11, 0),
        messages.Speed(12, 0.0),
        messages.Surgery(13, "clear_buffer"),
        messages.Drive(14),
    ):
        answer = _ask(trainer, ask)[0]
        assert not answer.ok
        assert answer.error
    assert trainer.lab.line.u == 20  # pyright: ignore


def test_every_change_tells_its_point_of_return_and_its_code(trainer: Trainer) -> None:
    _open(trainer, WORLD)
    _ask(trainer, messages.Step(3, 20))
    before = trainer.lab.look().hash  # pyright: ignore
    _ask(trainer, messages.Surgery(4, "value", {"state": 1, "action": 0, "value": 9.0}))
    kinds = [e.kind for e in trainer.out.of(messages.Event)]  # pyright: ignore
    assert kinds[-2:] == ["snapshot", "surgery"]
    event = trainer.out.of(messages.Event)[-1]  # pyright: ignore
    assert event.code.python == "lab.surgery('value', state=1, action=0, value=9.0)"
    assert event.code.cli.startswith("fathom hub --share ")
    again = Lab.of_link(event.code.cli.split()[-1])
    assert again.look().hash == trainer.lab.look().hash  # pyright: ignore
    assert _ask(trainer, messages.Seek(5, 20, before=True))[0].data["hash"] == before


def test_a_deep_learner_trains_beside_its_stage(trainer: Trainer) -> None:
    _open(trainer, DEEP)
    assert trainer.speed is None
    _ask(trainer, messages.Play(3))
    end = time.monotonic() + 60
    while trainer.lab.line.u < 40 and time.monotonic() < end:  # pyright: ignore
        trainer.tick(time.monotonic())
        time.sleep(0.002)
    _ask(trainer, messages.Drive(4, [1.0]), messages.Pause(5))
    u = trainer.lab.line.u  # pyright: ignore
    assert u >= 40
    frames = [f for f in trainer.out.of(messages.Frame) if f.arrays]  # pyright: ignore
    assert frames[-1].arrays["view"].s[0] == 1
    alone = Lab(Recipe(**DEEP))
    alone.advance(u)
    assert alone.look().hash == trainer.lab.look().hash  # pyright: ignore
