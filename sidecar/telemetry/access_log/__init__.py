"""Access loggers and the format language."""
