"""How a standard set of stats is written down: a class whose annotated attributes are its stats.

    class DoorStats(Family):
        opened: Counter
        width: Histogram

    DoorStats(store.scope("door")).opened.inc()     # door.opened

The class gets one slot for each annotation, and its instances one handle for each, made when the instance is made, so
that all of a set are listed from the start, as Envoy does.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from stats.metrics import Counter, Gauge, Histogram, TextReadout
from stats.store import Scope

_KINDS: Final = {"Counter": Counter, "Gauge": Gauge, "Histogram": Histogram, "TextReadout": TextReadout}


class FamilyMeta(type):
    """Turns the annotations of a `Family` into slots and into a plan (attribute, kind, stat name)."""

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        suffix: str = "",
        **kwargs: Any,
    ) -> FamilyMeta:
        plan: list[tuple[str, str, str]] = []
        for base in bases:
            plan.extend(getattr(base, "PLAN", ()))
        names = dict(namespace.get("NAMES", ()))
        slots = list(namespace.pop("__slots__", ()))
        for attribute, annotation in namespace.get("__annotations__", {}).items():
            if annotation in _KINDS:
                plan.append((attribute, annotation, names.get(attribute, attribute + suffix)))
            if not annotation.startswith("ClassVar"):
                slots.append(attribute)
        namespace["__slots__"] = tuple(slots)
        namespace["PLAN"] = tuple(plan)
        return super().__new__(mcs, name, bases, namespace, **kwargs)


class Family(metaclass=FamilyMeta):
    """A set of stats of one scope. Attributes are named as Envoy names the stats, dots replaced by underscores.

    `NAMES` gives the stat name where it is not the attribute's; a class may give all a `suffix`. `PER_PROCESS` names gauges that are not added up when
    processes are merged. A histogram ending in `_ms`, `_time` or `_duration` counts milliseconds, in `_size` bytes.
    Attributes of other types are for the subclass to set.
    """

    NAMES: ClassVar[tuple[tuple[str, str], ...]] = ()
    PER_PROCESS: ClassVar[frozenset[str]] = frozenset()
    PLAN: ClassVar[tuple[tuple[str, str, str], ...]]

    def __init__(self, scope: Scope) -> None:
        for attribute, kind, name in self.PLAN:
            handle: Counter | Gauge | Histogram | TextReadout
            if kind == "Counter":
                handle = scope.counter(name)
            elif kind == "Gauge":
                handle = scope.gauge(name, attribute in self.PER_PROCESS)
            elif kind == "Histogram":
                handle = scope.histogram(name, unit_of(name))
            else:
                handle = scope.text_readout(name)
            setattr(self, attribute, handle)


def unit_of(name: str) -> str:
    """The unit of a standard histogram, told by its name."""
    if name.endswith(("_ms", "_time", "_duration")):
        return "ms"
    return "bytes" if name.endswith("_size") else ""


class Dynamic:
    """Counters whose last part is known only on the way (`ssl.ciphers.X`), made when first counted."""

    __slots__ = ("_known", "_prefix", "_scope")

    #: A peer must not be able to fill the memory with names; beyond this many they are not counted.
    LIMIT: ClassVar[int] = 200

    def __init__(self, scope: Scope, prefix: str) -> None:
        self._scope = scope
        self._prefix = prefix
        self._known: dict[str, Counter] = {}

    def inc(self, name: str) -> None:
        counter = self._known.get(name)
        if counter is None:
            if len(self._known) >= self.LIMIT:
                return
            counter = self._known[name] = self._scope.counter(f"{self._prefix}.{name}")
        counter.inc()
