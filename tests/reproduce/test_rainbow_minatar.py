"""The study of Rainbow's parts: what differs, what is 0 and 1, what is kept. Training is faked."""

import dataclasses
import json

import numpy as np
import pytest

from fathom.algos.value.rainbow import Rainbow
from fathom.cli import main
from fathom.core.errors import FathomError
from fathom.envs.base import spec_of
from fathom.envs.registry import make
from fathom.reproduce import rainbow_minatar, registry
from fathom.reproduce.base import Work, reproduce
from fathom.reproduce.rainbow_minatar import REFERENCE, VARIANTS, WHOLE, Cell, Settings, carried, normalised

GAMES = ("Breakout", "Freeway")
SMALL = Settings(GAMES, steps=1_000, episodes=3)


def scores_of(name: str, game: str, seeds: int) -> np.ndarray:
    """Rainbow reaches the reference, every other variant half of the way, the seeds being 0.1 apart."""
    random = rainbow_minatar.RANDOM[game]
    way = 1.0 if name == WHOLE else 0.5
    return random + (way + 0.1 * np.arange(seeds)) * (REFERENCE[game] - random)


@pytest.fixture
def trained(monkeypatch):
    """The trainings that were asked for, in place of which scores are made up."""
    asked = []

    def train(algorithm, game, settings, seeds, seed):
        (name,) = [name for name, variant in VARIANTS.items() if variant is algorithm]
        asked.append((game, name))
        scores = scores_of(name, game, seeds)
        curve = np.stack([np.full(seeds, np.nan), scores / 2, np.full(seeds, np.nan), scores], axis=1)
        return Cell(np.array([250.0, 500.0, 750.0, 1_000.0]), curve, scores, 1)

    monkeypatch.setattr(rainbow_minatar, "train", train)
    return asked


def arranged(folder=None, settings=SMALL, tell=lambda text: None):
    return registry.get("rainbow-minatar").arrange(settings, Work(folder, tell))


def test_each_variant_lacks_one_part_and_all_else_is_shared():
    whole = VARIANTS[WHOLE]
    parts = {}
    for name, variant in VARIANTS.items():
        if not isinstance(variant, Rainbow):
            continue
        differing = {
            f.name for f in dataclasses.fields(whole) if getattr(whole, f.name) != getattr(variant, f.name)
        }
        parts[name] = differing - {"epsilon_start", "epsilon_end", "exploration_fraction"}
    assert parts == {
        WHOLE: set(),
        "no double": {"double"},
        "no priorities": {"prioritized"},
        "no dueling": {"dueling"},
        "no n-step": {"n_step"},
        "no distribution": {"distributional"},
        "no noise": {"noisy"},
    }
    assert {VARIANTS["no noise"].epsilon_start, VARIANTS["DQN"].epsilon_start} == {1.0}
    dqn = VARIANTS["DQN"]
    assert not any((dqn.double, dqn.dueling, dqn.noisy, dqn.prioritized, dqn.n_step > 1))
    shared = set(rainbow_minatar._SHARED)
    assert {getattr(dqn, name) for name in shared} == {getattr(whole, name) for name in shared}


@pytest.mark.parametrize("game", sorted(rainbow_minatar.RANDOM))
def test_every_variant_takes_every_game_and_the_scale_goes_upwards(game):
    spec = spec_of(make(f"MinAtar/{game}-v1"))
    for variant in VARIANTS.values():
        variant.check(spec)
    assert REFERENCE[game] > rainbow_minatar.RANDOM[game]


def test_random_play_is_nought_and_the_reference_one():
    np.testing.assert_allclose(
        normalised(np.array([0.364, REFERENCE["Breakout"], 2 * REFERENCE["Breakout"] - 0.364]), "Breakout"),
        [0.0, 1.0, 2.0],
    )


def test_where_no_episode_ended_the_last_value_counts():
    nan = np.nan
    curve = np.array([[nan, 1.0, nan, nan, 2.0], [3.0, nan, 4.0, nan, nan]])
    np.testing.assert_array_equal(carried(curve), [[nan, 1.0, 1.0, 1.0, 2.0], [3.0, 3.0, 4.0, 4.0, 4.0]])


