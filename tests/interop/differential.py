"""The same bootstrap and the same traffic for two proxies: what they answer, what they forward, what they count.

A file in `bootstraps/` holds `summary`, `traffic` (a list of steps) and `bootstrap`. Placeholders `${...}` are filled
before parsing. Steps:

- `http: PORT` with `path`, `method`, `headers`, `body` or `body_size`, `host`, `tls` (`leaf`, `sni`, `alpn`), `source`, `repeat`,
  `keep_alive` (repetitions share a connection), `headers_size`, `headers_count`;
- `tcp: PORT` with `send`, `tls`, `half_close`, `repeat` and `expect`: `line`, `N lines`, `eof` or `nothing`.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.backends import (
    Do,
    HttpBackend,
    LoopThread,
    RecordedRequest,
    Script,
    Send,
    Sleep,
    TcpBackend,
)
from tests.support.certificates import Authority, Mesh, client_context, spiffe
from tests.support.http_client import InvalidResponse, RawClient, Response
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, start_proxy
from tests.support.prometheus_text import Labels, parse

BOOTSTRAPS = Path(__file__).parent / "bootstraps"

_LISTENER_PORTS = ("A", "B", "C")
_VOLATILE = {
    "date": "<date>",
    "x-request-id": "<id>",
    "x-envoy-upstream-service-time": "<ms>",
}
_TIMEOUT_STEP_MS = 250
_SETTLE_LIMIT_S = 5.0
_SETTLE_INTERVAL_S = 0.45
"""Longer than two flushes of the statistics (0.2 s in every bootstrap)."""

Series = tuple[str, Labels]
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One file: its name and its text."""

    name: str
    text: str

    def filled(self, values: Mapping[str, str]) -> dict[str, Any]:
        text = re.sub(r"\$\{([A-Z_0-9]+)\}", lambda match: values[match[1]], self.text)
        content: dict[str, Any] = yaml.safe_load(text)
        return content


def cases() -> list[Case]:
    """All bootstraps, by name."""
    return [Case(path.stem, path.read_text(encoding="utf-8")) for path in sorted(BOOTSTRAPS.glob("*.yaml"))]


@dataclass(frozen=True)
class Run:
    """What one proxy did with one case."""

    outcomes: list[Outcome]
    forwarded: list[list[Outcome]]
    """For each step, the requests that the HTTP backends saw during it."""
    series: dict[Series, float]
    log: str


class Surroundings:
    """Backends, certificates and ports that stay the same for both proxies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._loop = LoopThread()
        self.mesh = Mesh(directory)
        self.mesh.leaf("server")
        self.mesh.leaf("client")
        stranger = Authority("stranger")
        (directory / "stranger-root.pem").write_bytes(stranger.certificate_pem)
        self._stranger = stranger.issue([spiffe("client")]).write(directory, "stranger")
        self.http = [self._http_backend(f"http-{number}") for number in (1, 2)]
        self.tls = HttpBackend(self._loop, name="tls")
        self.tls.answer = _answerer("tls")
        self.tls.start(context=self.mesh.server_context("server", alpn=["http/1.1"]))
        self.tcp = TcpBackend(self._loop, "line_echo", prefix="echo").start()
        self.tls_tcp = TcpBackend(self._loop, "line_echo", prefix="tls echo")
        self.tls_tcp.start(context=self.mesh.server_context("server"))
        self.admin_port, closed, *ports = free_ports(2 + len(_LISTENER_PORTS))
        self.ports = dict(zip(_LISTENER_PORTS, ports, strict=True))
        self.values = {
            "PORT_ADMIN": str(self.admin_port),
            "PORT_CLOSED": str(closed),
            "PORT_HTTP_1": str(self.http[0].address[1]),
            "PORT_HTTP_2": str(self.http[1].address[1]),
            "PORT_TLS": str(self.tls.address[1]),
            "PORT_TCP": str(self.tcp.address[1]),
            "PORT_TLS_TCP": str(self.tls_tcp.address[1]),
            "CERT_DIR": str(directory),
            **{f"PORT_{name}": str(port) for name, port in self.ports.items()},
        }

    def _http_backend(self, name: str) -> HttpBackend:
        backend = HttpBackend(self._loop, name=name)
        backend.answer = _answerer(name)
        return backend.start()

    def close(self) -> None:
        for backend in (*self.http, self.tls, self.tcp, self.tls_tcp):
            backend.stop()
        self._loop.close()

    def context(self, tls: Mapping[str, Any] | None) -> ssl.SSLContext | None:
        if tls is None:
            return None
        alpn = tls.get("alpn", ())
        if tls.get("leaf") == "stranger":
            return client_context(self.mesh.root, self._stranger, alpn=alpn)
        return self.mesh.client_context(tls.get("leaf"), alpn=alpn)

    def run(self, case: Case, command: ProxyCommand) -> Run:
        """Start the proxy on the case's bootstrap, play its traffic, read its statistics, stop it."""
        content = case.filled(self.values)
        text = yaml.safe_dump(content["bootstrap"], sort_keys=False)
        proxy = start_proxy(
            command, text, self.directory, self.admin_port, name=f"{case.name}-{command.name}"
        )
        outcomes: list[Outcome] = []
        forwarded: list[list[Outcome]] = []
        try:
            for step in content["traffic"]:
                for backend in (*self.http, self.tls):
                    backend.clear()
                outcomes += self._play(step)
                forwarded.append(self._forwarded())
            series = _settled_series(proxy)
        finally:
            proxy.terminate()
        return Run(outcomes, forwarded, series, proxy.log_text())

    def _play(self, step: Mapping[str, Any]) -> list[Outcome]:
        play = self._play_http if "http" in step else self._play_tcp
        if step.get("keep_alive"):
            return play(step, int(step["repeat"]))
        return [outcome for _ in range(int(step.get("repeat", 1))) for outcome in play(step, 1)]

    def _play_http(self, step: Mapping[str, Any], count: int) -> list[Outcome]:
        address = ("127.0.0.1", self.ports[step["http"]])
        headers = [(str(name), str(value)) for name, value in step.get("headers", [])]
        if "headers_size" in step:
            headers.append(("x-long", "a" * int(step["headers_size"])))
        headers += [(f"x-many-{number}", "1") for number in range(int(step.get("headers_count", 0)))]
        body = (
            step["body"].encode()
            if "body" in step
            else b"b" * step["body_size"]
            if "body_size" in step
            else None
        )
        tls = step.get("tls")
        outcomes: list[Outcome] = []
        try:
            with RawClient(
                address,
                context=self.context(tls),
                server_name=tls.get("sni") if tls else None,
                source=step.get("source"),
            ) as client:
                for _ in range(count):
                    response = client.request(
                        step.get("method", "GET"),
                        step["path"],
                        headers,
                        body,
                        host=step.get("host", "a.example"),
                    )
                    outcomes.append(_describe_response(response))
        except InvalidResponse as error:
            outcomes.append({"invalid answer": str(error)})
        except OSError:
            outcomes.append({"no answer": True})
        return outcomes

    def _play_tcp(self, step: Mapping[str, Any], _count: int) -> list[Outcome]:
        address = ("127.0.0.1", self.ports[step["tcp"]])
        expect = step.get("expect", "nothing")
        lines = 1 if expect == "line" else int(expect.split()[0]) if expect.endswith("lines") else 0
        received = b""
        try:
            with socket.create_connection(address, timeout=5) as raw:
                context = self.context(step.get("tls"))
                connection = raw
                if context is not None:
                    connection = context.wrap_socket(raw, server_hostname=step["tls"].get("sni"))
                with connection:
                    if "send" in step:
                        connection.sendall(step["send"].encode())
                    if step.get("half_close"):
                        connection.shutdown(socket.SHUT_WR)
                    while expect == "eof" or received.count(b"\n") < lines:
                        data = connection.recv(65536)
                        if not data:
                            break
                        received += data
                    ended = expect == "eof"
        except TimeoutError:
            return [{"received": received, "silent": True}]
        except OSError:
            ended = True
        return [{"received": received, "ended": ended}]

    def _forwarded(self) -> list[Outcome]:
        return [
            {
                "backend": backend.name,
                "line": request.request_line.decode("latin-1"),
                "headers": _stable(request.fields()),
                "body": request.body[:200],
                "body_length": request.body_length,
                "complete": request.complete,
            }
            for backend in (*self.http, self.tls)
            for request in backend.requests
        ]


