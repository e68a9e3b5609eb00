"""One attempt: what reaches the router, and what no longer does."""

from __future__ import annotations

from protocols.http.codec import ResetReason
from protocols.http.headers import Headers
from sidecar.http.upstream_request import UpstreamRequest
from sidecar.stream_info import UpstreamInfo
from sidecar.upstream.api import UpstreamFailure
from tests.support.upstream import FakeCluster


class Owner:
    def __init__(self, broken: bool = False) -> None:
        self.events: list[str] = []
        self.broken = broken

    def _note(self, event: str) -> None:
        self.events.append(event)
        if self.broken:
            raise ValueError("a bug")

    def on_attempt_ready(self, attempt: UpstreamRequest) -> None:
        self._note(f"ready {'reused' if attempt.reused else 'new'}")

    def on_attempt_failed(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        self._note(f"failed {failure.name}")

    def on_attempt_headers(self, headers: Headers, end: bool) -> None:
        self._note(f"headers {headers.status}")

    def on_attempt_data(self, data: bytes, end: bool) -> None:
        self._note(f"data {data!r}")

    def on_attempt_trailers(self, trailers: Headers) -> None:
        self._note("trailers")

    def on_attempt_reset(self, reason: ResetReason, details: str) -> None:
        self._note(f"reset {reason.name}")

    def on_attempt_full(self, full: bool) -> None:
        self._note(f"full {full}")

    def on_bug(self, error: Exception) -> None:
        self.events.append("bug")


def ask(fake: FakeCluster, owner: Owner) -> UpstreamRequest:
    attempt = UpstreamRequest(owner)
    attempt.wait(fake.ask(attempt))  # type: ignore[arg-type]
    return attempt


def send(attempt: UpstreamRequest) -> None:
    assert attempt.upstream is not None
    attempt.upstream.send_headers(Headers.request(b"GET", b"/", b"host"), True)


def test_new_and_reused_connections() -> None:
    fake, owner = FakeCluster(), Owner()
    attempt = ask(fake, owner)
    assert owner.events == []
    peer = fake.peers[0].accept()
    send(attempt)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
    ask(fake, owner)
    assert owner.events == ["ready new", "headers 200", "data b'x'", "ready reused"]


def test_given_up_while_waiting() -> None:
    fake, owner = FakeCluster(), Owner()
    attempt = ask(fake, owner)
    attempt.give_up()
    fake.peers[0].accept()
    assert owner.events == []
    assert fake.value("upstream_rq_cancelled") == 1


def test_given_up_while_running() -> None:
    fake, owner = FakeCluster(), Owner()
    attempt = ask(fake, owner)
    peer = fake.peers[0].accept()
    send(attempt)
    attempt.give_up()
    assert peer.transport.closed
    assert owner.events == ["ready new"]
    attempt.give_up()


def test_failure_and_reset_are_told_once() -> None:
    fake, owner = FakeCluster(), Owner()
    ask(fake, owner)
    fake.peers[0].refuse()
    attempt = ask(fake, owner)
    peer = fake.peers[1].accept()
    send(attempt)
    peer.end()
    attempt.give_up()
    assert owner.events == ["failed CONNECT_FAILURE", "ready new", "reset CONNECTION_TERMINATION"]


def test_bug_of_the_owner_does_not_reach_the_connection() -> None:
    fake, owner = FakeCluster(), Owner(broken=True)
    attempt = ask(fake, owner)
    peer = fake.peers[0].accept()
    send(attempt)
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")
    assert owner.events == ["ready new", "bug", "headers 200", "bug", "data b'x'", "bug"]
    assert fake.value("upstream_cx_active") == 1, "the connection is kept"
