"""Istio's standard metrics: label order, configured changes to it, and the way from label values to handles.

The names follow Istio 1.28: `istiocustom.istio_requests_total` and so on, tags attached directly. What the values are is
decided elsewhere (`sidecar.telemetry.istio`); here they are only text.

A report costs one look-up: whoever knows the twenty values that say who talks to whom asks `IstioMetrics.series` once and
keeps the answer; `Series` gives the handles for the few values that vary from report to report.

Clients choose some of the values (`Host`, peer metadata), so the number of series of a metric has a ceiling, `Store.ceiling`.
What comes when it is reached is counted in one series for each reporter, whose other labels say `overflow`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeAlias

from stats.ceiling import OVERFLOW
from stats.metrics import Counter, Gauge, Histogram, Tags
from stats.store import Scope

#: The twenty labels that say who talks to whom; message counters have no others.
PEER_LABELS: Final = (
    "reporter",
    "source_workload",
    "source_canonical_service",
    "source_canonical_revision",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_service_name",
    "destination_service_namespace",
    "destination_cluster",
)
HTTP_LABELS: Final = (
    *PEER_LABELS,
    "request_protocol",
    "response_code",
    "grpc_response_status",
    "response_flags",
    "connection_security_policy",
)
TCP_LABELS: Final = (*PEER_LABELS, "request_protocol", "response_flags", "connection_security_policy")

#: Standard metrics as the configuration names them (without `istio_`), and the labels of each.
STANDARD_METRICS: Final[dict[str, tuple[str, ...]]] = {
    "requests_total": HTTP_LABELS,
    "request_duration_milliseconds": HTTP_LABELS,
    "request_bytes": HTTP_LABELS,
    "response_bytes": HTTP_LABELS,
    "request_messages_total": PEER_LABELS,
    "response_messages_total": PEER_LABELS,
    "tcp_connections_opened_total": TCP_LABELS,
    "tcp_connections_closed_total": TCP_LABELS,
    "tcp_sent_bytes_total": TCP_LABELS,
    "tcp_received_bytes_total": TCP_LABELS,
}

#: The stat namespace; the Prometheus page cuts it.
NAMESPACE: Final = "istiocustom"

_MIXER_DURATIONS: Final = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
_MIXER_SIZES: Final = tuple(10.0**power for power in range(9))
#: The bounds that Mixer used, Istio's first telemetry (where it had seconds in milliseconds): prefix of the stat name -> bounds.
MIXER_BOUNDS: Final = {
    f"{NAMESPACE}.istio_request_duration_milliseconds": _MIXER_DURATIONS,
    f"{NAMESPACE}.istio_request_bytes": _MIXER_SIZES,
    f"{NAMESPACE}.istio_response_bytes": _MIXER_SIZES,
}

#: Label combinations remembered; beyond this many everything is forgotten and looked up again.
_MAX_REMEMBERED = 4096


class MetricKind(enum.Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricRule:
    """One configured change (`MetricConfig`): `dimensions` are (label, expression text), sorted by label.

    `name` without `istio_`; "" means all metrics. `match` is the text of a condition; "" always holds.
    """

    name: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    tags_to_remove: tuple[str, ...] = ()
    drop: bool = False
    match: str = ""


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """One configured metric of its own (`MetricDefinition`), printed as `istio_<name>`; `value` is expression text."""

    name: str
    value: str
    kind: MetricKind = MetricKind.COUNTER


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Where each label of a metric comes from: an index into the standard values, or, negative, `-1 - n` for extra value n."""

    labels: tuple[tuple[str, int], ...]

    def tags(self, values: Sequence[str], extra: Sequence[str]) -> Tags:
        return tuple([(label, values[at] if at >= 0 else extra[-1 - at]) for label, at in self.labels])


@dataclass(frozen=True, slots=True)
class CustomPlan:
    """A custom metric compiled: `value` is the number of the value that it counts."""

    name: str
    kind: MetricKind
    value: int
    labels: LabelPlan


@dataclass(frozen=True, slots=True)
class MetricPlans:
    """The whole configuration compiled. A standard metric that is not in `standard` is dropped.

    `conditions` are numbers of extra values: where one is `HOLDS`, the plans of `variant` (called with the truth of each)
    take the place of these, which stand for none.
    """

    standard: dict[str, LabelPlan]
    custom: tuple[CustomPlan, ...] = ()
    conditions: tuple[int, ...] = ()
    variant: Callable[[tuple[bool, ...]], MetricPlans] | None = None


