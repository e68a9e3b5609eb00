"""Small bootstraps for tests: one listener with one filter chain, one cluster, and what a test puts in."""

from __future__ import annotations

import re

from config.bootstrap import ParsedBootstrap, ParseOptions, Source, parse_bootstrap
from config.errors import ConfigErrors

NAME = "x.yaml"
EXTENSIONS = "type.googleapis.com/envoy.extensions."

TCP_PROXY = (
    '{name: t, typed_config: {"@type": '
    f"{EXTENSIONS}filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: c}}}}"
)
ECHO = f'{{name: e, typed_config: {{"@type": {EXTENSIONS}filters.network.echo.v3.Echo}}}}'
ROUTER = f'{{name: r, typed_config: {{"@type": {EXTENSIONS}filters.http.router.v3.Router}}}}'
CORS = f'{{name: x, typed_config: {{"@type": {EXTENSIONS}filters.http.cors.v3.Cors}}}}'
CLUSTER = """
  - name: c
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]}
"""
ENDPOINTS = "endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 80}}}}]}]"
ADDRESS = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}"
CERTIFICATE = "/certs/server.pem"
KEY = "/certs/server.key"
PAIR = f"tls_certificates: [{{certificate_chain: {{filename: {CERTIFICATE}}}, private_key: {{filename: {KEY}}}}}]"
SECRETS = f"""
  secrets:
  - name: s
    tls_certificate: {{certificate_chain: {{filename: {CERTIFICATE}}}, private_key: {{filename: {KEY}}}}}
  - name: v
    validation_context: {{trusted_ca: {{filename: {CERTIFICATE}}}}}
"""


_NAMES = re.compile(r"\$([A-Z_]+)")


def fill(text: str) -> str:
    """`text` with the constants of this module in place of `$NAME`."""
    return _NAMES.sub(lambda match: str(globals()[match[1]]), text)


def tcp(
    fields: str = "stat_prefix: x, cluster: c",
    *,
    listener: str = "",
    chain: str = "",
    clusters: str = "",
    top: str = "",
    address: str = ADDRESS,
    filters: str = "",
) -> str:
    """A listener `l` with a TCP proxy (or with `filters`) to cluster `c`."""
    only = f'[{{name: tcp, typed_config: {{"@type": {EXTENSIONS}filters.network.tcp_proxy.v3.TcpProxy, {fields}}}}}]'
    return fill(f"""
static_resources:
  clusters:{CLUSTER}{clusters}
  listeners:
  - name: l
    {address}
{listener}
    filter_chains:
    - {chain}
      filters: {filters or only}
{top}
""")


def http(
    fields: str = "",
    *,
    route: str = "match: {prefix: /}, route: {cluster: c}",
    host: str = 'domains: ["*"]',
    config: str = "",
    filters: str = f"[{ROUTER}]",
    first: str = "stat_prefix: x",
) -> str:
    """A listener with an HTTP connection manager: one virtual host, one route."""
    return tcp(
        filters=f"""
      - name: http
        typed_config:
          "@type": {EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager
          {first}
          route_config: {{name: r, {config} virtual_hosts: [{{name: v, {host}, routes: [{{{route}}}]}}]}}
          http_filters: {filters}
          {fields}
"""
    )


def cluster(flow: str) -> str:
    """One more cluster, as a flow mapping."""
    return tcp(clusters=f"  - {flow}\n")


def endpoint(address: str) -> str:
    return f"[{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {address}, port_value: 80}}}}}}}}]}}]"


def two_listeners(
    second: str, first: str = "{socket_address: {address: 127.0.0.1, port_value: 19001}}"
) -> str:
    return (
        tcp(address=f"address: {first}")
        + f"""
  - {second}
    filter_chains: [{{filters: [{ECHO}]}}]
"""
    )


def matches(*flows: str) -> str:
    """A listener with one filter chain for each match."""
    chains = "\n".join(f"    - {{filter_chain_match: {flow}, filters: [{ECHO}]}}" for flow in flows)
    inspector = f'[{{name: t, typed_config: {{"@type": {EXTENSIONS}filters.listener.tls_inspector.v3.TlsInspector}}}}]'
    return fill(f"""
static_resources:
  clusters:{CLUSTER}
  listeners:
  - name: l
    {ADDRESS}
    listener_filters: {inspector}
    filter_chains:
{chains}
""")


def tls_server(fields: str, top: str = "") -> str:
    """A filter chain with a `DownstreamTlsContext`."""
    kind = f"{EXTENSIONS}transport_sockets.tls.v3.DownstreamTlsContext"
    return tcp(chain=f'transport_socket: {{name: tls, typed_config: {{"@type": {kind}, {fields}}}}}', top=top)


def tls_client(fields: str) -> str:
    """A cluster with an `UpstreamTlsContext`."""
    kind = f"{EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext"
    socket = f'transport_socket: {{name: tls, typed_config: {{"@type": {kind}, {fields}}}}}'
    return cluster(f"{{name: d, {socket}, load_assignment: {{cluster_name: d, {ENDPOINTS}}}}}")


def parse(*texts: str, allow_unknown: bool = False) -> ParsedBootstrap:
    names = [NAME, "--config-yaml", "third"]
    sources = [Source(name, text) for name, text in zip(names, texts, strict=False)]
    return parse_bootstrap(sources, ParseOptions(allow_unknown_static_fields=allow_unknown))


def problems(*texts: str) -> list[str]:
    """Every error of a bootstrap as it is printed; empty if it is accepted."""
    try:
        parse(*texts)
    except ConfigErrors as refused:
        return [str(error) for error in refused.errors]
    return []
