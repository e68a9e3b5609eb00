"""`sidecar`: what people type."""

from __future__ import annotations

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sidecar.cli.why_flags import FLAGS
from sidecar.stream_info import short_names
from tests.process.conftest import StartProxy
from tests.support.bootstraps import bootstrap, http_filter_chain, listener, route_config, route_to
from tests.support.http_client import get
from tests.support.ports import free_ports
from tests.support.process import ChildProcess, run_to_end, sidecar_command, wait_until

WORKLOAD = """\
workload: {{name: shop-v1, namespace: default}}
inbound:
- {{listen: "127.0.0.1:{inbound}", application: "127.0.0.1:{application}", protocol: http, mtls: disabled}}
admin: "127.0.0.1:{admin}"
"""


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    file = tmp_path / "shop.yaml"
    inbound, application, admin = free_ports(3)
    file.write_text(WORKLOAD.format(inbound=inbound, application=application, admin=admin))
    return file


def test_nothing_shows_the_commands() -> None:
    finished = run_to_end("sidecar.cli")
    assert finished.code == 2
    assert "validate" in finished.output and "sidecar demo" in finished.output


@pytest.mark.parametrize("command", [[], ["run"], ["validate"], ["expand"], ["demo"], ["health"], ["why"]])
def test_help(command: list[str]) -> None:
    finished = run_to_end("sidecar.cli", *command, "--help")
    assert finished.code == 0
    assert finished.output.startswith("usage: sidecar")


def test_unknown_command() -> None:
    finished = run_to_end("sidecar.cli", "fly")
    assert finished.code == 2
    assert "invalid choice: 'fly'" in finished.errors


@pytest.mark.parametrize("command", ["run", "validate", "expand"])
def test_no_such_file(command: str) -> None:
    assert run_to_end("sidecar.cli", command, "/no/such/file") == (
        1,
        "",
        "/no/such/file: No such file or directory\n",
    )


@pytest.mark.parametrize("command", ["run", "validate", "expand"])
def test_what_is_wrong_with_a_workload_file(workload: Path, command: str) -> None:
    workload.write_text(workload.read_text().replace("inbound:", "inbond:"))
    finished = run_to_end("sidecar.cli", command, workload)
    assert finished.code == 1
    assert f"{workload}:2:1: inbond: unknown field; did you mean 'inbound'?" in finished.errors


def test_validate(workload: Path) -> None:
    finished = run_to_end("sidecar.cli", "validate", workload)
    assert (finished.code, finished.errors) == (0, "")
    assert finished.output == f"configuration '{workload} (expanded)' OK\n"


@pytest.mark.parametrize("command", ["validate", "run", "expand"])
def test_mistakes_in_a_format_have_the_line_of_the_workload_file(workload: Path, command: str) -> None:
    """All of them at once, and with those of other fields."""
    lines = 'log_level: infoo\naccess_log: /dev/null\naccess_log_format: "%REQUST(:PATH)% %RESPONSE_COD%"\n'
    workload.write_text(workload.read_text() + lines)
    finished = run_to_end("sidecar.cli", command, workload)
    assert (finished.code, finished.output) == (1, "")
    level, format_ = finished.errors.splitlines()
    assert level.startswith(f"{workload}:5:12: log_level: must be one of")
    assert format_ == (
        f"{workload}:7:20: access_log_format: unknown operator REQUST; did you mean 'REQ'? at character 1 of the format; "
        "unknown operator RESPONSE_COD; did you mean 'RESPONSE_CODE'? at character 17 of the format"
    )


def test_access_log_that_cannot_be_written(workload: Path) -> None:
    workload.write_text(workload.read_text() + "access_log: /no/such/directory/log\n")
    finished = run_to_end("sidecar.cli", "validate", workload)
    assert (finished.code, finished.output) == (1, "")
    assert finished.errors.startswith(f"{workload}:5:13: access_log: listener inbound_127.0.0.1:")


