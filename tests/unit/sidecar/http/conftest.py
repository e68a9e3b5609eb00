"""What holds in every test of HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import settled


@pytest.fixture(autouse=True)
def settled_values() -> Iterator[None]:
    """Whatever happens after a request, its log entry stays what it was."""
    yield
    settled.WATCH.check()
