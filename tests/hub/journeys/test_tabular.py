"""Journeys through the tabular lab, in a real browser, against the real server."""

import itertools
import os
import re
import signal
from typing import Any

import pytest

from tests.hub.journeys import driving
from tests.hub.journeys.driving import number, told, until

pytestmark = pytest.mark.browser

EXACT = 0.95**7  # V(start) of the 5×5 grid: 8 steps, +1 at the last, γ = 0.95


@pytest.fixture
def lab(visit: Any) -> Any:
    return driving.ready(visit())


def test_values_flood_from_the_goal_to_the_start(lab: Any) -> None:
    driving.full_speed(lab)
    until(lab, lambda: number(told(lab, "episode")) >= 200, "200 episodes")
    until(lab, lambda: abs(number(told(lab, "v-start")) - EXACT) <= 0.01, "V(start) = 0.70 ± 0.01")
    driving.pause(lab)
    assert number(told(lab, "v-start")) == pytest.approx(EXACT, abs=0.01)
    assert re.search(r"value 0\.[67]\d\d, best ", driving.cell(lab, 1, 1).inner_text())
    assert "value 1.000" in driving.cell(lab, 4, 5).inner_text()


def test_epsilon_changes_while_it_trains(lab: Any) -> None:
    driving.play(lab)
    before = driving.update(lab)
    driving.slide(lab, "epsilon", 0.0)
    until(lab, lambda: any("epsilon" in e for e in driving.events(lab)), "the change among the events")
    until(lab, lambda: driving.update(lab) > before + 20, "training that goes on")
    assert driving.playing(lab)
    assert lab.get_by_label("epsilon, as a number").input_value() == "0"
    assert "epsilon" in told(lab, "python")
    assert told(lab, "cli").startswith("fathom ")


def test_a_painted_wall_stands_at_once_and_shuts_the_way(lab: Any) -> None:
    driving.pause(lab)
    exact = lab.locator(".facts small").inner_text()
    lab.get_by_role("radio", name="Paint: wall").check()
    for row, col in ((1, 2), (2, 1)):
        driving.cell(lab, row, col).click()
        until(lab, lambda at=(row, col): "wall" in driving.cell(lab, *at).inner_text(), "a wall")
    until(lab, lambda: lab.locator(".facts small").inner_text() != exact, "another exact value")
    # Shut in: whatever is done bumps, −1 for ever, −1/(1 − 0.95).
    assert number(lab.locator(".facts small").inner_text().replace("of", "")) == pytest.approx(-20.0)
    driving.reach(lab, driving.update(lab) + 100)
    assert "the agent is here" in driving.cell(lab, 1, 1).inner_text()


def test_fork_at_update_500_and_compare(lab: Any) -> None:
    driving.reach(lab, 600)
    at_500 = driving.seek(lab, 500)
    lab.get_by_test_id("fork").click()
    until(lab, lambda: lab.get_by_role("grid").count() == 3, "two branches and their difference")
    driving.settled(lab)
    # A fork in which nothing is changed is its parent.
    assert told(lab, "hash") == at_500
    assert told(lab, "largest-difference") == "at most 0"
    driving.slide(lab, "epsilon", 1.0)
    driving.reach(lab, 1500)
    assert told(lab, "largest-difference") != "at most 0"
    difference = lab.get_by_role("grid", name="Difference of values, B minus A")
    assert re.search(r"difference \u2212?\d", difference.inner_text())
    lab.keyboard.press("c")
    until(lab, lambda: lab.get_by_role("grid").count() == 1, "one grid again")


def test_scrubbing_back_gives_the_same_state_to_the_bit(lab: Any) -> None:
    end = driving.reach(lab, 400)
    seen = {u: driving.seek(lab, u) for u in (0, 123, 300, end)}
    assert len(set(seen.values())) == 4
    for u in (300, 0, end, 123):
        assert driving.seek(lab, u) == seen[u]


def test_a_change_in_the_past_begins_a_branch_and_loses_nothing(lab: Any) -> None:
    end = driving.reach(lab, 400)
    last = told(lab, "hash")
    driving.seek(lab, 200)
    driving.slide(lab, "epsilon", 0.9)
    main = lab.locator(".lane-name", has_text="main")
    until(lab, lambda: lab.locator(".lane-name").count() == 2, "a second branch")
    main.click()
    until(lab, lambda: main.get_attribute("class") == "lane-name on", "the first branch in focus")
    assert driving.seek(lab, end) == last


