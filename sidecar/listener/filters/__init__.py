"""Listener filters, one file each."""
