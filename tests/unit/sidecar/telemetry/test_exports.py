"""How much is on its way, and the end of the last of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from sidecar.telemetry.exports import ExportLog, Exports, close_all


def test_no_more_than_the_limit() -> None:
    exports = Exports(2)
    assert [exports.begin() for _ in range(3)] == [True, True, False]
    exports.end()
    assert exports.begin()


def test_who_waits_for_the_last_is_told_once() -> None:
    exports, told = Exports(2), list[tuple[str, bool]]()
    exports.begin()
    exports.tell_idle()
    told.append(("before", exports.is_closing))
    exports.close(lambda: told.append(("idle", exports.is_closing)))
    exports.tell_idle()
    told.append(("closing", exports.is_closing))
    exports.end()
    exports.tell_idle()
    exports.tell_idle()
    assert told == [("before", False), ("closing", True), ("idle", False)]


def test_the_log_says_when_exports_begin_to_fail_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    log = ExportLog("spans", "otel")
    log.succeeded()
    for _ in range(3):
        log.failed("no_healthy_upstream")
    for _ in range(2):
        log.succeeded()
    log.failed("HTTP status 503")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "exports of spans to cluster otel fail, what they have is lost: no_healthy_upstream"),
        ("INFO", "exports of spans to cluster otel are taken again, 3 have failed"),
        ("WARNING", "exports of spans to cluster otel fail, what they have is lost: HTTP status 503"),
    ]


def test_close_all_waits_for_all() -> None:
    async def end() -> list[str]:
        told: list[str] = []
        soon = asyncio.get_running_loop().call_soon

        def later(idle: Callable[[], None]) -> None:
            soon(told.append, "later")
            soon(idle)

        await asyncio.wait_for(close_all([lambda idle: idle(), later], 60), 5)
        return told

    assert asyncio.run(end()) == ["later"]


def test_close_all_does_not_wait_for_ever() -> None:
    closed: list[Callable[[], None]] = []
    asyncio.run(close_all([lambda idle: idle(), closed.append], 0.01))
    assert len(closed) == 1


def test_close_all_of_nothing() -> None:
    asyncio.run(close_all([], 60))
