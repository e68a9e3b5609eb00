"""TLS contexts from configuration: who is let in, what is refused at the start, and renewal from disk."""

from __future__ import annotations

import base64
import datetime
import hashlib
import logging
import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import structs

from config.model.core import DataSource
from config.model.matching import SanMatcher, SanType, StringMatcher, StringMatchKind
from config.model.tls import (
    CertificateValidation,
    CommonTlsContext,
    DownstreamTlsContext,
    Secret,
    TlsCertificate,
    TlsParameters,
    TlsVersion,
    TrustChainVerification,
    UpstreamTlsContext,
)
from protocols.tls.session import TlsError, TlsSession
from sidecar.policy.san import compile_san_matchers
from sidecar.transport import tls_contexts
from sidecar.transport.tls_build import build_context
from sidecar.transport.tls_contexts import ClientTlsContext, ServerTlsContext, TlsConfigError, TlsContexts
from sidecar.transport.tls_material import Material
from tests.support.certificates import Authority, Leaf, LeafFiles, client_context, spiffe
from tests.support.odd_certificates import OddCertificate, odd_client_certificates

MESH = Authority()
SERVER = MESH.issue([spiffe("server")], dns=["server.example"])
CLIENT = MESH.issue([spiffe("client")])
ODD = odd_client_certificates(MESH)

ISTIO_CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
)
ANY_MESH_URI = SanMatcher(SanType.URI, StringMatcher(StringMatchKind.PREFIX, "spiffe://cluster.local/"))


def inline(data: bytes) -> DataSource:
    return DataSource(inline=data)


def certificate_of(leaf: Leaf) -> TlsCertificate:
    return TlsCertificate(inline(leaf.certificate_pem), inline(leaf.key_pem))


def trust(*sans: SanMatcher, ca: bytes | None = None) -> CertificateValidation:
    return CertificateValidation(
        trusted_ca=inline(MESH.certificate_pem if ca is None else ca), match_sans=sans
    )


def common(
    leaf: Leaf | None = None,
    validation: CertificateValidation | None = None,
    alpn: tuple[str, ...] = (),
    params: TlsParameters | None = None,
) -> CommonTlsContext:
    return CommonTlsContext(
        params=params or TlsParameters(TlsVersion.TLSV1_2, TlsVersion.TLSV1_3, ISTIO_CIPHERS),
        certificates=(certificate_of(leaf),) if leaf is not None else (),
        validation=validation,
        alpn_protocols=alpn,
    )


def server_of(
    spec: CommonTlsContext, *, required: bool = True, secrets: Mapping[str, Secret] | None = None
) -> ServerTlsContext:
    return TlsContexts(secrets or {}, compile_san_matchers).server(
        DownstreamTlsContext(spec, require_client_certificate=required)
    )


def client_of(
    spec: CommonTlsContext, *, sni: str = "", secrets: Mapping[str, Secret] | None = None
) -> ClientTlsContext:
    return TlsContexts(secrets or {}, compile_san_matchers).client(UpstreamTlsContext(spec, sni=sni))


def mesh_server(alpn: tuple[str, ...] = ("istio-peer-exchange", "h2", "http/1.1")) -> ServerTlsContext:
    return server_of(common(SERVER, trust(ANY_MESH_URI), alpn))


def talk(server: TlsSession, client: TlsSession) -> tuple[bytes, TlsError | None, TlsError | None]:
    """Shake hands with a client that sends at once; what the server read, and the errors of both."""
    errors: dict[TlsSession, TlsError | None] = {server: None, client: None}
    read = b""

    def give(session: TlsSession, data: bytes) -> bytes:
        try:
            return session.receive(data)
        except TlsError as error:
            errors[session] = error
            return b""

    client.send(b"request")
    give(client, b"")
    for _ in range(6):
        read += give(server, client.take_output())
        give(client, server.take_output())
    return read, errors[server], errors[client]


