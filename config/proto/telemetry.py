"""The opt-ins of the node's metadata: `SIDECAR_TELEMETRY`, and Istio's annotation of histogram bounds.

Both come from a pod's annotations or environment, so a mistake in them costs a warning and the default, not the start. Both
may be an object or, as environments have it, its JSON text.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Final, TypeGuard

from msgspec import structs

from config.model.bootstrap import HistogramBuckets
from config.model.matching import StringMatcher, StringMatchKind
from config.model.telemetry import NO_OPTIONS, HistogramPreset, TelemetryOptions
from config.proto.path import Path
from config.spelling import did_you_mean

OPTIONS_KEY: Final = "SIDECAR_TELEMETRY"
BUCKETS_ANNOTATION: Final = "sidecar.istio.io/statsHistogramBuckets"


def _preset(value: object) -> HistogramPreset:
    return HistogramPreset(value)


def _seconds(value: object) -> float:
    """A number of seconds, or a text as Envoy writes durations: `1.5s`."""
    if isinstance(value, str) and value.endswith("s"):
        value = float(value[:-1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError
    return float(value)


def _count(value: object) -> int:
    """A whole number above 0; metadata has only floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 1e9 or value % 1:
        raise ValueError
    return int(value)


def _flag(value: object) -> bool:
    """`true` or `false`; in environments also as text."""
    words = {"true": True, "false": False}
    return value if isinstance(value, bool) else words[str(value).lower()]


#: key -> (field of TelemetryOptions, reader that raises ValueError, what is expected)
_READERS: Final[dict[str, tuple[str, Callable[[object], object], str]]] = {
    "histogram_preset": ("histogram_preset", _preset, "'envoy' or 'mixer'"),
    "series_expiry": ("series_expiry_s", _seconds, "a duration such as '3600s'"),
    "max_series": ("max_series", _count, "a whole number greater than 0"),
    "gateway_destination_reporter": ("gateway_destination_reporter", _flag, "true or false"),
    "tcp_peer_wait": ("tcp_peer_wait_s", _seconds, "a duration such as '10s'"),
    "unmatched_destination_service": ("unmatched_destination_service", _flag, "true or false"),
}


def _object(value: object, at: Path) -> Mapping[str, object]:
    """`value` as an object; {} with a warning if it is none. Metadata may hold it as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            at.warning(f"not valid JSON ({error}): the defaults are used")
            return {}
    if not isinstance(value, Mapping):
        at.warning("not an object: the defaults are used")
        return {}
    return value


def translate_telemetry_options(metadata: Mapping[str, object], at: Path) -> TelemetryOptions:
    """`SIDECAR_TELEMETRY` in the metadata of the node; `at` is the metadata."""
    if OPTIONS_KEY not in metadata:
        return NO_OPTIONS
    found: dict[str, object] = {}
    options_at = at.field(OPTIONS_KEY)
    for key, value in _object(metadata[OPTIONS_KEY], options_at).items():
        if key not in _READERS:
            options_at.warning(f"ignored: there is no option '{key}'{did_you_mean(key, _READERS)}")
            continue
        name, read, expected = _READERS[key]
        try:
            found[name] = read(value)
        except (ValueError, TypeError, KeyError):
            options_at.field(key).warning(f"must be {expected}: the default is used")
    return structs.replace(NO_OPTIONS, **found)


def translate_histogram_annotation(metadata: Mapping[str, object], at: Path) -> tuple[HistogramBuckets, ...]:
    """Istio's pod annotation, if the metadata has it: `{"prefix": [bounds]}`, by prefix in order. `at` is the metadata.

    Istio's agent writes it into the bootstrap as well; who starts the proxy without the agent need not.
    """
    annotations = metadata.get("ANNOTATIONS")
    if not isinstance(annotations, Mapping) or BUCKETS_ANNOTATION not in annotations:
        return ()
    annotation_at = at.field("ANNOTATIONS").key(BUCKETS_ANNOTATION)
    settings = _object(annotations[BUCKETS_ANNOTATION], annotation_at)
    found = []
    for prefix, bounds in sorted(settings.items()):
        if _are_bounds(bounds):
            matcher = StringMatcher(StringMatchKind.PREFIX, prefix)
            found.append(HistogramBuckets(matcher, tuple(map(float, bounds))))
        else:
            annotation_at.warning(f"'{prefix}' needs ascending numbers greater than 0: the defaults are used")
    return tuple(found)


def _are_bounds(value: object) -> TypeGuard[list[float]]:
    """Numbers above 0, each more than the one before."""
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in value):
        return False
    return all(lower < upper for lower, upper in itertools.pairwise((0, *value))) and value[-1] < math.inf
