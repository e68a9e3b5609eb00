"""PINGs that find out whether the peer of an HTTP/2 connection is still there (Envoy's `connection_keepalive`)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from config.model.http2 import KeepaliveSpec
    from sidecar.transport.timers import Cancellable, Timers


class Pinged(Protocol):
    """The codec's side."""

    last_ping_answered: bytes

    def ping(self, payload: bytes) -> None: ...


class Http2Keepalive:
    """One for each connection that has it configured. `flush` writes what the codec has."""

    __slots__ = (
        "_codec",
        "_flush",
        "_last_activity_s",
        "_number",
        "_on_silence",
        "_spec",
        "_timer",
        "_timers",
        "_waiting",
    )

    def __init__(
        self,
        spec: KeepaliveSpec,
        codec: Pinged,
        timers: Timers,
        flush: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._codec = codec
        self._timers = timers
        self._flush = flush
        self._on_silence: Callable[[], None] | None = on_silence
        self._number = 0
        self._waiting = False
        self._timer: Cancellable | None = None
        self._last_activity_s = timers.now()
        self._arm()

    def _arm(self) -> None:
        """The next PING after the interval, and up to `interval_jitter` of it more."""
        interval_s = self._spec.interval_s
        if interval_s:
            jitter = random.random() * self._spec.interval_jitter
            self._timer = self._timers.after(interval_s * (1 + jitter), self._ping)

    def _ping(self) -> None:
        self._number += 1
        self._codec.ping(self._number.to_bytes(8, "big"))
        self._waiting = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.after(self._spec.timeout_s, self._expired)
        self._flush()

    def _expired(self) -> None:
        self._timer = None
        on_silence = self._on_silence
        self.stop()
        if on_silence is not None:
            on_silence()

    def on_activity(self) -> None:
        """Bytes came, and the codec has taken them."""
        self._last_activity_s = self._timers.now()
        if self._waiting and self._codec.last_ping_answered == self._number.to_bytes(8, "big"):
            self._waiting = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._arm()

    def before_stream(self) -> None:
        """A stream is about to begin: on a connection that was idle for long, ask first (`connection_idle_interval`)."""
        idle_s = self._spec.idle_interval_s
        if idle_s and not self._waiting and self._timers.now() - self._last_activity_s >= idle_s:
            self._ping()

    def stop(self) -> None:
        self._on_silence = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
