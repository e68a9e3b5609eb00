"""The second floor: the downstream connection and its network filters."""
