"""Why did it fail: a record of every request, session and connection that failed, in a ring of bounded size.

Nothing is gathered while all goes well. What fails leaves facts where they are at hand (the router notes each failed attempt,
an upstream connection what it was like at its end); the record is put together once, when the stream ends. It holds texts
of bounded length and numbers, never headers or connections, and of a path not the query, which may hold secrets.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

from sidecar.stream_info import ConnectionFacts, ResponseFlag, StreamInfo
from sidecar.telemetry.failure_story import tell
from sidecar.telemetry.printable import printable
from sidecar.transport.transport_socket import CloseReason

if TYPE_CHECKING:
    from protocols.peer_metadata import PeerMetadata
    from sidecar.stream_info import ConnectionInfo, TlsInfo
    from sidecar.transport.connection import Connection
    from stats.failure_family import FailureStats
    from stats.metrics import Counter

#: The longest text kept of anything that a peer may choose.
MAX_TEXT: Final = 256
#: Attempts kept of one request; of more the first ones and the last.
MAX_ATTEMPTS: Final = 16

#: What a record and an attempt take without their texts, in bytes (measured, rounded up).
_RECORD_BYTES: Final = 1600
_ATTEMPT_BYTES: Final = 600

#: What a client spoke, by what the TLS inspector found.
_TRANSPORTS: Final = {"tls": "TLS", "raw_buffer": "plaintext"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to have a request answered, or a session connected. Times in ns, bytes of the exchange on the wire."""

    host: str  # "" when none was chosen
    outcome: str  # `connect_failure`, `connection_termination`, `per_try_timeout`, a status, ...
    details: str = ""  # the transport's own words
    reused: bool = False  # the connection had been idle in the pool
    sent: bool = False  # the head was handed to the connection
    bytes_sent: int = 0
    bytes_received: int = 0
    idle_ns: int = -1  # of a reused connection, before this exchange; -1: not known
    age_ns: int = -1  # of the connection
    connection: ConnectionFacts | None = None


