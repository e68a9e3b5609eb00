"""What this program calls itself."""

from __future__ import annotations

from importlib import util
from typing import Final

#: The one place that says it: packages are built with it, too (pyproject.toml). Asking the installed package takes 11 ms.
VERSION: Final = "0.1.0"

#: Whether the hot path runs as compiled modules (setup.py) or as the Python that they are made of.
NATIVE: Final = util.find_spec("sidecar.native__mypyc") is not None

#: The API version line of Envoy that is implemented, where programs parse `REVISION/VERSION/STATUS/BUILD/SSL`.
ENVOY_VERSION: Final = "1.40.0"
VERSION_LINE: Final = f"sidecar-{VERSION}{'+native' if NATIVE else ''}/{ENVOY_VERSION}/Clean/RELEASE/OpenSSL"
