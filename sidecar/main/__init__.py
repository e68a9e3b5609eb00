"""The process that is started: options, admin server, signals, workers."""
