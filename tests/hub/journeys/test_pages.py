"""Journeys through the other pages, and what holds for every page."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.hub.journeys import driving
from tests.hub.journeys.driving import number, until

pytestmark = pytest.mark.browser

PAGES = {"home": "#/", "tabular": "#/tabular", "deep": "#/deep", "compare": "#/compare"}

RESULTS = {
    "generated_at": "2026-11-20T12:00:00+00:00",
    "episodes_per_env": 3,
    "policy": "auto",
    "envs": [
        {
            "env_id": env,
            "policy": policy,
            "episodes": 3,
            "avg_return": sum(returns) / 3,
            "best_return": max(returns),
            "returns": [{"episode": i, "return_": r, "length": int(abs(r))} for i, r in enumerate(returns)],
        }
        for env, policy, returns in (
            ("CartPole-v1", "random", [12.0, 31.0, 20.0]),
            ("MountainCar-v0", "velocity_sign", [-118.0, -130.0, -127.0]),
        )
    ],
}


def opened(visit: Any, name: str, **options: Any) -> Any:
    """A page with something on it."""
    page = visit(PAGES[name], **options)
    if name in ("tabular", "deep"):
        driving.ready(page)
    elif name == "home":
        until(page, lambda: driving.frames(page) > 0, "a first frame")
    else:
        page.get_by_role("heading", name="Compare").wait_for()
    page.wait_for_timeout(400)
    return page


def test_home_learns_already_and_leads_everywhere(visit: Any) -> None:
    page = opened(visit, "home")
    until(
        page,
        lambda: number(re.search(r"episode (\d+)", page.locator("figcaption").inner_text())[1]) >= 2,
        "episodes",
    )
    for door, heading in (("Learn", "Q-learning on Grid5x5-v0"), ("Compare", "Compare")):
        page.goto(page.url.split("#")[0] + "#/")
        page.locator(".door", has_text=door).click()
        page.get_by_role("heading", level=1, name=heading).wait_for()


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(visit: Any, axe: str, name: str) -> None:
    page = opened(visit, name, color_scheme="light")
    page.evaluate(axe)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        until(page, lambda s=scheme: page.evaluate("document.documentElement.dataset.theme") == s, scheme)
        found = page.evaluate("axe.run(document)")["violations"]
        assert [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in found] == []


@pytest.mark.parametrize("name", PAGES)
def test_390_pixels_are_wide_enough(visit: Any, name: str) -> None:
    page = opened(visit, name, viewport={"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if name == "tabular":
        box = page.get_by_role("grid", name="Values of seed 0").bounding_box()
        assert box["width"] > 300
        driving.pause(page)


def test_dark_is_kept(visit: Any) -> None:
    page = opened(visit, "compare", color_scheme="light")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    page.get_by_role("heading", name="Compare").wait_for()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_compare_shows_results_and_writes_them_out(visit: Any, hub: Any, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(RESULTS))
    # Chromium writes every refusal of a server on the console.
    page = opened(visit, "compare", expected="400 (Bad Request)")
    page.locator("input[type=file]").set_input_files(file)
    row = page.get_by_role("row").filter(has_text="MountainCar-v0")
    row.wait_for()
    assert "\u2212125" in row.inner_text()
    assert row.locator("svg[role=img]").count() == 1
    bad = tmp_path / "bad.json"
    bad.write_text('{"envs": 3}')
    page.locator("input[type=file]").set_input_files(bad)
    page.locator(".notice.bad").wait_for()
    assert "bad.json" in page.locator(".notice.bad").inner_text()
    assert row.count() == 1


def test_the_page_that_stands_alone_needs_no_network(
    visit: Any, browser: Any, hub: Any, tmp_path: Path
) -> None:
    from fathom.hub.dashboard import write_dashboard

    file, page_file = tmp_path / "results.json", tmp_path / "page.html"
    file.write_text(json.dumps(RESULTS))
    write_dashboard([file], page_file)
    page = visit(address="about:blank", offline=True)
    page.goto(page_file.as_uri())
    page.get_by_role("row").filter(has_text="CartPole-v1").wait_for()
    assert page.get_by_role("row").filter(has_text="MountainCar-v0").count() == 1


def test_without_the_token_nothing_is_told(hub: Any, visit: Any) -> None:
    for path in ("/", "/api/compare", "/static/app.js"):
        with pytest.raises(urllib.error.HTTPError) as told_off:
            urllib.request.urlopen(hub.origin + path)
        assert told_off.value.code == 403
        told_off.value.close()
    page = visit(address=hub.origin + "/", quiet=True)
    assert "token" in page.locator("body").inner_text()
