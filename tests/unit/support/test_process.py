"""Starting, watching and ending a process; ports that stay ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.process import ChildProcess, ProxyCommand, start_proxy, wait_until


def _sleeper(
    tmp_path: Path, code: str = "import time; print('up', flush=True); time.sleep(60)"
) -> ChildProcess:
    return ChildProcess([sys.executable, "-c", code], tmp_path / "log")


def test_terminate_reports_the_signal_and_keeps_the_log(tmp_path: Path) -> None:
    child = _sleeper(tmp_path)
    wait_until(lambda: "up" in child.log_text(), timeout_s=5, what="output")
    assert child.returncode is None
    assert child.terminate() == -signal.SIGTERM


def test_terminate_does_not_wait_for_ever(tmp_path: Path) -> None:
    child = _sleeper(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
    )
    wait_until(lambda: "up" in child.log_text(), timeout_s=5, what="output")
    assert child.terminate(grace_s=0.1) == -signal.SIGKILL


def test_memory_and_cpu_of_a_process(tmp_path: Path) -> None:
    code = "data = b'x' * 30_000_000; print('up', flush=True)\nwhile True: pass"
    child = _sleeper(tmp_path, code)
    wait_until(lambda: "up" in child.log_text(), timeout_s=5, what="output")
    assert child.rss_bytes() > 30_000_000
    assert child.peak_rss_bytes() >= child.rss_bytes()
    assert child.open_descriptors() >= 3
    used = child.cpu_seconds()
    wait_until(lambda: child.cpu_seconds() > used, timeout_s=5, what="CPU time")
    child.terminate()


def test_descendants_are_all_that_were_started_below(tmp_path: Path) -> None:
    inner = "import subprocess, sys; subprocess.run(['cat'], stdin=sys.stdin)"
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {inner!r}], stdin=subprocess.PIPE)\n"
        "print('up', flush=True)\nchild.wait()"
    )
    child = _sleeper(tmp_path, code)
    found = wait_until(
        lambda: child.descendants() if len(child.descendants()) == 2 else None, timeout_s=10, what="both"
    )
    assert Path(f"/proc/{found[1]}/stat").read_text().split()[3] == str(found[0])
    child.kill()
    assert child.descendants() == []


def test_a_proxy_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    command = ProxyCommand("broken", [sys.executable, "-c", "raise SystemExit('bad configuration')"])
    with pytest.raises(RuntimeError, match="ended with 1 before it was ready:\nbad configuration"):
        start_proxy(command, "{}", tmp_path, free_ports(1)[0])


def test_wait_until_names_what_did_not_happen() -> None:
    with pytest.raises(TimeoutError, match=r"the moon: not within 0\.05 s"):
        wait_until(lambda: None, timeout_s=0.05, what="the moon")


def test_ports_are_different_and_can_be_bound() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    for port in ports:
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))


def test_ports_are_reserved_for_this_process() -> None:
    ours = set(free_ports(200))
    code = "from tests.support.ports import free_ports; print(*free_ports(2000))"
    root = Path(__file__).resolve().parents[3]
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not ours & {int(port) for port in other.stdout.split()}
