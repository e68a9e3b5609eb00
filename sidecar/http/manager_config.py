"""Everything the connections of one connection manager share, compiled once from its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import structs

from config.model.http import HeadersWithUnderscoresAction, HttpConnectionManagerSpec
from protocols.http.codec import CodecSettings, UnderscorePolicy
from sidecar.http.filter_chain import FilterChain
from sidecar.http.registry import build_http_filter, compile_override
from sidecar.http.request_headers import RequestRules
from sidecar.http.response_headers import ResponseRules
from sidecar.http.routing import RouteTable
from sidecar.http.tracing import HttpTracing
from sidecar.telemetry.access_log.schedule import LogSchedule
from sidecar.transport.http1_codecs import http1_codecs
from sidecar.transport.http2_keepalive import Http2Keepalive, Pinged
from sidecar.transport.http2_settings import http2_settings
from stats.families import Http1CodecStats, Http2CodecStats, HttpStats, ListenerHttpStats, TracingStats

if TYPE_CHECKING:
    from sidecar.upstream.services import FilterContext
    from stats.metrics import Counter

#: Bytes that wait for a filter, or for an upstream connection, before the source is stopped (Envoy's default).
BUFFER_LIMIT_BYTES: Final = 1024 * 1024

_UNDERSCORES: Final = {
    HeadersWithUnderscoresAction.ALLOW: UnderscorePolicy.ALLOW,
    HeadersWithUnderscoresAction.REJECT_REQUEST: UnderscorePolicy.REJECT,
    HeadersWithUnderscoresAction.DROP_HEADER: UnderscorePolicy.DROP,
}


class ManagerConfig:
    """The live form of an HttpConnectionManagerSpec."""

    __slots__ = (
        "_http2_stats",
        "_response_counters",
        "access_log",
        "bugs",
        "chain",
        "codec_settings",
        "codec_stats",
        "codec_type",
        "direction",
        "failures",
        "has_stream_timeouts",
        "listener_stats",
        "request_rules",
        "response_rules",
        "routes",
        "server_codec",
        "services",
        "spec",
        "stats",
        "timers",
        "tracing",
        "upgrades",
    )

    def __init__(self, spec: HttpConnectionManagerSpec, context: FilterContext) -> None:
        services = context.services
        scope = services.scope.scope(f"http.{spec.stat_prefix}")
        self.spec: Final = spec
        self.services: Final = services
        self.timers: Final = services.timers
        self.direction: Final = context.direction
        self.failures: Final = services.failures
        self.stats: Final = HttpStats(scope)
        tracing_stats = TracingStats(scope.scope("tracing"))
        self.tracing: Final = (
            HttpTracing(spec.tracing, spec.request_id, context, tracing_stats)
            if spec.tracing is not None
            else None
        )
        listener_scope = context.listener_scope
        self.listener_stats: Final = (
            ListenerHttpStats(listener_scope.scope(f"http.{spec.stat_prefix}"))
            if listener_scope is not None
            else None
        )
        families = [self.stats, *([self.listener_stats] if self.listener_stats is not None else ())]
        self._response_counters: Final = tuple(
            tuple(counter for family in families for counter in _counters_of(family, first_digit))
            for first_digit in range(10)
        )
        #: something happened that cannot happen; it cost one stream or connection
        self.bugs: Final = services.scope.scope("server").counter("envoy_bug_failures")
        self.codec_type: Final = spec.codec_type
        self.has_stream_timeouts: Final = bool(
            spec.request_timeout_s or spec.request_headers_timeout_s or spec.max_stream_duration_s
        )
        self.upgrades: Final = {each.upgrade_type.encode(): each.enabled for each in spec.upgrade_configs}
        self.codec_settings: Final = codec_settings(spec)
        self._http2_stats: Http2CodecStats | None = None
        self.codec_stats: Final = Http1CodecStats(services.scope.scope("http1"))
        self.server_codec: Final = http1_codecs(services.runtime).server
        self.request_rules: Final = RequestRules(spec, services.local_address)
        self.response_rules: Final = ResponseRules(spec)
        self.routes: Final = RouteTable(spec.route_config, services.read, compile_override)
        filters = spec.http_filters
        self.chain = FilterChain(
            [
                build_http_filter(
                    each.spec,
                    structs.replace(context, stat_prefix=spec.stat_prefix, filter_name=each.name),
                )
                for each in filters
            ],
            [each.name for each in filters],
            frozenset(at for at, each in enumerate(filters) if each.disabled),
        )
        self.access_log: Final = LogSchedule(
            tuple(map(services.access_logger, spec.access_log)), spec.access_log_options, services.timers
        )

    def http2_stats(self) -> Http2CodecStats:
        """`http2.*`, made with the first connection that needs them (as in Envoy)."""
        if self._http2_stats is None:
            self._http2_stats = Http2CodecStats(self.services.scope.scope("http2"))
        return self._http2_stats

    def keepalive(
        self, codec: Pinged, flush: Callable[[], None], on_silence: Callable[[], None]
    ) -> Http2Keepalive | None:
        """The PINGs of one HTTP/2 connection, if any are configured."""
        spec = self.spec.http2.keepalive
        return Http2Keepalive(spec, codec, self.timers, flush, on_silence) if spec is not None else None

    def count_response(self, status: int) -> None:
        """A response head left, final or interim: `downstream_rq_completed` and its class, here and for the listener."""
        for counter in self._response_counters[status // 100]:
            counter.inc()

    def upgrade_allowed(self, token: bytes, route_upgrades: Mapping[str, bool] | None) -> bool:
        """Whether `Upgrade: token` may leave HTTP; the route's word counts more than the connection manager's."""
        if route_upgrades:
            allowed = route_upgrades.get(token.decode("latin-1"))
            if allowed is not None:
                return allowed
        return self.upgrades.get(token, False)


def _counters_of(family: HttpStats | ListenerHttpStats, first_digit: int) -> list[Counter]:
    """What a response whose status begins with this digit moves."""
    counters = [family.downstream_rq_completed]
    if 1 <= first_digit <= 5:
        counters.append(getattr(family, f"downstream_rq_{first_digit}xx"))
    return counters


def codec_settings(spec: HttpConnectionManagerSpec) -> CodecSettings:
    """The few numbers a server codec needs."""
    upgrades = {each.upgrade_type.encode() for each in spec.upgrade_configs}
    for virtual_host in spec.route_config.virtual_hosts:
        for route in virtual_host.routes:
            upgrades.update(name.encode() for name in getattr(route.action, "upgrade_configs", ()))
    return CodecSettings(
        max_head_bytes=spec.max_request_headers_kb * 1024,
        max_headers=spec.max_headers_count,
        accept_http_10=spec.http1.accept_http_10,
        default_host_for_http_10=spec.http1.default_host_for_http_10.encode(),
        allow_absolute_url=spec.http1.allow_absolute_url,
        enable_trailers=spec.http1.enable_trailers,
        underscores=_UNDERSCORES[spec.headers_with_underscores_action],
        allowed_upgrades=frozenset(upgrades),
        http2=http2_settings(spec.http2),
    )
