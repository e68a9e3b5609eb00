"""The HTTP connection manager and routes: what Envoy 1.40 says and what is reported here."""

from __future__ import annotations

from tests.unit.config.bootstraps import http
from tests.unit.config.verdicts.case import Case, Verdict

CASES = [
    Case(
        "route unknown cluster",
        http(route="match: {prefix: /}, route: {cluster: nope}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:125: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster: unknown cluster 'nope'"
        ],
    ),
    Case(
        "route unknown cluster novalidate",
        http(config="validate_clusters: false,", route="match: {prefix: /}, route: {cluster: nope}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "route weighted unknown",
        http(route="match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: nope, weight: 1}]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:154: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0].name: unknown cluster 'nope'"
        ],
    ),
    Case(
        "route weighted zero",
        http(route="match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c, weight: 0}]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:135: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.weighted_clusters: the weights must add up to more than 0"
        ],
    ),
    Case(
        "route weighted no weight",
        http(route="match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: c}]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:135: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.weighted_clusters: the weights must add up to more than 0"
        ],
    ),
    Case(
        "route weighted no name",
        http(route="match: {prefix: /}, route: {weighted_clusters: {clusters: [{weight: 1}]}}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:147: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.weighted_clusters.clusters[0].name: must not be empty"
        ],
    ),
    Case(
        "route no action",
        http(route="match: {prefix: /}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:87: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].action: one of route, redirect, direct_response, filter_action, non_forwarding_action is required"
        ],
    ),
    Case(
        "route no match",
        http(route="route: {cluster: c}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:87: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match: required"
        ],
    ),
    Case(
        "route empty match",
        http(route="match: {}, route: {cluster: c}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:95: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.path_specifier: one of prefix, path, safe_regex, connect_matcher, path_separated_prefix, path_match_policy is required"
        ],
    ),
    Case(
        "route bad regex",
        http(route='match: {safe_regex: {regex: "a["}}, route: {cluster: c}'),
        Verdict.REFUSES,
        [
            "x.yaml:18:116: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.safe_regex.regex: not a valid RE2 regular expression: missing ]: ["
        ],
    ),
    Case(
        "route regex lookahead",
        http(route='match: {safe_regex: {regex: "a(?=b)"}}, route: {cluster: c}'),
        Verdict.REFUSES,
        [
            "x.yaml:18:116: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.safe_regex.regex: not a valid RE2 regular expression: invalid perl operator: (?="
        ],
    ),
    Case(
        "route prefix+path",
        http(route="match: {prefix: /, path: /a}, route: {cluster: c}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:107: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.path: cannot be set together with prefix: only one of them may be given"
        ],
    ),
    Case("route prefix noslash", http(route="match: {prefix: a}, route: {cluster: c}"), Verdict.ACCEPTS),
    Case("route prefix empty", http(route='match: {prefix: ""}, route: {cluster: c}'), Verdict.ACCEPTS),
    Case("route path empty", http(route='match: {path: ""}, route: {cluster: c}'), Verdict.ACCEPTS),
    Case(
        "route psp trailing",
        http(route="match: {path_separated_prefix: /a/}, route: {cluster: c}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:119: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].match.path_separated_prefix: must match the pattern ^[^?#]+[^?#/]$"
        ],
    ),
    Case(
        "route prefix_rewrite+regex",
        http(
            route="match: {prefix: /}, route: {cluster: c, prefix_rewrite: /b, regex_rewrite: {pattern: {regex: a}, substitution: b}}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:148: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.regex_rewrite: cannot be set together with prefix_rewrite"
        ],
    ),
    Case(
        "route regex_rewrite badsub",
        http(
            route='match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: a}, substitution: "\\\\3"}}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route regex_rewrite nopattern",
        http(route="match: {prefix: /}, route: {cluster: c, regex_rewrite: {substitution: b}}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:143: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.regex_rewrite.pattern: required"
        ],
    ),
    Case(
        "route timeout neg",
        http(route="match: {prefix: /}, route: {cluster: c, timeout: -1s}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:137: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.timeout: must not be negative"
        ],
    ),
    Case(
        "route cluster empty",
        http(route='match: {prefix: /}, route: {cluster: ""}'),
        Verdict.REFUSES,
        [
            "x.yaml:18:125: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.cluster: must not be empty"
        ],
    ),
    Case(
        "route status 99",
        http(route="match: {prefix: /}, direct_response: {status: 99}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:134: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].direct_response.status: must be at least 200"
        ],
    ),
    Case(
        "route status 600",
        http(route="match: {prefix: /}, direct_response: {status: 600}"),
        Verdict.REFUSES,
        [
            "x.yaml:18:134: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].direct_response.status: must be less than 600"
        ],
    ),
    Case(
        "route dr big body",
        http(
            route='match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "'
            + "x" * 5000
            + '"}}'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:145: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].direct_response.body: 5000 bytes are more than max_direct_response_body_size_bytes (4096)"
        ],
    ),
    Case(
        "route dr big body allowed",
        http(
            config="max_direct_response_body_size_bytes: 6000,",
            route='match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "'
            + "x" * 5000
            + '"}}',
        ),
        Verdict.ACCEPTS,
    ),
    Case("route redirect empty", http(route="match: {prefix: /}, redirect: {}"), Verdict.ACCEPTS),
    Case(
        "route redirect port big",
        http(route="match: {prefix: /}, redirect: {port_redirect: 70000}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "route header name bad",
        http(route='match: {prefix: /, headers: [{name: "a b", exact_match: x}]}, route: {cluster: c}'),
        Verdict.ACCEPTS,
    ),
    Case(
        "route header none",
        http(route="match: {prefix: /, headers: [{name: a}]}, route: {cluster: c}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "route header range rev",
        http(
            route="match: {prefix: /, headers: [{name: a, range_match: {start: 5, end: 1}}]}, route: {cluster: c}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route hdr add host",
        http(
            route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: host, value: x}}]"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:169: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: 'host' cannot be edited as a header"
        ],
    ),
    Case(
        "route hdr add Host",
        http(
            route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: Host, value: x}}]"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:169: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: 'Host' cannot be edited as a header"
        ],
    ),
    Case(
        "route hdr add :authority",
        http(
            route='match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: ":authority", value: x}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:169: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: ':authority' cannot be edited as a header"
        ],
    ),
    Case(
        "route hdr add :path",
        http(
            route='match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: ":path", value: x}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:169: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.key: ':path' cannot be edited as a header"
        ],
    ),
    Case(
        "route hdr add resp :status",
        http(
            route='match: {prefix: /}, route: {cluster: c}, response_headers_to_add: [{header: {key: ":status", value: x}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:170: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].response_headers_to_add[0].header.key: ':status' cannot be edited as a header"
        ],
    ),
    Case(
        "route hdr rm host",
        http(route="match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [host]"),
        Verdict.REFUSES,
        [
            "x.yaml:18:157: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_remove[0]: 'host' cannot be removed"
        ],
    ),
    Case(
        "route hdr rm :path",
        http(route='match: {prefix: /}, route: {cluster: c}, request_headers_to_remove: [":path"]'),
        Verdict.REFUSES,
        [
            "x.yaml:18:157: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_remove[0]: ':path' cannot be removed"
        ],
    ),
    Case(
        "route hdr resp rm :status",
        http(route='match: {prefix: /}, route: {cluster: c}, response_headers_to_remove: [":status"]'),
        Verdict.REFUSES,
        [
            "x.yaml:18:158: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].response_headers_to_remove[0]: ':status' cannot be removed"
        ],
    ),
    Case(
        "route hdr resp rm host",
        http(route='match: {prefix: /}, route: {cluster: c}, response_headers_to_remove: ["host"]'),
        Verdict.REFUSES,
        [
            "x.yaml:18:158: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].response_headers_to_remove[0]: 'host' cannot be removed"
        ],
    ),
    Case(
        "route hdr append both",
        http(
            route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: x}, append: true, append_action: ADD_IF_ABSENT}]"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:191: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].append: cannot be set together with append_action"
        ],
    ),
    Case(
        "route hdr append false+default",
        http(
            route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: x}, append: false, append_action: APPEND_IF_EXISTS_OR_ADD}]"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route hdr no header",
        http(route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{append: true}]"),
        Verdict.REFUSES,
        [
            "x.yaml:18:154: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header: required"
        ],
    ),
    Case(
        "route hdr empty value",
        http(route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x}}]"),
        Verdict.ACCEPTS,
    ),
    Case(
        "route hdr pct format",
        http(
            route='match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: "100%%"}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route hdr value+raw",
        http(
            route="match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: a, raw_value: YQ==}}]"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route hdr value nl",
        http(
            route='match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: x, value: "a\\nb"}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:179: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].request_headers_to_add[0].header.value: not a valid HTTP header value"
        ],
    ),
    Case(
        "route host_rewrite both",
        http(
            route="match: {prefix: /}, route: {cluster: c, host_rewrite_literal: a, auto_host_rewrite: true}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:153: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.auto_host_rewrite: cannot be set together with host_rewrite_literal: only one of them may be given"
        ],
    ),
    Case(
        "route upgrade dup",
        http(
            route="match: {prefix: /}, route: {cluster: c, upgrade_configs: [{upgrade_type: websocket},{upgrade_type: WebSocket}]}"
        ),
        Verdict.REFUSES,
        [
            "x.yaml:18:187: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].routes[0].route.upgrade_configs[1].upgrade_type: 'WebSocket' is configured twice"
        ],
    ),
    Case(
        "virtual host no domains",
        http(host="domains: []"),
        Verdict.REFUSES,
        [
            "x.yaml:18:71: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domains: must not be empty"
        ],
    ),
    Case("virtual host empty domain", http(host='domains: [""]'), Verdict.ACCEPTS),
    Case(
        "virtual host dup domain",
        http(host="domains: [a, a]"),
        Verdict.REFUSES,
        [
            "x.yaml:18:75: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domains[1]: domain 'a' already belongs to virtual host 'v'"
        ],
    ),
    Case("virtual host dup domain case", http(host="domains: [a, EXTENSIONS]"), Verdict.ACCEPTS),
    Case(
        "virtual host dup star",
        http(host='domains: ["*", "*"]'),
        Verdict.REFUSES,
        [
            "x.yaml:18:77: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domains[1]: domain '*' already belongs to virtual host 'v'"
        ],
    ),
    Case("virtual host two stars", http(host='domains: ["*.*"]'), Verdict.ACCEPTS),
    Case("virtual host mid star", http(host='domains: ["a*b"]'), Verdict.ACCEPTS),
    Case("virtual host suffix star", http(host='domains: ["a.*"]'), Verdict.ACCEPTS),
    Case("virtual host *a", http(host='domains: ["*a"]'), Verdict.ACCEPTS),
    Case(
        "virtual host a* and a*",
        http(host='domains: ["a*","a*"]'),
        Verdict.REFUSES,
        [
            "x.yaml:18:77: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].domains[1]: domain 'a*' already belongs to virtual host 'v'"
        ],
    ),
    Case(
        "virtual host no name",
        http().replace("{name: v,", "{"),
        Verdict.REFUSES,
        [
            "x.yaml:18:52: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0].name: must not be empty"
        ],
    ),
    Case(
        "virtual host dup name",
        http().replace("virtual_hosts: [", "virtual_hosts: [{name: v, domains: [zz]}, "),
        Verdict.ACCEPTS,
    ),
    Case(
        "virtual host dup domain over vhosts",
        http().replace("virtual_hosts: [", 'virtual_hosts: [{name: w, domains: ["*"]}, '),
        Verdict.REFUSES,
        [
            "x.yaml:18:99: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[1].domains[0]: domain '*' already belongs to virtual host 'w'"
        ],
    ),
    Case(
        "virtual host no vhosts",
        http().replace("virtual_hosts: [{name: v", "x: [{name: v"),
        Verdict.REFUSES,
        [
            "x.yaml:18:36: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_config.x: unknown field in envoy.config.route.v3.RouteConfiguration"
        ],
    ),
    Case(
        "hcm no stat_prefix",
        http(first="codec_type: AUTO"),
        Verdict.REFUSES,
        [
            "x.yaml:16:11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefix: must not be empty"
        ],
    ),
    Case(
        "hcm no route_config",
        http().replace("route_config: {", "xroute: {"),
        Verdict.REFUSES,
        [
            "x.yaml:16:11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.route_specifier: one of rds, route_config, scoped_routes is required",
            "x.yaml:18:11: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.xroute: unknown field in envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        ],
    ),
    Case(
        "hcm no filters",
        http(filters="[]"),
        Verdict.ACCEPTS,
        [
            "x.yaml:19:25: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters: the last HTTP filter must be the router (envoy.filters.http.router)"
        ],
        differs="the router must be last",
    ),
    Case(
        "hcm router twice",
        http(filters="[$ROUTER, $ROUTER]"),
        Verdict.REFUSES,
        [
            "x.yaml:19:26: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]: the router must be the last HTTP filter"
        ],
    ),
    Case(
        "hcm not router last",
        http(filters='[$ROUTER, {name: x, typed_config: {"@type": $EXTENSIONSfilters.http.cors.v3.Cors}}]'),
        Verdict.REFUSES,
        [
            "x.yaml:19:26: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]: the router must be the last HTTP filter"
        ],
    ),
    Case(
        "hcm only cors",
        http(filters='[{name: x, typed_config: {"@type": $EXTENSIONSfilters.http.cors.v3.Cors}}]'),
        Verdict.REFUSES,
        [
            "x.yaml:19:25: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters: the last HTTP filter must be the router (envoy.filters.http.router)"
        ],
    ),
    Case(
        "hcm cors+router",
        http(filters='[{name: x, typed_config: {"@type": $EXTENSIONSfilters.http.cors.v3.Cors}}, $ROUTER]'),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm router disabled",
        http(
            filters='[{name: r, disabled: true, typed_config: {"@type": $EXTENSIONSfilters.http.router.v3.Router}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:19:46: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].disabled: the router cannot be disabled"
        ],
    ),
    Case(
        "hcm net filter as http",
        http(filters="[$TCP_PROXY]"),
        Verdict.REFUSES,
        [
            "x.yaml:19:50: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy is a network filter, not an HTTP filter"
        ],
    ),
    Case(
        "hcm unknown optional",
        http(
            filters='[{name: x, is_optional: true, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a.b.C}}, $ROUTER]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm filter noname",
        http(filters='[{typed_config: {"@type": $EXTENSIONSfilters.http.router.v3.Router}}]'),
        Verdict.REFUSES,
        [
            "x.yaml:19:26: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].name: must not be empty"
        ],
    ),
    Case(
        "hcm dup filter names",
        http(
            filters='[{name: x, typed_config: {"@type": $EXTENSIONSfilters.http.cors.v3.Cors}},{name: x, typed_config: {"@type": $EXTENSIONSfilters.http.cors.v3.Cors}}, $ROUTER]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm codec HTTP3",
        http("codec_type: HTTP3"),
        Verdict.REFUSES,
        [
            "x.yaml:20:23: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.codec_type: refused: HTTP/3 is not supported"
        ],
    ),
    Case(
        "hcm codec bad",
        http("codec_type: HTTP9"),
        Verdict.REFUSES,
        [
            "x.yaml:20:23: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.codec_type: expected one of AUTO, HTTP1, HTTP2, HTTP3, got 'HTTP9'; did you mean 'HTTP3'?"
        ],
    ),
    Case(
        "hcm codec int bad",
        http("codec_type: 9"),
        Verdict.REFUSES,
        [
            "x.yaml:20:23: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.codec_type: must be one of AUTO, HTTP1, HTTP2, HTTP3"
        ],
    ),
    Case(
        "hcm hdrs kb 0",
        http("max_request_headers_kb: 0"),
        Verdict.REFUSES,
        [
            "x.yaml:20:35: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.max_request_headers_kb: must be greater than 0"
        ],
    ),
    Case(
        "hcm hdrs kb 8193",
        http("max_request_headers_kb: 8193"),
        Verdict.REFUSES,
        [
            "x.yaml:20:35: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.max_request_headers_kb: must be at most 8192"
        ],
    ),
    Case(
        "hcm hdr count 0",
        http("common_http_protocol_options: {max_headers_count: 0}"),
        Verdict.REFUSES,
        [
            "x.yaml:20:61: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.common_http_protocol_options.max_headers_count: must be at least 1"
        ],
    ),
    Case(
        "hcm idle neg",
        http("common_http_protocol_options: {idle_timeout: -1s}"),
        Verdict.REFUSES,
        [
            "x.yaml:20:56: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.common_http_protocol_options.idle_timeout: must not be negative"
        ],
    ),
    Case(
        "hcm stream_idle neg",
        http("stream_idle_timeout: -1s"),
        Verdict.REFUSES,
        [
            "x.yaml:20:32: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stream_idle_timeout: must not be negative"
        ],
    ),
    Case(
        "hcm server_name nl",
        http('server_name: "a\\nb"'),
        Verdict.REFUSES,
        [
            "x.yaml:20:24: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.server_name: not a valid HTTP header value"
        ],
    ),
    Case("hcm via", http('via: "x y"'), Verdict.ACCEPTS),
    Case(
        "hcm strip both",
        http("strip_any_host_port: true\n          strip_matching_host_port: true"),
        Verdict.REFUSES,
        [
            "x.yaml:20:32: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.strip_any_host_port: cannot be set together with strip_matching_host_port"
        ],
    ),
    Case(
        "hcm upgrade dup",
        http("upgrade_configs: [{upgrade_type: websocket},{upgrade_type: websocket}]"),
        Verdict.REFUSES,
        [
            "x.yaml:20:70: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.upgrade_configs[1].upgrade_type: 'websocket' is configured twice"
        ],
    ),
    Case(
        "hcm upgrade dup case",
        http("upgrade_configs: [{upgrade_type: websocket},{upgrade_type: WebSocket}]"),
        Verdict.REFUSES,
        [
            "x.yaml:20:70: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.upgrade_configs[1].upgrade_type: 'WebSocket' is configured twice"
        ],
    ),
    Case("hcm upgrade empty", http('upgrade_configs: [{upgrade_type: ""}]'), Verdict.ACCEPTS),
    Case(
        "hcm xff+internal bad cidr",
        http("internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 33}]}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm internal noip",
        http("internal_address_config: {cidr_ranges: [{address_prefix: zork, prefix_len: 3}]}"),
        Verdict.REFUSES,
        [
            "x.yaml:20:68: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.internal_address_config.cidr_ranges[0].address_prefix: not an IP address: 'zork'"
        ],
    ),
    Case(
        "hcm forward enum",
        http("forward_client_cert_details: 9"),
        Verdict.REFUSES,
        [
            "x.yaml:20:40: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.forward_client_cert_details: must be one of SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET, ALWAYS_FORWARD_ONLY"
        ],
    ),
    Case(
        "hcm access log no path",
        http(
            'access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.file.v3.FileAccessLog}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:20:48: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log[0].typed_config.path: must not be empty"
        ],
    ),
    Case(
        "hcm access log fmt",
        http(
            'access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.file.v3.FileAccessLog, path: /dev/null, log_format: {text_format_source: {inline_string: "%PROTOCOL%\\n"}}}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm access log empty lf",
        http(
            'access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.file.v3.FileAccessLog, path: /dev/null, log_format: {}}}]'
        ),
        Verdict.REFUSES,
        [
            "x.yaml:20:162: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log[0].typed_config.log_format.format: one of text_format, json_format, text_format_source is required"
        ],
    ),
    Case(
        "hcm access log stdout",
        http(
            'access_log: [{name: a, typed_config: {"@type": $EXTENSIONSaccess_loggers.stream.v3.StdoutAccessLog}}]'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "hcm many",
        http(
            "codec_type: HTTP1\n          common_http_protocol_options: {idle_timeout: 0s, max_connection_duration: 2s, max_stream_duration: 3s, max_headers_count: 50, headers_with_underscores_action: DROP_HEADER, max_requests_per_connection: 6}\n          http_protocol_options: {accept_http_10: true, default_host_for_http_10: h, enable_trailers: true, allow_chunked_length: true, override_stream_error_on_invalid_http_message: true, allow_absolute_url: false}\n          server_name: s\n          server_header_transformation: PASS_THROUGH\n          max_request_headers_kb: 10\n          stream_idle_timeout: 0s\n          request_timeout: 4s\n          request_headers_timeout: 5s\n          drain_timeout: 6s\n          delayed_close_timeout: 0s\n          use_remote_address: true\n          xff_num_trusted_hops: 1\n          skip_xff_append: true\n          append_x_forwarded_port: true\n          internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\n          via: v\n          generate_request_id: false\n          preserve_external_request_id: true\n          always_set_request_id_in_response: true\n          forward_client_cert_details: SANITIZE_SET\n          set_current_client_cert_details: {subject: true, cert: true, chain: true, dns: true, uri: true}\n          proxy_100_continue: true\n          normalize_path: true\n          merge_slashes: true\n          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT\n          strip_any_host_port: true\n          strip_trailing_host_dot: true\n          stream_error_on_invalid_http_message: true\n          upgrade_configs: [{upgrade_type: WebSocket},{upgrade_type: connect, enabled: false}]"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route many",
        http(
            config='request_headers_to_add: [{header: {key: X-A, value: "%PROTOCOL%"}, append_action: ADD_IF_ABSENT, keep_empty_value: true}], request_headers_to_remove: [X-B], response_headers_to_add: [{header: {key: c, value: d}, append: false}], response_headers_to_remove: [e], most_specific_header_mutations_wins: true, internal_only_headers: [X-I], ignore_port_in_host_matching: true, validate_clusters: false, max_direct_response_body_size_bytes: 9,',
            host='domains: ["A.com", "*.b.com", "c.*", "*"], require_tls: ALL, include_request_attempt_count: true, include_attempt_count_in_response: true, retry_policy: {retry_on: "5xx, reset", num_retries: 3, per_try_timeout: 1s, retriable_status_codes: [503]}',
            route='name: named, stat_prefix: sp, metadata: {filter_metadata: {a: {b: c}}}, match: {safe_regex: {regex: "/a.*"}, case_sensitive: false, grpc: {}, runtime_fraction: {default_value: {numerator: 5, denominator: TEN_THOUSAND}, runtime_key: k}, headers: [{name: X-H, string_match: {prefix: a, ignore_case: true}, invert_match: true},{name: b, present_match: false},{name: c, range_match: {start: 1, end: 5}},{name: d, safe_regex_match: {regex: a}},{name: e, exact_match: x},{name: f, prefix_match: x},{name: g, suffix_match: x},{name: h, contains_match: x},{name: i, treat_missing_header_as_empty: true, string_match: {exact: x}}], query_parameters: [{name: q, string_match: {contains: x}},{name: r, present_match: true},{name: s}]}, route: {weighted_clusters: {clusters: [{name: c, weight: 3, host_rewrite_literal: hh, request_headers_to_add: [{header: {key: w, value: z}}]}]}, cluster_not_found_response_code: NOT_FOUND, timeout: 0s, idle_timeout: 0s, max_stream_duration: {max_stream_duration: 4s}, regex_rewrite: {pattern: {regex: "a(b)"}, substitution: "\\\\1"}, host_rewrite_header: X-R, append_x_forwarded_host: true, priority: HIGH, retry_policy: {retry_on: reset-before-request}, upgrade_configs: [{upgrade_type: WebSocket, enabled: false}], metadata_match: {filter_metadata: {envoy.lb: {a: b}}}}',
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route simple many",
        http(
            route="match: {path_separated_prefix: /api}, route: {cluster_header: X-C, prefix_rewrite: /z, auto_host_rewrite: true}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route redirect many",
        http(
            route='match: {path: /a}, redirect: {https_redirect: true, host_redirect: h, port_redirect: 8443, prefix_rewrite: "", response_code: SEE_OTHER, strip_query: true}'
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route redirect regex",
        http(
            route="match: {path: /a}, redirect: {scheme_redirect: https, regex_rewrite: {pattern: {regex: a}, substitution: b}}"
        ),
        Verdict.ACCEPTS,
    ),
    Case(
        "route redirect path",
        http(route="match: {path: /a}, redirect: {path_redirect: /b, response_code: PERMANENT_REDIRECT}"),
        Verdict.ACCEPTS,
    ),
    Case(
        "route direct",
        http(route="match: {path: /a}, direct_response: {status: 418, body: {inline_string: x}}"),
        Verdict.ACCEPTS,
    ),
    Case("route nonforwarding", http(route="match: {path: /a}, non_forwarding_action: {}"), Verdict.ACCEPTS),
    Case("route connect", http(route="match: {connect_matcher: {}}, route: {cluster: c}"), Verdict.ACCEPTS),
]
