"""Every case of the HTTP/2 corpus through a real proxy process."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.corpora.differences import HTTP2_DIFFERENCES, HTTP2_ENVOY_BY_TIMING
from tests.corpora.http2_judge import verdict
from tests.corpora.http2_runner import Http2CorpusRun, load
from tests.corpora.lanes import Result
from tests.support.envoy import require_envoy
from tests.support.process import ProxyCommand, sidecar_command

_CASES = {case["id"]: case for case in load()}
_MINIMUM_PARITY = 0.9

Results = Mapping[str, Result]


def _play(command: ProxyCommand, factory: pytest.TempPathFactory) -> Results:
    with Http2CorpusRun(command, factory.mktemp("corpus")) as run:
        results = run.play(list(_CASES.values()))
        assert run.proxy.returncode is None, run.proxy.log_text()[-4000:]
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What became of every case."""
    return _play(sidecar_command(), tmp_path_factory)


@pytest.mark.parametrize("case_id", _CASES)
def test_case_passes(results: Results, case_id: str) -> None:
    case = _CASES[case_id]
    assert results[case_id].problems == (), f"{case['name']} (RFC {case['rfc']}); {case.get('note', '')}"


def _pairs(results: Results) -> dict[str, tuple[str, str]]:
    """The outcome and the recorded one of every case that does not depend on timing."""
    return {
        case_id: (results[case_id].outcome, case["envoy"]["outcome"])
        for case_id, case in _CASES.items()
        if not case.get("varies")
    }


def test_parity_with_the_recorded_outcomes_of_envoy(results: Results) -> None:
    pairs = _pairs(results)
    different = {case_id: pair for case_id, pair in pairs.items() if verdict(pair[0]) != verdict(pair[1])}
    assert 1 - len(different) / len(pairs) >= _MINIMUM_PARITY, different
    assert set(different) == set(HTTP2_DIFFERENCES), {
        "without a reason": {key: pair for key, pair in different.items() if key not in HTTP2_DIFFERENCES},
        "no longer different": sorted(set(HTTP2_DIFFERENCES) - set(different)),
    }


@pytest.fixture(scope="module")
def envoy_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return _play(require_envoy(), tmp_path_factory)


def test_the_real_envoy_gets_its_recorded_outcomes(envoy_results: Results) -> None:
    """Judges the judge: what was recorded from Envoy is what this runner sees of Envoy."""
    different = {key: pair for key, pair in _pairs(envoy_results).items() if pair[0] != pair[1]}
    assert {key: pair for key, pair in different.items() if key not in HTTP2_ENVOY_BY_TIMING} == {}


def test_the_real_envoy_fails_only_where_it_is_too_lax(envoy_results: Results) -> None:
    failed = {
        case_id: result.problems
        for case_id, result in envoy_results.items()
        if result.problems and case_id not in HTTP2_ENVOY_BY_TIMING
    }
    assert set(failed) == {case_id for case_id, case in _CASES.items() if case.get("reference_deviates")}, (
        failed
    )
