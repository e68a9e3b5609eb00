"""Specs compiled into callables: matchers."""