@pytest.fixture(scope="module")
def the_mesh_server() -> ServerTlsContext:
    return mesh_server()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificates(
    the_mesh_server: ServerTlsContext, name: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    odd: OddCertificate = ODD[name]
    root = tmp_path / "root.pem"
    root.write_bytes(MESH.certificate_pem)
    context = client_context(root, odd.leaf.write(tmp_path, "client") if odd.leaf is not None else None)
    context.maximum_version = version
    session = TlsSession(context, server_side=False)
    read, refused, _ = talk(the_mesh_server.new_session(), session)
    if odd.accept:
        assert session.version == version.name.replace("_", ".")
        assert refused is None
        assert read == b"request"
        return
    assert read == b""
    assert refused is not None
    assert str(refused).startswith("TLS_error:|")
    if name == "none":
        assert refused.counter == "fail_verify_no_cert"
    else:
        sans_are_wrong = odd.envoy_accepts or "name only" in name or "trust domain" in name
        assert refused.counter == ("fail_verify_san" if sans_are_wrong else "fail_verify_error")


def test_refused_names_are_shown_without_control_characters(the_mesh_server: ServerTlsContext) -> None:
    leaf = MESH.issue(dns=["a.example"])
    client = client_of(common(leaf, trust()))
    _, refused, _ = talk(the_mesh_server.new_session(), client.new_session())
    assert refused is not None
    assert str(refused) == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:"
        "verify cert failed: SAN matcher, certificate SANs are [a.example]:TLS_error_end"
    )


def test_facts_of_a_connection(the_mesh_server: ServerTlsContext) -> None:
    client = client_of(common(CLIENT, trust(ANY_MESH_URI), ("istio-peer-exchange", "istio")), sni="a.b")
    server_session, client_session = the_mesh_server.new_session("a.b"), client.new_session()
    talk(server_session, client_session)
    info = the_mesh_server.finish(server_session)
    assert not isinstance(info, str)
    assert (info.version, info.alpn, info.sni) == ("TLSv1.3", "istio-peer-exchange", "a.b")
    assert info.peer is not None
    assert info.peer.uri_sans == (spiffe("client"),)
    assert info.local is not None
    assert info.local.uri_sans == (spiffe("server"),)
    assert info.peer_validated
    other = client.finish(client_session)
    assert not isinstance(other, str)
    assert other.peer == info.local


def test_finish_tells_the_failure(the_mesh_server: ServerTlsContext) -> None:
    session = the_mesh_server.new_session()
    with pytest.raises(TlsError):
        session.receive(b"GET / HTTP/1.1\r\n\r\n")
    assert the_mesh_server.finish(session) == str(session.failure)


