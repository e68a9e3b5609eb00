"""What a client asks for by `Accept` and `Accept-Encoding` (RFC 9110, 12.4 and 12.5)."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

from sidecar.main.admin.api import AdminRequest


class PageFormat(enum.Enum):
    """The formats of the Prometheus page."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"
    PROTOBUF = "application/vnd.google.protobuf"


_FORMATS: Final = {each.value: each for each in PageFormat} | dict.fromkeys(
    ("text/*", "*/*"), PageFormat.TEXT
)
_VERSIONS: Final = ("", "0.0.1", "1.0.0")


class Choice(NamedTuple):
    """One entry of a list with weights; `parameters` but for `q`."""

    value: str
    parameters: dict[str, str]
    weight: float


def parse_choices(header: str) -> list[Choice]:
    """The entries of `Accept` or `Accept-Encoding`; a weight that is no number is 0."""
    choices = []
    for entry in header.split(","):
        value, *rest = (part.strip() for part in entry.split(";"))
        parameters: dict[str, str] = {}
        for parameter in rest:
            name, _, text = parameter.partition("=")
            parameters[name.strip().lower()] = text.strip().strip('"')
        if value:
            choices.append(Choice(value.lower(), parameters, _weight(parameters.pop("q", "1"))))
    return choices


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def page_format(request: AdminRequest) -> PageFormat:
    """The format that weighs most, of several the first; text if there is none.

    Istio's agent gets text: it hands on what Prometheus accepts, and puts what it gets in front of the application's metrics, where
    bytes, an end-of-page mark or an exemplar would spoil the whole. It asks `localhost` in the name of the scraper.
    Who asks for native histograms knows what comes.
    """
    native = request.query.get("histogram_buckets") == "prometheusnative"
    takes_all = not _for_agent(request)
    best, best_weight = PageFormat.TEXT, 0.0
    for value, parameters, weight in parse_choices(request.header(b"accept")):
        found = _FORMATS.get(value)
        if found is None or weight <= best_weight or not _offered(found, parameters):
            continue
        if takes_all or found is PageFormat.TEXT or (native and found is PageFormat.PROTOBUF):
            best, best_weight = found, weight
    return best


def _offered(found: PageFormat, parameters: dict[str, str]) -> bool:
    if found is PageFormat.OPENMETRICS:
        return parameters.get("version", "") in _VERSIONS
    if found is PageFormat.PROTOBUF:
        proto, encoding = parameters.get("proto"), parameters.get("encoding")
        return proto in (None, "io.prometheus.client.MetricFamily") and encoding in (None, "delimited")
    return True


def _for_agent(request: AdminRequest) -> bool:
    headers = request.headers
    if headers is None or b"x-prometheus-scrape-timeout-seconds" not in headers:
        return False
    return headers.authority.partition(b":")[0] == b"localhost"


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a client that sent this takes gzip."""
    weights = {choice.value: choice.weight for choice in parse_choices(accept_encoding)}
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0
