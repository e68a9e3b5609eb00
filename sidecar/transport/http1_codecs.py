"""Which HTTP/1 implementation speaks: httptools, or h11 by the runtime key `sidecar.http1_codec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from protocols.http.codec import Codec, CodecSettings, CodecSink

NewCodec: TypeAlias = Callable[[CodecSink, CodecSettings], Codec]

#: The runtime key, and what it may say.
HTTP1_CODEC_KEY: Final = "sidecar.http1_codec"
HTTPTOOLS: Final = "httptools"
H11: Final = "h11"


class Http1Codecs(NamedTuple):
    """Both roles of one implementation."""

    server: NewCodec
    client: NewCodec


def http1_codecs(runtime: Mapping[str, object]) -> Http1Codecs:
    """The implementation that `runtime` names; h11 also where httptools is not installed."""
    if runtime.get(HTTP1_CODEC_KEY, HTTPTOOLS) != H11:
        try:
            from protocols.http import h1_httptools
        except ImportError:
            pass
        else:
            return Http1Codecs(h1_httptools.server_codec, h1_httptools.client_codec)
    from protocols.http import h1_h11  # only one of the two libraries is loaded

    return Http1Codecs(h1_h11.server_codec, h1_h11.client_codec)