@pytest.mark.parametrize(
    ("leaf", "accepted"),
    [
        (SERVER, True),
        (MESH.issue([spiffe("other")]), False),
        (MESH.issue([spiffe("server")], valid_from_days=-3, valid_to_days=-1), False),
        (Authority("other").issue([spiffe("server")]), False),
        (MESH.issue([spiffe("server")], usages=[ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (MESH.issue([spiffe("server"), spiffe("two")]), False),
        (MESH.issue([spiffe("server")], key_kind="ed25519"), False),
    ],
)
def test_server_certificates(leaf: Leaf, accepted: bool, tmp_path: Path) -> None:
    exact = SanMatcher(SanType.URI, StringMatcher(StringMatchKind.EXACT, spiffe("server")))
    files = leaf.write(tmp_path, "server")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(files.certificate, files.key)
    client = client_of(common(CLIENT, trust(exact)))
    read, _, refused = talk(TlsSession(server_side, server_side=True), client.new_session())
    assert read == (b"request" if accepted else b"")
    assert (refused is None) is accepted


def test_a_plain_web_server_is_fine() -> None:
    web = Authority("web")
    server = server_of(common(web.issue(dns=["*.example.com"])), required=False)
    matcher = SanMatcher(SanType.DNS, StringMatcher(StringMatchKind.EXACT, "www.example.com"))
    client = client_of(common(None, trust(matcher, ca=web.certificate_pem)), sni="www.example.com")
    assert talk(server.new_session(), client.new_session())[0] == b"request"
    other = client_of(
        common(
            None,
            trust(
                SanMatcher(SanType.DNS, StringMatcher(StringMatchKind.EXACT, "a.b.example.com")),
                ca=web.certificate_pem,
            ),
        )
    )
    assert talk(server.new_session(), other.new_session())[0] == b""


def test_without_trusted_ca_nothing_is_verified() -> None:
    server = server_of(common(Authority("any").issue(dns=["x"])), required=False)
    session = client_of(common()).new_session()
    assert talk(server.new_session(), session)[0] == b"request"
    assert not session.peer_validated


def test_auto_sni_san_validation() -> None:
    server = server_of(common(SERVER), required=False)
    contexts = TlsContexts({}, compile_san_matchers)
    spec = UpstreamTlsContext(common(None, trust()), auto_host_sni=True, auto_sni_san_validation=True)
    client = contexts.client(spec)
    assert talk(server.new_session(), client.new_session(hostname="server.example"))[0] == b"request"
    assert talk(server.new_session(), client.new_session(hostname="other.example"))[0] == b""


def test_require_sni() -> None:
    contexts = TlsContexts({}, compile_san_matchers)
    server = contexts.server(DownstreamTlsContext(common(SERVER), require_sni=True))
    client = client_of(common(None, trust()))
    assert talk(server.new_session("a.b"), client.new_session())[0] == b"request"
    read, refused, _ = talk(server.new_session(), client.new_session())
    assert (read, refused and refused.counter) == (b"", "connection_error")


def test_optional_client_certificate() -> None:
    server = server_of(common(SERVER, trust()), required=False)
    assert talk(server.new_session(), client_of(common(None, trust())).new_session())[0] == b"request"
    assert talk(server.new_session(), client_of(common(CLIENT, trust())).new_session())[0] == b"request"
    wrong = Authority("other").issue([spiffe("client")])
    assert talk(server.new_session(), client_of(common(wrong, trust())).new_session())[0] == b""


def test_san_matchers_make_the_client_certificate_mandatory() -> None:
    """Envoy 1.40: a list of names to match is a demand for a certificate."""
    server = server_of(common(SERVER, trust(ANY_MESH_URI)), required=False)
    read, refused, _ = talk(server.new_session(), client_of(common(None, trust())).new_session())
    assert (read, refused and refused.counter) == (b"", "fail_verify_no_cert")
    assert talk(server.new_session(), client_of(common(CLIENT, trust())).new_session())[0] == b"request"


def pin_of(leaf: Leaf) -> str:
    spki = leaf.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def hash_of(leaf: Leaf) -> str:
    return leaf.certificate.fingerprint(hashes.SHA256()).hex()


@pytest.mark.parametrize(
    ("validation", "accepted"),
    [
        (CertificateValidation(verify_certificate_spki=(pin_of(SERVER),)), True),
        (CertificateValidation(verify_certificate_spki=(pin_of(CLIENT),)), False),
        (CertificateValidation(verify_certificate_hash=(hash_of(SERVER),)), True),
        (CertificateValidation(verify_certificate_hash=(hash_of(SERVER).upper(),)), True),
        (CertificateValidation(verify_certificate_hash=(hash_of(CLIENT), hash_of(SERVER))), True),
        (CertificateValidation(verify_certificate_hash=(hash_of(CLIENT),)), False),
        (structs.replace(trust(), verify_certificate_hash=(hash_of(CLIENT),)), False),
        (structs.replace(trust(), verify_certificate_hash=(hash_of(SERVER),)), True),
    ],
)
def test_pins(validation: CertificateValidation, accepted: bool) -> None:
    server = server_of(common(SERVER), required=False)
    read, _, refused = talk(server.new_session(), client_of(common(None, validation)).new_session())
    assert read == (b"request" if accepted else b"")
    assert accepted or (refused is not None and refused.counter == "fail_verify_cert_hash")


def test_accept_untrusted() -> None:
    validation = structs.replace(
        trust(ca=Authority("x").certificate_pem),
        trust_chain_verification=TrustChainVerification.ACCEPT_UNTRUSTED,
    )
    session = client_of(common(None, validation)).new_session()
    assert talk(server_of(common(SERVER), required=False).new_session(), session)[0] == b"request"
    assert not session.peer_validated


def test_revoked() -> None:
    def crl(*revoked: Leaf) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateRevocationListBuilder().issuer_name(MESH.certificate.subject)
        builder = builder.last_update(now - day).next_update(now + day)
        for leaf in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - day).build())
        return builder.sign(MESH.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    client = client_of(common(CLIENT, trust()))
    for revoked, accepted in (((CLIENT,), False), ((SERVER,), True)):
        validation = structs.replace(trust(ANY_MESH_URI), crl=inline(crl(*revoked)))
        server = server_of(common(SERVER, validation))
        assert (talk(server.new_session(), client.new_session())[0] == b"request") is accepted


def test_an_intermediate_can_be_the_anchor() -> None:
    intermediate = Authority("intermediate", parent=MESH)
    leaf = intermediate.issue([spiffe("server")], with_chain=False)
    client = client_of(common(None, trust(ca=intermediate.certificate_pem)))
    assert talk(server_of(common(leaf), required=False).new_session(), client.new_session())[0] == b"request"


@pytest.mark.parametrize(
    ("server", "client", "agreed"),
    [
        (TlsParameters(), TlsParameters(), "TLSv1.2"),  # Envoy's default for clients
        (TlsParameters(), TlsParameters(maximum=TlsVersion.TLSV1_3), "TLSv1.3"),
        (TlsParameters(minimum=TlsVersion.TLSV1_3), TlsParameters(), ""),
        (TlsParameters(TlsVersion.TLSV1_0), TlsParameters(TlsVersion.TLSV1_0, TlsVersion.TLSV1_1), ""),
    ],
)
def test_versions(server: TlsParameters, client: TlsParameters, agreed: str) -> None:
    session = client_of(common(None, trust(), params=client)).new_session()
    read, *_ = talk(server_of(common(SERVER, params=server), required=False).new_session(), session)
    assert (session.version if read else "") == agreed


def test_the_servers_cipher_order_decides() -> None:
    server = server_of(common(SERVER), required=False)
    params = TlsParameters(cipher_suites=("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"))
    session = client_of(common(None, trust(), params=params)).new_session()
    talk(server.new_session(), session)
    assert session.cipher == "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (("istio-peer-exchange", "istio"), "istio-peer-exchange"),
        (("istio-http/1.1", "istio", "http/1.1"), "http/1.1"),
        (("istio",), ""),
        ((), ""),
    ],
)
def test_alpn_override(the_mesh_server: ServerTlsContext, offered: tuple[str, ...], agreed: str) -> None:
    client = client_of(common(CLIENT, trust(), ("istio-peer-exchange", "istio", "h2")))
    session = client.new_session(alpn=offered)
    talk(the_mesh_server.new_session(), session)
    assert session.alpn == agreed


