"""The tokens are what others spell."""

from __future__ import annotations

from alpn import names


def test_the_five_mesh_tokens() -> None:
    assert set(names.ISTIO_MTLS) == {
        "istio",
        "istio-peer-exchange",
        "istio-http/1.0",
        "istio-http/1.1",
        "istio-h2",
    }
    assert set(names.ISTIO_MTLS) == set(names.ISTIO_TCP) | set(names.ISTIO_HTTP)


def test_plaintext_names() -> None:
    assert names.PLAINTEXT_HTTP == ("http/1.0", "http/1.1", "h2c")
