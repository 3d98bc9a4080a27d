"""The server: who may ask, what is refused, and a whole session with a trainer of its own."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fathom.hub import messages
from fathom.hub.server import Server
from fathom.hub.session import House, Journal
from tests.hub.client import Page

RESULTS = {
    "generated_at": "2026-01-01T00:00:00+00:00",
    "episodes_per_env": 1,
    "policy": "random",
    "envs": [
        {
            "env_id": "CartPole-v1",
            "policy": "random",
            "episodes": 1,
            "avg_return": 20.0,
            "best_return": 20.0,
            "returns": [{"episode": 0, "return_": 20.0, "length": 20}],
        }
    ],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "runs").mkdir()
    (folder / "runs" / "results.json").write_text(json.dumps(RESULTS))
    (folder / "runs" / "results-bad.json").write_text("{")
    (folder / "secret.json").write_text("{}")
    (folder / "runs" / "results-link.json").symlink_to(folder / "secret.json")
    made = Server(House(folder / "runs"))
    thread = threading.Thread(target=made.run)
    thread.start()
    while not made.started:
        time.sleep(0.01)
    yield made
    made.stop()
    thread.join()


def _get(
    server: Server, path: str, token: bool = True, method: str = "GET", body: Any = None, **headers: str
) -> Any:
    link = http.client.HTTPConnection("127.0.0.1", server.port)
    sign = "&" if "?" in path else "?"
    with contextlib.closing(link):
        link.request(method, f"{path}{sign}token={server.token}" if token else path, body, headers)
        answer = link.getresponse()
        return answer.status, answer.read(), answer.headers


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/runs", "/api/run?path=x", "/api/compare"])
def test_without_the_token_nothing_is_told(server: Server, path: str) -> None:
    assert _get(server, path, token=False)[0] == 403
    assert _get(server, f"{path}{'&' if '?' in path else '?'}token=wrong", token=False)[0] == 403
    assert _get(server, path, Origin="http://evil.example")[0] == 403
    assert _get(server, path, Host="evil.example")[0] == 403
    assert _get(server, path, Origin="null")[0] == 403


def test_the_page_may_load_its_own_files_only(server: Server) -> None:
    status, _, headers = _get(server, "/")
    policy = headers["Content-Security-Policy"]
    assert status == 200
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert f"ws://127.0.0.1:{server.port}" in policy
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    kept = cookie.partition(";")[0]
    assert _get(server, "/static/app.js", token=False, Cookie=kept)[0] == 200
    assert _get(server, "/api/runs", token=False, Cookie=kept)[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "../secret.json",
        "/etc/passwd",
        "results-link.json",
        "%2e%2e/secret.json",
        "a/../../secret.json",
        "a%00b",
    ],
)
def test_paths_outside_are_refused(server: Server, path: str) -> None:
    status, body, _ = _get(server, f"/api/results?path={path}")
    assert status == 403, body
    assert _get(server, f"/api/run?path={path}")[0] == 403


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd"])
def test_no_file_but_the_pages_is_served(server: Server, path: str) -> None:
    status, body, _ = _get(server, path)
    assert status in (403, 404)
    assert b"import" not in body


def test_results_are_checked(server: Server) -> None:
    status, body, _ = _get(server, "/api/results?path=results.json")
    assert (status, json.loads(body)) == (200, RESULTS)
    status, body, _ = _get(server, "/api/results", method="POST", body=b'{"envs": 1}')
    assert status == 400
    assert "generated_at" in json.loads(body)["error"]
    assert _get(server, "/api/results", method="POST", body=json.dumps(RESULTS))[0] == 200
    found = json.loads(_get(server, "/api/runs")[1])
    assert [r["path"] for r in found["results"]] == ["results.json"]
    assert [r["path"] for r in found["errors"]] == ["results-bad.json"]
    assert json.loads(_get(server, "/api/compare")[1])["results"][0]["policy"] == "random"


def test_the_catalogue_lists_what_can_be_opened(server: Server) -> None:
    found = json.loads(_get(server, "/api/catalogue")[1])
    kinds = {e["id"]: e["kind"] for e in found["environments"]}
    assert (kinds["Grid5x5-v0"], kinds["CartPole-v1"]) == ("tabular", "deep")
    assert {a["name"] for a in found["algorithms"] if a["family"] == "tabular"} >= {"q_learning", "sarsa"}
    assert found["worlds"][0]["map"].startswith("S....")


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("?token=wrong", {}),
        ("right", {"Origin": "http://evil.example"}),
        ("right", {"Origin": "http://127.0.0.1:1"}),
    ],
)
def test_a_websocket_needs_token_and_origin(server: Server, query: str, headers: dict[str, str]) -> None:
    query = f"?token={server.token}" if query == "right" else query
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/ws{query}", additional_headers=headers)
    assert refused.value.response.status_code == 403


def test_nonsense_is_answered_and_not_fatal(server: Server) -> None:
    address = f"ws://127.0.0.1:{server.port}/ws?token={server.token}"
    origin = f"http://127.0.0.1:{server.port}"
    with connect(address, additional_headers={"Origin": origin}) as socket:
        told = []
        for wrong in (
            b"junk",
            "text",
            b"\x00" * (messages.REQUEST_BYTES + 1),
            messages.encode(messages.Play(5)),
            messages.encode(messages.Hello(6, 99, server.token)),
            messages.encode(messages.Hello(7, 1, "wrong")),
        ):
            socket.send(wrong)
            told.append(messages.decode(socket.recv(), messages.MESSAGES))
        assert [m.ok for m in told] == [False] * 6
        assert [m.id for m in told] == [0, 0, 0, 5, 6, 7]
        assert "version 99" in told[4].error
        socket.send(messages.encode(messages.Hello(8, 1, server.token)))
        assert isinstance(messages.decode(socket.recv(), messages.MESSAGES), messages.Welcome)


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    made = Page(server.port, server.token)
    yield made
    made.close()


def test_a_session(server: Server, page: Page) -> None:
    """Open, play, change, rewind, fork, inspect, share; then lose the connection, and the trainer."""
    assert not page.ask(messages.Play).ok
    opened = page.ask(messages.Open, algo="q_learning", env="Grid5x5-v0", seeds=3)
    assert opened.ok, opened.error
    run = page.of(messages.Run)[0]
    assert (run.kind, run.seeds, run.steps_per_update) == ("tabular", 3, 1)
    assert run.code.python.startswith("lab = Lab(Recipe('q_learning', 'Grid5x5-v0'")
    assert page.ask(messages.Sub, channels=["values", "visits", "td", "agent", "series"]).ok
    assert page.ask(messages.Step, n=500).data["u"] == 500
    frame = page.until(lambda m: isinstance(m, messages.Frame) and m.u == 500)
    assert frame.arrays["q"].s == [3, 25, 4]
    assert frame.arrays["visits"].array().sum() == 1500
    page.until(lambda m: isinstance(m, messages.Series) and m.u0 + m.du == 500)

    assert page.ask(messages.Speed, steps_per_s=2000.0).ok
    assert page.ask(messages.Play).ok
    page.until(lambda m: isinstance(m, messages.Frame) and m.u > 600)
    changed = page.ask(messages.Set, patch={"epsilon": 0.05})
    assert changed.ok
    assert changed.code.python == "lab.set({'epsilon': 0.05})"
    page.until(lambda m: isinstance(m, messages.Frame) and m.u > changed.data["u"])
    now = page.ask(messages.Pause).data["u"]
    assert now > 600

    back = page.ask(messages.Seek, u=500)
    assert back.data["hash"] == frame.hash
    assert not page.ask(messages.Seek, u=10**9).ok
    fork = page.ask(messages.Fork, at=500, patch={"gamma": 0.5}, label="short-sighted")
    assert fork.ok
    told = page.until(lambda m: isinstance(m, messages.Event) and m.kind == "fork")
    assert told.data["label"] == "short-sighted"
    exact = page.until(lambda m: isinstance(m, messages.Event) and m.kind == "exact" and m.branch == 1)
    assert exact.data["exact"]["gamma"] == 0.5
    found = page.ask(messages.Inspect, state=0, branch=0)
    assert isinstance(found, messages.Inspection)
    assert found.backups
    link = page.ask(messages.Share).data["link"].removeprefix("#share=")
    for bad in (
        {"share": "nonsense"},
        {"algo": "q_learning", "env": "No-v0"},
        {"file": "../secret.rlog"},
        {"file": "none.rlog"},
    ):
        assert not page.ask(messages.Open, **bad).ok
    assert page.ask(messages.Ping, t=4.0).data["t"] == 4.0

    # A second page on a lost connection hears what came after, and nothing twice.
    welcome = page.of(messages.Welcome)[0]
    missed = page.seq - 5
    again = Page(server.port, server.token, messages.Resume(welcome.session, missed))
    assert again.of(messages.Welcome)[0].resumed
    again.until(lambda m: getattr(m, "seq", 0) == missed + 5)
    numbers = [m.seq for m in list(again.told) if getattr(m, "seq", 0)]
    assert numbers == list(range(missed + 1, missed + 6))
    again.close()

    other = Page(server.port, server.token)
    assert other.ask(messages.Open, share=link).ok
    assert other.ask(messages.Sub, channels=["values"]).ok
    shown = other.until(lambda m: isinstance(m, messages.Frame))
    assert (shown.u, shown.hash) == (500, frame.hash)

    # A page that is closed leaves its trainer to the next one, which hears nothing of the run before.
    left = server.house.sessions[other.of(messages.Welcome)[0].session]
    known = left.trainer_pid
    other.ask(messages.Speed, steps_per_s=7.0)
    other.ask(messages.Play)
    other.socket.close(1001)
    other.close()
    while left.id in server.house.sessions:
        time.sleep(0.01)
    third = Page(server.port, server.token)
    assert third.ask(messages.Open, algo="q_learning", env="Grid5x5-v0", seeds=3).ok
    assert server.house.sessions[third.of(messages.Welcome)[0].session].trainer_pid == known
    runs = third.of(messages.Run)
    assert [(run.playing, run.speed, run.branches[0].u) for run in runs] == [(False, 60.0, 0)]
    assert third.of(messages.Series) == third.of(messages.Frame) == []
    third.close()

    pid = server.house.sessions[welcome.session].trainer_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    died = page.until(lambda m: isinstance(m, messages.Event) and m.data.get("fatal"))
    assert "has ended" in died.text
    assert page.ask(messages.Open, share=died.data["share"]).ok
    assert page.of(messages.Run)[-1].branches[0].u == died.data["last"]


def test_what_is_gone_is_said() -> None:
    journal = Journal()
    run = messages.Run(
        1, "tabular", "a", "b", "", [], None, None, None, 1, 0, 1, 1, [], [], [], [0], False, None,
        messages.Code("", ""),
    )  # fmt: skip
    journal.add(1, messages.encode(run))
    big = messages.Tensor("f4", [2**18], bytes(2**20))
    for seq in range(2, 14):
        series = messages.Series(seq, 0, seq, 1, {"x": big}, {})
        journal.add(seq, messages.encode(series))
    kinds = [messages.kind_of(p) for p in journal.since(-1)]
    assert kinds[:2] == ["run", "event"]
    assert 5 <= kinds.count("series") <= 8
    assert "event" not in [messages.kind_of(p) for p in journal.since(12)]
    journal.add(14, messages.encode(run))
    assert len(journal.since(-1)) == 1
