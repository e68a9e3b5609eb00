"""What response code details and the kinds of failures mean. Read by `sidecar why`; a test knows that none is left out."""

from __future__ import annotations

from typing import Final

_FLOOD: Final = "so its connection was ended (Envoy's guard against floods; a broken client, or an attack)"
_TOO_MANY: Final = "setting: max_headers_count of common_http_protocol_options"
_TOO_LARGE: Final = "setting: max_request_headers_kb; often a cookie or token that grew"
_SMUGGLING: Final = "two readers could see two different messages in it (request smuggling), so it was refused: see DPE or UPE"

#: Response code details, by the part in front of `{`, `[` or `:`.
DETAILS: Final[dict[str, str]] = {
    # answers and refusals
    "via_upstream": "the answer came from the upstream as it is; if it is an error, ask the upstream's own log",
    "direct_response": "a route answered it by itself (direct_response or redirect)",
    "route_not_found": "no route matches: see NR",
    "filter_chain_not_found": "no filter chain takes the connection: see NR",
    "cluster_not_found": "the route's cluster is not known: see NC",
    "no_healthy_upstream": "no host may be chosen: see UH",
    "missing_host_header": "an HTTP/1.1 request without a Host header, which it must have (400)",
    "absolute_path_rejected": "the target does not begin with / (404)",
    "path_normalization_failed": (
        "the path cannot be normalised, or holds an escaped slash that the configuration refuses (400), or the client was "
        "sent to the normalised path (307); setting: normalize_path, path_with_escaped_slashes_action"
    ),
    "upgrade_failed": "an upgrade (WebSocket, CONNECT) that neither route nor connection manager allows (403)",
    "websocket_handshake_unsuccessful": "the upstream did not switch protocols",
    "rbac_access_denied_matched_policy": "an authorization policy refused it; the brackets name the policy, none: no ALLOW matched",
    "internal_error": "something unexpected in this proxy: see its log",
    "local_protocol_error": "the response could not be written: a header rule or filter made something that HTTP cannot carry",
    "grpc_base_64_decode_failed": "the body of a gRPC-Web text request is no base64 (400)",
    "grpc_base_64_decode_failed_bad_size": "the body of a gRPC-Web text request ends in the middle of its base64 (400)",
    "grpc.message_too_large": "a gRPC message is longer than it may be",
    # the upstream
    "upstream_reset_before_response_started": "the attempt ended before the response began; the braces say how",
    "upstream_reset_after_response_started": (
        "the response began and did not end, so that the client got a part of it; the braces say how"
    ),
    "response_timeout": "the route's timeout: see UT",
    "upstream_per_try_timeout": "the timeout of each attempt: see UT",
    # time and the end of the client's connection
    "request_overall_timeout": "the client did not send its whole request within request_timeout (408)",
    "request_header_timeout": "the client did not send its whole head within request_headers_timeout (408)",
    "stream_idle_timeout": "nothing moved: see SI",
    "max_duration_timeout": "the request took longer than max_stream_duration: see DT",
    "downstream_remote_disconnect": "the client left: see DC",
    "downstream_local_disconnect": "this proxy closed the client's connection, for instance while it shut down: see DC",
    # HTTP/1
    "http1.codec_error": (
        "not understood as HTTP/1: no HTTP at all (TLS on a plaintext port?), a malformed head, or a bad chunk: see DPE or UPE"
    ),
    "http1.invalid_characters": "a header holds a control character or a name that HTTP does not allow: see DPE or UPE",
    "http1.headers_too_large": f"the head is larger than allowed (431); {_TOO_LARGE}",
    "http1.too_many_headers": f"more headers than allowed (431); {_TOO_MANY}",
    "http1.too_many_trailers": f"more trailers than allowed (431); {_TOO_MANY}",
    "http1.invalid_url": "the target of the request is neither a path nor a URL nor what its method asks for (400)",
    "http1.invalid_transfer_encoding": "a transfer-encoding other than chunked, or one that is not the last (400 or 501)",
    "http1.content_length_and_chunked_not_allowed": f"both content-length and transfer-encoding: {_SMUGGLING}",
    "http1.content_length_not_allowed": "a content-length where there must be none (CONNECT, 1xx, 204): see DPE or UPE",
    "http1.transfer_encoding_not_allowed": "a transfer-encoding where there must be none (CONNECT, 1xx, 204): see DPE or UPE",
    "http1.body_disallowed": "a body where there must be none (an upgrade): see DPE",
    "http1.connection_header_rejected": "the Connection header names a header that must not be removed: see DPE or UPE",
    "http1.unexpected_underscore": (
        "a header name has an underscore, and the configuration refuses those; setting: headers_with_underscores_action"
    ),
    "http.invalid_authority": "the Host header holds characters that no host has (400)",
    "low_version": "HTTP/1.0 or older, which is not accepted (426); setting: accept_http_10 of http_protocol_options",
    # HTTP/2
    "codec_error": "the HTTP/2 connection broke the protocol; what follows the colon says how: see DPE or UPE",
    "http2.invalid.header.field": "a header has a name or value that HTTP/2 does not allow (upper case, control character)",
    "http2.violation.of.messaging.rule": (
        "the message breaks a rule of HTTP/2: pseudo-headers that are missing, doubled or late, connection headers, or a "
        "body whose length is not its content-length"
    ),
    "http2.unexpected_underscore": (
        "a header name has an underscore, and the configuration refuses those; setting: headers_with_underscores_action"
    ),
    "http2.too_many_headers": f"more headers than allowed; {_TOO_MANY}",
    "http2.header_list_size_too_large": f"the head is larger than allowed; {_TOO_LARGE}",
    "http2.refused_stream": "more streams at once than allowed; setting: max_concurrent_streams",
    "http2.remote_reset": "the client reset the stream: see DR",
    "http2.remote_refuse": "the other side refused the stream (RST_STREAM REFUSED_STREAM): see DR or UR",
    "http2.ping_timeout": "the client did not answer a PING in time; setting: connection_keepalive",
    "http2.inbound_empty_frames_flood": f"the client sent too many empty frames, {_FLOOD}",
    "http2.inbound_priority_frames_flood": f"the client sent too many PRIORITY frames, {_FLOOD}",
    "http2.inbound_window_update_frames_flood": f"the client sent too many WINDOW_UPDATE frames, {_FLOOD}",
    "http2.outbound_control_frames_flood": f"the client caused more acknowledgements than it read, {_FLOOD}",
    "http2.outbound_frames_flood": f"the client does not read what it asked for, {_FLOOD}",
    "too_many_premature_resets": f"the client gave most of its requests up at once (rapid reset), {_FLOOD}",
}

