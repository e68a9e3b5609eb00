"""What istiod makes of AuthorizationPolicies, given to Envoy and to this proxy: the same requests get the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.interop.stage import Stage
from tests.support.bootstraps import downstream_tls
from tests.support.envoy import require_envoy
from tests.support.http_client import RawClient
from tests.support.ports import free_ports
from tests.support.process import ProxyCommand, sidecar_command

ISTIOD = Path(__file__).parents[1] / "golden" / "istiod_authz"
FILTERS = {
    path.stem: list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for path in sorted(ISTIOD.glob("*.yaml"))
}
PATHS = (
    "/", "/allow", "/deny", "/another", "/httpbin1", "/httpbin2?x", "/exact", "/prefix/x", "/x/suffix", "/path/template/x",
    "/a/b/path/template", "/allow/admin",
)  # fmt: skip
METHODS = ("GET", "POST")
HEADERS = [("x-id", "exact"), ("x-header", "header"), ("x-abc", "abc")]

_DIRECT: dict[str, Any] = {
    "match": {"prefix": "/"},
    "direct_response": {"status": 200},
    "response_headers_to_add": [{"header": {"key": "x-details", "value": "%RESPONSE_CODE_DETAILS%"}}],
}
Answer = tuple[int, bytes, str]


def _answers(directory: Path, command: ProxyCommand) -> dict[str, Answer]:
    directory.mkdir()
    stage = Stage(directory, command)
    ports = dict(zip(FILTERS, free_ports(len(FILTERS)), strict=True))
    listeners = [
        stage.http_listener(
            _DIRECT,
            name=name,
            port=ports[name],
            http_filters=filters,
            transport_socket=downstream_tls(stage.mesh.leaf("server"), stage.mesh.root),
        )
        for name, filters in FILTERS.items()
    ]
    context = stage.mesh.client_context("client")
    found: dict[str, Answer] = {}
    try:
        stage.start(listeners, [])
        for name, port in ports.items():
            with RawClient(("127.0.0.1", port), context=context) as client:
                for path in PATHS:
                    for method in METHODS:
                        response = client.request(method, path, HEADERS, host="exact.com")
                        details = dict(response.headers).get(b"x-details", b"").decode()
                        found[f"{name}: {method} {path}"] = response.status, response.body, details
    finally:
        stage.close()
    return found


def test_same_answers(tmp_path: Path) -> None:
    theirs = _answers(tmp_path / "envoy", require_envoy())
    ours = _answers(tmp_path / "ours", sidecar_command())
    assert ours == theirs
    statuses = [status for status, _, _ in theirs.values()]
    assert min(statuses.count(200), statuses.count(403)) > len(statuses) // 10
