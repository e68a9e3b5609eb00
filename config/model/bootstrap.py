"""The whole of what was configured at start (envoy.config.bootstrap.v3.Bootstrap)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from config.model.access_log import AccessLogSpec
from config.model.cluster import ClusterSpec
from config.model.core import Address, Node
from config.model.listener import ListenerSpec
from config.model.matching import StringMatcher
from config.model.stats_sink import StatsdSinkSpec
from config.model.telemetry import NO_OPTIONS, TelemetryOptions
from config.model.tls import Secret
from config.model.workload_discovery import WorkloadDiscoverySpec


class AdminSpec(msgspec.Struct, frozen=True):
    address: Address | None = None
    access_log: tuple[AccessLogSpec, ...] = ()


class TagSpecifier(msgspec.Struct, frozen=True):
    """Exactly one of `regex` (group 1 is cut out of the name, group 2, else 1, is the value) and `fixed_value`.

    With neither, `tag_name` is one of Envoy's default tags, whose built-in rule is used.
    """

    tag_name: str
    regex: str = ""
    fixed_value: str | None = None


class HistogramBuckets(msgspec.Struct, frozen=True):
    match: StringMatcher
    buckets: tuple[float, ...]


class StatsMatcher(msgspec.Struct, frozen=True):
    """Which stats exist. `inclusion` None and `exclusion` None: all; `reject_all`: none."""

    reject_all: bool = False
    inclusion: tuple[StringMatcher, ...] | None = None
    exclusion: tuple[StringMatcher, ...] | None = None


class StatsSpec(msgspec.Struct, frozen=True):
    use_all_default_tags: bool = True
    tags: tuple[TagSpecifier, ...] = ()
    matcher: StatsMatcher = StatsMatcher()
    histogram_buckets: tuple[HistogramBuckets, ...] = ()


class ApplicationLogFormat(msgspec.Struct, frozen=True):
    """spdlog pattern of the program's own log: text, or the fields of a JSON object in order. Both None: the default."""

    text: str | None = None
    json: tuple[tuple[str, str], ...] | None = None


class Bootstrap(msgspec.Struct, frozen=True):
    """Everything in force at start. `runtime` is the static layers merged, later layers winning (flattened dotted keys)."""

    node: Node = Node()
    admin: AdminSpec = AdminSpec()
    listeners: tuple[ListenerSpec, ...] = ()
    clusters: tuple[ClusterSpec, ...] = ()
    secrets: tuple[Secret, ...] = ()
    stats: StatsSpec = StatsSpec()
    telemetry: TelemetryOptions = NO_OPTIONS
    stats_sinks: tuple[StatsdSinkSpec, ...] = ()
    stats_flush_interval_s: float = 5.0
    stats_flush_on_admin: bool = False
    stats_eviction_interval_s: float | None = None
    runtime: Mapping[str, object] = msgspec.field(default_factory=dict)
    global_max_downstream_connections: int | None = None
    log_format: ApplicationLogFormat = ApplicationLogFormat()
    workload_discovery: WorkloadDiscoverySpec | None = None
