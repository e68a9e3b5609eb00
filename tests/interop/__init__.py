"""This proxy beside, in front of and behind the real Envoy, and under hostile input and faults, as whole processes."""
