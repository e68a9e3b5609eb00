"""`envoy.filters.http.rbac`: answers, counters and metadata. What Envoy says to the same is in tests/interop (bootstrap `rbac`)."""

from __future__ import annotations

from msgspec import structs

from config.model.core import HeaderMutations, HeaderValueOption
from config.model.http import RouterSpec
from config.model.matching import HeaderMatcher, StringMatcher, StringMatchKind
from config.model.rbac import (
    AnyRule,
    HeaderRule,
    OrRules,
    RbacAction,
    RbacPolicy,
    RbacRules,
    RbacSpec,
    UrlPathRule,
)
from config.model.route import DirectResponseAction, FilterOverride
from tests.support.http_floor import HttpFloor, request, response, route, route_to

ANY = OrRules((AnyRule(),))
ADMIN = HeaderRule(HeaderMatcher("x-role", StringMatcher(StringMatchKind.EXACT, "admin")))


def policy(name: str, path: str, *principals: HeaderRule) -> RbacPolicy:
    permission = UrlPathRule(StringMatcher(StringMatchKind.PREFIX, path))
    return RbacPolicy(name, OrRules((permission,)), OrRules(principals) if principals else ANY)


def rules(action: RbacAction, *policies: RbacPolicy) -> RbacRules:
    return RbacRules(action, policies)


def floor_of(spec: RbacSpec, override: FilterOverride | None = None) -> HttpFloor:
    """The filter's name is `0`; `override` is for `/route`."""
    overrides = {"0": override} if override is not None else {}
    own = structs.replace(route("/route", "web"), filter_overrides=overrides)
    return HttpFloor([own, route("/", "web")], filters=[spec, RouterSpec()])


def status(floor: HttpFloor, path: str, *fields: str) -> int:
    """The answer to one request on a connection of its own; what gets through is answered 200."""
    client = floor.connect()
    client.send(request("GET", path, *fields))
    answer = client.take()
    if not answer:
        server = floor.server()
        server.send(response(200))
        server.end()
        answer = client.take()
    return int(answer.split()[1])


def counters(floor: HttpFloor) -> dict[str, int]:
    return {
        name.removeprefix("http.test.rbac."): counter.value
        for name, counter in floor.store.counters.items()
        if ".rbac." in name and counter.value
    }


def metadata(floor: HttpFloor, namespace: str = "envoy.filters.http.rbac") -> dict[str, object]:
    """Of the last request, as its access log sees it."""
    info = floor.logger.lines[-1].info
    assert info.dynamic_metadata is not None
    return dict(info.dynamic_metadata[namespace])


def test_what_no_policy_allows_is_answered_403() -> None:
    floor = floor_of(RbacSpec(rules(RbacAction.ALLOW, policy("ops team", "/ops", ADMIN))))
    client = floor.connect()
    client.send(request("GET", "/ops"))
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"\r\n\r\nRBAC: access denied")
    info = floor.logger.lines[-1].info
    assert info.response_code_details == "rbac_access_denied_matched_policy[none]"
    assert info.flag_names == ""
    assert metadata(floor) == {"enforced_engine_result": "denied"}
    assert status(floor, "/ops", "x-role: admin") == 200
    assert metadata(floor) == {
        "enforced_engine_result": "allowed",
        "enforced_effective_policy_id": "ops team",
    }
    assert counters(floor) == {"allowed": 1, "denied": 1}


def test_what_a_policy_denies() -> None:
    floor = floor_of(RbacSpec(rules(RbacAction.DENY, policy("not you", "/ops"))))
    assert [status(floor, path) for path in ("/ops", "/")] == [403, 200]
    assert floor.logger.lines[0].info.response_code_details == "rbac_access_denied_matched_policy[not_you]"
    assert counters(floor) == {"allowed": 1, "denied": 1}


def test_without_rules_everything_passes_and_nothing_is_counted() -> None:
    floor = floor_of(RbacSpec())
    assert status(floor, "/") == 200
    assert counters(floor) == {}
    assert floor.logger.lines[-1].info.dynamic_metadata is None


