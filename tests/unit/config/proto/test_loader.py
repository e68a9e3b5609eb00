"""Plain values as protobuf messages."""

from __future__ import annotations

from typing import Any

import pytest

from config.proto.loader import load_message
from config.proto.path import Context, Path
from config.proto.types import message_class


def load(name: str, value: object) -> tuple[Any, list[str]]:
    kind = message_class(name)
    assert kind is not None
    message = kind()
    context = Context()
    load_message(value, message, Path(context))
    return message, [str(error) for error in context.problems.errors]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("UInt32Value", 5, 5),
        ("UInt32Value", "5", 5),
        ("UInt32Value", 5.0, 5),
        ("UInt32Value", {"value": 5}, 5),
        ("Int64Value", "-9223372036854775808", -(2**63)),
        ("DoubleValue", "1.5", 1.5),
        ("DoubleValue", 1, 1.0),
        ("DoubleValue", "-Infinity", float("-inf")),
        ("BoolValue", True, True),
        ("BoolValue", "false", False),
        ("StringValue", "x", "x"),
        ("BytesValue", "aGk", b"hi"),
        ("BytesValue", "_-8=", b"\xff\xef"),
    ],
)
def test_wrappers(kind: str, value: object, expected: object) -> None:
    message, errors = load(f"google.protobuf.{kind}", value)
    assert errors == []
    assert message.value == expected


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("UInt32Value", -1, "-1 is out of range for uint32 (0 to 4294967295)"),
        ("UInt32Value", 2**32, "4294967296 is out of range for uint32 (0 to 4294967295)"),
        ("UInt32Value", 1.5, "expected an integer, got the number 1.5"),
        ("UInt32Value", "1.5", "expected an integer, got '1.5'"),
        ("UInt32Value", "٣", "expected an integer, got '٣'"),
        ("UInt32Value", True, "expected an integer, got true"),
        ("UInt32Value", float("inf"), "expected an integer, got the number inf"),
        ("UInt32Value", "1e999", "expected an integer, got '1e999'"),
        (
            "Int64Value",
            2**63,
            "9223372036854775808 is out of range for int64 (-9223372036854775808 to 9223372036854775807)",
        ),
        ("DoubleValue", "x", "expected a number, got 'x'"),
        ("DoubleValue", [], "expected a number, got a list"),
        ("BoolValue", 1, "expected true or false, got the number 1"),
        ("BoolValue", "yes", "expected true or false, got 'yes'"),
        ("StringValue", 5, "expected a string, got the number 5 (write it in quotes)"),
        ("StringValue", "\ud800", "not valid Unicode text"),
        ("BytesValue", "!", "not valid base64"),
        ("BytesValue", "é", "not valid base64"),
    ],
)
def test_wrappers_of_wrong_values(kind: str, value: object, problem: str) -> None:
    assert load(f"google.protobuf.{kind}", value)[1] == [problem]


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("5s", 5, 0),
        ("0.25s", 0, 250_000_000),
        ("-1.5s", -1, -500_000_000),
        ("1.000000001s", 1, 1),
        ("05s", 5, 0),
    ],
)
def test_durations(text: str, seconds: int, nanos: int) -> None:
    message, errors = load("google.protobuf.Duration", text)
    assert errors == []
    assert (message.seconds, message.nanos) == (seconds, nanos)


@pytest.mark.parametrize(
    ("value", "suggestion"),
    [
        ("5ms", "0.005s"),
        ("2m", "120s"),
        ("1h", "3600s"),
        (10, "10s"),
        ("5 s", "5s"),
        ("5x", None),
        ("s", None),
        (True, None),
        ([], None),
    ],
)
def test_wrong_durations(value: object, suggestion: str | None) -> None:
    (error,) = load("google.protobuf.Duration", value)[1]
    assert error.startswith("expected a duration in seconds such as '1.5s', got ")
    assert error.endswith(f"; did you mean '{suggestion}'?") if suggestion else "did you mean" not in error


def test_struct() -> None:
    message, errors = load("google.protobuf.Struct", {"a": [1, "x", None, {"b": True}], "c": 1.5})
    assert errors == []
    assert dict(message) == {"a": [1, "x", None, {"b": True}], "c": 1.5}


def test_any_of_a_well_known_type() -> None:
    message, errors = load(
        "google.protobuf.Any", {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "5s"}
    )
    assert errors == []
    duration = message_class("google.protobuf.Duration")
    assert duration is not None
    inner: Any = duration()
    assert message.Unpack(inner)
    assert inner.seconds == 5


def test_maps_and_both_spellings() -> None:
    message, errors = load(
        "envoy.config.cluster.v3.Cluster",
        {"altStatName": "x", "connect_timeout": "1s", "metadata": {"filterMetadata": {"a_b": {"c_d": 1}}}},
    )
    assert errors == []
    assert message.alt_stat_name == "x"
    assert message.metadata.filter_metadata["a_b"]["c_d"] == 1


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        (
            {"metadata": {"filter_metadata": 5}},
            ["metadata.filter_metadata: expected an object, got the number 5"],
        ),
        ({"metadata": {"filter_metadata": {"a": None}}}, ['metadata.filter_metadata["a"]: must not be null']),
        ({"filters": [None]}, ["filters[0]: must not be null"]),
        (
            {"lrs_report_endpoint_metrics": ["a", 5]},
            ["lrs_report_endpoint_metrics[1]: expected a string, got the number 5 (write it in quotes)"],
        ),
        (
            {"type": "EDS", "cluster_type": {}},
            ["cluster_type: cannot be set together with type: only one of them may be given"],
        ),
        (
            {"name": "a", "altStatName": "b", "alt_stat_name": "c"},
            ["alt_stat_name: given twice, as alt_stat_name and as altStatName"],
        ),
        ({"name": None, "type": None}, []),
        (5, ["expected an object (envoy.config.cluster.v3.Cluster), got the number 5"]),
    ],
)
def test_what_does_not_fit(value: object, problems: list[str]) -> None:
    assert load("envoy.config.cluster.v3.Cluster", value)[1] == problems


def test_types_outside_the_known_apis_are_not_looked_for() -> None:
    for name in (
        "os.path",
        "envoy..x.Y",
        "a",
        "",
        "google.protobuf.Nothing",
        "envoy.no.such.package.X",
        "sidecar.main.X",
    ):
        assert message_class(name) is None
