"""`/stats`, `/stats/prometheus`, `/reset_counters`, `/stats/recentlookups`: pages made in pieces while they are sent."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.main.admin.api import JSON, AdminRequest, AdminResponse, Endpoint
from stats import admin_text, prometheus
from stats.render import Selection, compile_filter
from stats.store import Store

_COMMON = {
    "usedonly": "only stats that were written since the start",
    "filter": "only stats whose name matches (RE2)",
}
_FORMATS = "usage: /stats?format=(json|prometheus|text)\n\n"


def endpoints(store: Store, refresh: Callable[[], None]) -> list[Endpoint]:
    """`refresh` brings up to date what nobody moves."""

    def stats(request: AdminRequest) -> AdminResponse:
        refresh()
        shown = request.query.get("format") or "text"
        if shown == "prometheus":
            return prometheus_page(request)
        if shown not in ("text", "json"):
            return AdminResponse(_FORMATS, 400)
        try:
            selection = _selection(request)
            kind = admin_text.parse_kind(request.query.get("type"))
            mode = admin_text.parse_bucket_mode(request.query.get("histogram_buckets"))
        except ValueError as error:
            return AdminResponse(str(error), 400)
        if shown == "json":
            return AdminResponse(admin_text.render_json(store, selection, kind, mode), content_type=JSON)
        return AdminResponse(admin_text.render_text(store, selection, kind, mode))

    def prometheus_page(request: AdminRequest) -> AdminResponse:
        refresh()
        try:
            selection = _selection(request)
            mode = prometheus.parse_histogram_mode(request.query.get("histogram_buckets"))
        except ValueError as error:
            return AdminResponse(str(error), 400)
        return AdminResponse(prometheus.render(store, selection, request.flag("text_readouts"), mode))

    def reset_counters(request: AdminRequest) -> AdminResponse:
        store.reset_counters()
        return AdminResponse("OK\n")

    def recent_lookups(request: AdminRequest) -> AdminResponse:
        return AdminResponse(
            "Lookup tracking is not needed: names are looked up when configuration is loaded.\n"
        )

    return [
        Endpoint(
            "/stats",
            "print server stats",
            stats,
            parameters=_COMMON
            | {
                "format": "text (default), json or prometheus",
                "type": "All, Counters, Gauges, Histograms or TextReadouts",
                "histogram_buckets": "summary (default), cumulative, disjoint or detailed",
            },
        ),
        Endpoint(
            "/stats/prometheus",
            "print server stats in prometheus format",
            prometheus_page,
            parameters=_COMMON
            | {
                "text_readouts": "text values too, as gauges with value 0",
                "histogram_buckets": "cumulative (default) or summary",
            },
        ),
        Endpoint("/stats/recentlookups", "show recent stat-name lookups", recent_lookups),
        Endpoint("/reset_counters", "reset all counters to zero", reset_counters, mutates=True),
    ]


def _selection(request: AdminRequest) -> Selection:
    """Raises ValueError for a filter that does not compile."""
    pattern = request.query.get("filter")
    return Selection(request.flag("usedonly"), compile_filter(pattern) if pattern else None)
