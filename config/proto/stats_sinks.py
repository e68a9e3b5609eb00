"""Stats sinks (envoy.config.metrics.v3.{StatsdSink,DogStatsdSink}, graphite_statsd)."""

from __future__ import annotations

from typing import Any, Final

from config.model.stats_sink import StatsdSinkSpec, StatsdTags
from config.proto.core import translate_address, wrapped_int
from config.proto.fields import declare
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable
from config.spelling import did_you_mean

_STATSD: Final = "envoy.config.metrics.v3.StatsdSink"
_DOG_STATSD: Final = "envoy.config.metrics.v3.DogStatsdSink"
_GRAPHITE: Final = "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"

declare("envoy.config.metrics.v3.StatsSink", "typed_config", no_effect={"name": "the type decides"})
declare(_STATSD, "address tcp_cluster_name prefix")
declare(_DOG_STATSD, "address prefix max_bytes_per_datagram")
declare(_GRAPHITE, "address prefix max_bytes_per_datagram")


def _translate_statsd(msg: Any, at: Path) -> StatsdSinkSpec | None:
    prefix = msg.prefix or "envoy"
    if msg.WhichOneof("statsd_specifier") == "tcp_cluster_name":
        name, clusters = msg.tcp_cluster_name, at.context.clusters
        if clusters is not None and name not in clusters:
            at.field("tcp_cluster_name").error(f"there is no cluster '{name}'{did_you_mean(name, clusters)}")
        return StatsdSinkSpec(None, name, prefix)
    return StatsdSinkSpec(translate_address(msg.address, at.field("address"), datagrams=True), "", prefix)


def _translate_tagged(msg: Any, at: Path) -> StatsdSinkSpec:
    tags = StatsdTags.DOGSTATSD if msg.DESCRIPTOR.full_name == _DOG_STATSD else StatsdTags.GRAPHITE
    address = translate_address(msg.address, at.field("address"), datagrams=True)
    most = wrapped_int(msg, "max_bytes_per_datagram", 0)
    return StatsdSinkSpec(address, "", msg.prefix or "envoy", tags, most)


_NOT_HERE: Final = (
    "statistics are sent by StatsdSink (UDP, Unix socket or TCP cluster), DogStatsdSink and GraphiteStatsdSink, "
    "or scraped from /stats/prometheus of the admin port (text, OpenMetrics, protobuf)"
)
STATS_SINKS: Final = ExtensionTable[StatsdSinkSpec](
    "a stats sink",
    {_STATSD: _translate_statsd, _DOG_STATSD: _translate_tagged, _GRAPHITE: _translate_tagged},
    skip_others=_NOT_HERE,
)


def translate_stats_sinks(messages: Any, at: Path) -> tuple[StatsdSinkSpec, ...]:
    """The sinks that this proxy has; others are skipped with a warning."""
    specs = (
        STATS_SINKS.translate(message.typed_config, at.index(index).field("typed_config"))
        for index, message in enumerate(messages)
    )
    return tuple(spec for spec in specs if spec is not None)
