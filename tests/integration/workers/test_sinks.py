"""Statistics of several workers that are sent: counters once, levels of all."""

from __future__ import annotations

import socket
import time

from tests.integration.workers.conftest import Fleet

SINK = "envoy.stat_sinks.statsd"


def test_statsd_gets_the_sum(fleet: Fleet) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.2)
        fleet.bootstrap_fields = {
            "stats_flush_interval": "0.5s",
            "stats_sinks": [
                {
                    "name": SINK,
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
                        "address": {
                            "socket_address": {
                                "protocol": "UDP",
                                "address": "127.0.0.1",
                                "port_value": receiver.getsockname()[1],
                            }
                        },
                    },
                }
            ],
        }
        proxy = fleet.start()
        with fleet.connect_to(0), fleet.connect_to(1):
            requests = proxy.stat("http.http.downstream_rq_total")
            counted, level, timers = 0, "", 0
            deadline = time.monotonic() + 20
            while (counted, level, timers) != (requests, "2", requests) and time.monotonic() < deadline:
                try:
                    name, _, value = receiver.recv(4000).decode().partition(":")
                except TimeoutError:
                    continue
                if name == "envoy.http.http.downstream_rq_total":
                    counted += int(value.partition("|")[0])
                elif name == "envoy.http.http.downstream_cx_active":
                    level = value.partition("|")[0]
                elif name == "envoy.http.http.downstream_rq_time":
                    timers += 1
            assert (counted, level, timers) == (requests, "2", requests)
