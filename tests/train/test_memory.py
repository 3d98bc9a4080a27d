import dataclasses

import jax
import pytest

from fathom.core.errors import FathomError
from fathom.data import replay
from fathom.envs.base import spec_of
from fathom.train import memory
from fathom.train.loop import Plan
from tests.contract.subjects import SUBJECTS

from .probes import Metronome

SPEC = spec_of(Metronome())
DQN = dataclasses.replace(SUBJECTS["dqn"].algorithm, buffer_size=10_000)


def required(seeds: int = 1, **changes: int) -> int:
    algorithm = dataclasses.replace(DQN, **changes)
    return memory.require_memory(algorithm, SPEC, Plan.of(algorithm), seeds)


def test_what_is_told_is_what_is_taken() -> None:
    plan = Plan.of(DQN)
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(replay.init(SPEC, plan.ring_rows, plan.num_envs)))
    assert required() == taken
    assert required(seeds=3) == 3 * taken
    # Two observations of two floats, an action, a reward and two flags.
    assert taken == 10_000 * (2 * 8 + 4 + 4 + 2)


def test_on_policy_algorithms_take_no_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    ppo = SUBJECTS["ppo"].algorithm
    assert memory.require_memory(ppo, SPEC, Plan.of(ppo), 10) == 0


@pytest.mark.parametrize("num_envs", [1, 2, 7])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_size_advised_fits_and_one_much_larger_does_not(
    num_envs: int, seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 1_000_000)
    with pytest.raises(FathomError, match="1 MB are free") as caught:
        required(seeds, num_envs=num_envs, buffer_size=10**9, train_every=3)
    advised = int(str(caught.value).partition("Set buffer_size to ")[2].split()[0].replace(",", ""))
    assert required(seeds, num_envs=num_envs, buffer_size=advised, train_every=3) <= 800_000
    with pytest.raises(FathomError):
        required(seeds, num_envs=num_envs, buffer_size=advised + 100, train_every=3)


def test_sizes_beyond_32_bits_are_counted_right() -> None:
    with pytest.raises(FathomError, match=r"would take 26 TB \(buffer_size 1,000,000,000,000 × 1 seed\)"):
        required(buffer_size=10**12)


def test_nothing_is_refused_where_free_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    assert required(buffer_size=10**12) == 26 * 10**12


def test_free_memory_is_a_plausible_number() -> None:
    free = memory.free_bytes()
    assert free is not None
    assert 10**6 < free < 10**15


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (46_340_000, "46.3 MB"),
        (2.5e9, "2.5 GB"),
        (4.2e13, "42 TB"),
    ],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert memory.human(count) == text
