"""`envoy.filters.http.rbac`: who may do what. Enforced rules answer 403; shadow rules only say what they would have done.

What was decided stands in the stream's dynamic metadata, for access logs and for filters behind this one.
"""

from __future__ import annotations

from typing import Final

from config.model.rbac import RbacAction, RbacSpec
from protocols.http.headers import Headers
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.policy.rbac import RbacEngine, Verdict
from sidecar.stream_info import StreamInfo
from sidecar.transport.flow import CONTINUE, HOLD, Flow
from sidecar.upstream.services import FilterContext
from stats.filter_families import RbacPolicyStats, RbacShadowStats, RbacStats
from stats.store import Scope

_NAMESPACE: Final = "envoy.filters.http.rbac"
_COMMON_NAMESPACE: Final = "envoy.common"
_ACCESS_LOG_HINT: Final = "access_log_hint"
_BODY: Final = b"RBAC: access denied"
_RESULTS: Final = {True: "allowed", False: "denied"}


class RbacRules:
    """The rules of the filter, or those of a route that replace them."""

    __slots__ = ("enforced", "enforced_keys", "shadow", "shadow_keys", "tracks_policies")

    def __init__(self, spec: RbacSpec) -> None:
        """Raises MatcherError for a bad regular expression."""
        self.enforced: Final = RbacEngine(spec.rules) if spec.rules is not None else None
        self.shadow: Final = RbacEngine(spec.shadow_rules) if spec.shadow_rules is not None else None
        self.enforced_keys: Final = _keys(spec.rules_stat_prefix, "enforced")
        self.shadow_keys: Final = _keys(spec.shadow_rules_stat_prefix, "shadow")
        self.tracks_policies: Final = spec.track_per_rule_stats


def _keys(prefix: str, kind: str) -> tuple[str, str]:
    """The keys of the result and of the policy that decided."""
    return f"{prefix}{kind}_engine_result", f"{prefix}{kind}_effective_policy_id"


class Rbac(HttpFilter):
    """Shared by all streams."""

    __slots__ = ("_name", "_policies", "_rules", "_shadow_policies", "_shadow_stats", "_stats")

    def __init__(self, spec: RbacSpec, name: str, scope: Scope) -> None:
        """`name`: by which routes name this filter. `scope`: `http.<stat_prefix>.rbac`."""
        self._name = name
        self._rules = RbacRules(spec)
        own = scope.scope(spec.rules_stat_prefix, verbatim=True)
        shadow = scope.scope(spec.shadow_rules_stat_prefix, verbatim=True)
        self._stats = RbacStats(own)
        self._shadow_stats = RbacShadowStats(shadow)
        self._policies = RbacPolicyStats(own)
        self._shadow_policies = RbacPolicyStats(shadow, "shadow_")

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        rules, info = self._rules, stream.info
        route = stream.route
        if route is not None and route.overrides:
            override = route.overrides.get(self._name)
            if override is not None and isinstance(override.config, RbacRules):
                rules = override.config
        if rules.shadow is not None:
            verdict = rules.shadow.judge(info)
            self._note(info, rules.shadow, verdict, rules.shadow_keys)
            counters = self._shadow_stats
            (counters.shadow_allowed if verdict.allowed else counters.shadow_denied).inc()
            if rules.tracks_policies and verdict.matched:
                self._shadow_policies.count(verdict.policy, verdict.allowed)
        if rules.enforced is None:
            return CONTINUE
        verdict = rules.enforced.judge(info)
        self._note(info, rules.enforced, verdict, rules.enforced_keys)
        (self._stats.allowed if verdict.allowed else self._stats.denied).inc()
        if rules.tracks_policies and verdict.matched:
            self._policies.count(verdict.policy, verdict.allowed)
        if verdict.allowed:
            return CONTINUE
        stream.reply(403, _BODY, details=_details(verdict))
        return HOLD

    def _note(self, info: StreamInfo, engine: RbacEngine, verdict: Verdict, keys: tuple[str, str]) -> None:
        """Before the reply, so that the access log of a refused request has it too."""
        result, policy = keys
        values: dict[str, object] = {result: _RESULTS[verdict.allowed]}
        if verdict.matched:
            values[policy] = verdict.policy
        info.add_dynamic_metadata(_NAMESPACE, values)
        if engine.action is RbacAction.LOG:
            info.add_dynamic_metadata(_COMMON_NAMESPACE, {_ACCESS_LOG_HINT: verdict.matched})


def _details(verdict: Verdict) -> str:
    """Details hold no white space."""
    policy = "_".join(verdict.policy.split(" ")) if verdict.matched else "none"
    return f"rbac_access_denied_matched_policy[{policy}]"


class RbacFactory(HttpFilterFactory):
    """Compiled once: rules and counters."""

    def __init__(self, spec: RbacSpec, context: FilterContext) -> None:
        super().__init__(Rbac)
        scope = context.services.scope.scope(f"http.{context.stat_prefix}", verbatim=True).scope("rbac")
        self._shared = Rbac(spec, context.filter_name, scope)

    def for_stream(self, stream: Stream) -> Rbac:
        return self._shared


def build(spec: RbacSpec, context: FilterContext) -> HttpFilterFactory:
    return RbacFactory(spec, context)
