"""The router: where a request goes, what failures look like, and when it is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from config.model.cluster import CircuitBreakerThresholds, ClusterSpec, UpstreamHttpOptions
from config.model.core import CidrRange, RoutingPriority
from config.model.http import RouterSpec
from config.model.route import RedirectAction, RetryPolicy
from tests.support.http_floor import (
    OK,
    Client,
    HttpFloor,
    Server,
    request,
    response,
    route,
    route_to,
    status_of,
)
from tests.support.upstream import endpoint, static_spec

GET = request()
POST = request("POST", body=b"body")
BEFORE = "upstream connect error or disconnect/reset before headers. "


def floor_of(*, policy: RetryPolicy | None = None, clusters: Any = (), **fields: Any) -> HttpFloor:
    return HttpFloor([route("/", "web", retry_policy=policy, **fields)], clusters=clusters)


def begin(floor: HttpFloor, sent: bytes = GET) -> tuple[Client, Server]:
    client = floor.connect()
    client.send(sent)
    return client, floor.server()


def body_of(answer: bytes) -> str:
    return answer.partition(b"\r\n\r\n")[2].decode()


def breakers(**limits: int) -> ClusterSpec:
    return static_spec("web", circuit_breakers={RoutingPriority.DEFAULT: CircuitBreakerThresholds(**limits)})


class TestFailures:
    def test_no_route(self) -> None:
        floor = HttpFloor([])
        client = floor.connect()
        client.send(GET)
        answer = client.take()
        assert status_of(answer) == 404
        assert b"content-length: 0\r\n" in answer
        assert repr(floor.last) == "404 NR route_not_found"
        assert floor.stat("no_route") == 1
        assert not client.closed

    def test_unknown_cluster(self) -> None:
        floor = HttpFloor([route("/", "nope")])
        client = floor.connect()
        client.send(GET)
        assert status_of(client.take()) == 503
        assert repr(floor.last) == "503 NC cluster_not_found"
        assert floor.last.info.cluster_name == ""

    def test_no_hosts(self) -> None:
        floor = floor_of(clusters=[ClusterSpec("web", "web")])
        client = floor.connect()
        client.send(GET)
        assert body_of(client.take()) == "no healthy upstream"
        assert repr(floor.last) == "503 UH no_healthy_upstream"
        assert floor.value("cluster.web.upstream_rq_503") == 1

    def test_refused(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        assert body_of(client.take()) == BEFORE + "reset reason: remote connection failure"
        assert repr(floor.last) == (
            "503 UF upstream_reset_before_response_started"
            "{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        )
        assert floor.value("cluster.web.external.upstream_rq_5xx") == 1

    def test_connect_timeout(self) -> None:
        floor = floor_of(clusters=[static_spec("web", connect_timeout_s=1.0)])
        client = floor.connect()
        client.send(GET)
        floor.advance(1.1)
        assert body_of(client.take()) == BEFORE + "reset reason: connection timeout"
        assert floor.last.flags == "UF"

    def test_overflow(self) -> None:
        floor = floor_of(clusters=[breakers(max_pending_requests=0)])
        client = floor.connect()
        client.send(GET)
        answer = client.take()
        assert body_of(answer) == BEFORE + "reset reason: overflow"
        assert b"x-envoy-overloaded: true\r\n" in answer
        assert repr(floor.last) == "503 UO upstream_reset_before_response_started{overflow}"

    def test_closed_without_an_answer(self) -> None:
        floor = floor_of()
        client, server = begin(floor)
        server.end()
        assert body_of(client.take()) == BEFORE + "reset reason: connection termination"
        assert repr(floor.last) == "503 UC upstream_reset_before_response_started{connection_termination}"
        assert not client.closed

    def test_answer_that_is_not_http(self) -> None:
        floor = floor_of()
        client, server = begin(floor)
        server.send(b"XYZ\r\n\r\n")
        assert status_of(client.take()) == 502
        assert repr(floor.last) == "502 UPE upstream_reset_before_response_started{protocol_error}"
        assert floor.value("cluster.web.upstream_rq_502") == 1

    def test_route_timeout(self) -> None:
        floor = floor_of(timeout_s=1.0)
        client, server = begin(floor)
        floor.advance(0.9)
        assert client.take() == b""
        floor.advance(0.2)
        assert body_of(client.take()) == "upstream request timeout"
        assert repr(floor.last) == "504 UT response_timeout"
        assert server.closed
        assert floor.value("cluster.web.upstream_rq_timeout") == 1
        (host,) = floor.fakes["web"].cluster.hosts()
        assert (host.rq_timeout, host.rq_active) == (1, 0)

    def test_route_timeout_begins_with_the_end_of_the_request(self) -> None:
        floor = floor_of(timeout_s=1.0)
        client, server = begin(floor, request("POST", "/", "content-length: 4") + b"bo")
        floor.advance(5)
        client.send(b"dy")
        floor.advance(0.9)
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_route_timeout_within_the_response(self) -> None:
        floor = floor_of(timeout_s=1.0)
        client, server = begin(floor)
        server.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab")
        floor.advance(1.1)
        assert client.ended
        assert repr(floor.last) == "200 UT response_timeout"

    def test_no_timeout(self) -> None:
        floor = HttpFloor([route("/", "web", timeout_s=None)], stream_idle_timeout_s=None)
        client, server = begin(floor)
        floor.advance(10_000)
        assert b"expected-rq-timeout" not in server.take()
        server.send(OK)
        assert status_of(client.take()) == 200

    def test_grpc_gets_its_own_form(self) -> None:
        floor = floor_of()
        client = floor.connect()
        client.send(request("POST", "/a.B/C", "content-type: application/grpc+proto"))
        floor.refuse()
        answer = client.take()
        assert status_of(answer) == 200
        assert b"grpc-status: 14\r\n" in answer
        assert b"grpc-message: upstream connect error" in answer
        assert body_of(answer) == ""

    def test_suppressed_envoy_headers(self) -> None:
        floor = HttpFloor([route("/", "web")], filters=[RouterSpec(suppress_envoy_headers=True)])
        client, server = begin(floor)
        assert b"x-envoy" not in server.take()
        server.send(OK)
        assert b"x-envoy" not in client.take()


class TestRedirect:
    def test_location(self) -> None:
        floor = HttpFloor([route_to("/", RedirectAction(host_redirect="x.y"))])
        client = floor.connect()
        client.send(request("GET", "/p?q"))
        answer = client.take()
        assert status_of(answer) == 301
        assert b"location: http://x.y/p?q\r\n" in answer
        assert repr(floor.last) == "301 - direct_response"


class TestStaleConnection:
    """A server that closes an idle connection just as the next request is sent on it."""

    def warm(self, **fields: Any) -> tuple[HttpFloor, Client, Server]:
        floor = floor_of(**fields)
        client, server = begin(floor)
        server.send(OK)
        client.take()
        server.take()
        return floor, client, server

    def test_is_tried_once_more(self) -> None:
        floor, client, server = self.warm()
        client.send(request("GET", "/again"))
        server.end()
        assert client.take() == b""
        second = floor.server()
        assert second.take().startswith(b"GET /again ")
        second.send(OK)
        assert status_of(client.take()) == 200
        assert floor.last.flags == "-"
        assert floor.last.attempts == 1

    def test_only_once(self) -> None:
        floor, client, server = self.warm()
        client.send(GET)
        server.end()
        floor.server().end()
        answer = client.take()
        assert status_of(answer) == 503
        assert answer.endswith(b"reset before headers. reset reason: connection termination")
        assert floor.asked() == 2
        assert floor.last.flags == "UC"
        assert floor.last.attempts == 1

    def test_with_its_body(self) -> None:
        floor, client, server = self.warm()
        client.send(request("PUT", "/", "content-length: 4") + b"bo")
        server.end()
        second = floor.server()
        assert second.take().endswith(b"\r\n\r\nbo")
        client.send(b"dy")
        assert second.take() == b"dy"
        second.send(OK)
        assert status_of(client.take()) == 200

    def test_not_when_the_body_is_too_big_to_keep(self) -> None:
        floor, client, server = self.warm()
        client.send(request("PUT", "/", "content-length: 2000000") + bytes(1_100_000))
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_not_for_a_method_that_must_not_be_repeated(self) -> None:
        floor, client, server = self.warm()
        client.send(POST)
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_not_when_the_server_was_at_work_on_it(self) -> None:
        floor, client, server = self.warm()
        client.send(GET)
        floor.advance(0.6)
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_not_after_a_1xx(self) -> None:
        floor, client, server = self.warm()
        client.send(GET)
        server.send(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1
        assert floor.last.flags == "UC"

    def test_not_on_a_new_connection(self) -> None:
        floor = floor_of()
        client, server = begin(floor)
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_not_after_a_byte_of_the_response(self) -> None:
        floor, client, server = self.warm()
        client.send(GET)
        server.send(b"HTT")
        server.end()
        assert status_of(client.take()) in (502, 503)
        assert floor.asked() == 1


class TestRetryPolicy:
    def test_answers_that_were_retried_are_counted(self) -> None:
        floor = floor_of(policy=RetryPolicy(("5xx",), 1))
        client = floor.connect()
        client.send(GET)
        server = floor.server()
        server.send(response(503))
        floor.advance(0.3)
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.value("cluster.web.upstream_rq_completed") == 1
        for name in ("completed", "5xx", "503"):
            assert floor.value(f"cluster.web.retry.upstream_rq_{name}") == 1

    def test_connect_failure(self) -> None:
        floor = floor_of(policy=RetryPolicy(("connect-failure",), 1))
        client = floor.connect()
        client.send(POST)
        floor.refuse()
        assert client.take() == b""
        floor.advance(0.3)
        server = floor.server()
        assert server.take().endswith(b"body")
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.value("cluster.web.upstream_rq_retry") == 1
        assert floor.value("cluster.web.upstream_rq_retry_success") == 1
        assert floor.value("cluster.web.retry.upstream_rq_completed") == 0
        assert floor.fakes["web"].active_gauges() == {
            "upstream_cx_active": 1,
            "connections": 1,
            "host cx_active": 1,
        }

    def test_limit(self) -> None:
        floor = floor_of(policy=RetryPolicy(("connect-failure",), 1))
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        floor.advance(0.3)
        floor.refuse()
        answer = client.take()
        assert body_of(answer) == BEFORE + "retried and the latest reset reason: remote connection failure"
        assert set(floor.last.flags.split(",")) == {"UF", "URX"}
        assert floor.value("cluster.web.upstream_rq_retry_limit_exceeded") == 1

    @pytest.mark.parametrize(
        ("retry_on", "codes", "status", "retried"),
        [
            ("5xx", (), 500, True),
            ("5xx", (), 404, False),
            ("gateway-error", (), 502, True),
            ("gateway-error", (), 500, False),
            ("retriable-status-codes", (418,), 418, True),
            ("retriable-status-codes", (), 418, False),
            ("retriable-4xx", (), 409, True),
            ("connect-failure", (), 503, False),
        ],
    )
    def test_statuses(self, retry_on: str, codes: tuple[int, ...], status: int, retried: bool) -> None:
        floor = floor_of(policy=RetryPolicy((retry_on,), 1, retriable_status_codes=codes))
        client, server = begin(floor)
        server.send(response(status))
        floor.advance(0.3)
        if not retried:
            assert status_of(client.take()) == status
            return
        assert client.take() == b""
        second = server if floor.asked() == 1 else floor.server()
        second.send(OK)
        assert status_of(client.take()) == 200

    def test_last_status_is_passed_on(self) -> None:
        floor = floor_of(policy=RetryPolicy(("5xx",), 1))
        client, server = begin(floor)
        server.send(response(503, body=b"one"))
        floor.advance(0.3)
        floor.server().send(response(503, body=b"two"))
        assert body_of(client.take()) == "two"
        assert repr(floor.last) == "503 URX via_upstream"

    def test_reset(self) -> None:
        floor = floor_of(policy=RetryPolicy(("reset",), 2))
        client, server = begin(floor, POST)
        server.end()
        floor.advance(0.3)
        second = floor.server()
        assert second.take().endswith(b"body")
        second.send(OK)
        assert status_of(client.take()) == 200

    def test_reset_before_request_does_not_repeat_a_request_that_was_sent(self) -> None:
        floor = floor_of(policy=RetryPolicy(("reset-before-request",), 2))
        client, server = begin(floor, POST)
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_another_host_is_tried(self) -> None:
        cluster = static_spec("web", endpoint(81), endpoint(82))
        floor = floor_of(policy=RetryPolicy(("connect-failure",), 1), clusters=[cluster])
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        floor.advance(0.3)
        floor.server().send(OK)
        assert status_of(client.take()) == 200
        totals = sorted(host.cx_total for host in floor.fakes["web"].cluster.hosts())
        assert totals == [1, 1]

    def test_circuit_breaker(self) -> None:
        floor = floor_of(policy=RetryPolicy(("connect-failure",), 1), clusters=[breakers(max_retries=0)])
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        assert status_of(client.take()) == 503
        assert set(floor.last.flags.split(",")) == {"UF", "UO"}
        assert floor.value("cluster.web.upstream_rq_retry_overflow") == 1

    def test_per_try_timeout(self) -> None:
        floor = floor_of(policy=RetryPolicy(("5xx",), 1, per_try_timeout_s=0.5), timeout_s=5.0)
        client, server = begin(floor)
        assert b"x-envoy-expected-rq-timeout-ms: 500\r\n" in server.take()
        floor.advance(0.8)
        assert server.closed
        assert client.take() == b""
        second = floor.server()
        floor.advance(0.6)
        assert second.closed
        assert body_of(client.take()) == "upstream request timeout"
        assert floor.last.details == "upstream_per_try_timeout"
        assert set(floor.last.flags.split(",")) == {"UT", "URX"}

    def test_route_timeout_spans_the_retries(self) -> None:
        floor = floor_of(policy=RetryPolicy(("5xx",), 9, per_try_timeout_s=0.4), timeout_s=1.0)
        client, _ = begin(floor)
        floor.advance(1.1)
        assert status_of(client.take()) == 504
        assert floor.last.details == "response_timeout"
        assert floor.idle()

    def test_client_that_leaves_during_the_wait(self) -> None:
        floor = floor_of(policy=RetryPolicy(("connect-failure",), 1))
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        client.lose()
        floor.advance(1)
        assert floor.asked() == 1
        assert floor.fakes["web"].active_gauges() == {}

    def test_body_that_is_too_big_is_not_repeated(self) -> None:
        floor = floor_of(policy=RetryPolicy(("reset",), 1))
        client, server = begin(floor, request("POST", body=bytes(1_100_000)))
        server.end()
        assert status_of(client.take()) == 503
        assert floor.asked() == 1

    def test_attempts_are_counted_for_both_sides(self) -> None:
        host = {"include_request_attempt_count": True, "include_attempt_count_in_response": True}
        routes = [route("/", "web", retry_policy=RetryPolicy(("connect-failure",), 1))]
        floor = HttpFloor(routes, virtual_host=host)
        client = floor.connect()
        client.send(GET)
        floor.refuse()
        floor.advance(0.3)
        server = floor.server()
        assert b"x-envoy-attempt-count: 2\r\n" in server.take()
        server.send(OK)
        assert b"x-envoy-attempt-count: 2\r\n" in client.take()


class TestRequestHeaders:
    def test_internal_client_may_ask_for_retries(self) -> None:
        ranges = (CidrRange("10.0.0.0", 8),)
        floor = HttpFloor([route("/", "web")], internal_address_ranges=ranges)
        client = floor.connect()
        asked = ("x-forwarded-for: 10.0.0.7", "x-envoy-retry-on: connect-failure", "x-envoy-max-retries: 1")
        client.send(request("GET", "/", *asked))
        floor.refuse()
        floor.advance(0.3)
        server = floor.server()
        assert b"retry" not in server.take()
        server.send(OK)
        assert status_of(client.take()) == 200
        assert floor.value("cluster.web.internal.upstream_rq_200") == 1

    def test_auto_host_rewrite(self) -> None:
        cluster = static_spec("web", endpoint(hostname="real.host"))
        floor = floor_of(clusters=[cluster], auto_host_rewrite=True)
        _, server = begin(floor)
        assert b"host: real.host\r\n" in server.take()

    def test_auto_sni_is_part_of_the_pool(self) -> None:
        floor = floor_of(clusters=[static_spec("web", http_options=UpstreamHttpOptions(auto_sni=True))])
        client, server = begin(floor)
        server.send(OK)
        assert status_of(client.take()) == 200


class TestHostCounters:
    def test_success_and_error(self) -> None:
        floor = floor_of()
        client, server = begin(floor)
        server.send(OK)
        client.send(GET)
        server.send(response(500))
        (host,) = floor.fakes["web"].cluster.hosts()
        assert (host.rq_success, host.rq_error, host.rq_total) == (1, 1, 2)
        assert floor.value("cluster.web.upstream_rq_completed") == 2
        assert floor.value("cluster.web.upstream_rq_time") == 2