#: The extra value of a condition that holds.
HOLDS: Final = "true"


def _plain(labels: tuple[str, ...]) -> LabelPlan:
    return LabelPlan(tuple((label, at) for at, label in enumerate(labels)))


STANDARD_PLANS: Final = MetricPlans({name: _plain(labels) for name, labels in STANDARD_METRICS.items()})


class ExpressionSink(Protocol):
    """Takes the text of an expression and gives the number of its result; None if it does not parse.

    Labels and conditions are numbered together, they are the extra values of a report; custom values for themselves.
    """

    def add_label(self, text: str) -> int | None: ...
    def add_condition(self, text: str) -> int | None:
        """Its extra value is `HOLDS`, or anything else."""

    def add_value(self, text: str) -> int | None: ...


@dataclass(frozen=True, slots=True)
class _Change:
    """A rule whose expressions have their numbers; `condition` None: it applies to every report."""

    rule: MetricRule
    dimensions: tuple[tuple[str, int | None], ...]
    condition: int | None


def compile_plans(
    rules: Sequence[MetricRule],
    custom: Sequence[CustomMetric] = (),
    expressions: ExpressionSink | None = None,
) -> MetricPlans:
    """Apply the configured changes in their order, later ones winning for each metric and label.

    - A custom metric with a standard name, or whose value does not parse, does not exist.
    - `drop` counts for the named metric. The rest of such an entry is not looked at.
    - `tags_to_remove` takes standard labels from the named standard metric, or from all.
    - A dimension replaces the value of a standard label in place; any other label follows the standard ones, in
      configured order. If its expression does not parse, a standard label is removed, a new one left out.
    - `match` decides for each report whether the entry counts; if it does not parse, the entry never does.
    Without `expressions` (nothing can be evaluated) dimensions, custom metrics and entries with a condition are left out.
    """
    values: dict[str, tuple[MetricKind, int]] = {}
    if expressions is not None:
        for definition in custom:
            if definition.name not in STANDARD_METRICS:
                at = expressions.add_value(definition.value)
                if at is not None:
                    values[definition.name] = definition.kind, at
    changes = [
        change
        for rule in rules
        if (not rule.name or rule.name in STANDARD_METRICS or rule.name in values)
        and (change := _resolve(rule, expressions)) is not None
    ]
    conditions = tuple(dict.fromkeys(change.condition for change in changes if change.condition is not None))

    def variant(held: tuple[bool, ...]) -> MetricPlans:
        hold = {at for at, holds in zip(conditions, held, strict=True) if holds}
        standard, plans = _assemble(
            [each for each in changes if each.condition is None or each.condition in hold], values
        )
        return MetricPlans(standard, plans, conditions, variant)

    return variant((False,) * len(conditions))


def _resolve(rule: MetricRule, expressions: ExpressionSink | None) -> _Change | None:
    condition = None
    if rule.match:
        condition = expressions.add_condition(rule.match) if expressions is not None else None
        if condition is None:
            return None
    if rule.drop or expressions is None:
        return _Change(rule, (), condition)
    dimensions = [(label, expressions.add_label(expression)) for label, expression in rule.dimensions]
    return _Change(rule, tuple(dimensions), condition)


def _assemble(
    changes: Sequence[_Change], values: dict[str, tuple[MetricKind, int]]
) -> tuple[dict[str, LabelPlan], tuple[CustomPlan, ...]]:
    """The plans of the standard and of the custom metrics when exactly `changes` apply."""
    #: metric -> label -> number of an extra value, None if removed; labels that are not standard in configured order
    labels: dict[str, dict[str, int | None]] = {name: {} for name in (*STANDARD_METRICS, *values)}
    dropped: set[str] = set()
    for change in changes:
        rule = change.rule
        if rule.drop:
            dropped.add(rule.name)
            continue
        for target in [rule.name] if rule.name else labels:
            _apply(change, target, labels[target])
    standard = {
        name: _plan(all_labels, labels[name])
        for name, all_labels in STANDARD_METRICS.items()
        if name not in dropped
    }
    custom = [
        CustomPlan(name, kind, at, _plan((), labels[name]))
        for name, (kind, at) in values.items()
        if name not in dropped
    ]
    return standard, tuple(custom)


def _apply(change: _Change, target: str, labels: dict[str, int | None]) -> None:
    is_standard = target in STANDARD_METRICS
    if is_standard:
        for label in change.rule.tags_to_remove:
            if label in HTTP_LABELS:
                labels[label] = None
    labels.update(
        (label, at)
        for label, at in change.dimensions
        if at is not None or (is_standard and label in HTTP_LABELS)
    )


