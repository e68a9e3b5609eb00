"""`ListenerFilterChainMatchPredicate`: for which destination ports a listener filter is disabled."""

from __future__ import annotations

from collections.abc import Callable

from config.model.core import SocketAddress
from config.model.matching import AndMatch, AnyMatch, ListenerFilterPredicate, NotMatch, OrMatch, PortRange
from sidecar.stream_info import ConnectionInfo

Predicate = Callable[[ConnectionInfo], bool]


def compile_predicate(rule: ListenerFilterPredicate | None) -> Predicate | None:
    """A callable on the connection, or None when there is no rule."""
    return None if rule is None else _compile(rule)


def _compile(rule: ListenerFilterPredicate) -> Predicate:
    match rule:
        case PortRange(start, end):
            return lambda info: (
                isinstance(info.local_address, SocketAddress) and start <= info.local_address.port < end
            )
        case AnyMatch():
            return lambda info: True
        case NotMatch(inner):
            negated = _compile(inner)
            return lambda info: not negated(info)
        case AndMatch(rules):
            every = tuple(map(_compile, rules))
            return lambda info: all(each(info) for each in every)
        case OrMatch(rules):
            some = tuple(map(_compile, rules))
            return lambda info: any(each(info) for each in some)
