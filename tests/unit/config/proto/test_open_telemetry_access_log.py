from __future__ import annotations

from config.proto import types

NAME = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"


def test_the_message_has_the_numbers_of_envoys() -> None:
    message = types.message_class(NAME)
    assert message is not None
    numbers = {field.name: field.number for field in message.DESCRIPTOR.fields}
    assert sorted(numbers.values()) == list(range(1, 16))
    assert (numbers["body"], numbers["http_service"], numbers["grpc_service"]) == (2, 8, 9)


def test_what_is_written_reads_back() -> None:
    message_class = types.message_class(NAME)
    assert message_class is not None
    message = message_class(stat_prefix="p", log_name="l", filter_state_objects_to_log=["a", "b"])  # type: ignore[call-arg]
    message.http_service.http_uri.uri = "http://x/"  # type: ignore[attr-defined]
    assert message_class.FromString(message.SerializeToString()) == message