def test_contexts_for_alpn_offers_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(common(None, trust()))
    built = 0
    original = build_context

    def count(
        material: Material, common: CommonTlsContext, alpn: tuple[str, ...], *, server_side: bool
    ) -> ssl.SSLContext:
        nonlocal built
        built += 1
        return original(material, common, alpn, server_side=server_side)

    monkeypatch.setattr(tls_contexts, "build_context", count)
    for _ in range(3):
        client.new_session(alpn=("a",))
    assert built == 1
    for number in range(100):
        client.new_session(alpn=(str(number),))
    assert len(client._contexts) <= 64


def test_an_offer_that_cannot_be_made_is_a_tls_error() -> None:
    with pytest.raises(TlsError):
        client_of(common(None, trust())).new_session(alpn=("é",))


@pytest.mark.parametrize("tickets", [True, False])
def test_sessions_of_tls_1_2_do_not_pile_up(monkeypatch: pytest.MonkeyPatch, tickets: bool) -> None:
    monkeypatch.setattr(tls_contexts, "_SESSION_CHECK_INTERVAL", 5)
    spec = DownstreamTlsContext(
        common(SERVER, trust()),
        require_client_certificate=True,
        disable_stateless_session_resumption=not tickets,
    )
    server = TlsContexts({}, compile_san_matchers).server(spec)
    first = server._context
    client = client_of(common(CLIENT, trust(), params=TlsParameters()))
    for _ in range(12):
        ends = server.new_session(), client.new_session()
        talk(*ends)
        for session in ends:
            session.close_write()
        ends[0].receive(ends[1].take_output())
        assert server._context.session_stats()["number"] <= (0 if tickets else 10)
    assert (server._context is first) is tickets


