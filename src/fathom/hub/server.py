"""The server of the page: on this machine alone, for who has the token, and for no other site."""

import asyncio
import contextlib
import hmac
import http.cookies
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import fathom
from fathom.core.errors import FathomError
from fathom.hub import files, messages
from fathom.hub.session import Client, House, Session
from fathom.runs.folder import jsonable

HOST = "127.0.0.1"
STATIC = Path(__file__).parent / "static"
COOKIE = "fathom"

_GOING_AWAY = 1001  # a browser closes so where its page is closed: it will not come back
_GREETING = 10.0  # seconds in which a connection has to say hello
_NEEDED = "the live page needs packages that are not installed: run `pip install 'fathom-rl[hub]'`."


def require_packages() -> None:
    """Raise FathomError, with the command to type, where the extra `hub` is not installed."""
    try:
        import msgpack  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise FathomError(_NEEDED) from error


def policy(host: str) -> str:
    """What the page may load: its own files, and the websocket of this very server."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        f"connect-src 'self' ws://{host}; font-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def application(house: House, token: str, port: Callable[[], int]) -> Any:
    """The Starlette application; `port` tells on which port it listens, once it does."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    def hosts() -> set[str]:
        return {f"{HOST}:{port()}", f"localhost:{port()}"}

    def is_ours(headers: Any) -> bool:
        """Whether the request names this server, and comes from its page or from no page at all.

        The host is looked at lest a name that somebody else has pointed to 127.0.0.1 passes for it.
        """
        origin = headers.get("origin")
        return headers.get("host", "") in hosts() and (
            origin is None or origin in {f"http://{host}" for host in hosts()}
        )

    def knows(given: str | None) -> bool:
        return given is not None and hmac.compare_digest(given.encode(), token.encode())

    def refused(why: str) -> Response:
        return PlainTextResponse(why, 403)

    def guarded(answer: Callable[[Request], Awaitable[Response]], cookie: bool = False) -> Any:
        """Only for who has the token: in the address, or for plain files in the cookie too."""

        async def handle(request: Request) -> Response:
            if not is_ours(request.headers):
                response = refused("This page may only be asked for by itself.")
            elif knows(request.query_params.get("token")) or (
                cookie and knows(_cookie(request.headers.get("cookie", "")))
            ):
                response = await _answered(answer, request)
            else:
                response = refused("Open the address that `fathom hub` printed: it holds a token.")
            response.headers["Content-Security-Policy"] = policy(request.headers.get("host", HOST))
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Referrer-Policy"] = "no-referrer"
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
            response.headers["Cache-Control"] = "no-store"
            return response

        return handle

    async def _answered(answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        try:
            return await answer(request)
        except files.Forbidden as error:
            return JSONResponse({"error": str(error)}, 403)
        except FathomError as error:
            return JSONResponse({"error": str(error)}, 400)

    async def page(request: Request) -> Response:
        index = STATIC / "index.html"
        if not index.is_file():
            return PlainTextResponse("The page is not built: run `npm ci && npm run build` in web/.", 503)
        response = FileResponse(index, media_type="text/html; charset=utf-8")
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", path="/")
        house.prepare()
        return response

    async def static(request: Request) -> Response:
        found = files.within(STATIC, request.path_params["path"])
        if not found.is_file():
            return PlainTextResponse("There is no such file.", 404)
        return FileResponse(found)

    async def runs(request: Request) -> Response:
        return JSONResponse(jsonable(await asyncio.to_thread(files.listing, house.folder)))

    async def run(request: Request) -> Response:
        path = request.query_params.get("path", "")
        found = files.within(house.folder, path)
        return JSONResponse(jsonable(await asyncio.to_thread(files.run_of, found, path)))

    async def results(request: Request) -> Response:
        if request.method == "POST":
            data = bytearray()
            async for part in request.stream():
                data += part
                if len(data) > files.RESULTS_BYTES:
                    raise FathomError(f"the file has more than {files.RESULTS_BYTES:,} bytes.")
            return JSONResponse(files.checked_results(bytes(data), "the file"))
        found = files.within(house.folder, request.query_params.get("path", ""), ".json")
        return JSONResponse(files.read_results(found))

    async def compare(request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(files.compared, house.folder))

    async def catalogue(request: Request) -> Response:
        from fathom.hub.catalogue import catalogue

        return JSONResponse(await asyncio.to_thread(catalogue))

    async def socket_(websocket: WebSocket) -> None:
        if not is_ours(websocket.headers) or not knows(websocket.query_params.get("token")):
            # Before it is accepted, closing answers with 403.
            await websocket.close(1008)
            return
        await websocket.accept()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await _serve(websocket)

    async def _serve(websocket: WebSocket) -> None:
        session, client, seq = await _greet(websocket)
        if session is None:
            return
        session.join(client, seq)
        sending = asyncio.create_task(_send(websocket, client))
        gone = False
        try:
            while True:
                data = await _receive(websocket)
                try:
                    ask = messages.decode(data)
                    assert isinstance(data, bytes)
                except messages.BadMessage as error:
                    client.numbered(_refusal(messages.request_id(data), str(error)))
                    continue
                if isinstance(ask, messages.Hello):
                    client.numbered(_refusal(ask.id, "hello was said already."))
                    continue
                try:
                    await session.follow(ask, data, house)
                except FathomError as error:
                    client.numbered(_refusal(ask.id, str(error)))
        except WebSocketDisconnect as ended:
            gone = ended.code == _GOING_AWAY
        finally:
            session.part(client)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await sending
            if gone:
                await house.leave(session)

    async def _greet(websocket: WebSocket) -> tuple[Session | None, Client, int | None]:
        """The session of a connection that has said hello; what else it says is answered with an error."""
        client = Client()
        while True:
            try:
                data = await asyncio.wait_for(_receive(websocket), _GREETING)
                ask = messages.decode(data)
                if not isinstance(ask, messages.Hello):
                    raise messages.BadMessage("say hello first.")
                if not knows(ask.token):
                    raise messages.BadMessage("the token is wrong.")
                if ask.v != messages.VERSION:
                    raise messages.BadMessage(
                        f"the page speaks version {ask.v} of the protocol, this server version "
                        f"{messages.VERSION}; reload the page."
                    )
                session, seq = await house.welcome(ask.resume)
            except TimeoutError:
                await websocket.close(1008)
                return None, client, None
            except FathomError as error:
                await websocket.send_bytes(_refusal(messages.request_id(data), str(error)))
                continue
            hello = messages.Welcome(messages.VERSION, session.id, fathom.__version__, seq is not None)
            await websocket.send_bytes(messages.encode(hello))
            await websocket.send_bytes(messages.encode(messages.Reply(0, ask.id, True, "", {}, None)))
            return session, client, seq

    async def _receive(websocket: WebSocket) -> bytes | str:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        data = message.get("bytes")
        # A text is no message of ours; decoding it says so.
        return data if data is not None else (message.get("text") or "")

    async def _send(websocket: WebSocket, client: Client) -> None:
        while not client.overrun:
            await websocket.send_bytes(await client.next())
        await websocket.close(1013)

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        house.prepare()
        yield
        await house.close()

    return Starlette(
        routes=[
            Route("/", guarded(page)),
            Route("/static/{path:path}", guarded(static, cookie=True)),
            Route("/api/runs", guarded(runs)),
            Route("/api/run", guarded(run)),
            Route("/api/results", guarded(results), methods=["GET", "POST"]),
            Route("/api/compare", guarded(compare)),
            Route("/api/catalogue", guarded(catalogue)),
            WebSocketRoute("/ws", socket_),
        ],
        lifespan=lifespan,
    )


def _refusal(id: int, error: str) -> bytes:
    return messages.encode(messages.Reply(0, id, False, error, {}, None))


def _cookie(text: str) -> str | None:
    with contextlib.suppress(http.cookies.CookieError):
        found = http.cookies.SimpleCookie(text).get(COOKIE)
        return found.value if found else None
    return None


class Server:
    """A server on a free port of this machine. `url` holds the token that opens it."""

    def __init__(self, house: House, port: int = 0, token: str | None = None) -> None:
        require_packages()
        import uvicorn

        self.house = house
        self.token = token or secrets.token_urlsafe(24)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((HOST, port))
            # At once: whoever is told the address before the server answers waits, and is not turned away.
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            raise FathomError(
                f"port {port} of this machine cannot be taken: {error.strerror or error}. Choose another "
                "--port."
            ) from error
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            application(house, self.token, lambda: self.port),
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=2 * messages.REQUEST_BYTES,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=2,
            server_header=False,
            date_header=False,
        )
        self._uvicorn = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    def run(self) -> None:
        """Serve until Ctrl-C or `stop`."""
        self._uvicorn.run(sockets=[self._socket])

    async def serve(self) -> None:
        """Serve until `stop`, in a loop that runs already."""
        await self._uvicorn.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Ask it to end."""
        self._uvicorn.should_exit = True

    @property
    def started(self) -> bool:
        """Whether it answers."""
        return self._uvicorn.started


def browse(url: str) -> None:
    """Open an address in the user's browser, where there is one."""

    def look() -> None:
        with contextlib.suppress(Exception):
            webbrowser.open(url)

    threading.Thread(target=look, daemon=True).start()


def hub(
    folder: Path | None = None,
    port: int = 0,
    fragment: str = "",
    record: str | None = None,
    open_page: bool = True,
) -> None:
    """Serve the page for the runs below a folder, until Ctrl-C."""
    house = House(folder)
    house.record = record
    server = Server(house, port)
    print("the live page, for you alone; Ctrl-C ends it", file=sys.stderr)
    print(server.url + fragment, flush=True)
    if open_page:
        browse(server.url + fragment)
    server.run()
