"""Configurations go to workers in pickles: whatever can be configured comes out as it went in."""

from __future__ import annotations

import pickle

import pytest

from tests.unit.config.bootstraps import parse
from tests.unit.config.test_verdicts import CASES

ACCEPTED = [case for case in CASES if not case.problems]


@pytest.mark.parametrize("text", [case.text for case in ACCEPTED], ids=[case.name for case in ACCEPTED])
def test_what_is_accepted(text: str) -> None:
    bootstrap = parse(text).bootstrap
    assert pickle.loads(pickle.dumps(bootstrap, pickle.HIGHEST_PROTOCOL)) == bootstrap
