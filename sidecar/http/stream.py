"""One exchange of a request and its response, on its way through the filters of a connection manager.

The path without holds is straight: the codec's callback, each filter that takes part in the phase, the terminal filter; and
back: the terminal filter, the filters in reverse, the codec. Only a filter that answers HOLD brings in a `HeldMessage`.

A stream ends once, in `finish`: when the last byte of the response was handed to the connection, when it was reset, or when
the connection is gone. Then filters are told, stats and access logs are written, and references are cut.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from protocols.errors import LocalProtocolError
from protocols.grpc.status import is_grpc_request
from protocols.http import names
from protocols.http.headers import Headers
from sidecar.http import local_reply
from sidecar.http.api import Stream
from sidecar.http.held_message import HeldMessage, Steps
from sidecar.http.manager_config import BUFFER_LIMIT_BYTES
from sidecar.http.route import ForwardRoute
from sidecar.stream_info import ResponseFlag, StreamInfo
from sidecar.telemetry.access_log.format import escape
from sidecar.telemetry.access_log.schedule import DOWNSTREAM_END, LogType
from sidecar.telemetry.failures import begun
from sidecar.transport.flow import CONTINUE, HOLD, HOLD_HEADERS, Flow

if TYPE_CHECKING:
    from sidecar.http.api import HttpFilter
    from sidecar.http.exchanges import Exchanges
    from sidecar.http.request_target import Refusal
    from sidecar.http.route import Route
    from sidecar.http.stream_trace import StreamTrace
    from sidecar.transport.timers import Cancellable, IdleTimer
    from sidecar.upstream.api import Cluster
    from sidecar.upstream.failed_attempt import Failure

logger = logging.getLogger(__name__)

_CONTINUE_EXPECTED: Final = b"100-continue"
_CONNECT_UPGRADE: Final = b"connect"


class ActiveStream(Stream):
    """One exchange. Implements `sidecar.http.api.Stream`.

    It begins with the first byte of a request, before the head is complete: timeouts run, and a client that leaves is logged.
    """

    __slots__ = (
        "_duration_timer",
        "_early_resume",
        "_filters",
        "_grpc",
        "_local_reply",
        "_random",
        "_request_hold",
        "_request_stopped",
        "_response_hold",
        "_tasks",
        "_terminal_ended",
        "_timers",
        "_upgrading",
        "config",
        "exchanges",
        "finished",
        "id",
        "idle_timer",
        "response_started",
    )

    def __init__(self, exchanges: Exchanges, stream_id: int) -> None:
        config = exchanges.config
        self.exchanges = exchanges
        self.config = config
        self.services = config.services
        self.id = stream_id
        self.connection_info = exchanges.info
        self.info = StreamInfo(exchanges.info, time.time(), config.timers.now_ns())
        self.info.protocol = exchanges.default_protocol
        self.route: Route | None = None
        self.cluster: Cluster | None = None
        self.downstream_version = exchanges.default_version
        self.request_headers: Headers | None = None
        self.request_complete = False
        self.response_started = False
        self.finished = False
        self.idle_timer: IdleTimer | None = None
        self.on_response_full: Callable[[bool], None] | None = None
        self.trace: StreamTrace | None = None
        self._filters: tuple[HttpFilter, ...] | None = None
        self._grpc = False  # the client understands gRPC, whatever filters make of its content-type (Envoy)
        self._request_hold: HeldMessage | None = None
        self._response_hold: HeldMessage | None = None
        self._request_stopped = False  # no more of the request goes to the filters
        self._local_reply = False
        self._early_resume = False
        self._upgrading = False
        self._terminal_ended = False  # the terminal filter knows of the end
        self._random = -1
        self._tasks: set[asyncio.Task[None]] | None = None
        self._timers: list[Cancellable] | None = None
        self._duration_timer: Cancellable | None = None  # of the connection manager
        self.idle_timer = exchanges.stream_idle_timer(self)
        if config.has_stream_timeouts:
            self._start_timeouts()
        if config.access_log.interval_s is not None:
            log_timer = config.access_log.repeat(self.info, LogType.DOWNSTREAM_PERIODIC)
            if log_timer is not None:
                self._keep(log_timer)

    # --- the request, from the codec

    def on_headers(self, headers: Headers, end: bool) -> None:
        """The head is complete: check, route, and give it to the filters."""
        config, info = self.config, self.info
        self.request_headers = info.request_headers = headers
        self._grpc = is_grpc_request(headers)
        if end:
            self._end_request()
        refusal = config.request_rules.apply(headers, info, config.routes.internal_only_headers)
        if refusal is not None:
            self._refuse(refusal)
            return
        if names.EXPECT in headers and not config.spec.proxy_100_continue:
            self._answer_expectation(headers)
        route = self.route = config.routes.match(headers, self.random_value)
        if route is not None:
            self._take_route(route, headers)
        if config.tracing is not None:
            self.trace = config.tracing.begin(headers, info, route)
        if config.access_log.at_start:
            config.access_log.write(info, LogType.DOWNSTREAM_START)
        upgrade = self._asked_upgrade(headers)
        if upgrade is not None and not self._begin_upgrade(upgrade):
            return
        filters = self._filters = config.chain.new_filters(self)
        phase = config.chain.request_headers
        for at in phase:
            flow = filters[at].on_request_headers(self, headers, end)
            if self._request_stopped:
                return
            if flow is not CONTINUE:
                if self._early_resume:
                    self._early_resume = False
                    continue
                hold = self._hold_request(end, phase[phase.index(at) + 1 :])
                if flow is HOLD_HEADERS:
                    hold.watch(at)
                return

    @property
    def wants_tunnel(self) -> bool:
        """An upgrade or a CONNECT, granted or not."""
        return self._upgrading

    @property
    def is_connected(self) -> bool:
        """A CONNECT that was granted: each of its directions has an end of its own."""
        headers = self.request_headers
        return (
            self._upgrading
            and headers is not None
            and headers.method == names.CONNECT
            and 200 <= self.info.response_code < 300
        )

    @property
    def is_upgraded(self) -> bool:
        """A tunnel: an upgrade or a CONNECT that was granted."""
        return self._upgrading and (self.info.response_code == 101 or self.is_connected)

    def _asked_upgrade(self, headers: Headers) -> bytes | None:
        """What the request wants to become, where there is a route for it (Envoy); CONNECT counts as an upgrade."""
        if self.route is None:
            return None
        if headers.method == names.CONNECT:
            return _CONNECT_UPGRADE
        return headers.get(names.UPGRADE)

    def _begin_upgrade(self, upgrade: bytes) -> bool:
        """Whether the request may become a tunnel; if so Envoy counts it as one from here on."""
        stats, route = self.config.stats, self.route
        upgrades = route.upgrades if type(route) is ForwardRoute else None
        if not self.config.upgrade_allowed(upgrade.lower(), upgrades):
            stats.downstream_rq_ws_on_non_ws_route.inc()
            self.fail(local_reply.UPGRADE_REFUSED)
            return False
        self._upgrading = True
        stats.downstream_cx_upgrades_total.inc()
        stats.downstream_cx_upgrades_active.inc()
        return True

    def _take_route(self, route: Route, headers: Headers) -> None:
        info = self.info
        info.route_name = route.name
        info.virtual_host_name = route.virtual_host
        info.route_metadata = route.metadata
        if type(route) is not ForwardRoute:
            return
        name = route.cluster_name(headers)
        cluster = self.cluster = self.services.clusters.get(name)
        if cluster is not None:
            info.cluster_name = name
            info.cluster_metadata = cluster.metadata
        if route.idle_timeout_s is not None:
            if self.idle_timer is not None:
                self.exchanges.release_idle_timer(self.idle_timer)
            self.idle_timer = None
            if route.idle_timeout_s:
                self.idle_timer = own = self.config.timers.idle(route.idle_timeout_s, self.on_idle_timeout)
                self._keep(own)
        duration_s = route.stream_duration_s(headers)
        if duration_s is not None:
            if self._duration_timer is not None:
                self._duration_timer.cancel()
            if duration_s:
                self._after(duration_s, self._on_max_duration)

    def random_value(self) -> int:
        """The stream's random number: the same at each call."""
        if self._random < 0:
            self._random = self.services.random.getrandbits(63)
        return self._random

    def _refuse(self, refusal: Refusal) -> None:
        if refusal.location:
            self.config.stats.downstream_rq_redirected_with_normalized_path.inc()
        elif refusal.details == "path_normalization_failed":
            self.config.stats.downstream_rq_failed_path_normalization.inc()
        elif refusal.details == "absolute_path_rejected":
            self.config.stats.downstream_rq_non_relative_path.inc()
        if refusal.close:
            self.exchanges.close_after_response()
        fields = ((names.LOCATION, refusal.location),) if refusal.location else ()
        self.reply(refusal.status, refusal.body, details=refusal.details, flags=refusal.flags, headers=fields)

    def _answer_expectation(self, headers: Headers) -> None:
        """Send `100 Continue` ourselves; the upstream never hears of the expectation (Envoy)."""
        if (headers.get(names.EXPECT) or b"").lower() == _CONTINUE_EXPECTED:
            headers.remove(names.EXPECT)
            self._send_interim(Headers.response(100))

    def on_data(self, data: bytes, end: bool) -> None:
        """A piece of the request's body."""
        self.info.bytes_received += len(data)
        if end:
            self._end_request()
        if self.idle_timer is not None:
            self.idle_timer.touch()
        if self._local_reply or self._terminal_ended or self.finished:
            return
        hold = self._request_hold
        if hold is not None:
            hold.push_data(data, end)
            self._settle_request_hold()
            return
        filters = self._filters
        assert filters is not None
        for place, at in enumerate(self.config.chain.request_data):
            passed = filters[at].on_request_data(self, data, end)
            if self._request_stopped:
                return
            if passed is HOLD:
                if not self._early_resume:
                    self._hold_request(end, ()).hold_data(place, data, end)
                    return
                self._early_resume = False
            else:
                data = passed
            if not data and not end:
                return

    def on_trailers(self, trailers: Headers) -> None:
        """The request's trailers, its end."""
        self._end_request()
        if self._local_reply or self._terminal_ended or self.finished:
            return
        hold = self._request_hold
        if hold is not None:
            hold.push_trailers(trailers)
            self._settle_request_hold()
            return
        filters = self._filters
        assert filters is not None
        phase = self.config.chain.request_trailers
        for place, at in enumerate(phase):
            flow = filters[at].on_request_trailers(self, trailers)
            if self._request_stopped:
                return
            if flow is HOLD:
                if self._early_resume:
                    self._early_resume = False
                    continue
                self._hold_request(False, (), phase[place + 1 :]).hold_trailers(trailers)
                return

    def _end_request(self) -> None:
        self.request_complete = True
        self.info.last_request_byte_ns = self.config.timers.now_ns()

    # --- holds

    def _hold_request(
        self, end: bool, header_phase: tuple[int, ...], trailer_phase: tuple[int, ...] | None = None
    ) -> HeldMessage:
        headers, filters = self.request_headers, self._filters
        assert headers is not None and filters is not None
        steps = self.config.chain.request_steps(filters, header_phase, trailer_phase)
        hold = HeldMessage(self, headers, end, steps, BUFFER_LIMIT_BYTES, self.pause_request)
        self._request_hold = hold
        return hold

    def _hold_response(
        self, end: bool, header_phase: tuple[int, ...] | None, trailer_phase: tuple[int, ...] | None = None
    ) -> HeldMessage:
        headers, filters = self.info.response_headers, self._filters
        assert headers is not None and filters is not None
        steps = self.config.chain.response_steps(
            filters,
            header_phase,
            trailer_phase,
            Steps(((0, self._last_headers),), ((0, self._last_data),), ((0, self._last_trailers),)),
        )
        hold = HeldMessage(self, headers, end, steps, BUFFER_LIMIT_BYTES, self.on_downstream_full)
        self._response_hold = hold
        return hold

    def _last_headers(self, stream: Stream, headers: Headers, end: bool) -> Flow:
        self.encode_headers(headers, end)
        return Flow.CONTINUE

    def _last_data(self, stream: Stream, data: bytes, end: bool) -> bytes:
        self.encode_data(data, end)
        return data

    def _last_trailers(self, stream: Stream, trailers: Headers) -> Flow:
        self.encode_trailers(trailers)
        return Flow.CONTINUE

    def resume_request(self) -> None:
        hold = self._request_hold
        if hold is None:
            self._early_resume = not self._request_stopped
            return
        hold.resume()
        self._settle_request_hold()

    def _settle_request_hold(self) -> None:
        hold = self._request_hold
        if hold is not None and not hold.holds:
            self._request_hold = None

    def resume_response(self) -> None:
        hold = self._response_hold
        if hold is None:
            self._early_resume = not self.finished
            return
        hold.resume()
        self._settle_response_hold()

    def _settle_response_hold(self) -> None:
        hold = self._response_hold
        if hold is not None and not hold.holds:
            self._response_hold = None

    # --- the response

    def send_response_headers(self, headers: Headers, end: bool) -> None:
        if self._local_reply or self.finished:
            return
        status = headers.status
        if status < 200 and status != 101:
            if self.config.spec.proxy_100_continue:
                self._send_interim(headers)
            return
        self.info.response_headers = headers
        if self.route is not None:
            self.route.finalize_response(headers, self.info)
        self._begin_response(headers, end)

    def _send_interim(self, headers: Headers) -> None:
        """A 1xx head, past the filters. One more than the client takes is dropped: there may be any number of them."""
        config = self.config
        if self.exchanges.connection.write_full:
            logger.debug("interim response dropped: the client does not read")
            return
        config.response_rules.apply_interim(headers, self.request_headers)
        try:
            self.exchanges.codec.send_headers(self.id, headers, False)
        except LocalProtocolError as error:
            logger.debug("interim response dropped: %s", error)
            return
        config.count_response(headers.status)
        self.exchanges.flush_soon()

    def _begin_response(self, headers: Headers, end: bool) -> None:
        """Through the filters, to the codec."""
        info = self.info
        filters = self._filters
        if filters:
            phase = self.config.chain.response_headers
            for place, at in enumerate(phase):
                flow = filters[at].on_response_headers(self, headers, end)
                if info.response_headers is not headers or self.finished:
                    return  # the filter answered itself
                if flow is not CONTINUE:
                    if self._early_resume:
                        self._early_resume = False
                        continue
                    hold = self._hold_response(end, phase[place + 1 :])
                    if flow is HOLD_HEADERS:
                        hold.watch(-1 - at)
                    return
        self.encode_headers(headers, end)

    def encode_headers(self, headers: Headers, end: bool) -> None:
        """The last step of a final response head."""
        config, exchanges, info = self.config, self.exchanges, self.info
        config.response_rules.apply(headers, self.request_headers)
        if self.trace is not None:
            self.trace.on_response_headers(headers)
        codec = exchanges.codec
        if exchanges.ends_with(self, headers.status):
            codec.shutdown()
        self.response_started = True
        info.response_code = status = headers.status
        if not info.first_response_byte_ns:
            info.first_response_byte_ns = config.timers.now_ns()
        try:
            codec.send_headers(self.id, headers, end)
        except LocalProtocolError as error:
            logger.warning("[C%d] response head refused: %s", self.connection_info.id, error)
            self.reset("local_protocol_error", ResponseFlag.LOCAL_RESET)
            return
        config.count_response(status)
        if status == 101 or self.is_connected:
            exchanges.on_upgraded()
            if config.access_log.at_tunnel:
                config.access_log.write(info, LogType.DOWNSTREAM_TUNNEL)
        if end:
            exchanges.on_response_ended(self)
            return
        if self.idle_timer is not None:
            self.idle_timer.touch()
        exchanges.flush_soon()
        if exchanges.connection.write_full:
            self.on_downstream_full(True)

    def send_response_data(self, data: bytes, end: bool) -> None:
        if not self._local_reply and not self.finished:
            self._respond_data(data, end)

    def _respond_data(self, data: bytes, end: bool) -> None:
        hold = self._response_hold
        if hold is not None:
            hold.push_data(data, end)
            self._settle_response_hold()
            return
        phase = self.config.chain.response_data
        if phase:
            filters = self._filters
            assert filters is not None
            for place, at in enumerate(phase):
                passed = filters[at].on_response_data(self, data, end)
                if self.finished:
                    return
                if passed is HOLD:
                    if not self._early_resume:
                        self._hold_response(end, None).hold_data(place, data, end)
                        return
                    self._early_resume = False
                else:
                    data = passed
                if not data and not end:
                    return
        self.encode_data(data, end)

    def encode_data(self, data: bytes, end: bool) -> None:
        """The last step of a piece of body."""
        exchanges = self.exchanges
        self.info.bytes_sent += len(data)
        try:
            exchanges.codec.send_data(self.id, data, end)
        except LocalProtocolError as error:
            logger.debug("[C%d] response body refused: %s", self.connection_info.id, error)
            self.reset("local_protocol_error", ResponseFlag.LOCAL_RESET)
            return
        if end:
            exchanges.on_response_ended(self)
        else:
            if self.idle_timer is not None:
                self.idle_timer.touch()
            exchanges.flush_body(self, len(data))

    def send_response_trailers(self, trailers: Headers) -> None:
        if not self._local_reply and not self.finished:
            self._respond_trailers(trailers)

    def _respond_trailers(self, trailers: Headers) -> None:
        self.info.response_trailers = trailers
        hold = self._response_hold
        if hold is not None:
            hold.push_trailers(trailers)
            self._settle_response_hold()
            return
        filters = self._filters or ()
        phase = self.config.chain.response_trailers
        for place, at in enumerate(phase):
            flow = filters[at].on_response_trailers(self, trailers)
            if self.finished:
                return
            if isinstance(flow, bytes):
                self._hold_response(False, None).end_with(-1 - at, flow)
                self._settle_response_hold()
                return
            if flow is HOLD:
                if self._early_resume:
                    self._early_resume = False
                    continue
                self._hold_response(False, None, phase[place + 1 :]).hold_trailers(trailers)
                return
        self.encode_trailers(trailers)

    def encode_trailers(self, trailers: Headers) -> None:
        """The last step of the trailers."""
        try:
            self.exchanges.codec.send_trailers(self.id, trailers)
        except LocalProtocolError as error:
            logger.debug("[C%d] trailers refused: %s", self.connection_info.id, error)
            self.reset("local_protocol_error", ResponseFlag.LOCAL_RESET)
            return
        self.exchanges.on_response_ended(self)

    # --- answers of our own

    def fail(self, failure: Failure, status: int = 0) -> None:
        """Answer with a failure of `local_reply`; `status` replaces its status."""
        self.reply(
            status or failure.status,
            failure.body,
            details=failure.details,
            flags=failure.flags,
            grpc_status=failure.grpc_status,
        )

    def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        details: str,
        flags: int = 0,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        grpc_status: int | None = None,
    ) -> None:
        if self.finished:
            return
        if self.response_started:
            self.reset(details, flags)
            return
        info = self.info
        info.add_flag(flags)
        info.response_code_details = details
        if (
            status >= 400 and self.config.failures is not None and details != local_reply.DIRECT_RESPONSE
        ):  # who configured the answer of a route got what was asked for
            begun(info)
        self._request_stopped = True
        if self._request_hold is not None:
            self._request_hold.drop()
            self._request_hold = None
        if status == 400:
            self.exchanges.close_after_response()  # what follows cannot be trusted to be a request (Envoy)
        past_filters = (
            info.response_headers is not None
        )  # an answer in place of a response that filters were shown
        edit = self._edit_reply if self._edits_reply(details) else None
        head, rest = local_reply.build(
            self.request_headers, status, body, headers, edit, grpc=self._grpc, grpc_code=grpc_status
        )
        info.response_headers = head
        self._local_reply = True
        if self._response_hold is not None:
            self._response_hold.drop()
            self._response_hold = None
        if past_filters:
            self.encode_headers(head, not rest)
        else:
            if self._filters is None:
                self._filters = self.config.chain.new_filters(self)
            self._begin_response(head, not rest)
        if rest and not self.finished:
            (self.encode_data if past_filters else self._respond_data)(rest, True)

    def _edits_reply(self, details: str) -> bool:
        """A route that answers by itself has its header rules for that answer, not for what others say before it (Envoy)."""
        return type(self.route) is ForwardRoute or (
            self.route is not None and details == local_reply.DIRECT_RESPONSE
        )

    def _edit_reply(self, headers: Headers) -> None:
        """The route's header rules, on a head that does not speak of its body yet."""
        assert self.route is not None
        self.info.response_headers = headers
        self.route.finalize_response(headers, self.info)

    def reset(self, details: str, flags: int = 0) -> None:
        """End the stream so that the client can tell that the response is incomplete."""
        if self.finished:
            return
        info = self.info
        info.add_flag(flags)
        info.response_code_details = details
        if self.config.failures is not None:
            begun(info)
        self.config.stats.downstream_rq_tx_reset.inc()
        self.exchanges.on_stream_reset(self)

    def on_bug(self, error: BaseException) -> None:
        """An unexpected exception in a filter: it costs this stream, and is counted and told."""
        self.config.bugs.inc()
        logger.error("[C%d] a filter failed", self.connection_info.id, exc_info=error)
        self.fail(local_reply.INTERNAL_ERROR)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self.finished:
            coroutine.close()
            return
        task = asyncio.get_running_loop().create_task(coroutine)
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        if self._tasks is not None:
            self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_bug(error)

    # --- flow control

    def pause_request(self, full: bool) -> None:
        self.exchanges.pause_request(self, full)

    def on_downstream_full(self, full: bool) -> None:
        """The client takes no more, or takes again."""
        if self.on_response_full is not None:
            self.on_response_full(full)

    # --- timeouts

    def _start_timeouts(self) -> None:
        spec = self.config.spec
        if spec.request_timeout_s:
            self._after(spec.request_timeout_s, self._on_request_timeout)
        if spec.request_headers_timeout_s:
            self._after(spec.request_headers_timeout_s, self._on_headers_timeout)
        if spec.max_stream_duration_s:
            timer = self.config.timers.after(spec.max_stream_duration_s, self._on_max_duration)
            self._duration_timer = timer
            self._keep(timer)

    def _after(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._keep(self.config.timers.after(delay_s, callback))

    def _keep(self, timer: Cancellable) -> None:
        if self._timers is None:
            self._timers = []
        self._timers.append(timer)

    def _on_request_timeout(self) -> None:
        if not self.request_complete and not self.finished:
            self.config.stats.downstream_rq_timeout.inc()
            self._time_out(local_reply.REQUEST_TIMEOUT)

    def _on_headers_timeout(self) -> None:
        if self.request_headers is None and not self.finished:
            self.config.stats.downstream_rq_header_timeout.inc()
            self._time_out(local_reply.REQUEST_HEADERS_TIMEOUT)

    def _on_max_duration(self) -> None:
        if not self.finished:
            self.config.stats.downstream_rq_max_duration_reached.inc()
            self._time_out(local_reply.MAX_DURATION)

    def on_idle_timeout(self) -> None:
        """Nothing moved for the stream idle timeout."""
        if not self.finished:
            self.config.stats.downstream_rq_idle_timeout.inc()
            self._time_out(local_reply.STREAM_IDLE_TIMEOUT)

    def _time_out(self, failure: Failure) -> None:
        if not self.id:
            self.exchanges.give_id(self)
        if not self.finished:
            self.fail(failure, local_reply.GATEWAY_TIMEOUT if self.request_complete else 0)

    # --- the end

    def _log_outcome(self) -> None:
        """One line that says what became of the request, and why."""
        info, request = self.info, self.info.request_headers
        upstream = info.upstream
        logger.debug(
            "[C%d] %s %s -> %d %s %s, cluster %s, host %s%s",
            info.connection.id,
            request.method.decode("latin-1") if request is not None else "-",
            escape(request.path).decode("latin-1") if request is not None else "-",
            info.response_code,
            info.flag_names or "-",
            info.response_code_details or "-",
            info.cluster_name or "-",
            upstream.host_address if upstream is not None else "-",
            f", {upstream.transport_failure_reason}"
            if upstream is not None and upstream.transport_failure_reason
            else "",
        )

    def await_client(self) -> None:
        """The response is complete, and the client's window holds some of it back: nothing else is awaited any more."""
        self._request_stopped = True
        self._stop_timeouts()
        ends = self.config.chain.stream_end
        if self._filters and ends:
            self._terminal_ended = True
            self._filters[ends[0]].on_stream_end(self)

    def _stop_timeouts(self) -> None:
        if self._timers is not None:
            for timer in self._timers:
                timer.cancel()
        if self.idle_timer is not None:
            self.exchanges.release_idle_timer(self.idle_timer)

    def finish(self, *, answered: bool = False) -> None:
        """Exactly once, whatever happened; the manager calls it. Harmless when it has been called.

        `answered`: the client was sent a whole response; only then does the time it took count (Envoy).
        """
        if self.finished:
            return
        self.finished = self._request_stopped = True
        config, info = self.config, self.info
        info.end_ns = config.timers.now_ns()
        self._stop_timeouts()
        if self._request_hold is not None:
            self._request_hold.drop()
        if self._response_hold is not None:
            self._response_hold.drop()
        filters = self._filters
        if filters is not None:
            ends = config.chain.stream_end  # the terminal filter first: others read what it leaves behind
            for at in ends[1:] if self._terminal_ended else ends:
                filters[at].on_stream_end(self)
        stats = config.stats
        stats.downstream_rq_active.dec()
        if self._upgrading:
            stats.downstream_cx_upgrades_active.dec()
        if answered:
            info.last_response_byte_ns = info.end_ns
            stats.downstream_rq_time.record_whole((info.end_ns - info.start_ns) // 1_000_000)
        if config.failures is not None and (info.response_flags or info.failure is not None):
            config.failures.record_stream(
                info, self.exchanges.connection, request_complete=self.request_complete
            )
        if self.trace is not None:
            self.trace.end(info, self.cluster)
        config.access_log.write(info, DOWNSTREAM_END)
        if logger.isEnabledFor(logging.DEBUG):
            self._log_outcome()
        if self._tasks is not None:
            for task in tuple(self._tasks):
                task.cancel()
        self._filters = ()
        self._request_hold = self._response_hold = None
        self.on_response_full = None
        self.idle_timer = self._timers = self._duration_timer = None
