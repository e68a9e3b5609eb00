"""Every request and response of the HTTP/1 corpus through a real proxy process, over both codecs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.corpora.differences import DIFFERENCES
from tests.corpora.lanes import Result
from tests.corpora.runner import CorpusRun, load
from tests.support.bootstraps import Json
from tests.support.envoy import require_envoy
from tests.support.process import ProxyCommand, sidecar_command

_REQUESTS, _RESPONSES = load()
_CASES = {case["id"]: case for case in [*_REQUESTS, *_RESPONSES]}
_AUTHZ_PROBES = [case["id"] for case in _REQUESTS if case.get("authz_probe")]
_MINIMUM_PARITY = 0.95

Results = Mapping[str, Result]

_MESH_MANAGER: Json = {
    "normalize_path": True,
    "upgrade_configs": [{"upgrade_type": "websocket"}],
    "forward_client_cert_details": "APPEND_FORWARD",
    "stream_idle_timeout": "0s",
    "proxy_100_continue": True,
}
_DENY_ADMIN: Json = {"match": {"prefix": "/admin"}, "direct_response": {"status": 403}}


@pytest.fixture(scope="module", params=["httptools", "h11"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What became of every case, over one codec."""
    directory = tmp_path_factory.mktemp("corpus")
    runtime = {"sidecar.http1_codec": request.param}
    with CorpusRun(sidecar_command(), directory, runtime=runtime) as run:
        outcome = run.play(list(_CASES.values()))
        assert run.proxy.returncode is None, run.proxy.log_text()[-4000:]
    return outcome


@pytest.mark.parametrize("case_id", _CASES)
def test_case_passes(results: Results, case_id: str) -> None:
    case = _CASES[case_id]
    assert results[case_id].problems == (), f"{case['name']} (RFC {case['rfc']}); {case.get('note', '')}"


def _parity(results: Results) -> tuple[float, set[str]]:
    judged = [case_id for case_id, case in _CASES.items() if not case.get("varies")]
    different = {
        case_id for case_id in judged if results[case_id].outcome != _CASES[case_id]["envoy"]["outcome"]
    }
    return 1 - len(different) / len(judged), different


def test_parity_with_the_recorded_outcomes_of_envoy(results: Results) -> None:
    parity, different = _parity(results)
    detail = {
        case_id: (results[case_id].outcome[:80], _CASES[case_id]["envoy"]["outcome"][:80])
        for case_id in different
    }
    assert parity >= _MINIMUM_PARITY, detail
    assert different == set(DIFFERENCES), {
        "without a reason": {case_id: detail[case_id] for case_id in different - set(DIFFERENCES)},
        "no longer different": sorted(set(DIFFERENCES) - different),
    }


def _play_probes(command: ProxyCommand, directory: Path) -> dict[str, str]:
    with CorpusRun(command, directory, first_routes=[_DENY_ADMIN], manager=_MESH_MANAGER) as run:
        played = run.play([_CASES[case_id] for case_id in _AUTHZ_PROBES])
    return {case_id: result.outcome for case_id, result in played.items()}


def _recorded_probes() -> dict[str, str]:
    return {case_id: _CASES[case_id]["envoy_mesh"]["outcome"] for case_id in _AUTHZ_PROBES}


def test_a_rule_that_denies_admin_is_not_bypassed(tmp_path: Path) -> None:
    """The same spellings of /admin are denied as Envoy denies with Istio's settings, no fewer and no more."""
    assert _play_probes(sidecar_command(), tmp_path) == _recorded_probes()


@pytest.fixture(scope="module")
def envoy_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    with CorpusRun(require_envoy(), tmp_path_factory.mktemp("corpus-envoy")) as run:
        return run.play(list(_CASES.values()))


def test_the_real_envoy_gets_its_recorded_outcomes(envoy_results: Results) -> None:
    """Judges the judge: what was recorded from Envoy is what this runner sees of Envoy."""
    _, different = _parity(envoy_results)
    assert different == set()
    failed = {case_id for case_id, result in envoy_results.items() if result.problems}
    assert failed == {case_id for case_id, case in _CASES.items() if case.get("reference_deviates")}


def test_the_real_envoy_denies_the_recorded_spellings_of_admin(tmp_path: Path) -> None:
    assert _play_probes(require_envoy(), tmp_path) == _recorded_probes()