def test_the_inspector_adds_up(lab: Any) -> None:
    driving.full_speed(lab)
    driving.reach(lab, 5000)
    driving.cell(lab, 4, 4).click()
    lab.get_by_role("button", name="Show the updates of right").click()
    # Until the answer is here the updates shown are those of the action taken last.
    until(lab, lambda: "Q(s, right)" in told(lab, "inspector"), "the updates of right")
    text = until(
        lab, lambda: lab.get_by_test_id("arithmetic").count() and told(lab, "arithmetic"), "a backup"
    )
    # As it is written out: old + α·[R + γ·max − old] = new.
    x = r"(-?[\d.]+(?:e-?\d+)?)"
    sums = re.fullmatch(rf"{x} \+ {x}·\[{x} \+ {x}·{x} - {x}\]\s*= {x}", text.replace("\u2212", "-").strip())
    assert sums is not None, text
    old, alpha, reward, gamma, best, subtracted, new = map(float, sums.groups())
    assert subtracted == old
    assert old + alpha * (reward + gamma * best - old) == pytest.approx(new, abs=2e-6)
    lab.get_by_text(re.compile(r"The last \d+ updates")).click()
    rows = lab.get_by_test_id("backups").locator("tbody tr")
    assert rows.count() == 20
    values = [[number(x) for x in rows.nth(i).locator("td").all_inner_texts()] for i in range(20)]
    for _, target, error, before, after in values:
        assert error == pytest.approx(target - before, abs=1e-4)
        assert after == pytest.approx(before + 0.1 * error, abs=1e-4)
    # Newest first, and each begins where the one before it ended.
    for newer, older in itertools.pairwise(values):
        assert newer[3] == pytest.approx(older[4], abs=1e-4)
    assert "q_learning.py:" in lab.get_by_test_id("inspector").inner_text()
    assert number(told(lab, "q-1")) == pytest.approx(values[0][4], abs=1e-4)


def test_a_share_link_shows_the_same_in_a_new_page(lab: Any, visit: Any, hub: Any) -> None:
    driving.reach(lab, 250)
    driving.slide(lab, "epsilon", 0.5)
    u = driving.reach(lab, 420)
    mark = told(lab, "hash")
    lab.get_by_role("button", name="Share").click()
    url = lab.get_by_test_id("share-url").input_value()
    assert url.startswith(hub.origin)
    other = driving.ready(visit(address=url))
    until(other, lambda: driving.update(other) == u, f"update {u}")
    assert told(other, "hash") == mark
    # And on from there, both go the same way.
    lab.keyboard.press("Escape")
    for page in (lab, other):
        driving.pause(page)
        for _ in range(3):
            page.get_by_role("button", name="Step", exact=True).click()
        until(page, lambda page=page: driving.update(page) == u + 3, "three more steps")
        driving.settled(page)
    assert told(lab, "hash") == told(other, "hash") != mark


def test_a_broken_share_link_is_told_and_loses_nothing(visit: Any) -> None:
    page = visit("#share=nothing-of-the-kind")
    page.locator(".notice.bad").wait_for()
    assert len(page.locator(".notice.bad").inner_text()) > 20
    page.get_by_role("link", name="Learn").click()
    driving.ready(page)


def test_by_keyboard_alone(lab: Any) -> None:
    keys = lab.keyboard
    driving.pause(lab)
    keys.press("Escape")
    lab.locator("body").evaluate("body => { document.activeElement.blur(); }")
    keys.press(" ")
    until(lab, lambda: driving.playing(lab), "playing by Space")
    keys.press(" ")
    until(lab, lambda: not driving.playing(lab), "a pause by Space")
    u = driving.settled(lab)
    keys.press(".")
    until(lab, lambda: driving.update(lab) == u + 1, "a step by the full stop")
    keys.press("e")
    until(lab, lambda: driving.update(lab) > u + 1, "an episode by E")
    # From the beginning of the page to the grid by Tab, within it by arrows.
    for _ in range(60):
        keys.press("Tab")
        if lab.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    assert lab.evaluate("document.activeElement.getAttribute('role')") == "gridcell"
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    assert lab.evaluate("document.activeElement.dataset.cell") == "7"
    keys.press("Enter")
    lab.get_by_test_id("inspector").wait_for()
    assert "row 2, column 3" in lab.get_by_test_id("inspector").inner_text()
    keys.press("Escape")
    until(lab, lambda: lab.get_by_test_id("inspector").count() == 0, "the inspector closed by Escape")
    # A wall by keyboard: the next brush until it is the wall's, then Enter on a cell.
    for _ in range(8):
        keys.press("p")
        if lab.get_by_role("radio", name="Paint: wall").is_checked():
            break
    keys.press("Enter")
    until(lab, lambda: "wall" in driving.cell(lab, 2, 3).inner_text(), "a wall by keyboard")
    keys.press("Escape")
    keys.press("f")
    until(lab, lambda: lab.get_by_role("grid").count() == 3, "a fork by F")
    keys.press("?")
    dialog = lab.get_by_role("dialog")
    dialog.wait_for()
    assert "Play or pause" in dialog.inner_text()
    keys.press("Escape")
    until(lab, lambda: lab.get_by_role("dialog").count() == 0, "the help closed by Escape")


