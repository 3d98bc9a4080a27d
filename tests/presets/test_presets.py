import dataclasses
from collections import Counter

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
