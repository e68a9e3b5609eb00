"""Listeners, filter chains and network filters: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import matches, tcp, two_listeners
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case(
        "filters null list",
        tcp(clusters="\n  - name: d\n    filters:\n    - null\n"),
        Verdict.REFUSES,
        ["x.yaml:9:7: static_resources.clusters[1].filters[0]: must not be null"],
    ),
    Case(
        "filters null string list",
        tcp(clusters="\n  - name: d\n    filters:\n    - 'null'\n"),
        Verdict.REFUSES,
        [
            "x.yaml:9:7: static_resources.clusters[1].filters[0]: expected an object (envoy.config.cluster.v3.Filter), got 'null'"
        ],
    ),
    Case("tcp unknown cluster", tcp("stat_prefix: x, cluster: nope"), Verdict.ACCEPTS),
    Case(
        "tcp no stat_prefix",
        tcp("cluster: c"),
        Verdict.REFUSES,
        [
            "x.yaml:13:43: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty"
        ],
    ),
    Case(
        "tcp empty stat_prefix",
        tcp('stat_prefix: "", cluster: c'),
        Verdict.REFUSES,
        [
            "x.yaml:13:142: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty"
        ],
    ),
    Case(
        "tcp no cluster",
        tcp("stat_prefix: x"),
        Verdict.REFUSES,
        [
            "x.yaml:13:43: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.cluster_specifier: one of cluster, weighted_clusters is required"
        ],
    ),
    Case(
        "tcp weight 0",
        tcp("stat_prefix: x, weighted_clusters: {clusters: [{name: c, weight: 0}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:13:194: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.weighted_clusters.clusters[0].weight: must be at least 1"
        ],
    ),
    Case(
        "tcp weighted",
        tcp("stat_prefix: x, weighted_clusters: {clusters: [{name: c, weight: 1},{name: zz, weight: 3}]}"),
        Verdict.ACCEPTS,
    ),
    Case("tcp idle 0", tcp("stat_prefix: x, cluster: c, idle_timeout: 0s"), Verdict.ACCEPTS),
    Case(
        "tcp idle neg",
        tcp("stat_prefix: x, cluster: c, idle_timeout: -1s"),
        Verdict.REFUSES,
        [
            "x.yaml:13:171: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.idle_timeout: must not be negative"
        ],
    ),
    Case(
        "tcp max attempts 0",
        tcp("stat_prefix: x, cluster: c, max_connect_attempts: 0"),
        Verdict.REFUSES,
        [
            "x.yaml:13:179: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.max_connect_attempts: must be at least 1"
        ],
    ),
    Case(
        "chain terminal twice",
        tcp(filters="[$TCP_PROXY, $ECHO]"),
        Verdict.REFUSES,
        [
            "x.yaml:13:17: static_resources.listeners[0].filter_chains[0].filters[0]: 't' ends the chain: no filter may follow it"
        ],
    ),
    Case("chain empty filters", tcp(filters="[]"), Verdict.ACCEPTS),
    Case(
        "listener no chains",
        tcp().replace("filter_chains:", "xx: 1\n    listener_filters: []\n    #").replace("    xx: 1\n", ""),
        Verdict.REFUSES,
        ["x.yaml:13:5: not valid YAML or JSON: while parsing a block mapping: did not find expected key"],
    ),
    Case(
        "filter noname",
        tcp(filters='[{typed_config: {"@type": $EXTENSIONSfilters.network.echo.v3.Echo}}]'),
        Verdict.REFUSES,
        ["x.yaml:13:17: static_resources.listeners[0].filter_chains[0].filters[0].name: must not be empty"],
    ),
    Case(
        "listener dup names",
        two_listeners(
            "{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 19002}}}".strip(
                "{}"
            ).replace(", address", "\n    address")
            + "}}"
        ),
        Verdict.ACCEPTS,
        ["x.yaml:16:11: static_resources.listeners[1].name: there is another listener 'l'"],
        differs="listener names are unique",
    ),
    Case(
        "listener dup addr",
        two_listeners("name: m\n    address: {socket_address: {address: 127.0.0.1, port_value: 19001}}"),
        Verdict.REFUSES,
        [
            "x.yaml:17:14: static_resources.listeners[1].address: 127.0.0.1:19001 is the address of listener 'l' too"
        ],
    ),
    Case(
        "listener dup addr nobind",
        two_listeners(
            "name: m\n    bind_to_port: false\n    address: {socket_address: {address: 127.0.0.1, port_value: 19001}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:14: static_resources.listeners[1].address: 127.0.0.1:19001 is the address of listener 'l' too"
        ],
    ),
    Case(
        "listener dup port 0",
        two_listeners(
            "name: m\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}",
            "{socket_address: {address: 127.0.0.1, port_value: 0}}",
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "listener noname two",
        two_listeners("address: {socket_address: {address: 127.0.0.1, port_value: 19002}}").replace(
            "- name: l", "- stat_prefix: l"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "listener noaddress",
        tcp(address="stat_prefix: x"),
        Verdict.REFUSES,
        ["x.yaml:8:5: static_resources.listeners[0].address: required"],
    ),
    Case(
        "listener empty address",
        tcp(address="address: {}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:14: static_resources.listeners[0].address.address: one of socket_address, pipe, envoy_internal_address is required"
        ],
    ),
    Case(
        "listener hostname",
        tcp(address="address: {socket_address: {address: localhost, port_value: 0}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:41: static_resources.listeners[0].address.socket_address.address: not an IP address: 'localhost'"
        ],
    ),
    Case(
        "listener empty host",
        tcp(address='address: {socket_address: {address: "", port_value: 0}}'),
        Verdict.REFUSES,
        ["x.yaml:9:41: static_resources.listeners[0].address.socket_address.address: must not be empty"],
    ),
    Case(
        "listener pipe long",
        tcp(address='address: {pipe: {path: "/tmp/' + "x" * 120 + '"}}'),
        Verdict.REFUSES,
        [
            "x.yaml:9:28: static_resources.listeners[0].address.pipe.path: longer than a Unix socket path may be (107 bytes)"
        ],
    ),
    Case(
        "listener pipe mode",
        tcp(address="address: {pipe: {path: /tmp/x, mode: 512}}"),
        Verdict.REFUSES,
        ["x.yaml:9:42: static_resources.listeners[0].address.pipe.mode: must be at most 511"],
    ),
    Case(
        "listener pipe abstract mode",
        tcp(address='address: {pipe: {path: "@x", mode: 0600}}'),
        Verdict.REFUSES,
        ["x.yaml:9:40: static_resources.listeners[0].address.pipe.mode: an abstract socket has no mode"],
    ),
    Case(
        "listener v6",
        tcp(address='address: {socket_address: {address: "::1", port_value: 0}}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "listener v6 brackets",
        tcp(address='address: {socket_address: {address: "[::1]", port_value: 0}}'),
        Verdict.REFUSES,
        [
            "x.yaml:9:41: static_resources.listeners[0].address.socket_address.address: not an IP address: '[::1]'"
        ],
    ),
    Case(
        "listener v4 short",
        tcp(address='address: {socket_address: {address: "127.1", port_value: 0}}'),
        Verdict.REFUSES,
        [
            "x.yaml:9:41: static_resources.listeners[0].address.socket_address.address: not an IP address: '127.1'"
        ],
    ),
    Case(
        "listener lft neg",
        tcp(listener="    listener_filters_timeout: -1s"),
        Verdict.REFUSES,
        ["x.yaml:10:31: static_resources.listeners[0].listener_filters_timeout: must not be negative"],
    ),
    Case(
        "listener maxaccept 0",
        tcp(listener="    max_connections_to_accept_per_socket_event: 0"),
        Verdict.REFUSES,
        [
            "x.yaml:10:49: static_resources.listeners[0].max_connections_to_accept_per_socket_event: must be greater than 0"
        ],
    ),
    Case(
        "listener api",
        tcp(listener="    api_listener: {}"),
        Verdict.REFUSES,
        ["x.yaml:10:5: static_resources.listeners[0].api_listener: refused: not supported"],
    ),
    Case(
        "listener chains none",
        "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}]}",
        Verdict.REFUSES,
        [
            "x.yaml:1:32: static_resources.listeners[0].filter_chains: a listener needs filter_chains or default_filter_chain"
        ],
    ),
    Case(
        "listener default only",
        "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, default_filter_chain: {filters: [$ECHO]}}]}",
        Verdict.REFUSES,
        [
            "x.yaml:1:139: static_resources.listeners[0].default_filter_chain.filters[0]: expected an object (envoy.config.listener.v3.Filter), got '$ECHO'"
        ],
    ),
    Case(
        "listener default with match",
        "static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, default_filter_chain: {filter_chain_match: {destination_port: 5}, filters: [$ECHO]}}]}",
        Verdict.REFUSES,
        [
            "x.yaml:1:182: static_resources.listeners[0].default_filter_chain.filters[0]: expected an object (envoy.config.listener.v3.Filter), got '$ECHO'"
        ],
    ),
    Case(
        "listener lf unknown",
        tcp(
            listener='    listener_filters: [{name: x, typed_config: {"@type": $EXTENSIONSfilters.http.router.v3.Router}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:10:48: static_resources.listeners[0].listener_filters[0].typed_config: envoy.extensions.filters.http.router.v3.Router is an HTTP filter, not a listener filter"
        ],
    ),
    Case(
        "listener lf noconf",
        tcp(listener="    listener_filters: [{name: envoy.filters.listener.tls_inspector}]"),
        Verdict.REFUSES,
        [
            "x.yaml:10:24: static_resources.listeners[0].listener_filters[0].typed_config: a listener filter is chosen by the type of its typed_config, which is missing"
        ],
    ),
    Case(
        "listener lf predicate none",
        tcp(
            listener='    listener_filters: [{name: x, filter_disabled: {}, typed_config: {"@type": $EXTENSIONSfilters.listener.tls_inspector.v3.TlsInspector}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:10:51: static_resources.listeners[0].listener_filters[0].filter_disabled.rule: one of or_match, and_match, not_match, any_match, destination_port_range is required"
        ],
    ),
    Case(
        "listener lf predicate any false",
        tcp(
            listener='    listener_filters: [{name: x, filter_disabled: {any_match: false}, typed_config: {"@type": $EXTENSIONSfilters.listener.tls_inspector.v3.TlsInspector}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:10:63: static_resources.listeners[0].listener_filters[0].filter_disabled.any_match: must be true"
        ],
    ),
    Case(
        "listener lf predicate or one",
        tcp(
            listener='    listener_filters: [{name: x, filter_disabled: {or_match: {rules: [{any_match: true}]}}, typed_config: {"@type": $EXTENSIONSfilters.listener.tls_inspector.v3.TlsInspector}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:10:70: static_resources.listeners[0].listener_filters[0].filter_disabled.or_match.rules: must have at least 2 items"
        ],
    ),
    Case(
        "listener lf predicate range rev",
        tcp(
            listener='    listener_filters: [{name: x, filter_disabled: {destination_port_range: {start: 10, end: 5}}, typed_config: {"@type": $EXTENSIONSfilters.listener.tls_inspector.v3.TlsInspector}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "listener tls_inspector buf",
        tcp(
            listener='    listener_filters: [{name: x, typed_config: {"@type": $EXTENSIONSfilters.listener.tls_inspector.v3.TlsInspector, initial_read_buffer_size: 5}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:10:169: static_resources.listeners[0].listener_filters[0].typed_config.initial_read_buffer_size: must be greater than 255"
        ],
    ),
    Case(
        "filter chain dup empty",
        matches("{}", "{}"),
        Verdict.REFUSES,
        [
            "x.yaml:13:28: static_resources.listeners[0].filter_chains[1].filter_chain_match: matches the same connections as filter_chains[0]"
        ],
    ),
    Case(
        "filter chain dup port",
        matches("{destination_port: 5}", "{destination_port: 5}"),
        Verdict.REFUSES,
        [
            "x.yaml:13:28: static_resources.listeners[0].filter_chains[1].filter_chain_match: matches the same connections as filter_chains[0]"
        ],
    ),
    Case(
        "filter chain overlap names",
        matches("{server_names: [a, b]}", "{server_names: [b, c]}"),
        Verdict.REFUSES,
        [
            "x.yaml:13:28: static_resources.listeners[0].filter_chains[1].filter_chain_match: matches some of the connections of filter_chains[0]"
        ],
    ),
    Case(
        "filter chain distinct", matches("{server_names: [a]}", "{server_names: [b]}", "{}"), Verdict.ACCEPTS
    ),
    Case(
        "filter chain names case",
        matches("{server_names: [EXTENSIONS.com]}", "{server_names: [a.com]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "filter chain partial wildcard",
        matches('{server_names: ["*a.com"]}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:44: static_resources.listeners[0].filter_chains[0].filter_chain_match.server_names[0]: '*a.com': a wildcard may only stand for whole labels in front, as in '*.example.com'"
        ],
    ),
    Case(
        "filter chain star",
        matches('{server_names: ["*"]}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:44: static_resources.listeners[0].filter_chains[0].filter_chain_match.server_names[0]: '*': a wildcard may only stand for whole labels in front, as in '*.example.com'"
        ],
    ),
    Case("filter chain *.com", matches('{server_names: ["*.com"]}'), Verdict.ACCEPTS),
    Case(
        "filter chain mid star",
        matches('{server_names: ["a.*.com"]}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:44: static_resources.listeners[0].filter_chains[0].filter_chain_match.server_names[0]: 'a.*.com': a wildcard may only stand for whole labels in front, as in '*.example.com'"
        ],
    ),
    Case("filter chain empty name", matches('{server_names: [""]}'), Verdict.ACCEPTS),
    Case(
        "filter chain cidr same net",
        matches(
            "{prefix_ranges: [{address_prefix: 10.0.0.1, prefix_len: 8}]}",
            "{prefix_ranges: [{address_prefix: 10.0.0.2, prefix_len: 8}]}",
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:28: static_resources.listeners[0].filter_chains[1].filter_chain_match: matches the same connections as filter_chains[0]"
        ],
    ),
    Case(
        "filter chain cidr nolen", matches("{prefix_ranges: [{address_prefix: 10.0.0.1}]}"), Verdict.ACCEPTS
    ),
    Case(
        "filter chain cidr bad",
        matches("{prefix_ranges: [{address_prefix: 10.0.0, prefix_len: 8}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:62: static_resources.listeners[0].filter_chains[0].filter_chain_match.prefix_ranges[0].address_prefix: not an IP address: '10.0.0'"
        ],
    ),
    Case(
        "filter chain cidr 33",
        matches("{prefix_ranges: [{address_prefix: 10.0.0.1, prefix_len: 33}]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "filter chain cidr 129",
        matches('{prefix_ranges: [{address_prefix: "::1", prefix_len: 129}]}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:81: static_resources.listeners[0].filter_chains[0].filter_chain_match.prefix_ranges[0].prefix_len: must be at most 128"
        ],
    ),
    Case(
        "filter chain port 0",
        matches("{destination_port: 0}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:47: static_resources.listeners[0].filter_chains[0].filter_chain_match.destination_port: must be at least 1"
        ],
    ),
    Case(
        "filter chain source port 0",
        matches("{source_ports: [0]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:44: static_resources.listeners[0].filter_chains[0].filter_chain_match.source_ports[0]: must be at least 1"
        ],
    ),
    Case(
        "filter chain suffix",
        matches('{address_suffix: "1", suffix_len: 3}'),
        Verdict.REFUSES,
        [
            "x.yaml:12:29: static_resources.listeners[0].filter_chains[0].filter_chain_match.address_suffix: refused: not supported",
            "x.yaml:12:50: static_resources.listeners[0].filter_chains[0].filter_chain_match.suffix_len: refused: not supported",
        ],
    ),
    Case(
        "filter chain dup names list",
        matches("{server_names: [a, a]}"),
        Verdict.REFUSES,
        [
            "x.yaml:12:43: static_resources.listeners[0].filter_chains[0].filter_chain_match.server_names: must not hold a value twice"
        ],
    ),
    Case("filter chain transport any", matches("{transport_protocol: zork}"), Verdict.ACCEPTS),
    Case(
        "filter chain name dup",
        matches("{destination_port: 5}", "{destination_port: 6}").replace("- {filter", "- {name: q, filter"),
        Verdict.ACCEPTS,
    ),
    Case(
        "filter chain sct neg",
        tcp(chain="transport_socket_connect_timeout: -1s"),
        Verdict.REFUSES,
        [
            "x.yaml:12:41: static_resources.listeners[0].filter_chains[0].transport_socket_connect_timeout: must not be negative"
        ],
    ),
    Case(
        "listener many",
        tcp(
            listener='    stat_prefix: sp\n    traffic_direction: INBOUND\n    per_connection_buffer_limit_bytes: 1000\n    tcp_backlog_size: 7\n    enable_reuse_port: false\n    bind_to_port: false\n    use_original_dst: true\n    transparent: false\n    freebind: true\n    ignore_global_conn_limit: true\n    continue_on_listener_filters_timeout: true\n    listener_filters_timeout: 0s\n    metadata: {filter_metadata: {a: {b: 1}}}\n    additional_addresses: [{address: {socket_address: {address: "::1", port_value: 0}}}]\n    access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.file.v3.FileAccessLog, path: /dev/null, format: "x\\n"}}]\n    listener_filters: [{name: o, typed_config: {"@type": $EXTENSIONSfilters.listener.original_dst.v3.OriginalDst}},{name: h, filter_disabled: {not_match: {or_match: {rules: [{destination_port_range: {start: 80, end: 81}},{and_match: {rules: [{any_match: true},{any_match: true}]}}]}}}, typed_config: {"@type": $EXTENSIONSfilters.listener.http_inspector.v3.HttpInspector}},{name: p, typed_config: {"@type": $EXTENSIONSfilters.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}]',
            chain='name: fc\n      transport_socket_connect_timeout: 3s\n      metadata: {filter_metadata: {a: {b: 1}}}\n      filter_chain_match: {destination_port: 80, prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 8}], server_names: [EXTENSIONS.com, "*.b.com"], transport_protocol: tls, application_protocols: [h2], direct_source_prefix_ranges: [{address_prefix: 1.0.0.0, prefix_len: 8}], source_type: EXTERNAL, source_prefix_ranges: [{address_prefix: "::", prefix_len: 0}], source_ports: [1, 2]}',
        ),
        Verdict.ACCEPTS,
    ),
    Case("listener deprecated v1", tcp(listener="    deprecated_v1: {bind_to_port: false}"), Verdict.ACCEPTS),
    Case("listener reuse deprecated", tcp(listener="    reuse_port: true"), Verdict.ACCEPTS),
    Case("listener proxy proto", tcp(chain="use_proxy_proto: true"), Verdict.ACCEPTS),
    Case("listener pipe", tcp(address='address: {pipe: {path: "@abc"}}'), Verdict.ACCEPTS),
    Case(
        "tcp many",
        tcp(
            'stat_prefix: x, weighted_clusters: {clusters: [{name: c, weight: 3, metadata_match: {filter_metadata: {envoy.lb: {a: b}}}}]}, idle_timeout: 0s, max_connect_attempts: 4, max_downstream_connection_duration: 9s, access_log_options: {access_log_flush_interval: 2s}, access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.stream.v3.StderrAccessLog}}]'
        ),
        Verdict.ACCEPTS,
    ),
]
