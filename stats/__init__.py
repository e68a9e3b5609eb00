"""What we count: metric handles, naming and tags, merging, rendering.

Reading order: `metrics` (the hot path), `store`, `tags` and `matcher` (creation), `family`, `families` and `filter_families`
(the standard sets), `ceiling` and `istio` (labels to handles), `expiry`, `snapshot` (merging), `render` (slices),
`prometheus_families`, `prometheus`, `openmetrics`, `prometheus_protobuf`, `admin_text`, `cardinality`, `statsd` (rendering).

Nothing here knows who counts, or serves HTTP.
"""
