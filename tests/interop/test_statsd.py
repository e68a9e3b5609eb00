"""What is sent to StatsD, DogStatsD and Graphite, compared with what the real Envoy sends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.stage import Stage
from tests.support.bootstraps import cluster, route_to
from tests.support.envoy import require_envoy
from tests.support.http_client import get
from tests.support.process import ProxyCommand, sidecar_command, wait_until
from tests.support.statsd import StatsdReceiver

METRICS = "type.googleapis.com/envoy.config.metrics.v3."
GRAPHITE = "type.googleapis.com/envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
REQUESTS = 3


class Run:
    """A proxy that has served some requests and sent what it counted."""

    def __init__(self, command: ProxyCommand, directory: Path) -> None:
        self.stage = Stage(directory, command)
        self.statsd, self.dog, self.graphite = StatsdReceiver(), StatsdReceiver(), StatsdReceiver()
        self.tcp = self.stage.tcp_backend("silent")
        sinks = [
            (f"{METRICS}StatsdSink", {"address": self.statsd.address, "prefix": "pre"}),
            (f"{METRICS}StatsdSink", {"tcp_cluster_name": "statsd"}),
            (f"{METRICS}DogStatsdSink", {"address": self.dog.address, "max_bytes_per_datagram": 512}),
            (GRAPHITE, {"address": self.graphite.address, "prefix": "graph"}),
        ]
        self.stage.start(
            [self.stage.http_listener(route_to("app"), name="web")],
            [
                cluster("app", self.stage.http_backend().address),
                cluster("statsd", self.tcp.address),
            ],
            stats_flush_interval="0.2s",
            stats_sinks=[{"name": kind, "typed_config": {"@type": kind, **fields}} for kind, fields in sinks],
        )
        for _ in range(REQUESTS):
            assert get(self.stage.address, "/").status == 200
        last = "pre.http.web.downstream_rq_2xx:"
        wait_until(
            lambda: sum(_values(self.statsd.lines(), last)) == REQUESTS and _values(self.statsd.lines(), last)[-1] == 0,
            timeout_s=10,
            what="the counters were sent twice",
        )  # fmt: skip
        self.stage.proxy.terminate()

    def close(self) -> None:
        self.stage.close()
        for receiver in (self.statsd, self.dog, self.graphite):
            receiver.close()


def _values(lines: list[str], name: str) -> list[int]:
    """The values of lines that have `name` and a colon."""
    return [int(line.partition(name)[2].partition("|")[0]) for line in lines if name in line]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Run]]:
    ours = Run(sidecar_command(), tmp_path_factory.mktemp("ours"))
    envoy = Run(require_envoy(), tmp_path_factory.mktemp("envoy"))
    yield ours, envoy
    ours.close()
    envoy.close()


#: Stats of the listener and the cluster that have nothing to do with each proxy's insides.
NAMES = ("http.web.downstream_rq", "http.web.downstream_cx_total", "cluster.app.upstream_rq", "http.downstream_rq", "cluster.upstream_rq")  # fmt: skip


OTHERS = ("admin", "listener", "cluster_name:statsd", "cluster_name=statsd")


def _shapes(lines: list[str]) -> set[str]:
    """Lines without their values."""
    shapes = set()
    for line in lines:
        if any(f".{name}" in line for name in NAMES) and not any(each in line for each in OTHERS):
            before, _, rest = line.rpartition(":") if "|#" not in line else line.partition(":")
            shapes.add(f"{before}:{rest.lstrip('0123456789')}")
    return shapes


@pytest.mark.parametrize("sink", ["statsd", "dog", "graphite"])
def test_lines_are_those_of_envoy(runs: tuple[Run, Run], sink: str) -> None:
    ours, envoy = (_shapes(getattr(run, sink).lines()) for run in runs)
    assert ours == envoy
    assert any("|c" in line for line in ours)
    assert any("|g" in line for line in ours)
    assert any("|ms" in line for line in ours)


def test_sums_of_counters(runs: tuple[Run, Run]) -> None:
    for run in runs:
        for name in ("pre.http.web.downstream_rq_total:", "pre.cluster.app.upstream_rq_200:"):
            assert sum(_values(run.statsd.lines(), name)) == REQUESTS
        times = [line for line in run.statsd.lines() if "pre.http.web.downstream_rq_time:" in line]
        assert len(times) == REQUESTS


def test_datagrams_are_packed_if_asked_for(runs: tuple[Run, Run]) -> None:
    for run in runs:
        assert all(b"\n" not in datagram for datagram in run.statsd.datagrams + run.graphite.datagrams)
        assert max(map(len, run.dog.datagrams)) <= 512
        assert any(b"\n" in datagram for datagram in run.dog.datagrams)
        assert all(not datagram.endswith(b"\n") for datagram in run.dog.datagrams)


def test_lines_over_tcp(runs: tuple[Run, Run]) -> None:
    for run in runs:
        received = b"".join(run.tcp.received)
        assert received.endswith(b"\n")
        lines = received.decode().splitlines()
        assert sum(_values(lines, "envoy.http.web.downstream_rq_total:")) == REQUESTS
        assert "envoy.http.web.downstream_rq_active:0|g" in lines


def test_flush_on_admin(tmp_path: Path) -> None:
    """Nothing is sent until the admin port is asked for stats."""
    receiver, stage = StatsdReceiver(), Stage(tmp_path)
    sink = {"@type": f"{METRICS}StatsdSink", "address": receiver.address}
    try:
        proxy = stage.start(
            [], [], stats_flush_on_admin=True, stats_sinks=[{"name": "s", "typed_config": sink}]
        )
        assert proxy.admin("/ready") == "LIVE\n"
        assert not any("|c" in line for line in receiver.lines())
        proxy.admin("/stats?filter=nothing")
        wait_until(
            lambda: any("envoy.server.live:1|g" in line for line in receiver.lines()),
            timeout_s=10,
            what="the stats were sent",
        )
    finally:
        stage.close()
        receiver.close()
