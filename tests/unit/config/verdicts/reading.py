"""How text is read: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import http, tcp
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case("base", tcp(), Verdict.ACCEPTS),
    Case("http", http(), Verdict.ACCEPTS),
    Case(
        "yaml dup key",
        tcp() + "\nnode: {id: a, id: b}\n",
        Verdict.ACCEPTS,
        ["x.yaml:16:15: node.id: given twice"],
        differs="a field given twice is an error",
    ),
    Case("anchor", tcp(top="node: {id: &a x, cluster: *a}"), Verdict.ACCEPTS),
    Case(
        "mergekey",
        tcp(
            top="node: {id: x, metadata: &m {a: 1}}\nadmin: {<<: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}}"
        ),
        Verdict.REFUSES,
        differs="merge keys work",
    ),
    Case(
        "unknown field",
        tcp(top="nodez: {}"),
        Verdict.REFUSES,
        ["x.yaml:14:1: nodez: unknown field in envoy.config.bootstrap.v3.Bootstrap; did you mean 'node'?"],
    ),
    Case("camel", tcp(top="statsFlushInterval: 5s"), Verdict.ACCEPTS),
    Case(
        "both spellings",
        tcp(top="statsFlushInterval: 5s\nstats_flush_interval: 6s"),
        Verdict.ACCEPTS,
        ["x.yaml:14:1: stats_flush_interval: given twice, as stats_flush_interval and as statsFlushInterval"],
        differs="a field given twice is an error",
    ),
    Case(
        "num for string",
        tcp(top="node: {id: 5}"),
        Verdict.REFUSES,
        ["x.yaml:14:12: node.id: expected a string, got the number 5 (write it in quotes)"],
    ),
    Case("bigint for string", tcp(top="node: {id: 5000000000}"), Verdict.ACCEPTS),
    Case("float for string", tcp(top="node: {id: 5.5}"), Verdict.ACCEPTS),
    Case(
        "bool for string",
        tcp(top="node: {id: yes}"),
        Verdict.REFUSES,
        ["x.yaml:14:12: node.id: expected a string, got true (write it in quotes)"],
    ),
    Case("null for string", tcp(top="node: {id: }"), Verdict.ACCEPTS),
    Case("null msg", tcp(top="node: "), Verdict.ACCEPTS),
    Case("null list", tcp(top="bootstrap_extensions: "), Verdict.ACCEPTS),
    Case(
        "null in list",
        tcp(top="bootstrap_extensions: [~]"),
        Verdict.REFUSES,
        ["x.yaml:14:24: bootstrap_extensions[0]: must not be null"],
    ),
    Case(
        "string for int",
        tcp(address='address: {socket_address: {address: 127.0.0.1, port_value: "0"}}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "string hexfor int",
        tcp(address='address: {socket_address: {address: 127.0.0.1, port_value: "0x10"}}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "hex int",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 0x10}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "octal int",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 010}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "octal int 0o",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 0o10}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:64: static_resources.listeners[0].address.socket_address.port_value: expected an integer, got '0o10'"
        ],
    ),
    Case(
        "float int 1.0",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 1.0}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        'float str int "1.0"',
        tcp(address='address: {socket_address: {address: 127.0.0.1, port_value: "1.0"}}'),
        Verdict.ACCEPTS,
    ),
    Case(
        'float str int "1e2"',
        tcp(address='address: {socket_address: {address: 127.0.0.1, port_value: "1e2"}}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "int 1e2",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 1e2}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "float int 1.5",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 1.5}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:64: static_resources.listeners[0].address.socket_address.port_value: expected an integer, got '1.5'"
        ],
    ),
    Case(
        "underscore int",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 1_0}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:64: static_resources.listeners[0].address.socket_address.port_value: expected an integer, got '1_0'"
        ],
    ),
    Case(
        "port big",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 65536}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:64: static_resources.listeners[0].address.socket_address.port_value: must be at most 65535"
        ],
    ),
    Case(
        "port neg",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: -1}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:64: static_resources.listeners[0].address.socket_address.port_value: -1 is out of range for uint32 (0 to 4294967295)"
        ],
    ),
    Case("bool str", tcp(top='stats_config: {use_all_default_tags: "true"}'), Verdict.ACCEPTS),
    Case("bool on", tcp(top="stats_config: {use_all_default_tags: on}"), Verdict.ACCEPTS),
    Case("bool y", tcp(top="stats_config: {use_all_default_tags: y}"), Verdict.ACCEPTS),
    Case(
        "bool 1",
        tcp(top="stats_config: {use_all_default_tags: 1}"),
        Verdict.REFUSES,
        ["x.yaml:14:38: stats_config.use_all_default_tags: expected true or false, got the number 1"],
    ),
    Case(
        "duration nounit",
        tcp(top="stats_flush_interval: 10"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got the number 10; did you mean '10s'?"
        ],
    ),
    Case(
        "duration str nounit",
        tcp(top='stats_flush_interval: "10"'),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '10'; did you mean '10s'?"
        ],
    ),
    Case(
        "duration 5sec",
        tcp(top="stats_flush_interval: 5sec"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '5sec'; did you mean '5s'?"
        ],
    ),
    Case(
        "duration 5ms",
        tcp(top="stats_flush_interval: 5ms"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '5ms'; did you mean '0.005s'?"
        ],
    ),
    Case(
        "duration 0.0005s",
        tcp(top="stats_flush_interval: 0.0005s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: must be at least 0.001s"],
    ),
    Case(
        "duration 5m",
        tcp(top="stats_flush_interval: 5m"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '5m'; did you mean '300s'?"
        ],
    ),
    Case(
        "duration 5 s",
        tcp(top="stats_flush_interval: 5 s"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '5 s'; did you mean '5s'?"
        ],
    ),
    Case(
        "duration neg",
        tcp(top="stats_flush_interval: -5s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: must be at least 0.001s"],
    ),
    Case(
        "duration .5s",
        tcp(top="stats_flush_interval: .5s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '.5s'"],
    ),
    Case(
        "duration 5.s",
        tcp(top="stats_flush_interval: 5.s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '5.s'"],
    ),
    Case(
        "duration +5s",
        tcp(top="stats_flush_interval: +5s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '+5s'"],
    ),
    Case(
        "duration 1e1s",
        tcp(top="stats_flush_interval: 1e1s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '1e1s'"],
    ),
    Case(
        "duration 10 digits frac",
        tcp(top="stats_flush_interval: 1.1234567891s"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '1.1234567891s'"
        ],
    ),
    Case(
        "duration big",
        tcp(top="stats_flush_interval: 315576000001s"),
        Verdict.REFUSES,
        [
            "x.yaml:14:23: stats_flush_interval: expected a duration in seconds such as '1.5s', got '315576000001s'"
        ],
    ),
    Case(
        "duration s9",
        tcp(top="stats_flush_interval: 9223372036s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: must be less than 300s"],
    ),
    Case(
        "duration s9.3e9",
        tcp(top="stats_flush_interval: 9300000000s"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_interval: must be less than 300s"],
    ),
    Case("duration obj", tcp(top="stats_flush_interval: {seconds: 5}"), Verdict.ACCEPTS),
    Case(
        "enum bad",
        tcp(listener="    traffic_direction: OUTBOUNDS"),
        Verdict.REFUSES,
        [
            "x.yaml:10:24: static_resources.listeners[0].traffic_direction: expected one of UNSPECIFIED, INBOUND, OUTBOUND, got 'OUTBOUNDS'; did you mean 'OUTBOUND'?"
        ],
    ),
    Case("enum lower", tcp(listener="    traffic_direction: outbound"), Verdict.ACCEPTS),
    Case("enum int", tcp(listener="    traffic_direction: 2"), Verdict.ACCEPTS),
    Case("enum strint", tcp(listener='    traffic_direction: "2"'), Verdict.ACCEPTS),
    Case("enum int bad", tcp(listener="    traffic_direction: 22"), Verdict.ACCEPTS),
    Case(
        "list for single",
        tcp(listener="    traffic_direction: [OUTBOUND]"),
        Verdict.REFUSES,
        [
            "x.yaml:10:24: static_resources.listeners[0].traffic_direction: expected one of UNSPECIFIED, INBOUND, OUTBOUND, got a list"
        ],
    ),
    Case(
        "single for list",
        tcp(
            listener='    listener_filters: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "scalar for msg",
        tcp(top="node: 5"),
        Verdict.REFUSES,
        ["x.yaml:14:7: node: expected an object (envoy.config.core.v3.Node), got the number 5"],
    ),
    Case(
        "string for msg",
        tcp(top="node: abc"),
        Verdict.REFUSES,
        ["x.yaml:14:7: node: expected an object (envoy.config.core.v3.Node), got 'abc'"],
    ),
    Case(
        "list for msg",
        tcp(top="node: []"),
        Verdict.REFUSES,
        ["x.yaml:14:7: node: expected an object (envoy.config.core.v3.Node), got a list"],
    ),
    Case(
        "oneof both",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 0}, pipe: {path: /tmp/x}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:68: static_resources.listeners[0].address.pipe: cannot be set together with socket_address: only one of them may be given"
        ],
    ),
    Case(
        "port oneof both",
        tcp(address="address: {socket_address: {address: 127.0.0.1, port_value: 0, named_port: http}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:67: static_resources.listeners[0].address.socket_address.named_port: cannot be set together with port_value: only one of them may be given"
        ],
    ),
    Case(
        "no port",
        tcp(address="address: {socket_address: {address: 127.0.0.1}}"),
        Verdict.REFUSES,
        [
            "x.yaml:9:31: static_resources.listeners[0].address.socket_address.port_specifier: one of port_value, named_port is required"
        ],
    ),
    Case(
        "any unknown",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxi, stat_prefix: x, cluster: c}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:51: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.@type: unknown type 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxi'; did you mean 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'?"
        ],
    ),
    Case(
        "any no @type",
        tcp(filters="[{name: x, typed_config: {stat_prefix: x, cluster: c}}]"),
        Verdict.REFUSES,
        [
            "x.yaml:13:41: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: '@type' is missing: it names the type of this configuration"
        ],
    ),
    Case(
        "any no prefix",
        tcp(
            filters='[{name: x, typed_config: {"@type": envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:42: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.@type: not a type URL: 'envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'; did you mean 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'?"
        ],
    ),
    Case(
        "any other prefix",
        tcp(
            filters='[{name: x, typed_config: {"@type": foo.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "any /prefix",
        tcp(
            filters='[{name: x, typed_config: {"@type": /envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:42: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.@type: not a type URL: '/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'; did you mean 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy'?"
        ],
    ),
    Case(
        "any empty",
        tcp(filters="[{name: envoy.filters.network.echo, typed_config: {}}]"),
        Verdict.REFUSES,
        [
            "x.yaml:13:66: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: a network filter is chosen by the type of its typed_config, which is missing"
        ],
    ),
    Case(
        "notyped byname",
        tcp(filters="[{name: envoy.filters.network.echo}]"),
        Verdict.REFUSES,
        [
            "x.yaml:13:17: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: a network filter is chosen by the type of its typed_config, which is missing"
        ],
    ),
    Case(
        "typed name other",
        tcp(
            filters='[{name: whatever, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "typed struct noprefix",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, value: {stat_prefix: x, cluster: c}}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "typed struct unknown field",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, value: {stat_prefix: x, cluster: c, zork: 1}}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:199: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.value.zork: unknown field in envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
        ],
    ),
    Case(
        "typed struct novalue",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: envoy.extensions.filters.network.echo.v3.Echo}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "typed struct notypeurl",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, value: {}}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:41: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: a network filter is chosen by the type_url of its TypedStruct, which is missing"
        ],
    ),
    Case(
        "typed struct single for list",
        tcp(
            filters='[{name: x, typed_config: {"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, value: {stat_prefix: x, cluster: c, access_log: {name: a, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/null}}}}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "wasm name fallback",
        tcp(
            filters='[{name: envoy.filters.network.tcp_proxy, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a.b.C, value: {stat_prefix: x, cluster: c}}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:13:71: static_resources.listeners[0].filter_chains[0].filters[0].typed_config: unknown type 'a.b.C' for a network filter"
        ],
    ),
    Case("empty file", "", Verdict.REFUSES, ["x.yaml:1:1: the configuration is empty"]),
    Case("only comment", "# hi\n", Verdict.REFUSES, ["x.yaml:1:1: the configuration is empty"]),
    Case("list top", "[]", Verdict.REFUSES, ["x.yaml:1:1: the configuration must be a mapping of fields"]),
    Case("scalar top", "abc", Verdict.REFUSES, ["x.yaml:1:1: the configuration must be a mapping of fields"]),
    Case(
        "two docs",
        "node: {id: a}\n---\nnode: {id: b}\n",
        Verdict.ACCEPTS,
        [
            "x.yaml:2:1: not valid YAML or JSON: expected a single document in the stream: but found another document"
        ],
        differs="one document only",
    ),
    Case("doc start", "---\nnode: {id: a}\n", Verdict.ACCEPTS),
    Case(
        "tab indent",
        "node:\n\tid: a\n",
        Verdict.REFUSES,
        [
            "x.yaml:2:1: not valid YAML or JSON: while scanning for the next token: found character that cannot start any token"
        ],
    ),
    Case(
        "bad indent",
        "node:\n    id: a\n   cluster: b\n",
        Verdict.REFUSES,
        ["x.yaml:3:4: not valid YAML or JSON: while parsing a block mapping: did not find expected key"],
    ),
    Case(
        "unclosed",
        "node: {id: a\n",
        Verdict.REFUSES,
        [
            "x.yaml:2:1: not valid YAML or JSON: while parsing a flow mapping: did not find expected ',' or '}'"
        ],
    ),
    Case(
        "bad escape",
        'node: {id: "\\q"}',
        Verdict.REFUSES,
        [
            "x.yaml:1:13: not valid YAML or JSON: while parsing a quoted scalar: found unknown escape character"
        ],
    ),
    Case(
        "undefined alias",
        "node: {id: *a}",
        Verdict.REFUSES,
        ["x.yaml:1:12: not valid YAML or JSON: found undefined alias"],
    ),
    Case(
        "dup anchor",
        "node: {id: &a x, cluster: &a y}",
        Verdict.REFUSES,
        ["x.yaml:1:27: not valid YAML or JSON: found duplicate anchor; first occurrence: second occurrence"],
    ),
    Case("nonscalar key", "? {a: 1}\n: b\n", Verdict.REFUSES, ["x.yaml:1:3: a key must be a scalar"]),
    Case(
        "int key",
        "1: x\n",
        Verdict.REFUSES,
        [
            "x.yaml:1:1: this does not look like a bootstrap: it has none of its fields (node, admin, static_resources, ...), nor the `workload` of a workload file",
            "x.yaml:1:1: 1: unknown field in envoy.config.bootstrap.v3.Bootstrap",
        ],
    ),
    Case("bool key struct", "node: {metadata: {true: x, 1: y, ~: z}}", Verdict.ACCEPTS),
    Case(
        "net direct",
        tcp(
            filters='[{name: d, typed_config: {"@type": $EXTENSIONSfilters.network.direct_response.v3.Config, response: {inline_string: hi}}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "net direct none",
        tcp(
            filters='[{name: d, typed_config: {"@type": $EXTENSIONSfilters.network.direct_response.v3.Config}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "net direct bytes",
        tcp(
            filters='[{name: d, typed_config: {"@type": $EXTENSIONSfilters.network.direct_response.v3.Config, response: {inline_bytes: "aGk"}}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "http filters grpc_stats",
        http(
            filters='[{name: g, typed_config: {"@type": $EXTENSIONSfilters.http.grpc_stats.v3.FilterConfig, emit_filter_state: true}},{name: f, typed_config: {"@type": $EXTENSIONSfilters.http.fault.v3.HTTPFault}},$ROUTER]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "http router fields",
        http(
            filters='[{name: r, typed_config: {"@type": $EXTENSIONSfilters.http.router.v3.Router, suppress_envoy_headers: true, dynamic_stats: false, respect_expected_rq_timeout: true}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "node many",
        tcp(
            top='node: {id: i, cluster: k, metadata: {A: 1, B: [x, null, {c: 1.5}], C: yes, D: "5"}, locality: {region: r, zone: z, sub_zone: s}}'
        ),
        Verdict.ACCEPTS,
    ),
]
