"""Membership: configured, resolved and original destinations."""

from __future__ import annotations

from typing import Any

from config.model.cluster import ClusterSpec, DiscoveryType, LbPolicy
from config.model.core import PipeAddress, SocketAddress
from config.model.endpoint import ClusterLoadAssignment, HealthStatus, LbEndpoint, LocalityLbEndpoints
from protocols.http.headers import Headers
from sidecar.stream_info import ConnectionInfo
from sidecar.upstream.api import LbContext, UpstreamFailure
from sidecar.upstream.host import Host
from tests.support.upstream import FakeCluster, RecordingSink, assignment, endpoint, static_spec


def addresses(fake: FakeCluster) -> list[str]:
    return [str(host.address) for host in fake.cluster.hosts()]


class TestStatic:
    def test_hosts_and_gauges(self) -> None:
        fake = FakeCluster(
            static_spec(
                "a:b",
                endpoint(1),
                endpoint(2, health_status=HealthStatus.UNHEALTHY),
                endpoint(3, health_status=HealthStatus.DEGRADED),
                LbEndpoint(PipeAddress("/run/x")),
            )
        )
        assert addresses(fake) == ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3", "/run/x"]
        prefix = "cluster.a_b."
        levels = {
            name: fake.store.gauges[prefix + name].value
            for name in ("membership_total", "membership_healthy", "membership_degraded")
        }
        assert levels == {"membership_total": 4, "membership_healthy": 2, "membership_degraded": 1}
        assert fake.store.counters[prefix + "membership_change"].value == 1
        assert fake.store.counters[prefix + "default.total_match_count"].value == 4

    def test_info_names_cluster_and_host(self) -> None:
        fake = FakeCluster(static_spec("test", endpoint(80, hostname="a.b")))
        sink = fake.request()
        fake.peers[0].accept()
        info = sink.info
        assert info is not None
        assert (info.cluster_name, info.hostname, str(info.remote_address)) == ("test", "a.b", "10.0.0.1:80")
        assert info.connection_id > 0
        assert info.host is next(iter(fake.cluster.hosts()))

    def test_another_host_for_another_attempt(self) -> None:
        fake = FakeCluster(static_spec("test", endpoint(1), endpoint(2)))
        hosts = list(fake.cluster.hosts())
        for tried in hosts:
            for _ in range(4):
                fake.ask(RecordingSink(), LbContext(tried=(tried,)))
        asked = [peer.connection.upstream.host for peer in fake.peers]
        assert asked == [hosts[1]] * 4 + [hosts[0]] * 4

    def test_the_only_host_is_tried_again(self) -> None:
        fake = FakeCluster()
        fake.ask(RecordingSink(), LbContext(tried=tuple(fake.cluster.hosts())))
        assert len(fake.peers) == 1


def dns_spec(kind: DiscoveryType, *endpoints: LbEndpoint) -> ClusterSpec:
    return ClusterSpec("dns", "dns", kind, load_assignment=assignment(*endpoints))


class TestStrictDns:
    def spec(self) -> ClusterSpec:
        return dns_spec(DiscoveryType.STRICT_DNS, endpoint(80, "a.test"), endpoint(81, "b.test"))

    def test_every_address_is_a_host(self) -> None:
        fake = FakeCluster(self.spec())
        assert fake.request().events == [("failure", UpstreamFailure.NO_HEALTHY_HOST, "")]
        fake.cluster._on_resolved({"a.test": ("10.0.0.1", "10.0.0.2"), "b.test": ("10.0.0.1",)})
        assert addresses(fake) == ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:81"]
        assert [host.hostname for host in fake.cluster.hosts()] == ["a.test", "a.test", "b.test"]
        assert fake.value("membership_total") == 3
        assert fake.value("max_host_weight") == 1

    def test_known_hosts_stay(self) -> None:
        fake = FakeCluster(self.spec())
        fake.cluster._on_resolved({"a.test": ("10.0.0.1", "10.0.0.2"), "b.test": ()})
        first = list(fake.cluster.hosts())
        fake.cluster._on_resolved({"a.test": ("10.0.0.2", "10.0.0.3"), "b.test": ()})
        second = list(fake.cluster.hosts())
        assert second[0] is first[1]
        assert fake.value("membership_change") == 2
        assert fake.value("update_no_rebuild") == 0
        fake.cluster._on_resolved({"a.test": ("10.0.0.2", "10.0.0.3"), "b.test": ()})
        assert fake.value("update_no_rebuild") == 1
        assert fake.value("membership_change") == 2

    def test_a_failure_keeps_the_last_good_result(self) -> None:
        fake = FakeCluster(self.spec())
        fake.cluster._on_resolved({"a.test": ("10.0.0.1",), "b.test": ("10.0.0.9",)})
        fake.cluster._on_resolved({"b.test": ("10.0.0.8",)})
        assert addresses(fake) == ["10.0.0.1:80", "10.0.0.8:81"]
        fake.cluster._on_resolved({})
        assert addresses(fake) == ["10.0.0.1:80", "10.0.0.8:81"]

    def test_a_host_that_is_gone_finishes_what_it_has(self) -> None:
        fake = FakeCluster(dns_spec(DiscoveryType.STRICT_DNS, endpoint(80, "a.test")))
        fake.cluster._on_resolved({"a.test": ("10.0.0.1",)})
        sink = fake.request()
        peer = fake.peers[0].accept()
        fake.cluster._on_resolved({"a.test": ()})
        assert fake.request().events == [("failure", UpstreamFailure.NO_HEALTHY_HOST, "")]
        assert not peer.transport.closed
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        assert sink.events[-1] == ("headers", 200, True)
        assert peer.transport.closed


