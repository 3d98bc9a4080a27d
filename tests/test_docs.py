"""The pages say what the code does: every setting and metric is explained, links resolve, examples run."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from fathom import Agent, Env, check
from fathom.algos.actor_critic.ddpg import DDPG
from fathom.algos.actor_critic.discrete_sac import DiscreteSAC
from fathom.algos.actor_critic.sac import SAC
from fathom.algos.actor_critic.td3 import TD3
from fathom.algos.actor_critic.tqc import TQC
from fathom.algos.policy.a2c import A2C
from fathom.algos.policy.a3c import A3C
from fathom.algos.policy.ppo import PPO
from fathom.algos.policy.reinforce import Reinforce
from fathom.algos.policy.trpo import TRPO
from fathom.algos.registry import algorithms, get
from fathom.algos.value.bootstrapped_dqn import BootstrappedDQN
from fathom.algos.value.c51 import C51
from fathom.algos.value.dqn import DQN
from fathom.algos.value.iqn import IQN
from fathom.algos.value.pqn import PQN
from fathom.algos.value.qr_dqn import QRDQN
from fathom.algos.value.rainbow import Rainbow
from fathom.algos.value.soft_q import SoftQ
from fathom.core.module import lift
from fathom.envs.grid.world import LEGEND
from fathom.envs.registry import make
from fathom.train import engine as engines
from fathom.train import loop

from .contract.subjects import HORIZON, SUBJECTS

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
KINDS = {
    "ppo": PPO,
    "dqn": DQN,
    "c51": C51,
    "qr_dqn": QRDQN,
    "iqn": IQN,
    "rainbow": Rainbow,
    "bootstrapped_dqn": BootstrappedDQN,
    "soft_q": SoftQ,
    "pqn": PQN,
    "sac": SAC,
    "discrete_sac": DiscreteSAC,
    "tqc": TQC,
    "td3": TD3,
    "ddpg": DDPG,
    "a2c": A2C,
    "a3c": A3C,
    "reinforce": Reinforce,
    "trpo": TRPO,
}
FAMILIES = {
    "tabular-control": (
        "q_learning",
        "sarsa",
        "expected_sarsa",
        "double_q_learning",
        "n_step_sarsa",
        "sarsa_lambda",
    ),
    "count-q-learning": ("count_q_learning",),
    "tabular-prediction": ("td", "td_lambda"),
    "monte-carlo": ("monte_carlo", "monte_carlo_prediction", "off_policy_monte_carlo"),
    "dyna": ("dyna_q",),
    "tile-coding": ("linear_sarsa_lambda",),
}
SNIPPETS = [
    (path.name, code)
    for path in sorted((ROOT / "docs" / "algorithms").glob("*.md"))
    for code in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
]


def page(name: str) -> str:
    file = f"{name.replace('_', '-')}.md"
    return (ROOT / "docs" / "algorithms" / file).read_text(encoding="utf-8")


def first_cells(text: str, heading: str) -> list[str]:
    """What stands in backquotes in the first column of a section's tables."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def default_cells(text: str) -> dict[str, str]:
    section = text.partition("\n## Settings\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*?) \|", section, re.MULTILINE))


