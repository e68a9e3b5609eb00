"""Which transport socket a host gets."""

from __future__ import annotations

from msgspec import structs

from config.model.cluster import ClusterSpec, RawBufferSpec, TransportSocketMatch, UpstreamHttpOptions
from config.model.core import EMPTY_METADATA, DataSource, Metadata
from config.model.tls import CertificateValidation, CommonTlsContext, UpstreamTlsContext
from sidecar.stream_info import TlsInfo
from sidecar.transport.tls_contexts import TlsContexts
from sidecar.transport.transport_socket import TlsSocket, TransportSocket
from sidecar.upstream.transport_sockets import RAW_SOCKETS, TlsSocketFactory, TransportSocketMatcher
from stats.families import ClusterStats, TlsStats
from stats.store import Store
from tests.support.certificates import Authority

TLS = UpstreamTlsContext(CommonTlsContext(alpn_protocols=("istio",)), sni="a.b")


def contexts() -> TlsContexts:
    return TlsContexts({}, lambda matchers: lambda certificate: True)


def endpoint_labels(**labels: object) -> Metadata:
    return Metadata({"envoy.transport_socket_match": labels})


class TestMatcher:
    def matcher(self, store: Store, *matches: TransportSocketMatch) -> TransportSocketMatcher:
        scope = store.scope("cluster.c")
        spec = ClusterSpec("c", "c", transport_socket_matches=matches)
        return TransportSocketMatcher(spec, scope, contexts(), ClusterStats(scope).default_total_match_count)

    def test_auto_mtls(self) -> None:
        store = Store()
        matcher = self.matcher(
            store,
            TransportSocketMatch("tlsMode-istio", {"tlsMode": "istio"}, TLS),
            TransportSocketMatch("tlsMode-disabled", {}, RawBufferSpec()),
        )
        assert matcher.choose(endpoint_labels(tlsMode="istio", other="x")).is_tls
        assert not matcher.choose(endpoint_labels(tlsMode="disabled")).is_tls
        assert not matcher.choose(EMPTY_METADATA).is_tls
        counts = {
            name: store.counters[f"cluster.c.{name}.total_match_count"].value
            for name in ("tlsMode-istio", "tlsMode-disabled", "default")
        }
        assert counts == {"tlsMode-istio": 1, "tlsMode-disabled": 2, "default": 0}

    def test_no_match_takes_the_clusters_own(self) -> None:
        store = Store()
        matcher = self.matcher(store, TransportSocketMatch("x", {"a": "b", "c": "d"}, TLS))
        assert matcher.choose(endpoint_labels(a="b")) is RAW_SOCKETS
        assert store.counters["cluster.c.default.total_match_count"].value == 1

    def test_auto_san_validation_is_a_demand_on_the_name_sent(self) -> None:
        trust = CertificateValidation(trusted_ca=DataSource(inline=Authority().certificate_pem))
        socket = UpstreamTlsContext(CommonTlsContext(validation=trust))
        spec = ClusterSpec(
            "c",
            "c",
            transport_socket=socket,
            http_options=UpstreamHttpOptions(auto_sni=True, auto_san_validation=True),
        )
        scope, tls = Store().scope("cluster.c"), contexts()
        TransportSocketMatcher(spec, scope, tls, ClusterStats(scope).default_total_match_count)
        assert list(tls) == [tls.client(structs.replace(socket, auto_sni_san_validation=True))]

    def test_tls_stats_exist_from_the_start(self) -> None:
        store = Store()
        self.matcher(store, TransportSocketMatch("x", {}, TLS))
        assert "cluster.c.ssl.handshake" in store.counters
        assert "cluster.c.client_ssl_socket_factory.ssl_context_update_by_sds" in store.counters


class TestSockets:
    def create(
        self, factory: TlsSocketFactory, server_name: str = ""
    ) -> tuple[TransportSocket | str, list[TlsInfo | str]]:
        told: list[TlsInfo | str] = []
        made = factory.create(
            application_protocols=None,
            fallback_protocols=(),
            server_name=server_name,
            hostname="",
            finished=told.append,
        )
        return made, told

    def test_raw(self) -> None:
        made = RAW_SOCKETS.create(
            application_protocols=("x",),
            fallback_protocols=(),
            server_name="y",
            hostname="z",
            finished=lambda outcome: None,
        )
        assert type(made) is TransportSocket

    def test_tls(self) -> None:
        factory = TlsSocketFactory(contexts().client(TLS), TlsStats(Store().scope("ssl")))
        made, told = self.create(factory)
        assert isinstance(made, TlsSocket)
        assert told == []

    def test_a_name_that_cannot_be_sent(self) -> None:
        stats = TlsStats(Store().scope("ssl"))
        made, _ = self.create(TlsSocketFactory(contexts().client(TLS), stats), "a..b\0")
        assert isinstance(made, str) and made.startswith("TLS_error:|")
        assert stats.connection_error.value == 1