def _answerer(name: str) -> Callable[[RecordedRequest], Script]:
    def answer(request: RecordedRequest) -> Script:
        target = request.target
        body = f"{name} {request.method} {target}\n".encode("latin-1")
        headers = f"x-backend: {name}\r\nx-second: 2\r\nserver: backend\r\n"
        if target.startswith("/close"):
            return [Do("close")]
        if target.startswith("/chunked"):
            chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            return [Send(f"HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode() + chunk)]
        if target.startswith("/until-close"):
            return [
                Send(f"HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n".encode() + body),
                Do("close"),
            ]
        status = int(target.rpartition("/")[2]) if target.startswith("/status/") else 200
        if request.method == "HEAD" or status in (204, 304):
            length, body = (f"content-length: {len(body)}\r\n" if status == 200 else ""), b""
        else:
            length = f"content-length: {len(body)}\r\n"
        answer_bytes = f"HTTP/1.1 {status} Text\r\n{headers}{length}\r\n".encode() + body
        return [Sleep(1.0), Send(answer_bytes)] if target.startswith("/slow") else [Send(answer_bytes)]

    return answer


def _stable(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name, _steady_value(name, value)) for name, value in pairs)


def _steady_value(name: str, value: str) -> str:
    if (
        name == "x-envoy-expected-rq-timeout-ms" and value.isdecimal()
    ):  # smaller by the time that earlier tries took
        return str(-(-int(value) // _TIMEOUT_STEP_MS) * _TIMEOUT_STEP_MS)
    return _VOLATILE.get(name, value)


def _describe_response(response: Response) -> Outcome:
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers]
    return {
        "status": response.status,
        "reason": response.reason,
        "headers": _stable(pairs),
        "body": response.body[:2000],
        "body_length": response.body_length,
    }


def nonzero_series(text: str) -> dict[Series, float]:
    """The `envoy_*` counters and gauges that are not zero, and the counts of histograms."""
    found: dict[Series, float] = {}
    for family in parse(text).values():
        if not family.name.startswith("envoy_"):
            continue
        for sample in family.samples:
            if sample.value and (family.type in ("counter", "gauge") or sample.name.endswith("_count")):
                found[(sample.name, tuple(sorted(sample.labels)))] = sample.value
    return found


def _settled_series(proxy: Proxy) -> dict[Series, float]:
    """The series once two readings agree (the counts of the admin interface itself aside)."""

    def comparable(series: dict[Series, float]) -> dict[Series, float]:
        return {
            key: value
            for key, value in series.items()
            if not key[0].startswith(("envoy_server_", "envoy_listener_admin_"))
            and ("envoy_http_conn_manager_prefix", "admin") not in key[1]
        }

    deadline = time.monotonic() + _SETTLE_LIMIT_S
    earlier: dict[Series, float] = {}
    while True:
        time.sleep(_SETTLE_INTERVAL_S)
        current = nonzero_series(proxy.prometheus())
        if comparable(current) == comparable(earlier) or time.monotonic() > deadline:
            return current
        earlier = current