def test_a_tls_1_2_ticket_is_judged_again(tmp_path: Path) -> None:
    """A resumed session shows the certificate of the first one, and the names are looked at anew."""
    server = server_of(common(SERVER, trust(ANY_MESH_URI)))
    root = tmp_path / "root.pem"
    root.write_bytes(MESH.certificate_pem)
    context = client_context(root, CLIENT.write(tmp_path, "client"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    first = TlsSession(context, server_side=False)
    talk(server.new_session(), first)
    resumed = TlsSession(context, server_side=False)
    resumed._object.session = first._object.session
    session = server.new_session()
    assert talk(session, resumed)[0] == b"request"
    assert resumed._object.session_reused
    assert session.peer_validated
    assert session.peer_certificate_der == CLIENT.certificate.public_bytes(Encoding.DER)


def test_equal_specs_share_a_context() -> None:
    contexts = TlsContexts({}, compile_san_matchers)
    spec = DownstreamTlsContext(common(SERVER, trust()), require_client_certificate=True)
    assert contexts.server(spec) is contexts.server(structs.replace(spec))
    assert contexts.client(UpstreamTlsContext(common(CLIENT))) is contexts.client(
        UpstreamTlsContext(common(CLIENT))
    )
    assert len(list(contexts)) == 2


def test_a_bad_server_name_is_a_tls_error() -> None:
    with pytest.raises(TlsError):
        client_of(common(None, trust()), sni="a..b").new_session()


# problems at the start


def problems_of(spec: CommonTlsContext, *, required: bool = False) -> str:
    with pytest.raises(TlsConfigError) as caught:
        server_of(spec, required=required)
    return str(caught.value)


def test_all_problems_are_told_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "text.pem").write_bytes(b"hello")
    spec = CommonTlsContext(
        certificates=(
            TlsCertificate(
                DataSource(filename=str(tmp_path / "missing.pem")),
                DataSource(filename=str(tmp_path / "text.pem")),
            ),
        ),
        validation=CertificateValidation(trusted_ca=DataSource(filename=str(tmp_path / "empty.pem"))),
    )
    with pytest.raises(TlsConfigError) as caught:
        server_of(spec)
    assert caught.value.problems == (
        f"certificate chain: cannot read {tmp_path}/missing.pem: No such file or directory",
        f"private key: {tmp_path}/text.pem is not a PEM private key",
        f"trusted CA: {tmp_path}/empty.pem is empty",
    )


def test_an_expired_certificate_is_refused_with_its_date(tmp_path: Path) -> None:
    files = MESH.issue([spiffe("a")], valid_from_days=-3, valid_to_days=-1).write(tmp_path, "old")
    spec = CommonTlsContext(
        certificates=(TlsCertificate(DataSource(filename=str(files.certificate)), inline(b"x")),)
    )
    text = problems_of(spec)
    day = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    assert f"{files.certificate} expired on {day:%Y-%m-%d}T" in text


BROKEN_PEM = b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n"
NOT_DER = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (common(), "tls_certificates: a server needs at least one"),
        (common(SERVER, trust(ca=b"")), "trusted CA: <inline> is empty"),
        (common(SERVER, trust(ca=b"x")), "trusted CA: <inline> is not a PEM certificate"),
        (common(SERVER, trust(ca=BROKEN_PEM)), "trusted CA: <inline> holds a broken PEM block"),
        (common(SERVER, trust(ca=NOT_DER)), "trusted CA: <inline>: unreadable certificate"),
        (common(SERVER, trust(ca=MESH.certificate_pem + NOT_DER)), "trusted CA: <inline>"),
        (
            CommonTlsContext(
                certificates=(TlsCertificate(inline(SERVER.certificate_pem), inline(CLIENT.key_pem)),)
            ),
            "private key: <inline> does not belong to the certificate in <inline>",
        ),
        (
            CommonTlsContext(certificates=(TlsCertificate(inline(NOT_DER), inline(CLIENT.key_pem)),)),
            "certificate chain: <inline>: unreadable certificate",
        ),
        (
            CommonTlsContext(
                certificates=(
                    TlsCertificate(DataSource(environment_variable="NO_SUCH_THING"), inline(CLIENT.key_pem)),
                )
            ),
            "environment variable NO_SUCH_THING is not set",
        ),
        (common(SERVER, params=TlsParameters(cipher_suites=("NO-SUCH-CIPHER",))), "NO-SUCH-CIPHER"),
        (common(SERVER, params=TlsParameters(ecdh_curves=("P-999",))), "ECDH curve P-999"),
        (
            common(SERVER, params=TlsParameters(TlsVersion.TLSV1_3, TlsVersion.TLSV1_2)),
            "minimum protocol version is above",
        ),
        (common(SERVER, alpn=("",)), "alpn_protocols"),
        (common(SERVER, alpn=("x" * 256,)), "alpn_protocols"),
        (common(SERVER, CertificateValidation(match_sans=(ANY_MESH_URI,))), "insecure without trusted_ca"),
        (
            common(SERVER, structs.replace(trust(), allow_expired_certificate=True)),
            "allow_expired_certificate",
        ),
        (common(SERVER, structs.replace(trust(), crl=inline(b"x"))), "holds no PEM CRL"),
        (
            common(SERVER, trust(SanMatcher(SanType.URI, StringMatcher(StringMatchKind.REGEX, "(")))),
            "match_typed_subject_alt_names: invalid regular expression",
        ),
    ],
)
def test_problems_at_the_start(spec: CommonTlsContext, told: str) -> None:
    assert told in problems_of(spec)


