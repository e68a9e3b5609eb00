"""The store of all stats, made from `stats_config`: tags, matcher, histogram bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from config.model.bootstrap import StatsSpec
from config.model.matching import StringMatcher, StringMatchKind
from config.model.telemetry import NO_OPTIONS, HistogramPreset, TelemetryOptions
from stats.istio import MIXER_BOUNDS
from stats.matcher import NameMatch, NameMatchKind, make_bounds_for, make_rejects
from stats.store import Store
from stats.tags import TagProducer, TagRule

_KINDS: Final = {
    StringMatchKind.EXACT: NameMatchKind.EXACT,
    StringMatchKind.PREFIX: NameMatchKind.PREFIX,
    StringMatchKind.SUFFIX: NameMatchKind.SUFFIX,
    StringMatchKind.CONTAINS: NameMatchKind.CONTAINS,
    StringMatchKind.REGEX: NameMatchKind.REGEX,
}


def build_store(
    spec: StatsSpec,
    command_line_tags: Iterable[tuple[str, str]] = (),
    telemetry: TelemetryOptions = NO_OPTIONS,
) -> Store:
    """Raises ValueError for what the translation could not judge (a default tag that does not exist)."""
    rules = [TagRule(name, fixed_value=value) for name, value in command_line_tags]
    rules += [TagRule(each.tag_name, each.regex, each.fixed_value) for each in spec.tags]
    bounds = [(_name(each.match), each.buckets) for each in spec.histogram_buckets]
    if telemetry.histogram_preset is HistogramPreset.MIXER:
        bounds += [(NameMatch(NameMatchKind.PREFIX, name), each) for name, each in MIXER_BOUNDS.items()]
    return Store(
        TagProducer(rules, spec.use_all_default_tags),
        make_rejects(spec.matcher.reject_all, _names(spec.matcher.inclusion), _names(spec.matcher.exclusion)),
        make_bounds_for(bounds),
        telemetry.max_series,
    )


def _name(matcher: StringMatcher) -> NameMatch:
    return NameMatch(_KINDS[matcher.kind], matcher.pattern, matcher.ignore_case)


def _names(matchers: tuple[StringMatcher, ...] | None) -> list[NameMatch] | None:
    return None if matchers is None else [_name(each) for each in matchers]
