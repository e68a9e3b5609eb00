"""A failure as a sentence or two for people: who did what to whom, what that cost, and what was tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from protocols.http.h2_resets import code_name

if TYPE_CHECKING:
    from sidecar.stream_info import ConnectionFacts
    from sidecar.telemetry.failures import Attempt, Failure


def tell(failure: Failure) -> str:
    """One line."""
    sentence = _STORIES[failure.kind](failure) if failure.kind in _STORIES else failure.details
    return f"{sentence}{_aftermath(failure)}"


# the pieces


def seconds(ns: int) -> str:
    """An age for people: `0.004 s`, `61.2 s`, `3 h 5 min`."""
    value = ns / 1e9
    if value < 1:
        return f"{value:.3f} s"
    if value < 600:
        return f"{value:.1f} s"
    minutes = int(value // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _upstream(attempt: Attempt | None, failure: Failure) -> str:
    host = (attempt.host if attempt is not None else "") or failure.host
    name = f"the upstream {host}" if host else "the upstream"
    return f"{name} ({failure.upstream_peer})" if failure.upstream_peer else name


def _client(failure: Failure) -> str:
    name = failure.client_peer or failure.client_identity
    return f"the client {failure.client} ({name})" if name else f"the client {failure.client}"


def _connection(attempt: Attempt) -> str:
    """What was special about the upstream connection: `age 61.2 s, idle 60.0 s, 14 requests before`."""
    facts = attempt.connection
    parts = []
    if attempt.age_ns >= 0:
        parts.append(f"age {seconds(attempt.age_ns)}")
    if attempt.idle_ns >= 0:
        parts.append(f"idle {seconds(attempt.idle_ns)}")
    if facts is not None:
        before = max(facts.exchanges - 1, 0)
        parts.append(f"{before} {'request' if before == 1 else 'requests'} before" if before else "new")
    return f" ({', '.join(parts)})" if parts else ""


def _when(failure: Failure, attempt: Attempt) -> str:
    """How far the exchange had come."""
    if failure.details.startswith("upstream_reset_after_response_started"):
        return f"in the middle of the response, after {failure.bytes_sent} bytes of its body"
    if attempt.bytes_received:
        return f"in the middle of the response head, after {attempt.bytes_received} bytes"
    if attempt.connection is not None and attempt.connection.response_began:
        return "in the middle of the response head"
    return "before the first response byte"


def _goaway(facts: ConnectionFacts) -> str:
    assert facts.goaway is not None
    last_stream_id, code, text = facts.goaway
    said = f", {text!r}" if text else ""
    return f"GOAWAY ({code_name(code)}, last stream {last_stream_id}{said})"


def _aftermath(failure: Failure) -> str:
    """What was tried, and why not more."""
    parts = []
    attempts = len(failure.attempts) + failure.attempts_left_out
    if failure.kind == "retried":
        return ""
    if attempts > 1:
        tried = ", ".join(f"{each.host or 'no host'}: {_short(each)}" for each in failure.attempts)
        left_out = f", and {failure.attempts_left_out} not shown" if failure.attempts_left_out else ""
        parts.append(f"it was tried {attempts} times ({tried}{left_out})")
        if failure.sent_again:
            parts.append(_sent_again(failure))
    if failure.why_not_retried and failure.hop == "upstream":
        again = "not retried" if attempts <= 1 else "not retried again"
        if attempts == 2 and failure.sent_again:
            again = "no retry followed"
        parts.append(f"{again}, because {failure.why_not_retried}")
    return "; " + ", ".join(parts) if parts else ""


def _sent_again(failure: Failure) -> str:
    """The repetition that no policy asks for and no retry counts."""
    if any(each.outcome == "not_processed" for each in failure.attempts):
        why = "the server had left and said that it did not look at the request"
    else:
        why = "the server had ended an idle connection just as it was used again"
    return f"one of them of the proxy's own accord, which is no retry, because {why}"


def _short(attempt: Attempt) -> str:
    return attempt.outcome.replace("_", " ") + (f" ({attempt.details})" if attempt.details else "")


# the kinds


def _connect(failure: Failure) -> str:
    attempt = failure.last_attempt
    why = attempt.details if attempt is not None and attempt.details else "the connection was not made"
    return f"no connection to {_upstream(attempt, failure)}: {why}"


def _connect_timeout(failure: Failure) -> str:
    attempt = failure.last_attempt
    took = f" for {seconds(attempt.age_ns)}" if attempt is not None and attempt.age_ns >= 0 else ""
    facts = attempt.connection if attempt is not None else None
    if facts is not None and facts.details:
        return (
            f"{_upstream(attempt, failure)} took the connection but did not finish the TLS handshake{took}, so the "
            "connect timeout ended the attempt (perhaps it does not speak TLS on this port)"
        )
    return (
        f"{_upstream(attempt, failure)} did not answer{took}, so the connect timeout ended the attempt "
        "(packets are dropped on the way, or its queue is full)"
    )


def _upstream_tls(failure: Failure) -> str:
    return f"the TLS handshake with {_upstream(failure.last_attempt, failure)} failed: {tls_words(failure.tls_error)}"


def _upstream_closed(failure: Failure) -> str:
    attempt = failure.last_attempt
    if attempt is None:
        return f"the connection to {_upstream(attempt, failure)} ended too early"
    facts = attempt.connection
    if facts is not None and facts.ended_by == "proxy":
        return (
            f"this proxy ended the connection to {_upstream(attempt, failure)}{_connection(attempt)} "
            f"{_when(failure, attempt)}{f': {facts.details}' if facts.details else ''}"
        )
    how = facts.how if facts is not None and facts.how else "its end"
    kept = "an idle connection" if attempt.reused else "the connection"
    goaway = f" after {_goaway(facts)}" if facts is not None and facts.goaway is not None else ""
    if how == "TLS":
        return (
            f"TLS broke on {kept} to {_upstream(attempt, failure)}{_connection(attempt)} "
            f"{_when(failure, attempt)}: {tls_words(attempt.details or failure.tls_error)}"
        )
    verb = "reset" if how == "RST" else "closed"
    sent = "the request was sent on it once" if attempt.sent else "the request was not sent on it"
    return (
        f"{_upstream(attempt, failure)} {verb} {kept}{_connection(attempt)} with {how}{goaway} "
        f"{_when(failure, attempt)}; {sent}"
    )


def _upstream_reset(failure: Failure) -> str:
    attempt = failure.last_attempt
    facts = attempt.connection if attempt is not None else None
    if attempt is None or facts is None:
        return f"{_upstream(attempt, failure)} gave up the request"
    if failure.protocol == "TCP":
        return (
            f"{_upstream(attempt, failure)} reset the connection (RST, age {seconds(attempt.age_ns)}, "
            f"{facts.bytes_sent} bytes sent to it, {facts.bytes_received} received)"
        )
    if facts.goaway is not None and attempt.outcome == "not_processed" and facts.reset_code < 0:
        return (
            f"{_upstream(attempt, failure)} left with {_goaway(facts)} and did not look at the request"
            f"{_connection(attempt)}"
        )
    code = f"RST_STREAM {code_name(facts.reset_code)}" if facts.reset_code >= 0 else "a reset"
    return (
        f"{_upstream(attempt, failure)} ended the stream with {code} {_when(failure, attempt)}"
        f"{_connection(attempt)}"
    )


def _upstream_protocol(failure: Failure) -> str:
    attempt = failure.last_attempt
    facts = attempt.connection if attempt is not None else None
    if facts is not None and facts.reset_code >= 0:
        return f"{_upstream(attempt, failure)} ended the stream with RST_STREAM {code_name(facts.reset_code)}"
    said = f": {attempt.details}" if attempt is not None and attempt.details else ""
    return f"{_upstream(attempt, failure)} broke the protocol{said}; what it answered was not passed on"


def _upstream_timeout(failure: Failure) -> str:
    attempt = failure.last_attempt
    limit = (
        "the timeout for one attempt"
        if failure.details == "upstream_per_try_timeout"
        else "the route's timeout"
    )
    if attempt is None:
        return f"{limit} ended the request after {failure.duration_ms} ms"
    if not attempt.sent:
        return (
            f"{limit} ended the request after {failure.duration_ms} ms, while it waited for a connection to "
            f"{_upstream(attempt, failure)}"
        )
    came = (
        f"{attempt.bytes_received} bytes of the response had come"
        if attempt.bytes_received
        else "nothing of a response had come"
    )
    return (
        f"{_upstream(attempt, failure)} was too slow: {limit} ended the request after {failure.duration_ms} ms, "
        f"{came}{_connection(attempt)}"
    )


def _upstream_response(failure: Failure) -> str:
    return f"{_upstream(None, failure)} answered {failure.code} also after the last retry"


def _retried(failure: Failure) -> str:
    count = len(failure.attempts) + failure.attempts_left_out
    tried = ", ".join(f"{each.host or 'no host'}: {_short(each)}" for each in failure.attempts)
    times = "one attempt" if count == 1 else f"{count} attempts"
    return f"answered {failure.code} by {_upstream(None, failure)} after {times} had failed ({tried})"


def _no_healthy(failure: Failure) -> str:
    return f"the cluster {failure.cluster} has no host that may be chosen (none at all, or none healthy)"


def _circuit_breaker(failure: Failure) -> str:
    return (
        f"a circuit breaker of the cluster {failure.cluster} was open, so the request was not sent: too many connections, "
        "pending requests or requests at once"
    )


def _no_route(failure: Failure) -> str:
    return f"no route matches {failure.method} {failure.authority}{failure.path}"


def _no_cluster(failure: Failure) -> str:
    named = f" {failure.cluster}" if failure.cluster else ""
    where = f"the route {failure.route}" if failure.route else "the route"
    if failure.protocol == "TCP":
        where = f"tcp_proxy on {failure.listener}"
    return f"{where} points to a cluster{named} that this proxy does not know"


def _client_closed(failure: Failure) -> str:
    how = failure.client_closed
    if how in ("close", "timeout"):
        return f"this proxy closed the connection of {_client(failure)} while the request was under way"
    if how == "TLS":
        return f"TLS broke on the connection of {_client(failure)}: {tls_words(failure.tls_error)}"
    if failure.protocol == "TCP":
        return (
            f"{_client(failure)} closed its connection{f' with {how}' if how else ''} before there was one to "
            f"{_upstream(None, failure)}"
        )
    got = (
        f"the response was under way, {failure.bytes_sent} bytes of its body had been sent"
        if failure.code
        else "no response had begun"
    )
    what = "its request" if failure.request_complete else "a request that was not complete"
    return (
        f"{_client(failure)} left with {how or 'FIN'} {failure.duration_ms} ms after it began {what}; {got}"
        f"{_waiting_for(failure)}"
    )


def _waiting_for(failure: Failure) -> str:
    attempt = failure.last_attempt
    if attempt is None or failure.code:
        return ""
    return f" (it waited for {_upstream(attempt, failure)})"


def _client_reset(failure: Failure) -> str:
    if failure.protocol == "TCP":
        return (
            f"{_client(failure)} reset its connection (RST, age {seconds(failure.client_age_ns)}, "
            f"{failure.bytes_received} bytes from it, {failure.bytes_sent} to it)"
        )
    return (
        f"{_client(failure)} gave the request up with {failure.client_closed or 'a reset'} after {failure.duration_ms} ms"
        f"{_waiting_for(failure)}"
    )


def _client_protocol(failure: Failure) -> str:
    if failure.client_spoke == "TLS":
        return f"{_client(failure)} speaks TLS; this listener expects plaintext"
    return f"{_client(failure)} broke the protocol: {failure.details or 'not understood'}"


def _client_timeout(failure: Failure) -> str:
    part = "the head of its request" if failure.details == "request_header_timeout" else "its request"
    return f"{_client(failure)} did not finish {part} in time (after {failure.duration_ms} ms)"


def _client_tls(failure: Failure) -> str:
    sni = f", server name {failure.server_name}" if failure.server_name else ""
    if failure.client_closed == "timeout":
        return f"{_client(failure)} did not finish the TLS handshake in time{sni}"
    if failure.client_spoke:
        return f"{_client(failure)} speaks plaintext {failure.client_spoke}; this listener expects TLS"
    return f"the TLS handshake with {_client(failure)} failed{sni}: {tls_words(failure.tls_error)}"


def _secret_missing(failure: Failure) -> str:
    return f"{_client(failure)} was refused: the certificate for this listener has not come yet"


def _no_filter_chain(failure: Failure) -> str:
    spoke = f", which speaks {failure.client_spoke}" if failure.client_spoke else ""
    sni = f" with server name {failure.server_name}" if failure.server_name else ""
    return (
        f"no filter chain of the listener {failure.listener} takes the connection of "
        f"{_client(failure)}{spoke}{sni}"
    )


def _idle_timeout(failure: Failure) -> str:
    silent = (
        _upstream(failure.last_attempt, failure)
        if failure.hop == "upstream"
        else f"{_client(failure)}, whose request is not complete,"
    )
    return (
        f"nothing moved for the stream idle timeout, which ended the request after {failure.duration_ms} ms; "
        f"{silent} was the one to go on"
    )


def _max_duration(failure: Failure) -> str:
    what = "session" if failure.protocol == "TCP" else "request"
    return f"the {what} took longer than it may ({failure.duration_ms} ms) and was ended"


def _dns(failure: Failure) -> str:
    return f"the name of the upstream could not be resolved (cluster {failure.cluster})"


def _internal(failure: Failure) -> str:
    return "something unexpected happened in this proxy: see its log"


def _local_reply(failure: Failure) -> str:
    return f"this proxy answered {failure.code} itself: {failure.details or 'no details'}"


_STORIES: Final[dict[str, Callable[[Failure], str]]] = {
    "circuit_breaker": _circuit_breaker,
    "client_closed": _client_closed,
    "client_protocol": _client_protocol,
    "client_reset": _client_reset,
    "client_timeout": _client_timeout,
    "client_tls": _client_tls,
    "dns": _dns,
    "idle_timeout": _idle_timeout,
    "internal": _internal,
    "local_reply": _local_reply,
    "max_duration": _max_duration,
    "no_cluster": _no_cluster,
    "no_filter_chain": _no_filter_chain,
    "no_healthy_upstream": _no_healthy,
    "no_route": _no_route,
    "retried": _retried,
    "secret_missing": _secret_missing,
    "upstream_closed": _upstream_closed,
    "upstream_connect": _connect,
    "upstream_connect_timeout": _connect_timeout,
    "upstream_protocol": _upstream_protocol,
    "upstream_reset": _upstream_reset,
    "upstream_response": _upstream_response,
    "upstream_timeout": _upstream_timeout,
    "upstream_tls": _upstream_tls,
}

#: What OpenSSL and our own checks say, in other words. The first that is found in the text counts.
_TLS_WORDS: Final = (
    ("san matcher", "the certificate is valid but names somebody else than configured"),
    ("wrong version number", "the other side does not speak TLS on this port (or no common version)"),
    ("http request", "plain HTTP came where TLS was expected"),
    ("certificate has expired", "the certificate has expired"),
    ("expired", "a certificate has expired"),
    ("unable to get local issuer", "the certificate was issued by a CA that is not trusted here"),
    ("self-signed", "the certificate's CA is not trusted here"),
    ("unknown ca", "the other side does not trust the CA of our certificate"),
    ("peer did not return a certificate", "the client showed no certificate"),
    ("certificate required", "the other side wants a certificate, and we showed none"),
    ("connection closed during the handshake", "the other side closed the connection in the handshake"),
)


def tls_words(text: str) -> str:
    """The text of a TLS failure, with what it means in front if that is known."""
    bare = text.removeprefix("TLS_error:|").removesuffix(":TLS_error_end") or "no reason is known"
    lowered = text.lower().replace("_", " ")
    for needle, words in _TLS_WORDS:
        if needle in lowered:
            return f"{words} [{bare}]"
    return bare
