"""Sockets, TLS over them, flow control, timers: what every floor stands on."""