def test_client_certificates_cannot_be_required_without_a_ca() -> None:
    assert "require_client_certificate: needs trusted_ca" in problems_of(common(SERVER), required=True)


@pytest.mark.parametrize("curve", ["X25519", "P-256", "P-384", "P-521"])
def test_one_curve_is_enforced(curve: str) -> None:
    server = server_of(common(SERVER, params=TlsParameters(ecdh_curves=(curve,))), required=False)
    client = client_of(common(None, trust(), params=TlsParameters(ecdh_curves=("P-256",))))
    read, *_ = talk(server.new_session(), client.new_session())
    assert (read == b"request") is (curve == "P-256")


def test_an_encrypted_key() -> None:
    encrypted = SERVER.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )

    def spec(password: DataSource | None) -> CommonTlsContext:
        certificate = TlsCertificate(inline(SERVER.certificate_pem), inline(encrypted), password)
        return CommonTlsContext(certificates=(certificate,))

    assert server_of(spec(inline(b"secret\n")), required=False).local_certificate is not None
    assert "certificate <inline> with key <inline>" in problems_of(spec(inline(b"wrong")))
    assert "certificate <inline> with key <inline>" in problems_of(spec(None))


def test_two_certificates_of_different_kinds() -> None:
    rsa = MESH.issue([spiffe("server")], key_kind="rsa2048")
    spec = structs.replace(common(SERVER), certificates=(certificate_of(SERVER), certificate_of(rsa)))
    server = server_of(spec, required=False)
    params = TlsParameters(cipher_suites=("ECDHE-RSA-AES128-GCM-SHA256",))
    session = client_of(common(None, trust(), params=params)).new_session()
    assert talk(server.new_session(), session)[0] == b"request"
    assert session.peer_certificate_der == rsa.certificate.public_bytes(Encoding.DER)


def test_keys_leave_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    server_of(common(SERVER, trust()))
    assert len(os.listdir("/proc/self/fd")) == before


def test_secrets_are_merged_over_the_context() -> None:
    secrets = {
        "default": Secret("default", tls_certificate=certificate_of(SERVER)),
        "ROOTCA": Secret("ROOTCA", validation=trust()),
    }
    spec = CommonTlsContext(
        certificate_secret="default",
        validation=CertificateValidation(match_sans=(ANY_MESH_URI,)),
        validation_secret="ROOTCA",
    )
    server = server_of(spec, secrets=secrets)
    good = client_of(common(CLIENT, trust()))
    wrong = client_of(common(MESH.issue([spiffe("x", trust_domain="other")]), trust()))
    assert talk(server.new_session(), good.new_session())[0] == b"request"
    assert talk(server.new_session(), wrong.new_session())[0] == b""


# renewal