def _plan(labels: tuple[str, ...], change: dict[str, int | None]) -> LabelPlan:
    planned: list[tuple[str, int]] = []
    for index, label in enumerate(labels):
        if label not in change:
            planned.append((label, index))
        elif (at := change[label]) is not None:
            planned.append((label, -1 - at))
    for label, at in change.items():
        is_new = not labels or label not in HTTP_LABELS
        if is_new and at is not None:
            planned.append((label, -1 - at))
    return LabelPlan(tuple(planned))


class HttpHandles:
    """The four metrics of an HTTP stream with one set of labels."""

    __slots__ = ("_duration", "_make_duration", "request_bytes", "requests_total", "response_bytes")

    def __init__(
        self,
        requests: Counter,
        request_bytes: Histogram,
        response_bytes: Histogram,
        make_duration: Callable[[], Histogram],
    ) -> None:
        self.requests_total: Final = requests
        self.request_bytes: Final = request_bytes
        self.response_bytes: Final = response_bytes
        self._make_duration = make_duration
        self._duration: Histogram | None = None

    def record(
        self,
        duration_ms: int | None,
        request_bytes: int,
        response_bytes: int,
        traced: tuple[str, str, float] | None = None,
    ) -> None:
        """One stream is over. `duration_ms` None: it never completed, only the duration is left out.

        `traced`: trace id, span id and time (POSIX seconds) of one that a collector hears of, the exemplar of its duration.
        """
        self.requests_total.inc()
        if duration_ms is not None:
            if self._duration is None:
                self._duration = self._make_duration()
            if traced is None:
                self._duration.record_whole(duration_ms)
            else:
                self._duration.record_traced(duration_ms, *traced)
        self.request_bytes.record_whole(request_bytes)
        self.response_bytes.record_whole(response_bytes)


class MessageHandles:
    """The two message counters of a gRPC stream."""

    __slots__ = ("request_messages_total", "response_messages_total")

    def __init__(self, request_messages: Counter, response_messages: Counter) -> None:
        self.request_messages_total = request_messages
        self.response_messages_total = response_messages


#: Flags, extra values, protocol.
_TcpKey: TypeAlias = tuple[str, tuple[str, ...], str]


class TcpHandles:
    """The four metrics of a TCP connection with one set of labels; each is listed from its first count on."""

    __slots__ = ("_closed", "_key", "_metrics", "_opened", "_overflowing", "_received", "_sent", "_values")

    def __init__(
        self, metrics: IstioMetrics, values: tuple[str, ...], key: _TcpKey, overflowing: list[_TcpKey]
    ) -> None:
        """`overflowing` is told `key` when something of it counts above the ceiling."""
        self._metrics: Final = metrics
        self._values: Final = values
        self._key: Final = key
        self._overflowing: Final = overflowing
        self._opened: Counter | None = None
        self._closed: Counter | None = None
        self._sent: Counter | None = None
        self._received: Counter | None = None

    def _make(self, name: str) -> Counter:
        overflows = self._metrics.overflows
        counter = self._metrics.counter(self._values, self._key[1], name)
        if self._metrics.overflows != overflows:
            self._overflowing.append(self._key)
        return counter

    def count_opened(self) -> None:
        if self._opened is None:
            self._opened = self._make("tcp_connections_opened_total")
        self._opened.inc()

    def count_closed(self) -> None:
        if self._closed is None:
            self._closed = self._make("tcp_connections_closed_total")
        self._closed.inc()

    def add_bytes(self, sent: int, received: int) -> None:
        """Bytes since the last report, towards downstream and from it. 0 counts too: the series is then listed."""
        if self._sent is None or self._received is None:
            self._sent = self._make("tcp_sent_bytes_total")
            self._received = self._make("tcp_received_bytes_total")
        self._sent.add(sent)
        self._received.add(received)


#: The values of configured expressions (labels and conditions), in their order: none.
NO_EXTRA: Final[tuple[str, ...]] = ()

#: No generation of a scope.
_FORGOTTEN: Final = -1

#: Sets of conditions that hold together, remembered with their plans.
_MAX_VARIANTS = 256


