"""What the proxy costs, beside Envoy, in the same run on the same machine: `python -m tests.bench`."""
