"""A running proxy forgets Istio's series that nobody uses, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.interop.stage import Stage
from tests.support.bootstraps import cluster, route_to
from tests.support.http_client import get
from tests.support.istio_config import istio_stats_filter, node
from tests.support.process import wait_until


@pytest.mark.parametrize(
    ("options", "more", "filter_fields"),
    [
        ({"series_expiry": "2s"}, {}, {}),
        ({}, {"stats_flush_interval": "1s", "stats_eviction_interval": "2s"}, {}),
        (
            {"series_expiry": "0s"},
            {},
            {"rotation_interval": "3s", "graceful_deletion_interval": "1s"},
        ),
    ],
    ids=["default policy", "eviction interval", "rotation"],
)
def test_series_that_nobody_uses_go_away(
    tmp_path: Path, options: dict[str, str], more: dict[str, str], filter_fields: dict[str, str]
) -> None:
    stage = Stage(tmp_path)
    own = node("server")
    own["metadata"]["SIDECAR_TELEMETRY"] = json.dumps(options)
    try:
        proxy = stage.start(
            [stage.http_listener(route_to("app"), http_filters=[istio_stats_filter(**filter_fields)])],
            [cluster("app", stage.http_backend().address)],
            node=own,
            **more,
        )

        def requests() -> int:
            page = proxy.admin("/stats/prometheus?filter=istio_requests_total")
            return sum(int(line.rpartition(" ")[2]) for line in page.splitlines() if not line.startswith("#"))

        assert get(stage.address, "/").status == 200
        wait_until(lambda: requests() == 1, timeout_s=5, what="the request is counted")
        wait_until(lambda: requests() == 0, timeout_s=20, what="the series is gone")
        assert "istio_build{" in proxy.prometheus()
        assert proxy.stat("http.http.downstream_rq_total") == 1
        assert get(stage.address, "/").status == 200
        wait_until(lambda: requests() == 1, timeout_s=5, what="the series begins anew")
    finally:
        stage.close()
