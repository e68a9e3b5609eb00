"""The scenarios, in their static variant, with real proxy processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.runner import ScenarioRun, run_scenario
from tests.conformance.scenarios import (
    AWAITED,
    PASSING,
    TRAFFIC_WITH_ENVOY,
    WITH_ENVOY,
    ScenarioFailure,
    index,
    load,
)
from tests.conformance.stripped import without_istio
from tests.support.envoy import require_envoy
from tests.support.process import sidecar_command


@pytest.mark.parametrize("name", PASSING)
def test_scenario_passes(name: str, tmp_path: Path) -> None:
    run_scenario(name, sidecar_command(), tmp_path)


@pytest.mark.parametrize("name", WITH_ENVOY)
def test_runner_passes_the_real_envoy(name: str, tmp_path: Path) -> None:
    run_scenario(name, require_envoy(), tmp_path)


@pytest.mark.parametrize("name", TRAFFIC_WITH_ENVOY)
def test_runner_passes_the_traffic_through_the_real_envoy(name: str, tmp_path: Path) -> None:
    with ScenarioRun(without_istio(load(name), tmp_path), require_envoy(), tmp_path) as run:
        run.run()


def test_runner_fails_a_proxy_without_the_metrics(tmp_path: Path) -> None:
    """Envoy without Istio's filters answers the requests of this scenario but adds no headers."""
    with pytest.raises(ScenarioFailure, match=r"x-envoy-peer-metadata-id|ended with"):
        run_scenario("mx-http-headers", require_envoy(), tmp_path)


def test_every_scenario_passes_or_has_a_reason() -> None:
    assert sorted([*PASSING, *AWAITED]) == sorted(index())
    assert all(AWAITED.values())
