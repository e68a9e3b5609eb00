"""Tracing: spans of requests, and the exporters that tell collectors of them."""
