"""What TLS contexts are made of: certificates, keys and CA bundles, read from where the configuration says.

Everything is read and checked before a context is built, and every problem is reported, not only the first. Keys never
touch a disk: OpenSSL wants a file name, so it gets that of a memory file.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeAlias

import msgspec
from msgspec import structs

from config.model.core import DataSource
from config.model.tls import (
    CertificateValidation,
    CommonTlsContext,
    Secret,
    TlsCertificate,
    TrustChainVerification,
)
from protocols.tls.certificate import CertificateError, PeerCertificate, parse_certificate

Secrets: TypeAlias = Mapping[str, Secret]

#: No certificate, key or bundle is larger; a wrong file name must not fill the memory.
_MAX_FILE_BYTES: Final = 16 * 1024 * 1024

_PEM_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s(.+?)-----END \1-----", re.DOTALL)
_WHITE_SPACE: Final = re.compile(rb"\s+")


class TlsConfigError(Exception):
    """A TLS context cannot be built. `problems` has one line for each thing that is wrong, with the file it is in."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Identity(msgspec.Struct, frozen=True):
    """A certificate chain and its key. `source` is the file name, or `<inline>` as Envoy's `/certs` says."""

    chain_pem: bytes
    key_pem: bytes
    password: bytes
    source: str
    key_source: str
    leaf: PeerCertificate


class Trust(msgspec.Struct, frozen=True):
    """A CA bundle, and the revocation lists that go with it."""

    bundle_pem: bytes
    crl_pem: bytes
    source: str
    first: PeerCertificate


class Material(msgspec.Struct, frozen=True):
    identities: tuple[Identity, ...]
    trust: Trust | None
    validation: CertificateValidation


def load_material(common: CommonTlsContext, secrets: Secrets, *, now_s: float) -> Material:
    """Read and check everything. Raises TlsConfigError with all problems."""
    problems: list[str] = []
    identities = tuple(
        found
        for certificate in resolve_certificates(common, secrets)
        if (found := _load_identity(certificate, problems, now_s)) is not None
    )
    validation = resolve_validation(common, secrets)
    trust = _load_trust(validation, problems)
    if problems:
        raise TlsConfigError(problems)
    return Material(identities, trust, validation)


def resolve_certificates(common: CommonTlsContext, secrets: Secrets) -> tuple[TlsCertificate, ...]:
    """The certificates given in place, or the one of the named secret. Raises TlsConfigError."""
    if not common.certificate_secret:
        return common.certificates
    secret = secrets.get(common.certificate_secret)
    if secret is None or secret.tls_certificate is None:
        raise TlsConfigError([f"secret {common.certificate_secret}: there is no such certificate"])
    return (secret.tls_certificate,)


def resolve_validation(common: CommonTlsContext, secrets: Secrets) -> CertificateValidation:
    """The context in place with the secret's fields merged over it (protobuf merge: lists are joined, set fields win)."""
    base = common.validation or CertificateValidation()
    if not common.validation_secret:
        return base
    secret = secrets.get(common.validation_secret)
    over = secret.validation if secret is not None else None
    if over is None:  # never go on with a weaker check
        raise TlsConfigError([f"secret {common.validation_secret}: there is no such validation context"])
    untrusted = TrustChainVerification.ACCEPT_UNTRUSTED
    return structs.replace(
        base,
        trusted_ca=over.trusted_ca or base.trusted_ca,
        match_sans=base.match_sans + over.match_sans,
        verify_certificate_spki=base.verify_certificate_spki + over.verify_certificate_spki,
        verify_certificate_hash=base.verify_certificate_hash + over.verify_certificate_hash,
        crl=over.crl or base.crl,
        allow_expired_certificate=base.allow_expired_certificate or over.allow_expired_certificate,
        trust_chain_verification=untrusted
        if over.trust_chain_verification is untrusted
        else base.trust_chain_verification,
    )


def watched_files(common: CommonTlsContext, secrets: Secrets) -> tuple[str, ...]:
    """Every file that the material is read from."""
    validation = resolve_validation(common, secrets)
    sources: list[DataSource | None] = [validation.trusted_ca, validation.crl]
    for certificate in resolve_certificates(common, secrets):
        sources += [certificate.certificate_chain, certificate.private_key, certificate.password]
    return tuple(
        dict.fromkeys(source.filename for source in sources if source is not None and source.filename)
    )


