"""Real processes: start, signals, exit codes, what an operator reads."""
