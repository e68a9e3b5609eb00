"""The rest of the bootstrap: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import tcp
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case(
        "tags lookahead",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "^a(?=b)(c)"}]}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "tags lookbehind",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "(?<=b)(c)"}]}'),
        Verdict.REFUSES,
        ["x.yaml:14:50: stats_config.stats_tags[0].regex: not a valid ECMAScript regular expression: '(?'"],
    ),
    Case(
        "tags posix",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "^a([[:digit:]]+)"}]}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "tags bad",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "^a(["}]}'),
        Verdict.REFUSES,
        [
            "x.yaml:14:50: stats_config.stats_tags[0].regex: not a valid ECMAScript regular expression: unterminated character set at position 3"
        ],
    ),
    Case(
        "tags named",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "(?P<x>a)"}]}'),
        Verdict.REFUSES,
        ["x.yaml:14:50: stats_config.stats_tags[0].regex: not a valid ECMAScript regular expression: '(?'"],
    ),
    Case(
        "tags nogroup", tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "abc"}]}'), Verdict.ACCEPTS
    ),
    Case(
        "tags noregex",
        tcp(top="stats_config: {stats_tags: [{tag_name: x}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:29: stats_config.stats_tags[0]: 'x' is not one of the default tags, so it needs a regex or a fixed_value"
        ],
    ),
    Case(
        "tags emptyregex",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: ""}]}'),
        Verdict.REFUSES,
        [
            "x.yaml:14:29: stats_config.stats_tags[0]: 'x' is not one of the default tags, so it needs a regex or a fixed_value"
        ],
    ),
    Case(
        "tags noname",
        tcp(top='stats_config: {stats_tags: [{regex: "(a)"}]}'),
        Verdict.REFUSES,
        ["x.yaml:14:29: stats_config.stats_tags[0].tag_name: must not be empty"],
    ),
    Case(
        "tags twice regex",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, regex: "(a)"},{tag_name: x, regex: "(b)"}]}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "tags twice fixed",
        tcp(top="stats_config: {stats_tags: [{tag_name: x, fixed_value: a},{tag_name: x, fixed_value: b}]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "tags twice fixed regex",
        tcp(top='stats_config: {stats_tags: [{tag_name: x, fixed_value: a},{tag_name: x, regex: "(b)"}]}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "tags default again",
        tcp(top="stats_config: {stats_tags: [{tag_name: envoy.cluster_name}]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "stats matcher empty",
        tcp(top="stats_config: {stats_matcher: {}}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:31: stats_config.stats_matcher.stats_matcher: one of reject_all, exclusion_list, inclusion_list is required"
        ],
    ),
    Case("reject_all false", tcp(top="stats_config: {stats_matcher: {reject_all: false}}"), Verdict.ACCEPTS),
    Case("admin none", tcp(top="admin: {}"), Verdict.ACCEPTS),
    Case(
        "admin alp",
        tcp(
            top="admin: {access_log_path: /dev/null, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "admin hostname",
        tcp(top="admin: {address: {socket_address: {address: localhost, port_value: 0}}}"),
        Verdict.REFUSES,
        ["x.yaml:14:45: admin.address.socket_address.address: not an IP address: 'localhost'"],
    ),
    Case(
        "runtime dup layer",
        tcp(top="layered_runtime: {layers: [{name: a, static_layer: {}},{name: a, static_layer: {}}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:63: layered_runtime.layers[1].name: there is another layer 'a'"],
    ),
    Case(
        "runtime noname",
        tcp(top="layered_runtime: {layers: [{static_layer: {}}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:28: layered_runtime.layers[0].name: must not be empty"],
    ),
    Case(
        "runtime nospec",
        tcp(top="layered_runtime: {layers: [{name: a}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:28: layered_runtime.layers[0].layer_specifier: one of static_layer, disk_layer, admin_layer, rtds_layer is required"
        ],
    ),
    Case(
        "runtime two admin",
        tcp(top="layered_runtime: {layers: [{name: a, admin_layer: {}},{name: b, admin_layer: {}}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:65: layered_runtime.layers[1].admin_layer: there may be one admin layer only"],
    ),
    Case(
        "runtime null",
        tcp(top="layered_runtime: {layers: [{name: a, static_layer: {x: }}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:56: layered_runtime.layers[0].static_layer.x: a runtime value must be a number, a string, a boolean or an object"
        ],
    ),
    Case(
        "runtime list",
        tcp(top="layered_runtime: {layers: [{name: a, static_layer: {x: [1]}}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:56: layered_runtime.layers[0].static_layer.x: a runtime value must be a number, a string, a boolean or an object"
        ],
    ),
    Case(
        "stats buckets neg",
        tcp(top="stats_config: {histogram_bucket_settings: [{match: {prefix: a}, buckets: [-1]}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:75: stats_config.histogram_bucket_settings[0].buckets[0]: must be greater than 0.0"],
    ),
    Case(
        "stats buckets dup",
        tcp(top="stats_config: {histogram_bucket_settings: [{match: {prefix: a}, buckets: [1, 1]}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:74: stats_config.histogram_bucket_settings[0].buckets: must not hold a value twice"],
    ),
    Case(
        "stats buckets nomatch",
        tcp(top="stats_config: {histogram_bucket_settings: [{buckets: [1]}]}"),
        Verdict.REFUSES,
        ["x.yaml:14:44: stats_config.histogram_bucket_settings[0].match: required"],
    ),
    Case(
        "stats buckets none",
        tcp(top="stats_config: {histogram_bucket_settings: [{match: {prefix: a}}]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "stats flush both",
        tcp(top="stats_flush_interval: 5s\nstats_flush_on_admin: true"),
        Verdict.REFUSES,
        ["x.yaml:15:1: stats_flush_on_admin: cannot be set together with stats_flush_interval"],
    ),
    Case(
        "stats flush admin false",
        tcp(top="stats_flush_on_admin: false"),
        Verdict.REFUSES,
        ["x.yaml:14:23: stats_flush_on_admin: must be true"],
    ),
    Case(
        "stats evict not multiple",
        tcp(top="stats_flush_interval: 5s\nstats_eviction_interval: 7s"),
        Verdict.REFUSES,
        ["x.yaml:15:26: stats_eviction_interval: must be a multiple of stats_flush_interval"],
    ),
    Case(
        "overload empty",
        tcp(top="overload_manager: {}"),
        Verdict.REFUSES,
        ["x.yaml:14:19: overload_manager.resource_monitors: must not be empty"],
    ),
    Case(
        "overload dup",
        tcp(
            top='overload_manager: {resource_monitors: [{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": $EXTENSIONSresource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 5}},{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": $EXTENSIONSresource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 5}}]}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:14:286: overload_manager.resource_monitors[1].name: there is another monitor 'envoy.resource_monitors.global_downstream_max_connections'"
        ],
    ),
    Case(
        "overload zero",
        tcp(
            top='overload_manager: {resource_monitors: [{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": $EXTENSIONSresource_monitors.downstream_connections.v3.DownstreamConnectionsConfig}}]}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:14:120: overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections: must be greater than 0"
        ],
    ),
    Case(
        "log both",
        tcp(top='application_log_config: {log_format: {text_format: "%v", json_format: {a: "%v"}}}'),
        Verdict.REFUSES,
        [
            "x.yaml:14:58: application_log_config.log_format.json_format: cannot be set together with text_format: only one of them may be given"
        ],
    ),
    Case(
        "log none",
        tcp(top="application_log_config: {log_format: {}}"),
        Verdict.REFUSES,
        [
            "x.yaml:14:38: application_log_config.log_format.log_format: one of json_format, text_format is required"
        ],
    ),
    Case(
        "log nested json",
        tcp(top='application_log_config: {log_format: {json_format: {a: {b: "%v"}}}}'),
        Verdict.REFUSES,
        [
            "x.yaml:14:56: application_log_config.log_format.json_format.a: refused: only strings are supported"
        ],
    ),
    Case(
        "bootext unknown",
        tcp(
            top='bootstrap_extensions: [{name: x, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a.b.C}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:14:48: bootstrap_extensions[0].typed_config: unknown type 'a.b.C' for a bootstrap extension"
        ],
    ),
    Case(
        "admin many",
        tcp(
            top='admin: {access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.file.v3.FileAccessLog, path: /dev/null}}], profile_path: /x, address: {socket_address: {address: 127.0.0.1, port_value: 0}}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "stats many",
        tcp(
            top='stats_flush_interval: 2s\nstats_eviction_interval: 6s\nstats_config: {use_all_default_tags: false, stats_tags: [{tag_name: a, regex: "(a)"},{tag_name: b, fixed_value: c},{tag_name: envoy.cluster_name}], stats_matcher: {inclusion_list: {patterns: [{prefix: a},{suffix: b},{safe_regex: {regex: c}}]}}, histogram_bucket_settings: [{match: {prefix: a}, buckets: [5, 1, 10]}]}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "stats exclusion",
        tcp(
            top="stats_flush_on_admin: true\nstats_config: {stats_matcher: {exclusion_list: {patterns: [{exact: a}]}}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "runtime many",
        tcp(
            top='layered_runtime: {layers: [{name: a, static_layer: {x: {y: 1, z: true}, "p.q": abc}},{name: b, static_layer: {x: {y: 2}, f: {numerator: 5, denominator: HUNDRED}}},{name: c, admin_layer: {}}]}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "log json",
        tcp(top='application_log_config: {log_format: {json_format: {msg: "%j", level: "%l"}}}'),
        Verdict.ACCEPTS,
    ),
    Case("log text", tcp(top='application_log_config: {log_format: {text_format: "%v"}}'), Verdict.ACCEPTS),
    Case(
        "overload limit",
        tcp(
            top='overload_manager: {resource_monitors: [{name: envoy.resource_monitors.global_downstream_max_connections, typed_config: {"@type": $EXTENSIONSresource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 77}},{name: envoy.resource_monitors.fixed_heap, typed_config: {"@type": $EXTENSIONSresource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 99}}]}'
        ),
        Verdict.ACCEPTS,
    ),
]
