"""Rules of the house that no linter knows: configuration is used, modules are tested, broad excepts stand at borders."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("alpn", "config", "protocols", "sidecar", "stats")
GENERATED = "config/proto/istio/"

#: No function needs scrolling. The long ones are lists of endpoints.
MAX_FUNCTION_LINES = 60
LONG_FUNCTIONS = {"sidecar/main/admin/lifecycle.py:endpoints", "sidecar/main/admin/stats.py:endpoints"}

#: Where what has no test file of its own is tested. A directory stands for all that is in it.
TESTED_ELSEWHERE = {
    "config/model/": "tests/unit/config/proto",  # structs: what the translators make
    "config/proto/access_log.py": "tests/unit/config/proto/test_network.py",
    "config/proto/core.py": "tests/unit/config/proto/test_cluster.py",
    "config/proto/endpoint.py": "tests/unit/config/proto/test_cluster.py",
    "config/proto/expression.py": "tests/unit/config/proto/test_http.py",
    "config/proto/filter_overrides.py": "tests/unit/config/proto/test_rbac.py",
    "config/proto/metadata_matching.py": "tests/unit/config/proto/test_rbac.py",
    "config/proto/istio_extensions.py": "tests/unit/config/proto/test_http.py",
    "config/proto/matching.py": "tests/unit/config/proto/test_route.py",
    "config/proto/references.py": "tests/unit/config/proto/test_route.py",
    "config/proto/redaction.py": "tests/unit/config/test_redaction.py",
    "config/proto/rules.py": "tests/unit/config/test_verdicts.py",
    "config/proto/types.py": "tests/unit/config/proto/test_fields.py",
    "config/sections.py": "tests/unit/config/test_workload.py",
    "config/workload_bootstrap.py": "tests/unit/config/test_workload.py",
    "protocols/errors.py": "tests/unit/protocols/http/test_head.py",
    "protocols/http/codec.py": "tests/unit/protocols/http/test_h1_server.py",
    "protocols/tls/x509.py": "tests/unit/protocols/tls/test_certificate.py",
    "protocols/tracing/span.py": "tests/unit/protocols/tracing/test_w3c.py",
    "sidecar/__main__.py": "tests/process",
    "sidecar/cli/": "tests/process",
    "sidecar/main/": "tests/process",
    "sidecar/worker/": "tests/process",
    "sidecar/expressions/api.py": "tests/unit/sidecar/expressions/test_operations.py",
    "sidecar/http/api.py": "tests/unit/sidecar/http/test_stream.py",
    "sidecar/http/exchanges.py": "tests/unit/sidecar/http/test_connection_manager.py",
    "sidecar/http/http1_exchanges.py": "tests/unit/sidecar/http/test_connection_manager.py",
    "sidecar/http/header_mutation.py": "tests/unit/sidecar/http/test_route.py",
    "sidecar/http/request_target.py": "tests/unit/sidecar/http/test_request_headers.py",
    "sidecar/http/route_match.py": "tests/unit/sidecar/http/test_route.py",
    "sidecar/listener/": "tests/unit/sidecar/listener/test_listener.py",
    "sidecar/network/": "tests/integration",
    "sidecar/stream_info.py": "tests/unit/sidecar/telemetry",
    "sidecar/telemetry/access_log/": "tests/unit/sidecar/telemetry/access_log/test_format.py",
    "sidecar/telemetry/istio_setup.py": "tests/unit/sidecar/http/filters/test_istio_stats.py",
    "sidecar/http/stream_trace.py": "tests/unit/sidecar/http/test_tracing.py",
    "sidecar/telemetry/tracing/context.py": "tests/unit/sidecar/telemetry/tracing/test_opentelemetry.py",
    "sidecar/telemetry/tracing/identifiers.py": "tests/unit/sidecar/http/test_tracing.py",
    "sidecar/telemetry/tracing/span.py": "tests/unit/sidecar/http/test_tracing.py",
    "sidecar/telemetry/tracing/tags.py": "tests/unit/sidecar/http/test_tracing.py",
    "sidecar/transport/async_client.py": "tests/unit/sidecar/upstream/test_async_client.py",
    "sidecar/transport/tls_outcome.py": "tests/interop",
    "sidecar/transport/transport_socket.py": "tests/unit/sidecar/transport/test_connection.py",
    "sidecar/upstream/active_client.py": "tests/unit/sidecar/upstream/test_http1_client.py",
    "sidecar/upstream/api.py": "tests/unit/sidecar/upstream/test_cluster.py",
    "sidecar/upstream/connector.py": "tests/integration/upstream",
    "sidecar/upstream/host.py": "tests/unit/sidecar/upstream/test_cluster.py",
    "sidecar/upstream/load_balancers/": "tests/unit/sidecar/upstream/load_balancers/test_load_balancers.py",
    "sidecar/upstream/services.py": "tests/support/http_floor.py",
    "sidecar/version.py": "tests/process",
}

#: Fields of the model that nothing of the proxy reads by name, and why they are there.
NOT_READ = {
    "rule",  # NotMatch: matched by position
    "server_listener_name",  # InternalAddress: only shown, such an address cannot be connected to
}


@functools.cache
def _modules() -> dict[str, ast.Module]:
    """Every module of the project that is written by hand, by its path from the root."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(GENERATED):
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_needs_scrolling() -> None:
    long = {
        f"{name}:{function.name}"
        for name, tree in _modules().items()
        for function in _functions(tree)
        if (function.end_lineno or function.lineno) - function.lineno >= MAX_FUNCTION_LINES
    }
    assert long - LONG_FUNCTIONS == set()


