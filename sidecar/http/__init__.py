"""The third floor: streams, routes, HTTP filters."""