class Files:
    """Certificate, key and bundle on disk, and contexts that look at them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.leaf = self.write(SERVER)
        self.root = directory / "root.pem"
        self.root.write_bytes(MESH.certificate_pem)
        self.spec = CommonTlsContext(
            certificates=(
                TlsCertificate(
                    DataSource(filename=str(self.leaf.certificate)), DataSource(filename=str(self.leaf.key))
                ),
            ),
            validation=CertificateValidation(trusted_ca=DataSource(filename=str(self.root))),
        )

    def write(self, leaf: Leaf) -> LeafFiles:
        return leaf.write(self.directory, "server")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def shown(context: ServerTlsContext, *, root: bytes | None = None) -> int:
    """The serial number that a new session shows."""
    client = client_of(common(CLIENT, trust(ca=root)))
    session = client.new_session()
    talk(context.new_session(), session)
    assert session.peer_certificate_der is not None
    return x509.load_der_x509_certificate(session.peer_certificate_der).serial_number


def test_changed_files_are_used_for_new_sessions(tmp_path: Path, clock: list[float]) -> None:
    files = Files(tmp_path)
    server = server_of(files.spec)
    assert shown(server) == SERVER.certificate.serial_number
    newer = MESH.issue([spiffe("server")])
    files.write(newer)
    assert shown(server) == SERVER.certificate.serial_number  # within the same second nobody looks
    clock[0] += 1.0
    assert shown(server) == newer.certificate.serial_number
    assert (server.reloads, server.reload_failures) == (1, 0)
    clock[0] += 1.0
    server.new_session()
    assert server.reloads == 1


def test_broken_files_keep_the_old_context(
    tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    files = Files(tmp_path)
    server = server_of(files.spec)
    files.leaf.certificate.write_bytes(b"rubbish")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            clock[0] += 1.0
            assert shown(server) == SERVER.certificate.serial_number
    assert server.reload_failures == 1
    assert len(caplog.records) == 1
    assert str(files.leaf.certificate) in caplog.text
    newer = MESH.issue([spiffe("server")])
    files.write(newer)
    clock[0] += 1.0
    assert shown(server) == newer.certificate.serial_number


def test_a_removed_bundle_does_not_open_the_door(tmp_path: Path, clock: list[float]) -> None:
    files = Files(tmp_path)
    server = server_of(files.spec)
    files.root.unlink()
    clock[0] += 1.0
    stranger = client_of(common(Authority("x").issue([spiffe("client")]), trust()))
    assert talk(server.new_session(), stranger.new_session())[0] == b""
    assert server.reload_failures == 1


def test_a_new_root_shuts_out_the_old_one(tmp_path: Path, clock: list[float]) -> None:
    files = Files(tmp_path)
    server = server_of(files.spec)
    client = client_of(common(CLIENT, trust()))
    assert talk(server.new_session(), client.new_session())[0] == b"request"
    files.root.write_bytes(Authority("new root").certificate_pem)
    clock[0] += 1.0
    assert talk(server.new_session(), client.new_session())[0] == b""


def test_certificates_for_the_admin(tmp_path: Path) -> None:
    files = Files(tmp_path)
    contexts = TlsContexts({}, compile_san_matchers)
    contexts.server(DownstreamTlsContext(files.spec))
    contexts.client(UpstreamTlsContext(files.spec))
    now = datetime.datetime.now(datetime.UTC).timestamp()
    (shown_once,) = contexts.certificates(now)
    (chain,) = shown_once.chain
    (ca,) = shown_once.ca
    assert (chain.path, ca.path) == (str(files.leaf.certificate), str(files.root))
    assert int(chain.serial_number, 16) == SERVER.certificate.serial_number
    assert (chain.uri_sans, chain.dns_sans) == ((spiffe("server"),), ("server.example",))
    assert chain.days_until_expiration in (29, 30)
    assert chain.valid_from < now < chain.expiration_time


def test_a_secret_that_only_a_control_plane_has_is_never_replaced_by_a_weaker_check() -> None:
    common = CommonTlsContext(
        certificate_secret="default",
        certificate_secret_by_sds=True,
        validation_secret="ROOTCA",
        validation_secret_by_sds=True,
    )
    contexts = TlsContexts({}, compile_san_matchers)
    server = contexts.server(DownstreamTlsContext(common, require_client_certificate=True))
    client = contexts.client(UpstreamTlsContext(common))
    assert not server.ready and not client.ready
    with pytest.raises(TlsError, match="Secret is not supplied by SDS"):
        server.new_session()
    with pytest.raises(TlsError, match="Secret is not supplied by SDS"):
        client.new_session()


def test_a_named_secret_that_does_not_exist_is_refused() -> None:
    contexts = TlsContexts({}, compile_san_matchers)
    with pytest.raises(TlsConfigError, match="secret ROOTCA"):
        contexts.client(UpstreamTlsContext(CommonTlsContext(validation_secret="ROOTCA")))
    with pytest.raises(TlsConfigError, match="secret default"):
        contexts.client(UpstreamTlsContext(CommonTlsContext(certificate_secret="default")))
