"""Runs one scenario in its static variant against real proxy processes.

By hand: `python -m tests.conformance.runner [NAME ...]` prints one line per scenario (all passing ones without a name;
`all` for every one with a static variant).
"""

from __future__ import annotations

import argparse
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.conformance.grpc_steps import GrpcSteps
from tests.conformance.scenarios import PASSING, Scenario, ScenarioFailure, index, load
from tests.support.backends import LoopThread, TcpBackend
from tests.support.certificates import write_conformance_certificates
from tests.support.http_client import RawClient, Response
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, sidecar_command, start_proxy
from tests.support.prometheus_text import PrometheusTextError, differences, parse

Action = Callable[[Mapping[str, Any]], None]

_PORTS = (
    "PORT_BACKEND",
    "PORT_CLIENT_ADMIN",
    "PORT_CLIENT",
    "PORT_SERVER",
    "PORT_SERVER_ADMIN",
    "PORT_XDS",
    "PORT_SERVER_TUNNEL",
)
_SKIPPED_WHEN_STATIC = frozenset({"xds", "extensions"})
_STATS_INTERVAL_S = 0.5
_QUIT_LIMIT_S = 3.0


class ScenarioRun:
    """One run: its ports, its processes, its counters. Use as a context manager."""

    def __init__(self, scenario: Scenario, command: ProxyCommand, directory: Path) -> None:
        self.scenario = scenario
        self._command = command
        self._directory = directory
        self._values = {name: str(port) for name, port in zip(_PORTS, free_ports(len(_PORTS)), strict=True)}
        self._values["CERT_DIR"] = str(directory)
        self._requests_sent = 0
        self._proxies: dict[str, Proxy] = {}
        self._loop: LoopThread | None = None
        self._backend: TcpBackend | None = None
        self._holders: list[_Holder] = []
        self._clients: dict[tuple[str, int], RawClient] = {}
        self._http_lock = threading.Lock()
        self._grpc = GrpcSteps(self._address)
        self._actions: Mapping[str, Action] = {
            **self._grpc.actions,
            "parallel": self._parallel,
            "start": self._start,
            "ready": self._ready,
            "sleep": lambda step: time.sleep(float(step["seconds"])),
            "backend": self._start_backend,
            "http": self._http,
            "tcp": self._tcp,
            "tcp_hold": self._tcp_hold,
            "stats": self._stats,
        }

    def __enter__(self) -> ScenarioRun:
        write_conformance_certificates(self._directory)
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders:
            holder.stop()
        self._grpc.close()
        for client in self._clients.values():
            client.close()
        for proxy in self._proxies.values():
            proxy.kill()
        if self._backend is not None:
            self._backend.stop()
        if self._loop is not None:
            self._loop.close()

    def run(self) -> None:
        """All steps, then the orderly end of every proxy. Raises ScenarioFailure."""
        for number, step in enumerate(self.scenario.manifest["steps"], 1):
            try:
                self._perform(step)
            except (ScenarioFailure, OSError, RuntimeError) as error:
                raise ScenarioFailure(f"step {number} ({step['action']}): {error}\n{self._logs()}") from error
        self._quit()

    def _perform(self, step: Mapping[str, Any]) -> None:
        action = step["action"]
        if action in _SKIPPED_WHEN_STATIC:
            return
        perform = self._actions.get(action)
        if perform is None:
            raise ScenarioFailure(f"the runner has no action {action!r}")
        perform(step)

    def _quit(self) -> None:
        for name, proxy in self._proxies.items():
            try:
                proxy.quit(_QUIT_LIMIT_S)
            except (OSError, ConnectionError, subprocess.TimeoutExpired) as error:
                raise ScenarioFailure(
                    f"{name} proxy did not end within {_QUIT_LIMIT_S:g} s: {error}"
                ) from error

    def _logs(self) -> str:
        return "\n".join(
            f"--- log of the {name} proxy\n{proxy.log_text()[-2000:]}"
            for name, proxy in self._proxies.items()
        )

    def _fill(self, text: str, repetition: int = 0) -> str:
        values = {**self._values, "N": str(repetition), "REQUESTS_SENT": str(self._requests_sent)}
        return re.sub(r"\$\{([A-Z_]+)\}", lambda match: values.get(match[1], match[0]), text)

    def _address(self, text: str) -> tuple[str, int]:
        host, port = self._fill(text).rsplit(":", 1)
        return host, int(port)

    # Steps

    def _start(self, step: Mapping[str, Any]) -> None:
        name = step["proxy"]
        spec = self.scenario.manifest["proxies"][name]
        text = self._fill((self.scenario.directory / spec["static"]).read_text(encoding="utf-8"))
        self._proxies[name] = start_proxy(
            self._command,
            text,
            self._directory,
            self._address(spec["admin"])[1],
            name=name,
            concurrency=int(spec["concurrency"]),
            log_level="info",
        )

    def _ready(self, step: Mapping[str, Any]) -> None:
        self._proxies[step["proxy"]].admin("/ready")

    def _start_backend(self, step: Mapping[str, Any]) -> None:
        spec = self.scenario.manifest["backend"]
        host, port = self._address(spec["address"])
        if spec["kind"] == "grpc":
            self._grpc.start_backend(host, port)
            return
        if spec["kind"] != "tcp":
            raise ScenarioFailure(f"the runner has no backend of kind {spec['kind']!r}")
        self._loop = LoopThread()
        self._backend = TcpBackend(self._loop, spec["mode"], prefix=spec["prefix"]).start(host, port)

    def _http(self, step: Mapping[str, Any]) -> None:
        repetitions = int(step.get("count", 1))
        stop_at = time.monotonic() + float(step["for_seconds"]) if "for_seconds" in step else None
        repetition = 0
        while repetition < repetitions or (stop_at is not None and time.monotonic() < stop_at):
            with self._http_lock:
                response = self._exchange(step, repetition)
                self._requests_sent += 1
            _check_response(response, step.get("expect", {}), repetition)
            repetition += 1

    def _exchange(self, step: Mapping[str, Any], repetition: int) -> Response:
        url = urllib.parse.urlsplit(self._fill(step["url"], repetition))
        assert url.hostname is not None and url.port is not None
        address = (url.hostname, url.port)
        headers = [
            (name, self._fill(str(value), repetition)) for name, value in step.get("headers", {}).items()
        ]
        host = step.get("authority", url.netloc)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        reused = address in self._clients
        client = self._clients.get(address) or RawClient(address)
        self._clients[address] = client
        try:
            response = client.request(step["method"], target, headers, host=host)
        except ConnectionError:
            self._clients.pop(address).close()
            if reused and step["method"] == "GET" and not client.reader.pending:
                return self._exchange(step, repetition)
            raise
        if (response.header("connection") or "").lower() == "close" or client.closed_by_peer:
            self._clients.pop(address).close()
        return response

    def _parallel(self, step: Mapping[str, Any]) -> None:
        """The foreground's steps once, while those of the background are repeated for its time."""
        failures: list[Exception] = []
        foreground_failed = threading.Event()

        def repeat() -> None:
            stop_at = time.monotonic() + float(step["background"]["for_seconds"])
            number = 0
            try:
                while time.monotonic() < stop_at and not foreground_failed.is_set():
                    for each in step["background"]["steps"]:
                        self._perform(_numbered(each, number))
                    number += 1
            except (ScenarioFailure, OSError, RuntimeError) as error:
                failures.append(error)

        background = threading.Thread(target=repeat, daemon=True)
        background.start()
        try:
            for each in step["foreground"]:
                self._perform(each)
        except BaseException:
            foreground_failed.set()
            raise
        finally:
            background.join()
        if failures:
            raise ScenarioFailure(f"in the background: {failures[0]}") from failures[0]

    def _tcp(self, step: Mapping[str, Any]) -> None:
        address = self._address(step["address"])
        for number in range(int(step.get("count", 1))):
            with socket.create_connection(address, timeout=10) as connection:
                connection.sendall(step["send"].encode())
                if "expect_eof_within_seconds" in step:
                    connection.settimeout(float(step["expect_eof_within_seconds"]))
                    received = connection.recv(1)
                else:
                    received = _read_line(connection)
                expected = step.get("expect", "").encode()
                if received != expected:
                    raise ScenarioFailure(
                        f"connection {number}: received {received!r}, expected {expected!r}"
                    )

    def _tcp_hold(self, step: Mapping[str, Any]) -> None:
        self._holders.append(
            _Holder(self._address(step["address"]), step["send"].encode(), float(step["every_seconds"]))
        )

    def _stats(self, step: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + float(step["deadline_seconds"])
        while True:
            problems, final = self._compare(step)
            if not problems:
                return
            if final or time.monotonic() > deadline:
                raise ScenarioFailure("metrics differ:\n  " + "\n  ".join(problems))
            time.sleep(_STATS_INTERVAL_S)

    def _compare(self, step: Mapping[str, Any]) -> tuple[list[str], bool]:
        try:
            families = parse(self._proxies[step["proxy"]].prometheus())
        except PrometheusTextError as error:
            return [f"the text is not valid: {error}"], True
        problems: list[str] = []
        final = False
        for metric in step["metrics"]:
            expected: Mapping[str, Any] = {}
            if "file" in metric:
                text = (self.scenario.directory / metric["file"]).read_text(encoding="utf-8")
                expected = yaml.safe_load(self._fill(text))
            found = differences(families, metric["name"], metric["match"], expected)
            final = final or bool(found and metric["match"] == "absent")
            problems += found
        return problems, final


class _Holder:
    """A connection on which a line is sent again and again until `stop`."""

    def __init__(self, address: tuple[str, int], line: bytes, every_s: float) -> None:
        self._socket = socket.create_connection(address, timeout=10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(line, every_s), daemon=True)
        self._thread.start()

    def _run(self, line: bytes, every_s: float) -> None:
        while True:
            try:
                self._socket.sendall(line)
                _read_line(self._socket)
            except OSError:
                return
            if self._stop.wait(every_s):
                return

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(11)
        self._socket.close()


def _numbered(value: Any, number: int) -> Any:
    """A step of a loop with its repetition filled in."""
    if isinstance(value, str):
        return value.replace("${N}", str(number))
    if isinstance(value, Mapping):
        return {key: _numbered(each, number) for key, each in value.items()}
    if isinstance(value, list):
        return [_numbered(each, number) for each in value]
    return value


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(4096)
        if not received:
            break
        line += received
    return line


def _check_response(response: Response, expect: Mapping[str, Any], repetition: int) -> None:
    where = f"request {repetition}"
    if "status" in expect and response.status != expect["status"]:
        raise ScenarioFailure(
            f"{where}: status {response.status} {response.body[:200]!r}, expected {expect['status']}"
        )
    if "body" in expect and response.body != expect["body"].encode():
        raise ScenarioFailure(f"{where}: body {response.body[:200]!r}, expected {expect['body']!r}")
    for name, rule in expect.get("headers", {}).items():
        value = response.header(name)
        if (
            (rule.get("absent") and value is not None)
            or (rule.get("present") and not value)
            or ("equals" in rule and value != rule["equals"])
        ):
            raise ScenarioFailure(f"{where}: header {name} is {value!r}, expected {rule}")


def run_scenario(name: str, command: ProxyCommand, directory: Path) -> None:
    """Run the scenario `name`. Raises ScenarioFailure."""
    with ScenarioRun(load(name), command, directory) as run:
        run.run()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run conformance scenarios against the proxy.")
    parser.add_argument("names", nargs="*", help="scenarios, or `all`")
    names = parser.parse_args().names or list(PASSING)
    if names == ["all"]:
        names = [name for name in index() if load(name).is_static]
    failures = 0
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            try:
                run_scenario(name, sidecar_command(), Path(directory))
            except ScenarioFailure as failure:
                failures += 1
                print(f"FAIL {name}: {failure}")
            else:
                print(f"ok   {name}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
