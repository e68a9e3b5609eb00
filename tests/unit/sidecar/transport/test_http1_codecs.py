"""Which HTTP/1 implementation speaks."""

from __future__ import annotations

import pytest

from protocols.http import h1_h11, h1_httptools
from sidecar.transport.http1_codecs import http1_codecs


@pytest.mark.parametrize(
    "runtime", [{}, {"sidecar.http1_codec": "httptools"}, {"sidecar.http1_codec": "other"}]
)
def test_httptools_unless_told_otherwise(runtime: dict[str, object]) -> None:
    assert http1_codecs(runtime) == (h1_httptools.server_codec, h1_httptools.client_codec)


def test_h11_by_the_runtime_key() -> None:
    assert http1_codecs({"sidecar.http1_codec": "h11"}) == (h1_h11.server_codec, h1_h11.client_codec)
