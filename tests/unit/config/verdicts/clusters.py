"""Clusters: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import cluster
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case(
        "cluster dup",
        cluster("{name: c}"),
        Verdict.REFUSES,
        ["x.yaml:6:12: static_resources.clusters[1].name: there is another cluster 'c'"],
    ),
    Case(
        "cluster noname",
        cluster("{load_assignment: {cluster_name: d}}"),
        Verdict.REFUSES,
        ["x.yaml:6:5: static_resources.clusters[1].name: must not be empty"],
    ),
    Case("cluster empty static", cluster("{name: d}"), Verdict.ACCEPTS),
    Case("cluster static no eps", cluster("{name: d, load_assignment: {cluster_name: d}}"), Verdict.ACCEPTS),
    Case(
        "cluster la noname",
        cluster("{name: d, load_assignment: {$ENDPOINTS}}"),
        Verdict.REFUSES,
        ["x.yaml:6:32: static_resources.clusters[1].load_assignment.cluster_name: must not be empty"],
    ),
    Case(
        "cluster static hostname",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 80}}}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:126: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: not an IP address: 'localhost'"
        ],
    ),
    Case(
        "cluster strict_dns hostname",
        cluster(
            "{name: d, type: STRICT_DNS, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 80}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case("cluster strict_dns none", cluster("{name: d, type: STRICT_DNS}"), Verdict.ACCEPTS),
    Case(
        "cluster logical none",
        cluster("{name: d, type: LOGICAL_DNS}"),
        Verdict.REFUSES,
        ["x.yaml:6:5: static_resources.clusters[1].load_assignment: required by type LOGICAL_DNS"],
    ),
    Case(
        "cluster logical two",
        cluster(
            "{name: d, type: LOGICAL_DNS, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a, port_value: 80}}}},{endpoint: {address: {socket_address: {address: b, port_value: 80}}}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:51: static_resources.clusters[1].load_assignment: type LOGICAL_DNS needs exactly one locality with one endpoint"
        ],
    ),
    Case(
        "cluster logical one",
        cluster(
            "{name: d, type: LOGICAL_DNS, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: 80}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster strict_dns pipe",
        cluster(
            "{name: d, type: STRICT_DNS, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /x}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster logical pipe",
        cluster(
            "{name: d, type: LOGICAL_DNS, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /x}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster odst rr",
        cluster("{name: d, type: ORIGINAL_DST}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:5: static_resources.clusters[1].lb_policy: ROUND_ROBIN cannot be used with type ORIGINAL_DST; did you mean 'CLUSTER_PROVIDED'?"
        ],
    ),
    Case(
        "cluster odst ok",
        cluster("{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster odst la",
        cluster(
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: d}}"
        ),
        Verdict.REFUSES,
        ["x.yaml:6:64: static_resources.clusters[1].load_assignment: cannot be set for type ORIGINAL_DST"],
    ),
    Case(
        "cluster odst la eps",
        cluster(
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: d, $ENDPOINTS}}"
        ),
        Verdict.REFUSES,
        ["x.yaml:6:64: static_resources.clusters[1].load_assignment: cannot be set for type ORIGINAL_DST"],
    ),
    Case(
        "cluster static provided",
        cluster("{name: d, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: d, $ENDPOINTS}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:26: static_resources.clusters[1].lb_policy: CLUSTER_PROVIDED cannot be used with type STATIC"
        ],
    ),
    Case(
        "cluster eds noconfig",
        cluster("{name: d, type: EDS}"),
        Verdict.REFUSES,
        ["x.yaml:6:5: static_resources.clusters[1].eds_cluster_config: required by type EDS"],
    ),
    Case(
        "cluster static edsconfig",
        cluster("{name: d, type: STATIC, eds_cluster_config: {eds_config: {ads: {}}}}"),
        Verdict.REFUSES,
        ["x.yaml:6:29: static_resources.clusters[1].eds_cluster_config: cannot be set for type STATIC"],
    ),
    Case(
        "cluster eds la",
        cluster(
            "{name: d, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /dev/null}}}, load_assignment: {cluster_name: d, $ENDPOINTS}}"
        ),
        Verdict.REFUSES,
        ["x.yaml:6:101: static_resources.clusters[1].load_assignment: cannot be set for type EDS"],
    ),
    Case(
        "cluster connect 0",
        cluster("{name: d, connect_timeout: 0s}"),
        Verdict.REFUSES,
        ["x.yaml:6:32: static_resources.clusters[1].connect_timeout: must be greater than 0s"],
    ),
    Case(
        "cluster connect neg",
        cluster("{name: d, connect_timeout: -1s}"),
        Verdict.REFUSES,
        ["x.yaml:6:32: static_resources.clusters[1].connect_timeout: must be greater than 0s"],
    ),
    Case(
        "cluster lb bad",
        cluster("{name: d, lb_policy: FOO}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:26: static_resources.clusters[1].lb_policy: expected one of ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM, MAGLEV, CLUSTER_PROVIDED, LOAD_BALANCING_POLICY_CONFIG, got 'FOO'"
        ],
    ),
    Case(
        "cluster lb config none",
        cluster("{name: d, lb_policy: LOAD_BALANCING_POLICY_CONFIG}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:26: static_resources.clusters[1].lb_policy: refused: LOAD_BALANCING_POLICY_CONFIG without load_balancing_policy is not supported"
        ],
    ),
    Case(
        "cluster lbp rr",
        cluster(
            '{name: d, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": $EXTENSIONSload_balancing_policies.round_robin.v3.RoundRobin}}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster lbp empty",
        cluster("{name: d, load_balancing_policy: {policies: []}}"),
        Verdict.REFUSES,
        ["x.yaml:6:49: static_resources.clusters[1].load_balancing_policy.policies: must not be empty"],
    ),
    Case(
        "cluster lbp both",
        cluster(
            '{name: d, lb_policy: RANDOM, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": $EXTENSIONSload_balancing_policies.round_robin.v3.RoundRobin}}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster choice 1",
        cluster("{name: d, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 1}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:81: static_resources.clusters[1].least_request_lb_config.choice_count: must be at least 2"
        ],
    ),
    Case(
        "cluster choice rr",
        cluster("{name: d, lb_policy: ROUND_ROBIN, least_request_lb_config: {choice_count: 3}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster weight 0",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{load_balancing_weight: 0, endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:102: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].load_balancing_weight: must be at least 1"
        ],
    ),
    Case(
        "cluster prio gap",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{priority: 2, lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster prio 129",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{priority: 129, lb_endpoints: []}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:73: static_resources.clusters[1].load_assignment.endpoints[0].priority: must be at most 128"
        ],
    ),
    Case(
        "cluster ep noaddress",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:89: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: required"
        ],
    ),
    Case(
        "cluster ep none",
        cluster("{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{}]}]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:78: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address: required"
        ],
    ),
    Case(
        "cluster ep port 0",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster ep udp",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 5}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
        [
            "x.yaml:6:127: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.protocol: refused: only TCP is supported"
        ],
        differs="UDP is not supported",
    ),
    Case(
        "cluster ep internal",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: x}}}}]}]}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster ep resolver",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {resolver_name: zork, address: 127.0.0.1, port_value: 5}}}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:117: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.resolver_name: refused: not supported"
        ],
    ),
    Case(
        "cluster ep named port",
        cluster(
            "{name: d, load_assignment: {cluster_name: d, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, named_port: http}}}}]}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:137: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.named_port: refused: not supported"
        ],
    ),
    Case("cluster h2 deprecated", cluster("{name: d, http2_protocol_options: {}}"), Verdict.ACCEPTS),
    Case(
        "cluster h1+h2 deprecated",
        cluster("{name: d, http2_protocol_options: {}, http_protocol_options: {}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:15: static_resources.clusters[1].http2_protocol_options: cannot be set together with http_protocol_options"
        ],
    ),
    Case(
        "cluster h2 + typed",
        cluster(
            '{name: d, http2_protocol_options: {}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster typed empty",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions}}}'
        ),
        Verdict.REFUSES,
        [
            'x.yaml:6:106: static_resources.clusters[1].typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].upstream_protocol_options: one of explicit_http_config, use_downstream_protocol_config, auto_config is required'
        ],
    ),
    Case(
        "cluster typed explicit empty",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, explicit_http_config: {}}}}'
        ),
        Verdict.REFUSES,
        [
            'x.yaml:6:214: static_resources.clusters[1].typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].explicit_http_config.protocol_config: one of http_protocol_options, http2_protocol_options, http3_protocol_options is required'
        ],
    ),
    Case(
        "cluster typed wrong key",
        cluster(
            '{name: d, typed_extension_protocol_options: {foo: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}}'
        ),
        Verdict.REFUSES,
        [
            'x.yaml:6:50: static_resources.clusters[1].typed_extension_protocol_options["foo"]: refused: not supported; only envoy.extensions.upstreams.http.v3.HttpProtocolOptions'
        ],
    ),
    Case(
        "cluster cb prio dup",
        cluster("{name: d, circuit_breakers: {thresholds: [{max_connections: 1},{max_connections: 2}]}}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster bind noport",
        cluster("{name: d, upstream_bind_config: {source_address: {address: 127.0.0.1}}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:54: static_resources.clusters[1].upstream_bind_config.source_address.port_specifier: one of port_value, named_port is required"
        ],
    ),
    Case("cluster bind empty", cluster("{name: d, upstream_bind_config: {}}"), Verdict.ACCEPTS),
    Case(
        "cluster bind badip",
        cluster("{name: d, upstream_bind_config: {source_address: {address: foo, port_value: 0}}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:64: static_resources.clusters[1].upstream_bind_config.source_address.address: not an IP address: 'foo'"
        ],
    ),
    Case(
        "cluster bind extra same family",
        cluster(
            "{name: d, upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{address: {address: 127.0.0.2, port_value: 0}}]}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:37: static_resources.clusters[1].upstream_bind_config: there may be one source address for IPv4 and one for IPv6"
        ],
    ),
    Case(
        "cluster bind extra v6",
        cluster(
            '{name: d, upstream_bind_config: {source_address: {address: 127.0.0.1, port_value: 0}, extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster bind extra only",
        cluster(
            '{name: d, upstream_bind_config: {extra_source_addresses: [{address: {address: "::1", port_value: 0}}]}}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:37: static_resources.clusters[1].upstream_bind_config.source_address: required by the extra source addresses"
        ],
    ),
    Case(
        "cluster panic 200",
        cluster("{name: d, common_lb_config: {healthy_panic_threshold: {value: 200}}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:67: static_resources.clusters[1].common_lb_config.healthy_panic_threshold.value: must be at most 100.0"
        ],
    ),
    Case(
        "cluster tsm dup",
        cluster(
            '{name: d, transport_socket_matches: [{name: a, match: {x: y}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": $EXTENSIONStransport_sockets.raw_buffer.v3.RawBuffer}}},{name: a, match: {x: z}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": $EXTENSIONStransport_sockets.raw_buffer.v3.RawBuffer}}}]}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster tsm nosock",
        cluster("{name: d, transport_socket_matches: [{name: a, match: {x: y}}]}"),
        Verdict.REFUSES,
        ["x.yaml:6:42: static_resources.clusters[1].transport_socket_matches[0].transport_socket: required"],
    ),
    Case(
        "cluster ts untyped raw",
        cluster("{name: d, transport_socket: {name: envoy.transport_sockets.raw_buffer}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:33: static_resources.clusters[1].transport_socket.typed_config: an upstream transport socket is chosen by the type of its typed_config, which is missing"
        ],
    ),
    Case(
        "cluster ts untyped tls",
        cluster("{name: d, transport_socket: {name: envoy.transport_sockets.tls}}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:33: static_resources.clusters[1].transport_socket.typed_config: an upstream transport socket is chosen by the type of its typed_config, which is missing"
        ],
    ),
    Case(
        "cluster ts noname",
        cluster(
            '{name: d, transport_socket: {typed_config: {"@type": $EXTENSIONStransport_sockets.raw_buffer.v3.RawBuffer}}}'
        ),
        Verdict.REFUSES,
        ["x.yaml:6:33: static_resources.clusters[1].transport_socket.name: must not be empty"],
    ),
    Case(
        "cluster ts downstream",
        cluster(
            '{name: d, transport_socket: {name: x, typed_config: {"@type": $EXTENSIONStransport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {}}}}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:57: static_resources.clusters[1].transport_socket.typed_config: envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext is a downstream transport socket, not an upstream transport socket"
        ],
    ),
    Case(
        "cluster metadata empty ns",
        cluster('{name: d, metadata: {filter_metadata: {"": {a: 1}}}}'),
        Verdict.REFUSES,
        ['x.yaml:6:48: static_resources.clusters[1].metadata.filter_metadata[""]: must not be empty'],
    ),
    Case(
        "cluster dns_refresh 1ms",
        cluster("{name: d, type: STRICT_DNS, dns_refresh_rate: 0.001s}"),
        Verdict.REFUSES,
        ["x.yaml:6:51: static_resources.clusters[1].dns_refresh_rate: must be greater than 0.001s"],
    ),
    Case(
        "cluster cleanup 0",
        cluster("{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, cleanup_interval: 0s}"),
        Verdict.REFUSES,
        ["x.yaml:6:82: static_resources.clusters[1].cleanup_interval: must be greater than 0s"],
    ),
    Case("cluster cleanup static", cluster("{name: d, type: STATIC, cleanup_interval: 5s}"), Verdict.ACCEPTS),
    Case(
        "cluster odst override big",
        cluster(
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {upstream_port_override: 65536}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:113: static_resources.clusters[1].original_dst_lb_config.upstream_port_override: must be at most 65535"
        ],
    ),
    Case(
        "cluster odst header noflag",
        cluster(
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {http_header_name: x}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:6:107: static_resources.clusters[1].original_dst_lb_config.http_header_name: needs use_http_header: true"
        ],
    ),
    Case(
        "cluster type string",
        cluster("{name: d, type: FOO}"),
        Verdict.REFUSES,
        [
            "x.yaml:6:21: static_resources.clusters[1].type: expected one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST, got 'FOO'"
        ],
    ),
    Case(
        "cluster many",
        cluster(
            '{name: d, alt_stat_name: "d;", type: STRICT_DNS, connect_timeout: 0.25s, lb_policy: LEAST_REQUEST, least_request_lb_config: {choice_count: 3}, per_connection_buffer_limit_bytes: 32768, dns_refresh_rate: 60s, respect_dns_ttl: true, dns_lookup_family: V4_PREFERRED, cleanup_interval: 9s, common_lb_config: {healthy_panic_threshold: {value: 12.5}}, circuit_breakers: {thresholds: [{priority: HIGH, max_connections: 5, max_pending_requests: 6, max_requests: 7, max_retries: 8, track_remaining: true}]}, upstream_connection_options: {tcp_keepalive: {keepalive_probes: 1, keepalive_time: 2, keepalive_interval: 3}}, close_connections_on_host_health_failure: true, ignore_health_on_host_removal: true, metadata: {filter_metadata: {istio: {config: /x}}}, load_assignment: {cluster_name: d, endpoints: [{locality: {region: r, zone: z}, load_balancing_weight: 7, priority: 0, lb_endpoints: [{health_status: DRAINING, load_balancing_weight: 3, metadata: {filter_metadata: {a: {b: c}}}, endpoint: {hostname: h, address: {socket_address: {address: example.com, port_value: 80}}}}]}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster odst many",
        cluster(
            '{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {use_http_header: true, http_header_name: X-To, upstream_port_override: 99}, upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}, extra_source_addresses: [{address: {address: "::6", port_value: 0}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster odst header default",
        cluster(
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: {use_http_header: true}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster http options explicit1",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {idle_timeout: 5s, max_connection_duration: 6s, max_requests_per_connection: 7, max_headers_count: 8, max_response_headers_kb: 9}, upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}, explicit_http_config: {http_protocol_options: {enable_trailers: true, header_key_format: {stateful_formatter: {name: p, typed_config: {"@type": $EXTENSIONShttp.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig}}}}}}}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster http options downstream",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, use_downstream_protocol_config: {http2_protocol_options: {}}}}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster h2 typed",
        cluster(
            '{name: d, max_requests_per_connection: 1, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": $EXTENSIONSupstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 9}}}}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster deprecated http",
        cluster(
            "{name: d, protocol_selection: USE_DOWNSTREAM_PROTOCOL, common_http_protocol_options: {idle_timeout: 9s}, upstream_http_protocol_options: {auto_sni: true}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster tsm",
        cluster(
            '{name: d, transport_socket_matches: [{name: tlsMode-istio, match: {tlsMode: istio}, transport_socket: {name: t, typed_config: {"@type": $EXTENSIONStransport_sockets.tls.v3.UpstreamTlsContext, sni: a.b}}},{name: tlsMode-disabled, match: {}, transport_socket: {name: r, typed_config: {"@type": $EXTENSIONStransport_sockets.raw_buffer.v3.RawBuffer}}}]}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster lbp lr",
        cluster(
            '{name: d, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": $EXTENSIONSload_balancing_policies.least_request.v3.LeastRequest, choice_count: 5}}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster lbp second",
        cluster(
            '{name: d, load_balancing_policy: {policies: [{typed_extension_config: {name: q, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a.b.C}}},{typed_extension_config: {name: x, typed_config: {"@type": $EXTENSIONSload_balancing_policies.random.v3.Random}}}]}}'
        ),
        Verdict.ACCEPTS,
    ),
]
