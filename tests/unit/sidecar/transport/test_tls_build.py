"""Contexts as they are built: options that only the finished object shows."""

from __future__ import annotations

import ssl
import warnings

import pytest

from config.model.tls import CertificateValidation, CommonTlsContext, TlsParameters, TlsVersion
from sidecar.transport.tls_build import build_context
from sidecar.transport.tls_material import Material, TlsConfigError

NOTHING = Material((), None, CertificateValidation())


def test_options() -> None:
    context = build_context(NOTHING, CommonTlsContext(), ("h2",), server_side=True)
    assert context.num_tickets == 0
    for option in (ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION, ssl.OP_CIPHER_SERVER_PREFERENCE):
        assert context.options & option
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname


@pytest.mark.parametrize(
    ("params", "server_side", "lowest", "highest"),
    [
        (TlsParameters(), True, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        (TlsParameters(), False, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
        (TlsParameters(TlsVersion.TLSV1_3), False, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
        (TlsParameters(maximum=TlsVersion.TLSV1_3), False, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    ],
)
def test_versions(
    params: TlsParameters, server_side: bool, lowest: ssl.TLSVersion, highest: ssl.TLSVersion
) -> None:
    context = build_context(NOTHING, CommonTlsContext(params), (), server_side=server_side)
    assert (context.minimum_version, context.maximum_version) == (lowest, highest)


def test_old_versions_can_be_asked_for_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        params = TlsParameters(TlsVersion.TLSV1_0, TlsVersion.TLSV1_2)
        context = build_context(NOTHING, CommonTlsContext(params), (), server_side=True)
    assert context.minimum_version == ssl.TLSVersion.TLSv1


def test_groups_of_ciphers_are_taken_apart() -> None:
    params = TlsParameters(cipher_suites=("[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",))
    context = build_context(NOTHING, CommonTlsContext(params), (), server_side=True)
    names = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    assert names == ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"]


def test_a_key_log_that_cannot_be_written() -> None:
    with pytest.raises(TlsConfigError, match="key_log"):
        build_context(NOTHING, CommonTlsContext(key_log_path="/nonexistent/keys"), (), server_side=True)
