"""Several workers: who serves, and what the admin port shows and changes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.workers.conftest import Fleet
from tests.support.backends import LoopThread
from tests.support.bootstraps import cluster
from tests.support.http_client import RawClient
from tests.support.metric_family import native_counts, read_delimited
from tests.support.process import Proxy, wait_until


@pytest.fixture(scope="module")
def shared(loop_thread: LoopThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One proxy for all tests here, with two workers."""
    made = Fleet(loop_thread, tmp_path_factory.mktemp("workers"))
    made.start(log_level="info")
    yield made
    made.close()


def get_page(fleet: Fleet, target: str, *, accept: str) -> bytes:
    with RawClient(("127.0.0.1", fleet.admin_port)) as client:
        response = client.request("GET", target, [("accept", accept)], host="localhost")
    assert response.status == 200
    return response.body


def running(fleet: Fleet) -> Proxy:
    assert fleet.proxy is not None
    return fleet.proxy


def test_both_serve_and_the_page_has_the_sum(shared: Fleet) -> None:
    proxy = running(shared)
    before = [shared.accepted(worker) for worker in (0, 1)]
    requests = proxy.stat("http.http.downstream_rq_2xx")
    for _ in range(100):
        with RawClient(shared.address) as client:
            assert client.request("GET", "/").status == 200
            assert client.request("GET", "/").status == 200
            after = [shared.accepted(worker) for worker in (0, 1)]
            if after[0] > before[0] and after[1] > before[1]:
                break
    assert after[0] > before[0] and after[1] > before[1]
    assert proxy.stat("http.http.downstream_cx_total") == sum(after)
    assert proxy.stat("http.http.downstream_rq_2xx") - requests == 2 * (sum(after) - sum(before))
    assert proxy.stat("cluster.web.upstream_rq_200") == shared.backend.count_complete()
    assert [proxy.stat(name) for name in ("server.concurrency", "server.live", "workers.live")] == [2, 1, 2]
    assert [
        proxy.stat(name)
        for name in (
            "cluster.web.membership_total",
            "cluster_manager.cluster_added",
            "workers.restarts_total",
        )
    ] == [1, 2, 0]


def test_a_level_is_of_all_and_goes_down_again(shared: Fleet) -> None:
    proxy = running(shared)
    with shared.connect_to(0), shared.connect_to(1):
        assert proxy.stat("http.http.downstream_cx_active") == 2
    wait_until(lambda: proxy.stat("http.http.downstream_cx_active") == 0, timeout_s=5, what="no connection")


def test_prometheus_reads_the_page(shared: Fleet) -> None:
    proxy = running(shared)
    with shared.connect_to(0), shared.connect_to(1):
        families = {each.name: each for each in text_string_to_metric_families(proxy.prometheus())}
    (live,) = families["envoy_workers_live"].samples
    assert live.value == 2
    served = sum(sample.value for sample in families["envoy_http_downstream_rq_xx"].samples if sample.value)
    times = families["envoy_http_downstream_rq_time"].samples
    (count,) = [
        each.value
        for each in times
        if each.name.endswith("_count") and each.labels["envoy_http_conn_manager_prefix"] == "http"
    ]
    assert count == shared.backend.count_complete() <= served


def test_a_failed_health_check_is_of_all(shared: Fleet) -> None:
    proxy = running(shared)
    with shared.connect_to(0) as first, shared.connect_to(1) as second:
        proxy.admin("/healthcheck/fail", method="POST")
        assert proxy.stat("server.live") == 0
        for client in (first, second):
            assert client.request("GET", "/").values("connection") == ["close"]
    proxy.admin("/healthcheck/ok", method="POST")
    with shared.connect_to(0) as first, shared.connect_to(1) as second:
        for client in (first, second):
            assert client.request("GET", "/").values("connection") == []


def test_log_levels_are_of_all(shared: Fleet) -> None:
    proxy = running(shared)
    proxy.admin("/logging?level=trace", method="POST")
    with shared.connect_to(0), shared.connect_to(1):
        for worker in (0, 1):
            wait_until(
                lambda worker=worker: f"[worker {worker}] " in proxy.log_text(),
                timeout_s=5,
                what=f"a line of worker {worker}",
            )
    proxy.admin("/logging?level=warning", method="POST")


def test_who_listens_where(shared: Fleet) -> None:
    proxy = running(shared)
    assert proxy.admin("/listeners") == f"http::127.0.0.1:{shared.address[1]}\n"
    info = json.loads(proxy.admin("/server_info"))
    assert (info["state"], info["command_line_options"]["concurrency"]) == ("LIVE", 2)


