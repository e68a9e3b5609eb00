"""The running proxy: four floors in the order of the path, above what they share.

Reading order, which is also the path of a byte: `listener` (accept, detect, choose the filter chain), `network` (the
downstream connection and its filters), `http` (streams, routes, filters), `upstream` (clusters, pools, connections).
Below them `telemetry` (access log, Istio labels), `policy` (matchers), `transport` (sockets, TLS, timers) and
`stream_info` (the facts gathered on the way). Above them `main` (process, admin, options) and `cli` (the commands).
Imports go down only; `docs/architecture.md` has the picture.
"""
