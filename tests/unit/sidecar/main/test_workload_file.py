"""The file of workloads is read again without holding up the loop."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest

from sidecar.main import workload_reader
from sidecar.main.workload_file import WorkloadFile
from sidecar.telemetry.workload_directory import WorkloadDirectory
from sidecar.worker.start_error import StartError
from stats.metrics import Gauge


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "workloads.yaml"
    path.write_text("workloads: [{name: old, addresses: [10.0.0.1]}]")
    return path


@pytest.fixture
def directory() -> WorkloadDirectory:
    return WorkloadDirectory(Gauge("", "", ()))


@pytest.fixture
def file(path: Path, directory: WorkloadDirectory) -> WorkloadFile:
    file = WorkloadFile(str(path), directory)
    file.load()
    return file


def name_at(directory: WorkloadDirectory, address: str) -> str | None:
    peer = directory.find(address)
    return peer.workload if peer is not None else None


def test_it_is_read_at_start_and_mistakes_are_refused(
    path: Path, file: WorkloadFile, directory: WorkloadDirectory
) -> None:
    assert name_at(directory, "10.0.0.1") == "old"
    path.write_text("workloads: [{name: a, addresses: [x]}, {addresses: [10.0.0.1]}]")
    with pytest.raises(StartError) as raised:
        file.load()
    assert len(raised.value.problems) == 2


def test_it_is_read_again_in_another_process(
    path: Path, file: WorkloadFile, directory: WorkloadDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsing a long file in this one, be it in a thread, would take its time from traffic."""

    def parse_here(_: object) -> None:
        raise AssertionError("parsed in the proxy's process")

    monkeypatch.setattr(workload_reader, "parse_workloads", parse_here)
    full = "{name: n\u00f6w, addresses: [10.0.0.2, 'fd00::2'], namespace: data, service_account: db, network: north}"
    others = [f"{{name: w{at}, addresses: [10.1.{at >> 8}.{at & 255}]}}" for at in range(300)]
    path.write_text(f"workloads: [{', '.join([full, *others])}]", encoding="utf-8")
    asyncio.run(file.reload())
    assert name_at(directory, "10.0.0.1") is None
    assert name_at(directory, "10.1.1.43") == "w299"
    peer = directory.find("fd00::2")
    assert peer is not None
    assert peer is directory.find("10.0.0.2")
    assert (peer.workload, peer.namespace, peer.identity) == (
        "n\u00f6w",
        "data",
        "spiffe://cluster.local/ns/data/sa/db",
    )


@pytest.mark.parametrize("text", [None, "workloads: [{name: a, addresses: [10.0.0.300]}]"])
def test_one_that_gets_wrong_changes_nothing(
    path: Path,
    file: WorkloadFile,
    directory: WorkloadDirectory,
    caplog: pytest.LogCaptureFixture,
    text: str | None,
) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with caplog.at_level(logging.WARNING):
        asyncio.run(file.reload())
    (message,) = caplog.messages
    assert ("No such file" if text is None else "'10.0.0.300' is not an IP address") in message
    assert str(path) in message
    assert name_at(directory, "10.0.0.1") == "old"


def test_of_many_mistakes_one_line_has_the_first(
    path: Path, file: WorkloadFile, caplog: pytest.LogCaptureFixture
) -> None:
    entries = "".join(f"- {{name: a{at}, addresses: [x]}}\n" for at in range(1000))
    path.write_text(f"workloads:\n{entries}")
    with caplog.at_level(logging.WARNING):
        asyncio.run(file.reload())
    (message,) = caplog.messages
    assert f"{path}:2:26: workloads[0].addresses[0]: 'x' is not an IP address; {path}:3:26: " in message
    assert message.endswith("; and 995 more")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("exec sleep 60", "takes longer than 0.05 s"),
        ("printf '\\177aaa'; exec sleep 60", "2137088353 bytes at once"),
        ("printf '\\0\\0\\0\\2[7'", "not understood"),
        ("printf '\\0\\0\\0\\3[7]'", "not understood"),
        ("printf '\\0\\0\\0\\7nul'", "ended with 0"),
    ],
)
def test_a_reader_that_does_not_what_it_should_is_ended(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, why: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{says}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    limit_s = 0.05 if "longer" in why else 30
    with pytest.raises(workload_reader.UnusableFileError, match=why):
        asyncio.run(workload_reader.read_workload_file_elsewhere(str(path), limit_s))
    pid = tmp_path / "pid"
    assert not pid.exists() or not Path(f"/proc/{pid.read_text().strip() or 0}").exists()


@pytest.mark.parametrize(("python", "why"), [("/bin/false", "ended with 1"), ("/nonexistent", "nonexistent")])
def test_a_reader_that_fails_changes_nothing(
    file: WorkloadFile,
    directory: WorkloadDirectory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    python: str,
    why: str,
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with caplog.at_level(logging.WARNING):
        asyncio.run(file.reload())
    (message,) = caplog.messages
    assert why in message
    assert name_at(directory, "10.0.0.1") == "old"
