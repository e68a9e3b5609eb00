"""Plays the cases of a corpus through one proxy process.

Each lane is a listener, a cluster and a backend of its own, so that cases of different lanes cannot touch each other:
within a lane they run one at a time, and a clean request on a new connection follows each.
"""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.support.backends import HttpBackend, LoopThread, RecordedRequest, Script, Send, ok_response
from tests.support.bootstraps import (
    Json,
    bootstrap,
    cluster,
    http_filter_chain,
    listener,
    route_config,
    route_to,
)
from tests.support.http_client import Response
from tests.support.ports import free_ports
from tests.support.process import Proxy, ProxyCommand, start_proxy

CANARY = "/canary/"
"""The targets of clean requests begin with this."""


@dataclass(frozen=True)
class Result:
    """The outcome of one case and what is wrong with it."""

    outcome: str
    problems: tuple[str, ...]


class Lane(ABC):
    """One path through the proxy, for one case at a time."""

    def __init__(self, number: int, port: int, loop: LoopThread) -> None:
        self.number = number
        self.address = ("127.0.0.1", port)
        self.backend = HttpBackend(loop).start()
        self.backend.answer = answer
        self._canaries = 0

    def listener(self, first_routes: Sequence[Json], manager: Mapping[str, Any]) -> Json:
        chain = http_filter_chain(
            route_config(*first_routes, route_to(f"lane-{self.number}")),
            stat_prefix=f"lane_{self.number}",
            **manager,
        )
        return listener(f"lane-{self.number}", self.address[1], chain)

    def cluster(self) -> Json:
        return cluster(f"lane-{self.number}", self.backend.address)

    @abstractmethod
    def play(self, case: Json) -> Result:
        """Run one case and its canary."""

    @abstractmethod
    def clean_request(self, target: str) -> Response:
        """The answer to a GET on a new connection. Raises what `canary_errors` lists when there is none."""

    canary_errors: ClassVar[tuple[type[Exception], ...]]

    def canary(self) -> str | None:
        """What is wrong with the answer to a clean request; None when it is the right one."""
        self._canaries += 1
        target = f"{CANARY}{self.number}/{self._canaries}"
        try:
            response = self.clean_request(target)
        except self.canary_errors as error:
            return f"{type(error).__name__}: {error}"
        if response.header("x-poison") is not None:
            return "x-poison reached the client"
        if response.status != 200 or response.body != target.encode():
            return f"status {response.status}, body {response.body[:100]!r}"
        return None


class LanesRun:
    """A proxy with several lanes of one kind. Use as a context manager."""

    lane_type: ClassVar[type[Lane]]
    lane_count: ClassVar[int]

    def __init__(
        self,
        command: ProxyCommand,
        directory: Path,
        *,
        runtime: Mapping[str, Any] | None = None,
        first_routes: Sequence[Json] = (),
        manager: Mapping[str, Any] | None = None,
    ) -> None:
        self._loop = LoopThread()
        admin_port, *ports = free_ports(self.lane_count + 1)
        self._lanes = [self.lane_type(number, port, self._loop) for number, port in enumerate(ports)]
        text = bootstrap(
            admin_port,
            [lane.listener(first_routes, manager or {}) for lane in self._lanes],
            [lane.cluster() for lane in self._lanes],
            runtime=runtime,
        )
        try:
            self.proxy: Proxy = start_proxy(command, text, directory, admin_port, name="corpus")
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.terminate()
        self._close()

    def _close(self) -> None:
        for lane in self._lanes:
            lane.backend.stop()
        self._loop.close()

    def play(self, cases: Sequence[Json]) -> dict[str, Result]:
        """The result of every case by its id."""
        waiting: queue.SimpleQueue[Json] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        results: dict[str, Result] = {}

        def work(lane: Lane) -> None:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    results[case["id"]] = lane.play(case)
                except OSError as error:
                    results[case["id"]] = Result("error", (f"{type(error).__name__}: {error}",))

        threads = [threading.Thread(target=work, args=(lane,)) for lane in self._lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def answer(request: RecordedRequest) -> Script:
    """The backend's 200: a clean request gets its own target back."""
    body = request.target.encode("latin-1") if request.target.startswith(CANARY) else b"hello\n"
    if request.method == "HEAD":
        body = b""
    return [Send(ok_response(body, [("x-backend", "1")]))]