@pytest.fixture(scope="module", params=sorted(KINDS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_setting_has_one_row_and_no_row_is_of_another(name: str) -> None:
    fields = [f.name for f in dataclasses.fields(KINDS[name])]
    assert sorted(first_cells(page(name), "Settings")) == sorted(fields)


def written(value: Any) -> set[str]:
    """The ways in which a page may write a default."""
    match value:
        case None:
            return {"none"}
        case bool():
            return {"on" if value else "off"}
        case float() | int():
            return {f"{value:,}", f"{value:g}", f"{value:.0e}".replace("e-0", "e-")}
    return {str(value)}


def test_defaults_are_those_of_the_code(name: str) -> None:
    cells = default_cells(page(name))
    for field in dataclasses.fields(KINDS[name]):
        assert cells[field.name] in written(field.default), field.name


def logged(name: str) -> set[str]:
    """The metrics that an update of an algorithm gives, by its types alone: nothing is compiled."""
    algorithm, env = lift(SUBJECTS[name].algorithm), make(SUBJECTS[name].env)
    plan = loop.Plan.of(algorithm)

    def metrics() -> Any:
        carry = engines._init_native.__wrapped__(algorithm, env, jax.random.key(0), plan, 1)
        return loop.advance(algorithm, env, plan, carry.seeds, carry.shared, jnp.asarray(HORIZON))[1]

    return set(jax.eval_shape(metrics))


def test_every_metric_has_one_row_and_no_row_is_of_another(name: str) -> None:
    assert sorted(first_cells(page(name), "What is logged")) == sorted(logged(name))


def test_methods_named_exist(name: str) -> None:
    kind = KINDS[name]
    named = set(re.findall(rf"`{kind.__name__}\.(\w+)`", page(name)))
    assert named
    assert not {method for method in named if not hasattr(kind, method)}


def fields_of(name: str) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(get(name))}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_page_has_one_row_for_each_setting_with_its_default(family: str) -> None:
    fields = [fields_of(name) for name in FAMILIES[family]]
    assert sorted(first_cells(page(family), "Settings")) == sorted(set().union(*fields))
    cells = default_cells(page(family))
    for name, default in [item for of_one in fields for item in of_one.items()]:
        assert cells[name] in written(default), name


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_page_has_one_row_for_each_metric(family: str) -> None:
    found = set().union(*(logged(name) for name in FAMILIES[family]))
    assert sorted(first_cells(page(family), "What is logged")) == sorted(found)


def test_every_algorithm_has_a_page() -> None:
    bandits = set(re.findall(r"^\| `(\w+)` \| `", (ROOT / "docs" / "bandits.md").read_text(), re.MULTILINE))
    tables = {name for names in FAMILIES.values() for name in names}
    assert {*KINDS, *tables, *bandits} == set(algorithms())


@pytest.mark.parametrize(("file", "code"), SNIPPETS, ids=[file for file, _ in SNIPPETS])
def test_snippets_of_the_algorithms_pages_run(file: str, code: str, capsys: Any) -> None:
    exec(code, {"__name__": "snippet"})
    assert capsys.readouterr().out


def slugs(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_relative_links_resolve(path: Path) -> None:
    text = re.sub(r"```.*?```|\$\$.*?\$\$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in slugs(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert not broken


def test_the_index_names_every_page() -> None:
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)\s]+\.md)\)", (docs / "index.md").read_text(encoding="utf-8")))
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} - {"index.md"}
    assert pages <= linked


def test_the_environment_written_in_the_docs_passes_the_checker_and_trains() -> None:
    text = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Corridor" in b)
    scope: dict[str, Any] = {"__name__": "corridor_of_the_docs"}
    exec(block, scope)
    env = scope["Corridor"]()
    assert isinstance(env, Env)
    report = check(env, steps=50)
    assert report.ok, report.text()
    agent = Agent(PPO(num_envs=4, num_steps=32, minibatches=2, hidden=(4,)), env).learn(128)
    assert agent.engine.advance(1, 2)["episode_length"].count > 0
    agent.close()


def test_the_mdp_written_in_the_docs_has_the_values_written_beside_it() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "mdp.md").read_text("utf-8"), re.DOTALL)[0]
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert scope["solution"].values == pytest.approx([14.9, 11.0, 10.0])
    assert "# 14.9, 11, 10" in block


def test_the_grid_drawn_in_the_docs_is_what_the_page_says() -> None:
    text = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "from_map" in b)
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert scope["env"].ascii(0).splitlines()[3:] == [".####C..", "......CG"]
    assert check(scope["env"], steps=50).ok
    legend = text.partition("| letter | cell |")[2].partition("\n\n")[0]
    cells = [cell for row in legend.splitlines() for cell in re.findall(r"`(.)`", row.partition(" | ")[0])]
    assert sorted(cells) == sorted(LEGEND)