def test_shadow_rules_only_say_what_they_would_have_done() -> None:
    spec = RbacSpec(
        shadow_rules=rules(RbacAction.ALLOW, policy("p", "/ok")),
        shadow_rules_stat_prefix="istio_dry_run_allow_",
    )
    floor = floor_of(spec)
    assert [status(floor, path) for path in ("/no", "/ok")] == [200, 200]
    assert metadata(floor) == {
        "istio_dry_run_allow_shadow_engine_result": "allowed",
        "istio_dry_run_allow_shadow_effective_policy_id": "p",
    }
    assert counters(floor) == {
        "istio_dry_run_allow_.shadow_allowed": 1,
        "istio_dry_run_allow_.shadow_denied": 1,
    }


def test_log_lets_everything_pass_and_leaves_a_hint() -> None:
    floor = floor_of(RbacSpec(rules(RbacAction.LOG, policy("p", "/logged"))))
    hints = []
    for path in ("/logged", "/"):
        assert status(floor, path) == 200
        hints.append(metadata(floor, "envoy.common"))
    assert hints == [{"access_log_hint": True}, {"access_log_hint": False}]
    assert counters(floor) == {"allowed": 2}


def test_counters_by_policy() -> None:
    spec = RbacSpec(
        rules(RbacAction.DENY, policy("a.b", "/a"), policy("never", "/never")),
        rules(RbacAction.ALLOW, policy("s", "/s")),
        rules_stat_prefix="r.",
        shadow_rules_stat_prefix="s",
        track_per_rule_stats=True,
    )
    floor = floor_of(spec)
    assert [status(floor, path) for path in ("/a", "/s")] == [403, 200]
    assert counters(floor) == {
        "r.allowed": 1,
        "r.denied": 1,
        "r.policy.a.b.denied": 1,
        "s.shadow_allowed": 1,
        "s.shadow_denied": 1,
        "s.policy.s.shadow_allowed": 1,
    }


def test_a_route_has_rules_of_its_own() -> None:
    deny_all = RbacSpec(rules(RbacAction.ALLOW), rules_stat_prefix="own_")
    floor = floor_of(RbacSpec(), FilterOverride(spec=deny_all))
    assert [status(floor, path) for path in ("/route", "/")] == [403, 200]
    assert counters(floor) == {"denied": 1}  # counted by the filter, whatever the route's prefix is
    assert floor.logger.lines[0].info.dynamic_metadata is not None
    assert dict(floor.logger.lines[0].info.dynamic_metadata["envoy.filters.http.rbac"]) == {
        "own_enforced_engine_result": "denied"
    }


def test_a_route_is_free_of_rules() -> None:
    for override in (FilterOverride(spec=RbacSpec()), FilterOverride(disabled=True)):
        floor = floor_of(RbacSpec(rules(RbacAction.ALLOW)), override)
        assert [status(floor, path) for path in ("/route", "/")] == [200, 403]


def test_grpc_clients_are_told_in_their_way() -> None:
    floor = floor_of(RbacSpec(rules(RbacAction.ALLOW)))
    client = floor.connect()
    client.send(request("POST", "/a.B/c", "content-type: application/grpc"))
    answer = client.take()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"grpc-status: 7\r\n" in answer
    assert b"grpc-message: RBAC: access denied\r\n" in answer


def test_header_rules_of_a_direct_response_are_for_that_alone() -> None:
    added = HeaderMutations(response_add=(HeaderValueOption("x-by", "route"),))
    direct = structs.replace(route_to("/", DirectResponseAction(200)), mutations=added)
    floor = HttpFloor([direct], filters=[RbacSpec(rules(RbacAction.DENY, policy("p", "/no"))), RouterSpec()])
    answers = []
    for path in ("/no", "/yes"):
        client = floor.connect()
        client.send(request("GET", path))
        answers.append(client.take())
    assert [b"x-by: route" in each for each in answers] == [False, True]
