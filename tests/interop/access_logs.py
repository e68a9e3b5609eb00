"""The same access logs and the same traffic for two proxies: the lines that each of them writes.

`access_log_formats.yaml` holds the logs: `name`, one of `text`, `json` (the formats) and `log` (the fields of a `FileAccessLog`
besides its path), and perhaps `filter` (an `AccessLogFilter`). All of them are on the HTTP connection manager and on the TCP
proxies of one bootstrap.

What differs from run to run is masked: times, ids, and the ports that the kernel chose. A duration is written by the formats as
`ms=N` or under a key that ends in `ms`, any other volatile number as `id=N` or under a key that ends in `id`; `volatile` has
regular expressions for what else a log writes.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
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
from tests.support.bootstraps import http_options
from tests.support.certificates import Mesh
from tests.support.http_client import RawClient
from tests.support.log_collector import LogCollector
from tests.support.ports import free_ports
from tests.support.process import ProxyCommand, start_proxy, wait_until

FORMATS = Path(__file__).parent / "access_log_formats.yaml"

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
#: A response header whose length is that of a time.
SERVICE_TIME = "x-envoy-upstream-service-time"
_FLUSH_ARGUMENTS = ("--file-flush-interval-msec", "20")
_LINE_LIMIT_S = 5.0
_PROBE = "probe"
_ANSWER_S = 0.03
_TUNNEL_GREETING = b"welcome\n"

Json = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """One configured log."""

    name: str
    log: Json
    filter: Json | None = None
    volatile: tuple[str, ...] = ()


def logs() -> list[Log]:
    return [_log(entry) for entry in yaml.safe_load(FORMATS.read_text(encoding="utf-8"))]


def _log(entry: Json) -> Log:
    log: Json = entry.get("log", {})
    if "text" in entry:
        log = {"log_format": {"text_format_source": {"inline_string": entry["text"] + "\n"}}}
    elif "json" in entry:
        log = {"log_format": {"json_format": entry["json"]}}
    return Log(entry["name"], log, entry.get("filter"), tuple(entry.get("volatile", ())))


class Surroundings:
    """Backends and ports that stay the same for both proxies."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mesh = Mesh(directory)
        for leaf in ("client", "server"):
            self.mesh.leaf(leaf)
        self._loop = LoopThread()
        self.http = HttpBackend(self._loop, name="http")
        self.http.answer = _answer
        self.http.start()
        self.tcp = TcpBackend(self._loop, "line_echo", prefix="echo").start()
        (
            self.admin_port,
            self.http_port,
            self.tcp_port,
            self.closed_port,
            self.lost_port,
            self.unmatched_port,
        ) = free_ports(6)
        self._fixed_ports = {
            self.http.address[1],
            self.tcp.address[1],
            self.http_port,
            self.tcp_port,
            self.closed_port,
            self.lost_port,
            80,
        }

    def close(self) -> None:
        self.http.stop()
        self.tcp.stop()
        self._loop.close()

    def run(self, command: ProxyCommand, configured: Sequence[Log]) -> dict[str, list[str]]:
        """The masked lines of each log."""
        directory = self.directory / command.name
        directory.mkdir()
        bootstrap = self._bootstrap(directory, configured)
        proxy = start_proxy(
            command,
            json.dumps(bootstrap),
            directory,
            self.admin_port,
            extra=_FLUSH_ARGUMENTS,
        )
        try:
            for number, exchange in enumerate(EXCHANGES, 1):
                exchange(self)
                _await_lines(directory / _PROBE, number)
        finally:
            proxy.terminate()
        return {
            each.name: self._masked(
                (directory / each.name).read_text(encoding="utf-8", errors="backslashreplace"), each.volatile
            )
            for each in configured
        }

    def run_services(
        self, command: ProxyCommand, collector: LogCollector, *, only_at_the_end: bool = False
    ) -> None:
        """All exchanges, logged to both gRPC services of the collector and to its OpenTelemetry service over HTTP.

        `only_at_the_end`: everything waits until the proxy is told to end.
        """
        directory = self.directory / f"{command.name}-services{'-end' if only_at_the_end else ''}"
        directory.mkdir()
        bootstrap = self._bootstrap(directory, [])
        _log_to_services(bootstrap, collector, "60s" if only_at_the_end else "0.2s")
        proxy = start_proxy(
            command, json.dumps(bootstrap), directory, self.admin_port, extra=_FLUSH_ARGUMENTS
        )
        try:
            for number, exchange in enumerate(EXCHANGES, 1):
                exchange(self)
                _await_lines(directory / _PROBE, number)
            if only_at_the_end:
                assert not collector.als
                assert not collector.otlp
            else:
                collector.await_entries(len(EXCHANGES))
                collector.await_records(2 * len(EXCHANGES))
        finally:
            proxy.terminate()

    def run_tls(self, command: ProxyCommand) -> dict[str, list[Json]]:
        """What is logged of a TLS connection, of one without a client certificate, and of one that is no TLS."""
        directory = self.directory / f"{command.name}-tls"
        directory.mkdir()
        mesh = self.mesh
        bootstrap = self._bootstrap(directory, [])
        _log_tls(bootstrap, mesh, _access_log(directory, _TLS), _access_log(directory, _TLS_CONNECTIONS))
        proxy = start_proxy(
            command, json.dumps(bootstrap), directory, self.admin_port, extra=_FLUSH_ARGUMENTS
        )
        try:
            for number, leaf in enumerate(("client", None, ""), 1):
                self._handshake(mesh.client_context(leaf) if leaf != "" else None)
                _await_lines(directory / _TLS.name, number)
                _await_lines(directory / _TLS_CONNECTIONS.name, number)
        finally:
            proxy.terminate()
        return {
            each.name: [json.loads(line) for line in (directory / each.name).read_text().splitlines()]
            for each in (_TLS, _TLS_CONNECTIONS)
        }

    def _handshake(self, context: ssl.SSLContext | None) -> None:
        """One line and its echo, as far as that goes; without a context the line is not encrypted."""
        with socket.create_connection(("127.0.0.1", self.tcp_port), timeout=5) as raw:
            try:
                connection = context.wrap_socket(raw, server_hostname="a.example") if context else raw
                with connection:
                    connection.sendall(b"one line of text\n")
                    connection.recv(65536)
            except OSError:
                return

    def run_early(self, command: ProxyCommand) -> dict[str, list[str]]:
        """The lines of one log of streams (`filter`) and one of connections (`listener`), with entries before the end."""
        directory = self.directory / f"{command.name}-early"
        directory.mkdir()
        bootstrap = self._bootstrap(directory, [])
        _log_early(bootstrap, _access_log(directory, _EARLY), _access_log(directory, _CONNECTIONS))
        proxy = start_proxy(
            command, json.dumps(bootstrap), directory, self.admin_port, extra=_FLUSH_ARGUMENTS
        )
        try:
            for number, exchange in enumerate(_EARLY_EXCHANGES, 1):
                exchange(self)
                _await_lines(directory / _CONNECTIONS.name, number)
        finally:
            proxy.terminate()
        return {
            each.name: self._masked((directory / each.name).read_text(), ())
            for each in (_EARLY, _CONNECTIONS)
        }

    def _masked(self, text: str, volatile: Sequence[str]) -> list[str]:
        for expression in volatile:
            text = re.sub(expression, "<volatile>", text)
        for pattern, replacement in _MASKS:
            text = pattern.sub(replacement, text)
        return _PORT.sub(self._mask_port, text).splitlines()

    def _mask_port(self, found: re.Match[str]) -> str:
        return found[0] if int(found[2]) in self._fixed_ports else f"{found[1]}<port>"

    # the bootstrap

    def _bootstrap(self, directory: Path, configured: Sequence[Log]) -> Json:
        probe = Log(_PROBE, {"log_format": {"text_format_source": {"inline_string": "x\n"}}})
        access_logs = [_access_log(directory, each) for each in (*configured, probe)]
        return {
            "node": {"id": "node", "cluster": "cluster"},
            "admin": {"address": _address(self.admin_port)},
            "static_resources": {
                "listeners": [
                    _listener("http", self.http_port, _manager(access_logs)),
                    _listener("tcp", self.tcp_port, _tcp_proxy("tcp", access_logs)),
                    _listener("lost", self.lost_port, _tcp_proxy("closed", access_logs)),
                    _listener(
                        "unmatched", self.unmatched_port, _tcp_proxy("tcp", []), {"destination_port": 1}
                    ),
                ],
                "clusters": [
                    _cluster("http", self.http.address[1]),
                    _cluster("tcp", self.tcp.address[1]),
                    _cluster("closed", self.closed_port),
                ],
            },
        }

    # the traffic

    def request(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> None:
        with RawClient(("127.0.0.1", self.http_port)) as client:
            client.request(method, path, [("user-agent", "tester/1"), *headers], body, host="a.example")

    def upgrade(self) -> None:
        """A WebSocket that the backend ends."""
        with socket.create_connection(("127.0.0.1", self.http_port), timeout=5) as connection:
            connection.sendall(
                b"GET /upgrade HTTP/1.1\r\nhost: a.example\r\nuser-agent: tester/1\r\nconnection: upgrade\r\n"
                b"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            _read_to_end(connection)

    def tunnel(self, port: int, data: bytes, pause_s: float = 0.0) -> None:
        """Some lines over TCP; ended by us `pause_s` after the answers are here."""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            if data:
                connection.sendall(data)
                received = b""
                while received.count(b"\n") < data.count(b"\n"):
                    received += connection.recv(65536)
                time.sleep(pause_s)
                connection.shutdown(socket.SHUT_WR)
            _read_to_end(connection)


_GRPC = (("content-type", "application/grpc"), ("te", "trailers"))

#: One line of each unfiltered log for each of them.
EXCHANGES: Sequence[Callable[[Surroundings], None]] = (
    lambda at: at.request(
        "GET",
        "/ok?q=1&x=2&e=a%20b%2Bc+d%26%22%C3%A9",
        [("x-forwarded-for", "10.0.0.9"), ("x-quote", 'a"b\\c\td/é')],
    ),
    lambda at: at.request("POST", "/status/503", [("x-two", "a"), ("x-two", "b")], b"body"),
    lambda at: at.request("HEAD", "/rewrite/this"),
    lambda at: at.request("GET", "/direct"),
    lambda at: at.request("GET", "/nowhere"),
    lambda at: at.request("GET", "/closed"),
    lambda at: at.request("GET", "/close"),
    lambda at: at.request("GET", "/slow"),
    lambda at: at.request("GET", "/chunked", [("x-envoy-force-trace", "true"), ("x-empty", "")]),
    lambda at: at.request("POST", "/grpc/7", _GRPC, b"\0\0\0\0\0"),
    lambda at: at.request("GET", "/healthz"),
    lambda at: at.request("GET", "/rst"),
    lambda at: at.request("GET", "/retry"),
    lambda at: at.upgrade(),
    lambda at: at.tunnel(at.tcp_port, b"one\ntwo\n"),
    lambda at: at.tunnel(at.lost_port, b""),
)


_EARLY_TEXT = (
    "%ACCESS_LOG_TYPE% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %ROUTE_NAME% "
    "%UPSTREAM_CLUSTER% %UPSTREAM_HOST% %BYTES_SENT% %BYTES_RECEIVED% %RESP(X-RESP)% ms=%DURATION%\n"
)
_EARLY = Log("filter", {"log_format": {"text_format_source": {"inline_string": _EARLY_TEXT}}})
_CONNECTIONS = Log("listener", _EARLY.log)
_EARLY_INTERVAL_S = 0.3

#: One line of the listener's log for each of them.
_EARLY_EXCHANGES: Sequence[Callable[[Surroundings], None]] = (
    lambda at: at.request("GET", "/ok"),
    lambda at: at.request("GET", "/direct"),
    lambda at: at.request("GET", "/nowhere"),
    lambda at: at.request("GET", "/wait"),
    lambda at: at.upgrade(),
    lambda at: at.tunnel(at.tcp_port, b"one\ntwo\n", 2.5 * _EARLY_INTERVAL_S),
    lambda at: at.tunnel(at.lost_port, b""),
    lambda at: at.tunnel(at.unmatched_port, b""),
)


def _log_early(bootstrap: Json, log: Json, connections: Json) -> None:
    for listener in bootstrap["static_resources"]["listeners"]:
        listener["access_log"] = [connections]
        config = listener["filter_chains"][0]["filters"][0]["typed_config"]
        config["access_log"] = [log]
        options: Json = {"access_log_flush_interval": f"{_EARLY_INTERVAL_S}s"}
        if "TcpProxy" in config["@type"]:
            options["flush_access_log_on_connected"] = True
        else:
            options["flush_access_log_on_new_request"] = True
            options["flush_log_on_tunnel_successfully_established"] = True
        config["access_log_options"] = options


_TLS_OPERATORS = {
    name: f"%{name}%"
    for name in (
        "ACCESS_LOG_TYPE",
        "CONNECTION_TERMINATION_DETAILS",
        "DOWNSTREAM_LOCAL_DNS_SAN",
        "DOWNSTREAM_LOCAL_SUBJECT",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_CERT",
        "DOWNSTREAM_PEER_CERT_V_END",
        "DOWNSTREAM_PEER_CERT_V_START",
        "DOWNSTREAM_PEER_DNS_SAN",
        "DOWNSTREAM_PEER_EMAIL_SAN",
        "DOWNSTREAM_PEER_FINGERPRINT_1",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_PEER_IP_SAN",
        "DOWNSTREAM_PEER_ISSUER",
        "DOWNSTREAM_PEER_SERIAL",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_TLS_CIPHER",
        "DOWNSTREAM_TLS_VERSION",
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
        "REQUESTED_SERVER_NAME",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_FLAGS",
    )
}
_TLS = Log("tls", {"log_format": {"json_format": _TLS_OPERATORS}})
_TLS_CONNECTIONS = Log("tls-listener", _TLS.log)


def _log_tls(bootstrap: Json, mesh: Mesh, log: Json, connections: Json) -> None:
    listener = bootstrap["static_resources"]["listeners"][1]
    listener["access_log"] = [connections]
    listener["listener_filters"] = [
        {
            "name": "envoy.filters.listener.tls_inspector",
            "typed_config": {"@type": f"{_EXTENSIONS}.filters.listener.tls_inspector.v3.TlsInspector"},
        }
    ]
    chain = listener["filter_chains"][0]
    chain["filters"][0]["typed_config"]["access_log"] = [log]
    server = mesh.leaf("server")
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": str(server.certificate)},
                        "private_key": {"filename": str(server.key)},
                    }
                ],
                "validation_context": {"trusted_ca": {"filename": str(mesh.root)}},
            },
        },
    }