#: How an attempt ended: what stands in the braces of details.
RESETS: Final[dict[str, str]] = {
    "connection_termination": "the upstream ended the connection: see UC",
    "connection_timeout": "the connection was not made within connect_timeout: see UF",
    "local_refused_stream_reset": "this proxy did not send the request: see LR",
    "local_reset": "this proxy reset the stream: see LR",
    "no_error": "the upstream ended the stream with RST_STREAM NO_ERROR: see UR",
    "overflow": "a circuit breaker was open: see UO",
    "protocol_error": "the upstream's answer was not understood: see UPE",
    "remote_connection_failure": "no connection to the upstream; what follows | are the words of the transport: see UF",
    "remote_error_with_CONNECT_request": "the upstream ended a CONNECT stream with an error: see UR",
    "remote_refused_stream_reset": "the upstream refused the stream and did not look at the request: see UR",
    "remote_reset": "the upstream reset the stream: see UR",
}

#: The kinds of `/failures?kind=` and of the counters `failures.KIND_total`.
KINDS: Final[dict[str, str]] = {
    "circuit_breaker": "a limit of the cluster was reached, and the request was not sent: see UO",
    "client_closed": "the client ended its connection too early: see DC",
    "client_protocol": "the client broke the protocol: see DPE",
    "client_reset": "the client reset its stream (HTTP/2), or its connection in a TCP session: see DR",
    "client_timeout": "the client did not finish its request in time: see request_overall_timeout, request_header_timeout",
    "client_tls": "the TLS handshake of a client failed; `tls error` says why",
    "dns": "the name of the upstream could not be resolved: see DF",
    "idle_timeout": "nothing moved on the stream for too long: see SI",
    "internal": "something unexpected in this proxy: see its log",
    "local_reply": "this proxy answered with an error by itself; the details say why",
    "max_duration": "the request or TCP session took longer than it may: see DT, UMSDR",
    "no_cluster": "the route points to a cluster that is not known: see NC",
    "no_filter_chain": "no filter chain takes the connection: see NR",
    "no_healthy_upstream": "the cluster has no host that may be chosen: see UH",
    "no_route": "no route matches the request: see NR",
    "retried": "an attempt failed and a later one succeeded: the client noticed nothing but the time",
    "secret_missing": "the certificate for the listener has not come yet",
    "upstream_closed": "the upstream ended the connection with the request on it: see UC",
    "upstream_connect": "no connection to the upstream could be made: see UF",
    "upstream_connect_timeout": "the upstream did not take the connection within connect_timeout: see UF",
    "upstream_protocol": "the upstream broke the protocol: see UPE",
    "upstream_reset": "the upstream reset the stream, or its connection in a TCP session: see UR",
    "upstream_response": "the upstream answered with an error, also after the last retry: see URX",
    "upstream_timeout": "the upstream took longer than a timeout allows: see UT",
    "upstream_tls": "the TLS handshake with the upstream failed: see UF",
}


def explain(word: str) -> list[str]:
    """What details, a part of them, or a kind mean, in sentences; nothing for a word that nobody knows."""
    name, inner = _parts(word)
    found = []
    if name in DETAILS:
        found.append(DETAILS[name])
    if name in KINDS:
        found.append(f"as a kind: {KINDS[name]}" if found else KINDS[name])
    if name in _RESETS:
        found.append(_RESETS[name])
    if found and inner in _RESETS:
        found.append(f"{inner}: {_RESETS[inner]}")
    return found


#: They are asked for in any case.
_RESETS: Final = {name.lower(): text for name, text in RESETS.items()}

#: What a misspelt word can have meant.
WORDS: Final = (*DETAILS, *KINDS, *RESETS)


def _parts(word: str) -> tuple[str, str]:
    """`upstream_reset_before_response_started{overflow|words}`: the name, and what is in the braces up to a `|`."""
    lowered = word.lower()
    for at, char in enumerate(lowered):
        if char in "{[(|:":
            inner = lowered[at + 1 :].rstrip("}])")
            return lowered[:at], inner.partition("|")[0]
    return lowered, ""
