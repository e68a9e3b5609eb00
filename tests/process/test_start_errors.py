"""What cannot be put in force is named on standard error, one line for each problem, and the exit code is 1."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    downstream_tls,
    listener,
    tcp_filter_chain,
    upstream_tls,
)
from tests.support.certificates import LeafFiles, Mesh
from tests.support.ports import free_port, free_ports
from tests.support.process import Finished, run_to_end

FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def start(directory: Path, config: str, *arguments: str) -> Finished:
    file = directory / "bootstrap.yaml"
    file.write_text(config)
    finished = run_to_end("sidecar", "-c", file, "-l", "off", *arguments)
    assert "Traceback" not in finished.errors
    return finished


def refused(directory: Path, config: str, *arguments: str) -> list[str]:
    """The lines on standard error of a start that fails."""
    finished = start(directory, config, *arguments)
    assert finished.code == 1
    assert finished.output == ""
    return finished.errors.splitlines()


def tls_listener(leaf: LeafFiles, root: Path | None) -> Json:
    chain = {**tcp_filter_chain("app"), "transport_socket": downstream_tls(leaf, root)}
    return listener("secure", free_port(), chain)


def test_no_configuration() -> None:
    finished = run_to_end("sidecar")
    assert finished.code == 1
    assert "no configuration: -c FILE" in finished.errors


def test_a_file_name_without_its_flag() -> None:
    finished = run_to_end("sidecar", "bootstrap.yaml")
    assert finished.code == 1
    assert "-c bootstrap.yaml" in finished.errors


def test_no_such_file(tmp_path: Path) -> None:
    finished = run_to_end("sidecar", "-c", tmp_path / "missing.yaml")
    assert finished == (1, "", f"{tmp_path / 'missing.yaml'}: No such file or directory\n")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    finished = run_to_end("sidecar", "-c", tmp_path)
    assert finished == (1, "", f"{tmp_path}: Is a directory\n")


def test_wrong_option() -> None:
    finished = run_to_end("sidecar", "-l", "loud")
    assert finished.code == 1
    assert "invalid log level 'loud'" in finished.errors


def test_syntax_error_with_its_place(tmp_path: Path) -> None:
    (line,) = refused(tmp_path, "admin: {\n")
    assert line.startswith(f"{tmp_path / 'bootstrap.yaml'}:2:1: ")


def test_every_problem_is_told(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        "nod: {id: x}\nstatic_resources:\n  clusters:\n  - {name: a, type: STATIC, connect_timeout: soon}\n",
    )
    assert any("nod: unknown field" in line for line in lines)
    assert any("connect_timeout" in line for line in lines)


def test_listener_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lines = refused(
            tmp_path, bootstrap(free_port(), [listener("l", port, tcp_filter_chain("app"))], [cluster("app")])
        )
    assert lines == [f"listener l: cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_admin_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        lines = refused(tmp_path, bootstrap(port))
    assert lines == [f"admin: cannot listen on 127.0.0.1:{port}: Address already in use"]


@pytest.mark.parametrize("arguments", [(), ("--mode", "validate")])
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_listener_on_the_admin_port(tmp_path: Path, address: str, arguments: tuple[str, ...]) -> None:
    port = free_port()
    chosen = listener("l", port, tcp_filter_chain("app"))
    chosen["address"]["socket_address"]["address"] = address
    (line,) = refused(tmp_path, bootstrap(port, [chosen], [cluster("app")]), *arguments)
    assert line.endswith(
        f": static_resources.listeners[0].address: {address}:{port} is taken by the admin server (127.0.0.1:{port})"
    )


def test_listeners_on_one_port_and_overlapping_addresses(tmp_path: Path) -> None:
    """As in Envoy they share it, if both may."""
    port = free_port()
    everywhere = listener("everywhere", port, tcp_filter_chain("app"))
    everywhere["address"]["socket_address"]["address"] = "0.0.0.0"
    here = listener("here", port, tcp_filter_chain("app", stat_prefix="here"))
    config = bootstrap(free_port(), [everywhere, here], [cluster("app")])
    assert start(tmp_path, config, "--mode", "init_only") == (0, "", "")
    config = bootstrap(free_port(), [everywhere, here | {"enable_reuse_port": False}], [cluster("app")])
    (line,) = refused(tmp_path, config, "--mode", "validate")
    assert "taken by listener 'everywhere' (0.0.0.0:" in line


def test_two_ports_in_use_are_two_lines(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        lines = refused(
            tmp_path,
            bootstrap(
                free_port(),
                [
                    listener("a", one.getsockname()[1], tcp_filter_chain("app")),
                    listener("b", two.getsockname()[1], tcp_filter_chain("app", stat_prefix="b")),
                ],
                [cluster("app")],
            ),
        )
    assert [line.partition(": ")[0] for line in lines] == ["listener a", "listener b"]


def test_missing_certificate_files(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    files = LeafFiles(tmp_path / "no.pem", tmp_path / "no-key.pem")
    lines = refused(tmp_path, bootstrap(free_port(), [tls_listener(files, mesh.root)], [cluster("app")]))
    chain, key = (line.removeprefix(f"{tmp_path / 'bootstrap.yaml'}:") for line in lines)
    common = (
        "static_resources.listeners[0].filter_chains[0].transport_socket.typed_config.common_tls_context."
        "tls_certificates[0]"
    )
    missing = "No such file or directory"
    assert chain.partition(": ")[2] == (
        f"{common}.certificate_chain.filename: listener secure: certificate chain: cannot read {files.certificate}: {missing}"
    )
    assert key.partition(": ")[2] == (
        f"{common}.private_key.filename: listener secure: private key: cannot read {files.key}: {missing}"
    )


def test_missing_ca(tmp_path: Path) -> None:
    """Never unauthenticated because the CA could not be read."""
    leaf = Mesh(tmp_path).leaf("web")
    lines = refused(
        tmp_path, bootstrap(free_port(), [tls_listener(leaf, tmp_path / "no-ca.pem")], [cluster("app")])
    )
    assert len(lines) == 1
    assert "no-ca.pem" in lines[0]


@pytest.mark.parametrize("content", ["", "garbage\n", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_certificate_that_is_none(tmp_path: Path, content: str) -> None:
    mesh = Mesh(tmp_path)
    leaf = mesh.leaf("web")
    leaf.certificate.write_text(content)
    lines = refused(tmp_path, bootstrap(free_port(), [tls_listener(leaf, mesh.root)], [cluster("app")]))
    assert lines and all("web.pem" in line for line in lines)


def test_key_of_another_certificate(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    mixed = LeafFiles(mesh.leaf("web").certificate, mesh.leaf("other").key)
    lines = refused(tmp_path, bootstrap(free_port(), [tls_listener(mixed, mesh.root)], [cluster("app")]))
    assert len(lines) == 1
    assert "other-key.pem" in lines[0] or "web.pem" in lines[0]


def test_expired_certificate(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    old = mesh.authority.issue(["spiffe://cluster.local/ns/a/sa/web"], valid_from_days=-9, valid_to_days=-2)
    lines = refused(
        tmp_path,
        bootstrap(free_port(), [tls_listener(old.write(tmp_path, "old"), mesh.root)], [cluster("app")]),
    )
    assert len(lines) == 1
    assert "old.pem" in lines[0] and "expired" in lines[0]


def test_node_id_that_no_header_can_carry(tmp_path: Path) -> None:
    override = 'node: {id: "a\\r\\nx-evil: 1"}'
    lines = refused(tmp_path, bootstrap(free_port(), [], []), "--config-yaml", override)
    assert len(lines) == 1
    assert lines[0].endswith("node.id: must not contain control characters: it is sent to peers in a header")


def test_bad_certificates_of_a_cluster(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    secure = cluster("app", transport_socket=upstream_tls(mesh.leaf("web"), tmp_path / "no-ca.pem"))
    lines = refused(tmp_path, bootstrap(free_port(), [], [secure]))
    assert len(lines) == 1
    assert "no-ca.pem" in lines[0]


@pytest.mark.parametrize("path", ["no/such/directory/access.log", "."])
def test_access_log_that_cannot_be_written(tmp_path: Path, path: str) -> None:
    log = {"name": "file", "typed_config": {"@type": FILE_LOG, "path": str(tmp_path / path)}}
    chain = tcp_filter_chain("app", access_log=[log])
    config = bootstrap(free_port(), [listener("l", free_port(), chain)], [cluster("app")])
    lines = refused(tmp_path, config)
    assert len(lines) == 1
    place, _, problem = lines[0].partition(": static_resources.listeners[0].filter_chains[0].filters[0].")
    assert place.startswith(f"{tmp_path / 'bootstrap.yaml'}:")
    assert problem.startswith(
        f"typed_config.access_log[0].typed_config.path: listener l: {tmp_path / path}: "
    )
    assert refused(tmp_path, config, "--mode", "validate") == lines


def test_admin_access_log_that_cannot_be_written(tmp_path: Path) -> None:
    port = free_port()
    admin = {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "access_log": [{"name": "file", "typed_config": {"@type": FILE_LOG, "path": "/no/such/log"}}],
    }
    lines = refused(tmp_path, bootstrap(port, admin=admin))
    assert len(lines) == 1
    assert lines[0].endswith(
        ": admin.access_log[0].typed_config.path: admin: access log /no/such/log: No such file or directory"
    )
    assert refused(tmp_path, bootstrap(port, admin=admin), "--mode", "validate") == lines


def test_log_path_that_cannot_be_written(tmp_path: Path) -> None:
    lines = refused(tmp_path, bootstrap(free_port()), "--log-path", "/no/such/log")
    assert lines == ["--log-path /no/such/log: No such file or directory"]


def test_admin_address_path_that_cannot_be_written(tmp_path: Path) -> None:
    lines = refused(tmp_path, bootstrap(free_port()), "--admin-address-path", "/no/such/file")
    assert lines == ["--admin-address-path /no/such/file: No such file or directory"]


def test_environment_variable_that_is_not_set(tmp_path: Path) -> None:
    chain: Json = {
        "filters": [
            {
                "name": "envoy.filters.network.direct_response",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config",
                    "response": {"environment_variable": "NOT_SET_ANYWHERE"},
                },
            }
        ]
    }
    lines = refused(tmp_path, bootstrap(free_port(), [listener("l", free_port(), chain)]))
    assert len(lines) == 1
    assert lines[0].endswith(
        "typed_config.response.environment_variable: listener l: environment variable NOT_SET_ANYWHERE is not set"
    )


def test_workload_discovery(tmp_path: Path) -> None:
    """Mistakes in the file of workloads have their places in it."""
    path = tmp_path / "workloads.yaml"
    config = bootstrap(
        free_port(),
        bootstrap_extensions=[
            {
                "name": "discovery",
                "typed_config": {
                    "@type": "type.googleapis.com/istio.workload.BootstrapExtension",
                    "config_source": {"path_config_source": {"path": str(path)}},
                },
            }
        ],
    )
    (line,) = refused(tmp_path, config)
    assert line.startswith(f"{tmp_path / 'bootstrap.yaml'}:")
    assert line.endswith(
        f": bootstrap_extensions[0].typed_config.config_source.path_config_source.path: {path}: No such file or directory"
    )
    path.write_text("workloads:\n- name: a\n  adresses: [10.0.0.1]\n")
    assert refused(tmp_path, config, "--mode", "validate") == [
        f"{path}:2:3: workloads[0].addresses: is missing",
        f"{path}:3:3: workloads[0].adresses: unknown field; did you mean 'addresses'?",
    ]


def test_validate_opens_no_sockets(tmp_path: Path) -> None:
    admin_port, port = free_ports(2)
    with socket.create_server(("127.0.0.1", admin_port)), socket.create_server(("127.0.0.1", port)):
        finished = start(
            tmp_path,
            bootstrap(admin_port, [listener("l", port, tcp_filter_chain("app"))], [cluster("app")]),
            "--mode",
            "validate",
        )
    assert finished == (0, f"configuration '{tmp_path / 'bootstrap.yaml'}' OK\n", "")


def test_validate_looks_at_certificates(tmp_path: Path) -> None:
    files = LeafFiles(tmp_path / "no.pem", tmp_path / "no-key.pem")
    config = bootstrap(free_port(), [tls_listener(files, None)], [cluster("app")])
    assert refused(tmp_path, config, "--mode", "validate")


def test_init_only_starts_and_ends(tmp_path: Path) -> None:
    config = bootstrap(free_port(), [listener("l", free_port(), tcp_filter_chain("app"))], [cluster("app")])
    assert start(tmp_path, config, "--mode", "init_only") == (0, "", "")


@pytest.mark.parametrize("flag", ["--version", "--help", "--hot-restart-version"])
def test_flags_that_only_tell(flag: str) -> None:
    finished = run_to_end("sidecar", flag)
    assert finished.code == 0
    assert finished.output and not finished.errors
