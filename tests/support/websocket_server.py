"""A WebSocket server on the `websockets` library, for behind a proxy.

The path says what it does with a connection: `/echo`, `/close` (closes with 4001 and `enough` after the first message),
`/ping` (pings after each message and tells when the pong has come), `/refuse` (answers 401), anything else reads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.support.backends import LoopThread

SUBPROTOCOLS = [Subprotocol("chat.v2"), Subprotocol("chat.v1")]
"""What the server knows, what it likes best first."""
CLOSE_CODE = 4001
CLOSE_REASON = "enough"
REFUSAL = "who are you\n"


@dataclass
class Session:
    """One connection as the server saw it."""

    path: str
    headers: Headers
    subprotocol: str | None
    messages: int = 0
    close_code: int | None = None
    """None while it is open; 1006 when it ended without a closing handshake."""
    close_reason: str | None = None
    pongs: list[bytes] = field(default_factory=list)


class WebSocketServer:
    """The server on a loop of its own."""

    def __init__(self) -> None:
        self._loop = LoopThread()
        self._changed = threading.Condition()
        self.sessions: list[Session] = []
        self._server: Server = self._loop.run(self._serve())
        self.address: tuple[str, int] = next(iter(self._server.sockets)).getsockname()[:2]

    async def _serve(self) -> Server:
        return await serve(
            self._handle,
            "127.0.0.1",
            0,
            subprotocols=SUBPROTOCOLS,
            select_subprotocol=_select,
            process_request=self._admit,
            max_size=None,
            ping_interval=None,
            close_timeout=2,
        )

    def close(self) -> None:
        async def close() -> None:
            self._server.close()
            await self._server.wait_closed()

        self._loop.run(close())
        self._loop.close()

    def wait(self, done: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
        """Until `done`, which is asked again whenever something has happened here. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(done, timeout_s):
                raise TimeoutError(f"{what}: not within {timeout_s:g} s")

    def wait_closed(self) -> Session:
        """The latest session, once it has ended."""
        self.wait(lambda: bool(self.sessions) and self.sessions[-1].close_code is not None, "a session ends")
        return self.sessions[-1]

    def _happened(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(401, REFUSAL) if request.path.startswith("/refuse") else None

    async def _handle(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        session = Session(request.path, request.headers, connection.subprotocol)
        self.sessions.append(session)
        self._happened()
        try:
            async for message in connection:
                session.messages += 1
                await self._answer(connection, session, message)
                self._happened()
        except ConnectionClosed:
            pass
        await connection.wait_closed()
        session.close_code, session.close_reason = connection.close_code, connection.close_reason
        self._happened()

    async def _answer(self, connection: ServerConnection, session: Session, message: str | bytes) -> None:
        if session.path.startswith("/echo"):
            await connection.send(message)
        elif session.path.startswith("/close"):
            await connection.close(CLOSE_CODE, CLOSE_REASON)
        elif session.path.startswith("/ping"):
            payload = message.encode() if isinstance(message, str) else message
            await (await connection.ping(payload))
            session.pongs.append(payload)
            await connection.send("pong")


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return next((name for name in SUBPROTOCOLS if name in offered), None)