def test_scores_become_figures(trained, tmp_path):
    report = reproduce(arranged(), runs=3)
    figures = report.outcome.figures
    assert figures["Rainbow: IQM of the normalised scores"].value == pytest.approx(1.1)
    assert figures["DQN: IQM of the normalised scores"].value == pytest.approx(0.6)
    low, high = figures["DQN: IQM of the normalised scores"].interval
    assert 0.5 <= low < 0.6 < high <= 0.7
    better = figures["Rainbow over no noise: probability of improvement"]
    assert (better.value, better.interval) == (1.0, (1.0, 1.0))
    assert figures["PQN on Freeway: greedy return"].value == pytest.approx(
        scores_of("PQN", "Freeway", 3).mean()
    )
    assert figures["episodes cut at 10,000 steps, of 162"].value == 2 * len(VARIANTS)
    assert len(trained) == 2 * len(VARIANTS)
    picture, record = report.write(tmp_path)
    assert picture.stat().st_size > 20_000
    record = json.loads(record.read_text())
    assert record["settings"] == {"games": list(GAMES), "steps": 1_000, "episodes": 3}
    assert (record["met"], record["readings"]) == (True, [])


def test_one_seed_has_no_intervals_and_is_drawn_all_the_same(trained, tmp_path):
    report = reproduce(arranged(settings=Settings(("Breakout",), 1_000, 3)), runs=1)
    assert report.outcome.figures["DQN: IQM of the normalised scores"].interval is None
    assert report.write(tmp_path)[0].exists()


def test_finished_parts_are_kept_and_others_trained(trained, tmp_path):
    told = []
    first = reproduce(arranged(tmp_path, tell=told.append), runs=3)
    assert len(told) == len(trained) == 2 * len(VARIANTS)
    assert told[0].startswith("[1/18] Breakout, Rainbow: ")
    assert "min left" in told[0]
    (tmp_path / "freeway-no-noise-1000-steps-seeds-0-to-2.json").unlink()
    trained.clear()
    again = reproduce(arranged(tmp_path, tell=told.append), runs=3)
    assert trained == [("Freeway", "no noise")]
    assert told[len(told) // 2].endswith("(kept)")
    assert again.outcome.figures == first.outcome.figures
    for cell in ("Breakout", "PQN"), ("Freeway", "DQN"):
        np.testing.assert_array_equal(
            again.outcome.data["cells"][cell].curve, first.outcome.data["cells"][cell].curve
        )


@pytest.mark.parametrize("change", [{"runs": 2}, {"seed": 1}])
def test_what_was_made_otherwise_is_made_again(trained, tmp_path, change):
    reproduce(arranged(tmp_path), runs=3)
    trained.clear()
    reproduce(arranged(tmp_path), **{"runs": 3, **change})
    assert len(trained) == 2 * len(VARIANTS)


def test_a_kept_file_that_cannot_be_read_is_named(trained, tmp_path):
    (tmp_path / "breakout-rainbow-1000-steps-seeds-0-to-2.json").write_text("{")
    with pytest.raises(FathomError, match=r"0-to-2.json cannot be read .*; remove it"):
        reproduce(arranged(tmp_path), runs=3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(()), "games is empty; name some of Asterix"),
        (Settings(("Breakout", "Breakout")), "games is Breakout, Breakout"),
        (Settings(("Pong",)), "games is Pong"),
        (Settings(steps=0), "steps is 0"),
        (Settings(episodes=0), "episodes is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, told):
    with pytest.raises(FathomError, match=told):
        reproduce(arranged(settings=settings), runs=2)


def test_the_command_takes_its_settings_and_keeps_parts_beside_the_result(trained, tmp_path, capsys):
    command = ["reproduce", "rainbow-minatar", "--games", "Freeway", "--steps", "1000", "--runs", "2"]
    assert main([*command, "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "Rainbow over DQN: probability of improvement" in out
    assert f"[{len(VARIANTS)}/{len(VARIANTS)}] Freeway, PQN: " in err
    assert len(list((tmp_path / "rainbow-minatar").iterdir())) == len(VARIANTS)
    assert {p.name for p in tmp_path.iterdir()} == {
        "rainbow-minatar", "rainbow-minatar.json", "rainbow-minatar.png",
    }  # fmt: skip
    assert main(["reproduce", "rainbow-minatar", "--step", "5"]) == 2
    assert "--steps" in capsys.readouterr().err


def test_it_is_not_among_all():
    assert registry.get("rainbow-minatar").long
    assert not registry.get("figure-2.2").long


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no distribution", "PQN"])
def test_a_variant_trains_and_the_same_again(name):
    settings = Settings(("Breakout",), 4_000, 2)
    first, again = (rainbow_minatar.train(VARIANTS[name], "Breakout", settings, 2, 7) for _ in range(2))
    assert first.x[-1] >= 4_000
    assert first.curve.shape == (2, len(first.x))
    assert np.isfinite(carried(first.curve)[:, -1]).all()
    np.testing.assert_array_equal(first.curve, again.curve)
    np.testing.assert_array_equal(first.scores, again.scores)
    assert first.scores[0] != first.scores[1] or first.curve[0, -1] != first.curve[1, -1]
