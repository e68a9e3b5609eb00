"""`/stats`, `/stats/prometheus`, `/reset_counters`, `/stats/recentlookups`: pages made in pieces while they are sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sidecar.main.admin.api import JSON, AdminRequest, AdminResponse, Endpoint
from sidecar.main.admin.negotiation import PageFormat, page_format
from stats import admin_text, openmetrics, prometheus
from stats.prometheus_families import DEFAULT_PAGE, PageOptions
from stats.render import Selection, compile_filter
from stats.snapshot import StatsSource

_COMMON: Final = {
    "usedonly": "only stats that were written since the start",
    "filter": "only stats whose name matches (RE2)",
    "invert_filter": "only stats whose name does not match the filter",
}
_FORMATS: Final = "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"
_HIDDEN: Final = "usage: /stats?hidden=(include|only|exclude)\n\n"


def endpoints(
    current: Callable[[], StatsSource], reset: Callable[[], None], max_series: int
) -> list[Endpoint]:
    """`current` gives the stats as they are now, `reset` sets counters to 0, `max_series` is the ceiling of a metric."""

    def stats(request: AdminRequest) -> AdminResponse:
        shown = request.query.get("format") or "text"
        if request.flag("cardinality"):
            return _cardinality(current(), max_series, request, shown)
        if shown == "prometheus":
            return prometheus_page(request)
        if shown not in ("text", "json", "html", "active-html"):
            return AdminResponse(_FORMATS, 400)
        try:
            selection = _selection(request)
            kind = admin_text.parse_kind(request.query.get("type"))
            mode = admin_text.parse_bucket_mode(request.query.get("histogram_buckets"))
        except ValueError as error:
            return AdminResponse(str(error), 400)
        store = current()
        if shown == "json":
            return AdminResponse(admin_text.render_json(store, selection, kind, mode), content_type=JSON)
        lines = admin_text.render_text(store, selection, kind, mode)
        if shown == "text":
            return AdminResponse(lines)
        from sidecar.main.admin import stats_html  # for browsers, so most proxies never need it

        page = stats_html.render_html(lines, request.query, active=shown == "active-html")
        return AdminResponse(page, content_type=stats_html.CONTENT_TYPE)

    def prometheus_page(request: AdminRequest) -> AdminResponse:
        page = page_format(request)
        try:
            options = _page_options(request, page)
        except ValueError as error:
            return AdminResponse(str(error), 400)
        store = current()
        if page is PageFormat.PROTOBUF:
            from stats import prometheus_protobuf  # few scrapers ask for it

            messages = prometheus_protobuf.render(store, options)
            return AdminResponse(messages, content_type=prometheus_protobuf.CONTENT_TYPE)
        if page is PageFormat.OPENMETRICS:
            return AdminResponse(openmetrics.render(store, options), content_type=openmetrics.CONTENT_TYPE)
        return AdminResponse(prometheus.render(store, options))

    def reset_counters(request: AdminRequest) -> AdminResponse:
        reset()
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
                "format": "text (default), json, prometheus, html or active-html (it loads itself again)",
                "type": "All, Counters, Gauges, Histograms or TextReadouts",
                "histogram_buckets": "summary (default), cumulative, disjoint or detailed",
                "cardinality": "the metrics with the most series, and their labels (format: text or json)",
                "top": "with cardinality: how many metrics, 20 by default",
            },
        ),
        Endpoint(
            "/stats/prometheus",
            "print server stats in prometheus format; by Accept in OpenMetrics or protobuf",
            prometheus_page,
            parameters=_COMMON
            | {
                "text_readouts": "text values too, as gauges with value 0",
                "histogram_buckets": "cumulative (default), summary, or in protobuf prometheusnative",
                "native_histogram_max_buckets": "of a native histogram, 20 by default",
            },
        ),
        Endpoint("/stats/recentlookups", "show recent stat-name lookups", recent_lookups),
        Endpoint("/reset_counters", "reset all counters to zero", reset_counters, mutates=True),
    ]


def _page_options(request: AdminRequest, page: PageFormat) -> PageOptions:
    """Raises ValueError with the text to answer."""
    mode = request.query.get("histogram_buckets")
    return PageOptions(
        _selection(request),
        request.flag("text_readouts"),
        prometheus.parse_histogram_mode(mode, page is PageFormat.PROTOBUF),
        _number(request, "native_histogram_max_buckets", DEFAULT_PAGE.native_max_buckets),
    )


def _cardinality(store: StatsSource, ceiling: int, request: AdminRequest, shown: str) -> AdminResponse:
    try:
        selection = _selection(request)
    except ValueError as error:
        return AdminResponse(str(error), 400)
    from stats import cardinality  # a person asks for it, once in a while

    top = _number(request, "top", 20)
    if shown == "json":
        return AdminResponse(cardinality.render_json(store, selection, top, ceiling), content_type=JSON)
    if shown == "text":
        return AdminResponse(cardinality.render_text(store, selection, top, ceiling))
    return AdminResponse("usage: /stats?cardinality&format=(json|text)\n\n", 400)


def _number(request: AdminRequest, name: str, default: int) -> int:
    """A parameter that is a whole number; the default for anything else."""
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _selection(request: AdminRequest) -> Selection:
    """Raises ValueError for a filter that does not compile. No stat is hidden."""
    hidden = request.query.get("hidden", "")
    if hidden not in ("", "include", "only", "exclude"):
        raise ValueError(_HIDDEN)
    if hidden == "only":
        return Selection(matches=lambda name: False)
    pattern = request.query.get("filter")
    invert = request.flag("invert_filter")
    return Selection(request.flag("usedonly"), compile_filter(pattern, invert) if pattern else None)
