"""Every small bootstrap in `verdicts` gets Envoy's verdict, or a known other one, and exactly these messages."""

from __future__ import annotations

import pytest

from tests.unit.config.bootstraps import problems
from tests.unit.config.verdicts import bootstrap, clusters, http, listeners, reading, tls
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    *reading.CASES,
    *bootstrap.CASES,
    *clusters.CASES,
    *listeners.CASES,
    *http.CASES,
    *tls.CASES,
]


def test_cases_have_names_of_their_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reports_exactly_the_problems(case: Case) -> None:
    assert problems(case.text) == case.problems


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_agrees_with_envoy_unless_it_says_why_not(case: Case) -> None:
    accepted = case.envoy is Verdict.ACCEPTS
    assert (not case.problems) == (accepted if not case.differs else not accepted)
