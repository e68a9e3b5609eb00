"""spdlog patterns over stdlib logging, and levels by component."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.worker import log


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    names = [name for name, _ in log.logger_levels()]
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raising
    for name, each in levels.items():
        logging.getLogger(name).setLevel(each)


def record(
    message: str, *args: object, name: str = "sidecar.http.stream", level: int = logging.INFO
) -> logging.LogRecord:
    made = logging.LogRecord(name, level, "/src/stream.py", 42, message, args, None, "run")
    made.created = 1_700_000_000.123456
    return made


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%v", "hello 1"),
        ("[%l][%L][%n]", "[info][I][http]"),
        ("%g:%# %s:%# %@ %!", "/src/stream.py:42 stream.py:42 stream.py:42 run"),
        ("%e %f", "123 123456"),
        ("%E", "1700000000"),
        ("100%% %v", "100% hello 1"),
        ("%k %", "%k %"),
        ("", ""),
    ],
)
def test_patterns(pattern: str, text: str) -> None:
    assert log.SpdlogFormatter(pattern).format(record("hello %d", 1)) == text


def test_dates() -> None:
    text = log.SpdlogFormatter("%Y-%m-%d %H:%M:%S|%T|%z").format(record("x"))
    assert re.fullmatch(r"2023-11-1\d \d\d:\d\d:20\|\d\d:\d\d:20\|[+-]\d\d:\d\d", text)


def test_json_is_valid_whatever_is_said() -> None:
    fields = [("msg", "%j"), ("raw", "%v"), ("level", "%l")]
    line = log.SpdlogFormatter(None, fields).format(record('a "quote"\nand a line'))
    assert "\n" not in line
    assert json.loads(line)["raw"] == 'a "quote"\nand a line'


def test_escaped_messages_are_one_line() -> None:
    formatter = log.SpdlogFormatter("%l %v", escape=True)
    assert formatter.format(record("a\nb\tc\\")) == "info a\\nb\\tc\\\\"


def test_a_traceback_belongs_to_the_message() -> None:
    made = record("failed")
    try:
        raise ValueError("why")
    except ValueError as error:
        made.exc_info = (type(error), error, error.__traceback__)
    text = log.SpdlogFormatter("%v").format(made)
    assert text.startswith("failed\nTraceback") and text.endswith("ValueError: why")


@pytest.mark.parametrize(
    ("logger", "component"),
    [
        ("sidecar.http.stream", "http"),
        ("sidecar.http.filters.router", "router"),
        ("sidecar.upstream.http_pool", "pool"),
        ("sidecar.upstream.cluster", "upstream"),
        ("sidecar.listener.listener", "conn_handler"),
        ("sidecar.transport.tls_contexts", "secret"),
        ("sidecar.stream_info", "misc"),
        ("somebody.else", "misc"),
        ("sidecar.httpx", "misc"),
    ],
)
def test_components(logger: str, component: str) -> None:
    assert log.component_of(logger) == component


def test_levels(tmp_path: Path) -> None:
    log.set_up(
        "warning", [("http", "debug"), ("unknown", "trace")], log.SpdlogFormatter("%v"), str(tmp_path / "l")
    )
    levels = dict(log.current_levels())
    assert levels["http"] == "debug"
    assert levels["upstream"] == "warning"
    assert levels["wasm"] == "warning"
    log.set_all("error")
    assert set(dict(log.current_levels()).values()) == {"error"}
    assert log.set_component("wasm", "trace") and log.set_component("main", "off")
    assert not log.set_component("unknown", "info")
    levels = dict(log.current_levels())
    assert (levels["wasm"], levels["main"]) == ("trace", "off")
    logging.getLogger("sidecar.main.run").critical("never seen")
    assert (tmp_path / "l").read_text() == ""


def test_file_and_reopen(tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    log.set_up("info", [], log.SpdlogFormatter("%v"), str(path))
    logging.getLogger("sidecar.main").info("one")
    path.rename(tmp_path / "old.log")
    log.reopen()
    logging.getLogger("sidecar.main").info("two")
    assert (path.read_text(), (tmp_path / "old.log").read_text()) == ("two\n", "one\n")


def test_a_file_that_cannot_be_reopened_stays(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    log.set_up("info", [], log.SpdlogFormatter("%v"), str(directory / "own.log"))
    directory.rename(tmp_path / "moved")
    log.reopen()
    text = (tmp_path / "moved" / "own.log").read_text()
    assert text == f"cannot reopen {directory / 'own.log'}: No such file or directory\n"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no-such"):
        log.set_up("info", [], log.SpdlogFormatter("%v"), str(tmp_path / "no-such" / "own.log"))


def test_another_process_has_the_same_levels() -> None:
    log.set_all("warning")
    log.set_component("http", "trace")
    log.set_component("main", "debug")
    levels = log.logger_levels()
    log.set_all("error")
    log.set_loggers(levels)
    shown = dict(log.current_levels())
    assert (shown["http"], shown["main"], shown["upstream"]) == ("trace", "debug", "warning")
    assert logging.getLogger("sidecar.worker").level == logging.DEBUG
    assert logging.getLogger("protocols").level == logging.WARNING


def test_a_worker_says_who_it_is() -> None:
    formatter = log.SpdlogFormatter("%l %v", prefix="[worker 1] ")
    record = logging.LogRecord("sidecar.worker", logging.INFO, "f", 1, "hello %s", ("you",), None)
    assert formatter.format(record) == "info [worker 1] hello you"
