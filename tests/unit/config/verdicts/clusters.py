"""Clusters: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import ENDPOINTS, EXTENSIONS, cluster, endpoint
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
        cluster("{name: d, load_assignment: {%s}}" % ENDPOINTS),
        Verdict.REFUSES,
        ["x.yaml:6:32: static_resources.clusters[1].load_assignment.cluster_name: must not be empty"],
    ),
    Case(
        "cluster static hostname",
        cluster("{name: d, load_assignment: {cluster_name: d, endpoints: %s}}" % endpoint("localhost")),
        Verdict.REFUSES,
        [
            "x.yaml:6:126: static_resources.clusters[1].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: not an IP address: 'localhost'"
        ],
    ),
    Case(
        "cluster strict_dns hostname",
        cluster(
            "{name: d, type: STRICT_DNS, load_assignment: {cluster_name: d, endpoints: %s}}"
            % endpoint("localhost")
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
            "{name: d, type: LOGICAL_DNS, load_assignment: {cluster_name: d, endpoints: %s}}"
            % endpoint("localhost")
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
            "{name: d, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: d, %s}}"
            % ENDPOINTS
        ),
        Verdict.REFUSES,
        ["x.yaml:6:64: static_resources.clusters[1].load_assignment: cannot be set for type ORIGINAL_DST"],
    ),
    Case(
        "cluster static provided",
        cluster("{name: d, lb_policy: CLUSTER_PROVIDED, load_assignment: {cluster_name: d, %s}}" % ENDPOINTS),
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
            "{name: d, type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /dev/null}}}, load_assignment: {cluster_name: d, %s}}"
            % ENDPOINTS
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
            '{name: d, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": %sload_balancing_policies.round_robin.v3.RoundRobin}}}]}}'
            % EXTENSIONS
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
            '{name: d, lb_policy: RANDOM, load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {"@type": %sload_balancing_policies.round_robin.v3.RoundRobin}}}]}}'
            % EXTENSIONS
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
            '{name: d, http2_protocol_options: {}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": %supstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}}'
            % EXTENSIONS
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "cluster typed empty",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": %supstreams.http.v3.HttpProtocolOptions}}}'
            % EXTENSIONS
        ),
        Verdict.REFUSES,
        [
            'x.yaml:6:106: static_resources.clusters[1].typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].upstream_protocol_options: one of explicit_http_config, use_downstream_protocol_config, auto_config is required'
        ],
    ),
    Case(
        "cluster typed explicit empty",
        cluster(
            '{name: d, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": %supstreams.http.v3.HttpProtocolOptions, explicit_http_config: {}}}}'
            % EXTENSIONS
        ),
        Verdict.REFUSES,
        [
            'x.yaml:6:214: static_resources.clusters[1].typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].explicit_http_config.protocol_config: one of http_protocol_options, http2_protocol_options, http3_protocol_options is required'
        ],
    ),
    Case(
        "cluster typed wrong key",
        cluster(
            '{name: d, typed_extension_protocol_options: {foo: {"@type": %supstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}}'
            % EXTENSIONS
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
            '{name: d, transport_socket_matches: [{name: a, match: {x: y}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": %stransport_sockets.raw_buffer.v3.RawBuffer}}},{name: a, match: {x: z}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": %stransport_sockets.raw_buffer.v3.RawBuffer}}}]}'
            % (EXTENSIONS, EXTENSIONS)
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
            '{name: d, transport_socket: {typed_config: {"@type": %stransport_sockets.raw_buffer.v3.RawBuffer}}}'
            % EXTENSIONS
        ),
        Verdict.REFUSES,
        ["x.yaml:6:33: static_resources.clusters[1].transport_socket.name: must not be empty"],
    ),
    Case(
        "cluster ts downstream",
        cluster(
            '{name: d, transport_socket: {name: x, typed_config: {"@type": %stransport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {}}}}'
            % EXTENSIONS
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
]
