"""Languages of distributed tracing: how a trace travels in headers (W3C, B3), and how spans are told to collectors."""
