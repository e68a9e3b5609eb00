"""Backends and proxies for tests of whole processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ports import free_port
from tests.support.process import Proxy, sidecar_command, start_proxy

#: Starts a proxy from the text of a bootstrap for the given admin port; it is ended with the test.
StartProxy = Callable[..., Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartProxy]:
    started: list[Proxy] = []

    def begin(make: Callable[[int], str], **options: Any) -> Proxy:
        """`make`: from the admin port to the text of the bootstrap."""
        admin_port = free_port()
        proxy = start_proxy(sidecar_command(), make(admin_port), tmp_path, admin_port, **options)
        started.append(proxy)
        return proxy

    yield begin
    for proxy in started:
        proxy.kill()
