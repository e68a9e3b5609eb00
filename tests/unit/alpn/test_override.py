"""The ALPN override of upstream handshakes."""

from __future__ import annotations

import pytest

from alpn.override import (
    ISTIO_OVERRIDES,
    ClusterHttpMode,
    UpstreamProtocol,
    is_disabled,
    override,
    override_table,
    upstream_protocol,
)

P, M = UpstreamProtocol, ClusterHttpMode


@pytest.mark.parametrize(
    ("mode", "downstream", "upstream"),
    [
        (M.EXPLICIT_HTTP1, P.HTTP10, P.HTTP11),
        (M.EXPLICIT_HTTP1, P.HTTP11, P.HTTP11),
        (M.EXPLICIT_HTTP1, P.HTTP2, P.HTTP11),
        (M.EXPLICIT_HTTP2, P.HTTP11, P.HTTP2),
        (M.USE_DOWNSTREAM, P.HTTP10, P.HTTP10),
        (M.USE_DOWNSTREAM, P.HTTP11, P.HTTP11),
        (M.USE_DOWNSTREAM, P.HTTP2, P.HTTP2),
        (M.AUTO, P.HTTP11, P.HTTP11),
        (M.AUTO, P.HTTP2, P.HTTP11),
    ],
)
def test_upstream_protocol(
    mode: ClusterHttpMode, downstream: UpstreamProtocol, upstream: UpstreamProtocol
) -> None:
    assert upstream_protocol(mode, downstream) is upstream


@pytest.mark.parametrize(
    ("downstream", "offer"),
    [
        (P.HTTP10, ("istio-http/1.0", "istio", "http/1.0")),
        (P.HTTP11, ("istio-http/1.1", "istio", "http/1.1")),
        (P.HTTP2, ("istio-h2", "istio", "h2")),
    ],
)
def test_istio_overrides(downstream: UpstreamProtocol, offer: tuple[str, ...]) -> None:
    assert override(ISTIO_OVERRIDES, M.USE_DOWNSTREAM, downstream, {}) == offer


@pytest.mark.parametrize(
    ("metadata", "disabled"),
    [
        ({"alpn_override": "false"}, True),
        ({"alpn_override": False}, False),
        ({"alpn_override": "true"}, False),
        ({"alpn_override": ""}, False),
        ({}, False),
    ],
)
def test_only_the_string_false_disables(metadata: dict[str, object], disabled: bool) -> None:
    assert is_disabled(metadata) is disabled
    assert (override(ISTIO_OVERRIDES, M.EXPLICIT_HTTP1, P.HTTP11, metadata) is None) is disabled


def test_the_first_entry_of_a_protocol_is_kept() -> None:
    table = override_table([(P.HTTP11, ("a",)), (P.HTTP11, ("b",)), (P.HTTP2, ())])
    assert table[P.HTTP11] == ("a",)
    assert override(table, M.EXPLICIT_HTTP2, P.HTTP11, {}) is None
    assert override(table, M.USE_DOWNSTREAM, P.HTTP10, {}) is None
