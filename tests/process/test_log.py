"""The program's own log: patterns, JSON, levels, files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import StartProxy
from tests.support.bootstraps import bootstrap
from tests.support.http_client import get


def plain(port: int, **more: Any) -> str:
    return bootstrap(port, **more)


def test_the_default_format_is_envoys(start: StartProxy) -> None:
    proxy = start(plain, log_level="info")
    line = next(line for line in proxy.log_text().splitlines() if "initializing" in line)
    assert re.fullmatch(
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\]\[\d+\]\[info\]\[main\] \[[^ ]+run\.py:\d+\] initializing .*",
        line,
    )


def test_log_format_flag(start: StartProxy) -> None:
    proxy = start(plain, log_level="info", extra=["--log-format", "%L|%n|%v|100%%"])
    assert re.search(r"^I\|main\|initializing .*\|100%$", proxy.log_text(), re.MULTILINE)


def test_text_format_of_the_bootstrap(start: StartProxy) -> None:
    pattern = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"
    proxy = start(
        lambda port: plain(port, application_log_config={"log_format": {"text_format": pattern}}),
        log_level="info",
    )
    assert re.search(
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\tinfo\tenvoy main \S+:\d+\tinitializing .*\tthread=\d+$",
        proxy.log_text(),
        re.MULTILINE,
    )


def test_json_format_of_the_bootstrap(start: StartProxy) -> None:
    fields = {"level": "%l", "scope": "envoy %n", "msg": "%j", "caller": "%g:%#", "thread": "%t"}
    proxy = start(
        lambda port: plain(port, application_log_config={"log_format": {"json_format": fields}}),
        log_level="info",
    )
    lines = [json.loads(line) for line in proxy.log_text().splitlines()]
    assert {line["scope"] for line in lines} >= {"envoy main", "envoy admin"}
    assert all(set(line) == set(fields) for line in lines)


def test_log_path(start: StartProxy, tmp_path: Path) -> None:
    own = tmp_path / "own.log"
    proxy = start(plain, log_level="info", extra=["--log-path", str(own)])
    assert "initializing" in own.read_text()
    assert proxy.log_text() == ""


@pytest.mark.parametrize(("level", "silent"), [("warning", True), ("info", False)])
def test_level(start: StartProxy, level: str, silent: bool) -> None:
    assert (start(plain, log_level=level).log_text() == "") is silent


def test_component_level(start: StartProxy) -> None:
    proxy = start(plain, log_level="off", extra=["--component-log-level", "admin:info,no_such:debug"])
    assert {line.split("][")[3].split("]")[0] for line in proxy.log_text().splitlines()} == {"admin"}


def test_an_unknown_component_is_told(start: StartProxy) -> None:
    proxy = start(plain, log_level="warning", extra=["--component-log-level", "htp:debug,http:warning"])
    (line,) = proxy.log_text().splitlines()
    assert line.endswith("--component-log-level: there is no component 'htp'; did you mean 'http'?")


def test_flags_without_effect_are_told_once(start: StartProxy) -> None:
    proxy = start(plain, extra=["--base-id", "3", "--brand-new"])
    lines = proxy.log_text().splitlines()
    assert len(lines) == 2
    assert "unknown argument '--brand-new' ignored" in lines[0]
    assert "--base-id has no effect" in lines[1]


def test_levels_change_while_it_runs(start: StartProxy) -> None:
    proxy = start(plain, log_level="off")
    assert "  admin: error\n" in proxy.admin("/logging?admin=error", method="POST")
    assert get(proxy.admin_address, "/quitquitquit").status == 405
    assert "mutates state, method=GET rather than POST" in proxy.log_text()
