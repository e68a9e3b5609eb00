"""An async client over a cluster without a network, and owners of calls that write down what they are told."""

from __future__ import annotations

from collections.abc import Callable

from config.model.cluster import ClusterSpec, UpstreamHttpOptions, UpstreamHttpProtocol
from protocols.http.headers import Headers
from sidecar.transport.async_client import RequestFailure
from sidecar.upstream.async_client import AsyncClientImpl
from tests.support.http2_floor import Http2End, http2_peer
from tests.support.http_floor import Clusters
from tests.support.upstream import FakeCluster, static_spec

CLUSTER = "collector"
LOCAL_ADDRESS = "10.9.9.9"


class CallLog:
    """The owner of requests, calls and streams. Implements all callbacks; `on_event` runs inside of each."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.on_event: Callable[[], None] = lambda: None

    def _note(self, *event: object) -> None:
        self.events.append(event)
        self.on_event()

    def on_response(self, headers: Headers, body: bytes) -> None:
        self._note("response", headers.status, body)

    def on_failure(self, failure: RequestFailure) -> None:
        self._note("failure", failure.status, failure.details)

    def on_reply(self, message: bytes) -> None:
        self._note("reply", message)

    def on_call_failed(self, status: int, message: str) -> None:
        self._note("failed", status, message)

    def on_stream_headers(self, headers: Headers) -> None:
        self._note("headers", headers.status)

    def on_stream_message(self, message: bytes) -> None:
        self._note("message", message)

    def on_stream_writable(self) -> None:
        self._note("writable")

    def on_stream_closed(self, status: int, message: str) -> None:
        self._note("closed", status, message)


class FakeAsyncClient:
    """An `AsyncClientImpl` whose one cluster is a `FakeCluster`; exceptions of owners are in `bugs`."""

    def __init__(self, protocol: UpstreamHttpProtocol = UpstreamHttpProtocol.HTTP2) -> None:
        self.fake = FakeCluster(self._spec(protocol))
        self.loop = self.fake.loop
        self.bugs: list[Exception] = []
        self.client = AsyncClientImpl(
            Clusters({CLUSTER: self.fake.cluster}),
            self.fake.timers,
            self.fake.store.root,
            LOCAL_ADDRESS,
            self.bugs.append,
        )

    def _spec(self, protocol: UpstreamHttpProtocol) -> ClusterSpec:
        return static_spec(CLUSTER, http_options=UpstreamHttpOptions(protocol))

    def server(self, number: int = 0, window: int | None = None) -> Http2End:
        """The other end of the connection with that number."""
        self.loop.turn()
        return http2_peer(self.fake.peers[number].accept(), self.loop.turn, window)

    def value(self, name: str) -> int:
        """A counter or gauge of the cluster; 0 when it does not exist."""
        stat = self.fake.store.find(f"cluster.{CLUSTER}.{name}")
        return 0 if stat is None else getattr(stat, "value", None) or getattr(stat, "count", 0)
