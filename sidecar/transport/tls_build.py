"""One `ssl.SSLContext` from checked material: versions, ciphers, curves, ALPN, certificates, trust.

What Python's `ssl` cannot do is said as a problem, never dropped in silence. Left at OpenSSL's own choice: the order of
several ECDH curves, and signature algorithms.
"""

from __future__ import annotations

import ssl
import warnings
from typing import Final

from config.model.tls import CommonTlsContext, TlsParameters, TlsVersion
from sidecar.transport.tls_material import Identity, Material, TlsConfigError, Trust, memory_file

#: Envoy's defaults for TLS 1.2 (`TlsParameters.cipher_suites`).
_DEFAULT_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

_VERSIONS: Final = {
    TlsVersion.TLSV1_0: ssl.TLSVersion.TLSv1,
    TlsVersion.TLSV1_1: ssl.TLSVersion.TLSv1_1,
    TlsVersion.TLSV1_2: ssl.TLSVersion.TLSv1_2,
    TlsVersion.TLSV1_3: ssl.TLSVersion.TLSv1_3,
}

#: Envoy's curve names -> OpenSSL's. All of them are in OpenSSL's default list.
_CURVES: Final = {"X25519": "X25519", "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


def build_context(
    material: Material, common: CommonTlsContext, alpn: tuple[str, ...], *, server_side: bool
) -> ssl.SSLContext:
    """A context for the material. Verification is off until the caller turns it on. Raises TlsConfigError."""
    problems: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if server_side:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        # No tickets with TLS 1.3. With 1.2 they stay on: without them OpenSSL keeps each session in memory instead,
        # 11 KiB with a client certificate. Their keys die with the context, so with the CA that vouched for the client.
        context.num_tickets = 0
    _set_parameters(context, common.params, server_side, problems)
    _set_alpn(context, alpn, problems)
    for identity in material.identities:
        _use_identity(context, identity, problems)
    if material.trust is not None:
        _use_trust(context, material.trust, problems)
    if common.key_log_path:
        try:
            context.keylog_filename = common.key_log_path
        except OSError as error:
            problems.append(f"key_log: cannot write {common.key_log_path}: {error.strerror}")
    if problems:
        raise TlsConfigError(problems)
    return context


def _set_parameters(
    context: ssl.SSLContext, params: TlsParameters, server_side: bool, problems: list[str]
) -> None:
    # Envoy's defaults: 1.2 to 1.3 for servers, 1.2 alone for clients.
    newest = ssl.TLSVersion.TLSv1_3 if server_side else ssl.TLSVersion.TLSv1_2
    minimum = _VERSIONS.get(params.minimum, ssl.TLSVersion.TLSv1_2)
    maximum = _VERSIONS.get(params.maximum, max(newest, minimum))
    if minimum > maximum:
        problems.append("tls_params: the minimum protocol version is above the maximum")
        return
    ciphers = ":".join(_known_ciphers(params.cipher_suites or _DEFAULT_CIPHERS, problems))
    if minimum < ssl.TLSVersion.TLSv1_2:
        ciphers += ":@SECLEVEL=0"  # what OpenSSL asks for before it speaks TLS 1.0 or 1.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the operator has asked for old versions
        context.minimum_version = minimum
        context.maximum_version = maximum
    if not problems:
        context.set_ciphers(ciphers)
    _set_curves(context, params.ecdh_curves, problems)


def _known_ciphers(names: tuple[str, ...], problems: list[str]) -> list[str]:
    """The names in order, BoringSSL's groups of equal preference (`[A|B]`) taken apart."""
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    known: list[str] = []
    for group in names:
        for name in group.strip("[]").split("|"):
            try:
                probe.set_ciphers(name.lstrip("!-+"))
            except ssl.SSLError:
                problems.append(f"tls_params: cipher suite {name} is not supported")
            else:
                known.append(name)
    return known


def _set_curves(context: ssl.SSLContext, curves: tuple[str, ...], problems: list[str]) -> None:
    """One curve can be enforced; with several Python leaves OpenSSL's own list, of which all our names are members."""
    unknown = [name for name in curves if name not in _CURVES]
    if unknown:
        problems.extend(f"tls_params: ECDH curve {name} is not supported" for name in unknown)
    elif len(curves) == 1:
        context.set_ecdh_curve(_CURVES[curves[0]])


def _set_alpn(context: ssl.SSLContext, alpn: tuple[str, ...], problems: list[str]) -> None:
    if not alpn:
        return
    try:
        context.set_alpn_protocols(alpn)
    except (ssl.SSLError, ValueError):
        problems.append("alpn_protocols: a name is empty, longer than 255 bytes or not ASCII")


def _use_identity(context: ssl.SSLContext, identity: Identity, problems: list[str]) -> None:
    where = f"certificate {identity.source} with key {identity.key_source}"
    try:
        with memory_file(identity.chain_pem) as chain, memory_file(identity.key_pem) as key:
            # Always with a password: without one OpenSSL would ask the terminal for it.
            context.load_cert_chain(chain, key, password=identity.password or _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problems.append(
                f"private key: {identity.key_source} does not belong to the certificate in {identity.source}"
            )
        else:
            problems.append(f"{where}: {error.reason or 'unreadable'}")
    except (OSError, ValueError) as error:
        problems.append(f"{where}: {error}")


def _no_password() -> bytes:
    return b""


def _use_trust(context: ssl.SSLContext, trust: Trust, problems: list[str]) -> None:
    has_crl = bool(trust.crl_pem) or b"-----BEGIN X509 CRL-----" in trust.bundle_pem
    try:
        with memory_file(trust.bundle_pem + b"\n" + trust.crl_pem) as bundle:
            context.load_verify_locations(cafile=bundle)
    except (OSError, ValueError) as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else str(error)) or "unreadable"
        problems.append(f"trusted CA: {trust.source}: {reason}")
        return
    if not context.cert_store_stats()["x509"]:
        problems.append(f"trusted CA: {trust.source} holds no certificate")
    # As in Envoy, any certificate of the bundle is an anchor, an intermediate one too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if has_crl:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
