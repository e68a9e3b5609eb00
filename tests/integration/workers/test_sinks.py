"""Statistics of several workers that are sent: counters once, levels of all."""

from __future__ import annotations

from tests.integration.workers.conftest import Fleet
from tests.support.process import wait_until
from tests.support.statsd import StatsdReceiver

SINK = "envoy.stat_sinks.statsd"


def test_statsd_gets_the_sum(fleet: Fleet) -> None:
    receiver = StatsdReceiver()
    try:
        fleet.bootstrap_fields = {
            "stats_flush_interval": "0.5s",
            "stats_sinks": [
                {
                    "name": SINK,
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
                        "address": receiver.address,
                    },
                }
            ],
        }
        proxy = fleet.start()
        with fleet.connect_to(0), fleet.connect_to(1):
            requests = proxy.stat("http.http.downstream_rq_total")
            wait_until(
                lambda: _told(receiver) == (requests, "2", requests),
                timeout_s=20,
                what=f"{requests} requests, two connections, as many times",
            )
    finally:
        receiver.close()


def _told(receiver: StatsdReceiver) -> tuple[int, str, int]:
    """The sum of all requests, how many connections there were at last, and how many times were sent."""
    counted, level, timers = 0, "", 0
    for line in receiver.lines():
        name, _, value = line.partition(":")
        if name == "envoy.http.http.downstream_rq_total":
            counted += int(value.partition("|")[0])
        elif name == "envoy.http.http.downstream_cx_active":
            level = value.partition("|")[0]
        elif name == "envoy.http.http.downstream_rq_time":
            timers += 1
    return counted, level, timers
