"""The deep lab: what is on stage is seen, poked and driven, and training is not touched."""

import io
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from PIL import Image

from fathom.core.errors import FathomError
from fathom.envs.base import Env
from fathom.hub.lab import Lab
from fathom.hub.recipe import Recipe
from fathom.hub.stage import Stage

SMALL = {"hidden": [8], "learning_starts": 64, "buffer_size": 256, "batch_size": 16}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab(Recipe("dqn", "CartPole-v1", config=SMALL, seeds=2))


def test_the_page_can_draw_what_the_environment_draws(lab: Lab) -> None:
    """Numbers that do not move, and those that do, put together give the shapes of `view`."""
    stage = Stage(lab)
    told = stage.describe()
    assert told is not None
    for k in range(5):
        assert stage.tick(100.0 + k)
    row = told.numbers.array().copy()
    row[told.moving] = stage.frame()[0]["view"].array()[0]
    assert isinstance(lab.line.env, Env)
    scene = lab.line.env.view(stage._slots[0].state)
    assert len(told.moving) < len(row)
    for shape, drawn in zip(told.shapes, scene.shapes, strict=True):
        numbers = row[shape.at : shape.at + shape.counts[0]]
        points = drawn.center if shape.kind == "circle" else drawn.points
        np.testing.assert_allclose(numbers, np.ravel(points), atol=1e-6)


def test_the_stage_does_not_touch_training(lab: Lab) -> None:
    lab.advance(40)
    before = lab.look().hash
    stage = Stage(lab)
    stage.describe()
    assert stage.exhibit([0, 20]) == [0, 20]
    for k in range(20):
        stage.tick(200.0 + k)
    stage.drive([1.0], {}, False)
    stage.tick(300.0)
    arrays = stage.frame()[0]
    assert arrays["view"].s[0] == arrays["stage_values"].s[0] == 3
    assert arrays["stage_action"].array()[0] == 1.0
    assert lab.look().hash == before


def test_a_push_moves_the_pole(lab: Lab) -> None:
    stage = Stage(lab)
    told = stage.describe()
    assert told is not None
    assert told.pushes == ["theta", "theta_dot", "x", "x_dot"]
    stage.tick(400.0)
    before = float(stage._slots[0].state.env.theta)
    stage.drive(None, {"theta": 0.1}, False)
    assert float(stage._slots[0].state.env.theta) == pytest.approx(before + 0.1)
    for action, push, said in (
        ([2.0], {}, "from 0 to 1"),
        ([0.5], {}, "whole"),
        (None, {"thta": 1.0}, "theta"),
    ):
        with pytest.raises(FathomError, match=said):
            stage.drive(action, push, False)
    with pytest.raises(FathomError, match="not known"):
        stage.exhibit([10**6])


def test_surgery_on_a_deep_learner(lab: Lab) -> None:
    lab.advance(30)
    lab.surgery("reset_optimiser")
    lab.surgery("clear_buffer")
    assert int(lab.carry().shared.ring.filled) == 0
    moments = list(lab.carry().seeds.learner.opt_state[1].mu)
    assert all(not np.asarray(m).any() for m in moments)
    after = lab.look().hash
    u = lab.line.u
    lab.advance(10)
    lab.seek(u)
    assert lab.look().hash == after
    with pytest.raises(FathomError, match="tabular lab"):
        lab.surgery("paint", row=0, col=0, letter="#")
    with pytest.raises(FathomError, match="table"):
        lab.inspect(0)


class Lamp(gymnasium.Env):
    """A lamp to be switched on; it draws itself."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.on, self.steps = 0, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        super().reset(seed=seed)
        self.on = self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple:
        self.on, self.steps = int(action), self.steps + 1
        return np.full(1, self.on, np.float32), float(self.on), self.steps >= 5, False, {}

    def render(self) -> np.ndarray:
        return np.full((40, 60, 3), 255 * self.on, np.uint8)


def test_gymnasiums_environments_are_seen_in_pictures() -> None:
    gymnasium.register("HubLamp-v0", f"{__name__}:Lamp")
    try:
        lab = Lab(Recipe("dqn", "HubLamp-v0", config=SMALL, seeds=1))
        lab.advance(20)
        before = lab.look().hash
        stage = Stage(lab)
        assert stage.describe() is None
        stage.drive([1.0], {}, False)
        stage.tick(500.0)
        arrays, picture = stage.frame()
        assert arrays["stage_return"].array()[0] == 1.0
        assert picture is not None
        image = Image.open(io.BytesIO(picture))
        assert image.size == (60, 40)
        assert np.asarray(image).min() > 250
        with pytest.raises(FathomError, match="native"):
            stage.exhibit([0])
        assert lab.look().hash == before
        u = lab.line.u
        lab.advance(5)
        after = lab.look().hash
        lab.seek(u)
        assert lab.look().hash == before
        lab.advance(5)
        assert lab.look().hash == after
        stage.close()
        lab.close()
    finally:
        del gymnasium.registry["HubLamp-v0"]
