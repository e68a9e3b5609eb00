"""The buffer in front of a collector: when it is emptied, what is dropped, how it ends."""

from __future__ import annotations

from protocols.tracing.span import SpanKind, SpanRecord
from sidecar.telemetry.tracing.exporter import MAX_IN_FLIGHT, MAX_WAITING_BYTES, Exporter
from sidecar.transport.timers import Timers
from tests.support.spans import place
from tests.support.upstream import ManualLoop


def record(name: str = "op") -> SpanRecord:
    return SpanRecord(place("1" * 32, "2" * 16, "", True), name, SpanKind.SERVER, 0, 1, {}, [])


class Recording(Exporter):
    """Writes down how many spans each export has."""

    def __init__(self, loop: ManualLoop, *, min_flush_spans: int = 3, max_waiting: int = 100) -> None:
        self.exports: list[int] = []
        self.dropped = 0
        self.ticks = 0
        super().__init__(
            Timers(loop.as_loop()),
            flush_interval_s=5.0,
            min_flush_spans=min_flush_spans,
            max_waiting=max_waiting,
        )

    def encode(self, record: SpanRecord) -> bytes:
        return record.name.encode()

    def export(self, spans: list[bytes]) -> None:
        self.exports.append(len(spans))

    def on_timer(self) -> None:
        self.ticks += 1

    def on_dropped(self, count: int) -> None:
        self.dropped += count


def test_enough_are_sent_at_once() -> None:
    exporter = Recording(ManualLoop())
    for _ in range(7):
        exporter.add(record())
    assert exporter.exports == [3, 3]


def test_the_rest_when_time_is_up() -> None:
    loop = ManualLoop()
    exporter = Recording(loop)
    exporter.add(record())
    loop.advance(4.9)
    assert exporter.exports == []
    loop.advance(0.3)
    assert exporter.exports == [1]
    loop.advance(10.2)
    assert (exporter.exports, exporter.ticks) == ([1], 3)


def test_a_collector_that_does_not_answer_costs_spans_and_not_memory() -> None:
    loop = ManualLoop()
    exporter = Recording(loop, min_flush_spans=1, max_waiting=10)
    for _ in range(30):
        exporter.add(record())
    assert exporter.exports == [1] * MAX_IN_FLIGHT
    assert exporter.dropped == 30 - MAX_IN_FLIGHT - 10
    exporter.done()
    loop.advance(5.2)
    assert exporter.exports[-1] == 10


def test_long_spans_are_sent_before_they_are_many_and_bounded_by_their_bytes() -> None:
    exporter = Recording(ManualLoop(), min_flush_spans=100, max_waiting=1000)
    long = record("x" * (MAX_WAITING_BYTES // 4))
    for _ in range(4 * MAX_IN_FLIGHT + 10):
        exporter.add(long)
    assert exporter.exports == [4] * MAX_IN_FLIGHT
    assert exporter.dropped == 6
    exporter.done()
    exporter.add(long)  # dropped, too: the next flush makes room
    exporter.flush()
    exporter.add(long)
    assert (exporter.exports[-1], exporter.dropped) == (4, 7)


class TestClose:
    def test_nothing_to_do(self) -> None:
        told: list[str] = []
        exporter = Recording(ManualLoop())
        exporter.close(lambda: told.append("idle"))
        assert told == ["idle"]

    def test_sends_what_waits_and_waits_for_the_answer(self) -> None:
        told: list[str] = []
        loop = ManualLoop()
        exporter = Recording(loop)
        exporter.add(record())
        exporter.close(lambda: told.append("idle"))
        assert (exporter.exports, told) == ([1], [])
        exporter.done()
        assert told == ["idle"]
        loop.advance(20)
        assert exporter.ticks == 0

    def test_sends_what_a_slow_collector_kept_waiting(self) -> None:
        told: list[str] = []
        exporter = Recording(ManualLoop(), min_flush_spans=1)
        for _ in range(MAX_IN_FLIGHT + 2):
            exporter.add(record())
        exporter.close(lambda: told.append("idle"))
        assert exporter.exports == [1] * MAX_IN_FLIGHT
        for _ in range(MAX_IN_FLIGHT + 1):
            assert told == []
            exporter.done()
        assert exporter.exports == [1] * MAX_IN_FLIGHT + [2]
        assert told == ["idle"]
