"""Extensions by type: each spec class has its translator, and wrong types are told apart."""

from __future__ import annotations

import typing
from collections.abc import Callable
from types import UnionType
from typing import Any

import pytest
from google.protobuf import any_pb2

from config.model.access_log import AccessLogSinkSpec
from config.model.http import HttpFilterSpec
from config.model.listener import ListenerFilterSpec
from config.model.network import NetworkFilterSpec
from config.proto.access_log import ACCESS_LOGS
from config.proto.http import HTTP_FILTERS
from config.proto.listener import LISTENER_FILTERS
from config.proto.network import NETWORK_FILTERS, UPSTREAM_NETWORK_FILTERS
from config.proto.path import Context, Path
from config.proto.typed_config import ExtensionTable
from config.reference import EXTENSION_TABLES


def members(union: Any) -> set[type]:
    return set(typing.get_args(union)) if isinstance(union, UnionType) or typing.get_args(union) else {union}


def produced(translator: Callable[..., Any]) -> type:
    hints = typing.get_type_hints(translator)
    found: type = hints["return"]
    return found


@pytest.mark.parametrize(
    ("union", "table"),
    [
        (NetworkFilterSpec, NETWORK_FILTERS),
        (HttpFilterSpec, HTTP_FILTERS),
        (ListenerFilterSpec, LISTENER_FILTERS),
        (AccessLogSinkSpec, ACCESS_LOGS),
    ],
    ids=["network", "http", "listener", "access log"],
)
def test_every_spec_class_is_made_by_exactly_one_translator(union: Any, table: ExtensionTable[Any]) -> None:
    translators = set(table.translators.values())
    assert sorted(produced(translator).__name__ for translator in translators) == sorted(
        kind.__name__ for kind in members(union)
    )


def test_upstream_filters_are_network_filters() -> None:
    for name, translator in UPSTREAM_NETWORK_FILTERS.translators.items():
        assert NETWORK_FILTERS.translators[name] is translator


def test_the_reference_shows_every_table() -> None:
    assert len({table.what for table in EXTENSION_TABLES}) == len(EXTENSION_TABLES)
    for table in (NETWORK_FILTERS, UPSTREAM_NETWORK_FILTERS, HTTP_FILTERS, LISTENER_FILTERS, ACCESS_LOGS):
        assert table in EXTENSION_TABLES


def translate(type_url: str, value: bytes = b"", **options: bool) -> tuple[object, list[str], list[str]]:
    context = Context()
    message = any_pb2.Any(type_url=type_url, value=value)
    spec = HTTP_FILTERS.translate(message, Path(context).field("x"), **options)
    return (
        spec,
        [error.reason for error in context.problems.errors],
        [warning.reason for warning in context.problems.warnings],
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "an HTTP filter is chosen by the type of its typed_config, which is missing"),
        (
            "envoy.extensions.filters.http.router.v3.Routr",
            (
                "unknown type 'envoy.extensions.filters.http.router.v3.Routr' for an HTTP filter; did you mean "
                "'envoy.extensions.filters.http.router.v3.Router'?"
            ),
        ),
        (
            "envoy.extensions.filters.http.lua.v3.Lua",
            "refused: envoy.extensions.filters.http.lua.v3.Lua is not supported as an HTTP filter",
        ),
        (
            "envoy.extensions.filters.network.echo.v3.Echo",
            "envoy.extensions.filters.network.echo.v3.Echo is a network filter, not an HTTP filter",
        ),
    ],
)
def test_types_that_are_not_http_filters(name: str, reason: str) -> None:
    assert translate(f"type.googleapis.com/{name}" if name else "") == (None, [reason], [])


def test_optional_extensions_are_skipped() -> None:
    spec, errors, warnings = translate("type.googleapis.com/a.b.C", optional=True)
    assert (spec, errors) == (None, [])
    assert warnings == ["ignored: a.b.C is optional and not supported"]


def test_bytes_that_are_no_message_are_reported() -> None:
    name = "envoy.extensions.filters.http.router.v3.Router"
    spec, errors, _ = translate(f"type.googleapis.com/{name}", b"\xff\xff")
    assert (spec, errors) == (None, [f"the bytes are no {name}"])


def test_cors_with_a_configuration_is_refused() -> None:
    name = "envoy.extensions.filters.http.cors.v3.Cors"
    spec, errors, _ = translate(f"type.googleapis.com/{name}", b"\x0a\x00")
    assert (spec, errors) == (None, [f"refused: {name} is not supported with a configuration"])
