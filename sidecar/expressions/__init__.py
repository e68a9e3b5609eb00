"""CEL expressions over what is known of a stream: Envoy's attributes, compiled once for each place in the configuration."""
