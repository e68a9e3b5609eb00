"""Recorded behaviour: inputs and expected outputs, as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def load_vectors(name: str) -> Any:
    """The contents of one file of this directory."""
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
