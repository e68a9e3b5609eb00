"""Streams and sessions as the access log sees them at their end."""

from __future__ import annotations

from dataclasses import dataclass

from config.model.core import Metadata, SocketAddress
from protocols.http.codec import HttpVersion, StreamMeter
from protocols.http.headers import Headers
from sidecar.stream_info import ConnectionInfo, ResponseFlag, StreamInfo, TlsInfo, UpstreamInfo
from tests.support.peer_certificates import peer_certificate

START_S = 1795232360.888428  # 2026-11-21T03:39:20.888428Z
START_NS = 1_000_000_000
MS = 1_000_000

PEER = peer_certificate()


def connection(listener: str = "l18100", *, tls: bool = True) -> ConnectionInfo:
    info = ConnectionInfo(SocketAddress("127.0.0.1", 50130), SocketAddress("127.0.0.1", 18100), listener)
    info.id = 7
    if tls:
        info.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "http/1.1", peer=PEER, local=PEER)
        info.filter_chain_name = "fcname"
    return info


def stream(info: ConnectionInfo) -> StreamInfo:
    found = StreamInfo(info, START_S, START_NS)
    found.meter = meter = StreamMeter()
    meter.wire_sent, meter.wire_received, meter.header_sent, meter.header_received = 173, 146, 149, 103
    return found


@dataclass(frozen=True)
class TraceOfTests:
    """Implements `Trace`."""

    trace_id: str = "0af7651916cd43dd8448eb211c80319c"
    span_id: str = "b7ad6b7169203331"
    sampled: bool = True


class Exchange:
    """Implements `UpstreamExchange`."""

    def __init__(self) -> None:
        self.meter = StreamMeter()
        self.version = HttpVersion.HTTP11


def proxied() -> StreamInfo:
    """A request that was answered by the upstream (after prefix rewriting)."""
    info = stream(connection())
    info.end_ns, info.log_type = START_NS + 12 * MS, "DownstreamEnd"
    info.last_response_byte_ns = info.end_ns
    info.protocol, info.response_code, info.response_code_details = "HTTP/1.1", 200, "via_upstream"
    info.bytes_received, info.bytes_sent = 4, 5
    info.upstream_exchange = exchange = Exchange()
    exchange.meter.wire_sent, exchange.meter.wire_received = 309, 86
    info.request_headers = Headers.request(
        b"POST",
        b"/rewritten/ab?q=1&x=2",
        b"a.example",
        [
            (b"user-agent", b"ua/1 \xc3\xa9\tz"),
            (b"x-empty", b""),
            (b"x-two", b"a"),
            (b"x-two", b"b"),
            (b"content-length", b"4"),
            (b"x-long", b"abcdefghij"),
            (b"x-forwarded-proto", b"https"),
            (b"x-request-id", b"3423310d-c5be-4cdb-9a51-e3dbf3b85bea"),
            (b"x-envoy-expected-rq-timeout-ms", b"15000"),
            (b"x-envoy-original-path", b"/ok/ab?q=1&x=2"),
        ],
        b"https",
    )
    info.response_headers = Headers.response(
        200,
        [
            (b"content-length", b"5"),
            (b"x-resp", b"RV"),
            (b"x-empty", b""),
            (b"x-two", b"a"),
            (b"x-two", b"b"),
            (b"x-envoy-upstream-service-time", b"10"),
            (b"date", b"Sat, 21 Nov 2026 03:39:20 GMT"),
            (b"server", b"envoy"),
        ],
    )
    upstream = info.upstream = UpstreamInfo()
    upstream.host_address = upstream.remote_address = SocketAddress("127.0.0.1", 18180)
    upstream.local_address = SocketAddress("127.0.0.1", 42414)
    upstream.hostname, upstream.connection_id = "uphost", 2
    upstream.host_metadata = Metadata({"istio": {"workload": "w;n;c"}})
    info.cluster_name, info.attempt_count, info.route_name = "up", 1, "rt"
    info.cluster_metadata = Metadata({"istio": {"services": [{"name": "s", "host": "h"}], "k": "cv"}})
    info.route_metadata = Metadata(
        {
            "istio": {
                "config": "cfg",
                "n": 3.0,
                "f": 1.5,
                "b": True,
                "l": [1.0, 'a"b'],
                "o": {"z": "x", "a": None},
            }
        }
    )
    info.last_request_byte_ns = START_NS + 5
    info.last_upstream_tx_byte_ns = START_NS + MS
    info.first_upstream_rx_byte_ns = info.first_response_byte_ns = START_NS + 11 * MS + 500_000
    info.last_upstream_rx_byte_ns = info.first_upstream_rx_byte_ns
    return info


def no_route() -> StreamInfo:
    """A local reply: no route matched."""
    info = stream(connection())
    info.end_ns, info.log_type = START_NS + 1, "DownstreamEnd"
    info.last_response_byte_ns = info.end_ns
    info.protocol, info.response_code, info.response_code_details = "HTTP/1.1", 404, "route_not_found"
    info.add_flag(ResponseFlag.NO_ROUTE_FOUND)
    info.request_headers = Headers.request(b"GET", b"/none", b"a.example", [], b"https")
    info.response_headers = Headers.response(404)
    return info


def tcp() -> StreamInfo:
    """A TCP session whose upstream refused the connection."""
    info = stream(connection("tb", tls=False))
    info.meter = None
    info.end_ns, info.log_type = START_NS + 1, "TcpConnectionEnd"
    info.add_flag(ResponseFlag.UPSTREAM_CONNECTION_FAILURE)
    info.add_flag(ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED)
    upstream = info.upstream = UpstreamInfo()
    upstream.host_address = SocketAddress("127.0.0.1", 1)
    upstream.transport_failure_reason = "delayed connect error: Connection refused"
    info.cluster_name, info.attempt_count = "dead", 1
    return info
