"""The same access logs for Envoy and for this proxy: the same lines but for times, ids and ports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.interop.access_logs import EXCHANGES, Log, Surroundings, logs
from tests.interop.differences import ACCESS_LOG_LINES, FACTS_OF_FAILED_HANDSHAKES
from tests.support.envoy import require_envoy
from tests.support.process import sidecar_command

_LOGS = {each.name: each for each in logs()}
_MINIMUM_LOGS = 60


@dataclass(frozen=True)
class Pair:
    envoy: dict[str, list[str]]
    ours: dict[str, list[str]]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    created = Surroundings(tmp_path_factory.mktemp("access-logs"))
    yield created
    created.close()


@pytest.fixture(scope="module")
def pair(surroundings: Surroundings) -> Pair:
    envoy = require_envoy()
    configured: list[Log] = list(_LOGS.values())
    return Pair(surroundings.run(envoy, configured), surroundings.run(sidecar_command(), configured))


@pytest.mark.parametrize("name", _LOGS)
def test_same_lines(pair: Pair, name: str) -> None:
    theirs, ours = pair.envoy[name], pair.ours[name]
    assert len(ours) == len(theirs), f"envoy {theirs}\nours {ours}"
    different = {
        number for number, lines in enumerate(zip(theirs, ours, strict=True)) if lines[0] != lines[1]
    }
    expected = {number for log, number in ACCESS_LOG_LINES if log == name}
    assert different == expected, "\n".join(
        f"{number}:\n  envoy {theirs[number]}\n  ours  {ours[number]}"
        for number in sorted(different ^ expected)
    )


def test_same_entries_before_the_end(surroundings: Surroundings) -> None:
    theirs = surroundings.run_early(require_envoy())
    ours = surroundings.run_early(sidecar_command())
    assert ours == theirs
    types = {line.split()[0] for line in ours["filter"]}
    assert types == {
        "DownstreamStart",
        "DownstreamPeriodic",
        "DownstreamTunnelSuccessfullyEstablished",
        "DownstreamEnd",
        "TcpUpstreamConnected",
        "TcpPeriodic",
        "TcpConnectionEnd",
    }


def test_same_facts_of_tls(surroundings: Surroundings) -> None:
    theirs, ours = surroundings.run_tls(require_envoy()), surroundings.run_tls(sidecar_command())
    for name in ("tls", "tls-listener"):
        assert len(ours[name]) == len(theirs[name]) == 3
        assert ours[name][0] == theirs[name][0]
        for number in (1, 2):
            different = {
                key for key, value in theirs[name][number].items() if ours[name][number][key] != value
            }
            assert different <= set(FACTS_OF_FAILED_HANDSHAKES), different
            assert ours[name][number]["DOWNSTREAM_TRANSPORT_FAILURE_REASON"].startswith("TLS_error:")


def test_every_exchange_is_logged(pair: Pair) -> None:
    for lines in (pair.envoy, pair.ours):
        assert len(lines["envoy-default"]) == len(EXCHANGES)


def test_there_are_enough_logs() -> None:
    assert len(_LOGS) >= _MINIMUM_LOGS


def test_differences_name_existing_logs() -> None:
    assert {name for name, _ in ACCESS_LOG_LINES} <= set(_LOGS)
    assert all(ACCESS_LOG_LINES.values())
