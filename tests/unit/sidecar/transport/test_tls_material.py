"""Reading certificates, keys and bundles; the rest is tested through the contexts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.model.core import DataSource
from config.model.tls import CertificateValidation, CommonTlsContext, Secret, TlsCertificate
from sidecar.transport.tls_material import (
    TlsConfigError,
    file_signature,
    load_material,
    memory_file,
    pem_blocks,
    resolve_certificates,
    resolve_validation,
    watched_files,
)
from tests.support.certificates import Authority, spiffe

MESH = Authority()
LEAF = MESH.issue([spiffe("a")])


def test_a_memory_file_reads_as_its_data_and_goes_away() -> None:
    data = b"secret" * 100000
    with memory_file(data) as path:
        assert Path(path).read_bytes() == data
        assert Path(path).read_bytes() == data
    assert not os.path.exists(path)


def test_signatures_see_replacement_rewriting_and_absence(tmp_path: Path) -> None:
    file = tmp_path / "a"
    paths = (str(file), "\0")
    absent = file_signature(paths)
    assert absent == (None, None)
    file.write_bytes(b"one")
    first = file_signature(paths)
    other = tmp_path / "b"
    other.write_bytes(b"one")
    os.replace(other, file)
    second = file_signature(paths)
    file.write_bytes(b"three")
    assert len({absent, first, second, file_signature(paths)}) == 4


def test_a_swapped_link_is_seen(tmp_path: Path) -> None:
    """As Kubernetes replaces the files of a secret."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cert.pem").write_bytes(b"x")
    link = tmp_path / "current"
    link.symlink_to("v1")
    before = file_signature((str(link / "cert.pem"),))
    new = tmp_path / "new"
    new.symlink_to("v2")
    os.replace(new, link)
    assert file_signature((str(link / "cert.pem"),)) != before


def test_text_around_pem_blocks_does_not_matter() -> None:
    data = (
        b"# a root\xc3\xa9\r\n"
        + MESH.certificate_pem.replace(b"\n", b"\r\n")
        + b"rest"
        + LEAF.certificate_pem
    )
    assert len(pem_blocks(data, b"CERTIFICATE")) == 2
    assert pem_blocks(data, b"X509 CRL") == []


def test_files_environment_and_inline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LEAF.write(tmp_path, "leaf")
    monkeypatch.setenv("TEST_KEY", files.key.read_text())
    common = CommonTlsContext(
        certificates=(
            TlsCertificate(
                DataSource(filename=str(files.certificate)), DataSource(environment_variable="TEST_KEY")
            ),
        ),
        validation=CertificateValidation(trusted_ca=DataSource(inline=MESH.certificate_pem)),
    )
    material = load_material(common, {}, now_s=0.0)
    assert material.identities[0].source == str(files.certificate)
    assert material.identities[0].key_source == "environment variable TEST_KEY"
    assert material.trust is not None
    assert material.trust.source == "<inline>"
    assert watched_files(common, {}) == (str(files.certificate),)
    with pytest.raises(TlsConfigError, match="expired on"):
        load_material(common, {}, now_s=4e9)


def test_a_directory_is_no_certificate(tmp_path: Path) -> None:
    certificate = TlsCertificate(DataSource(filename=str(tmp_path)), DataSource(inline=b""))
    with pytest.raises(TlsConfigError, match=f"cannot read {tmp_path}: Is a directory"):
        load_material(CommonTlsContext(certificates=(certificate,)), {}, now_s=0.0)


def test_secrets_win_over_fields_and_join_lists() -> None:
    mine = TlsCertificate(DataSource(inline=b"1"), DataSource(inline=b"2"))
    secret = Secret("s", tls_certificate=mine)
    base = CertificateValidation(trusted_ca=DataSource(inline=b"a"), verify_certificate_hash=("x",))
    over = CertificateValidation(verify_certificate_hash=("y",), crl=DataSource(inline=b"c"))
    common = CommonTlsContext(certificate_secret="s", validation=base, validation_secret="v")
    secrets = {"s": secret, "v": Secret("v", validation=over)}
    assert resolve_certificates(common, secrets) == (mine,)
    merged = resolve_validation(common, secrets)
    assert merged.trusted_ca == DataSource(inline=b"a")
    assert merged.verify_certificate_hash == ("x", "y")
    assert merged.crl == DataSource(inline=b"c")
    assert resolve_validation(CommonTlsContext(), {}) == CertificateValidation()
