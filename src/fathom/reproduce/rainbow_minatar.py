"""Rainbow and what each of its parts is worth, on MinAtar: after Hessel et al. 2018, Figures 1 and 3."""

import dataclasses
import json
import math
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from fathom.algos.base import Algorithm
from fathom.algos.value.dqn import DQN
from fathom.algos.value.pqn import PQN
from fathom.algos.value.rainbow import Rainbow
from fathom.core.errors import FathomError
from fathom.envs.registry import make
from fathom.reproduce import drawing
from fathom.reproduce.base import Estimate, Experiment, Outcome, Readings, Work
from fathom.reproduce.curves import Curve
from fathom.runs.folder import jsonable
from fathom.runs.provenance import encode_config, versions
from fathom.runs.statistics import improvement_of_tasks, iqm_of_tasks, stratified_ci95
from fathom.train.engine import make_engine
from fathom.train.evaluate import evaluate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Game = Literal["Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"]

FORMAT = 1
LONGEST = 10_000  # steps at which an episode of the evaluation is cut: the games themselves have no limit
_CURVE_RESAMPLES = 1_000
_DRAWN = 20  # parts of a run, each a point of its curve

# Mean return of uniformly random actions, 1,024 episodes: docs/environments-minatar.md, v1.
RANDOM = {"Asterix": 0.487, "Breakout": 0.364, "Freeway": 0.393, "Seaquest": 0.096, "SpaceInvaders": 4.216}

# What is 1 on the normalised scale. For these games no table of scores is published as there is for Atari,
# only curves: round numbers, one for each game, bring them to one unit and claim nothing.
REFERENCE = {"Asterix": 10.0, "Breakout": 10.0, "Freeway": 50.0, "Seaquest": 10.0, "SpaceInvaders": 50.0}

# Replay, exploration and optimiser as Dopamine has them for these games, but for Adam's ε.
_SHARED: dict[str, Any] = {
    "learning_rate": 2.5e-4,
    "gamma": 0.99,
    "buffer_size": 100_000,
    "batch_size": 32,
    "learning_starts": 1_000,
    "train_every": 4,
    "target_every": 250,
    "hidden": (128,),
}
_GREEDY: dict[str, Any] = {"epsilon_start": 1.0, "epsilon_end": 0.01, "exploration_fraction": 0.1}

