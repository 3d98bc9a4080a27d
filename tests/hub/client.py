"""A page without a browser, for tests: says hello, asks, and keeps what it is told."""

import contextlib
import threading
import time
from typing import Any

from websockets.sync.client import connect

from fathom.hub import messages


class Page:
    """One connection to a server."""

    def __init__(self, port: int, token: str, resume: messages.Resume | None = None) -> None:
        address = f"ws://127.0.0.1:{port}/ws?token={token}"
        self._stack = contextlib.ExitStack()
        self.socket = self._stack.enter_context(connect(address, max_size=None, compression=None))
        self.told: list[Any] = []
        self._news = threading.Condition()
        self._id = 1000
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self.hello = self.ask(messages.Hello, v=messages.VERSION, token=token, resume=resume)

    def ask(self, kind: type, wait: float = 120.0, **fields: Any) -> Any:
        """Send a request and wait for its answer."""
        self._id += 1
        number = self._id
        self.socket.send(messages.encode(kind(id=number, **fields)))
        return self.until(lambda m: getattr(m, "id", None) == number, wait)

    def until(self, wanted: Any, wait: float = 120.0) -> Any:
        """The first message, told already or to come, for which `wanted` holds."""
        end = time.monotonic() + wait
        with self._news:
            while True:
                for message in self.told:
                    if wanted(message):
                        return message
                left = end - time.monotonic()
                assert left > 0, f"not told within {wait} s; the last: {self.told[-3:]}"
                self._news.wait(left)

    def of(self, kind: type) -> list[Any]:
        """All messages of a kind."""
        with self._news:
            return [m for m in self.told if isinstance(m, kind)]

    @property
    def seq(self) -> int:
        """The greatest number seen."""
        return max((getattr(m, "seq", 0) for m in list(self.told)), default=0)

    def close(self) -> None:
        """Break the connection."""
        self._stack.close()
        self._thread.join()

    def _listen(self) -> None:
        for data in self.socket:
            message = messages.decode(data, messages.MESSAGES, messages.MESSAGE_BYTES)
            with self._news:
                self.told.append(message)
                self._news.notify_all()
