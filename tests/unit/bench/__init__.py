"""The benchmark harness itself: everything but the measuring."""
