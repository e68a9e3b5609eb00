"""What the tests of the gaps share: the name of the rule, a stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.gaps.stage import GapStage


@pytest.fixture(autouse=True)
def rule(request: pytest.FixtureRequest) -> str:
    """The rule that a test is about (see `stage.rule`)."""
    return str(getattr(request, "param", ""))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GapStage]:
    created = GapStage(tmp_path)
    yield created
    created.close()
