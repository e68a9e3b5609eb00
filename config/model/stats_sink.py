"""Where statistics are sent (`stats_sinks`): the StatsD family."""

from __future__ import annotations

import enum

import msgspec

from config.model.core import Address


class StatsdTags(enum.Enum):
    """How a sink tells the tags of a stat."""

    IN_NAME = "in name"  # StatsD: the full name
    DOGSTATSD = "dogstatsd"  # name:1|c|#tag:value,...
    GRAPHITE = "graphite"  # name;tag=value:1|c


class StatsdSinkSpec(msgspec.Struct, frozen=True):
    """Datagrams to `address`, or lines over TCP to a cluster. `max_bytes_per_datagram` 0: one line in each."""

    address: Address | None
    tcp_cluster_name: str = ""
    prefix: str = "envoy"
    tags: StatsdTags = StatsdTags.IN_NAME
    max_bytes_per_datagram: int = 0