WHOLE = "Rainbow"
VARIANTS: dict[str, Algorithm] = {
    WHOLE: Rainbow(**_SHARED),
    "no double": Rainbow(**_SHARED, double=False),
    "no priorities": Rainbow(**_SHARED, prioritized=False),
    "no dueling": Rainbow(**_SHARED, dueling=False),
    "no n-step": Rainbow(**_SHARED, n_step=1),
    "no distribution": Rainbow(**_SHARED, distributional=False),
    "no noise": Rainbow(**_SHARED, noisy=False, **_GREEDY),
    "DQN": DQN(**_SHARED, **_GREEDY),
    "PQN": PQN(
        learning_rate=5e-4,
        num_envs=16,
        num_steps=32,
        minibatches=8,
        epsilon_end=0.01,
        hidden=(128,),
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is trained."""

    games: tuple[Game, ...] = get_args(Game)  # games of MinAtar
    steps: int = 200_000  # environment steps of each seed
    episodes: int = 50  # episodes of each seed in the evaluation at the end


class Cell(NamedTuple):
    """What one variant did in one game."""

    x: Float[np.ndarray, " point"]  # environment steps at the end of each part of the run
    curve: Float[np.ndarray, "seed point"]  # mean return of the episodes that ended in it; NaN where none did
    scores: Float[np.ndarray, " seed"]  # mean return of the greedy policy at the end
    cut: int  # of its episodes, those that were cut


def train(algorithm: Algorithm, game: str, settings: Settings, seeds: int, seed: int) -> Cell:
    """Train a variant on a game, all seeds side by side, and evaluate it."""
    engine = make_engine(algorithm, make(f"MinAtar/{game}-v1"), seeds, seed)
    engine.start()
    updates = math.ceil(settings.steps / engine.plan.steps)
    ends = sorted({math.ceil(updates * (i + 1) / _DRAWN) for i in range(_DRAWN)})
    curve = []
    for n in np.diff([0, *ends]):
        told = engine.advance(int(n), updates)["episode_return"]
        with np.errstate(invalid="ignore"):
            curve.append(np.asarray(told.sum, np.float64) / np.asarray(told.count, np.float64))
    final = evaluate(engine, settings.episodes, horizon=updates, max_steps=LONGEST)
    engine.close()
    x = np.asarray(ends, np.float64) * engine.plan.steps
    return Cell(x, np.stack(curve, axis=1), final.per_seed, final.cut)


def normalised(returns: Float[np.ndarray, "*shape"], game: str) -> Float[np.ndarray, "*shape"]:
    """Returns on the scale on which uniformly random play is 0 and the reference is 1."""
    return (returns - RANDOM[game]) / (REFERENCE[game] - RANDOM[game])


def carried(curve: Float[np.ndarray, "seed point"]) -> Float[np.ndarray, "seed point"]:
    """The curve, where no episode ended with the value before; NaN before the first."""
    known = np.isfinite(curve)
    last = np.maximum.accumulate(np.where(known, np.arange(curve.shape[1]), 0), axis=1)
    return np.take_along_axis(curve, last, axis=1)


def _kept(path: Path, request: dict[str, Any]) -> Cell | None:
    """What was kept of this very training, or None; FathomError for a file that is none of ours."""
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["request"] != request:
            return None
        cell = record["cell"]
        curve = np.asarray(cell["curve"], np.float64)  # null is NaN
        return Cell(np.asarray(cell["x"]), curve, np.asarray(cell["scores"]), cell["cut"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FathomError(f"{path} cannot be read ({error}); remove it to train that part again.") from error


def _keep(path: Path, request: dict[str, Any], cell: Cell, seconds: float) -> None:
    record = {"request": request, "cell": cell._asdict(), "seconds": seconds, "versions": versions()}
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(jsonable(record), ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, path)
    except OSError as error:
        raise FathomError(f"cannot write {path}: {error.strerror or error}.") from error


def cells(settings: Settings, work: Work, seeds: int, seed: int) -> dict[tuple[str, str], Cell]:
    """Every variant on every game, by their names; what the folder keeps is read, and not trained again."""
    made: dict[tuple[str, str], Cell] = {}
    wanted = [(game, name) for game in settings.games for name in VARIANTS]
    spent, trained = 0.0, 0
    for i, (game, name) in enumerate(wanted):
        algorithm = VARIANTS[name]
        request: dict[str, Any] = {
            "format": FORMAT,
            "game": game,
            "algorithm": encode_config(algorithm),
            "seeds": seeds,
            "seed": seed,
            "steps": settings.steps,
            "episodes": settings.episodes,
        }
        request = json.loads(json.dumps(request))  # as it is read back: tuples are lists
        label = f"{game.lower()}-{name.lower().replace(' ', '-')}-{settings.steps}-steps"
        path = work.folder and work.folder / f"{label}-seeds-{seed}-to-{seed + seeds - 1}.json"
        cell, begin = (_kept(path, request) if path else None), time.perf_counter()
        how = "kept"
        if cell is None:
            cell = train(algorithm, game, settings, seeds, seed)
            seconds = time.perf_counter() - begin
            spent, trained = spent + seconds, trained + 1
            how = f"{seconds:.0f} s, about {spent / trained * (len(wanted) - i - 1) / 60:.0f} min left"
            if path:
                _keep(path, request, cell, seconds)
        made[game, name] = cell
        work.tell(f"[{i + 1}/{len(wanted)}] {game}, {name}: {cell.scores.mean():.2f} ({how})")
    return made


def _compute(settings: Settings, work: Work, runs: int, seed: int) -> Outcome:
    made = cells(settings, work, runs, seed)
    scores = {
        name: np.stack([normalised(made[game, name].scores, game) for game in settings.games])
        for name in VARIANTS
    }
    iqm, better = {}, {}
    for name, x in scores.items():
        iqm[name] = Estimate(float(iqm_of_tasks(x)), stratified_ci95(iqm_of_tasks, x))
    for name, x in scores.items():
        if name != WHOLE:
            pair = (scores[WHOLE], x)
            better[name] = Estimate(
                float(improvement_of_tasks(*pair)), stratified_ci95(improvement_of_tasks, *pair)
            )
    figures = {f"{name}: IQM of the normalised scores": one for name, one in iqm.items()}
    figures |= {f"{WHOLE} over {name}: probability of improvement": one for name, one in better.items()}
    for (game, name), cell in made.items():
        figures[f"{name} on {game}: greedy return"] = Estimate.of(cell.scores)
    cut = sum(cell.cut for cell in made.values())
    figures[f"episodes cut at {LONGEST:,} steps, of {len(made) * runs * settings.episodes:,}"] = Estimate(
        float(cut)
    )
    return Outcome(figures, {"cells": made, "iqm": iqm, "better": better, "runs": runs})


def _require(settings: Settings) -> None:
    unknown = [game for game in settings.games if game not in RANDOM]
    if unknown or not settings.games or len(set(settings.games)) < len(settings.games):
        raise FathomError(
            f"games is {', '.join(settings.games) or 'empty'}; name some of {', '.join(RANDOM)}, each once."
        )
    for name in ("steps", "episodes"):
        if getattr(settings, name) < 1:
            raise FathomError(f"{name} is {getattr(settings, name)}; it must be at least 1.")


def _aggregate(settings: Settings, made: dict[tuple[str, str], Cell], name: str) -> tuple[np.ndarray, ...]:
    """Steps, and of the normalised returns while learning the IQM with its interval, [point]."""
    curves = np.stack([normalised(carried(made[game, name].curve), game) for game in settings.games])
    known = np.isfinite(curves).all(axis=(0, 1))
    points = np.moveaxis(curves, -1, 0)[known]
    interval = partial(stratified_ci95, iqm_of_tasks, resamples=_CURVE_RESAMPLES)
    intervals = [interval(x) or (np.nan, np.nan) for x in points]
    x = made[settings.games[0], name].x[known]
    return x, iqm_of_tasks(points), *np.asarray(intervals, np.float64).reshape(-1, 2).T


def _draw(settings: Settings, figure: "Figure", outcome: Outcome, readings: Readings) -> None:
    made, runs = outcome.data["cells"], outcome.data["runs"]
    looks = {name: _look(i, name) for i, name in enumerate(VARIANTS)}
    columns = max(3, len(settings.games))
    grid = figure.add_gridspec(2, 2 * columns, height_ratios=(1.7, 1.0))
    axes = drawing.panel(figure, grid[0, :columns], "Normalised return while learning, IQM", "steps", "")
    for name, look in looks.items():
        x, middle, low, high = _aggregate(settings, made, name)
        axes.fill_between(x, low, high, color=look["color"], alpha=0.12, lw=0, zorder=3)
        axes.plot(x, middle, label=name, zorder=4, **look)
    axes.legend(loc="upper left", fontsize=8)
    for place, title, found in (
        (grid[0, columns : columns + columns // 2 + columns % 2], "Score at the end, IQM", "iqm"),
        (grid[0, columns + columns // 2 + columns % 2 :], "Rainbow better", "better"),
    ):
        _intervals(drawing.panel(figure, place, title, "", ""), outcome.data[found], looks)
    for i, game in enumerate(settings.games):
        small = drawing.panel(figure, grid[1, 2 * i : 2 * i + 2], game, "steps", "return" if i == 0 else "")
        for name, look in looks.items():
            curve = Curve.of(made[game, name].x, carried(made[game, name].curve))
            known = np.isfinite(curve.mean)
            small.plot(curve.x[known], curve.mean[known], **{**look, "lw": look["lw"] * 0.7}, zorder=4)
        small.tick_params(labelsize=7)
        small.locator_params(axis="x", nbins=3)
    drawing.footnote(
        figure,
        f"{runs} seeds · bands and bars: 95 % intervals by stratified bootstrap · 0 is random play, 1 the "
        "reference · curves are of the exploring policies, scores of the greedy ones",
    )


def _intervals(axes: Any, found: dict[str, Estimate], looks: dict[str, dict[str, Any]]) -> None:
    """A row for each variant: the estimate, and its interval as a bar."""
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    for row, (name, one) in enumerate(found.items()):
        color = looks[name]["color"]
        if one.interval is not None:
            axes.plot(one.interval, (row, row), color=color, lw=6, alpha=0.35, solid_capstyle="butt")
        axes.plot(one.value, row, "o", color=color, ms=5, zorder=5)
    axes.set_yticks(range(len(found)), list(found), fontsize=8)
    axes.invert_yaxis()
    if all(name != WHOLE for name in found):
        axes.set_xlabel("probability")
        axes.axvline(0.5, color=drawing.MUTED, lw=1.0, ls=":")
        axes.set_xlim(-0.03, 1.03)  # whole dots at 0 and 1


def _look(i: int, name: str) -> dict[str, Any]:
    """Rainbow in ink, those without a part in thin colors, the others dashed and dotted."""
    if name == WHOLE:
        return {"color": drawing.INK, "lw": 2.4, "ls": "-"}
    style, color = {"DQN": "--", "PQN": ":"}.get(name, "-"), drawing.COLORS[(i - 1) % len(drawing.COLORS)]
    return {"color": color, "lw": 1.3 if style == "-" else 1.8, "ls": style}


def experiment(settings: Settings, work: Work) -> Experiment:
    """The experiment with these settings; FathomError where they make no sense."""
    _require(settings)
    few = len(settings.games) < len(RANDOM)
    where = f"MinAtar's {', '.join(settings.games)}" if few else "MinAtar"
    return Experiment(
        "rainbow-minatar",
        f"Rainbow, without each of its parts, DQN and PQN on {where}, {settings.steps:,} steps",
        "after Hessel et al. 2018, Figures 1 and 3; Obando-Ceron & Castro 2021",
        5,
        partial(_compute, settings, work),
        partial(_draw, settings),
        size=(13.0, 7.8),
        notes=(
            "scores are normalised: 0 is the mean return of random actions, 1 the reference; random "
            + ", ".join(f"{game} {RANDOM[game]}" for game in settings.games)
            + "; reference "
            + ", ".join(f"{game} {REFERENCE[game]}" for game in settings.games),
            "the reference is a round number for each game, set here as its unit: nobody's score",
            "all but PQN share replay, optimiser, step size and network, which are Dopamine's for these "
            "games but for Adam's ε; they were tuned for none of the variants here",
            "without noise, and in DQN, ε falls from 1 to 0.01 over the first tenth of the run",
            "the papers train for 200 million frames of Atari and 10 million of MinAtar: far more than here",
        ),
        settings=settings,
        arrange=experiment,
        long=True,
    )


EXPERIMENTS = (experiment(Settings(), Work()),)
