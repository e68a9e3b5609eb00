"""Text -> protobuf messages -> model: the only modules that import generated Envoy messages.

Reading order: `path` (where a translator stands and how it reports), `document` (text -> plain values with
positions), `loader` (plain values -> message), `rules` (the constraints written in Envoy's own descriptors),
`fields` (what this proxy does with each field), `typed_config` (extensions by type URL), then one module for each
message family with its translators.
"""
