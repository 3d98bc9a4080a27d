"""Journeys through the deep lab: its environments, its charts, its coach, and runs taken up from folders."""

import re
from typing import Any

import pytest

from tests.hub.journeys import driving
from tests.hub.journeys.driving import number, told, until

pytestmark = pytest.mark.browser

# Small enough to compile in seconds: what is shown is the same.
OFF = {"hidden": [16], "learning_starts": 64, "buffer_size": 1024, "batch_size": 16}
ON = {"num_envs": 4, "num_steps": 32, "minibatches": 2, "epochs": 2, "hidden": [16]}


def shared(hub: Any, algo: str, env: str, config: dict[str, Any], u: int = 0) -> str:
    """The address of a page that shows such a run."""
    from fathom.hub.recipe import LINK, Recipe, to_link

    link = to_link(Recipe(algo, env, config=config, seeds=2, horizon=200_000), [], u)
    return f"{hub.url}#{LINK}{link}"


def inked(page: Any) -> int:
    """Colours on the stage's canvas."""
    return page.locator(".scene canvas").first.evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, "
        "canvas.height).data.buffer)).size"
    )


def test_the_deep_lab_trains_forks_and_can_be_driven(visit: Any) -> None:
    page = driving.ready(visit("#/deep"))
    until(page, lambda: driving.update(page) >= 3, "three updates")
    driving.pause(page)
    page.get_by_role("radio", name="Take the wheel").check(force=True)
    page.get_by_role("group", name="Actions").get_by_role("button").first.click()
    u = driving.update(page)
    page.get_by_role("button", name="Poke to the right").click()
    page.wait_for_timeout(700)
    # Driving and poking are the stage's own affair.
    assert driving.update(page) == u
    assert page.locator(".notice.bad").count() == 0
    page.get_by_test_id("fork").click()
    until(page, lambda: page.locator(".lane-name").count() == 2, "a fork")
    page.keyboard.press("x")
    until(page, lambda: page.locator(".checkpoints figure").count() >= 2, "past policies on stage")


def test_a_deep_run_goes_back_to_the_bit(visit: Any) -> None:
    page = driving.ready(visit("#/deep"))
    until(page, lambda: driving.update(page) >= 4, "four updates")
    end = driving.pause(page)
    last = told(page, "hash")
    first = driving.seek(page, 1)
    assert first != last
    assert driving.seek(page, end) == last
    assert driving.seek(page, 1) == first


@pytest.mark.parametrize(
    ("algo", "env", "config"),
    [
        ("dqn", "Acrobot-v1", OFF),
        ("ppo", "MountainCar-v0", ON),
        ("sac", "Pendulum-v1", OFF),
    ],
)
def test_each_environment_is_drawn_trained_and_pushed(
    visit: Any, hub: Any, algo: str, env: str, config: dict[str, Any]
) -> None:
    page = driving.ready(visit(address=shared(hub, algo, env, config)))
    assert page.get_by_role("heading", level=1).inner_text() == f"{algo.upper()} on {env}"
    driving.full_speed(page)
    driving.play(page)
    until(page, lambda: driving.update(page) >= 5, "five updates")
    until(page, lambda: inked(page) > 3, "a drawing")
    page.get_by_role("button", name="Poke to the left").click()
    page.get_by_role("radio", name="Take the wheel").check(force=True)
    if algo == "sac":
        page.get_by_role("slider", name="action", exact=True).fill("1000")
    else:
        page.get_by_role("group", name="Actions").get_by_role("button").last.click()
    driving.pause(page)
    assert page.locator(".notice.bad").count() == 0
    tabs = page.get_by_role("tab").all_inner_texts()
    assert ("Ratios" in tabs) == (algo == "ppo")
    assert ("Q and return" in tabs) == (algo == "dqn")


def test_a_gymnasium_environment_comes_as_pictures(visit: Any, hub: Any) -> None:
    pytest.importorskip("Box2D", reason="LunarLander needs Box2D: the extra `box2d`")
    pytest.importorskip("pygame", reason="Gymnasium draws LunarLander by pygame: the extra `box2d`")
    page = driving.ready(visit(address=shared(hub, "dqn", "LunarLander-v3", OFF)))
    until(page, lambda: inked(page) > 20, "a picture")
    driving.full_speed(page)
    driving.play(page)
    until(page, lambda: driving.update(page) >= 3, "three updates")
    driving.pause(page)
    # What cannot be gone through twice, and cannot be pushed, is not offered.
    assert page.get_by_role("tab", name="Q and return").count() == 0
    assert page.get_by_role("button", name="Poke to the left").count() == 0
    assert page.locator(".notice.bad").count() == 0