def test_layers_say_what_they_show(lab: Any) -> None:
    driving.full_speed(lab)
    driving.reach(lab, 2000)
    corner = driving.cell(lab, 1, 1)
    for layer, word in (
        ("How often each state was acted in", "visits"),
        ("Size of the last temporal-difference error", "TD error"),
        ("Every action's value", "value"),
    ):
        lab.get_by_role("radio", name=layer).check()
        until(lab, lambda word=word: re.search(rf"{word} \d", corner.inner_text()), f"{word} in words")


def test_traces_of_sarsa_lambda(lab: Any) -> None:
    lab.get_by_test_id("algo").select_option("sarsa_lambda")
    traces = lab.get_by_role("radio", name="Eligibility traces")
    traces.wait_for(state="attached")
    traces.check()
    until(lab, lambda: "trace " in lab.get_by_role("grid").inner_text(), "traces in words")
    assert "SARSA(λ)" in lab.get_by_role("heading", level=1).inner_text()


def test_the_table_has_the_numbers_of_the_grid(lab: Any) -> None:
    driving.full_speed(lab)
    driving.reach(lab, 3000)
    shown = re.search(r"value (\S+),", driving.cell(lab, 3, 3).inner_text() + ",")
    lab.keyboard.press("v")
    table = lab.get_by_role("region", name="Values of all cells")
    table.wait_for()
    # The agent may stand there: its row's header then says so too.
    header = lab.get_by_role("rowheader", name=re.compile(r"^3, 3\b"))
    row = table.get_by_role("row").filter(has=header)
    assert shown is not None
    assert shown[1] in row.inner_text()


def test_another_seed_is_another_table(lab: Any) -> None:
    driving.reach(lab, 500)
    first = lab.get_by_role("grid").inner_text()
    lab.get_by_role("button", name=re.compile(r"^Seed 3")).click()
    other = lab.get_by_role("grid", name="Values of seed 3")
    other.wait_for()
    assert other.inner_text() != first


def test_a_value_edited_by_hand(lab: Any) -> None:
    driving.pause(lab)
    driving.cell(lab, 1, 1).click()
    lab.get_by_role("button", name="Edit the value of right").click()
    lab.get_by_label("New value of right").fill("0.625")
    lab.get_by_role("button", name="Set", exact=True).click()
    until(lab, lambda: told(lab, "q-1") == "0.6250", "the new value")
    until(lab, lambda: "value 0.625, best right" in driving.cell(lab, 1, 1).inner_text(), "it in the grid")


def test_a_world_drawn_as_text_and_one_that_is_refused(lab: Any) -> None:
    lab.get_by_role("button", name="Draw as text").click()
    box = lab.get_by_role("dialog").get_by_role("textbox")
    box.fill("S..\n.x.\n..G")
    lab.get_by_role("button", name="Start with this world").click()
    lab.get_by_text("This world was refused").wait_for()
    box.fill("S.\n.G")
    lab.get_by_role("button", name="Start with this world").click()
    until(lab, lambda: lab.get_by_role("gridcell").count() == 4, "four cells")
    assert "goal" in driving.cell(lab, 2, 2).inner_text()


def test_reduced_motion_starts_at_rest(visit: Any) -> None:
    page = visit(reduced_motion="reduce")
    page.get_by_test_id("play").wait_for()
    page.wait_for_timeout(1500)
    assert not driving.playing(page)
    assert driving.update(page) == 0


def test_a_dead_trainer_is_told_and_the_last_snapshot_offered(visit: Any, hub: Any) -> None:
    before = set(hub.trainers())
    if not before:
        pytest.skip("processes can be looked at on Linux only")
    page = driving.ready(visit())
    driving.reach(page, 300)
    for pid in hub.trainers():
        os.kill(pid, signal.SIGKILL)
    page.locator(".notice.bad").wait_for()
    page.get_by_role("button", name="Go on from the last snapshot").click()
    until(page, lambda: page.locator(".notice.bad").count() == 0, "a run again")
    driving.play(page)
