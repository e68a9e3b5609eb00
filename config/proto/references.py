"""References from one part of the configuration to another."""

from __future__ import annotations

import enum

from config.proto.path import Path
from config.spelling import did_you_mean


class ClusterCheck(enum.Enum):
    """What to say about a cluster that the bootstrap does not define."""

    ERROR = enum.auto()
    WARNING = enum.auto()


def check_cluster(name: str, at: Path, check: ClusterCheck) -> None:
    """The static cluster `name` exists. With dynamic clusters nothing can be said."""
    clusters = at.context.clusters
    if not name or clusters is None or name in clusters:
        return
    reason = f"unknown cluster '{name}'{did_you_mean(name, clusters)}"
    if check is ClusterCheck.ERROR:
        at.error(reason)
    else:
        at.warning(reason)
