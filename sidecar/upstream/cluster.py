"""A live cluster: its hosts, its load balancer, its circuit breakers and the pools of its hosts."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

from config.model.cluster import ClusterSpec, DiscoveryType, LbPolicy, UpstreamHttpProtocol
from config.model.core import EMPTY_METADATA, Locality, Metadata, RoutingPriority, SocketAddress
from config.model.endpoint import LbEndpoint
from protocols.http.codec import CodecSettings, HttpVersion
from sidecar.transport.http2_settings import http2_settings
from sidecar.upstream import circuit_breaker
from sidecar.upstream.api import HostSet, LbContext, LoadBalancer, Pending, UpstreamFailure
from sidecar.upstream.connector import Connector
from sidecar.upstream.host import Host, PoolKey
from sidecar.upstream.http_pool import NOTHING_PENDING, HttpPool, HttpPoolConfig
from sidecar.upstream.load_balancers.host_selection import PrioritySelection
from sidecar.upstream.load_balancers.least_request import LeastRequest
from sidecar.upstream.load_balancers.original_dst import OriginalDst
from sidecar.upstream.load_balancers.random import Random
from sidecar.upstream.load_balancers.round_robin import RoundRobin
from sidecar.upstream.resolver import DnsRefresh
from sidecar.upstream.tcp_pool import TcpClient, TcpPool
from sidecar.upstream.transport_sockets import TransportSocketMatcher
from stats.families import ClusterStats, Http2CodecStats

if TYPE_CHECKING:
    import asyncio

    from sidecar.transport.connection import NetworkFilterFactory
    from sidecar.transport.shared_counts import SharedCounts
    from sidecar.transport.timers import Cancellable, Timers
    from sidecar.transport.tls_contexts import TlsContexts
    from sidecar.upstream.api import TcpUpstreamSink, UpstreamSink
    from sidecar.upstream.circuit_breaker import CircuitBreaker
    from sidecar.upstream.connector import Spawn
    from sidecar.upstream.http1_client import NewCodec
    from sidecar.upstream.resolver import Resolver
    from stats.store import Scope


class UpstreamCluster:
    """Implements `Cluster`."""

    def __init__(
        self,
        spec: ClusterSpec,
        scope: Scope,
        *,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        spawn: Spawn,
        resolver: Resolver,
        tls: TlsContexts,
        new_codec: NewCodec,
        chance: random.Random,
        shared: SharedCounts | None = None,
    ) -> None:
        """`scope` is the cluster's own (`cluster.<name>.`); DNS begins with `start`. `shared`: with several processes."""
        self.spec = spec
        self.name = spec.name
        self.metadata: Metadata = spec.metadata
        self.stats = ClusterStats(scope)
        self._scope = scope
        self._http2_stats: Http2CodecStats | None = None
        self._timers = timers
        self._spawn = spawn
        self._breakers = circuit_breaker.build(spec, self.stats, scope, shared)
        self._matcher = TransportSocketMatcher(spec, scope, tls, self.stats.default_total_match_count)
        self._connector = Connector(spec, loop=loop, timers=timers, spawn=spawn, stats=self.stats)
        self._pool_config = self._make_pool_config(new_codec)
        self._protocol = spec.http_options.protocol
        self._tcp_clients: set[TcpClient] = set()
        self._hosts: dict[object, Host] = {}
        self._sweep: Cancellable | None = None
        self._dns: DnsRefresh | None = None
        self._lb = self._make_load_balancer(chance)
        if spec.discovery_type in (DiscoveryType.STRICT_DNS, DiscoveryType.LOGICAL_DNS):
            self._dns = self._make_dns_refresh(resolver)
        elif spec.discovery_type is not DiscoveryType.ORIGINAL_DST:
            self._set_configured_hosts()

    def _make_pool_config(self, new_codec: NewCodec) -> HttpPoolConfig:
        options = self.spec.http_options
        settings = CodecSettings(
            max_head_bytes=options.max_response_headers_kb * 1024,
            max_headers=options.max_headers_count,
            enable_trailers=options.enable_trailers,
            http2=http2_settings(options.http2),
        )
        return HttpPoolConfig(
            self._connector,
            self.stats,
            options,
            settings,
            new_codec,
            self._http2_codec_stats,
            self._on_pool_emptied,
        )

    def _http2_codec_stats(self) -> Http2CodecStats:
        """`cluster.<name>.http2`, made with the first connection that needs them (as in Envoy)."""
        if self._http2_stats is None:
            self._http2_stats = Http2CodecStats(self._scope.scope("http2"))
        return self._http2_stats

    def _make_dns_refresh(self, resolver: Resolver) -> DnsRefresh:
        spec = self.spec
        names = [
            endpoint.address.address
            for endpoint, _, _ in self._endpoints()
            if isinstance(endpoint.address, SocketAddress)
        ]
        return DnsRefresh(
            resolver, names, spec.dns_lookup_family, spec.dns_refresh_rate_s, self.stats, self._on_resolved
        )

    def _make_load_balancer(self, chance: random.Random) -> LoadBalancer:
        spec, stats = self.spec, self.stats
        if spec.discovery_type is DiscoveryType.ORIGINAL_DST:
            return OriginalDst(spec, self._original_dst_host, stats.original_dst_host_invalid)
        selection = PrioritySelection(spec.healthy_panic_threshold, stats.lb_healthy_panic, chance)
        if spec.lb_policy is LbPolicy.LEAST_REQUEST:
            return LeastRequest(selection, chance, spec.least_request_choice_count)
        if spec.lb_policy is LbPolicy.RANDOM:
            return Random(selection, chance)
        return RoundRobin(selection, chance)

    # start and end

    def set_filters(self, factories: tuple[NetworkFilterFactory, ...]) -> None:
        """The compiled upstream network filters: used by every connection made from now on."""
        self._connector.filters = factories

    def start(self) -> None:
        if self._dns is not None:
            self._dns.start(self._spawn)

    async def initialized(self) -> None:
        """Returns when the first DNS answers, good or bad, are in."""
        if self._dns is not None:
            await self._dns.first_done.wait()

    def drain(self) -> None:
        """Close idle connections now and busy ones after their exchange. TCP sessions are their owners' to end."""
        for host in tuple(self._hosts.values()):
            for pool in tuple(host.pools.values()):
                pool.drain()

    def close(self) -> None:
        """Close everything now. What was asked for or is running is told."""
        if self._dns is not None:
            self._dns.stop()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for host in tuple(self._hosts.values()):
            for pool in tuple(host.pools.values()):
                pool.close()
        for client in tuple(self._tcp_clients):
            client.shut_down()

    # Cluster

    def refresh_stats(self) -> None:
        """Gauges of what several processes share."""
        for breaker in self._breakers.values():
            breaker.refresh()

    def circuit_breaker(self, priority: RoutingPriority = RoutingPriority.DEFAULT) -> CircuitBreaker:
        return self._breakers[priority]

    def hosts(self) -> Iterable[Host]:
        return tuple(self._hosts.values())

    def new_stream(
        self,
        context: LbContext,
        sink: UpstreamSink,
        *,
        downstream_version: HttpVersion,
        priority: RoutingPriority = RoutingPriority.DEFAULT,
        application_protocols: tuple[str, ...] | None = None,
        server_name: str = "",
    ) -> Pending:
        host = self._lb.choose(context)
        if host is None:
            self.stats.upstream_cx_none_healthy.inc()
            sink.on_pool_failure(UpstreamFailure.NO_HEALTHY_HOST, "", self._connector.info_of(None))
            return NOTHING_PENDING
        high = priority is RoutingPriority.HIGH
        protocol = self._protocol
        if protocol is UpstreamHttpProtocol.USE_DOWNSTREAM:
            is_http2 = downstream_version is HttpVersion.HTTP2
            protocol = UpstreamHttpProtocol.HTTP2 if is_http2 else UpstreamHttpProtocol.HTTP1
        if not host.socket_factory.is_tls:
            application_protocols, server_name = None, ""
        pool = host.pools.get((protocol, high, application_protocols, server_name))
        if pool is None:
            key = PoolKey(protocol, high, application_protocols, server_name)
            pool = host.pools[key] = HttpPool(self._pool_config, host, key, self._breakers[priority])
        return pool.new_stream(sink)

    def _on_pool_emptied(self, host: Host, key: PoolKey) -> None:
        host.pools.pop(key, None)

    def new_connection(
        self,
        context: LbContext,
        sink: TcpUpstreamSink,
        *,
        priority: RoutingPriority = RoutingPriority.DEFAULT,
    ) -> Pending:
        host = self._lb.choose(context)
        if host is None:
            self.stats.upstream_cx_none_healthy.inc()
            sink.on_tcp_failure(UpstreamFailure.NO_HEALTHY_HOST, "", self._connector.info_of(None))
            return NOTHING_PENDING
        pool = TcpPool(self._connector, self.stats, self._breakers[priority], host, self._tcp_clients)
        return pool.new_connection(sink)

    # membership

    def _endpoints(self) -> Iterable[tuple[LbEndpoint, Locality, int]]:
        assignment = self.spec.load_assignment
        for locality in assignment.localities if assignment is not None else ():
            for endpoint in locality.endpoints:
                yield endpoint, locality.locality, locality.priority

    def _set_configured_hosts(self) -> None:
        hosts: dict[object, Host] = {}
        for endpoint, locality, priority in self._endpoints():
            factory = self._matcher.choose(endpoint.metadata)
            hosts[(priority, endpoint.address)] = Host.of_endpoint(
                endpoint, endpoint.address, locality, priority, factory
            )
        self._replace_hosts(hosts)

    def _on_resolved(self, resolved: dict[str, tuple[str, ...]]) -> None:
        if self.spec.discovery_type is DiscoveryType.LOGICAL_DNS:
            self._set_logical_host(resolved)
        else:
            self._set_strict_hosts(resolved)

    def _set_strict_hosts(self, resolved: dict[str, tuple[str, ...]]) -> None:
        """Every address is a host; those known before stay the same objects, with their connections and counts."""
        hosts: dict[object, Host] = {}
        for endpoint, locality, priority in self._endpoints():
            configured = endpoint.address
            if not isinstance(configured, SocketAddress):
                continue
            name = configured.address
            addresses = resolved.get(name)
            if addresses is None:  # could not be resolved now: what was known stays
                hosts.update(
                    (key, host)
                    for key, host in self._hosts.items()
                    if isinstance(key, tuple) and key[:2] == (priority, configured)
                )
                continue
            for address in addresses:
                key = (priority, configured, address)
                host = self._hosts.get(key)
                if host is None:
                    target = SocketAddress(address, configured.port)
                    factory = self._matcher.choose(endpoint.metadata)
                    host = Host.of_endpoint(endpoint, target, locality, priority, factory)
                    host.hostname = host.hostname or name
                hosts[key] = host
        self.stats.max_host_weight.set(max((host.weight for host in hosts.values()), default=1))
        if hosts.keys() == self._hosts.keys():
            self.stats.update_no_rebuild.inc()
            return
        self._replace_hosts(hosts)

    def _set_logical_host(self, resolved: dict[str, tuple[str, ...]]) -> None:
        """One host, whatever the number of addresses: the first address is where new connections go."""
        for endpoint, locality, priority in self._endpoints():
            configured = endpoint.address
            if not isinstance(configured, SocketAddress):
                continue
            addresses = resolved.get(configured.address)
            if not addresses:
                self.stats.update_no_rebuild.inc()
                return
            target = SocketAddress(addresses[0], configured.port)
            host = self._hosts.get(configured)
            if host is not None:
                if host.address == target:
                    self.stats.update_no_rebuild.inc()
                host.address = target
                return
            factory = self._matcher.choose(endpoint.metadata)
            host = Host.of_endpoint(endpoint, target, locality, priority, factory)
            host.hostname = host.hostname or configured.address
            self._replace_hosts({configured: host})
            return

    def _original_dst_host(self, address: SocketAddress) -> Host:
        host = self._hosts.get(address)
        if host is None:
            factory = self._matcher.choose(EMPTY_METADATA)
            host = Host(address, factory, hostname=f"{self.name}{address}")
            self._hosts[address] = host
            self.stats.membership_change.inc()
            self.stats.membership_total.set(len(self._hosts))
            self.stats.membership_healthy.set(len(self._hosts))  # nobody says otherwise of such a host
            if self._sweep is None:
                self._sweep = self._timers.after(self.spec.cleanup_interval_s, self._forget_unused)
        host.used = True
        return host

    def _forget_unused(self) -> None:
        """ORIGINAL_DST: a host goes when it was not chosen for a whole interval and has no connection."""
        self._sweep = None
        kept = {}
        for key, host in self._hosts.items():
            if host.used or host.cx_active or host.rq_pending_active:
                host.used = False
                kept[key] = host
        if len(kept) != len(self._hosts):
            self._hosts = kept
            self.stats.membership_change.inc()
            self._count_members()
        if kept:
            self._sweep = self._timers.after(self.spec.cleanup_interval_s, self._forget_unused)

    def _replace_hosts(self, hosts: dict[object, Host]) -> None:
        before, self._hosts = self._hosts, hosts
        self._lb.update(host_set(hosts.values()))
        if before or hosts:
            self.stats.membership_change.inc()
        self._count_members()
        for key, host in before.items():
            if hosts.get(key) is not host:
                for pool in tuple(host.pools.values()):
                    pool.drain()

    def _count_members(self) -> None:
        stats, hosts = self.stats, self._hosts.values()
        stats.membership_total.set(len(hosts))
        stats.membership_healthy.set(sum(host.is_healthy for host in hosts))
        stats.membership_degraded.set(sum(host.is_degraded for host in hosts))


def host_set(hosts: Iterable[Host]) -> HostSet:
    """Hosts sorted into their priorities."""
    levels: dict[int, list[Host]] = {}
    for host in hosts:
        levels.setdefault(host.priority, []).append(host)
    count = max(levels, default=-1) + 1
    return HostSet(tuple(tuple(levels.get(level, ())) for level in range(count)))
