"""`Http2ProtocolOptions` of listeners and clusters."""

from __future__ import annotations

import pytest

from config.model.http import HttpConnectionManagerSpec
from config.model.http2 import Http2Options, KeepaliveSpec
from tests.unit.config.bootstraps import EXTENSIONS, cluster, http, parse, problems

EVERY_FIELD = (
    "{hpack_table_size: 8192, max_concurrent_streams: 7, initial_stream_window_size: 70000,"
    " initial_connection_window_size: 80000, allow_connect: true, max_outbound_frames: 1,"
    " max_outbound_control_frames: 2, max_consecutive_inbound_frames_with_empty_payload: 3,"
    " max_inbound_priority_frames_per_stream: 4, max_inbound_window_update_frames_per_data_frame_sent: 5,"
    " override_stream_error_on_invalid_http_message: true,"
    " custom_settings_parameters: [{identifier: 99, value: 5}],"
    " connection_keepalive: {interval: 10s, timeout: 2s, interval_jitter: {value: 20}, connection_idle_interval: 30s}}"
)
EVERY = Http2Options(
    max_concurrent_streams=7,
    initial_stream_window_size=70000,
    initial_connection_window_size=80000,
    hpack_table_size=8192,
    allow_connect=True,
    stream_error_on_invalid_http_message=True,
    max_outbound_frames=1,
    max_outbound_control_frames=2,
    max_consecutive_inbound_frames_with_empty_payload=3,
    max_inbound_priority_frames_per_stream=4,
    max_inbound_window_update_frames_per_data_frame_sent=5,
    custom_settings=((99, 5),),
    keepalive=KeepaliveSpec(10.0, 2.0, 0.2, 30.0),
)
_NEXT = "\n          "  # the next field of the connection manager
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def of_listener(fields: str) -> Http2Options:
    spec = parse(http(fields)).bootstrap.listeners[0].filter_chains[0].filters[0]
    assert isinstance(spec, HttpConnectionManagerSpec)
    return spec.http2


def cluster_with(fields: str) -> str:
    return cluster(f"{{name: d, connect_timeout: 1s, {fields}}}")


def test_listener() -> None:
    assert of_listener(f"http2_protocol_options: {EVERY_FIELD}") == EVERY
    assert of_listener("server_name: x") == Http2Options()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("stream_error_on_invalid_http_message: true", True),
        (
            (
                f"stream_error_on_invalid_http_message: true{_NEXT}http2_protocol_options: "
                f"{{override_stream_error_on_invalid_http_message: false}}"
            ),
            False,
        ),
        ("http2_protocol_options: {stream_error_on_invalid_http_messaging: true}", True),
    ],
)
def test_errors_of_a_stream(fields: str, expected: bool) -> None:
    assert of_listener(fields).stream_error_on_invalid_http_message is expected


@pytest.mark.parametrize("variant", ["explicit_http_config", "use_downstream_protocol_config", "auto_config"])
def test_cluster(variant: str) -> None:
    options = (
        f'{{"@type": type.googleapis.com/{_OPTIONS}, {variant}: {{http2_protocol_options: {EVERY_FIELD}}}}}'
    )
    tls = f'{{name: t, typed_config: {{"@type": {EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext}}}}'
    text = cluster_with(
        f"transport_socket: {tls}, typed_extension_protocol_options: {{{_OPTIONS}: {options}}}"
    )
    found = parse(text).bootstrap.clusters[1].http_options.http2
    assert found == EVERY


def test_deprecated_field_of_a_cluster() -> None:
    text = cluster_with(f"http2_protocol_options: {EVERY_FIELD}")
    assert parse(text).bootstrap.clusters[1].http_options.http2 == EVERY


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("allow_metadata: true", "allow_metadata: refused: METADATA frames are not HTTP/2"),
        ("connection_keepalive: {interval: 1s}", "connection_keepalive.timeout: "),
        (
            "custom_settings_parameters: [{identifier: 4, value: 1}]",
            "custom_settings_parameters[0].identifier: 4 is initial_stream_window_size",
        ),
        (
            "custom_settings_parameters: [{identifier: 9, value: 1}, {identifier: 9, value: 2}]",
            "custom_settings_parameters[1].identifier: 9 is set twice",
        ),
        ("initial_stream_window_size: 5", "initial_stream_window_size: must be at least 65535"),
    ],
)
def test_problems(field: str, problem: str) -> None:
    found = problems(http(f"http2_protocol_options: {{{field}}}"))
    assert any(f"http2_protocol_options.{problem}" in line for line in found), found


@pytest.mark.parametrize(
    ("keepalive", "expected"),
    [
        ("{timeout: 3s}", KeepaliveSpec(0.0, 3.0, 0.15, 0.0)),
        ("{timeout: 3s, interval: 1s}", KeepaliveSpec(1.0, 3.0, 0.15, 0.0)),
        ("{timeout: 3s, interval: 1s, interval_jitter: {}}", KeepaliveSpec(1.0, 3.0, 0.0, 0.0)),
        ("{timeout: 3s, connection_idle_interval: 9s}", KeepaliveSpec(0.0, 3.0, 0.15, 9.0)),
    ],
)
def test_keepalive(keepalive: str, expected: KeepaliveSpec) -> None:
    assert of_listener(f"http2_protocol_options: {{connection_keepalive: {keepalive}}}").keepalive == expected


def test_settings_of_ones_own_may_be_repeated() -> None:
    parameters = "[{identifier: 9, value: 1}, {identifier: 9, value: 1}, {identifier: 10, value: 0}]"
    found = of_listener(f"http2_protocol_options: {{custom_settings_parameters: {parameters}}}")
    assert found.custom_settings == ((9, 1), (10, 0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_concurrent_streams", 0),
        ("max_concurrent_streams", 1 << 31),
        ("initial_stream_window_size", 65534),
        ("initial_stream_window_size", 1 << 31),
        ("initial_connection_window_size", 65534),
        ("initial_connection_window_size", 1 << 31),
        ("max_outbound_frames", 0),
        ("max_outbound_control_frames", 0),
        ("max_inbound_window_update_frames_per_data_frame_sent", 0),
    ],
)
def test_ranges(field: str, value: int) -> None:
    """Envoy's; the place of the problem is that of the field."""
    found = problems(http(f"http2_protocol_options: {{{field}: {value}}}"))
    assert len(found) == 1
    assert f".http2_protocol_options.{field}: " in found[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hpack_table_size", 0),
        ("max_concurrent_streams", 1),
        ("initial_stream_window_size", 65535),
        ("initial_connection_window_size", (1 << 31) - 1),
        ("max_consecutive_inbound_frames_with_empty_payload", 0),
        ("max_inbound_priority_frames_per_stream", 0),
    ],
)
def test_ends_of_the_ranges(field: str, value: int) -> None:
    assert getattr(of_listener(f"http2_protocol_options: {{{field}: {value}}}"), field) == value


@pytest.mark.parametrize(
    ("settings", "name"),
    [(1, "hpack_table_size"), (2, "server push"), (3, "max_concurrent_streams"), (8, "allow_connect")],
)
def test_settings_that_have_a_field(settings: int, name: str) -> None:
    parameters = f"[{{identifier: {settings}, value: 1}}]"
    found = problems(http(f"http2_protocol_options: {{custom_settings_parameters: {parameters}}}"))
    assert any(f"custom_settings_parameters[0].identifier: {settings} is {name}" in line for line in found), (
        found
    )
