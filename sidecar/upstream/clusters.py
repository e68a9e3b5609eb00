"""All clusters by name."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from sidecar.transport.tls_material import TlsConfigError
from sidecar.upstream.cluster import UpstreamCluster
from sidecar.upstream.resolver import SystemResolver
from sidecar.upstream.services import FilterContext, Services
from stats.families import ClusterManagerStats

if TYPE_CHECKING:
    from config.model.cluster import ClusterSpec
    from config.model.network import NetworkFilterSpec
    from sidecar.transport.connection import NetworkFilterFactory
    from sidecar.transport.shared_counts import SharedCounts
    from sidecar.transport.timers import Timers
    from sidecar.transport.tls_contexts import TlsContexts
    from sidecar.upstream.connector import Spawn
    from sidecar.upstream.http1_client import NewCodec
    from sidecar.upstream.resolver import Resolver
    from stats.store import Scope

logger = logging.getLogger(__name__)

#: How long a start waits for DNS, all clusters together: one lookup's time. What comes later is taken when it comes.
_FIRST_DNS_WAIT_S: Final = 5.0

#: Builds an upstream network filter: the network floor's registry, passed in because that floor is above this one.
BuildUpstreamFilter = Callable[["NetworkFilterSpec", FilterContext], "NetworkFilterFactory"]


class ClusterManagerImpl:
    """Implements `ClusterManager`. Made first (others need it in their services), started when the services are complete."""

    def __init__(
        self,
        specs: Iterable[ClusterSpec],
        *,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        scope: Scope,
        spawn: Spawn,
        tls: TlsContexts,
        new_codec: NewCodec,
        build_upstream_filter: BuildUpstreamFilter,
        resolver: Resolver | None = None,
        chance: random.Random | None = None,
        shared: SharedCounts | None = None,
    ) -> None:
        """`scope` is the root scope. Raises TlsConfigError with the problems of all clusters, each with its name."""
        self._build_upstream_filter = build_upstream_filter
        resolver = resolver or SystemResolver(loop)
        chance = chance or random.Random()
        self._clusters: dict[str, UpstreamCluster] = {}
        problems: list[str] = []
        for spec in specs:
            try:
                self._clusters[spec.name] = UpstreamCluster(
                    spec,
                    scope.scope(f"cluster.{spec.stat_name or spec.name}"),
                    loop=loop,
                    timers=timers,
                    spawn=spawn,
                    resolver=resolver,
                    tls=tls,
                    new_codec=new_codec,
                    chance=chance,
                    shared=shared,
                )
            except TlsConfigError as error:
                problems += [f"cluster {spec.name}: {problem}" for problem in error.problems]
        if problems:
            raise TlsConfigError(problems)
        stats = ClusterManagerStats(scope.scope("cluster_manager"))
        stats.cluster_added.add(len(self._clusters))
        stats.active_clusters.set(len(self._clusters))

    def start(self, services: Services) -> None:
        """Compile the upstream network filters and begin with DNS."""
        context = FilterContext(services)
        for cluster in self._clusters.values():
            cluster.set_filters(
                tuple(self._build_upstream_filter(spec, context) for spec in cluster.spec.filters)
            )
            cluster.start()

    async def initialized(self) -> None:
        """Returns when every DNS cluster has had its first answer, good or bad, or 5 s have gone by without."""
        try:
            async with asyncio.timeout(_FIRST_DNS_WAIT_S):
                for cluster in self._clusters.values():
                    await cluster.initialized()
        except TimeoutError:
            logger.warning(
                "dns: cluster %s and maybe others have no answer yet, not waiting for it", cluster.name
            )

    def get(self, name: str) -> UpstreamCluster | None:
        return self._clusters.get(name)

    def all(self) -> Mapping[str, UpstreamCluster]:
        return self._clusters

    def refresh_stats(self) -> None:
        """Main of several processes: gauges of what they share."""
        for cluster in self._clusters.values():
            cluster.refresh_stats()

    def drain(self) -> None:
        """Shutdown, first step: close idle connections, and busy ones after their exchange."""
        for cluster in self._clusters.values():
            cluster.drain()

    def close(self) -> None:
        """Shutdown, last step: close everything."""
        for cluster in self._clusters.values():
            cluster.close()
