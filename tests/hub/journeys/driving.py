"""What the journeys do with a page and read off it."""

import re
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0  # seconds
COMPILING = 240.0  # seconds in which a program is compiled that nobody has run before


def until(page: Any, what: Callable[[], Any], why: str, patience: float = PATIENCE) -> Any:
    """The first answer of `what` that holds; the page's policy forbids waiting by a script of our own."""
    end = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < end, f"not within {patience:g} s: {why}"
        page.wait_for_timeout(50)
    return found


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(re.sub(r"[\s\u202f]", "", text).replace("\u2212", "-"))


def told(page: Any, name: str) -> str:
    """The text of what carries that test id."""
    return page.get_by_test_id(name).inner_text()


def update(page: Any) -> int:
    return int(number(told(page, "u")))


def frames(page: Any) -> int:
    """Frames that have come, of all that there were."""
    return page.evaluate("globalThis.fathomMeter ? fathomMeter.frames : 0")


def ready(page: Any) -> Any:
    """Wait for the first picture."""
    until(page, lambda: frames(page) > 0, "a first frame", COMPILING)
    page.get_by_test_id("play").wait_for()
    return page


def playing(page: Any) -> bool:
    return "Pause" in page.get_by_test_id("play").inner_text()


def pause(page: Any) -> int:
    """Stop, and the update at which it stands."""
    if playing(page):
        page.get_by_test_id("play").click()
    until(page, lambda: not playing(page), "a pause")
    return settled(page)


def play(page: Any) -> None:
    if not playing(page):
        page.get_by_test_id("play").click()
    until(page, lambda: playing(page), "playing")


def settled(page: Any) -> int:
    """The update, once neither it nor the fingerprint changes."""
    last = None
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        now = (update(page), told(page, "hash"))
        if now == last:
            return now[0]
        last = now
        # Text follows four times a second.
        page.wait_for_timeout(400)
    raise AssertionError("the page does not come to rest")


def seek(page: Any, u: int) -> str:
    """Go to an update; the fingerprint there."""
    page.get_by_test_id("scrub").fill(str(u))
    until(page, lambda: update(page) == u, f"update {u}")
    settled(page)
    return told(page, "hash")


def reach(page: Any, u: int) -> int:
    """Play until at least that update, then stand."""
    play(page)
    until(page, lambda: update(page) >= u, f"update {u}")
    return pause(page)


def slide(page: Any, name: str, part: float) -> None:
    """Move a slider to a part of its way, 0 to 1."""
    page.get_by_role("slider", name=name, exact=True).fill(str(round(part * 1000)))


def full_speed(page: Any) -> None:
    page.get_by_role("slider", name="Speed").fill("100")


def cell(page: Any, row: int, col: int, grid: str = "Values of seed 0") -> Any:
    """A cell of a grid, counted from 1."""
    found = page.get_by_role("grid", name=grid).get_by_role("row").nth(row - 1)
    return found.get_by_role("gridcell").nth(col - 1)


def events(page: Any) -> list[str]:
    """All that happened, newest first."""
    button = page.get_by_role("button", name=re.compile("What happened"))
    if button.get_attribute("aria-expanded") != "true":
        button.click()
    return page.get_by_role("list", name="Events, newest first").locator("li").all_inner_texts()
