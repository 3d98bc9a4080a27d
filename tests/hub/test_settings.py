"""Settings as the page shows them, read from the library's own source."""

import pytest

from fathom.algos.tabular.q_learning import QLearning
from fathom.core.errors import FathomError
from fathom.envs.registry import make
from fathom.hub import settings


def _by_name(tabular: bool = True) -> dict:
    return {s.name: s for s in settings.settings_of(QLearning(), make("Grid5x5-v0"), tabular)}


def test_meaning_and_range_come_from_the_comment() -> None:
    alpha = _by_name(tabular=False)["learning_rate"]
    assert (alpha.symbol, alpha.live, alpha.kind, alpha.group) == ("α", True, "float", "algorithm")
    assert alpha.doc.startswith("step size α")
    assert (alpha.low, alpha.high) == (0.05, 0.8)
    assert _by_name()["learning_rate"].high == 1.0


def test_what_shapes_the_program_is_fixed() -> None:
    found = _by_name()
    assert not found["ties"].live
    assert found["ties"].choices == ["random", "first"]
    assert not found["num_steps"].live
    assert found["epsilon"].fields == ["epsilon_start", "epsilon_end"]


def test_the_environments_settings_have_its_prefix() -> None:
    found = _by_name()
    assert found["env.reward_bump"].value == -1.0
    assert found["env.reward_bump"].live
    assert found["env.max_steps"].value == 200
    assert "env.cells" not in found
    assert (found["env.slip"].low, found["env.slip"].high) == (0.0, 1.0)


def test_only_live_settings_change() -> None:
    found = list(_by_name().values())
    settings.require_known(found, {"epsilon": 0.1, "env.slip": 0.5}, live=True)
    with pytest.raises(FathomError, match="shapes the program"):
        settings.require_known(found, {"num_envs": 2}, live=True)
    with pytest.raises(FathomError, match="epsilon"):
        settings.require_known(found, {"epsilom": 2}, live=True)
    with pytest.raises(FathomError, match="it is a number"):
        settings.require_known(found, {"epsilon": "x"}, live=True)
