"""An HTTP floor that traces, and its collectors: what they are sent, read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from config.model.cluster import ClusterSpec
from config.model.core import TrafficDirection
from config.model.route import RouteSpec
from config.model.services import HttpServiceSpec
from config.model.tracing import Sampling, TracerSpec, TracingSpec, ZipkinSpec
from tests.support.http_floor import Client, HttpFloor, request, response, route
from tests.support.upstream import static_spec

ZIPKIN = ZipkinSpec(HttpServiceSpec("zipkin", "zipkin:9411", "/api/v2/spans", 5.0), trace_id_128bit=True)


class TracedFloor:
    """`told` are the fields of the last request that the server got; `spans` all that Zipkin was told."""

    def __init__(
        self,
        provider: TracerSpec | None = ZIPKIN,
        *,
        routes: Sequence[RouteSpec] = (),
        direction: TrafficDirection = TrafficDirection.INBOUND,
        sampling: Sampling | None = None,
        manager: dict[str, Any] | None = None,
        runtime: dict[str, object] | None = None,
        web: ClusterSpec | None = None,
        **tracing: Any,
    ) -> None:
        spec = TracingSpec(provider=provider, sampling=sampling or Sampling(), **tracing)
        self.floor = HttpFloor(
            list(routes) or [route("/", "web")],
            clusters=(web or static_spec("web"), static_spec("zipkin")),
            direction=direction,
            tracing=spec,
            runtime={"tracing.zipkin.min_flush_spans": 1, **(runtime or {})},
            **(manager or {}),
        )
        self.told: dict[str, str] = {}
        self._accepted = 0  # connections of the collector

    def get(self, *fields: str, path: str = "/", answer: bytes | None = None) -> tuple[Client, bytes]:
        """One request, answered by the server (by default 200); the client and what it got."""
        client = self.floor.connect()
        client.send(request("GET", path, *fields))
        server = self.floor.server()
        lines = server.take().decode().split("\r\n\r\n")[0].split("\r\n")[1:]
        self.told = dict(line.split(": ", 1) for line in lines)
        server.send(answer or response(200, body=b"hello"))
        server.end()
        return client, client.take()

    def stat(self, name: str) -> int:
        return self.floor.stat(f"tracing.{name}")

    @property
    def spans(self) -> list[dict[str, Any]]:
        """Those that were sent since the last time; each export is answered."""
        found: list[dict[str, Any]] = []
        peers = self.floor.fakes["zipkin"].peers
        while True:
            self.floor.loop.turn()
            for peer in peers[self._accepted :]:
                peer.accept()
            self._accepted = len(peers)
            exports = [(peer, data) for peer in peers if (data := peer.transport.take())]
            if not exports:
                return found
            for peer, data in exports:
                found += json.loads(data.partition(b"\r\n\r\n")[2])
                peer.send(response(202))