def _log_to_services(bootstrap: Json, collector: LogCollector, interval: str) -> None:
    grpc = _cluster("collector", collector.port)
    grpc |= http_options(explicit_http_config={"http2_protocol_options": {}})
    bootstrap["static_resources"]["clusters"] += [grpc, _cluster("http-collector", collector.http_port)]
    service = {"envoy_grpc": {"cluster_name": "collector"}}
    common = {
        "log_name": "als",
        "transport_api_version": "V3",
        "grpc_service": service,
        "buffer_flush_interval": interval,
        "custom_tags": [
            {"tag": "literal", "literal": {"value": "x"}},
            {"tag": "header", "request_header": {"name": "user-agent", "default_value": "none"}},
            {"tag": "nothing", "request_header": {"name": "nope"}},
            {"tag": "environment", "environment": {"name": "NOPE_NOPE", "default_value": "default"}},
            {
                "tag": "metadata",
                "metadata": {"kind": {"route": {}}, "metadata_key": {"key": "istio", "path": [{"key": "n"}]}},
            },
        ],
    }
    als_http = _logger(
        "grpc.v3.HttpGrpcAccessLogConfig",
        common_config=common,
        additional_request_headers_to_log=["X-Two", "x-quote", "nope"],
        additional_response_headers_to_log=["x-resp", "x-two", SERVICE_TIME],
        additional_response_trailers_to_log=["x-trailer"],
    )
    als_tcp = _logger("grpc.v3.TcpGrpcAccessLogConfig", common_config=common)
    record: Json = {
        "buffer_flush_interval": interval,
        "body": {"string_value": "%REQ(:PATH)% %RESPONSE_CODE% %REQ(X-TWO)%"},
        "attributes": {
            "values": [
                {"key": "code", "value": {"string_value": "%RESPONSE_CODE%"}},
                {"key": "none", "value": {"string_value": "%REQ(NOPE)%"}},
                {
                    "key": "nested",
                    "value": {
                        "kvlist_value": {"values": [{"key": "p", "value": {"string_value": "%PROTOCOL%"}}]}
                    },
                },
                {
                    "key": "list",
                    "value": {"array_value": {"values": [{"string_value": "a%METADATA(ROUTE:istio:l)%"}]}},
                },
            ]
        },
        "resource_attributes": {"values": [{"key": "region", "value": {"string_value": "cn"}}]},
    }
    uri = {"uri": "http://logs.example/v1/logs", "cluster": "http-collector", "timeout": "1s"}
    kind = "open_telemetry.v3.OpenTelemetryAccessLogConfig"
    otlp = [
        _logger(kind, grpc_service=service, log_name="otlp", **record),
        _logger(kind, http_service={"http_uri": uri}, log_name="otlp-http", **record),
    ]
    for listener in bootstrap["static_resources"]["listeners"]:
        config = listener["filter_chains"][0]["filters"][0]["typed_config"]
        als = als_tcp if "TcpProxy" in config["@type"] else als_http
        config["access_log"] = [*config["access_log"], als, *otlp]


