"""Certificates say when they expire, under Envoy's names."""

from __future__ import annotations

from config.model.core import DataSource
from config.model.tls import (
    CertificateValidation,
    CommonTlsContext,
    DownstreamTlsContext,
    Secret,
    TlsCertificate,
    UpstreamTlsContext,
)
from sidecar.policy.san import compile_san_matchers
from sidecar.transport.tls_contexts import TlsContexts
from stats.store import Store
from tests.support.certificates import Authority, spiffe

MESH = Authority("mesh")
LEAF = MESH.issue([spiffe("a")])
CERTIFICATE = TlsCertificate(DataSource(inline=LEAF.certificate_pem), DataSource(inline=LEAF.key_pem))
VALIDATION = CertificateValidation(trusted_ca=DataSource(inline=MESH.certificate_pem))


def gauges_of(store: Store) -> dict[str, int]:
    return {name: gauge.value for name, gauge in store.gauges.items()}


def test_certificates_given_in_place() -> None:
    store = Store()
    common = CommonTlsContext(certificates=(CERTIFICATE,), validation=VALIDATION)
    context = TlsContexts({}, compile_san_matchers).client(UpstreamTlsContext(common))
    context.publish(store.scope("cluster.c.ssl"))
    prefix = "cluster.c.ssl.certificate."
    assert gauges_of(store) == {
        f"{prefix}unnamed_cert_e3b0c442.expiration_unix_time_seconds": int(
            LEAF.certificate.not_valid_after_utc.timestamp()
        ),
        f"{prefix}unnamed_ca_cert_e3b0c442.expiration_unix_time_seconds": int(
            MESH.certificate.not_valid_after_utc.timestamp()
        ),
    }


def test_named_secrets_give_their_names() -> None:
    store = Store()
    secrets = {
        "default": Secret("default", tls_certificate=CERTIFICATE),
        "ROOT:CA": Secret("ROOT:CA", validation=VALIDATION),
    }
    common = CommonTlsContext(certificate_secret="default", validation_secret="ROOT:CA")
    context = TlsContexts(secrets, compile_san_matchers).server(DownstreamTlsContext(common))
    context.publish(store.scope("listener.l.ssl"))
    assert set(gauges_of(store)) == {
        "listener.l.ssl.certificate.default.expiration_unix_time_seconds",
        "listener.l.ssl.certificate.ROOT_CA.expiration_unix_time_seconds",
    }
