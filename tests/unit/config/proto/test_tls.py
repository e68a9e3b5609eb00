"""TLS contexts and secrets as specs."""

from __future__ import annotations

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
from tests.unit.config.bootstraps import CERTIFICATE, KEY, PAIR, SECRETS, parse, tcp, tls_client, tls_server

CERTIFICATES = (TlsCertificate(DataSource(filename=CERTIFICATE), DataSource(filename=KEY)),)
CA = DataSource(filename=CERTIFICATE)
SDS = "sds_config: {api_config_source: {api_type: GRPC, grpc_services: {envoy_grpc: {cluster_name: c}}}}"


def server(fields: str, top: str = "") -> DownstreamTlsContext:
    spec = parse(tls_server(fields, top)).bootstrap.listeners[0].filter_chains[0].tls
    assert spec is not None
    return spec


def test_server_defaults() -> None:
    assert server(f"common_tls_context: {{{PAIR}}}") == DownstreamTlsContext(
        CommonTlsContext(certificates=CERTIFICATES)
    )


def test_server() -> None:
    assert server(
        "require_client_certificate: true, require_sni: true, disable_stateless_session_resumption: true, "
        f"common_tls_context: {{{PAIR}, alpn_protocols: [h2], key_log: {{path: /k}}, tls_params: "
        "{tls_minimum_protocol_version: TLSv1_2, tls_maximum_protocol_version: TLSv1_3, cipher_suites: "
        '["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]", AES128-SHA], ecdh_curves: [P-256]}, '
        f"validation_context: {{trusted_ca: {{filename: {CERTIFICATE}}}, match_typed_subject_alt_names: [{{san_type: URI, "
        'matcher: {prefix: "spiffe://td/"}}], verify_certificate_spki: [NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=], '
        f'verify_certificate_hash: ["{":".join(["AB"] * 32)}"], allow_expired_certificate: true, trust_chain_verification: '
        "ACCEPT_UNTRUSTED, crl: {filename: /crl}}}"
    ) == DownstreamTlsContext(
        CommonTlsContext(
            params=TlsParameters(
                TlsVersion.TLSV1_2,
                TlsVersion.TLSV1_3,
                ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"),
                ("P-256",),
            ),
            certificates=CERTIFICATES,
            validation=CertificateValidation(
                trusted_ca=CA,
                match_sans=(SanMatcher(SanType.URI, StringMatcher(StringMatchKind.PREFIX, "spiffe://td/")),),
                verify_certificate_spki=("NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A=",),
                verify_certificate_hash=("ab" * 32,),
                crl=DataSource(filename="/crl"),
                allow_expired_certificate=True,
                trust_chain_verification=TrustChainVerification.ACCEPT_UNTRUSTED,
            ),
            alpn_protocols=("h2",),
            key_log_path="/k",
        ),
        require_client_certificate=True,
        require_sni=True,
        disable_stateless_session_resumption=True,
    )


def test_deprecated_san_matchers_match_every_type() -> None:
    spec = server(
        f"common_tls_context: {{{PAIR}, validation_context: {{trusted_ca: {{filename: {CERTIFICATE}}}, "
        "match_subject_alt_names: [{exact: a}]}}"
    )
    assert spec.common.validation is not None
    matcher = StringMatcher(StringMatchKind.EXACT, "a")
    assert spec.common.validation.match_sans == tuple(SanMatcher(kind, matcher) for kind in SanType)


def test_static_secrets() -> None:
    spec = server(
        "common_tls_context: {tls_certificate_sds_secret_configs: [{name: s}], combined_validation_context: "
        "{default_validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}, "
        "validation_context_sds_secret_config: {name: v}}}",
        SECRETS,
    )
    assert spec.common.certificate_secret == "s"
    assert spec.common.validation_secret == "v"
    assert not spec.common.certificate_secret_by_sds
    assert not spec.common.validation_secret_by_sds
    assert spec.common.validation == CertificateValidation(
        match_sans=(SanMatcher(SanType.DNS, StringMatcher(StringMatchKind.EXACT, "a")),)
    )


def test_secrets_by_sds_are_accepted_with_a_warning() -> None:
    parsed = parse(
        tls_server(
            f"common_tls_context: {{tls_certificate_sds_secret_configs: {{name: default, {SDS}}}, "
            f"validation_context_sds_secret_config: {{name: ROOTCA, {SDS}}}}}"
        )
    )
    tls = parsed.bootstrap.listeners[0].filter_chains[0].tls
    assert tls is not None
    assert (tls.common.certificate_secret, tls.common.certificate_secret_by_sds) == ("default", True)
    assert (tls.common.validation_secret, tls.common.validation_secret_by_sds) == ("ROOTCA", True)
    assert ["comes by SDS" in warning.reason for warning in parsed.warnings] == [True, True]


def test_client() -> None:
    spec = parse(
        tls_client(
            f"sni: a.b, auto_host_sni: true, auto_sni_san_validation: true, common_tls_context: "
            f"{{{PAIR}, alpn_protocols: [istio], validation_context: {{trusted_ca: {{inline_string: x}}}}}}"
        )
    ).bootstrap.clusters[1]
    assert spec.transport_socket == UpstreamTlsContext(
        CommonTlsContext(
            certificates=CERTIFICATES,
            validation=CertificateValidation(trusted_ca=DataSource(inline=b"x")),
            alpn_protocols=("istio",),
        ),
        sni="a.b",
        auto_host_sni=True,
        auto_sni_san_validation=True,
    )


def test_secrets_of_the_bootstrap() -> None:
    assert parse(tcp(top=SECRETS)).bootstrap.secrets == (
        Secret("s", tls_certificate=CERTIFICATES[0]),
        Secret("v", validation=CertificateValidation(trusted_ca=CA)),
    )