def test_what_was_configured_is_read() -> None:
    """A field of the model that the proxy does not read is a promise that nobody keeps."""
    read = set(NOT_READ)
    for name, tree in _modules().items():
        if name.startswith("sidecar/"):
            read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    unread = [
        f"{name}: {node.name}.{field.target.id}"
        for name, tree in _modules().items()
        if name.startswith("config/model/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for field in node.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not _is_derived(field)
        and field.target.id not in read
    ]
    assert unread == []


def _is_derived(field: ast.AnnAssign) -> bool:
    """`field(init=False)`: nothing that can be configured."""
    value = field.value
    return isinstance(value, ast.Call) and any(
        each.arg == "init" and isinstance(each.value, ast.Constant) and each.value.value is False
        for each in value.keywords
    )


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
        for kind in kinds
    )
    raises_again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return broad and not raises_again


def test_broad_excepts_stand_at_the_borders_that_the_architecture_names() -> None:
    rules = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (border,) = [part for part in rules.split("\n- ") if part.startswith("**A broad `except`")]
    modules = [
        name
        for name, tree in _modules().items()
        if any(isinstance(node, ast.ExceptHandler) and _is_broad(node) for node in ast.walk(tree))
    ]
    assert modules, "there are such borders"
    assert [name for name in modules if f"`{name.removeprefix('sidecar/')}`" not in border] == []


def _holds_code(tree: ast.Module) -> bool:
    return any(True for _ in _functions(tree))


def test_every_module_with_code_has_its_tests() -> None:
    untested = []
    for name, tree in _modules().items():
        path = Path(name)
        own = ROOT / "tests" / "unit" / path.parent / f"test_{path.name}"
        elsewhere = any(
            name == place or (place.endswith("/") and name.startswith(place)) for place in TESTED_ELSEWHERE
        )
        if path.name != "__init__.py" and _holds_code(tree) and not own.exists() and not elsewhere:
            untested.append(name)
    assert untested == []


@pytest.mark.parametrize(("module", "tests"), TESTED_ELSEWHERE.items())
def test_what_is_tested_elsewhere_and_where_exist(module: str, tests: str) -> None:
    assert (ROOT / module).exists()
    assert (ROOT / tests).exists()
