"""`access_log_options` of the connection manager and of the TCP proxy, and the older fields."""

from __future__ import annotations

import pytest

from config.model.access_log import AccessLogOptions
from config.model.http import HttpConnectionManagerSpec
from config.model.network import TcpProxySpec
from tests.unit.config.bootstraps import http, parse, problems, tcp


def options_of(text: str) -> AccessLogOptions:
    (spec,) = parse(text).bootstrap.listeners[0].filter_chains[0].filters
    assert isinstance(spec, (TcpProxySpec, HttpConnectionManagerSpec))
    return spec.access_log_options


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", AccessLogOptions()),
        ("access_log_options: {access_log_flush_interval: 2s}", AccessLogOptions(flush_interval_s=2.0)),
        ("access_log_options: {flush_access_log_on_connected: true}", AccessLogOptions(at_start=True)),
        (
            "access_log_flush_interval: 3s, flush_access_log_on_connected: true",
            AccessLogOptions(at_start=True, flush_interval_s=3.0),
        ),
    ],
)
def test_tcp_proxy(fields: str, expected: AccessLogOptions) -> None:
    assert options_of(tcp(fields=f"stat_prefix: x, cluster: c, {fields}")) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", AccessLogOptions()),
        (
            (
                "access_log_options: {access_log_flush_interval: 2s, flush_access_log_on_new_request: true, "
                "flush_log_on_tunnel_successfully_established: true}"
            ),
            AccessLogOptions(True, True, 2.0),
        ),
        (
            "access_log_flush_interval: 3s;flush_access_log_on_new_request: true",
            AccessLogOptions(True, False, 3.0),
        ),
    ],
)
def test_connection_manager(fields: str, expected: AccessLogOptions) -> None:
    assert options_of(http(fields.replace(";", "\n          "))) == expected


def test_the_older_fields_do_not_go_with_the_options() -> None:
    found = problems(
        http(
            "access_log_options: {}\n          access_log_flush_interval: 3s\n          "
            "flush_access_log_on_new_request: true"
        )
    )
    assert len(found) == 2
