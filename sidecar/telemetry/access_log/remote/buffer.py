"""Entries on their way to a service: gathered until there are enough of them or they have waited long enough."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from sidecar.stream_info import StreamInfo
from sidecar.transport.timers import Cancellable, Timers
from stats.families import RemoteAccessLogStats

logger = logging.getLogger(__name__)

#: What may wait however large the configured buffer is; beyond it, entries are dropped and counted.
MAX_WAITING_BYTES: Final = 1024 * 1024


class Sender(Protocol):
    """Sends batches, each of encoded entries."""

    def send(self, entries: list[bytes]) -> bool:
        """Whether they were taken; if not, they stay in the buffer (the service does not keep up)."""

    def close(self, rest: Callable[[], bool], on_idle: Callable[[], None]) -> None:
        """Nothing new comes. `rest` sends what still waits, and says whether that was all: it is called at once, and when there is room.

        `on_idle` is told when nothing is under way any more, maybe at once.
        """


class RemoteAccessLogger:
    """Implements `AccessLogger`. Written and dropped entries are counted as in Envoy: when they are logged."""

    __slots__ = (
        "_drops",
        "_encode",
        "_entries",
        "_full_at_bytes",
        "_interval_s",
        "_sender",
        "_service",
        "_stats",
        "_timer",
        "_timers",
        "_waiting",
    )

    def __init__(
        self,
        encode: Callable[[StreamInfo], bytes],
        sender: Sender,
        service: str,
        stats: RemoteAccessLogStats,
        timers: Timers,
        *,
        flush_interval_s: float,
        buffer_bytes: int,
    ) -> None:
        """`service`: its name in our log. `buffer_bytes` 0: nothing waits."""
        self._encode = encode
        self._sender = sender
        self._service = service
        self._stats = stats
        self._timers = timers
        self._interval_s = flush_interval_s
        self._full_at_bytes = min(buffer_bytes, MAX_WAITING_BYTES)
        self._entries: list[bytes] = []
        self._waiting = 0
        self._timer: Cancellable | None = None
        self._drops: bool | None = None  # whether any since the last batch; None: all is well

    def log(self, info: StreamInfo) -> None:
        if self._waiting >= (self._full_at_bytes or MAX_WAITING_BYTES):
            self.flush()
            if self._waiting:
                self._drop()
                return
        entry = self._encode(info)
        self._entries.append(entry)
        self._waiting += len(entry)
        self._stats.logs_written.inc()
        if self._waiting >= self._full_at_bytes:
            self.flush()
        if self._waiting and self._timer is None:
            self._timer = self._timers.after(self._interval_s, self._on_timer)

    def _drop(self) -> None:
        self._stats.logs_dropped.inc()
        if self._drops is None:
            logger.warning("access log service %s does not keep up, entries are dropped", self._service)
        self._drops = True

    def flush(self) -> None:
        if self._entries and self._sender.send(self._entries):
            self._entries = []
            self._waiting = 0
            if self._drops is not None:
                self._took_batch()

    def _took_batch(self) -> None:
        """It keeps up when nothing was dropped between two batches."""
        if self._drops:
            self._drops = False
        else:
            self._drops = None
            logger.info("access log service %s keeps up again", self._service)

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()
        if self._waiting:
            self._timer = self._timers.after(self._interval_s, self._on_timer)

    def close(self, on_idle: Callable[[], None]) -> None:
        """Send what waits, as far as that goes; `on_idle` as of `Sender`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sender.close(self._send_rest, on_idle)

    def _send_rest(self) -> bool:
        self.flush()
        return not self._waiting

    def give_up(self) -> None:
        """The end: what the service has not taken by now is lost."""
        if self._entries:
            self._stats.logs_dropped.add(len(self._entries))
            logger.warning(
                "access log service %s: the last %d entries are lost", self._service, len(self._entries)
            )
            self._entries = []
            self._waiting = 0
