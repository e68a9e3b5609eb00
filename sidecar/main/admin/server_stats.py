"""What the admin server counts: `listener.admin.*`, `listener.admin.main_thread.*` and `http.admin.*`, as Envoy does."""

from __future__ import annotations

import time

from stats.families import AdminListenerStats, HttpStats, ListenerHttpStats, ListenerPerHandlerStats
from stats.store import Scope


class AdminStats:
    """One for the admin server."""

    def __init__(self, root: Scope) -> None:
        listener = root.scope("listener.admin")
        self.listener = AdminListenerStats(listener)
        self.handler = ListenerPerHandlerStats(listener.scope("main_thread"))
        self.listener_http = ListenerHttpStats(listener.scope("http.admin"))
        self.http = HttpStats(root.scope("http.admin"))

    def opened(self) -> None:
        for total in (
            self.listener.downstream_cx_total,
            self.handler.downstream_cx_total,
            self.http.downstream_cx_total,
            self.http.downstream_cx_http1_total,
        ):
            total.inc()
        for active in (
            self.listener.downstream_cx_active,
            self.handler.downstream_cx_active,
            self.http.downstream_cx_active,
            self.http.downstream_cx_http1_active,
        ):
            active.inc()

    def closed(self, opened_ns: int, *, remote: bool) -> None:
        """`opened_ns`: on the monotonic clock. `remote`: the client ended the connection."""
        http = self.http
        self.listener.downstream_cx_destroy.inc()
        http.downstream_cx_destroy.inc()
        (http.downstream_cx_destroy_remote if remote else http.downstream_cx_destroy_local).inc()
        for active in (
            self.listener.downstream_cx_active,
            self.handler.downstream_cx_active,
            http.downstream_cx_active,
            http.downstream_cx_http1_active,
        ):
            active.dec()
        lasted_ms = (time.monotonic_ns() - opened_ns) // 1_000_000
        self.listener.downstream_cx_length_ms.record(lasted_ms)
        http.downstream_cx_length_ms.record(lasted_ms)

    def request(self) -> None:
        """A request head came."""
        self.http.downstream_rq_total.inc()
        self.http.downstream_rq_http1_total.inc()
        self.http.downstream_rq_active.inc()

    def request_ended(self, took_ms: float | None) -> None:
        """`took_ms` None: it got no complete answer."""
        self.http.downstream_rq_active.dec()
        if took_ms is not None:
            self.http.downstream_rq_time.record(took_ms)

    def response(self, status: int) -> None:
        """A response head left."""
        self.http.count_response(status)
        self.listener_http.count_response(status)