def _logger(kind: str, **fields: Any) -> Json:
    return {"name": kind, "typed_config": {"@type": f"{_EXTENSIONS}.access_loggers.{kind}", **fields}}


def _read_to_end(connection: socket.socket) -> None:
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass


def _await_lines(path: Path, count: int) -> None:
    wait_until(
        lambda: path.exists() and path.read_bytes().count(b"\n") >= count,
        timeout_s=_LINE_LIMIT_S,
        what=f"line {count} of {path}",
    )


def _answer(request: RecordedRequest) -> Script:
    """Each answer takes so long that `x-envoy-upstream-service-time` has two digits in any case: sizes must not depend on it."""
    pause_s = _ANSWER_S / 3 if request.target.startswith("/retry") else _ANSWER_S
    return [Sleep(pause_s), *_answer_at_once(request)]


def _answer_at_once(request: RecordedRequest) -> Script:
    target = request.target
    body = b"%d\n" % len(target)
    headers = "x-resp: RV\r\nx-two: a\r\nx-two: b\r\nserver: backend\r\n"
    if target.startswith("/close"):
        return [Do("close")]
    if target.startswith("/rst"):
        return [Do("rst")]
    if target.startswith("/upgrade"):
        head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        return [Send(head.encode() + _TUNNEL_GREETING), Do("close")]
    if target.startswith("/grpc/"):
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {target[6:]}\r\ncontent-length: 0\r\n\r\n"
        return [Send(head.encode())]
    if target.startswith("/chunked"):
        chunk = b"%x\r\n%b\r\n0\r\nx-trailer: TV\r\n\r\n" % (len(body), body)
        return [Send(f"HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n".encode() + chunk)]
    if target.startswith("/wait"):
        return [
            Sleep(2.5 * _EARLY_INTERVAL_S),
            Send(f"HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n".encode()),
        ]
    if target.startswith("/retry"):
        return [Send(f"HTTP/1.1 503 Text\r\n{headers}content-length: 0\r\n\r\n".encode())]
    status = int(target.rpartition("/")[2]) if target.startswith("/status/") else 200
    answer = f"HTTP/1.1 {status} Text\r\n{headers}content-length: {len(body)}\r\n\r\n".encode()
    answer += b"" if request.method == "HEAD" else body
    return [Sleep(2.0), Send(answer)] if target.startswith("/slow") else [Send(answer)]


