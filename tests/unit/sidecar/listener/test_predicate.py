"""For which destination ports a listener filter is switched off."""

from __future__ import annotations

import pytest

from config.model.core import PipeAddress, SocketAddress
from config.model.matching import AndMatch, AnyMatch, ListenerFilterPredicate, NotMatch, OrMatch, PortRange
from sidecar.listener.predicate import compile_predicate
from sidecar.stream_info import ConnectionInfo


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        (PortRange(80, 82), {80, 81}),
        (NotMatch(PortRange(80, 82)), {79, 82}),
        (OrMatch((PortRange(79, 80), PortRange(82, 83))), {79, 82}),
        (AndMatch((PortRange(80, 83), NotMatch(PortRange(81, 82)))), {80, 82}),
        (AnyMatch(), {79, 80, 81, 82}),
    ],
)
def test_ports(rule: ListenerFilterPredicate, ports: set[int]) -> None:
    predicate = compile_predicate(rule)
    assert predicate is not None
    source = SocketAddress("127.0.0.1", 1)
    assert {
        port for port in range(79, 83) if predicate(ConnectionInfo(source, SocketAddress("::1", port)))
    } == ports


def test_no_rule_and_no_port() -> None:
    assert compile_predicate(None) is None
    predicate = compile_predicate(PortRange(0, 65536))
    assert predicate is not None
    assert not predicate(ConnectionInfo(PipeAddress(""), PipeAddress("/run/x")))
