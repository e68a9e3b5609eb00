"""Limits of the test process, inherited by the proxies it starts."""

from __future__ import annotations

import resource


def raise_descriptor_limit(wanted: int) -> None:
    """Allow `wanted` open descriptors. Raises RuntimeError when the hard limit is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise RuntimeError(
            f"the hard limit of open descriptors is {hard}, {wanted} are needed: ulimit -Hn {wanted}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