# the pieces of the bootstrap


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _access_log(directory: Path, log: Log) -> Json:
    configured: Json = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.access_loggers.file.v3.FileAccessLog",
            "path": str(directory / log.name),
            **log.log,
        },
    }
    if log.filter is not None:
        configured["filter"] = log.filter
    return configured


def _listener(name: str, port: int, network_filter: Json, match: Json | None = None) -> Json:
    chain = {"name": f"{name}-chain", "filters": [network_filter], "filter_chain_match": match or {}}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int) -> Json:
    endpoint = {
        "endpoint": {"address": _address(port), "hostname": f"{name}.host"},
        "metadata": {"filter_metadata": {"istio": {"workload": "w;n;c;r;k"}}},
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "metadata": {
            "filter_metadata": {
                "istio": {
                    "services": [{"name": "s", "host": "h"}],
                    "default_original_port": 80,
                    "on": True,
                    "none": None,
                }
            }
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _tcp_proxy(cluster: str, access_logs: list[Json]) -> Json:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": cluster,
            "cluster": cluster,
            "access_log": access_logs,
        },
    }


def _manager(access_logs: list[Json]) -> Json:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "access_log": access_logs,
            "http_protocol_options": {"enable_trailers": True},
            "route_config": {
                "name": "routes",
                "virtual_hosts": [{"name": "host", "domains": ["*"], "routes": _routes()}],
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.grpc_stats",
                    "typed_config": {
                        "@type": f"{_EXTENSIONS}.filters.http.grpc_stats.v3.FilterConfig",
                        "emit_filter_state": True,
                    },
                },
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
                },
            ],
        },
    }


