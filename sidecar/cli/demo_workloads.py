"""The two workloads of the demo: small real servers, and the workload files of their sidecars."""

from __future__ import annotations

import http.client
import json
import socket
import socketserver
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import yaml

MOVIES: Final = [{"id": 1, "title": "Arrival"}, {"id": 2, "title": "Moon"}, {"id": 3, "title": "Solaris"}]
MOVIES_HOST: Final = "movies.default.svc.cluster.local"
CATALOG_HOST: Final = "catalog.default.svc.cluster.local"
MOVIES_ID: Final = "spiffe://cluster.local/ns/default/sa/movies"
CATALOG_ID: Final = "spiffe://cluster.local/ns/default/sa/catalog"

#: One line for each request or connection, for the report: who spoke, which ALPN, which peer.
ACCESS_LOG_FORMAT: Final = (
    "%PROTOCOL% code=%RESPONSE_CODE% flags=%RESPONSE_FLAGS% "
    "in_alpn=%DOWNSTREAM_ALPN% out_alpn=%UPSTREAM_ALPN% "
    "tls=%DOWNSTREAM_TLS_VERSION% client=%DOWNSTREAM_PEER_URI_SAN% server=%UPSTREAM_PEER_URI_SAN% "
    "downstream_peer=%FILTER_STATE(downstream_peer:PLAIN)% upstream_peer=%FILTER_STATE(upstream_peer:PLAIN)%"
)