class Series:
    """The metrics of one pair of peers (the values of `PEER_LABELS`); handles are made when first asked for."""

    __slots__ = (
        "_generation",
        "_http",
        "_last_code",
        "_last_extra",
        "_last_flags",
        "_last_grpc_status",
        "_last_http",
        "_last_protocol",
        "_messages",
        "_metrics",
        "_overflowing_tcp",
        "_policy",
        "_tcp",
        "values",
    )

    def __init__(self, metrics: IstioMetrics, values: tuple[str, ...], policy: str) -> None:
        self._metrics = metrics
        self.values: Final = values
        self._policy = policy
        self._generation = metrics.generation
        self._http: dict[tuple[str, int, str, str, tuple[str, ...]], HttpHandles] = {}
        #: what `http` gave last, and for what: mostly it is asked for the same again
        self._last_http: HttpHandles | None = None
        self._last_protocol = ""
        self._last_code = 0
        self._last_grpc_status = ""
        self._last_flags = ""
        self._last_extra: tuple[str, ...] = NO_EXTRA
        self._tcp: dict[_TcpKey, TcpHandles] = {}
        #: to be forgotten: only keys, so that nothing holds what holds it
        self._overflowing_tcp: list[_TcpKey] = []
        self._messages: dict[tuple[str, ...], MessageHandles] = {}

    def current(self) -> Series:
        """For who keeps a series across events: itself, or after an eviction the one that took its place."""
        if self._generation == self._metrics.generation:
            return self
        return self._metrics.series(self.values, self._policy)

    def http(
        self, protocol: str, code: int, grpc_status: str, flags: str, extra: tuple[str, ...] = NO_EXTRA
    ) -> HttpHandles:
        """`protocol` `http` or `grpc`; `code` 0 if no response was sent; `flags` short flags or `-`."""
        last = self._last_http
        if (
            last is not None
            and self._last_code == code
            and self._last_flags == flags
            and self._last_protocol == protocol
            and self._last_grpc_status == grpc_status
            and self._last_extra == extra
        ):
            return last
        key = protocol, code, grpc_status, flags, extra
        handles = self._http.get(key)
        if handles is None:
            if len(self._http) >= _MAX_REMEMBERED:
                self._http.clear()
            values = (*self.values, protocol, str(code), grpc_status, flags, self._policy)
            overflows = self._metrics.overflows
            handles = self._metrics.make_http(values, extra)
            if self._metrics.overflows != overflows:
                return handles  # remembering would have no bound
            self._http[key] = handles
        self._last_protocol, self._last_code, self._last_grpc_status = protocol, code, grpc_status
        self._last_flags, self._last_extra, self._last_http = flags, extra, handles
        return handles

    def forget(self) -> None:
        """Its counters were evicted, or may be soon: whoever still holds it holds none of them, and gets another by `current`."""
        self._generation = _FORGOTTEN
        self._last_http = None
        self._http.clear()
        self._tcp.clear()
        self._overflowing_tcp.clear()
        self._messages.clear()

    def tcp(self, flags: str, extra: tuple[str, ...] = NO_EXTRA, protocol: str = "tcp") -> TcpHandles:
        """`protocol` `http`: a stream that was upgraded."""
        key = flags, extra, protocol
        handles = self._tcp.get(key)
        if handles is None:
            for overflowing in self._overflowing_tcp:  # remembering them would have no bound
                self._tcp.pop(overflowing, None)
            self._overflowing_tcp.clear()
            if len(self._tcp) >= _MAX_REMEMBERED:
                self._tcp.clear()
            values = (*self.values, protocol, flags, self._policy)
            handles = self._tcp[key] = TcpHandles(self._metrics, values, key, self._overflowing_tcp)
        return handles

    def messages(self, extra: tuple[str, ...] = NO_EXTRA) -> MessageHandles:
        handles = self._messages.get(extra)
        if handles is None:
            if len(self._messages) >= _MAX_REMEMBERED:
                self._messages.clear()
            overflows = self._metrics.overflows
            handles = self._metrics.make_messages(self.values, extra)
            if self._metrics.overflows == overflows:
                self._messages[extra] = handles
        return handles


_NO_SERIES: Final[frozenset[Tags]] = frozenset()