def _routes() -> list[Json]:
    def route(prefix: str, **action: Any) -> Json:
        return {
            "name": f"to{prefix.replace('/', '-')}",
            "match": {"prefix": prefix},
            "route": {"cluster": "http", **action},
        }

    return [
        {
            "name": "to-direct",
            "match": {"prefix": "/direct"},
            "direct_response": {"status": 418, "body": {"inline_string": "tea"}},
        },
        route("/ok")
        | {
            "metadata": {
                "filter_metadata": {
                    "istio": {
                        "config": "cfg",
                        "n": 3,
                        "f": 1.5,
                        "p": 100000,
                        "q": 1e15,
                        "r": 123456789012345678,
                        "s": 0.00001,
                        "t": 1e21,
                        "u": 3000000,
                        "w": 1234567890123456789012,
                        "b": True,
                        "l": [1, "a"],
                    }
                }
            }
        },
        route("/rewrite", prefix_rewrite="/rewritten"),
        route("/closed", cluster="closed"),
        route("/close"),
        route("/rst"),
        route(
            "/retry",
            retry_policy={
                "retry_on": "5xx",
                "num_retries": 2,
                "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
            },
        ),
        route("/slow", timeout="0.2s"),
        *map(route, ("/status", "/wait", "/chunked", "/grpc", "/upgrade", "/healthz")),
    ]


#: Applied in order to the whole text.
_MASKS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d{4})"), r"<time>\1"),
    (re.compile(r"\b(ms|id)=\d+"), r"\1=<n>"),
    (re.compile(r'(ms|id)":("?)\d+'), r'\1":\2<n>'),
)
_PORT = re.compile(r"(127\.0\.0\.1:|port=|port\":)(\d+)")