def test_hosts_have_the_numbers_of_all(shared: Fleet) -> None:
    proxy = running(shared)
    host = "web::{}:{}::".format(*shared.backend.address)

    def number(name: str) -> int:
        (line,) = [line for line in proxy.admin("/clusters").splitlines() if line.startswith(host + name)]
        return int(line.rpartition("::")[2])

    before = number("rq_success")
    with shared.connect_to(0) as first, shared.connect_to(1) as second:
        made = number("rq_success") - before
        assert first.request("GET", "/").status == second.request("GET", "/").status == 200
        assert number("rq_success") - before == made + 2
        assert number("rq_total") == proxy.stat("cluster.web.upstream_rq_total")
    dump = json.loads(proxy.admin("/config_dump?include_eds"))
    (endpoints,) = [each for each in dump["configs"] if each["@type"].endswith("EndpointsConfigDump")]
    (config,) = [
        each["endpoint_config"]
        for each in endpoints["static_endpoint_configs"]
        if each["endpoint_config"]["cluster_name"] == "web"
    ]
    assert len(config["endpoints"][0]["lb_endpoints"]) == 1


def test_failures_are_of_all(shared: Fleet) -> None:
    proxy = running(shared)
    with shared.connect_to(0) as first, shared.connect_to(1) as second:
        for name, client in (("/first", first), ("/second", second)):
            assert client.request("GET", name, host="nobody.example").status == 404
    page = proxy.admin("/failures?kind=no_route")
    assert page.startswith("2 failures since the start, 2 of them kept, 2 shown")
    assert page.index("/second") < page.index("/first")
    assert proxy.stat("failures.no_route_total") == 2


def test_a_listener_of_a_worker_may_lead_to_the_admin_port(shared: Fleet) -> None:
    """As Istio's 15090 does. The worker that asks is one of those that are asked."""
    running(shared)
    with shared.connect_to(0), RawClient(shared.address) as client:
        response = client.request("GET", "/stats/prometheus", host="admin.example")
    assert response.status == 200
    families = {each.name: each for each in text_string_to_metric_families(response.body.decode())}
    (workers,) = families["envoy_workers_live"].samples
    assert workers.value == 2


def test_every_format_of_the_page(shared: Fleet) -> None:
    proxy = running(shared)
    with shared.connect_to(0) as first, shared.connect_to(1) as second:
        page = get_page(shared, "/stats/prometheus", accept="application/openmetrics-text")
        assert page.endswith(b"# EOF\n") and b"envoy_http_downstream_rq" in page
        native = "/stats/prometheus?histogram_buckets=prometheusnative&filter=^http.http.downstream_rq_time$"
        accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
        get_page(shared, native, accept=accept)  # from now on all count in fine buckets
        for client in (first, second):
            assert client.request("GET", "/").status == 200
        (family,) = read_delimited(get_page(shared, native, accept=accept))
        (metric,) = family.metric
        histogram = metric.histogram
        counted = sum(native_counts(histogram).values()) + histogram.zero_count
        assert histogram.sample_count == counted == proxy.stat("http.http.downstream_rq_total")
    stats = json.loads(proxy.admin("/stats?format=json"))["stats"]
    values = {each["name"]: each["value"] for each in stats if "name" in each}
    assert values["workers.live"] == 2
    assert "workers.live: 2" in proxy.admin("/stats?format=html")
    assert proxy.admin("/stats?cardinality")
    assert int(json.loads(proxy.admin("/memory"))["total_physical_bytes"]) > 2 * 20_000_000


def test_a_worker_that_is_late_is_as_it_was(shared: Fleet) -> None:
    proxy = running(shared)
    name = "http.http.downstream_cx_total"
    stopped = shared.worker_pids()[0]
    with shared.connect_to(0), shared.connect_to(1):
        before = proxy.stat(name), proxy.stat("http.http.downstream_cx_active")
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert (proxy.stat(name), proxy.stat("http.http.downstream_cx_active")) == before
            assert proxy.admin("/clusters")
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert proxy.stat("http.http.downstream_cx_active") == before[1]


def test_counters_are_reset_in_all(shared: Fleet) -> None:
    proxy = running(shared)
    name = "http.http.downstream_cx_total"
    with shared.connect_to(0), shared.connect_to(1):
        assert proxy.stat(name) >= 2
        proxy.admin("/reset_counters", method="POST")
        assert proxy.stat(name) == 0
        assert proxy.stat("http.http.downstream_cx_active") == 2
    with RawClient(shared.address) as client:
        client.request("GET", "/")
        assert proxy.stat(name) == 1


def test_main_looks_names_up_for_all(fleet: Fleet) -> None:
    named = cluster("web", ("localhost", fleet.backend.address[1]))["load_assignment"]
    fields = {
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "dns_refresh_rate": "0.2s",
        "load_assignment": named,
    }
    proxy = fleet.start(log_level="info", cluster_fields=fields)
    with fleet.connect_to(0), fleet.connect_to(1):
        wait_until(
            lambda: proxy.stat("cluster.web.update_success") >= 6, timeout_s=10, what="names asked for again"
        )
    assert proxy.stat("cluster.web.update_failure") == 0
    for pid in fleet.worker_pids().values():
        assert len(os.listdir(f"/proc/{pid}/task")) == 1  # the system's resolver is asked in threads
