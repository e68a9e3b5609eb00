"""Workload discovery: who is at an address, for peers that have no sidecar to tell it (`istio.workload`).

Whoever learns of workloads, from a file or a control plane, keeps the directory; filters only ask it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from config.model.workload_discovery import DiscoveredWorkload
from protocols.peer_metadata import PeerMetadata
from stats.metrics import Gauge

_IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
#: About a millisecond.
_WORKLOADS_A_STEP: Final = 100


def peer_of(workload: DiscoveredWorkload) -> PeerMetadata:
    """A workload as a peer."""
    return PeerMetadata(
        instance_name=workload.name,
        namespace=workload.namespace,
        workload=workload.workload_name,
        cluster=workload.cluster_id,
        type=workload.workload_type,
        canonical_name=workload.canonical_name,
        canonical_revision=workload.canonical_revision,
        app=workload.app,
        version=workload.version,
        identity=workload.identity,
    )


class Directory(Protocol):
    """A `WorkloadDirectory`, or those of all workers."""

    def replace(self, workloads: Iterable[DiscoveredWorkload]) -> None: ...

    def replace_in_steps(self, workloads: Iterable[DiscoveredWorkload]) -> Iterator[None]: ...


class WorkloadDirectory:
    """Peers by their addresses. `total` (`workload_discovery.total`) is the number of addresses.

    Addresses of other networks than `network` are other machines than the ones we can reach there: such workloads are
    left out; "" on either side fits all.
    """

    __slots__ = ("_addresses", "_network", "_peers", "_total")

    def __init__(self, total: Gauge, network: str = "") -> None:
        self._total = total
        self._network = network
        self._peers: dict[bytes, PeerMetadata] = {}
        #: of each workload, by uid, what it has in `_peers`
        self._addresses: dict[str, tuple[tuple[bytes, PeerMetadata], ...]] = {}

    def find(self, address: str) -> PeerMetadata | None:
        """The peer at a textual IP address; the same object as long as nothing is told of it. None: not known."""
        try:
            packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        except (OSError, ValueError):
            return None
        return self._peers.get(packed[12:] if packed.startswith(_IPV4_MAPPED) else packed)

    def replace(self, workloads: Iterable[DiscoveredWorkload]) -> None:
        """These are all there are. Workloads that were told before, and are the same, keep their peer object."""
        for _ in self.replace_in_steps(workloads):
            pass

    def replace_in_steps(self, workloads: Iterable[DiscoveredWorkload]) -> Iterator[None]:
        """As `replace`, some workloads at each step; what is found changes at one of them, from all the old to all the new.

        What else is told meanwhile is lost: whoever tells waits until this has ended.
        """
        known: dict[PeerMetadata, PeerMetadata] = {}
        for at, entries in enumerate(list(self._addresses.values()), 1):
            known.update((peer, peer) for _, peer in entries)
            if at % _WORKLOADS_A_STEP == 0:
                yield
        new = WorkloadDirectory(self._total, self._network)
        for at, workload in enumerate(workloads, 1):
            new._add(workload, known)
            if at % _WORKLOADS_A_STEP == 0:
                yield
        old = (self._peers, self._addresses, known)
        self._peers, self._addresses = new._peers, new._addresses
        self._total.set(len(self._peers))
        for each in old:  # to free all of it at once would take long
            while each:
                for _ in range(min(len(each), _WORKLOADS_A_STEP)):
                    each.popitem()
                yield

    def update(self, changed: Iterable[DiscoveredWorkload], removed: Iterable[str] = ()) -> None:
        """What is new: workloads told for the first time or again, and the uids of those that are gone."""
        for uid in removed:
            self._remove(uid)
        for workload in changed:
            self._remove(workload.uid)
            self._add(workload, {})
        self._total.set(len(self._peers))

    def _add(self, workload: DiscoveredWorkload, known: dict[PeerMetadata, PeerMetadata]) -> None:
        if self._network and workload.network and workload.network != self._network:
            return
        peer = peer_of(workload)
        peer = known.get(peer, peer)
        self._addresses[workload.uid] = tuple((address, peer) for address in workload.addresses)
        for address in workload.addresses:  # an address told anew is the new one's
            self._peers[address] = peer

    def _remove(self, uid: str) -> None:
        for address, peer in self._addresses.pop(uid, ()):
            if self._peers.get(address) is peer:
                del self._peers[address]
