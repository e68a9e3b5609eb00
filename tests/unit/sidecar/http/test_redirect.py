from __future__ import annotations

import pytest

from config.model.route import PathMatchKind, RedirectAction, RedirectCode, RegexRewrite
from sidecar.http.route import RedirectRoute

from .route_specs import find, host, request, route, table

#: RedirectAction, request target, `location`: recorded from Envoy 1.40 for `host: a.example`.
OBSERVED = [
    (RedirectAction(https_redirect=True), b"/r/a?b=1", b"https://a.example/r/a?b=1"),
    (RedirectAction(host_redirect="new.host"), b"/r/a?b=1", b"http://new.host/r/a?b=1"),
    (RedirectAction(port_redirect=8443), b"/r/a?b=1", b"http://a.example:8443/r/a?b=1"),
    (RedirectAction(path_redirect="/np"), b"/r/a?b=1", b"http://a.example/np?b=1"),
    (RedirectAction(path_redirect="/np"), b"/r/a", b"http://a.example/np"),
    (RedirectAction(path_redirect="/np?z=1", strip_query=True), b"/r/a?b=1", b"http://a.example/np?z=1"),
    (RedirectAction(path_redirect="/np", strip_query=True), b"/r/a?b=1", b"http://a.example/np"),
    (RedirectAction(path_redirect="/np#frag"), b"/r/a?b=1", b"http://a.example/np#frag?b=1"),
    (RedirectAction(prefix_rewrite="/P/"), b"/r/a?b=1", b"http://a.example/P/a?b=1"),
    (
        RedirectAction(regex_rewrite=RegexRewrite("/r/(.*)", r"/x/\1")),
        b"/r/a?b=1",
        b"http://a.example/x/a?b=1",
    ),
    (RedirectAction(scheme_redirect="ftp", strip_query=True), b"/r/a?b=1", b"ftp://a.example/r/a"),
    (
        RedirectAction(https_redirect=True, port_redirect=444, host_redirect="h2"),
        b"/r/a?b=1",
        b"https://h2:444/r/a?b=1",
    ),
    (RedirectAction(), b"/r/a?b=1", b"http://a.example/r/a?b=1"),
]


@pytest.mark.parametrize(("action", "target", "location"), OBSERVED)
def test_location_as_envoy_builds_it(action: RedirectAction, target: bytes, location: bytes) -> None:
    headers = request(target)
    found = find(table(host(route("/r/", action))), headers)
    assert isinstance(found, RedirectRoute)
    assert found.location(headers) == location


#: Host and `x-forwarded-proto`, then `location` for https_redirect, for that with port 443, and for scheme_redirect http.
OBSERVED_PORTS = [
    (b"red", b"http", b"https://red/s", b"https://red:443/s", b"http://red/s"),
    (b"red:80", b"http", b"https://red/s", b"https://red:443/s", b"http://red:80/s"),
    (b"red:80", b"https", b"https://red:80/s", b"https://red:443/s", b"http://red:80/s"),
    (b"red:443", b"http", b"https://red:443/s", b"https://red:443/s", b"http://red:443/s"),
    (b"red:443", b"https", b"https://red:443/s", b"https://red:443/s", b"http://red/s"),
    (b"red:8080", b"http", b"https://red:8080/s", b"https://red:443/s", b"http://red:8080/s"),
    (b"[::1]", b"http", b"https://[::1]/s", b"https://[::1]:443/s", b"http://[::1]/s"),
    (b"[::1]:80", b"http", b"https://[::1]/s", b"https://[::1]:443/s", b"http://[::1]:80/s"),
]


@pytest.mark.parametrize(("authority", "proto", "to_https", "to_port", "to_http"), OBSERVED_PORTS)
def test_default_port_of_the_old_scheme_is_dropped(
    authority: bytes, proto: bytes, to_https: bytes, to_port: bytes, to_http: bytes
) -> None:
    for action, expected in (
        (RedirectAction(https_redirect=True), to_https),
        (RedirectAction(https_redirect=True, port_redirect=443), to_port),
        (RedirectAction(scheme_redirect="http"), to_http),
    ):
        headers = request(b"/s", authority, (b"x-forwarded-proto", proto), scheme=proto)
        found = find(table(host(route("/", action))), headers)
        assert isinstance(found, RedirectRoute)
        assert found.location(headers) == expected


@pytest.mark.parametrize(
    ("path", "kind", "case_sensitive", "target", "location"),
    [
        ("/CC", PathMatchKind.PREFIX, False, b"/ccC?x", b"http://a.example/zzC?x"),
        ("/exa", PathMatchKind.PATH, True, b"/exa?b", b"http://a.example/zz?b"),
        ("/sep", PathMatchKind.PATH_SEPARATED_PREFIX, True, b"/sep/a?b", b"http://a.example/zz/a?b"),
        ("/re.*", PathMatchKind.SAFE_REGEX, True, b"/re/a?b", b"http://a.example/zz?b"),
    ],
)
def test_prefix_rewrite_replaces_what_was_matched(
    path: str, kind: PathMatchKind, case_sensitive: bool, target: bytes, location: bytes
) -> None:
    action = RedirectAction(prefix_rewrite="/zz")
    headers = request(target)
    routes = table(host(route(path, action, kind, match={"case_sensitive": case_sensitive})))
    found = find(routes, headers)
    assert isinstance(found, RedirectRoute)
    assert found.location(headers) == location


@pytest.mark.parametrize("code", list(RedirectCode))
def test_status(code: RedirectCode) -> None:
    found = find(table(host(route("/", RedirectAction(response_code=code)))), request())
    assert isinstance(found, RedirectRoute)
    assert found.status == code.value
