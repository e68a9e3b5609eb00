"""What two sidecars tell each other in headers, and what each of ours makes of it in its metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.interop.pair import SERVICE_HOST, SidecarPair, has_istio_filters
from tests.support.certificates import spiffe
from tests.support.istio_config import node_metadata, read_metadata_header, series_with
from tests.support.process import Proxy, wait_until
from tests.support.prometheus_text import parse

ANNOUNCED = "x-envoy-peer-metadata"

Values = Callable[[str], Sequence[str]]
"""All values of a header of the message."""


def sides(pair: SidecarPair) -> tuple[str, str]:
    """Which programs the client sidecar and the server sidecar are: `ours` or `envoy`."""
    client, server = ("ours" if has_istio_filters(proxy.command) else "envoy" for proxy in pair.proxies)
    return client, server


def istio_requests(proxy: Proxy, **labels: str) -> float:
    """The sum of `istio_requests_total` over the series that have all of `labels`."""
    family = parse(proxy.prometheus()).get("istio_requests_total")
    samples = [(dict(sample.labels), sample.value) for sample in family.samples] if family else []
    return sum(series_with(samples, **labels))


def check_request_metadata(pair: SidecarPair, at_the_application: Values) -> None:
    """What the client's sidecar told: read, counted and taken away by ours; in the form that others read."""
    client, server = sides(pair)
    if server == "ours":
        assert not at_the_application(ANNOUNCED) and not at_the_application(f"{ANNOUNCED}-id")
        source = "productpage" if client == "ours" else "envoy-client"
        wait_until(
            lambda: (
                istio_requests(
                    pair.server,
                    reporter="destination",
                    source_workload=f"{source}-v1",
                    source_principal=spiffe("client"),
                    destination_workload="ratings-v1",
                    connection_security_policy="mutual_tls",
                    request_protocol="http",
                    response_code="200",
                )
                or None
            ),
            timeout_s=5,
            what=f"istio_requests_total with the source {source}",
        )
        return
    assert list(at_the_application(f"{ANNOUNCED}-id")) == ["productpage-id"]
    told = read_metadata_header(at_the_application(ANNOUNCED)[0])
    ours = node_metadata("productpage", "client")
    for key in ("NAME", "NAMESPACE", "WORKLOAD_NAME", "CLUSTER_ID"):
        assert told[key] == ours[key]


def check_response_metadata(pair: SidecarPair, at_the_client: Values) -> None:
    """The same for what the server's sidecar told."""
    client, server = sides(pair)
    if client == "ours":
        assert not at_the_client(ANNOUNCED) and not at_the_client(f"{ANNOUNCED}-id")
        destination = "ratings" if server == "ours" else "envoy-server"
        wait_until(
            lambda: (
                istio_requests(
                    pair.client,
                    reporter="source",
                    source_workload="productpage-v1",
                    destination_workload=f"{destination}-v1",
                    destination_service=SERVICE_HOST,
                    request_protocol="http",
                    response_code="200",
                )
                or None
            ),
            timeout_s=5,
            what=f"istio_requests_total with the destination {destination}",
        )
        return
    assert list(at_the_client(f"{ANNOUNCED}-id")) == ["ratings-id"]
    assert read_metadata_header(at_the_client(ANNOUNCED)[0])["WORKLOAD_NAME"] == "ratings-v1"
