"""HTTP/2 clients that others have written: h2load, nghttp and curl."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.interop.pair import H2, Application, SidecarPair
from tests.interop.stage import H2 as CLUSTER_H2
from tests.interop.stage import Stage
from tests.support.backends import HttpBackend, Send
from tests.support.bootstraps import Json, cluster, downstream_tls, http_options, route_to
from tests.support.certificates import Mesh
from tests.support.envoy import require_program
from tests.support.h2_backend import H2Backend, ok
from tests.support.limits import raise_descriptor_limit
from tests.support.nginx import start_nginx
from tests.support.pattern import PERIOD, PatternChecker, piece
from tests.support.ports import free_port
from tests.support.process import sidecar_command

MIB = 1 << 20
CLIENTS, STREAMS = 16, 32
REQUESTS, PAIR_REQUESTS = 100_000, 20_000
LARGE_BYTES = 64 * MIB
CURL_BYTES = 20 * MIB
_TIMEOUT_S = 120
_TOTALS = re.compile(
    r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)


def _run(program: str, package: str, *arguments: str | Path, timeout_s: float = _TIMEOUT_S) -> bytes:
    """The output of a program that must succeed."""
    argv = [require_program(program, package), *map(str, arguments)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{program}: {done.returncode}\n{done.stderr[-2000:]!r}"
    return done.stdout


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    created = Stage(tmp_path)
    yield created
    created.close()


@pytest.fixture
def nginx_port(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    process = start_nginx(tmp_path, port, "x" * 100)
    yield port
    process.terminate(1.0)


# h2load


def _load(port: int, requests: int) -> None:
    """All must be answered with 2xx."""
    output = _run(
        *("h2load", "nghttp2-client", "-n", str(requests), "-c", str(CLIENTS), "-m", str(STREAMS)),
        f"http://127.0.0.1:{port}/",
        timeout_s=600,
    ).decode()
    totals = _TOTALS.search(output)
    assert totals is not None, output
    assert [int(number) for number in totals.groups()] == [requests] * 4 + [0] * 3, output
    assert f"status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx" in output, output


@pytest.mark.slow
def test_h2load_through_one_proxy(stage: Stage, nginx_port: int) -> None:
    raise_descriptor_limit(4096)
    stage.start([stage.http_listener(route_to("nginx"))], [cluster("nginx", ("127.0.0.1", nginx_port))])
    _load(stage.port, REQUESTS)
    stage.settled(http__http__downstream_rq_active=0, cluster__nginx__upstream_rq_active=0)
    assert stage.proxy.stat("http.http.downstream_rq_2xx") == REQUESTS
    assert stage.proxy.stat("http.http.downstream_cx_http2_total") == CLIENTS


@pytest.mark.slow
def test_h2load_through_two_proxies(tmp_path: Path, nginx_port: int) -> None:
    """HTTP/2 in the clear, HTTP/2 with mutual TLS, HTTP/1.1."""
    raise_descriptor_limit(4096)
    application = Application()
    pair = SidecarPair(
        sidecar_command(),
        sidecar_command(),
        Mesh(tmp_path),
        application,
        tmp_path,
        H2,
        http=("127.0.0.1", nginx_port),
    )
    try:
        _load(pair.http_port, PAIR_REQUESTS)
        assert pair.client.stat("http.outbound.downstream_rq_2xx") == PAIR_REQUESTS
        assert pair.server.stat("http.inbound.downstream_rq_2xx") == PAIR_REQUESTS
        assert pair.server.stat("http.inbound.downstream_cx_http1_total") == 0
    finally:
        pair.close()
        application.close()


# nghttp


def _write_pattern(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        for offset in range(0, size, PERIOD):
            file.write(piece(offset, min(PERIOD, size - offset)))
    return path


def _is_pattern(data: bytes, size: int) -> bool:
    check = PatternChecker()
    check.feed(data)
    return check.is_exactly(size)


_TWO_TRAILERS = ("--trailer", "x-one: 1", "--trailer", "x-two: 2")
_TRAILERS: dict[str, Any] = {"enable_trailers": True}


def _start_with_http1_backend(stage: Stage, **listener: Any) -> HttpBackend:
    """Trailers are let through."""
    backend = stage.http_backend()
    options = http_options(explicit_http_config={"http_protocol_options": _TRAILERS})
    stage.start(
        [stage.http_listener(route_to("app", timeout="0s"), **listener)],
        [cluster("app", backend.address, **options)],
    )
    return backend


def _start_with_http2_backend(stage: Stage) -> H2Backend:
    backend = stage.h2_backend()
    stage.start([stage.http_listener(route_to("app"))], [cluster("app", backend.address, **CLUSTER_H2)])
    return backend


def _url(stage: Stage, path: str, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{stage.port}{path}"


def test_nghttp_get(stage: Stage) -> None:
    backend = _start_with_http1_backend(stage)
    assert _run("nghttp", "nghttp2-client", _url(stage, "/a?b=c")) == b"hello\n"
    assert backend.requests[0].target == "/a?b=c"


def test_nghttp_many_at_once(stage: Stage) -> None:
    backend = _start_with_http1_backend(stage)
    output = _run("nghttp", "nghttp2-client", "-m", "50", _url(stage, "/"))
    assert output == b"hello\n" * 50
    assert backend.count_complete() == 50


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_nghttp_request_trailers_to_an_http1_upstream(stage: Stage, tmp_path: Path, length: bool) -> None:
    """A body with a length has no place for them in HTTP/1.1."""
    backend = _start_with_http1_backend(stage)
    arguments = [*_TWO_TRAILERS, *([] if length else ["--no-content-length"])]
    body = _write_pattern(tmp_path / "body", 100_000)
    assert _run("nghttp", "nghttp2-client", *arguments, "-d", body, _url(stage, "/upload")) == b"hello\n"
    assert backend.uploads[0].is_exactly(100_000)
    assert backend.requests[0].trailer_fields() == ([] if length else [("x-one", "1"), ("x-two", "2")])


def test_nghttp_request_trailers_to_an_http2_upstream(stage: Stage, tmp_path: Path) -> None:
    backend = _start_with_http2_backend(stage)
    body = _write_pattern(tmp_path / "body", 100_000)
    assert _run("nghttp", "nghttp2-client", *_TWO_TRAILERS, "-d", body, _url(stage, "/upload")) == b"hello\n"
    (request,) = backend.requests
    assert request.check is not None and request.check.is_exactly(100_000)
    assert request.trailers == [("x-one", "1"), ("x-two", "2")]


def test_nghttp_response_trailers_of_an_http2_upstream(stage: Stage) -> None:
    backend = stage.h2_backend(lambda _: ok(trailers=[("x-end", "1")]))
    stage.start(
        [stage.http_listener(route_to("app"))],
        [
            cluster(
                "app", backend.address, **http_options(explicit_http_config={"http2_protocol_options": {}})
            )
        ],
    )
    output = _run("nghttp", "nghttp2-client", "-v", _url(stage, "/")).decode()
    assert re.search(r"recv \(stream_id=\d+\) x-end: 1", output), output


def test_nghttp_response_trailers_of_an_http1_upstream(stage: Stage) -> None:
    backend = _start_with_http1_backend(stage)
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n"
    backend.answer = lambda _: [Send(chunked)]
    output = _run("nghttp", "nghttp2-client", "-v", _url(stage, "/")).decode()
    assert re.search(r"recv \(stream_id=\d+\) x-end: 1", output), output


def test_nghttp_large_upload(stage: Stage, tmp_path: Path) -> None:
    backend = _start_with_http1_backend(stage)
    body = _write_pattern(tmp_path / "body", LARGE_BYTES)
    assert _run("nghttp", "nghttp2-client", "-d", body, _url(stage, "/upload")) == b"hello\n"
    assert backend.uploads[0].is_exactly(LARGE_BYTES)


@pytest.mark.parametrize("window_bits", [16, 24])
def test_nghttp_large_download(stage: Stage, window_bits: int) -> None:
    _start_with_http1_backend(stage)
    windows = ("-w", str(window_bits), "-W", str(window_bits))
    output = _run("nghttp", "nghttp2-client", *windows, _url(stage, f"/bytes/{LARGE_BYTES}"))
    assert _is_pattern(output, LARGE_BYTES)


# curl

_PRIOR_KNOWLEDGE = ("--http2-prior-knowledge",)
_SHOW_VERSION = ("-w", "\n%{http_version} %{http_code}")


def _curl(*arguments: str | Path) -> tuple[bytes, str]:
    """The body, and the version and the status."""
    output = _run("curl", "curl", "-sS", "--noproxy", "*", *_SHOW_VERSION, *arguments)
    body, _, facts = output.rpartition(b"\n")
    return body, facts.decode()


def test_curl_upgrade_to_h2c_is_ignored(stage: Stage) -> None:
    """Whoever asks for h2c by upgrading gets HTTP/1.1."""
    backend = _start_with_http1_backend(stage)
    assert _curl("--http2", _url(stage, "/")) == (b"hello\n", "1.1 200")
    assert _curl("--http2", "-d", "abc", _url(stage, "/")) == (b"hello\n", "1.1 200")
    assert backend.requests[1].body == b"abc"
    assert backend.requests[0].values("upgrade") == backend.requests[0].values("http2-settings") == []


def test_curl_get_and_head(stage: Stage) -> None:
    backend = _start_with_http1_backend(stage)
    assert _curl(*_PRIOR_KNOWLEDGE, _url(stage, "/a")) == (b"hello\n", "2 200")
    head, facts = _curl(*_PRIOR_KNOWLEDGE, "-I", _url(stage, "/a"))
    assert facts == "2 200"
    assert head.startswith(b"HTTP/2 200 ") and b"x-backend: 1" in head
    assert [request.method for request in backend.requests] == ["GET", "HEAD"]


def test_curl_post_of_a_file(stage: Stage, tmp_path: Path) -> None:
    backend = _start_with_http1_backend(stage)
    body = _write_pattern(tmp_path / "body", CURL_BYTES)
    data = ("--data-binary", f"@{body}")
    assert _curl(*_PRIOR_KNOWLEDGE, *data, _url(stage, "/upload")) == (b"hello\n", "2 200")
    assert backend.uploads[0].is_exactly(CURL_BYTES)
    assert backend.requests[0].values("content-length") == [str(CURL_BYTES)]


def test_curl_upload_without_a_length(stage: Stage, tmp_path: Path) -> None:
    backend = _start_with_http1_backend(stage)
    body = _write_pattern(tmp_path / "body", MIB)
    upload = ("-T", body, "-H", "content-length:")
    assert _curl(*_PRIOR_KNOWLEDGE, *upload, _url(stage, "/upload")) == (b"hello\n", "2 200")
    assert backend.uploads[0].is_exactly(MIB)
    assert backend.requests[0].method == "PUT"


def test_curl_download(stage: Stage) -> None:
    _start_with_http1_backend(stage)
    body, facts = _curl(*_PRIOR_KNOWLEDGE, _url(stage, f"/bytes/{CURL_BYTES}"))
    assert facts == "2 200" and _is_pattern(body, CURL_BYTES)


def test_curl_many_at_once(stage: Stage) -> None:
    """Over TLS, where this curl shares a connection."""
    backend = _start_with_http1_backend(stage, transport_socket=_server_tls(stage, ("h2", "http/1.1")))
    parallel = ("-Z", "--parallel-max", "20", "-o", "/dev/null", "--cacert", stage.mesh.root)
    _run("curl", "curl", "-sS", "--noproxy", "*", "--http2", *parallel, _url(stage, "/[1-60]", "https"))
    assert sorted(int(request.target[1:]) for request in backend.requests) == list(range(1, 61))
    assert stage.proxy.stat("http.http.downstream_rq_2xx") == 60
    assert stage.proxy.stat("http.http.downstream_cx_http1_total") == 0


def _server_tls(stage: Stage, alpn: Sequence[str]) -> Json:
    return downstream_tls(stage.mesh.leaf("server"), None, alpn=alpn, require_client_certificate=False)


@pytest.mark.parametrize(
    ("option", "alpn", "version"),
    [
        (("--http2",), ("h2", "http/1.1"), "2"),
        (("--http1.1",), ("h2", "http/1.1"), "1.1"),
        (("--http2",), ("http/1.1",), "1.1"),
        (("--http2", "--no-alpn"), ("h2", "http/1.1"), "1.1"),
    ],
)
def test_curl_over_tls(
    stage: Stage, tmp_path: Path, option: Sequence[str], alpn: Sequence[str], version: str
) -> None:
    """ALPN decides."""
    backend = _start_with_http1_backend(stage, transport_socket=_server_tls(stage, alpn))
    body = _write_pattern(tmp_path / "body", MIB)
    secure: list[str | Path] = [*option, "--cacert", stage.mesh.root]
    assert _curl(*secure, _url(stage, "/a", "https")) == (b"hello\n", f"{version} 200")
    data = ("--data-binary", f"@{body}")
    assert _curl(*secure, *data, _url(stage, "/upload", "https")) == (b"hello\n", f"{version} 200")
    assert backend.uploads[0].is_exactly(MIB)
    assert backend.requests[0].values("x-forwarded-proto") == ["https"]