def test_ratios_of_the_next_update_against_advantages(visit: Any, hub: Any) -> None:
    page = driving.ready(visit(address=shared(hub, "ppo", "CartPole-v1", ON | {"learning_rate": 3e-3}, u=3)))
    mark = until(page, lambda: told(page, "hash"), "a fingerprint")
    page.get_by_role("tab", name="Ratios").click()
    chart = page.get_by_test_id("ratios")
    said = until(
        page,
        lambda: re.search(r"Update 4, .* of 128 steps", chart.inner_text()),
        "the next update",
        driving.COMPILING,
    )
    assert "1 ± 0.2" in said.string
    # The first look is an action of its own, with the line that does the same.
    assert "lab.ratios(seed=0)" in told(page, "python")
    chart.get_by_role("button", name="view as table").click()
    rows = [row.split() for row in chart.locator("tbody tr").all_inner_texts()]
    advantages, ratios = ([number(row[i]) for row in rows] for i in (0, 1))
    assert advantages == sorted(advantages)
    assert 0.2 < min(ratios) < 1 < max(ratios) < 5
    assert min(advantages) < 0 < max(advantages)
    driving.settled(page)
    assert (driving.update(page), told(page, "hash")) == (3, mark)


def test_what_q_promises_against_what_comes(visit: Any, hub: Any) -> None:
    page = driving.ready(visit(address=shared(hub, "dqn", "CartPole-v1", OFF, u=400)))
    page.get_by_role("tab", name="Q and return").click()
    chart = page.get_by_test_id("returns")
    until(
        page,
        lambda: re.search(r"Q is \S+ too (low|high) on average", chart.inner_text()),
        "a comparison",
        driving.COMPILING,
    )
    assert chart.get_by_role("img").get_attribute("aria-label").startswith("What Q promises")


def test_the_coach_says_why_nothing_is_learnt(visit: Any, hub: Any) -> None:
    wrong = ON | {"learning_rate": 0.3, "max_grad_norm": 1e6}
    page = driving.ready(visit(address=shared(hub, "ppo", "CartPole-v1", wrong)))
    coach = page.get_by_test_id("coach")
    assert "Nothing stands in the way" in coach.inner_text()
    driving.full_speed(page)
    driving.play(page)
    until(page, lambda: coach.locator("li.finding").count() > 0, "a finding")
    driving.pause(page)
    text = coach.inner_text()
    assert "healthy" in text
    assert "learning rate" in text
    assert any("Coach" in event for event in driving.events(page))


def test_a_run_folder_is_taken_up_and_forked(visit: Any, hub: Any) -> None:
    from fathom import Agent

    small = {name: tuple(v) if isinstance(v, list) else v for name, v in ON.items()}
    from fathom.algos.policy.ppo import PPO

    with_folder = Agent(PPO(**small), "CartPole-v1", seeds=2, out=hub.folder / "trained")
    with_folder.learn(12 * 128, horizon=100 * 128)
    with_folder.summary(episodes=4)
    with_folder.close()
    page = visit("#/compare")
    page.get_by_role("button", name="Take up trained in the lab").click()
    page.get_by_role("heading", level=1, name="PPO on CartPole-v1").wait_for(timeout=1000 * driving.COMPILING)
    until(page, lambda: driving.update(page) == 12, "its checkpoint")
    # Curves hold what was before.
    assert "nothing has come" not in page.get_by_role("tabpanel").inner_text().lower()
    mark = until(page, lambda: told(page, "hash"), "a fingerprint")
    page.get_by_test_id("fork").click()
    until(page, lambda: page.locator(".lane-name").count() == 2, "a fork")
    end = driving.reach(page, 15)
    assert told(page, "hash") != mark
    assert driving.seek(page, 12) == mark
    driving.seek(page, end)
    assert page.locator(".notice.bad").count() == 0
