"""TLS contexts and secrets (envoy.extensions.transport_sockets.tls.v3)."""

from __future__ import annotations

import enum

import msgspec

from config.model.core import DataSource
from config.model.matching import SanMatcher


class TlsVersion(enum.Enum):
    AUTO = 0
    TLSV1_0 = 1
    TLSV1_1 = 2
    TLSV1_2 = 3
    TLSV1_3 = 4


class TlsParameters(msgspec.Struct, frozen=True):
    """`cipher_suites` hold BoringSSL (OpenSSL) names for TLS 1.2 and below, in order; empty: the defaults."""

    minimum: TlsVersion = TlsVersion.AUTO
    maximum: TlsVersion = TlsVersion.AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()


class TlsCertificate(msgspec.Struct, frozen=True):
    """A certificate chain (PEM, leaf first) and its private key (PEM)."""

    certificate_chain: DataSource
    private_key: DataSource
    password: DataSource | None = None


class TrustChainVerification(enum.Enum):
    VERIFY_TRUST_CHAIN = 0
    ACCEPT_UNTRUSTED = 1


class CertificateValidation(msgspec.Struct, frozen=True):
    """`CertificateValidationContext`. Without `trusted_ca` nothing is verified; an empty SAN list accepts any name."""

    trusted_ca: DataSource | None = None
    match_sans: tuple[SanMatcher, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()  # base64 of SHA-256 of the public key
    verify_certificate_hash: tuple[str, ...] = ()  # lower-case hex of SHA-256 of the certificate
    crl: DataSource | None = None
    allow_expired_certificate: bool = False
    trust_chain_verification: TrustChainVerification = TrustChainVerification.VERIFY_TRUST_CHAIN


class Secret(msgspec.Struct, frozen=True):
    """A named secret; exactly one of the two is set."""

    name: str
    tls_certificate: TlsCertificate | None = None
    validation: CertificateValidation | None = None


class CommonTlsContext(msgspec.Struct, frozen=True):
    """What both directions share.

    `certificates` are given in place; `certificate_secret` names a static secret instead ("" if none). `validation` is the
    context given in place (also the `default_validation_context` of a combined one), `validation_secret` names the secret
    whose fields are merged over it. The translator has checked that the names exist, except those that come `by_sds`:
    without them the context is not ready, and its connections fail.
    """

    params: TlsParameters = TlsParameters()
    certificates: tuple[TlsCertificate, ...] = ()
    certificate_secret: str = ""
    validation: CertificateValidation | None = None
    validation_secret: str = ""
    alpn_protocols: tuple[str, ...] = ()
    key_log_path: str = ""
    certificate_secret_by_sds: bool = False
    validation_secret_by_sds: bool = False


class DownstreamTlsContext(msgspec.Struct, frozen=True):
    common: CommonTlsContext
    require_client_certificate: bool = False
    require_sni: bool = False
    disable_stateless_session_resumption: bool = False


class UpstreamTlsContext(msgspec.Struct, frozen=True):
    """`sni` may be empty. With `auto_host_sni` the endpoint's hostname is the SNI."""

    common: CommonTlsContext
    sni: str = ""
    auto_host_sni: bool = False
    auto_sni_san_validation: bool = False
