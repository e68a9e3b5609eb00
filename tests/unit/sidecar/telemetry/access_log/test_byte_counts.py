from __future__ import annotations

from protocols.http.codec import StreamMeter, sum_of
from sidecar.telemetry.access_log import byte_counts
from tests.unit.sidecar.telemetry.access_log.streams import no_route, proxied, tcp


def test_http_is_metered_on_both_sides() -> None:
    info = proxied()
    assert info.upstream_exchange is not None
    meter = info.upstream_exchange.meter
    meter.header_received, meter.header_sent = 11, 22
    assert byte_counts.downstream_wire_received(info) == 146
    assert byte_counts.downstream_wire_sent(info) == 173
    assert byte_counts.downstream_header_received(info) == 103
    assert byte_counts.downstream_header_sent(info) == 149
    assert byte_counts.upstream_wire_received(info) == 86
    assert byte_counts.upstream_wire_sent(info) == 309
    assert byte_counts.upstream_header_received(info) == 11
    assert byte_counts.upstream_header_sent(info) == 22


def test_attempts_are_added_up() -> None:
    info = proxied()
    info.earlier_exchanges = earlier = sum_of(None, StreamMeter())
    earlier.wire_received, earlier.wire_sent, earlier.header_received, earlier.header_sent = (
        1000,
        2000,
        3000,
        4000,
    )
    assert byte_counts.upstream_wire_received(info) == 1086
    assert byte_counts.upstream_wire_sent(info) == 2309
    assert byte_counts.upstream_header_received(info) == 3000
    assert byte_counts.upstream_header_sent(info) == 4000
    assert sum_of(earlier, earlier).wire_sent == 4000


def test_a_local_reply_sent_nothing_upstream() -> None:
    info = no_route()
    info.bytes_sent = info.bytes_received = 5
    assert byte_counts.upstream_wire_received(info) == byte_counts.upstream_wire_sent(info) == 0
    assert byte_counts.upstream_header_received(info) == byte_counts.upstream_header_sent(info) == 0


def test_what_a_session_carries_is_its_payload() -> None:
    info = tcp()
    info.bytes_received, info.bytes_sent = 8, 18
    assert (byte_counts.downstream_wire_received(info), byte_counts.downstream_wire_sent(info)) == (8, 18)
    assert (byte_counts.upstream_wire_received(info), byte_counts.upstream_wire_sent(info)) == (18, 8)
    assert byte_counts.downstream_header_received(info) == byte_counts.downstream_header_sent(info) == 0
