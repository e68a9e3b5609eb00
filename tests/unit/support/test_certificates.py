"""The mint: what it makes is what it is called, judged by Python's own TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support.certificates import Authority, Mesh, client_context, spiffe, write_conformance_certificates
from tests.support.odd_certificates import odd_client_certificates


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """The client's certificate as the server sees it. Raises ssl.SSLError when one side refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = client.wrap_bio(to_client, to_server)
    for _ in range(5):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server_side.getpeercert(binary_form=True)


def test_mesh_leaves_trust_each_other(tmp_path: Path) -> None:
    mesh = Mesh(tmp_path)
    seen = _handshake(mesh.server_context("server"), mesh.client_context("client"))
    assert seen is not None
    names = x509.load_der_x509_certificate(seen).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [spiffe("client")]


_REFUSED_BY_THE_CHAIN = {
    "none",
    "intermediate missing",
    "self-signed",
    "signed by a leaf",
    "other authority, same name",
    "other authority",
    "expired",
    "not yet valid",
    "server usage only",
    "code signing only",
    "leaf is an authority",
}


@pytest.mark.parametrize("kind", odd_client_certificates(Authority()))
def test_odd_certificates_are_odd_where_they_say(tmp_path: Path, kind: str) -> None:
    """The chain alone refuses these; all others are for the identity check behind it."""
    mesh = Mesh(tmp_path)
    leaf = odd_client_certificates(mesh.authority)[kind].leaf
    client = client_context(mesh.root, leaf.write(tmp_path, "odd") if leaf is not None else None)
    try:
        refused = _handshake(mesh.server_context("server"), client) is None
    except ssl.SSLError:
        refused = True
    assert refused == (kind in _REFUSED_BY_THE_CHAIN)


def test_conformance_certificates_have_the_names_of_the_originals(tmp_path: Path) -> None:
    write_conformance_certificates(tmp_path)
    root = x509.load_pem_x509_certificate((tmp_path / "root.cert").read_bytes())
    for name, dns in (("server", ["istio.io"]), ("client", [])):
        leaf = x509.load_pem_x509_certificate((tmp_path / f"{name}.cert").read_bytes())
        leaf.verify_directly_issued_by(root)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.UniformResourceIdentifier) == [spiffe(name)]
        assert names.get_values_for_type(x509.DNSName) == dns
        assert (tmp_path / f"{name}-key.cert").exists()
