"""The fourth floor: clusters, hosts, load balancers, pools, upstream connections.

Reading order: `api` (what the floors above see), `clusters` and `cluster` (names, membership, who is asked), `host`,
`load_balancers`, `http_pool` with `http1_client` (one connection and the exchange on it), `tcp_pool`, `connector` (one
attempt to connect), `transport_sockets` (plaintext or TLS, by endpoint), `circuit_breaker`, `resolver` (DNS).
"""
