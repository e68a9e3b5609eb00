"""Languages on the wire: everything that turns bytes into meaning or back and can be tested with bytes alone.

Reading order: `errors`, `http/` (headers, codec interface, head check, HTTP/1 codecs, paths), `grpc/` (status, messages,
gRPC-Web), `tls/` (TLS as an object, certificates, SPIFFE ids), `peer_metadata` and `peer_exchange` (Istio), `proxy_protocol`.

No sockets, no asyncio, no clock (time is an argument), no configuration objects, no stats, no policy.
"""