class IstioMetrics:
    """The metrics of one configuration, in the scope `NAMESPACE` that all configurations share."""

    __slots__ = ("_generation", "_scope", "_series", "_variants", "plans")

    def __init__(
        self,
        scope: Scope,
        plans: MetricPlans = STANDARD_PLANS,
    ) -> None:
        self._scope: Final = scope
        self.plans: Final = plans
        self._series: dict[tuple[tuple[str, ...], str], Series] = {}
        self._variants: dict[tuple[bool, ...], MetricPlans] = {}
        self._generation = scope.generation

    @property
    def generation(self) -> int:
        """Goes up when series were evicted: what others remember of `series` is then worth nothing."""
        return self._scope.generation

    @property
    def overflows(self) -> int:
        """Goes up when what was asked for has ended in a series of the overflow."""
        return self._scope.store.ceiling.overflows.value

    def series(self, values: tuple[str, ...], policy: str) -> Series:
        """`values` of `PEER_LABELS`, in that order; `policy` is `connection_security_policy`."""
        if self._generation != self._scope.generation:
            self._generation = self._scope.generation
            self._forget_all()
        key = values, policy
        found = self._series.get(key)
        if found is None:
            if len(self._series) >= _MAX_REMEMBERED:
                self._forget_all()
            found = self._series[key] = Series(self, values, policy)
        return found

    def _forget_all(self) -> None:
        for series in self._series.values():  # connections may hold some of them for long
            series.forget()
        self._series.clear()

    def make_http(self, values: tuple[str, ...], extra: tuple[str, ...]) -> HttpHandles:
        """For `Series`: `values` of `HTTP_LABELS`."""
        return HttpHandles(
            self.counter(values, extra, "requests_total"),
            self._histogram(values, extra, "request_bytes", "bytes"),
            self._histogram(values, extra, "response_bytes", "bytes"),
            partial(self._histogram, values, extra, "request_duration_milliseconds", "ms"),
        )

    def make_messages(self, values: tuple[str, ...], extra: tuple[str, ...]) -> MessageHandles:
        """For `Series`: `values` of `PEER_LABELS`."""
        return MessageHandles(
            self.counter(values, extra, "request_messages_total"),
            self.counter(values, extra, "response_messages_total"),
        )

    def counter(self, values: tuple[str, ...], extra: tuple[str, ...], name: str) -> Counter:
        """For `Series`: one of a standard metric with all its labels; `name` without `istio_`."""
        plan = self._plans(extra).standard.get(name)
        if plan is None:
            return Counter("", "", ())  # dropped: counts for nobody
        name = f"istio_{name}"
        return self._scope.tagged_counter(name, self._tags(name, plan, values, extra))

    def _histogram(self, values: tuple[str, ...], extra: tuple[str, ...], name: str, unit: str) -> Histogram:
        plan = self._plans(extra).standard.get(name)
        if plan is None:
            return Histogram("", "", ())
        name = f"istio_{name}"
        return self._scope.tagged_histogram(name, self._tags(name, plan, values, extra), unit)

    def _plans(self, extra: tuple[str, ...]) -> MetricPlans:
        """The plans of a report: what holds of their conditions decides."""
        plans = self.plans
        if plans.variant is None or not plans.conditions:
            return plans
        held = tuple([extra[at] == HOLDS for at in plans.conditions])
        found = self._variants.get(held)
        if found is None:
            if len(self._variants) >= _MAX_VARIANTS:
                self._variants.clear()
            found = self._variants[held] = plans.variant(held)
        return found

    def _tags(self, name: str, plan: LabelPlan, values: Sequence[str], extra: tuple[str, ...]) -> Tags:
        """The labels of a series: those asked for if they are in use or there is room, else those of the overflow."""
        tags = plan.tags(values, extra)
        store = self._scope.store
        if store.ceiling.admits(name, store.series.get(self._scope.prefix + name, _NO_SERIES), tags):
            return tags
        # Standard value 0 is the reporter, the one label that is ours alone.
        return tuple([(label, values[0] if at == 0 else OVERFLOW) for label, at in plan.labels])

    def record_custom(self, extra: tuple[str, ...], values: Sequence[str]) -> None:
        """The custom metrics, at the end of a stream or connection. A value that is no unsigned whole number counts as 0."""
        for plan in self._plans(extra).custom:
            text = values[plan.value]
            value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
            name = f"istio_{plan.name}"
            tags = self._tags(name, plan.labels, (), extra)
            if plan.kind is MetricKind.COUNTER:
                self._scope.tagged_counter(name, tags).add(value)
            elif plan.kind is MetricKind.GAUGE:
                self._scope.tagged_gauge(name, tags).set(value)
            else:
                self._scope.tagged_histogram(name, tags, "bytes").record(value)


def set_build(scope: Scope, version: str) -> Gauge:
    """`istio_build{component="proxy",tag="<version>"} 1`; `version` "" is shown as `unknown`.

    `scope` is one of its own at `NAMESPACE`, so that it is never evicted.
    """
    tags = ("component", "proxy"), ("tag", version or "unknown")
    build = scope.tagged_gauge("istio_build", tags, per_process=True)
    build.set(1)
    return build
