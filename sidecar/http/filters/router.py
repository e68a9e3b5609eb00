"""`envoy.filters.http.router`: the terminal filter. It sends the request to a host of the route's cluster and brings the answer.

Attempts are `UpstreamRequest`s, one at a time. What has come of the body is kept until the first attempt has a connection,
and beyond that only while a retry is still possible, within a bound: a long body makes its request not repeatable, never the
process big.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from config.model.http import RouterSpec
from protocols.http import names
from protocols.http.codec import HttpVersion, ResetReason, sum_of
from protocols.http.headers import Headers
from sidecar.http import local_reply
from sidecar.http.api import HttpFilter, HttpFilterFactory, Stream
from sidecar.http.request_body import RequestBody
from sidecar.http.retry import (
    IDEMPOTENT_METHODS,
    RetryConditions,
    RetryState,
    Verdict,
    conditions_of,
    merged,
)
from sidecar.http.route import (
    DirectResponseRoute,
    ForwardRoute,
    RedirectRoute,
    Route,
    TlsRedirectRoute,
)
from sidecar.http.router_headers import (
    NO_RETRY_HEADERS,
    set_attempt_count,
    take_retry_headers,
    take_timeouts,
    tell_grpc_timeout,
)
from sidecar.http.routing import without_port
from sidecar.http.upstream_request import UpstreamRequest
from sidecar.stream_info import ResponseFlag
from sidecar.telemetry.failures import begun
from sidecar.transport.flow import Flow
from sidecar.upstream import failed_attempt
from sidecar.upstream.api import LbContext, UpstreamFailure
from sidecar.upstream.connect_stream import ConnectStream
from sidecar.upstream.failed_attempt import Failure
from stats.families import RouterStats

if TYPE_CHECKING:
    from sidecar.http.stream_trace import StreamTrace
    from sidecar.stream_info import StreamInfo, UpstreamHost, UpstreamInfo
    from sidecar.transport.timers import Cancellable
    from sidecar.upstream.api import Cluster
    from sidecar.upstream.services import FilterContext

_SERVICE_TIME: Final = b"x-envoy-upstream-service-time"
_OVERLOADED: Final = ((b"x-envoy-overloaded", b"true"),)
_VIA_UPSTREAM: Final = "via_upstream"
_UPGRADE_UNSUCCESSFUL: Final = "websocket_handshake_unsuccessful"
_NANOSECONDS_PER_MS: Final = 1_000_000
#: What a server that had closed its idle connection needs to say so, generously: later it was at work on the request.
_CLOSED_WHILE_IDLE_NS: Final = 500 * _NANOSECONDS_PER_MS


class Router(HttpFilter):
    """The router of one stream. Implements `AttemptOwner`."""

    __slots__ = (
        "_attempt",
        "_awaits_grant",
        "_backoff",
        "_body",
        "_cluster",
        "_ends_connect",
        "_factory",
        "_headers",
        "_internal",
        "_keeps_body",
        "_per_try_ms",
        "_per_try_timer",
        "_repeated",
        "_request_ended",
        "_response_started",
        "_retry",
        "_route",
        "_stream",
        "_timeout_ms",
        "_timer",
        "_trace",
        "_trailers",
        "_tried",
        "_tunnel",
        "_upgrade",
        "_upstream_full",
    )

    def __init__(self, factory: RouterFactory) -> None:
        self._factory = factory
        self._stream: Stream | None = None
        self._trace: StreamTrace | None = None
        self._cluster: Cluster | None = None
        self._attempt: UpstreamRequest | None = None
        self._retry: RetryState | None = None
        self._timer: Cancellable | None = None
        self._per_try_timer: Cancellable | None = None
        self._backoff: Cancellable | None = None
        self._body: RequestBody | None = None  # None also while there is none
        self._keeps_body = True  # all of the body so far is in `_body`
        self._trailers: Headers | None = None
        self._request_ended = False
        self._response_started = False
        self._repeated = False  # the one retry without a policy was spent
        self._upstream_full = False  # the way of the attempt that is under way
        self._awaits_grant = False  # what is for a tunnel waits until the upstream has granted it (Envoy)
        self._tried: tuple[UpstreamHost, ...] = ()

    # --- the request

    def on_request_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        factory = self._factory
        factory.stats.rq_total.inc()
        route = stream.route
        if type(route) is not ForwardRoute:
            self._answer(stream, route, headers)
            return Flow.HOLD
        cluster = stream.cluster
        if cluster is None:
            factory.stats.no_cluster.inc()
            _fail(stream, failed_attempt.cluster_not_found(route.cluster_not_found_status))
            return Flow.HOLD
        self._stream = stream
        self._route = route
        self._cluster = cluster
        self._headers = headers
        self._request_ended = end
        self._internal = headers.get(b"x-envoy-internal") == b"true"
        self._upgrade = names.UPGRADE in headers
        self._ends_connect = route.connect is not None and route.ends_connect(headers.method)
        self._tunnel = self._upgrade or self._ends_connect or headers.method == names.CONNECT
        self._awaits_grant = self._tunnel and not self._ends_connect
        grpc_timeouts = route.grpc_timeouts(headers)
        timeouts = take_timeouts(
            headers,
            grpc_timeouts or route.timeouts,
            respect_expected_rq_timeout=factory.respect_expected_rq_timeout,
            insert_expected=factory.inserts_headers,
        )
        if grpc_timeouts is not None:
            tell_grpc_timeout(headers, timeouts)
        self._timeout_ms, self._per_try_ms = timeouts
        self._take_retries(stream, route, cluster, headers)
        route.finalize_request(headers, stream.info, insert_original_path=factory.inserts_headers)
        trace = self._trace = stream.trace
        if trace is not None:
            trace.on_request(headers, factory.start_child_span)
        if self._timeout_ms and (self._upgrade or (end and not self._ends_connect)):
            self._timer = factory.timers.after(self._timeout_ms / 1000, self._on_timeout)
        self._start_attempt()
        return Flow.CONTINUE

    def _answer(self, stream: Stream, route: Route | None, headers: Headers) -> None:
        """A route that does not forward, or no route."""
        stats = self._factory.stats
        match route:
            case DirectResponseRoute():
                stats.rq_direct_response.inc()
                location = route.location(headers)
                fields = ((names.LOCATION, location),) if location is not None else ()
                stream.reply(route.status, route.body, details=local_reply.DIRECT_RESPONSE, headers=fields)
            case RedirectRoute() | TlsRedirectRoute():
                stats.rq_direct_response.inc()
                fields = ((names.LOCATION, route.location(headers)),)
                stream.reply(route.status, details=local_reply.DIRECT_RESPONSE, headers=fields)
            case _:
                stats.no_route.inc()
                _fail(stream, local_reply.NO_ROUTE)

    def _take_retries(self, stream: Stream, route: ForwardRoute, cluster: Cluster, headers: Headers) -> None:
        policy = route.retry_policy
        asked = take_retry_headers(headers)
        if asked is NO_RETRY_HEADERS:
            if policy is None:
                return
            conditions = self._factory.conditions_of(route)
            retries = policy.num_retries
        else:
            conditions, retries = merged(policy, asked)
        if conditions is not None:
            breaker = cluster.circuit_breaker(route.priority)
            self._retry = RetryState(conditions, retries, cluster.stats, breaker, stream.services.random)

    def on_request_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        attempt = self._attempt
        upstream = attempt.upstream if attempt is not None and not self._awaits_grant else None
        if data and self._keeps_body:
            self._keep(data, upstream is not None)
        if end:
            self._end_request()
        if upstream is not None:
            if end:
                stream.info.last_upstream_tx_byte_ns = self._factory.now_ns()
            upstream.send_data(data, end)
        return data

    def on_request_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        self._trailers = trailers
        self._end_request()
        attempt = self._attempt
        if attempt is not None and attempt.upstream is not None:
            stream.info.last_upstream_tx_byte_ns = self._factory.now_ns()
            attempt.upstream.send_trailers(trailers)
        return Flow.CONTINUE

    def _keep(self, data: bytes, sent: bool) -> None:
        body = self._body
        if body is None:
            body = self._body = RequestBody()
        body.add(data)
        if sent:
            if body.is_too_long or not self._may_retry():
                self._drop_body()
        elif body.is_too_long and not body.client_waits:
            body.client_waits = True
            self._pause_request(True)

    def _drop_body(self) -> None:
        self._keeps_body = False
        body, self._body = self._body, None
        if body is not None and body.client_waits:
            body.client_waits = False
            self._pause_request(False)

    def _may_retry(self) -> bool:
        """Whether a later failure of the attempt that is now under way could lead to another one."""
        if self._response_started:
            return False
        if self._retry is not None and self._retry.left:
            return True
        attempt = self._attempt
        if attempt is None or self._repeated:
            return False
        if attempt.upstream is not None and attempt.upstream.version is HttpVersion.HTTP2:
            return True
        return attempt.reused and self._headers.method in IDEMPOTENT_METHODS

    def _end_request(self) -> None:
        """The route timeout begins when the request is complete (Envoy)."""
        self._request_ended = True
        if self._response_started and self._attempt is None:
            return
        if self._tunnel and not self._awaits_grant:  # one that is half-closed may go on for ever
            return
        if self._timeout_ms and self._timer is None:  # that of an upgrade begins with its head
            self._timer = self._factory.timers.after(self._timeout_ms / 1000, self._on_timeout)
        attempt = self._attempt
        if self._per_try_ms and attempt is not None and attempt.upstream is not None:
            self._arm_per_try()

    def _pause_request(self, full: bool) -> None:
        if self._stream is not None:
            self._stream.pause_request(full)

    # --- attempts

    def _start_attempt(self) -> None:
        stream, cluster, route = self._stream, self._cluster, self._route
        assert stream is not None and cluster is not None
        if self._upstream_full:  # that of the attempt before
            self.on_attempt_full(False)
        headers, info = self._headers, stream.info
        info.attempt_count += 1
        if route.include_request_attempt_count:
            set_attempt_count(headers, info.attempt_count)
        attempt = self._attempt = UpstreamRequest(self)
        trace = self._trace
        if trace is not None:
            attempt.span = trace.begin_attempt(headers, info, cluster, self._factory.start_child_span)
        context = LbContext(stream.connection_info, headers, route.metadata_match, self._tried)
        if self._ends_connect:
            tcp = ConnectStream(attempt, self._factory.timers)
            attempt.wait(cluster.new_connection(context, tcp, priority=route.priority))
            return
        attempt.wait(
            cluster.new_stream(
                context,
                attempt,
                downstream_version=stream.downstream_version,
                priority=route.priority,
                application_protocols=info.application_protocols,
                server_name=_server_name(headers) if cluster.spec.http_options.auto_sni else "",
            )
        )

    def on_attempt_ready(self, attempt: UpstreamRequest) -> None:
        stream, upstream = self._stream, attempt.upstream
        assert stream is not None and upstream is not None
        info, headers = stream.info, self._headers
        info.upstream = upstream.info
        if info.upstream_exchange is not None and info.attempt_count > 1:
            info.earlier_exchanges = sum_of(info.earlier_exchanges, info.upstream_exchange.meter)
        info.upstream_exchange = upstream
        route = self._route
        if route.auto_host_rewrite:
            route.set_upstream_host(
                headers, upstream.info.hostname, insert_original_path=self._factory.inserts_headers
            )
        attempt.started = True
        if self._awaits_grant:
            info.first_upstream_tx_byte_ns = self._factory.now_ns()
            upstream.send_headers(headers, False)
            if self._per_try_ms and (self._upgrade or self._request_ended):
                self._arm_per_try()
            return
        ended = self._request_ended
        attempt.sent_ns = info.first_upstream_tx_byte_ns = self._factory.now_ns()
        trace = self._trace
        if trace is not None:
            trace.first_sent_ns = attempt.sent_ns
            if attempt.span is not None:
                attempt.span.sent_ns = attempt.sent_ns
        if ended:
            info.last_upstream_tx_byte_ns = attempt.sent_ns
        body, trailers = self._body, self._trailers
        if body is None and trailers is None:
            upstream.send_headers(headers, ended)
        else:
            upstream.send_headers(headers, False)
            if body is not None:
                upstream.send_data(body.join(), ended and trailers is None)
            if trailers is not None:
                upstream.send_trailers(trailers)
        if body is not None:
            if body.client_waits:
                body.client_waits = False
                stream.pause_request(False)
            if body.is_too_long or not self._may_retry():
                self._drop_body()
        if self._per_try_ms and ended:
            self._arm_per_try()

    def on_attempt_failed(self, failure: UpstreamFailure, details: str, info: UpstreamInfo) -> None:
        stream, retry = self._stream, self._retry
        assert stream is not None
        stream.info.upstream = info
        self._note_failed(failure.name.lower(), details)
        flags = 0
        if failure in (UpstreamFailure.CONNECT_FAILURE, UpstreamFailure.CONNECT_TIMEOUT):
            wanted = retry is not None and retry.conditions.retries_connect_failure()
            flags = self._judge_failed(wanted)
            if flags < 0:
                return
        self._abort_counted(
            failed_attempt.pool_failure(failure, details, stream.info.attempt_count > 1), flags, info.host
        )

    def on_attempt_reset(self, reason: ResetReason, details: str) -> None:
        stream, attempt = self._stream, self._attempt
        assert stream is not None and attempt is not None
        info = stream.info
        host = info.upstream.host if info.upstream is not None else None
        self._cancel_per_try()
        self._note_failed(reason.value, details)
        if self._response_started:
            self._attempt = None
            if host is not None:
                host.rq_error += 1
            text, flags = failed_attempt.truncated(reason, details)
            stream.reset(text, flags)
            return
        if self._repeats(attempt, reason):
            self._repeated = True
            if self._factory.failures is not None:
                begun(info).sent_again = True
            info.attempt_count -= 1  # not one of the retries that clients, logs and policies count
            self._note_tried(None)
            self._start_attempt()
            return
        retry = self._retry
        wanted = retry is not None and retry.conditions.retries_reset(reason, attempt.started)
        flags = self._judge_failed(wanted)
        if flags < 0:
            return
        self._abort_counted(
            failed_attempt.upstream_reset(reason, details, stream.info.attempt_count > 1), flags, host
        )

    def _repeats(self, attempt: UpstreamRequest, reason: ResetReason) -> bool:
        """A server that leaves just as its connection is used again is no failure: try once more, on another one.

        It has closed an idle connection: then only if it did so at once, no byte of the response came and the method may be
        sent twice. Or it has said that it did not look at the request (RFC 9113 section 6.8). In both cases all of the
        request must be here.
        """
        if self._repeated or not self._keeps_body or attempt.responded:
            return False
        if reason is ResetReason.NOT_PROCESSED:
            return True
        return (
            attempt.reused
            and reason is ResetReason.CONNECTION_TERMINATION
            and self._headers.method in IDEMPOTENT_METHODS
            and not self._tunnel
            and self._factory.now_ns() - attempt.sent_ns < _CLOSED_WHILE_IDLE_NS
        )

    def _judge(self, wanted: bool) -> int:
        """Retry if the policy allows it: then -1; else the flags that say why not."""
        retry = self._retry
        if retry is None:
            return 0
        verdict = retry.judge(wanted and (self._keeps_body or not retry.left))
        if verdict is Verdict.RETRY:
            self._note_tried(self._attempt)
            self._attempt = None
            self._backoff = self._factory.timers.after(retry.delay_s(), self._on_backoff)
            return -1
        if verdict is Verdict.LIMIT_EXCEEDED:
            return ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        return ResponseFlag.UPSTREAM_OVERFLOW if verdict is Verdict.OVERFLOW else 0

    def _judge_failed(self, wanted: bool) -> int:
        """`_judge` of an attempt that brought no response; if it was the last one, the record says why."""
        flags = self._judge(wanted)
        stream = self._stream
        if flags >= 0 and self._factory.failures is not None and stream is not None:
            if flags == ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED:
                why = "the retries are used up"
            elif flags:
                why = "the circuit breaker for retries is open"
            elif self._retry is None:
                why = "the route has no retry policy"
            elif not wanted:
                why = "the retry policy does not cover this kind of failure"
            else:
                why = "the body of the request was too long to be kept"
            begun(stream.info).why_not_retried = why
        return flags

    def _note_failed(self, outcome: str, details: str = "") -> None:
        """For the record of the failure: how the attempt under way ended."""
        failures, stream, attempt = self._factory.failures, self._stream, self._attempt
        if failures is None or stream is None:
            return
        if attempt is None:
            failures.note_attempt(stream.info, outcome, details)
            return
        meter = attempt.upstream.meter if attempt.upstream is not None else attempt.meter
        failures.note_attempt(
            stream.info,
            outcome,
            details,
            reused=attempt.reused,
            sent_ns=attempt.sent_ns,
            bytes_sent=meter.wire_sent if meter is not None else 0,
            bytes_received=meter.wire_received if meter is not None else 0,
        )

    def _note_tried(self, attempt: UpstreamRequest | None) -> None:
        """Give the attempt up, and avoid its host next time."""
        stream = self._stream
        if stream is not None and stream.info.upstream is not None and stream.info.upstream.host is not None:
            self._tried = (*self._tried, stream.info.upstream.host)
        if attempt is not None:
            attempt.give_up()

    def _on_backoff(self) -> None:
        self._backoff = None
        self._start_attempt()

    # --- timeouts

    def _arm_per_try(self) -> None:
        self._cancel_per_try()
        self._per_try_timer = self._factory.timers.after(self._per_try_ms / 1000, self._on_per_try_timeout)

    def _cancel_per_try(self) -> None:
        if self._per_try_timer is not None:
            self._per_try_timer.cancel()
            self._per_try_timer = None

    def _on_per_try_timeout(self) -> None:
        """This attempt took too long."""
        self._per_try_timer = None
        stream, cluster, attempt = self._stream, self._cluster, self._attempt
        if stream is None or cluster is None or attempt is None or self._response_started:
            return
        cluster.stats.upstream_rq_per_try_timeout.inc()
        self._count_timeout(stream.info)
        retry = self._retry
        self._note_failed("per_try_timeout")
        wanted = retry is not None and retry.conditions.retries_reset(ResetReason.LOCAL_RESET, True)
        flags = self._judge_failed(wanted)
        if flags < 0:
            return
        cluster.stats.charged.count(504, self._internal)
        self._abort(failed_attempt.PER_TRY_TIMEOUT, flags)

    def _on_timeout(self) -> None:
        """The whole answer, retries included, took too long."""
        self._timer = None
        stream, cluster = self._stream, self._cluster
        if stream is None or cluster is None:
            return
        cluster.stats.upstream_rq_timeout.inc()
        self._count_timeout(stream.info)
        if self._attempt is not None:
            self._note_failed("response_timeout")
        if self._response_started:
            stream.reset(failed_attempt.RESPONSE_TIMEOUT.details, failed_attempt.RESPONSE_TIMEOUT.flags)
            return
        cluster.stats.charged.count(504, self._internal)
        self._abort(failed_attempt.RESPONSE_TIMEOUT, 0)

    # --- the response

    def on_attempt_headers(self, headers: Headers, end: bool) -> None:
        stream, cluster, attempt = self._stream, self._cluster, self._attempt
        assert stream is not None and cluster is not None and attempt is not None
        status = headers.status
        if status < 200 and status != 101:
            attempt.responded = True
            self._retry_over()
            cluster.stats.charged.count(status, self._internal)
            stream.send_response_headers(headers, False)
            return
        attempt.responded = True
        info = stream.info
        now_ns = self._factory.now_ns()
        info.first_upstream_rx_byte_ns = now_ns
        if self._per_try_timer is not None:
            self._cancel_per_try()
        if self._upgrade and status < 400 and status != 101:
            self._refuse_upgrade(stream, headers)
            return
        flags = 0
        retry = self._retry
        if retry is not None:
            flags = self._judge(retry.conditions.retries_response(headers))
            if flags < 0:
                cluster.stats.retry.count(status)
                self._note_failed(str(status))
                return
        self._response_started = True
        info.response_code = status  # formats of header rules may ask for it
        info.response_code_details = _VIA_UPSTREAM
        if flags:
            info.add_flag(flags)
        cluster.stats.charged.count(status, self._internal)
        upstream = info.upstream
        if upstream is not None and upstream.host is not None:
            if status >= 500:
                upstream.host.rq_error += 1
            else:
                upstream.host.rq_success += 1
        granted = self._awaits_grant and self._is_granted(status)
        if self._keeps_body and not granted:
            self._drop_body()
        if self._factory.inserts_headers and info.last_request_byte_ns:
            elapsed_ms = (now_ns - info.last_request_byte_ns) // _NANOSECONDS_PER_MS
            headers.set(_SERVICE_TIME, b"%d" % elapsed_ms)
        if self._route.include_attempt_count_in_response:
            set_attempt_count(headers, info.attempt_count)
        if end:
            self._end_response(now_ns)
        else:
            stream.on_response_full = self._on_response_full
        stream.send_response_headers(headers, end)
        if granted:
            self._open_tunnel()

    def _is_granted(self, status: int) -> bool:
        return status == 101 if self._upgrade else 200 <= status < 300

    def _open_tunnel(self) -> None:
        """What has come for the tunnel goes out."""
        self._awaits_grant = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        body, attempt = self._body, self._attempt
        if attempt is not None and attempt.upstream is not None and (body is not None or self._request_ended):
            attempt.upstream.send_data(body.join() if body is not None else b"", self._request_ended)
        self._drop_body()

    def _refuse_upgrade(self, stream: Stream, headers: Headers) -> None:
        """The upstream did not switch protocols and reports no error: its head is the whole answer (Envoy)."""
        self._response_started = True
        self._retry_over()
        stream.info.response_code = headers.status
        stream.info.response_code_details = _UPGRADE_UNSUCCESSFUL
        headers.remove(names.CONTENT_LENGTH)
        stream.send_response_headers(headers, True)

    def on_attempt_data(self, data: bytes, end: bool) -> None:
        stream = self._stream
        if stream is not None:
            if end:
                self._end_response(self._factory.now_ns())
            stream.send_response_data(data, end)

    def on_attempt_trailers(self, trailers: Headers) -> None:
        stream = self._stream
        if stream is not None:
            self._end_response(self._factory.now_ns())
            stream.send_response_trailers(trailers)

    def on_attempt_full(self, full: bool) -> None:
        if full is not self._upstream_full:
            self._upstream_full = full
            self._pause_request(full)

    def _on_response_full(self, full: bool) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.upstream is not None:
            if full:
                attempt.upstream.pause_reading()
            else:
                attempt.upstream.resume_reading()

    def _end_response(self, now_ns: int) -> None:
        """The upstream has sent everything: what it costs to know about it is known."""
        stream, cluster = self._stream, self._cluster
        assert stream is not None and cluster is not None
        info = stream.info
        info.last_upstream_rx_byte_ns = now_ns
        if info.last_request_byte_ns:
            cluster.stats.charged.record_time(
                (now_ns - info.last_request_byte_ns) // _NANOSECONDS_PER_MS, self._internal
            )
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _retry_over(self) -> None:
        if self._retry is not None:
            self._retry.release()
            self._retry = None

    def _abort(self, failure: Failure, flags: int) -> None:
        """No response will come: answer in its place."""
        stream = self._stream
        attempt, self._attempt = self._attempt, None
        assert stream is not None
        if attempt is not None:
            attempt.give_up()
        stream.info.add_flag(flags)
        fields: tuple[tuple[bytes, bytes], ...] = ()
        if failure.overloaded and self._factory.inserts_headers:
            fields = _OVERLOADED
        if self._route.include_attempt_count_in_response:
            fields += ((b"x-envoy-attempt-count", b"%d" % stream.info.attempt_count),)
        _fail(stream, failure, fields)

    def _abort_counted(self, failure: Failure, flags: int, host: UpstreamHost | None) -> None:
        """A failed attempt counts as the response that the client gets for it (Envoy: chargeUpstreamAbort)."""
        cluster = self._cluster
        assert cluster is not None
        cluster.stats.charged.count(failure.status, self._internal)
        if host is not None:
            host.rq_error += 1
        self._abort(failure, flags)

    def _count_timeout(self, info: StreamInfo) -> None:
        if info.upstream is not None and info.upstream.host is not None:
            info.upstream.host.rq_timeout += 1

    # --- the end

    def on_bug(self, error: Exception) -> None:
        if self._stream is not None:
            self._stream.on_bug(error)

    def on_stream_end(self, stream: Stream) -> None:
        """Whatever is still under way is given up; references are cut."""
        if self._stream is None:
            return
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            failed = stream.info.response_flags or stream.info.failure is not None
            if failed and not stream.info.last_upstream_rx_byte_ns:
                self._attempt = attempt
                self._note_failed("given_up")
                self._attempt = None
            attempt.give_up()
        for timer in (self._timer, self._per_try_timer, self._backoff):
            if timer is not None:
                timer.cancel()
        self._timer = self._per_try_timer = self._backoff = None
        self._retry_over()
        body, self._body = self._body, None
        if body is not None and body.client_waits:
            stream.pause_request(False)
        self._stream = None
        self._cluster = None


class RouterFactory(HttpFilterFactory):
    """Compiled once for each connection manager."""

    def __init__(self, spec: RouterSpec, context: FilterContext) -> None:
        super().__init__(Router)
        services = context.services
        self.failures: Final = services.failures
        self.stats: Final = RouterStats(services.scope.scope(f"http.{context.stat_prefix}", verbatim=True))
        self.timers: Final = services.timers
        self.now_ns: Final = services.timers.now_ns
        self.inserts_headers: Final = not spec.suppress_envoy_headers
        self.start_child_span: Final = spec.start_child_span
        self.respect_expected_rq_timeout: Final = spec.respect_expected_rq_timeout
        self._conditions: dict[ForwardRoute, RetryConditions | None] = {}

    def conditions_of(self, route: ForwardRoute) -> RetryConditions | None:
        """The compiled retry conditions of a route, made once."""
        try:
            return self._conditions[route]
        except KeyError:
            conditions = self._conditions[route] = conditions_of(route.retry_policy)
            return conditions

    def for_stream(self, stream: Stream) -> Router:
        return Router(self)


def _fail(stream: Stream, failure: Failure, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    stream.reply(failure.status, failure.body, details=failure.details, flags=failure.flags, headers=fields)


def _server_name(headers: Headers) -> str:
    """SNI of a cluster with `auto_sni`: the host of the request."""
    return without_port(headers.authority).decode("latin-1")


def build(spec: RouterSpec, context: FilterContext) -> HttpFilterFactory:
    return RouterFactory(spec, context)
