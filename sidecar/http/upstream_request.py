"""One attempt of a request towards an upstream host: between the router and the pool's stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from protocols.http.codec import ResetReason, StreamMeter
from protocols.http.headers import Headers
from sidecar.upstream import failed_attempt

if TYPE_CHECKING:
    from sidecar.http.stream_trace import AttemptSpan
    from sidecar.stream_info import UpstreamInfo
    from sidecar.upstream.api import Pending, UpstreamFailure, UpstreamStream


class AttemptOwner(Protocol):
    """The router's side. Calls of an attempt that was given up do not reach it."""

    def on_attempt_ready(self, attempt: UpstreamRequest) -> None: ...
    def on_attempt_failed(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None: ...
    def on_attempt_headers(self, headers: Headers, end: bool) -> None: ...
    def on_attempt_data(self, data: bytes, end: bool) -> None: ...
    def on_attempt_trailers(self, trailers: Headers) -> None: ...
    def on_attempt_reset(self, reason: ResetReason, details: str) -> None: ...
    def on_attempt_full(self, full: bool) -> None: ...
    def on_bug(self, error: Exception) -> None:
        """An unexpected exception in what the attempt called: it must not reach the upstream connection's stack."""


class UpstreamRequest:
    """Implements `UpstreamSink`.

    `reused`: the connection was idle in the pool, so its server may just be closing it. `started`: the head was
    handed to the connection, `sent_ns`: when (monotonic). `responded`: a head of the response came, be it a 1xx.
    `span`: of the attempt, if traced. `meter`: what was counted of an exchange that was reset.
    """

    __slots__ = (
        "_asking",
        "_owner",
        "meter",
        "pending",
        "responded",
        "reused",
        "sent_ns",
        "span",
        "started",
        "upstream",
    )

    def __init__(self, owner: AttemptOwner) -> None:
        self._owner: AttemptOwner | None = owner
        self.pending: Pending | None = None
        self.upstream: UpstreamStream | None = None
        self.meter: StreamMeter | None = None
        self.reused = False
        self.started = False
        self.sent_ns = 0
        self.responded = False
        self.span: AttemptSpan | None = None
        self._asking = True

    def wait(self, pending: Pending) -> None:
        """`new_stream` has returned."""
        self._asking = False
        if self.upstream is None and self._owner is not None:
            self.pending = pending

    def give_up(self) -> None:
        """Cancel or reset; no callback of this attempt reaches the owner any more."""
        self._owner = None
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.cancel()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.reset()
        if self.span is not None:
            self.span.cancel()

    # UpstreamSink

    def on_pool_ready(self, stream: UpstreamStream) -> None:
        self.pending = None
        self.upstream = stream
        self.reused = self._asking and stream.is_alone  # answered at once: an open connection
        if self.span is not None:
            self.span.on_connected(stream.info, stream.version.value)
        owner = self._owner
        if owner is None:
            stream.reset()
            return
        try:
            owner.on_attempt_ready(self)
        except Exception as error:
            owner.on_bug(error)

    def on_pool_failure(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self.pending = None
        if self.span is not None:
            self.span.fail(*failed_attempt.reason_of(failure), info)
        owner, self._owner = self._owner, None
        if owner is not None:
            try:
                owner.on_attempt_failed(failure, details, info)
            except Exception as error:
                owner.on_bug(error)

    def on_response_headers(self, headers: Headers, end: bool) -> None:
        if self.span is not None:
            self.span.on_headers(headers)
            if end:
                self.span.finish()
        owner = self._owner
        if owner is not None:
            try:
                owner.on_attempt_headers(headers, end)
            except Exception as error:
                owner.on_bug(error)

    def on_response_data(self, data: bytes, end: bool) -> None:
        if end and self.span is not None:
            self.span.finish()
        owner = self._owner
        if owner is not None:
            try:
                owner.on_attempt_data(data, end)
            except Exception as error:
                owner.on_bug(error)

    def on_response_trailers(self, trailers: Headers) -> None:
        if self.span is not None:
            self.span.on_trailers(trailers)
            self.span.finish()
        owner = self._owner
        if owner is not None:
            try:
                owner.on_attempt_trailers(trailers)
            except Exception as error:
                owner.on_bug(error)

    def on_upstream_reset(self, reason: ResetReason, details: str) -> None:
        if self.span is not None:
            self.span.fail(*failed_attempt.reason_of(reason))
        owner, self._owner = self._owner, None
        upstream, self.upstream = self.upstream, None
        self.meter = upstream.meter if upstream is not None else None
        if owner is not None:
            try:
                owner.on_attempt_reset(reason, details)
            except Exception as error:
                owner.on_bug(error)

    def on_upstream_full(self, full: bool) -> None:
        owner = self._owner
        if owner is not None:
            owner.on_attempt_full(full)
