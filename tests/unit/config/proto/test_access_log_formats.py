"""Formats of access logs, and the formatters that extend them."""

from __future__ import annotations

import pytest

from config.bootstrap import ParseOptions, Source, parse_bootstrap
from config.errors import ConfigErrors
from config.model.access_log import FileAccessLogSpec, JsonFormat, TextFormat
from config.model.network import TcpProxySpec
from tests.unit.config.bootstraps import EXTENSIONS, parse, problems, tcp

STDOUT = f'"@type": {EXTENSIONS}access_loggers.stream.v3.StdoutAccessLog'
WITHOUT_QUERY = "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"


def bootstrap(config: str) -> str:
    return tcp(
        fields=f"stat_prefix: x, cluster: c, access_log: [{{name: a, typed_config: {{{STDOUT}{config}}}}}]"
    )


def log_of(text: str) -> object:
    (spec,) = parse(text).bootstrap.listeners[0].filter_chains[0].filters
    assert isinstance(spec, TcpProxySpec)
    (log,) = spec.access_log
    return log


def test_json_formats() -> None:
    config = (
        ', log_format: {json_format: {a: "%PROTOCOL%", b: {c: [1, true, null]}}, omit_empty_values: true, '
        "formatters: [{name: f, typed_config: {'@type': "
        f"{EXTENSIONS}formatter.req_without_query.v3.ReqWithoutQuery}}}}]}}"
    )
    assert log_of(bootstrap(config)) == FileAccessLogSpec(
        "/dev/stdout",
        JsonFormat(
            {"a": "%PROTOCOL%", "b": {"c": [1.0, True, None]}},
            omit_empty=True,
            extensions=("envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",),
        ),
    )
    text = ", log_format: {text_format_source: {inline_string: x}, omit_empty_values: true}"
    assert log_of(bootstrap(text)) == FileAccessLogSpec("/dev/stdout", TextFormat("x", omit_empty=True))


def test_every_bad_format_string_of_a_table_is_reported() -> None:
    def check(text: str, extensions: tuple[str, ...]) -> str | None:
        return f"bad: {text}" if "NOPE" in text else None

    text = bootstrap(', log_format: {json_format: {a: "%NOPE1%", b: {c: ["%NOPE2%", 1]}, d: "%OK%"}}')
    with pytest.raises(ConfigErrors) as refused:
        parse_bootstrap([Source("a", text)], ParseOptions(check_format=check))
    assert [error.reason for error in refused.value.errors] == ["bad: %NOPE1%", "bad: %NOPE2%"]


def test_formatters_are_known_by_their_types() -> None:
    def check(text: str, extensions: tuple[str, ...]) -> str | None:
        return None if WITHOUT_QUERY in extensions else "no formatter"

    formatters = f'formatters: [{{name: f, typed_config: {{"@type": type.googleapis.com/{WITHOUT_QUERY}}}}}]'
    text = bootstrap(f", log_format: {{text_format: x, {formatters}}}")
    assert parse_bootstrap([Source("a", text)], ParseOptions(check_format=check))
    (problem,) = problems(
        bootstrap(f", log_format: {{text_format: x, {formatters.replace(WITHOUT_QUERY, 'a.B')}}}")
    )
    assert "formatter" in problem


def test_the_formatter_of_cel_is_accepted() -> None:
    cel = "envoy.extensions.formatter.cel.v3.Cel"
    formatters = f'formatters: [{{name: f, typed_config: {{"@type": type.googleapis.com/{cel}}}}}]'
    log = log_of(bootstrap(f", log_format: {{text_format_source: {{inline_string: x}}, {formatters}}}"))
    assert log == FileAccessLogSpec("/dev/stdout", TextFormat("x", extensions=(cel,)))
