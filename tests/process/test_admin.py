"""The admin interface of a running proxy."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.conftest import StartProxy
from tests.support.backends import HttpBackend, LoopThread
from tests.support.bootstraps import (
    bootstrap,
    cluster,
    downstream_tls,
    http_filter_chain,
    listener,
    route_config,
    route_to,
    tcp_filter_chain,
)
from tests.support.certificates import Mesh
from tests.support.http_client import RawClient, Response, get
from tests.support.ports import free_ports
from tests.support.process import sidecar_command, start_proxy, wait_until


class Served:
    """A proxy for all read-only tests."""

    def __init__(self, directory: Path) -> None:
        self.mesh = Mesh(directory)
        leaf = self.mesh.leaf("web")
        self.key = leaf.key.read_text()
        certificate = leaf.certificate.read_text()
        admin, web, secure = free_ports(3)
        self.ports = {"web": web, "secure": secure}
        secret = {
            "name": "inline",
            "tls_certificate": {
                "certificate_chain": {"inline_string": certificate},
                "private_key": {"inline_string": self.key},
            },
        }
        config = json.loads(
            bootstrap(
                admin,
                [
                    listener("web", web, http_filter_chain(route_config(route_to("app")))),
                    listener("inner", 9, tcp_filter_chain("app"), bind_to_port=False),
                    listener(
                        "secure",
                        secure,
                        {
                            **tcp_filter_chain("app", stat_prefix="secure"),
                            "transport_socket": downstream_tls(leaf, self.mesh.root),
                        },
                    ),
                ],
                [cluster("app", ("127.0.0.1", 9)), cluster("other", ("127.0.0.1", 9))],
                runtime={"a": {"b": 1}, "flag": True},
                node={"id": "n", "cluster": "c", "locality": {"region": "r"}, "metadata": {"KEY": "value"}},
            )
        )
        config["static_resources"]["secrets"] = [secret]
        self.proxy = start_proxy(sidecar_command(), json.dumps(config), directory, admin)

    def get(self, path: str, method: str = "GET") -> Response:
        return get(self.proxy.admin_address, path, method=method)

    def json(self, path: str) -> dict[str, object]:
        response = self.get(path)
        assert (response.status, response.values("content-type")) == (200, ["application/json"])
        value = json.loads(response.body)
        assert isinstance(value, dict)
        return value


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("admin"))
    yield made
    made.proxy.kill()


def test_headers(served: Served) -> None:
    response = served.get("/ready")
    assert response.body == b"LIVE\n"
    assert response.values("content-type") == ["text/plain; charset=UTF-8"]
    assert response.values("cache-control") == ["no-cache, max-age=0"]
    assert response.values("x-content-type-options") == ["nosniff"]
    assert response.values("server") == ["envoy"]


@pytest.mark.parametrize(
    "path",
    [
        "/drain_listeners",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/logging",
        "/quitquitquit",
        "/reopen_logs",
        "/reset_counters",
        "/runtime_modify",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_changes_only_by_post(served: Served, path: str, method: str) -> None:
    response = served.get(path, method)
    assert response.status == 405
    assert response.body == f"Method {method} not allowed, POST required.".encode()


@pytest.mark.parametrize("path", ["/nothing", "/ready/", "/stats/../ready", "//ready", "/%72eady"])
def test_unknown_path_shows_the_list(served: Served, path: str) -> None:
    response = served.get(path)
    assert response.status == 404
    assert response.body.startswith(b"invalid path. admin commands are:\n  /: ")


def test_help_lists_every_command_and_its_parameters(served: Served) -> None:
    text = served.get("/help").body.decode()
    assert served.get("/").body.decode() == text
    assert "  /drain_listeners (POST): drain listeners\n      graceful: " in text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/stats?filter=(", b"Invalid re2 regex"),
        ("/clusters?filter=(", b"Invalid re2 regex"),
        ("/stats?format=xyz", b"usage: /stats?format="),
        (
            "/config_dump?name_regex=(",
            b"INVALID_ARGUMENT: Error while parsing name_regex from (: missing ): (",
        ),
        ("/config_dump?resource=static_clusters&name_regex=(", b"INVALID_ARGUMENT: Error while parsing"),
        ("/config_dump?resource=bootstrap", b"bootstrap is not a repeated field. Use ?mask=bootstrap"),
    ],
)
def test_wrong_parameters_are_400(served: Served, path: str, body: bytes) -> None:
    response = served.get(path)
    assert response.status == 400
    assert response.body.startswith(body)


def test_a_wrong_pattern_writes_nothing_to_the_log(served: Served) -> None:
    before = served.proxy.log_text()
    served.get("/stats?filter=(")
    served.get("/clusters?filter=(")
    assert served.proxy.log_text() == before


def test_hostile_targets(served: Served) -> None:
    """Long queries and patterns that backtrack elsewhere cost nothing here."""
    began = time.monotonic()
    assert served.get("/stats?filter=" + "(a%2B)%2B" * 20 + "$").status == 200
    assert served.get("/stats?filter=" + "x" * 50_000).status == 200
    assert served.get("/stats?" + "&" * 50_000).status == 200
    assert time.monotonic() - began < 5
    with RawClient(served.proxy.admin_address) as client:
        client.send(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        client.receive(5)
    assert served.get("/ready").status == 200


def test_server_info(served: Served) -> None:
    info = served.json("/server_info")
    assert info["state"] == "LIVE"
    assert re.fullmatch(r"[^/]+/1\.40\.0/Clean/RELEASE/OpenSSL", str(info["version"]))
    assert info["hot_restart_version"] == "disabled"
    assert info["node"]["metadata"] == {"KEY": "value"}  # type: ignore[index]
    assert info["node"]["locality"]["region"] == "r"  # type: ignore[index]
    assert info["command_line_options"]["drain_time"] == "4s"  # type: ignore[index]
    assert info["command_line_options"]["disable_hot_restart"] is True  # type: ignore[index]


def test_listeners(served: Served) -> None:
    text = served.get("/listeners").body.decode()
    assert text == (
        f"web::127.0.0.1:{served.ports['web']}\ninner::127.0.0.1:9\nsecure::127.0.0.1:{served.ports['secure']}\n"
    )
    statuses = served.json("/listeners?format=json")["listener_statuses"]
    assert statuses[1] == {  # type: ignore[index]
        "name": "inner",
        "local_address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}},
    }


def test_clusters(served: Served) -> None:
    lines = served.get("/clusters").body.decode().splitlines()
    assert "app::default_priority::max_connections::1024" in lines
    assert "app::127.0.0.1:9::health_flags::healthy" in lines
    assert served.get("/clusters?filter=^oth").body.startswith(b"other::")
    (app,) = (
        each
        for each in served.json("/clusters?format=json")["cluster_statuses"]  # type: ignore[attr-defined]
        if each["name"] == "app"
    )
    assert app["host_statuses"][0]["health_status"] == {"eds_health_status": "HEALTHY"}
    assert app["host_statuses"][0]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9}


def test_certs(served: Served) -> None:
    (context,) = served.json("/certs")["certificates"]  # type: ignore[misc]
    (leaf,) = context["cert_chain"]
    assert {"uri": "spiffe://cluster.local/ns/default/sa/web"} in leaf["subject_alt_names"]
    assert leaf["path"].endswith("web.pem")
    days = int(leaf["days_until_expiration"])
    assert 0 < days < 60
    assert served.proxy.stat("server.days_until_first_cert_expiring") == days


def test_runtime(served: Served) -> None:
    assert served.json("/runtime") == {
        "layers": ["base"],
        "entries": {
            "a.b": {"layer_values": ["1"], "final_value": "1"},
            "flag": {"layer_values": ["true"], "final_value": "true"},
        },
    }
    assert served.get("/runtime_modify?a.b=2", "POST").status == 503


def test_memory(served: Served) -> None:
    assert int(str(served.json("/memory")["allocated"])) > 1_000_000


def types_of(dump: dict[str, object]) -> list[str]:
    return [section["@type"].rpartition(".")[2] for section in dump["configs"]]  # type: ignore[attr-defined]


def test_config_dump_sections(served: Served) -> None:
    assert types_of(served.json("/config_dump")) == [
        "BootstrapConfigDump",
        "ClustersConfigDump",
        "ListenersConfigDump",
        "ScopedRoutesConfigDump",
        "RoutesConfigDump",
        "SecretsConfigDump",
    ]
    with_endpoints = served.json("/config_dump?include_eds")
    assert types_of(with_endpoints)[2] == "EndpointsConfigDump"
    first = with_endpoints["configs"][2]["static_endpoint_configs"][0]["endpoint_config"]  # type: ignore[index]
    assert first["cluster_name"] == "app"
    assert first["endpoints"][0]["lb_endpoints"][0]["health_status"] == "HEALTHY"


def test_config_dump_of_one_resource(served: Served) -> None:
    entries = served.json("/config_dump?resource=static_listeners&name_regex=^in")["configs"]
    (entry,) = entries  # type: ignore[misc]
    assert entry["@type"] == "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.StaticListener"
    assert entry["listener"]["name"] == "inner"
    assert served.json("/config_dump?resource=dynamic_listeners") == {}
    assert served.get("/config_dump?resource=nothing").status == 404


def test_config_dump_mask(served: Served) -> None:
    dump = served.json("/config_dump?mask=bootstrap.node.id")
    (section,) = dump["configs"]  # type: ignore[misc]
    assert section["bootstrap"] == {"node": {"id": "n"}}
    entries = served.json("/config_dump?resource=static_clusters&mask=cluster.name")["configs"]
    assert [entry["cluster"]["name"] for entry in entries] == ["app", "other"]  # type: ignore[attr-defined]
    assert all("load_assignment" not in entry["cluster"] for entry in entries)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path",
    ["/config_dump?include_eds", "/config_dump?resource=static_secrets", "/certs", "/server_info", "/stats"],
)
def test_no_page_shows_a_private_key(served: Served, path: str) -> None:
    page = served.get(path).body
    body = "".join(served.key.splitlines()[1:-1])
    der = base64.b64decode(body)
    for piece in (body[:40], body[40:80], served.key.splitlines()[1]):
        assert piece.encode() not in page
    assert base64.b64encode(served.key.encode())[:60] not in page
    assert der[8:40] not in page
    assert b"PRIVATE KEY" not in page


def test_redacted_as_istioctl_expects(served: Served) -> None:
    dump = served.json("/config_dump?resource=static_secrets")
    secret = dump["configs"][0]["secret"]["tls_certificate"]  # type: ignore[index]
    assert secret["private_key"]["inline_string"] == "[redacted]"
    assert secret["certificate_chain"]["inline_string"].startswith("-----BEGIN CERTIFICATE-----")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("level=loud", "unknown logger level"),
        ("nothing=info", "unknown logger name"),
        ("paths=upstream:loud", "unknown logger level"),
        ("upstream=debug&main=info", "invalid number of parameters"),
    ],
)
def test_logging_refuses(served: Served, query: str, problem: str) -> None:
    response = served.get(f"/logging?{query}", "POST")
    assert response.status == 400
    assert response.body.decode().startswith(f"error: {problem}\n\nusage: /logging?")


def test_logging_knows_the_names_that_istioctl_sets(served: Served) -> None:
    names = ["rbac", "jwt", "wasm", "http2", "router", "connection", "conn_handler", "hc", "rds", "tracing"]
    listing = served.get("/logging?paths=" + ",".join(f"{name}:error" for name in names), "POST")
    assert listing.status == 200
    assert all(f"\n  {name}: error\n" in listing.body.decode() for name in names)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:15000"}, 200),
        ({"host": "localhost:15000"}, 200),
        ({"host": "[::1]:15000"}, 200),
        ({"host": "container"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "127.0.0.1.rebound.example:15000"}, 403),
        ({"host": "127.0.0.1:15000", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:15000", "origin": "null"}, 403),
        ({"host": "127.0.0.1:15000", "origin": "http://127.0.0.1:15000"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(served: Served, headers: dict[str, str], status: int) -> None:
    with RawClient(served.proxy.admin_address) as client:
        assert client.request("GET", "/server_info", list(headers.items())).status == status


@pytest.mark.parametrize("path", ["/stats/prometheus", "/ready"])
def test_scrapers_come_by_any_name(served: Served, path: str) -> None:
    assert get(served.proxy.admin_address, path, host="pod.shop.svc.cluster.local:15090").status == 200


def test_its_own_requests_are_counted(served: Served) -> None:
    before = served.proxy.stat("http.admin.downstream_rq_2xx")
    served.get("/ready")
    after = served.proxy.stat("http.admin.downstream_rq_2xx")
    assert after == before + 2  # the two between the readings: /ready and the first reading itself
    assert served.proxy.stat("listener.admin.main_thread.downstream_cx_total") > 2
    assert served.proxy.stat("listener.admin.downstream_cx_active") == 1
    assert served.proxy.stat("http.admin.downstream_rq_active") == 1


def test_many_requests_on_one_connection(served: Served) -> None:
    with RawClient(served.proxy.admin_address) as client:
        for _ in range(5):
            assert client.request("GET", "/stats", host="127.0.0.1").status == 200
        client.send(b"GET /ready HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" * 3)
        for _ in range(3):
            assert client.read_response().body == b"LIVE\n"


def test_admin_address_path(start: StartProxy, tmp_path: Path) -> None:
    file = tmp_path / "admin-address"
    proxy = start(bootstrap, extra=["--admin-address-path", str(file)])
    assert file.read_text() == f"127.0.0.1:{proxy.admin_address[1]}"


@pytest.fixture
def backend(loop_thread: LoopThread) -> Iterator[HttpBackend]:
    made = HttpBackend(loop_thread).start()
    yield made
    made.stop()


class Draining:
    """Two listeners of different direction, with a client on each."""

    def __init__(self, backend: HttpBackend, start: StartProxy, *arguments: str) -> None:
        self.ports = free_ports(2)
        routes = route_config(route_to("web"))

        def config(admin_port: int) -> str:
            return bootstrap(
                admin_port,
                [
                    listener(name, port, http_filter_chain(routes, stat_prefix=name), traffic_direction=name)
                    for name, port in zip(("INBOUND", "OUTBOUND"), self.ports, strict=True)
                ],
                [cluster("web", backend.address)],
            )

        self.proxy = start(config, drain_time_s=1, extra=arguments)

    def accepts(self) -> list[bool]:
        """Whether the inbound and the outbound listener take new connections."""
        found = []
        for port in self.ports:
            try:
                RawClient(("127.0.0.1", port)).close()
                found.append(True)
            except ConnectionRefusedError:
                found.append(False)
        return found

    def told_to_close(self) -> list[bool]:
        return [
            get(("127.0.0.1", port), "/", host="a").values("connection") == ["close"] for port in self.ports
        ]

    def stopped(self, number: int) -> None:
        wait_until(
            lambda: self.proxy.stat("listener_manager.listener_stopped") == number,
            timeout_s=5,
            what=f"{number} listeners stopped",
        )


def test_drain_at_once(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start)
    assert world.proxy.admin("/drain_listeners", method="POST") == "OK\n"
    assert world.accepts() == [False, False]
    assert world.proxy.admin("/ready") == "LIVE\n"


def test_drain_inbound_only(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start)
    world.proxy.admin("/drain_listeners?inboundonly", method="POST")
    assert world.accepts() == [False, True]


def test_graceful_drain_as_the_agent_asks_for_it(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start, "--drain-strategy", "immediate")
    world.proxy.admin("/drain_listeners?inboundonly&graceful", method="POST")
    assert world.accepts() == [True, True]
    assert world.told_to_close() == [True, False]
    world.stopped(1)
    assert world.accepts() == [False, True]


def test_skip_exit_keeps_the_listeners(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start, "--drain-strategy", "immediate")
    for query in ("graceful&skip_exit", "skip_exit"):
        world.proxy.admin(f"/drain_listeners?{query}", method="POST")
    assert world.told_to_close() == [True, True]
    world.proxy.admin("/drain_listeners", method="POST")  # the drain that goes on does not stand in the way
    world.stopped(2)


def test_the_gradual_strategy_reaches_everybody_in_the_end(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start)
    world.proxy.admin("/drain_listeners?graceful&skip_exit", method="POST")
    wait_until(
        lambda: all(world.told_to_close() == [True, True] for _ in range(3)),
        timeout_s=5,
        what="connection: close on every answer",
    )
    assert world.proxy.stat("http.INBOUND.downstream_cx_drain_close") >= 3


def test_failed_health_check(backend: HttpBackend, start: StartProxy) -> None:
    world = Draining(backend, start)
    assert world.proxy.admin("/healthcheck/fail", method="POST") == "OK\n"
    ready = get(world.proxy.admin_address, "/ready")
    assert (ready.status, ready.body) == (503, b"DRAINING\n")
    assert world.told_to_close() == [True, True]
    assert world.proxy.stat("server.live") == 0
    assert world.proxy.admin("/healthcheck/ok", method="POST") == "OK\n"
    assert world.proxy.admin("/ready") == "LIVE\n"
    assert world.told_to_close() == [False, False]
    assert world.proxy.stat("server.live") == 1
