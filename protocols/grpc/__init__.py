"""gRPC over HTTP: what its headers say (`status`), length-prefixed messages (`framing`), the form for browsers (`web`)."""
