"""Take the pictures of the docs: `python -m tests.hub.journeys.pictures FOLDER_OF_RUNS docs/hub`."""

import argparse
import contextlib
import re
from pathlib import Path
from typing import Any

from tests.hub.journeys import driving
from tests.hub.journeys.conftest import _executable, start, stop

WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def shots(page: Any, out: Path, name: str, phone: bool = True) -> None:
    """The page in light and dark, and on a phone."""
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(500)
        page.screenshot(path=out / f"{name}-{theme}.png")
    if phone:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(900)
        page.screenshot(path=out / f"{name}-390.png")
        page.set_viewport_size(WIDE)
        page.wait_for_timeout(600)


def tabular(page: Any, out: Path) -> None:
    """The lab while values flow, the inspector, and two branches side by side."""
    driving.ready(page)
    driving.until(page, lambda: driving.number(driving.told(page, "v-start")) > 0.15, "values at the start")
    driving.pause(page)
    shots(page, out, "tabular")
    driving.cell(page, 3, 3).click()
    driving.until(page, lambda: page.get_by_test_id("arithmetic").count(), "a backup")
    page.get_by_role("radio", name="Every action's value").check()
    page.mouse.move(0, 0)
    shots(page, out, "inspector", phone=False)
    page.keyboard.press("Escape")
    page.get_by_role("radio", name="Largest action value").check()
    page.get_by_test_id("fork").click()
    driving.until(page, lambda: page.get_by_role("grid").count() == 3, "a fork")
    driving.slide(page, "epsilon", 0.9)
    driving.reach(page, driving.update(page) + 800)
    shots(page, out, "fork", phone=False)


def deep(page: Any, out: Path) -> None:
    """PPO on CartPole with its past policies beside it."""
    driving.ready(page)
    driving.until(page, lambda: driving.update(page) >= 25, "25 updates")
    page.keyboard.press("x")
    driving.until(page, lambda: page.locator(".checkpoints figure").count() >= 3, "past policies on stage")
    page.wait_for_timeout(1500)
    shots(page, out, "deep")
    driving.pause(page)
    page.get_by_role("tab", name="Ratios").click()
    driving.until(page, lambda: page.get_by_test_id("ratios").locator("canvas").count(), "ratios", 240.0)
    shots(page, out, "ratios", phone=False)


def values(page: Any, out: Path) -> None:
    """What DQN's values promise, against what comes of them."""
    driving.ready(page)
    page.get_by_test_id("algo").select_option("dqn")
    page.get_by_role("heading", level=1, name="DQN on CartPole-v1").wait_for(timeout=240_000)
    driving.until(page, lambda: driving.update(page) >= 600, "600 updates", 240.0)
    driving.pause(page)
    page.get_by_role("tab", name="Q and return").click()
    driving.until(page, lambda: page.get_by_test_id("returns").locator("canvas").count(), "returns", 240.0)
    shots(page, out, "returns")


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=["home", "tabular", "deep", "values", "compare"])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    with contextlib.ExitStack() as stack:
        hub = start(given.runs)
        stack.callback(stop, hub)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=_executable(), args=["--no-sandbox"])
        stack.callback(browser.close)
        for name in given.only:
            page = browser.new_context(viewport=WIDE).new_page()
            page.set_default_timeout(60_000)
            page.goto(hub.url + {"home": "#/", "values": "#/deep"}.get(name, f"#/{name}"))
            if name == "tabular":
                tabular(page, given.out)
            elif name == "deep":
                deep(page, given.out)
            elif name == "values":
                values(page, given.out)
            else:
                if name == "home":
                    worth = page.locator("figcaption b", has_text=re.compile(r"^0\.[2-9]"))
                    worth.wait_for()
                    page.get_by_role("button", name="Pause").click()
                else:
                    page.get_by_role("heading", name="Runs", exact=True).wait_for()
                shots(page, given.out, name)
            page.context.close()


if __name__ == "__main__":
    main()
