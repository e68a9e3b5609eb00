"""The process: options, start and stop order, admin server, drain."""
