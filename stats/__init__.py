"""What we count: metric handles, naming and tags, merging, rendering.

Reading order: `metrics` (the hot path), `store`, `tags` and `matcher` (creation), `family`, `families` and `filter_families`
(the standard sets), `istio` (labels to handles), `snapshot` (merging), `render`, `prometheus` and `admin_text` (rendering).

Nothing here knows who counts, or serves HTTP.
"""
