"""The cluster manager: names, stats from the start, upstream filters."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, cast

import pytest

from config.model.cluster import ClusterSpec, DiscoveryType
from config.model.istio import MetadataExchangeSpec
from config.model.tls import CommonTlsContext, UpstreamTlsContext
from protocols.http.h1_httptools import client_codec
from sidecar.transport.connection import Connection, NetworkFilter, PassThroughFilter
from sidecar.transport.flow import Flow
from sidecar.transport.timers import Timers
from sidecar.transport.tls_contexts import TlsConfigError, TlsContexts
from sidecar.upstream.api import LbContext
from sidecar.upstream.clusters import ClusterManagerImpl
from sidecar.upstream.services import FilterContext, Services
from stats.store import Store
from tests.support.upstream import (
    FakeTask,
    ManualLoop,
    Peer,
    RecordingTcpSink,
    assignment,
    endpoint,
    static_spec,
)


class Greeting(PassThroughFilter):
    """Sends a greeting and takes the peer's off the stream."""

    def on_open(self) -> Flow:
        self.connection.write(b"hello")
        return Flow.CONTINUE

    def on_data(self, data: bytes, end: bool) -> bytes:
        self.connection.remove(self)
        return data.removeprefix(b"hello")


class GreetingFactory:
    def create(self, connection: Connection) -> NetworkFilter:
        return Greeting(connection)


def manage(*specs: ClusterSpec) -> tuple[ClusterManagerImpl, Store, list[object]]:
    store = Store()
    loop = ManualLoop()
    built: list[object] = []

    def build(spec: object, context: FilterContext) -> GreetingFactory:
        built.append(spec)
        assert context.listener_name == ""
        return GreetingFactory()

    def spawn(coroutine: Any) -> FakeTask:
        coroutine.close()
        return FakeTask()

    manager = ClusterManagerImpl(
        specs,
        loop=loop.as_loop(),
        timers=Timers(loop.as_loop()),
        scope=store.root,
        spawn=spawn,
        tls=TlsContexts({}, lambda matchers: lambda certificate: True),
        new_codec=client_codec,
        build_upstream_filter=build,
        chance=random.Random(1),
    )
    return manager, store, built


def test_names_and_stats() -> None:
    manager, store, _ = manage(static_spec("a"), ClusterSpec("outbound|80||b", "outbound|80||b;"))
    assert set(manager.all()) == {"a", "outbound|80||b"}
    assert manager.get("c") is None
    assert manager.get("a") is manager.all()["a"]
    assert store.counters["cluster.outbound|80||b;.upstream_cx_total"].value == 0
    assert store.gauges["cluster.a.membership_total"].value == 1
    assert store.gauges["cluster_manager.active_clusters"].value == 2
    assert store.counters["cluster_manager.cluster_added"].value == 2


def test_upstream_filters_stand_before_the_user_of_the_connection() -> None:
    spec = MetadataExchangeSpec(protocol="istio-peer-exchange")
    manager, _, built = manage(static_spec("a", filters=(spec,)))
    manager.start(cast("Services", None))
    assert built == [spec]
    cluster = manager.get("a")
    assert cluster is not None
    sink = RecordingTcpSink()
    cluster.new_connection(LbContext(), sink)
    (client,) = cluster._tcp_clients
    peer = Peer(client.connection).accept()
    assert peer.transport.take() == b"hello"
    assert sink.events == [("ready",)]
    peer.send(b"helloworld")
    assert sink.events == [("ready",), ("data", b"world", False)]
    manager.drain()
    manager.close()
    assert peer.transport.closed


def test_tls_problems_of_all_clusters_are_told_with_their_names() -> None:
    def broken(name: str, secret: str) -> ClusterSpec:
        tls = UpstreamTlsContext(CommonTlsContext(certificate_secret=secret))
        return static_spec(name, transport_socket=tls)

    with pytest.raises(TlsConfigError) as caught:
        manage(broken("a", "first"), static_spec("good"), broken("outbound|80||b", "second"))
    assert caught.value.problems == (
        "cluster a: secret first: there is no such certificate",
        "cluster outbound|80||b: secret second: there is no such certificate",
    )


def test_a_start_does_not_wait_for_dns_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sidecar.upstream.clusters._FIRST_DNS_WAIT_S", 0.01)
    names = [
        ClusterSpec(name, name, DiscoveryType.STRICT_DNS, load_assignment=assignment(endpoint(80, "a.test")))
        for name in ("one", "two")
    ]
    manager, _, _ = manage(*names)
    manager.start(cast("Services", None))
    with caplog.at_level(logging.WARNING):
        asyncio.run(manager.initialized())
    (record,) = caplog.records
    assert "cluster one and maybe others" in record.getMessage()
