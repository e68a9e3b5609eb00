"""What becomes of an exception that escaped into the event loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sidecar.worker.failure import loop_failure


def test_each_failure_counts_and_those_that_are_known_are_not_logged_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted: list[bool] = []
    state = SimpleNamespace(count_bug=lambda: counted.append(True))
    handle = loop_failure(cast("Any", SimpleNamespace(state=state)))
    for known in (False, True, True):
        handle(None, {"message": "an access log failed", "exception": ValueError("broken"), "known": known})
    handle(None, {"message": "something else", "exception": ValueError("broken")})
    assert len(counted) == 4
    assert [record.getMessage() for record in caplog.records] == ["an access log failed", "something else"]
