"""Whatever an upstream sends: nothing is raised, every exchange ends in one way, every gauge returns to 0."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.upstream import FakeCluster

PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"content-length: 2\r\n",
        b"content-length: 0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: x\r\n",
        b"\r\n",
        b"hi",
        b"2\r\nhi\r\n",
        b"0\r\n\r\n",
        b"\x00",
        b" ",
        b":",
    ]
)
STREAMS = st.lists(st.one_of(PIECES, st.binary(max_size=5)), max_size=12)


@settings(max_examples=300, deadline=None)
@given(chunks=STREAMS, end=st.sampled_from(["end", "reset", "none"]), body=st.booleans())
def test_every_exchange_ends(chunks: list[bytes], end: str, body: bool) -> None:
    fake = FakeCluster()
    sink = fake.request(body=b"abc" if body else b"")
    peer = fake.peers[0].accept()
    for chunk in chunks:
        peer.send(chunk)
    if end == "end":
        peer.end()
    elif end == "reset":
        peer.reset()
    ends = [event for event in sink.events if event[0] in ("reset", "trailers") or event[-1] is True]
    assert len(ends) <= 1
    if end != "none":
        assert len(ends) == 1
    fake.cluster.close()
    assert peer.transport.closed or end == "reset"
    assert fake.active_gauges() == {}
    assert fake.value("upstream_cx_destroy") == 1


@settings(max_examples=100, deadline=None)
@given(whole=STREAMS.map(b"".join), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_cutting_changes_nothing(whole: bytes, cuts: list[int]) -> None:
    def told(pieces: list[bytes]) -> list[tuple[object, ...]]:
        fake = FakeCluster()
        sink = fake.request()
        peer = fake.peers[0].accept()
        for piece in pieces:
            if piece:
                peer.send(piece)
        peer.end()
        joined: list[tuple[object, ...]] = []
        for event in sink.events:
            if event[0] == "data" and event[1] == b"" and event[2] is False:
                continue
            if event[0] == "data" and joined and joined[-1][0] == "data":
                joined[-1] = ("data", joined[-1][1] + event[1], event[2])
            else:
                joined.append(event)
        return [event for event in joined if event[0] != "reset"]

    points = sorted({min(cut, len(whole)) for cut in cuts})
    pieces = [whole[a:b] for a, b in zip([0, *points], [*points, len(whole)], strict=True)]
    assert told(pieces) == told([whole])
