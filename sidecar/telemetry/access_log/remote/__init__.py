"""Access logs that go to a service: Envoy's access log service, and OpenTelemetry collectors.

Protobuf enters here: entries are encoded when they are logged, since a stream's facts may change later.
"""
