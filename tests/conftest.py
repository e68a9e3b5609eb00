"""Fixtures for all tests: kept to what more than one directory needs."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.backends import LoopThread
from tests.support.envoy import require_envoy
from tests.support.process import ProxyCommand


@pytest.fixture
def envoy() -> ProxyCommand:
    """The real Envoy; without it the test is skipped, or fails under CI."""
    return require_envoy()


@pytest.fixture(scope="module")
def loop_thread() -> Iterator[LoopThread]:
    """Where the backends of a module run."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(autouse=True)
def settled_values() -> Iterator[None]:
    """Whatever happens after a request, its log entry stays what it was."""
    yield
    if (support := sys.modules.get("tests.support.settled")) is not None:
        support.WATCH.check()
