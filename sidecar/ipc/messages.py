"""What main and its workers say to each other. All of it can be pickled."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from config.model.bootstrap import Bootstrap
from config.model.cluster import DnsLookupFamily
from config.model.options import Options
from config.model.workload_discovery import DiscoveredWorkload
from sidecar.telemetry.failures import Failure
from stats.changes import Changes

# from main to a worker


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: all that a worker needs.

    Descriptors have come before it: first that of what all share (`transport.shared_counts`), then listening sockets.
    `worker`: its number, from 0. `sockets`: how many of them each listener has, in the same order; one with none does not accept
    any more. `log_levels`: by logger, as they are now. `resets`: see `Report`. `drains`: what was asked for before.
    """

    bootstrap: Bootstrap
    options: Options
    worker: int
    sockets: Mapping[str, int]
    log_levels: tuple[tuple[str, int], ...]
    resets: int
    health_check_failed: bool
    drains: tuple[DrainListeners, ...] = ()
    workloads: tuple[DiscoveredWorkload, ...] | None = None


class Question(enum.Enum):
    """What main asks. The answer to STATS is a `Report` before an empty answer, to HOSTS the summaries of all clusters.

    FINE_STATS: as STATS, and histograms count in fine buckets from now on.
    """

    STATS = "stats"
    FINE_STATS = "fine stats"
    HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class Ask:
    """Answered with the same `number`."""

    number: int
    question: Question


@dataclass(frozen=True, slots=True)
class ResetCounters:
    """All counters to 0. `resets`: how often that was said, this time included."""

    resets: int


@dataclass(frozen=True, slots=True)
class SetLogLevels:
    """Logger and level."""

    levels: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """After log rotation."""


@dataclass(frozen=True, slots=True)
class FailHealthCheck:
    """`/healthcheck/fail` and `/healthcheck/ok`."""

    failed: bool


@dataclass(frozen=True, slots=True)
class DrainListeners:
    """`/drain_listeners`, with its parameters."""

    inbound_only: bool
    graceful: bool
    skip_exit: bool


@dataclass(frozen=True, slots=True)
class Workloads:
    """Some of those that the file of workloads says now; with the `last` ones they take the place of those before.

    A worker that has missed the `first` ones has begun with all of them.
    """

    workloads: tuple[DiscoveredWorkload, ...]
    first: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Exit:
    """End: after the connections have drained, or at once."""

    drain: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """To the `Resolve` of this number. `problem`: why the name could not be looked up, "" if it could."""

    number: int
    addresses: tuple[str, ...]
    problem: str = ""


# from a worker to main


@dataclass(frozen=True, slots=True)
class Resolve:
    """What are the addresses of a name? Answered with the same `number`."""

    number: int
    name: str
    family: DnsLookupFamily


@dataclass(frozen=True, slots=True)
class Started:
    """It accepts connections."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Nothing but that: every two seconds, whatever becomes of the reports."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """It cannot start, and says why."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What has changed of the stats, and what has failed. `resets`: of how many `ResetCounters` it has heard.

    `failed`: how many failures there were since the last report; `failures` are those that are kept.
    """

    changes: Changes
    resets: int
    connections: int
    failures: tuple[Failure, ...] = ()
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """To the question of this number."""

    number: int
    value: object = None
