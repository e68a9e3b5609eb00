"""One proxy between clients and scripted backends, with an access log: what tests of a single proxy share.

stage = Stage(directory)
backend = stage.h2_backend()
stage.start([stage.http_listener(route_to("app"))], [cluster("app", backend.address, **H2)])
...
stage.close()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tests.interop.pair import has_istio_filters
from tests.support.backends import Backend, HttpBackend, LoopThread, TcpBackend
from tests.support.bootstraps import Json, bootstrap, http_filter_chain, listener, route_config
from tests.support.certificates import Mesh
from tests.support.h2_backend import H2Backend, H2Request, H2Script
from tests.support.ports import free_port
from tests.support.process import Proxy, ProxyCommand, sidecar_command, start_proxy, wait_until

H2: Json = {"http2_protocol_options": {}}

FLUSH = ("--file-flush-interval-msec", "20")

_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_FIELDS = (
    "REQ(X-LOG)",
    "REQ(:METHOD)",
    "PROTOCOL",
    "RESPONSE_CODE",
    "RESPONSE_FLAGS",
    "RESPONSE_CODE_DETAILS",
    "BYTES_RECEIVED",
    "BYTES_SENT",
)
_LOGGED_S = 10.0

_B = TypeVar("_B", bound=Backend)


class LogEntry(NamedTuple):
    """One line of the access log."""

    key: str
    """The request header `x-log`."""
    method: str
    protocol: str
    status: str
    flags: str
    details: str
    bytes_received: str
    bytes_sent: str


class AccessLog:
    """The access log of a listener, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def config(self) -> Json:
        """The entry for the list of access logs of a filter."""
        line = "\t".join(f"%{name}%" for name in _FIELDS) + "\n"
        config = {
            "@type": _FILE_LOG,
            "path": str(self.path),
            "log_format": {"text_format_source": {"inline_string": line}},
        }
        return {"name": "envoy.access_loggers.file", "typed_config": config}

    def entries(self) -> list[LogEntry]:
        """What has been logged so far."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return [LogEntry(*line.split("\t")) for line in text[: text.rfind("\n") + 1].splitlines()]

    def entry(self, key: str) -> LogEntry:
        """The entry of the request with this `x-log`, once it is there. Raises TimeoutError."""

        def find() -> LogEntry | None:
            return next((entry for entry in self.entries() if entry.key == key), None)

        return wait_until(find, timeout_s=_LOGGED_S, what=f"an access log entry {key}")

    def wait(self, count: int) -> list[LogEntry]:
        """All entries, once there are `count`. Raises TimeoutError."""
        wait_until(
            lambda: len(self.entries()) >= count, timeout_s=_LOGGED_S, what=f"{count} access log entries"
        )
        return self.entries()


class Stage:
    """The backends, the proxy, its log. `proxy` exists after `start`."""

    def __init__(self, directory: Path, command: ProxyCommand | None = None) -> None:
        self.directory = directory
        self.loop = LoopThread()
        self.mesh = Mesh(directory)
        self.port = free_port()
        self.log = AccessLog(directory / "access.log")
        self.proxy: Proxy
        self._command = command or sidecar_command()
        self._admin_port = free_port()
        self._backends: list[Backend] = []
        self._started: list[Proxy] = []

    @property
    def is_envoy(self) -> bool:
        """Whether the real Envoy stands in the place of this proxy."""
        return not has_istio_filters(self._command)

    @property
    def address(self) -> tuple[str, int]:
        """Where the first HTTP listener listens."""
        return "127.0.0.1", self.port

    def h2_backend(
        self,
        answer: Callable[[H2Request], H2Script] | None = None,
        settings: Mapping[int, int] | None = None,
    ) -> H2Backend:
        """A started HTTP/2 backend without TLS."""
        backend = H2Backend(self.loop, settings=settings)
        if answer is not None:
            backend.answer = answer
        return self.add(backend.start())

    def http_backend(self) -> HttpBackend:
        """A started HTTP/1.1 backend without TLS."""
        return self.add(HttpBackend(self.loop).start())

    def tcp_backend(self, mode: str) -> TcpBackend:
        return self.add(TcpBackend(self.loop, mode).start())

    def add(self, backend: _B) -> _B:
        """Stop `backend` with the stage."""
        self._backends.append(backend)
        return backend

    def http_listener(
        self,
        *routes: Json,
        name: str = "http",
        port: int | None = None,
        fields: Mapping[str, Any] | None = None,
        transport_socket: Json | None = None,
        **manager: Any,
    ) -> Json:
        """A listener with a connection manager; `manager` goes into it, `fields` into the listener."""
        chain = http_filter_chain(
            route_config(*routes), stat_prefix=name, access_log=[self.log.config()], **manager
        )
        if transport_socket is not None:
            chain["transport_socket"] = transport_socket
        return listener(name, port or self.port, chain, **(fields or {}))

    def start(self, listeners: Sequence[Json], clusters: Sequence[Json], **more: Any) -> Proxy:
        """Start the proxy under test."""
        text = bootstrap(self._admin_port, listeners, clusters, **more)
        self.proxy = start_proxy(self._command, text, self.directory, self._admin_port, extra=FLUSH)
        self._started.append(self.proxy)
        return self.proxy

    def settled(self, **stats: int) -> None:
        """Until the gauges have these values (dots of their names written as double underscores)."""
        for name, value in stats.items():
            stat = name.replace("__", ".")

            def reached(stat: str = stat, value: int = value) -> bool:
                return self.proxy.stat(stat) == value

            wait_until(reached, timeout_s=_LOGGED_S, what=f"{stat} is {value}")

    def close(self) -> None:
        """Stop everything. Raises AssertionError when the proxy has sent what HTTP/2 forbids."""
        for proxy in self._started:
            proxy.terminate()
        violations = [each for backend in self._backends for each in getattr(backend, "violations", ())]
        for backend in self._backends:
            backend.stop()
        self.loop.close()
        assert violations == []


def elapsed(function: Callable[[], object]) -> float:
    """How long a call takes, in seconds."""
    started = time.monotonic()
    function()
    return time.monotonic() - started
