"""Tests of the sidecar: units, whole processes, conformance, interop, measurements."""
