"""From the configuration to the numbers of the codec."""

from __future__ import annotations

import dataclasses

from config.model.http2 import Http2Options
from protocols.http.codec import Http2Settings
from sidecar.transport.http2_settings import http2_settings


def test_defaults_agree() -> None:
    assert http2_settings(Http2Options()) == Http2Settings()


def test_every_number_is_taken_over() -> None:
    options = Http2Options(1, 2, 3, 4, True, True, 5, 6, 7, 8, 9, ((10, 11),))
    settings = http2_settings(options)
    assert dataclasses.astuple(settings) == (1, 2, 3, 4, True, True, ((10, 11),), 5, 6, 7, 8, 9)