class TestLogicalDns:
    def test_one_host_that_moves(self) -> None:
        fake = FakeCluster(dns_spec(DiscoveryType.LOGICAL_DNS, endpoint(80, "a.test")))
        fake.cluster._on_resolved({"a.test": ("10.0.0.1", "10.0.0.2")})
        fake.request()
        peer = fake.peers[0].accept()
        fake.cluster._on_resolved({"a.test": ("10.0.0.2",)})
        assert addresses(fake) == ["10.0.0.2:80"]
        assert not peer.transport.closed
        assert fake.value("membership_change") == 1
        fake.request()
        assert [str(each.connection.upstream.remote_address) for each in fake.peers] == [
            "10.0.0.1:80",
            "10.0.0.2:80",
        ]
        fake.cluster._on_resolved({})
        assert addresses(fake) == ["10.0.0.2:80"]
        assert fake.value("update_no_rebuild") == 1


def original_dst_spec(**fields: object) -> ClusterSpec:
    return ClusterSpec(
        "odst",
        "odst",
        DiscoveryType.ORIGINAL_DST,
        lb_policy=LbPolicy.CLUSTER_PROVIDED,
        cleanup_interval_s=5.0,
        **fields,
    )


def downstream(address: str, port: int, restored: bool = True) -> LbContext:
    info = ConnectionInfo(SocketAddress("10.1.1.1", 4444), SocketAddress(address, port))
    info.local_address_restored = restored
    return LbContext(downstream=info)


class TestOriginalDst:
    def test_the_host_is_where_the_connection_went(self) -> None:
        fake = FakeCluster(original_dst_spec())
        for context in (downstream("10.0.0.7", 80), downstream("::7", 81), downstream("10.0.0.7", 80)):
            fake.ask(RecordingSink(), context)
        assert addresses(fake) == ["10.0.0.7:80", "[::7]:81"]
        assert next(iter(fake.cluster.hosts())).hostname == "odst10.0.0.7:80"
        assert fake.value("membership_total") == fake.value("membership_healthy") == 2

    def test_no_host_without_a_restored_address(self) -> None:
        fake = FakeCluster(original_dst_spec())
        for context in (downstream("10.0.0.7", 80, restored=False), LbContext()):
            sink = RecordingSink()
            fake.ask(sink, context)
            assert sink.events == [("failure", UpstreamFailure.NO_HEALTHY_HOST, "")]
        assert fake.value("upstream_cx_none_healthy") == 2

    def test_port_override(self) -> None:
        fake = FakeCluster(original_dst_spec(original_dst_port_override=8080))
        fake.ask(RecordingSink(), downstream("10.0.0.7", 80))
        assert addresses(fake) == ["10.0.0.7:8080"]

    def test_header(self) -> None:
        fake = FakeCluster(original_dst_spec(original_dst_use_http_header="x-envoy-original-dst-host"))
        context = downstream("10.0.0.7", 80)
        context.headers = Headers([(b"x-envoy-original-dst-host", b"10.0.0.9:90")])
        fake.ask(RecordingSink(), context)
        context.headers = Headers([(b"x-envoy-original-dst-host", b"example.org:90")])
        fake.ask(RecordingSink(), context)
        assert addresses(fake) == ["10.0.0.9:90", "10.0.0.7:80"]
        assert fake.value("original_dst_host_invalid") == 1

    def test_unused_hosts_are_forgotten(self) -> None:
        fake = FakeCluster(original_dst_spec())
        sink = RecordingSink()
        fake.ask(sink, downstream("10.0.0.7", 80))
        peer = fake.peers[0].accept()
        fake.loop.advance(60)
        assert addresses(fake) == ["10.0.0.7:80"]
        assert sink.stream is not None
        sink.stream.reset()
        peer.gone()
        fake.loop.advance(11)
        assert addresses(fake) == []
        assert fake.value("membership_total") == 0
        assert fake.value("membership_change") == 2
        fake.ask(RecordingSink(), downstream("10.0.0.7", 80))
        assert addresses(fake) == ["10.0.0.7:80"]

    def test_a_new_host_costs_the_same_however_many_there_are(self) -> None:
        counted: list[None] = []

        class Hosts(dict[object, Host]):
            def values(self) -> Any:
                counted.append(None)
                return super().values()

        fake = FakeCluster(original_dst_spec())
        fake.cluster._hosts = Hosts()
        for port in range(1, 50):
            fake.cluster._original_dst_host(SocketAddress("10.0.0.7", port))
        assert counted == []
        assert isinstance(fake.cluster._hosts, Hosts)
        assert fake.value("membership_total") == fake.value("membership_healthy") == 49
        assert fake.value("membership_degraded") == 0
        assert fake.value("membership_change") == 49


def test_localities_and_priorities() -> None:
    localities = (
        LocalityLbEndpoints((endpoint(1),), priority=1),
        LocalityLbEndpoints((endpoint(2),), priority=0),
    )
    spec = ClusterSpec("test", "test", load_assignment=ClusterLoadAssignment("test", localities))
    fake = FakeCluster(spec)
    for _ in range(5):
        fake.ask(RecordingSink())
    assert {peer.connection.upstream.remote_address.port for peer in fake.peers} == {2}
