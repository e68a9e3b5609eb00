"""Private keys do not reach a configuration dump."""

from __future__ import annotations

import base64

import pytest

from config.bootstrap import redact
from tests.unit.config.bootstraps import EXTENSIONS, cluster, parse, tcp, tls_client, tls_server

SECRET = "-----BEGIN PRIVATE KEY-----"
IN_BYTES = base64.b64encode(SECRET.encode()).decode()
CHAIN = "certificate_chain: {inline_string: chain}"


def dump(text: str) -> str:
    message = parse(text).message
    redacted = redact(message)
    assert redacted is not message
    return redacted.SerializeToString().decode("latin-1")


@pytest.mark.parametrize("key", [f"inline_string: '{SECRET}'", f"inline_bytes: {IN_BYTES}"])
@pytest.mark.parametrize(
    "text",
    [
        "secrets",
        "server",
        "client",
        "typed struct",
    ],
)
def test_keys_are_redacted_wherever_they_stand(text: str, key: str) -> None:
    pair = f"{{{CHAIN}, private_key: {{{key}}}, password: {{inline_string: '{SECRET}'}}}}"
    struct_key = key if "string" in key else f"inline_string: '{SECRET}'"
    struct = (
        '{name: d, transport_socket: {name: t, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, '
        "type_url: envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, value: {common_tls_context: "
        f"{{tls_certificates: {{{CHAIN}, private_key: {{{struct_key}}}}}}}}}}}}}}}"
    )
    bootstrap = {
        "secrets": tcp(top=f"  secrets: [{{name: s, tls_certificate: {pair}}}]"),
        "server": tls_server(f"common_tls_context: {{tls_certificates: [{pair}]}}"),
        "client": tls_client(f"common_tls_context: {{tls_certificates: [{pair}]}}"),
        "typed struct": cluster(struct),
    }[text]
    assert SECRET in parse(bootstrap).message.SerializeToString().decode("latin-1")
    shown = dump(bootstrap)
    assert SECRET not in shown
    assert "[redacted]" in shown
    assert "chain" in shown


def test_names_of_files_and_variables_stay() -> None:
    text = tcp(
        top="  secrets: [{name: s, tls_certificate: {certificate_chain: {filename: /c}, private_key: {filename: /key.pem}, "
        "password: {environment_variable: PASS}}}]"
    )
    shown = dump(text)
    assert "/key.pem" in shown
    assert "PASS" in shown
    assert "[redacted]" not in shown


def test_nothing_else_changes() -> None:
    text = tcp(
        listener=f'    access_log: [{{name: a, typed_config: {{"@type": {EXTENSIONS}access_loggers.file.v3.FileAccessLog, path: /x}}}}]'
    )
    message = parse(text).message
    assert redact(message) == message
