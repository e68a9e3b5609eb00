"""Which scenarios pass, and what the others wait for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"

PASSING = (
    "basic-tcp",
    "mx-http-headers",
    "mx-http-native",
    "tcp-mx",
    "tcp-mx-no-alpn",
    "tcp-mx-peer-not-found",
    "tcp-active-connection",
)
"""Must pass, in the static variant."""

_HTTP2 = "needs HTTP/2"
_XDS = "needs the control plane: there is no static variant"
_HBONE = "needs HBONE tunnels over HTTP/2"

AWAITED = {
    "basic-http": _HTTP2,
    "basic-http-tls": _HTTP2,
    "connect-basic": _HBONE,
    "stats-default": _HTTP2,
    "stats-customized": _HTTP2,
    "stats-use-host-header": _HTTP2,
    "stats-parallel-default": _XDS,
    "stats-grpc": _HTTP2,
    "stats-grpc-stream": _HTTP2,
    "stats-config-update": _XDS,
    "stats-403": _HTTP2,
    "stats-ecds": _HTTP2,
    "waypoint-http": _XDS,
    "waypoint-connect-full": _XDS,
    "waypoint-connect-tcp": _XDS,
    "waypoint-baggage": _HBONE,
    "tcp-mx-additional-labels": "needs CEL",
}
"""Not run by the tests, with the reason."""

WITH_ENVOY = ("basic-tcp", "basic-http", "basic-http-tls")
"""What a stock Envoy, which lacks Istio's extensions, can run: the check of the runner itself."""


@dataclass(frozen=True)
class Scenario:
    """One scenario; `manifest` is as in the file, with its placeholders."""

    name: str
    directory: Path
    manifest: dict[str, Any]

    @property
    def is_static(self) -> bool:
        return "static" in self.manifest["variants"]


def index() -> list[str]:
    """The names of all scenarios."""
    entries = yaml.safe_load((DATA / "index.yaml").read_text(encoding="utf-8"))["scenarios"]
    return [entry["name"] for entry in entries]


def load(name: str) -> Scenario:
    directory = DATA / "scenarios" / name
    manifest = yaml.safe_load((directory / "manifest.yaml").read_text(encoding="utf-8"))
    return Scenario(name, directory, manifest)
