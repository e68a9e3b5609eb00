"""Bytes on the wire, of both sides: metered for HTTP; of a TCP session those of its payload, as in Envoy.

The upstream side is that of all attempts together.
"""

from __future__ import annotations

from sidecar.stream_info import StreamInfo


def downstream_wire_received(info: StreamInfo) -> int:
    return info.meter.wire_received if info.meter is not None else info.bytes_received


def downstream_wire_sent(info: StreamInfo) -> int:
    return info.meter.wire_sent if info.meter is not None else info.bytes_sent


def downstream_header_received(info: StreamInfo) -> int:
    return info.meter.header_received if info.meter is not None else 0


def downstream_header_sent(info: StreamInfo) -> int:
    return info.meter.header_sent if info.meter is not None else 0


def upstream_wire_received(info: StreamInfo) -> int:
    exchange, earlier = info.upstream_exchange, info.earlier_exchanges
    if exchange is None:
        return 0 if info.protocol else info.bytes_sent
    return exchange.meter.wire_received + (earlier.wire_received if earlier is not None else 0)


def upstream_wire_sent(info: StreamInfo) -> int:
    exchange, earlier = info.upstream_exchange, info.earlier_exchanges
    if exchange is None:
        return 0 if info.protocol else info.bytes_received
    return exchange.meter.wire_sent + (earlier.wire_sent if earlier is not None else 0)


def upstream_header_received(info: StreamInfo) -> int:
    exchange, earlier = info.upstream_exchange, info.earlier_exchanges
    if exchange is None:
        return 0
    return exchange.meter.header_received + (earlier.header_received if earlier is not None else 0)


def upstream_header_sent(info: StreamInfo) -> int:
    exchange, earlier = info.upstream_exchange, info.earlier_exchanges
    if exchange is None:
        return 0
    return exchange.meter.header_sent + (earlier.header_sent if earlier is not None else 0)
