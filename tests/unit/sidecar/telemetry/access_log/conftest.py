"""A log file for each test, and the loop that writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.telemetry.access_log.file import LogFile
from tests.unit.sidecar.telemetry.access_log.log_files import Files


@pytest.fixture
def files() -> Iterator[Files]:
    files = Files()
    yield files
    files.loop.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def file(path: Path, files: Files) -> Iterator[LogFile]:
    file = files.open(path)
    yield file
    file.close()
