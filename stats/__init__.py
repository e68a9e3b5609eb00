"""What we count: metric handles, naming and tags, merging, rendering.

Reading order: `metrics` (the hot path), `store` and `tags` (creation), `families` (the standard sets), `istio` (labels to
handles), `snapshot` (merging), `prometheus` and `admin_text` (rendering).

Nothing here knows who counts, or serves HTTP.
"""
