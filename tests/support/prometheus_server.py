"""A real Prometheus server that scrapes what a test runs, and its query API."""

from __future__ import annotations

import json
import math
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.envoy import require_program
from tests.support.http_client import get
from tests.support.ports import free_port
from tests.support.process import ChildProcess, wait_until

_START_S = 20.0


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


class PrometheusServer:
    """A running server with its own data directory. `config` is its configuration file, or what is to stand in it."""

    def __init__(self, config: Mapping[str, Any] | Path, directory: Path, *, port: int | None = None) -> None:
        program = require_program("prometheus", "prometheus")
        self.port = port or free_port()
        home = directory / f"prometheus-{self.port}"
        home.mkdir()
        if isinstance(config, Path):
            file = config
        else:
            file = home / "prometheus.yml"
            file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        self._process = ChildProcess(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={home / 'data'}",
                f"--web.listen-address={self.address[0]}:{self.port}",
                "--log.level=warn",
            ],
            home / "prometheus.log",
        )
        try:
            wait_until(self._ready, timeout_s=_START_S, what="Prometheus ready")
        except BaseException:
            self._process.kill()
            raise

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def target(self) -> str:
        """Its address as another server's configuration names it."""
        return f"127.0.0.1:{self.port}"

    def _ready(self) -> bool:
        if self._process.returncode is not None:
            raise RuntimeError(f"Prometheus has ended:\n{self._process.log_text()[-4000:]}")
        try:
            return get(self.address, "/-/ready", timeout_s=2.0).status == 200
        except OSError:
            return False

    def query(self, expression: str) -> list[QueryResult]:
        """An instant query whose result is a vector or scalar. Raises AssertionError when the server refuses it."""
        target = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        response = get(self.address, target)
        answer = json.loads(response.body)
        assert response.status == 200 and answer["status"] == "success", f"{expression}: {answer}"
        data = answer["data"]
        if data["resultType"] == "scalar":
            return [QueryResult({}, float(data["result"][1]))]
        assert data["resultType"] == "vector", f"{expression}: a {data['resultType']}"
        return [QueryResult(each["metric"], float(each["value"][1])) for each in data["result"]]

    def wait_for(
        self,
        expression: str,
        *,
        timeout_s: float = 20.0,
        until: Callable[[Sequence[QueryResult]], bool] | None = None,
    ) -> list[QueryResult]:
        """The result of a query, once it has a number (or once `until` says so). Raises TimeoutError."""
        enough = until if until is not None else has_number

        def ask() -> list[QueryResult] | None:
            found = self.query(expression)
            return found if enough(found) else None

        return wait_until(ask, timeout_s=timeout_s, what=expression, interval_s=0.1)

    def targets_up(self, count: int, *, timeout_s: float = 20.0) -> None:
        """Until so many targets were scraped well. Raises TimeoutError with what is wrong with the others."""

        def up() -> bool:
            return sum(each.value for each in self.query("up")) == count

        try:
            wait_until(up, timeout_s=timeout_s, what=f"{count} targets scraped", interval_s=0.1)
        except TimeoutError as error:
            answer = json.loads(get(self.address, "/api/v1/targets").body)
            problems = [
                f"{each['scrapeUrl']}: {each['lastError']}" for each in answer["data"]["activeTargets"]
            ]
            raise TimeoutError(f"{error}: {problems}") from None

    def close(self) -> None:
        self._process.terminate()


def has_number(results: Iterable[QueryResult]) -> bool:
    """Whether one of the values is a number: what a panel can draw."""
    return any(not math.isnan(each.value) for each in results)