@pytest.mark.parametrize("command", ["validate", "run"])
def test_files_that_are_missing_have_the_places_of_the_workload_file(workload: Path, command: str) -> None:
    workload.write_text(
        workload.read_text().replace("mtls: disabled", "mtls: strict")
        + "identity: {certificate: no.pem, private_key: no-key.pem, ca: no-ca.pem}\n"
        + "access_log: /no/such/directory/log\nworkload_discovery: none.yaml\n"
    )
    finished = run_to_end("sidecar.cli", command, workload, *(["-l", "off"] if command == "run" else []))
    assert (finished.code, finished.output) == (1, "")
    lines = finished.errors.splitlines()
    assert all(line.endswith("No such file or directory") for line in lines)
    assert [line.removeprefix(f"{workload}:").split(": ")[:2] for line in lines] == [
        ["7:21", "workload_discovery"],
        ["5:25", "identity.certificate"],
        ["5:46", "identity.private_key"],
        ["5:62", "identity.ca"],
        ["6:13", "access_log"],
    ]


def test_expand_is_a_bootstrap(workload: Path, tmp_path: Path) -> None:
    expanded = run_to_end("sidecar.cli", "expand", workload)
    assert expanded.code == 0
    assert expanded.output.startswith("# What the workload file shop.yaml stands for;")
    file = tmp_path / "bootstrap.yaml"
    file.write_text(expanded.output)
    assert run_to_end("sidecar", "-c", file, "--mode", "validate", "-l", "off").code == 0
    finished = run_to_end("sidecar.cli", "expand", file)
    assert finished.code == 1
    assert "not a workload file" in finished.errors


def test_run_and_health(workload: Path, tmp_path: Path) -> None:
    command = sidecar_command()
    admin = workload.read_text().rpartition(" ")[2].strip().strip('"')
    host, _, port = admin.partition(":")
    proxy = ChildProcess(
        [sys.executable, "-m", "sidecar.cli", "run", str(workload), "-l", "info"],
        tmp_path / "log",
        command.env,
    )
    try:

        def ready() -> bool:
            try:
                return get((host, int(port)), "/ready").status == 200
            except OSError:
                return False

        wait_until(ready, timeout_s=20, what="the proxy")
        assert run_to_end("sidecar.cli", "health", "--admin", admin) == (0, "LIVE\n", "")
        get((host, int(port)), "/healthcheck/fail", method="POST")
        assert run_to_end("sidecar.cli", "health", "--admin", admin) == (1, "DRAINING\n", "")
        proxy.signal(signal.SIGINT)
        assert proxy.wait(10) == 0
    finally:
        proxy.kill()
    assert "Traceback" not in proxy.log_text()


@pytest.mark.parametrize("address", ["nonsense", ":", "127.0.0.1:", "127.0.0.1:+5", "127.0.0.1:٣"])
def test_health_of_no_address(address: str) -> None:
    finished = run_to_end("sidecar.cli", "health", "--admin", address)
    assert finished == (1, "", f"--admin {address}: not ADDRESS:PORT\n")


def test_health_of_nobody() -> None:
    finished = run_to_end("sidecar.cli", "health", "--admin", "127.0.0.1:1")
    assert finished.code == 1
    assert finished.errors == (
        "127.0.0.1:1: nobody listens there (connection refused): is the proxy running, and is this its admin address?\n"
    )


def test_health_before_it_is_live(start: StartProxy) -> None:
    proxy = start(bootstrap)
    admin = f"127.0.0.1:{proxy.admin_address[1]}"
    assert run_to_end("sidecar.cli", "health", "--admin", admin, "--timeout", "5").code == 0


def test_demo(tmp_path: Path) -> None:
    finished = run_to_end("sidecar.cli", "demo", "--once", "--dir", tmp_path, "--requests", "3", timeout_s=60)
    assert finished.code == 0, finished.errors
    assert "All 24 expected series are there, on both sides." in finished.output
    assert max(map(len, finished.output.splitlines())) <= 120
    assert finished.errors == ""
    assert (tmp_path / "movies-key.pem").stat().st_mode & 0o077 == 0


def test_why_explains_flags_in_either_case() -> None:
    finished = run_to_end("sidecar.cli", "why", "uf,URX", "DC")
    assert (finished.code, finished.errors) == (0, "")
    for flag in ("UF: ", "URX: ", "DC: "):
        assert f"\n{flag}" in f"\n{finished.output}"
    assert "usual causes" in finished.output and "/failures?flag=UF" in finished.output


def test_why_guesses_what_was_meant() -> None:
    finished = run_to_end("sidecar.cli", "why", "UFX", "UC")
    assert finished.code == 1
    assert "UFX: no response flag, details or kind of failure; did you mean UF" in finished.errors
    assert finished.output.startswith("UC: ")


