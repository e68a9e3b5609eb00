"""What the demo leaves behind. The demo itself is in tests/process/test_cli.py."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest

from sidecar.cli import demo, demo_report


class _NoApplications:
    def __init__(self, ports: object) -> None:
        """Nothing listens."""

    def stop(self) -> None:
        """Nothing to stop."""


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where directories of the demo are made; it starts nothing, and finds every series."""
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    monkeypatch.setattr(demo, "Applications", _NoApplications)
    monkeypatch.setattr(demo, "_sidecar", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(demo, "_send_traffic", lambda *_: None)
    monkeypatch.setattr(demo_report, "report", lambda *_: True)
    return found


def test_once_leaves_nothing(temporary: Path) -> None:
    assert demo.demo(once=True, directory=None, requests=1) == 0
    assert list(temporary.iterdir()) == []


def test_the_directory_that_was_named_stays(temporary: Path, tmp_path: Path) -> None:
    assert demo.demo(once=True, directory=str(tmp_path / "here"), requests=1) == 0
    assert (tmp_path / "here" / "catalog.workload.yaml").exists()
    assert list(temporary.iterdir()) == []


def test_what_failed_can_be_looked_at(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_report, "report", lambda *_: False)
    assert demo.demo(once=True, directory=None, requests=1) == 1
    (left,) = temporary.iterdir()
    assert capsys.readouterr().err == f"sidecar demo: configurations and logs are in {left}\n"
