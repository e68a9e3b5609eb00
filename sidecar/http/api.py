"""The extension point of the HTTP floor: `HttpFilter`, its factory, and what a filter sees of its stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from sidecar.transport.flow import Flow, Held

if TYPE_CHECKING:
    from protocols.http.codec import HttpVersion
    from protocols.http.headers import Headers
    from sidecar.http.route import Route
    from sidecar.http.stream_trace import StreamTrace
    from sidecar.stream_info import ConnectionInfo, StreamInfo
    from sidecar.upstream.api import Cluster
    from sidecar.upstream.services import FilterContext, Services


class Stream(ABC):
    """One exchange, as its filters see it (implemented by `sidecar.http.stream`).

    No protocol: compiled code reads the attributes of a class where they lie, and looks those of a protocol up by name.
    """

    __slots__ = (
        "cluster",
        "connection_info",
        "downstream_version",
        "info",
        "on_response_full",
        "request_complete",
        "request_headers",
        "route",
        "services",
        "trace",
    )

    info: StreamInfo
    connection_info: ConnectionInfo
    services: Services
    route: Route | None  # None: no route matched
    cluster: (
        Cluster | None
    )  # of the route, once resolved; None: redirect, direct response, or unknown cluster
    request_headers: Headers | None  # None: the head was never understood
    request_complete: bool  # its last byte has come
    downstream_version: HttpVersion
    trace: StreamTrace | None  # None: no tracing is configured
    #: Terminal filter: set to be told when the client takes no more of the response (True), or takes again (False).
    on_response_full: Callable[[bool], None] | None

    @property
    @abstractmethod
    def wants_tunnel(self) -> bool:
        """An upgrade or a CONNECT, granted or not."""

    @property
    @abstractmethod
    def is_upgraded(self) -> bool:
        """A tunnel: one that was granted."""

    @abstractmethod
    def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        details: str,
        flags: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        grpc_status: int | None = None,
    ) -> None:
        """The only local reply. Runs the response filters; the request goes no further.

        `grpc_status`: for a gRPC client; None: what `status` stands for.
        """

    @abstractmethod
    def resume_request(self) -> None:
        """Let a request go on that the calling filter held."""

    @abstractmethod
    def resume_response(self) -> None: ...

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The only way to wait: the engine owns the task, cancels it with the stream, turns its failure into a 500."""

    @abstractmethod
    def send_response_headers(self, headers: Headers, end: bool) -> None:
        """Terminal filter only: from the upstream, through the response filters, to the client."""

    @abstractmethod
    def send_response_data(self, data: bytes, end: bool) -> None: ...
    @abstractmethod
    def send_response_trailers(self, trailers: Headers) -> None: ...
    @abstractmethod
    def on_bug(self, error: BaseException) -> None:
        """An unexpected exception outside of the stream's own calls: it costs this stream (500), and is logged."""

    @abstractmethod
    def reset(self, details: str, flags: int = 0) -> None:
        """The response cannot be finished: end the stream so that the client can tell."""

    @abstractmethod
    def pause_request(self, full: bool) -> None:
        """Terminal filter: the upstream takes no more (True), or takes again (False)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpFilter:
    """The base of all filters. One per stream, or one shared by all streams if it keeps no per-stream state.

    The chain visits a filter only in the phases whose method it overrides; what is not overridden passes on.

    Two verdicts: CONTINUE, or HOLD (the engine buffers up to the limit, then closes the read gate). Data: return the same
    bytes to pass them untouched, others to change them, b"" to swallow them, HOLD to have them kept.

    A filter that wants to see the body before its headers go on answers HOLD_HEADERS to them. They go when it passes on a
    piece of body, the end included, or the trailers; until then it may still change them.
    """

    __slots__ = ()

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return Flow.CONTINUE

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        return data

    def on_request_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        return Flow.CONTINUE

    def on_response_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        return Flow.CONTINUE

    def on_response_data(self, stream: Stream, data: bytes, end: bool) -> bytes | Held:
        return data

    def on_response_trailers(self, stream: Stream, trailers: Headers) -> Flow | bytes:
        """Bytes: the response ends with these in place of trailers. `StreamInfo` keeps what the upstream said."""
        return Flow.CONTINUE

    def on_stream_end(self, stream: Stream) -> None:
        return None


@mypyc_attr(allow_interpreted_subclasses=True)
class HttpFilterFactory(ABC):
    """Built once per configuration: all compiling happens here."""

    __slots__ = ("filter_type",)

    def __init__(self, filter_type: type[HttpFilter]) -> None:
        self.filter_type = filter_type  # its overridden methods decide which phases it takes part in

    @abstractmethod
    def for_stream(self, stream: Stream) -> HttpFilter:
        """A new filter, or the shared one."""


#: The first argument is the filter's own spec class; the registry maps the class to its builder.
HttpFilterBuilder = Callable[[Any, "FilterContext"], HttpFilterFactory]
