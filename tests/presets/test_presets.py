import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest

from fathom.algos.registry import algorithms, get
from fathom.core.errors import FathomError, UnknownName
from fathom.presets import find, named, presets

BACKENDS = ("native", "gymnasium")


def test_names_are_unique_and_find_their_preset():
    names = [p.name for p in presets()]
    assert len(set(names)) == len(names) >= 2
    for preset in presets():
        assert named(preset.name) is preset


@pytest.mark.parametrize("preset", presets(), ids=lambda p: p.name)
def test_a_preset_makes_an_algorithm_that_fits_its_environment(preset):
    from fathom.envs.base import Env, spec_of
    from fathom.envs.registry import make

    assert preset.algorithm in algorithms()
    kind = get(preset.algorithm)
    assert set(preset.settings) <= {f.name for f in dataclasses.fields(kind)}
    assert preset.steps > 0
    assert preset.backend in (*BACKENDS, "any")
    try:
        env = make(preset.env)
    except FathomError as error:
        pytest.skip(str(error))
    algorithm = kind(**preset.settings)
    algorithm.check(spec_of(env))
    if preset.backend == "native":
        assert isinstance(env, Env)


def test_presets_with_settings_say_where_they_come_from_and_what_to_expect():
    mute = [p.name for p in presets() if p.settings and not (p.source and p.expected)]
    assert mute == []


def test_tutorials_differ_by_what_their_name_says_and_the_page_names_them_all():
    tutorials = [p for p in presets() if p.kind == "tutorial"]
    assert not any(p.automatic for p in tutorials)
    common = named("dqn-cartpole-sync-1000").settings
    differing = {
        p.name: {name for name, value in p.settings.items() if common.get(name) != value}
        for p in tutorials
        if p.algorithm == "dqn"
    }
    assert max(map(len, differing.values())) == 1
    assert {"target_every", "target_episodes", "epsilon_end", "huber", "hidden"} == set().union(
        *differing.values()
    )
    lakes = {
        (p.settings["learning_rate"], p.settings["gamma"]) for p in tutorials if p.algorithm == "q_learning"
    }
    assert lakes == {(alpha, gamma) for alpha in (0.1, 0.8) for gamma in (0.9, 0.95, 0.99)}
    text = (Path(__file__).parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.-]+-[\w.-]+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(p.name for p in tutorials)
    assert {f"`{kind}`" for kind in {p.kind for p in presets()}} <= set(re.findall(r"`\w+`", text))


def test_the_paper_s_dqn_anneals_over_a_million_steps():
    nature = named("dqn-nature")
    assert nature.settings["exploration_fraction"] * nature.steps == 1_000_000


def test_no_choice_is_left_to_chance():
    """For each algorithm, environment and backend at most one preset goes first."""
    automatic = Counter((p.algorithm, p.env, p.backend) for p in presets() if p.automatic)
    assert max(automatic.values()) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_preset_found_is_of_this_backend_if_there_is_one(backend):
    for preset in presets():
        if not preset.automatic:
            continue
        found = find(preset.algorithm, preset.env, backend)
        assert found is not None
        assert (found.algorithm, found.env) == (preset.algorithm, preset.env)
        fits = {
            p.backend
            for p in presets()
            if p.automatic and (p.algorithm, p.env) == (found.algorithm, found.env)
        }
        if fits & {backend, "any"}:
            assert found.backend in (backend, "any")
        if backend in fits:
            assert found.backend == backend


def test_nothing_is_found_for_an_unknown_environment():
    assert find("ppo", "NoSuchThing-v0") is None


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match=r"'ppo-cartpol'.*ppo-cartpole.*fathom list presets"):
        named("ppo-cartpol")