FileSignature: TypeAlias = tuple[tuple[int, int, int] | None, ...]


def file_signature(paths: tuple[str, ...]) -> FileSignature:
    """Changes when any of the files is replaced or rewritten; a file that cannot be looked at is None."""
    return tuple(map(_signature, paths))


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


@contextmanager
def memory_file(data: bytes) -> Iterator[str]:
    """A path that reads as `data` while the context lasts, without a disk behind it."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _describe(source: DataSource) -> str:
    if source.filename:
        return source.filename
    if source.environment_variable:
        return f"environment variable {source.environment_variable}"
    return "<inline>"


def _read(source: DataSource, what: str, problems: list[str]) -> bytes | None:
    where = _describe(source)
    if source.inline is not None:
        return source.inline
    if source.environment_variable:
        text = os.environ.get(source.environment_variable)
        if text is None:
            problems.append(f"{what}: {where} is not set")
            return None
        return os.fsencode(text)
    try:
        with open(source.filename, "rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        problems.append(f"{what}: cannot read {where}: {reason}")
        return None
    if len(data) > _MAX_FILE_BYTES:
        problems.append(f"{what}: {where} is larger than {_MAX_FILE_BYTES} bytes")
        return None
    return data


def pem_blocks(data: bytes, label: bytes) -> list[bytes]:
    """The DER contents of all PEM blocks with this label. Raises ValueError for a block that is not base64."""
    return [
        base64.b64decode(_WHITE_SPACE.sub(b"", body), validate=True)
        for found, body in _PEM_BLOCK.findall(data)
        if found == label
    ]


def _certificates_of(data: bytes, what: str, where: str, problems: list[str]) -> list[bytes]:
    try:
        found = pem_blocks(data, b"CERTIFICATE")
    except binascii.Error:
        problems.append(f"{what}: {where} holds a broken PEM block")
        return []
    if not found:
        problems.append(f"{what}: {where} is {'empty' if not data.strip() else 'not a PEM certificate'}")
    return found


def _load_identity(certificate: TlsCertificate, problems: list[str], now_s: float) -> Identity | None:
    where = _describe(certificate.certificate_chain)
    chain = _read(certificate.certificate_chain, "certificate chain", problems)
    key_where = _describe(certificate.private_key)
    key = _read(certificate.private_key, "private key", problems)
    password = b""
    if certificate.password is not None:
        read = _read(certificate.password, "password", problems)
        if read is None:
            return None
        password = read.rstrip(b"\r\n")
    if key is not None and not any(b"PRIVATE KEY" in label for label, _ in _PEM_BLOCK.findall(key)):
        problems.append(
            f"private key: {key_where} is {'empty' if not key.strip() else 'not a PEM private key'}"
        )
        key = None
    if chain is None:
        return None
    blocks = _certificates_of(chain, "certificate chain", where, problems)
    if not blocks:
        return None
    leaf = _leaf(blocks[0], where, problems, now_s)
    if leaf is None or key is None:
        return None
    return Identity(chain, key, password, where, key_where, leaf)


def _leaf(der: bytes, where: str, problems: list[str], now_s: float) -> PeerCertificate | None:
    try:
        leaf = parse_certificate(der)
    except CertificateError as error:
        problems.append(f"certificate chain: {where}: {error}")
        return None
    if leaf.not_after <= now_s:
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(leaf.not_after))
        problems.append(f"certificate chain: {where} expired on {date}")
        return None
    return leaf


def _load_trust(validation: CertificateValidation, problems: list[str]) -> Trust | None:
    crl = b""
    if validation.crl is not None:
        read = _read(validation.crl, "certificate revocation list", problems)
        if read is not None and b"-----BEGIN X509 CRL-----" not in read:
            problems.append(f"certificate revocation list: {_describe(validation.crl)} holds no PEM CRL")
        crl = read or b""
    if validation.trusted_ca is None:
        if validation.crl is not None:
            problems.append("certificate revocation list: of no use without trusted_ca")
        return None
    where = _describe(validation.trusted_ca)
    data = _read(validation.trusted_ca, "trusted CA", problems)
    if data is None:
        return None
    blocks = _certificates_of(data, "trusted CA", where, problems)
    if not blocks:
        return None
    try:
        first = parse_certificate(blocks[0])
    except CertificateError as error:
        problems.append(f"trusted CA: {where}: {error}")
        return None
    return Trust(data, crl, where, first)