def test_why_explains_details() -> None:
    finished = run_to_end("sidecar.cli", "why", "upstream_reset_before_response_started{overflow}")
    assert finished.code == 0
    assert "before the response began" in finished.output


def test_why_explains_what_a_page_prints() -> None:
    finished = run_to_end(
        "sidecar.cli",
        "why",
        "http1.codec_error",
        "upstream_closed",
        "codec_error:HEADERS:_stream_in_idle",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_a,_b}",
    )
    assert (finished.code, finished.errors) == (0, "")
    assert "TLS on a plaintext port" in finished.output
    assert "remote_connection_failure: no connection to the upstream" in finished.output
    assert finished.output.count("\n\n") == 3


def test_why_guesses_details() -> None:
    finished = run_to_end("sidecar.cli", "why", "http1.codec_eror")
    assert (finished.code, finished.output) == (1, "")
    assert "did you mean http1.codec_error" in finished.errors


class _Hostile(BaseHTTPRequestHandler):
    """Something on the admin's port that is after the operator's terminal."""

    def do_GET(self) -> None:
        body = "fine\n\x1b]0;owned\x07\x9b2J\u202eend\r\n".encode()
        self.send_response(int(self.path.rpartition("=")[2]) if "flag=" in self.path else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("words", [["why"], ["why", "404"], ["health"]])
def test_answer_of_an_admin_port_is_not_trusted(words: list[str]) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        command, *flags = words
        finished = run_to_end("sidecar.cli", command, *flags, "--admin", f"127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    shown = finished.output + finished.errors
    assert "fine\n?]0;owned??2J?end?" in shown
    assert all(line.isprintable() for line in shown.split("\n"))


def test_why_lists_every_flag() -> None:
    finished = run_to_end("sidecar.cli", "why")
    assert finished.code == 0
    listed = {line.split()[0] for line in finished.output.split("\n\n")[0].splitlines()}
    assert listed == set(FLAGS)
    assert listed == set(short_names((1 << 40) - 1).split(","))


def test_why_shows_what_failed_in_a_running_proxy(start: StartProxy) -> None:
    (port,) = free_ports(1)
    chain = http_filter_chain(route_config(route_to("nowhere")) | {"validate_clusters": False})
    proxy = start(lambda admin_port: bootstrap(admin_port, [listener("in", port, chain)]))
    assert get(("127.0.0.1", port), "/lost").status == 503
    host, admin_port = proxy.admin_address
    shown = run_to_end("sidecar.cli", "why", "--admin", f"{host}:{admin_port}", "nc")
    assert shown.code == 0
    assert "/lost" in shown.output and "points to a cluster" in shown.output
    shown = run_to_end("sidecar.cli", "why", "--admin", f"{host}:{admin_port}", "No_Cluster")
    assert "1 shown" in shown.output and "/lost" in shown.output
    refused = run_to_end("sidecar.cli", "why", "--admin", f"{host}:{admin_port}", "UCX")
    assert (refused.code, refused.output) == (1, "")
    assert "there is no flag 'UCX'; did you mean 'UC'?" in refused.errors
    others = run_to_end("sidecar.cli", "why", "--admin", f"{host}:{admin_port}", "UC")
    assert "0 shown" in others.output


@pytest.mark.parametrize("admin", ["nonsense", "127.0.0.1:1"])
def test_why_says_when_there_is_no_proxy(admin: str) -> None:
    finished = run_to_end("sidecar.cli", "why", "--admin", admin)
    assert finished.code == 1
    assert admin in finished.errors


def test_why_says_when_a_proxy_keeps_nothing(start: StartProxy) -> None:
    """Without records requests fail as ever, and nothing is counted."""
    (port,) = free_ports(1)
    chain = http_filter_chain(route_config(route_to("nowhere")) | {"validate_clusters": False})
    proxy = start(
        lambda admin_port: bootstrap(admin_port, [listener("in", port, chain)]),
        extra=("--failure-log-kb", "0"),
    )
    assert get(("127.0.0.1", port), "/lost").status == 503
    host, admin_port = proxy.admin_address
    shown = run_to_end("sidecar.cli", "why", "--admin", f"{host}:{admin_port}")
    assert (shown.code, shown.output) == (0, "no failures are kept: the proxy runs with --failure-log-kb 0\n")
    assert "failures." not in proxy.admin("/stats")