@dataclass(slots=True)
class Failure:
    """One record. Implements `stream_info.FailureCause`. Empty texts and -1: not known, or does not apply."""

    kind: str = ""  # one of `stats.failure_family.KINDS`
    hop: str = ""  # where it went wrong: "downstream", "proxy" or "upstream"
    time_s: float = 0.0  # wall clock, when it was over
    duration_ms: int = 0
    protocol: str = ""  # "HTTP/1.1", "HTTP/2", "TCP"; "TLS" for a connection that got no further
    code: int = 0
    details: str = ""
    flags: str = ""
    retries: int = 0
    sent_again: bool = False  # by the proxy itself, which is no retry: the server had left just then
    why_not_retried: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    attempts_left_out: int = 0
    method: str = ""
    authority: str = ""
    path: str = ""
    request_id: str = ""
    request_complete: bool = False
    bytes_received: int = 0  # from the client: body or payload
    bytes_sent: int = 0  # to the client
    route: str = ""
    cluster: str = ""
    host: str = ""
    upstream_peer: str = ""  # workload, if known
    upstream_identity: str = ""
    listener: str = ""
    client: str = ""  # address
    client_peer: str = ""
    client_identity: str = ""
    client_closed: str = (
        ""  # how the client's connection ended: "FIN", "RST", "RST_STREAM CANCEL", "TLS", "timeout", "close"
    )
    client_age_ns: int = -1  # of its connection
    connection_id: int = 0
    client_spoke: str = (
        ""  # "TLS" where plaintext was expected, "HTTP" where TLS was; "plaintext" where no chain takes it
    )
    tls_error: str = ""
    server_name: str = ""

    @property
    def story(self) -> str:
        return tell(self)

    @property
    def last_attempt(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    def add(self, attempt: Attempt) -> None:
        """Note an attempt that failed."""
        if len(self.attempts) >= MAX_ATTEMPTS:
            del self.attempts[MAX_ATTEMPTS // 2]
            self.attempts_left_out += 1
        self.attempts.append(attempt)

    def value(self, field: str) -> str | int | float | bool | None:
        reader = FIELDS[field]
        return reader(self)

    def make_printable(self) -> None:
        """Peers chose some of the texts (also those of errors, which quote them): each gets its bounds and no control characters.

        Here for all of them, so that nobody who writes one has to remember.
        """
        for name in _TEXTS:
            value: str = getattr(self, name)
            if len(value) > MAX_TEXT or not value.isprintable():
                setattr(self, name, printable(value[:MAX_TEXT]))

    def size_bytes(self) -> int:
        """About what it holds of memory."""
        texts = sum(len(value) for name in _TEXTS if (value := getattr(self, name)))
        for attempt in self.attempts:
            texts += _ATTEMPT_BYTES + len(attempt.host) + len(attempt.details)
        return _RECORD_BYTES + texts

    def as_json(self) -> dict[str, object]:
        """Every fact that is known."""
        shown: dict[str, object] = {"story": self.story}
        for name, reader in FIELDS.items():
            value = reader(self)
            if value is not None:
                shown[name] = value
        shown["attempts"] = [_attempt_json(each) for each in self.attempts]
        return shown


_TEXTS: Final = tuple(each.name for each in fields(Failure) if each.type == "str")


def begun(info: StreamInfo) -> Failure:
    """The record of a stream on which something goes wrong just now."""
    failure = info.failure
    if not isinstance(failure, Failure):
        failure = info.failure = Failure()
    return failure


# fields by name: JSON, access log operators


def _text(name: str) -> Callable[[Failure], str | None]:
    return lambda failure: getattr(failure, name) or None


def _number(name: str) -> Callable[[Failure], int]:
    return lambda failure: int(getattr(failure, name))


def _ms(ns: int) -> float | None:
    return round(ns / 1e6, 3) if ns >= 0 else None


def _of_attempt(
    read: Callable[[Attempt], str | int | float | bool | None],
) -> Callable[[Failure], str | int | float | bool | None]:
    return lambda failure: read(failure.attempts[-1]) if failure.attempts else None


def _of_connection(
    read: Callable[[ConnectionFacts], str | int | float | bool | None],
) -> Callable[[Failure], str | int | float | bool | None]:
    def get(attempt: Attempt) -> str | int | float | bool | None:
        return read(attempt.connection) if attempt.connection is not None else None

    return _of_attempt(get)


#: Every single fact by the name that people use for it.
FIELDS: Final[dict[str, Callable[[Failure], str | int | float | bool | None]]] = {
    "time": lambda failure: round(failure.time_s, 3),
    "kind": _text("kind"),
    "hop": _text("hop"),
    "ended_by": lambda failure: _ended(failure)[0] or None,
    "how": lambda failure: _ended(failure)[1] or None,
    "flags": _text("flags"),
    "code": _number("code"),
    "details": _text("details"),
    "duration_ms": _number("duration_ms"),
    "protocol": _text("protocol"),
    "method": _text("method"),
    "authority": _text("authority"),
    "path": _text("path"),
    "request_id": _text("request_id"),
    "bytes_received": _number("bytes_received"),
    "bytes_sent": _number("bytes_sent"),
    "retries": _number("retries"),
    "sent_again": lambda failure: failure.sent_again or None,
    "why_not_retried": _text("why_not_retried"),
    "route": _text("route"),
    "cluster": _text("cluster"),
    "host": _text("host"),
    "upstream_peer": _text("upstream_peer"),
    "upstream_identity": _text("upstream_identity"),
    "connection_reused": _of_attempt(lambda attempt: attempt.reused),
    "connection_age_ms": _of_attempt(lambda attempt: _ms(attempt.age_ns)),
    "connection_idle_ms": _of_attempt(lambda attempt: _ms(attempt.idle_ns)),
    "connection_requests_before": _of_connection(lambda facts: max(facts.exchanges - 1, 0)),
    "connection_bytes_sent": _of_connection(lambda facts: facts.bytes_sent),
    "connection_bytes_received": _of_connection(lambda facts: facts.bytes_received),
    "upstream_bytes_sent": _of_attempt(lambda attempt: attempt.bytes_sent),
    "upstream_bytes_received": _of_attempt(lambda attempt: attempt.bytes_received),
    "tls_error": _text("tls_error"),
    "server_name": _text("server_name"),
    "listener": _text("listener"),
    "client": _text("client"),
    "client_peer": _text("client_peer"),
    "client_identity": _text("client_identity"),
    "client_spoke": _text("client_spoke"),
    "client_closed": _text("client_closed"),
    "client_connection_age_ms": lambda failure: _ms(failure.client_age_ns),
    "connection_id": _number("connection_id"),
}


def _ended(failure: Failure) -> tuple[str, str]:
    """Who ended it ("client", "proxy", "upstream"), and how on the wire."""
    if failure.hop == "downstream" and failure.client_closed:
        if failure.client_closed in ("close", "timeout", "TLS"):
            return "proxy", failure.client_closed
        return "client", failure.client_closed
    attempt = failure.last_attempt
    facts = attempt.connection if attempt is not None else None
    if failure.hop == "upstream" and facts is not None:
        if facts.reset_code >= 0:
            return "upstream", "RST_STREAM"
        if facts.goaway is not None and attempt is not None and attempt.outcome == "not_processed":
            return "upstream", "GOAWAY"
        if facts.ended_by:
            return facts.ended_by, facts.how
    if "timeout" in failure.kind:
        return "proxy", "timeout"
    return "proxy", ""


def _attempt_json(attempt: Attempt) -> dict[str, object]:
    shown: dict[str, object] = {
        "host": attempt.host,
        "outcome": attempt.outcome,
        "details": attempt.details,
        "reused": attempt.reused,
        "sent": attempt.sent,
        "bytes_sent": attempt.bytes_sent,
        "bytes_received": attempt.bytes_received,
        "connection_age_ms": _ms(attempt.age_ns),
        "connection_idle_ms": _ms(attempt.idle_ns),
    }
    facts = attempt.connection
    if facts is not None:
        shown |= {
            "ended_by": facts.ended_by,
            "how": facts.how,
            "connection_requests_before": max(facts.exchanges - 1, 0),
            "connection_bytes_sent": facts.bytes_sent,
            "connection_bytes_received": facts.bytes_received,
        }
        if facts.reset_code >= 0:
            shown["rst_stream_code"] = facts.reset_code
        if facts.goaway is not None:
            last_stream_id, code, text = facts.goaway
            shown["goaway"] = {"last_stream_id": last_stream_id, "code": code, "text": text}
    return {name: value for name, value in shown.items() if value not in ("", None)}


# what kind of failure it was

#: The flag that says most comes first: what happened counts more than what became of it.
_BY_FLAG: Final = (
    (ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR, "client_protocol", "downstream"),
    (ResponseFlag.DNS_RESOLUTION_FAILED, "dns", "upstream"),
    (ResponseFlag.UPSTREAM_CONNECTION_FAILURE, "upstream_connect", "upstream"),
    (ResponseFlag.UPSTREAM_CONNECTION_TERMINATION, "upstream_closed", "upstream"),
    (ResponseFlag.UPSTREAM_PROTOCOL_ERROR, "upstream_protocol", "upstream"),
    (ResponseFlag.UPSTREAM_REMOTE_RESET, "upstream_reset", "upstream"),
    (ResponseFlag.UPSTREAM_REQUEST_TIMEOUT, "upstream_timeout", "upstream"),
    (ResponseFlag.NO_HEALTHY_UPSTREAM, "no_healthy_upstream", "proxy"),
    (ResponseFlag.UPSTREAM_OVERFLOW, "circuit_breaker", "proxy"),
    (ResponseFlag.NO_CLUSTER_FOUND, "no_cluster", "proxy"),
    (ResponseFlag.NO_ROUTE_FOUND, "no_route", "proxy"),
    (ResponseFlag.UPSTREAM_MAX_STREAM_DURATION_REACHED, "max_duration", "proxy"),
    (ResponseFlag.DURATION_TIMEOUT, "max_duration", "proxy"),
    (ResponseFlag.STREAM_IDLE_TIMEOUT, "idle_timeout", "downstream"),
    (ResponseFlag.DOWNSTREAM_REMOTE_RESET, "client_reset", "downstream"),
    (ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION, "client_closed", "downstream"),
    (ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, "upstream_response", "upstream"),
)
_BY_DETAILS: Final = {
    "request_overall_timeout": ("client_timeout", "downstream"),
    "request_header_timeout": ("client_timeout", "downstream"),
    "max_duration_timeout": ("max_duration", "proxy"),
    "internal_error": ("internal", "proxy"),
}


def classify(info: StreamInfo, failure: Failure) -> tuple[str, str]:
    """Kind and hop of what happened to a stream."""
    flags = info.response_flags
    for flag, kind, hop in _BY_FLAG:
        if flags & flag:
            return _refine(kind, hop, failure)
    by_details = _BY_DETAILS.get(info.response_code_details)
    if by_details is not None:
        return by_details
    if failure.client_closed == "RST" and not info.protocol:
        return "client_reset", "downstream"
    if failure.attempts and info.response_code_details == "via_upstream":
        return "retried", "upstream"
    return "local_reply", "proxy"


def _refine(kind: str, hop: str, failure: Failure) -> tuple[str, str]:
    attempt = failure.last_attempt
    if kind == "upstream_connect":
        if attempt is not None and attempt.outcome == "connect_timeout":
            return "upstream_connect_timeout", hop
        if failure.tls_error:
            return "upstream_tls", hop
    elif kind == "upstream_protocol":
        facts = attempt.connection if attempt is not None else None
        if (
            facts is not None and facts.ended_by == "upstream"
        ):  # to Envoy a message without its end is malformed
            return "upstream_closed", hop
    elif kind == "idle_timeout" and failure.request_complete:
        return kind, "upstream"
    return kind, hop


class FailureLog:
    """The last failures of the process: at most `max_bytes` and `max_count` of them, and a counter for each kind."""

    def __init__(
        self,
        stats: FailureStats,
        *,
        max_bytes: int,
        max_count: int,
        now_s: Callable[[], float] = time.time,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._stats = stats
        self._max_bytes = max_bytes
        self._max_count = max_count
        self._now_s = now_s
        self._now_ns = now_ns
        self._ring: deque[tuple[Failure, int]] = deque()
        self.held_bytes = 0
        self.total = 0  # since the start

    # what goes wrong

    def note_attempt(
        self,
        info: StreamInfo,
        outcome: str,
        details: str = "",
        *,
        reused: bool = False,
        sent_ns: int = 0,
        bytes_sent: int = 0,
        bytes_received: int = 0,
    ) -> None:
        """An attempt of a stream ended without an answer, or with one that is not passed on. `info.upstream` is its own.

        `sent_ns`: when its head was handed to the connection (monotonic); 0: it was not.
        """
        upstream = info.upstream
        facts = upstream.life.facts() if upstream is not None and upstream.life is not None else None
        idle_ns = age_ns = -1
        if facts is not None:
            age_ns = self._now_ns() - facts.opened_ns
            if not bytes_received and facts.response_began and facts.exchanges == 1:
                bytes_received = facts.bytes_received  # the codec counts whole heads only
            if reused and sent_ns and facts.idle_since_ns:
                idle_ns = min(max(sent_ns - facts.idle_since_ns, 0), age_ns)  # the loop's clock is coarse
        host = upstream.host_address if upstream is not None else None
        begun(info).add(
            Attempt(
                printable(str(host)[:MAX_TEXT]) if host is not None else "",
                outcome,
                printable(details[:MAX_TEXT]),
                reused,
                sent_ns > 0,
                bytes_sent,
                bytes_received,
                idle_ns,
                age_ns,
                _printable_facts(facts) if facts is not None else None,
            )
        )

    def record_stream(
        self, info: StreamInfo, connection: Connection | None, *, request_complete: bool = True
    ) -> None:
        """A stream or TCP session has ended, and something about it was wrong. Its record is complete after this."""
        failure = begun(info)
        failure.request_complete = request_complete
        self._describe_stream(failure, info)
        if info.connection is not None:
            self._describe_client(failure, info.connection, connection)
        failure.client_peer = _workload(info.downstream_peer) or failure.client_peer
        failure.kind, failure.hop = classify(info, failure)
        self._keep(failure)

    def record_connection(self, info: StreamInfo, connection: Connection | None, kind: str) -> None:
        """A connection came to nothing before there was a stream on it."""
        failure = begun(info)
        failure.protocol = info.protocol or ("TLS" if kind in ("client_tls", "secret_missing") else "TCP")
        failure.flags = info.flag_names
        failure.details = info.response_code_details
        failure.duration_ms = (self._now_ns() - info.start_ns) // 1_000_000
        self._describe_client(failure, info.connection, connection)
        if kind == "no_filter_chain":
            failure.client_spoke = _TRANSPORTS.get(info.connection.transport_protocol, "")
        failure.kind = kind
        failure.hop = "proxy" if kind in ("no_filter_chain", "secret_missing") else "downstream"
        self._keep(failure)

    def _describe_stream(self, failure: Failure, info: StreamInfo) -> None:
        failure.protocol = info.protocol or "TCP"
        failure.code = info.response_code
        failure.details = info.response_code_details
        failure.flags = info.flag_names
        failure.duration_ms = max((info.end_ns or self._now_ns()) - info.start_ns, 0) // 1_000_000
        failure.retries = max(info.attempt_count - 1, 0)
        failure.bytes_received, failure.bytes_sent = info.bytes_received, info.bytes_sent
        failure.route = info.route_name
        failure.cluster = info.cluster_name
        headers = info.request_headers
        if headers is not None:
            failure.method = _printable(headers.method)[:32]
            failure.authority = _printable(headers.authority)
            failure.path = path_of(headers.path)
            failure.request_id = _printable(headers.get(b"x-request-id") or b"")[:64]
        upstream = info.upstream
        if upstream is not None:
            failure.host = str(upstream.host_address) if upstream.host_address is not None else ""
            failure.upstream_identity = _identity(upstream.tls)
            state = upstream.connection_state
            peer = state.upstream_peer if state is not None else None
            failure.upstream_peer = _workload(peer or info.upstream_peer)
            if upstream.transport_failure_reason.startswith("TLS_error"):
                failure.tls_error = upstream.transport_failure_reason

    def _describe_client(self, failure: Failure, info: ConnectionInfo, connection: Connection | None) -> None:
        failure.listener = info.listener_name
        failure.client = str(info.remote_address)
        failure.client_identity = _identity(info.tls)
        failure.client_peer = _workload(info.downstream_peer)
        failure.connection_id = info.id
        failure.client_spoke = info.unexpected_protocol
        failure.server_name = info.requested_server_name
        failure.client_age_ns = self._now_ns() - info.start_monotonic_ns
        if info.transport_failure_reason:
            failure.tls_error = info.transport_failure_reason
        if connection is not None and not failure.client_closed:
            failure.client_closed = _how(connection)

    # the ring

    def _keep(self, failure: Failure) -> None:
        failure.time_s = self._now_s()
        failure.make_printable()
        counter: Counter = getattr(self._stats, failure.kind)
        counter.inc()
        self.total += 1
        self._append(failure)

    def last(self, count: int) -> tuple[Failure, ...]:
        """The newest ones, so many of them as are kept, oldest first."""
        begin = max(0, len(self._ring) - count)
        return tuple(failure for failure, _ in itertools.islice(self._ring, begin, None))

    def take_over(self, failures: Iterable[Failure], failed: int) -> None:
        """From another process, which has counted them. `failed`: how many there were, with those that it has not kept."""
        self.total += failed
        for failure in failures:
            self._append(failure)
        self._ring = deque(sorted(self._ring, key=lambda kept: kept[0].time_s))

    def _append(self, failure: Failure) -> None:
        size = failure.size_bytes()
        self._ring.append((failure, size))
        self.held_bytes += size
        while self.held_bytes > self._max_bytes or len(self._ring) > self._max_count:
            _, gone = self._ring.popleft()
            self.held_bytes -= gone

    def __len__(self) -> int:
        return len(self._ring)

    def newest_first(self) -> Iterator[Failure]:
        for failure, _ in reversed(self._ring):
            yield failure


def _how(connection: Connection) -> str:
    """How a client's connection ended; "" while it goes on."""
    reason = connection.close_reason
    if reason is CloseReason.REMOTE_RESET:
        return "RST"
    if reason is CloseReason.TRANSPORT_FAILURE:
        return "TLS"
    if reason is CloseReason.TIMEOUT:
        return "timeout"
    if connection.read_ended or reason is CloseReason.REMOTE:
        return "FIN"
    return "close" if reason is CloseReason.LOCAL else ""


def _printable(raw: bytes) -> str:
    """Bytes of a peer as text of bounded length without control characters."""
    return printable(raw[:MAX_TEXT].decode("latin-1"))


def _printable_facts(facts: ConnectionFacts) -> ConnectionFacts:
    """The texts of an upstream connection as this record keeps them."""
    details, goaway = printable(facts.details[:MAX_TEXT]), facts.goaway
    if goaway is not None:
        goaway = (*goaway[:2], printable(goaway[2][:MAX_TEXT]))
    if details == facts.details and goaway == facts.goaway:
        return facts
    return replace(facts, details=details, goaway=goaway)


def path_of(target: bytes) -> str:
    """Without its query, which may hold secrets."""
    path, mark, _ = target.partition(b"?")
    return _printable(path) + ("?..." if mark else "")


def _identity(tls: TlsInfo | None) -> str:
    peer = tls.peer if tls is not None else None
    if peer is None:
        return ""
    return peer.uri_sans[0] if peer.uri_sans else peer.subject


def _workload(peer: PeerMetadata | None) -> str:
    if peer is None or not peer.workload:
        return ""
    return f"{peer.workload}.{peer.namespace}" if peer.namespace else peer.workload
