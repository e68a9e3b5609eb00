"""The buffer between requests and a collector: bounded, emptied when there is enough or when time is up, never waited for.

Spans are encoded one by one as they come, so that an export of many holds nobody up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protocols.tracing.span import SpanRecord
    from sidecar.transport.timers import Cancellable, Timers

#: Exports that a collector may leave unanswered before spans have to wait for it.
MAX_IN_FLIGHT: Final = 4


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
        self._in_flight = 0
        self._timer: Cancellable | None = None
        self._on_idle: Callable[[], None] | None = None
        self._arm()

    def add(self, record: SpanRecord) -> None:
        """One more. When the buffer is full it is dropped, which is counted."""
        waiting = self._waiting
        if len(waiting) >= self._max_waiting:
            self.on_dropped(1)
            return
        waiting.append(self.encode(record))
        if len(waiting) >= self._min_flush_spans:
            self.flush()

    def flush(self) -> None:
        """Send what waits, unless the collector is too far behind."""
        if self._waiting and self._in_flight < MAX_IN_FLIGHT:
            spans, self._waiting = self._waiting, []
            self._in_flight += 1
            self.export(spans)

    def done(self) -> None:
        """For the subclass: an export is over, well or not."""
        self._in_flight -= 1
        if self._on_idle is not None:
            self.flush()
            self._tell_idle()

    def close(self, on_idle: Callable[[], None]) -> None:
        """The end: send what waits; `on_idle` is told when nothing is under way any more, maybe at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_idle = on_idle
        self.flush()
        self._tell_idle()

    def _tell_idle(self) -> None:
        if not self._in_flight and self._on_idle is not None:
            on_idle, self._on_idle = self._on_idle, None
            on_idle()

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
