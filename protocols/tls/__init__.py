"""TLS as an object (`session`), what certificates say (`certificate`), SPIFFE ids (`spiffe`)."""
