"""TLS contexts, secrets and the tables of transport sockets (envoy.extensions.transport_sockets.tls.v3)."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any, Final

from config.model.cluster import RawBufferSpec, UpstreamTransportSocketSpec
from config.model.core import DataSource
from config.model.matching import SanMatcher, SanType
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
from config.proto.core import enum_of, translate_data_source, wrapped_bool
from config.proto.fields import declare, noted
from config.proto.matching import translate_san_matcher, translate_string_matcher
from config.proto.path import Path
from config.proto.typed_config import ExtensionTable
from config.spelling import did_you_mean

_TLS: Final = "envoy.extensions.transport_sockets.tls.v3"
_RAW_BUFFER: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_COMMON: Final = f"{_TLS}.CommonTlsContext"
_PROVIDER: Final = "certificate provider plugins are not supported"
_OLD_PROVIDERS: Final = noted(
    "validation_context_certificate_provider validation_context_certificate_provider_instance", _PROVIDER
)

declare(_RAW_BUFFER)
declare(
    f"{_TLS}.UpstreamTlsContext",
    "common_tls_context sni auto_host_sni auto_sni_san_validation",
    no_effect={
        "enforce_rsa_key_usage": "as the TLS library does",
        "max_session_keys": "sessions to upstreams are not resumed",
    },
    refused={"allow_renegotiation": "renegotiation is not supported"},
)
declare(
    f"{_TLS}.DownstreamTlsContext",
    "common_tls_context require_client_certificate require_sni disable_stateless_session_resumption",
    no_effect={"full_scan_certs_on_sni_mismatch": "", "prefer_client_ciphers": ""},
    ignored={
        "session_ticket_keys": "the proxy makes its own ticket keys",
        "session_ticket_keys_sds_secret_config": "the proxy makes its own ticket keys",
        "disable_stateful_session_resumption": "",
        "session_timeout": "the TLS library's timeout is used",
        "ocsp_staple_policy": "nothing is stapled",
    },
)
declare(
    _COMMON,
    "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context "
    "validation_context_sds_secret_config combined_validation_context alpn_protocols key_log",
    refused={
        "tls_certificate_provider_instance": _PROVIDER,
        "tls_certificate_certificate_provider": _PROVIDER,
        "tls_certificate_certificate_provider_instance": _PROVIDER,
        "custom_tls_certificate_selector": "",
        "custom_handshaker": "",
        **_OLD_PROVIDERS,
    },
)
declare(
    f"{_COMMON}.CombinedCertificateValidationContext",
    "default_validation_context validation_context_sds_secret_config",
    refused=_OLD_PROVIDERS,
)
declare(
    f"{_TLS}.TlsParameters",
    "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves",
    refused="signature_algorithms compliance_policies",
)
declare(
    f"{_TLS}.TlsCertificate",
    "certificate_chain private_key password",
    ignored={
        "watched_directory": "files are read once",
        "ocsp_staple": "nothing is stapled",
        "signed_certificate_timestamp": "",
    },
    refused="pkcs12 private_key_provider",
)
declare(
    f"{_TLS}.CertificateValidationContext",
    "trusted_ca verify_certificate_spki verify_certificate_hash match_typed_subject_alt_names "
    "match_subject_alt_names crl allow_expired_certificate trust_chain_verification",
    ignored={
        "watched_directory": "files are read once",
        "only_verify_leaf_cert_crl": "the whole chain is checked",
    },
    refused={
        "ca_certificate_provider_instance": _PROVIDER,
        "system_root_certs": "name the file in trusted_ca",
        "require_signed_certificate_timestamp": "",
        "custom_validator_config": "",
        "max_verify_depth": "",
    },
)
declare(
    f"{_TLS}.SdsSecretConfig",
    "name",
    no_effect={"sds_config": "a secret by SDS is not ready until a control plane delivers it (a warning)"},
)
declare(
    f"{_TLS}.Secret",
    "name tls_certificate validation_context",
    ignored={"session_ticket_keys": "the proxy makes its own ticket keys", "generic_secret": ""},
)
declare(f"{_TLS}.TlsKeyLog", "path", refused="local_address_range remote_address_range")

#: What BoringSSL knows for TLS 1.2 and below.
CIPHER_SUITES: Final = frozenset(
    f"{suite}"
    for suite in (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-PSK-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA256",
        "ECDHE-PSK-AES128-CBC-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "ECDHE-PSK-AES256-CBC-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "PSK-AES128-CBC-SHA",
        "PSK-AES256-CBC-SHA",
        "DES-CBC3-SHA",
    )
)
CURVES: Final = frozenset(("X25519", "P-256", "P-384", "P-521", "X25519MLKEM768"))


def _translate_params(msg: Any, at: Path) -> TlsParameters:
    suites: list[str] = []
    for index, entry in enumerate(msg.cipher_suites):
        for suite in entry.strip("[]").split("|"):  # [A|B]: of equal preference
            if suite not in CIPHER_SUITES:
                at.item("cipher_suites", index).error(
                    f"unknown cipher suite '{suite}'{did_you_mean(suite, CIPHER_SUITES)}"
                )
            suites.append(suite)
    for index, curve in enumerate(msg.ecdh_curves):
        if curve not in CURVES:
            at.item("ecdh_curves", index).error(
                f"unknown curve '{curve}' (known: {', '.join(sorted(CURVES))}){did_you_mean(curve, CURVES)}"
            )
    minimum = enum_of(TlsVersion, msg.tls_minimum_protocol_version)
    maximum = enum_of(TlsVersion, msg.tls_maximum_protocol_version)
    if TlsVersion.AUTO not in (minimum, maximum) and minimum.value > maximum.value:
        at.field("tls_minimum_protocol_version").error("greater than tls_maximum_protocol_version")
    return TlsParameters(minimum, maximum, tuple(suites), tuple(msg.ecdh_curves))


def _optional_source(message: Any, field: str, at: Path) -> DataSource | None:
    return (
        translate_data_source(getattr(message, field), at.field(field)) if message.HasField(field) else None
    )


def translate_certificate(msg: Any, at: Path) -> TlsCertificate:
    chain = _optional_source(msg, "certificate_chain", at)
    key = _optional_source(msg, "private_key", at)
    if chain is None:
        at.field("certificate_chain").error("required")
    if key is None:
        at.field("private_key").error("required")
    return TlsCertificate(
        chain or DataSource(inline=b""), key or DataSource(inline=b""), _optional_source(msg, "password", at)
    )


def _translate_sans(msg: Any, at: Path) -> tuple[SanMatcher, ...]:
    sans = [
        translate_san_matcher(item, at.item("match_typed_subject_alt_names", i))
        for i, item in enumerate(msg.match_typed_subject_alt_names)
    ]
    if sans:
        if msg.match_subject_alt_names:
            at.field("match_subject_alt_names").warning(
                "ignored: match_typed_subject_alt_names is set", of_key=True
            )
        return tuple(sans)
    for index, item in enumerate(msg.match_subject_alt_names):
        matcher = translate_string_matcher(item, at.item("match_subject_alt_names", index))
        sans += [SanMatcher(kind, matcher) for kind in SanType]
    return tuple(sans)


def _translate_hash(text: str, at: Path) -> str:
    digest = text.replace(":", "").lower()
    if len(digest) != 64 or digest.strip("0123456789abcdef"):
        at.error("not the SHA-256 of a certificate in hexadecimal")
    return digest


def _check_spki(text: str, at: Path) -> str:
    try:
        valid = len(base64.b64decode(text, validate=True)) == 32
    except ValueError:
        valid = False
    if not valid:
        at.error("not the SHA-256 of a public key in base64")
    return text


def translate_validation(msg: Any, at: Path, *, complete: bool = True) -> CertificateValidation:
    """`complete` False: a default to which a secret adds the trusted CA."""
    ca = _optional_source(msg, "trusted_ca", at)
    sans = _translate_sans(msg, at)
    if complete and ca is None:
        if sans:
            field = (
                "match_typed_subject_alt_names"
                if msg.match_typed_subject_alt_names
                else "match_subject_alt_names"
            )
            at.field(field).error(
                "needs trusted_ca: names in unverified certificates prove nothing", of_key=True
            )
        if msg.allow_expired_certificate:
            at.field("allow_expired_certificate").error("needs trusted_ca", of_key=True)
    return CertificateValidation(
        trusted_ca=ca,
        match_sans=sans,
        verify_certificate_spki=tuple(
            _check_spki(text, at.item("verify_certificate_spki", index))
            for index, text in enumerate(msg.verify_certificate_spki)
        ),
        verify_certificate_hash=tuple(
            _translate_hash(text, at.item("verify_certificate_hash", index))
            for index, text in enumerate(msg.verify_certificate_hash)
        ),
        crl=_optional_source(msg, "crl", at),
        allow_expired_certificate=msg.allow_expired_certificate,
        trust_chain_verification=enum_of(TrustChainVerification, msg.trust_chain_verification),
    )


def translate_secret(msg: Any, at: Path) -> Secret | None:
    kind = msg.WhichOneof("type")
    if kind == "tls_certificate":
        return Secret(msg.name, tls_certificate=translate_certificate(msg.tls_certificate, at.field(kind)))
    if kind == "validation_context":
        return Secret(msg.name, validation=translate_validation(msg.validation_context, at.field(kind)))
    if kind is None:
        at.error("a secret needs tls_certificate or validation_context")
    return None


def _secret_name(msg: Any, at: Path, known: Collection[str] | None, what: str) -> tuple[str, bool]:
    """The name of a secret, and whether it comes by SDS."""
    if msg.HasField("sds_config"):
        at.field("sds_config").warning(
            f"secret '{msg.name}' comes by SDS, which needs a control plane: connections fail until it is there",
            of_key=True,
        )
        return msg.name, True
    if known is not None and msg.name and msg.name not in known:
        at.field("name").error(f"there is no static {what} '{msg.name}'{did_you_mean(msg.name, known)}")
    return msg.name, False


def _translate_common(msg: Any, at: Path) -> CommonTlsContext:
    secrets = at.context
    certificate, validation_name = ("", False), ("", False)
    validation: CertificateValidation | None = None
    configs = msg.tls_certificate_sds_secret_configs
    if len(configs) > 1:
        at.item("tls_certificate_sds_secret_configs", 1).error(
            "refused: only one certificate secret is supported"
        )
    if configs:
        secret_at = at.item("tls_certificate_sds_secret_configs", 0)
        if msg.tls_certificates:
            secret_at.error("cannot be set together with tls_certificates")
        certificate = _secret_name(configs[0], secret_at, secrets.certificate_secrets, "tls_certificate")
    kind = msg.WhichOneof("validation_context_type")
    if kind == "validation_context":
        validation = translate_validation(msg.validation_context, at.field(kind))
    elif kind == "validation_context_sds_secret_config":
        validation_name = _secret_name(
            msg.validation_context_sds_secret_config,
            at.field(kind),
            secrets.validation_secrets,
            "validation_context",
        )
    elif kind == "combined_validation_context":
        combined, combined_at = msg.combined_validation_context, at.field(kind)
        validation = translate_validation(
            combined.default_validation_context,
            combined_at.field("default_validation_context"),
            complete=False,
        )
        validation_name = _secret_name(
            combined.validation_context_sds_secret_config,
            combined_at.field("validation_context_sds_secret_config"),
            secrets.validation_secrets,
            "validation_context",
        )
    for index, protocol in enumerate(msg.alpn_protocols):
        if not 0 < len(protocol.encode()) < 256:
            at.item("alpn_protocols", index).error("must have 1 to 255 bytes")
    return CommonTlsContext(
        params=_translate_params(msg.tls_params, at.field("tls_params")),
        certificates=tuple(
            translate_certificate(item, at.item("tls_certificates", i))
            for i, item in enumerate(msg.tls_certificates)
        ),
        certificate_secret=certificate[0],
        certificate_secret_by_sds=certificate[1],
        validation=validation,
        validation_secret=validation_name[0],
        validation_secret_by_sds=validation_name[1],
        alpn_protocols=tuple(msg.alpn_protocols),
        key_log_path=msg.key_log.path,
    )


def translate_downstream_tls(msg: Any, at: Path) -> DownstreamTlsContext:
    common_at = at.field("common_tls_context")
    common = _translate_common(msg.common_tls_context, common_at)
    if not common.certificates and not common.certificate_secret:
        common_at.error("a server needs tls_certificates or tls_certificate_sds_secret_configs")
    return DownstreamTlsContext(
        common=common,
        require_client_certificate=wrapped_bool(msg, "require_client_certificate", False),
        require_sni=wrapped_bool(msg, "require_sni", False),
        disable_stateless_session_resumption=msg.disable_stateless_session_resumption,
    )


def translate_upstream_tls(msg: Any, at: Path) -> UpstreamTlsContext:
    common_at = at.field("common_tls_context")
    common = _translate_common(msg.common_tls_context, common_at)
    if len(common.certificates) > 1:
        common_at.item("tls_certificates", 1).error("a client has one certificate at most")
    if msg.auto_sni_san_validation and msg.common_tls_context.WhichOneof("validation_context_type") is None:
        at.field("auto_sni_san_validation").error("needs a validation context", of_key=True)
    return UpstreamTlsContext(
        common=common,
        sni=msg.sni,
        auto_host_sni=msg.auto_host_sni,
        auto_sni_san_validation=msg.auto_sni_san_validation,
    )


def _translate_raw_buffer(msg: Any, at: Path) -> RawBufferSpec:
    return RawBufferSpec()


DOWNSTREAM_SOCKETS: Final = ExtensionTable[DownstreamTlsContext | RawBufferSpec](
    "a downstream transport socket",
    {f"{_TLS}.DownstreamTlsContext": translate_downstream_tls, _RAW_BUFFER: _translate_raw_buffer},
)
UPSTREAM_SOCKETS: Final = ExtensionTable[UpstreamTransportSocketSpec](
    "an upstream transport socket",
    {f"{_TLS}.UpstreamTlsContext": translate_upstream_tls, _RAW_BUFFER: _translate_raw_buffer},
)


def translate_downstream_socket(message: Any, at: Path) -> DownstreamTlsContext | None:
    """The TLS context of a filter chain's `transport_socket`; `None` means plaintext."""
    if not message.HasField("transport_socket"):
        return None
    socket = DOWNSTREAM_SOCKETS.translate(
        message.transport_socket.typed_config, at.field("transport_socket").field("typed_config")
    )
    return socket if isinstance(socket, DownstreamTlsContext) else None


def translate_upstream_socket(message: Any, at: Path) -> UpstreamTransportSocketSpec:
    """The `transport_socket` of a cluster or of a transport socket match."""
    if not message.HasField("transport_socket"):
        return RawBufferSpec()
    socket = UPSTREAM_SOCKETS.translate(
        message.transport_socket.typed_config, at.field("transport_socket").field("typed_config")
    )
    return socket if socket is not None else RawBufferSpec()
