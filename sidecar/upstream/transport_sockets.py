"""Which transport socket a host gets: evaluated once for each host, made once for each connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import structs

from config.model.cluster import ClusterSpec, RawBufferSpec, UpstreamTransportSocketSpec
from config.model.core import Metadata
from protocols.tls.session import TlsError, TlsErrorKind
from sidecar.stream_info import TlsInfo
from sidecar.transport.tls_outcome import count_tls_outcome
from sidecar.transport.transport_socket import TlsSocket, TransportSocket
from stats.families import SslSocketFactoryStats, TlsStats

if TYPE_CHECKING:
    from sidecar.transport.tls_contexts import ClientTlsContext, TlsContexts
    from stats.metrics import Counter
    from stats.store import Scope

#: The namespace of endpoint metadata that `transport_socket_matches` looks at.
MATCH_NAMESPACE: Final = "envoy.transport_socket_match"


class UpstreamSocketFactory(Protocol):
    """Makes the transport sockets of the connections to a host."""

    is_tls: bool

    def create(
        self,
        *,
        application_protocols: tuple[str, ...] | None,
        fallback_protocols: tuple[str, ...],
        server_name: str,
        hostname: str,
        finished: Callable[[TlsInfo | str], None],
    ) -> TransportSocket | str:
        """A socket without an owner yet, or the reason why none can be made.

        `application_protocols` and `server_name` override the configured ALPN offer and SNI; `fallback_protocols` are
        offered where neither says anything; `hostname` is the host's, for
        `auto_host_sni`. `finished` is told the outcome of a TLS handshake.
        """


class RawSocketFactory:
    """Plaintext: ALPN and SNI mean nothing here."""

    is_tls = False

    def create(
        self,
        *,
        application_protocols: tuple[str, ...] | None,
        fallback_protocols: tuple[str, ...],
        server_name: str,
        hostname: str,
        finished: Callable[[TlsInfo | str], None],
    ) -> TransportSocket | str:
        return TransportSocket()


RAW_SOCKETS: Final = RawSocketFactory()


class TlsSocketFactory:
    """TLS by one client context; counts in the cluster's `ssl.` scope."""

    is_tls = True

    def __init__(self, context: ClientTlsContext, stats: TlsStats) -> None:
        self._context = context
        self._stats = stats

    def create(
        self,
        *,
        application_protocols: tuple[str, ...] | None,
        fallback_protocols: tuple[str, ...],
        server_name: str,
        hostname: str,
        finished: Callable[[TlsInfo | str], None],
    ) -> TransportSocket | str:
        try:
            session = self._context.new_session(
                alpn=application_protocols,
                fallback_alpn=fallback_protocols,
                server_name=server_name,
                hostname=hostname,
            )
        except TlsError as error:
            self._stats.connection_error.inc()
            return str(error)

        def count(outcome: TlsInfo | str) -> None:
            count_tls_outcome(self._stats, session, outcome)
            failure = session.failure
            if isinstance(outcome, str) and (failure is None or failure.kind is TlsErrorKind.TRUNCATED):
                outcome = ""  # the handshake was only cut off: there is no reason to tell (as in Envoy)
            finished(outcome)

        return TlsSocket(session, self._context.finish, count)


class TransportSocketMatcher:
    """Chooses by endpoint metadata, first match wins; without a match the cluster's own transport socket.

    Counts `<match name>.total_match_count` in the cluster's scope, `default` for the cluster's own socket, as Envoy does.
    """

    __slots__ = ("_default", "_default_matches", "_matches")

    def __init__(
        self,
        spec: ClusterSpec,
        scope: Scope,
        tls: TlsContexts,
        default_matches: Counter,
    ) -> None:
        """`scope` is the cluster's. Raises TlsConfigError."""

        def compiled(socket_spec: UpstreamTransportSocketSpec) -> UpstreamSocketFactory:
            if isinstance(socket_spec, RawBufferSpec):
                return RAW_SOCKETS
            SslSocketFactoryStats(scope.scope("client_ssl_socket_factory"))
            if spec.http_options.auto_san_validation:  # with auto_sni the SNI is the host of the request
                socket_spec = structs.replace(socket_spec, auto_sni_san_validation=True)
            context, ssl_scope = tls.client(socket_spec), scope.scope("ssl")
            context.publish(ssl_scope)
            return TlsSocketFactory(context, TlsStats(ssl_scope))

        self._default = compiled(spec.transport_socket)
        self._default_matches = default_matches
        self._matches = [
            (
                tuple(match.match.items()),
                compiled(match.transport_socket),
                scope.counter(f"{match.name}.total_match_count"),
            )
            for match in spec.transport_socket_matches
        ]

    def choose(self, metadata: Metadata) -> UpstreamSocketFactory:
        if self._matches:
            labels = metadata.namespace(MATCH_NAMESPACE)
            for wanted, factory, counter in self._matches:
                if all(key in labels and labels[key] == value for key, value in wanted):
                    counter.inc()
                    return factory
        self._default_matches.inc()
        return self._default
