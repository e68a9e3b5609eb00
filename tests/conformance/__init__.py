"""Istio's end-to-end scenarios, run against whole proxy processes."""
