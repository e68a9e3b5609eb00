"""Certificates minted at run time: a mesh authority, SPIFFE leaves, and every odd one a server must judge.

Nothing is committed and nothing is read from disk: keys live in the temporary directory of one test run.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "cluster.local"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

_BOTH_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


def spiffe(service_account: str, namespace: str = "default", trust_domain: str = TRUST_DOMAIN) -> str:
    """The SPIFFE id of a service account."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def make_key(kind: str = "p256") -> PrivateKey:
    """A private key: `p256`, `p384`, `rsa2048` or `ed25519`."""
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind == "rsa2048":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(kind)


@dataclass(frozen=True)
class Leaf:
    """A certificate with its key and what belongs between it and the root, all PEM."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> bytes:
        return b"".join(
            certificate.public_bytes(serialization.Encoding.PEM)
            for certificate in (self.certificate, *self.chain)
        )

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, directory: Path, name: str) -> LeafFiles:
        """Write `NAME.pem` and `NAME-key.pem` to `directory`."""
        files = LeafFiles(directory / f"{name}.pem", directory / f"{name}-key.pem")
        files.certificate.write_bytes(self.certificate_pem)
        files.key.write_bytes(self.key_pem)
        return files


@dataclass(frozen=True)
class LeafFiles:
    certificate: Path
    key: Path


class Authority:
    """A certificate authority, a root or an intermediate."""

    def __init__(
        self,
        name: str = "mesh root",
        *,
        parent: Authority | None = None,
        key_kind: str = "p256",
        days: int = 3650,
    ) -> None:
        self.key = make_key(key_kind)
        self.parent = parent
        subject = _name(name)
        now = _now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(parent.certificate.subject if parent else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days, hours=days > 0))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        )
        issuer_key = parent.key if parent else self.key
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        self.certificate: x509.Certificate = builder.sign(issuer_key, _hash_for(issuer_key))

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def _chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self.parent._chain()) if self.parent is not None else ()

    def issue(
        self,
        uris: Sequence[str] = (),
        *,
        dns: Sequence[str] = (),
        ips: Sequence[str] = (),
        common_name: str | None = None,
        usages: Sequence[x509.ObjectIdentifier] | None = _BOTH_USAGES,
        valid_from_days: float = -1,
        valid_to_days: float = 30,
        key_kind: str = "p256",
        acts_as_ca: bool = False,
        with_chain: bool = True,
        subject: x509.Name | None = None,
    ) -> Leaf:
        """A leaf. `usages=None` leaves the extended key usage out; `with_chain=False` leaves the intermediates out."""
        key = make_key(key_kind)
        now = _now()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ips]
        builder = (
            x509.CertificateBuilder()
            .subject_name(
                subject if subject is not None else _name(common_name) if common_name else x509.Name([])
            )
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=valid_from_days))
            # an hour more, so that the number of whole days stays the same while a test runs
            .not_valid_after(now + datetime.timedelta(days=valid_to_days, hours=valid_to_days > 0))
            .add_extension(x509.BasicConstraints(ca=acts_as_ca, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=acts_as_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=not common_name and not subject
            )
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        certificate = builder.sign(self.key, _hash_for(self.key))
        return Leaf(certificate, key, self._chain() if with_chain else ())

    def issue_under_leaf(self, leaf: Leaf, uris: Sequence[str]) -> Leaf:
        """A certificate signed by a leaf that is no authority."""
        forger = Authority.__new__(Authority)
        forger.key = leaf.key
        forger.certificate = leaf.certificate
        forger.parent = None
        forged = forger.issue(uris)
        return Leaf(forged.certificate, forged.key, (leaf.certificate, *leaf.chain))


def self_signed(uris: Sequence[str]) -> Leaf:
    """A leaf that vouches for itself."""
    authority = Authority("self")
    lone = Authority.__new__(Authority)
    lone.key = authority.key
    lone.certificate = authority.certificate
    lone.parent = None
    leaf = lone.issue(uris)
    return Leaf(leaf.certificate, leaf.key)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, TRUST_DOMAIN),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _hash_for(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


class Mesh:
    """The files of one mesh: `root.pem`, and a leaf with both key usages per service account on demand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = Authority()
        self.root = directory / "root.pem"
        self.root.write_bytes(self.authority.certificate_pem)
        self._issued: dict[str, LeafFiles] = {}

    def leaf(self, service_account: str, namespace: str = "default") -> LeafFiles:
        """The files of the certificate of a service account."""
        name = service_account if namespace == "default" else f"{service_account}.{namespace}"
        if name not in self._issued:
            leaf = self.authority.issue(
                [spiffe(service_account, namespace)],
                dns=[f"{service_account}.{namespace}.svc.cluster.local"],
                ips=["127.0.0.1"],
            )
            self._issued[name] = leaf.write(self.directory, name)
        return self._issued[name]

    def server_context(
        self, service_account: str, *, alpn: Sequence[str] = (), mutual: bool = True
    ) -> ssl.SSLContext:
        """For a plain Python server in the mesh."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = self.leaf(service_account)
        context.load_cert_chain(files.certificate, files.key)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.root)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def client_context(self, service_account: str | None, *, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        """For a plain Python client; without a service account it shows no certificate."""
        files = self.leaf(service_account) if service_account else None
        return client_context(self.root, files, alpn=alpn)


def client_context(root: Path, files: LeafFiles | None, *, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """A client context that checks the chain of the server but not its name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(root)
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def write_conformance_certificates(directory: Path) -> None:
    """The certificates that the conformance scenarios name, with the subjects, names and usages of the originals."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Internet Widgits Pty Ltd"),
        ]
    )
    root = Authority("conformance root", key_kind="rsa2048")
    server = root.issue(
        [spiffe("server")], dns=["istio.io"], usages=None, key_kind="rsa2048", subject=subject
    )
    client = root.issue(
        [spiffe("client")], usages=[ExtendedKeyUsageOID.CLIENT_AUTH], key_kind="rsa2048", subject=subject
    )
    (directory / "root.cert").write_bytes(root.certificate_pem)
    for name, leaf in (("server", server), ("client", client)):
        (directory / f"{name}.cert").write_bytes(leaf.certificate_pem)
        (directory / f"{name}-key.cert").write_bytes(leaf.key_pem)
