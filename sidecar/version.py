"""What this program calls itself."""

from __future__ import annotations

from importlib import metadata, util
from typing import Final


def _installed() -> str:
    try:
        return metadata.version("sidecar-proxy")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0.0.0"


VERSION: Final = _installed()

#: Whether the hot path runs as compiled modules (setup.py) or as the Python that they are made of.
NATIVE: Final = util.find_spec("sidecar.native__mypyc") is not None

#: The API version line of Envoy that is implemented, where programs parse `REVISION/VERSION/STATUS/BUILD/SSL`.
ENVOY_VERSION: Final = "1.40.0"
VERSION_LINE: Final = f"sidecar-{VERSION}{'+native' if NATIVE else ''}/{ENVOY_VERSION}/Clean/RELEASE/OpenSSL"
