"""What an operator asks of the telemetry beyond Envoy's and Istio's configuration: opt-ins, all off by default.

They stand in one object of the node's metadata, `SIDECAR_TELEMETRY`; `config.proto.telemetry` reads it.
"""

from __future__ import annotations

import enum

import msgspec


class HistogramPreset(enum.Enum):
    """Bounds of Istio's own histograms where nothing else says them."""

    ENVOY = "envoy"
    MIXER = "mixer"  # those of Istio's first telemetry, in milliseconds and bytes


class TelemetryOptions(msgspec.Struct, frozen=True):
    """Every opt-in. Off, none of them changes a label or a series.

    - `gateway_destination_reporter`: a gateway also reports its callers, as their destination, and exchanges metadata with
      them over HTTP.
    - `tcp_peer_wait_s`: a TCP connection whose peer is not known after so long is reported without. None: not before its end.
    - `unmatched_destination_service`: TCP to no known service has its SNI, or its address, for a destination_service.

    `series_expiry_s`: Istio's series that nobody has used for so long go away; 0: never. A `stats_eviction_interval` counts in its
    place. `max_series`: the most series of an Istio metric; what is new then is counted in one for all.
    """

    histogram_preset: HistogramPreset = HistogramPreset.ENVOY
    gateway_destination_reporter: bool = False
    tcp_peer_wait_s: float | None = None
    unmatched_destination_service: bool = False
    series_expiry_s: float = 3600.0
    max_series: int = 2000


NO_OPTIONS = TelemetryOptions()
