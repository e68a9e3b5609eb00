"""The buffer between requests and a collector: bounded, emptied when there is enough or when time is up, never waited for.

Spans are encoded one by one as they come, so that an export of many holds nobody up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from sidecar.telemetry.exports import Exports

if TYPE_CHECKING:
    from protocols.tracing.span import SpanRecord
    from sidecar.transport.timers import Cancellable, Timers

#: Exports that a collector may leave unanswered before spans have to wait for it.
MAX_IN_FLIGHT: Final = 4
#: Sent at once when this much waits (collectors take messages of 4 MiB), and when it cannot be sent, spans are dropped.
MAX_WAITING_BYTES: Final = 1024 * 1024


@mypyc_attr(allow_interpreted_subclasses=True)
class Exporter:
    """Spans in, exports out. A subclass sends them and says when an export is over."""

    def __init__(
        self, timers: Timers, *, flush_interval_s: float, min_flush_spans: int, max_waiting: int
    ) -> None:
        self._timers = timers
        self._flush_interval_s = flush_interval_s
        self._min_flush_spans = min_flush_spans
        self._max_waiting = max(max_waiting, 1)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._under_way = Exports(MAX_IN_FLIGHT)
        self._timer: Cancellable | None = None
        self._arm()

    def add(self, record: SpanRecord) -> None:
        """One more. When the buffer is full it is dropped, which is counted."""
        waiting = self._waiting
        if len(waiting) >= self._max_waiting or self._waiting_bytes >= MAX_WAITING_BYTES:
            self.on_dropped(1)
            return
        span = self.encode(record)
        waiting.append(span)
        self._waiting_bytes += len(span)
        if len(waiting) >= self._min_flush_spans or self._waiting_bytes >= MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what waits, unless the collector is too far behind."""
        if self._waiting and self._under_way.begin():
            spans, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self.export(spans)

    def done(self) -> None:
        """For the subclass: an export is over, well or not."""
        self._under_way.end()
        if self._under_way.is_closing:
            self.flush()
            self._under_way.tell_idle()

    def close(self, on_idle: Callable[[], None]) -> None:
        """The end: send what waits; `on_idle` is told when nothing is under way any more, maybe at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._under_way.close(on_idle)
        self.flush()
        self._under_way.tell_idle()

    def _arm(self) -> None:
        self._timer = self._timers.after(self._flush_interval_s, self._on_timer)

    def _on_timer(self) -> None:
        self._arm()
        self.on_timer()
        self.flush()

    @abstractmethod
    def encode(self, record: SpanRecord) -> bytes:
        """A span in the form of the collector."""

    @abstractmethod
    def export(self, spans: list[bytes]) -> None:
        """Send encoded spans; `done` is to be called once, later."""

    @abstractmethod
    def on_timer(self) -> None:
        """The interval has passed."""

    @abstractmethod
    def on_dropped(self, count: int) -> None: ...
