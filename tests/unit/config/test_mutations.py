"""However a bootstrap is damaged, parsing it gives a bootstrap or ConfigErrors, never anything else."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.bootstrap import Source, parse_bootstrap
from config.errors import ConfigErrors
from tests.unit.config.bootstraps import PAIR, SECRETS, cluster, http, matches, tcp, tls_client, tls_server

TEXTS = [
    http(
        "access_log_flush_interval: 1s\n          via: v",
        route="match: {safe_regex: {regex: /a}}, redirect: {}",
    ),
    matches(
        "{destination_port: 80, server_names: [a.b]}",
        "{prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 8}]}",
    ),
    tls_server(f"common_tls_context: {{{PAIR}, tls_params: {{cipher_suites: [AES128-SHA]}}}}", SECRETS),
    tls_client("sni: a"),
    tcp(
        top="stats_config: {stats_tags: [{tag_name: a, regex: (b)}]}\nlayered_runtime: {layers: [{name: a, static_layer: {b: 1}}]}"
    ),
    cluster("{name: d, type: STRICT_DNS, metadata: {filter_metadata: {a: {b: [1, {c: d}]}}}}"),
]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["@type", "type.googleapis.com/google.protobuf.Any", "5s", "-1s", "*", "%", "(", "::1"]),
    st.just([]),
    st.just({}),
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=2),
    st.lists(st.integers() | st.none(), max_size=2),
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found += places(item)
    return found


def must_parse_or_refuse(text: str) -> None:
    try:
        parsed = parse_bootstrap([Source("a.yaml", text)])
    except ConfigErrors as refused:
        assert refused.errors
        assert all(str(error) for error in refused.errors)
    else:
        assert parsed.bootstrap is not None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_changed_values(data: st.DataObject) -> None:
    tree = copy.deepcopy(yaml.safe_load(data.draw(st.sampled_from(TEXTS))))
    for _ in range(data.draw(st.integers(1, 3))):
        if not places(tree):
            break
        container, key = data.draw(st.sampled_from(places(tree)))
        change = data.draw(st.sampled_from(["replace", "remove", "rename", "double"]))
        if key not in container and isinstance(container, dict):
            continue
        if change == "replace":
            container[key] = data.draw(JUNK)
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[0]))
        elif change == "remove":
            del container[key]
        elif change == "rename":
            container[data.draw(st.text(max_size=6))] = container.pop(key)
        else:
            container[key] = [container[key], copy.deepcopy(container[key])]
    must_parse_or_refuse(yaml.safe_dump(tree, allow_unicode=True))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_changed_characters(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        text = (
            text[:start]
            + data.draw(st.text(alphabet="{}[]:,-'\"&*!|>% \n\tab0\x00\ud800é", max_size=3))
            + text[start + cut :]
        )
    must_parse_or_refuse(text)
