"""Which scenarios pass, and what the others wait for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"

PASSING = (
    "basic-http",
    "basic-http-tls",
    "basic-tcp",
    "mx-http-headers",
    "mx-http-native",
    "stats-403",
    "stats-customized",
    "stats-default",
    "stats-ecds",
    "stats-grpc",
    "stats-grpc-stream",
    "stats-use-host-header",
    "tcp-mx",
    "tcp-mx-additional-labels",
    "tcp-mx-no-alpn",
    "tcp-mx-peer-not-found",
    "tcp-active-connection",
)
"""Must pass, in the static variant."""

_XDS = "needs the control plane: there is no static variant"
_HBONE = "needs HBONE: internal listeners at both ends of a tunnel"

AWAITED = {
    "connect-basic": _HBONE,
    "stats-parallel-default": _XDS,
    "stats-config-update": _XDS,
    "waypoint-http": _XDS,
    "waypoint-connect-full": _XDS,
    "waypoint-connect-tcp": _XDS,
    "waypoint-baggage": _HBONE,
}
"""Not run by the tests, with the reason."""

WITH_ENVOY = ("basic-tcp", "basic-http", "basic-http-tls")
"""What a stock Envoy, which lacks Istio's extensions, can run: the check of the runner itself."""

TRAFFIC_WITH_ENVOY = (
    "stats-default",
    "stats-customized",
    "stats-use-host-header",
    "stats-grpc",
    "stats-grpc-stream",
    "stats-403",
    "stats-ecds",
)
"""What it can run without Istio's filters: everything but the metrics."""


class ScenarioFailure(AssertionError):
    """A step did not do what the manifest says."""


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
