"""What telemetry costs, and which part of it how much: HTTP/1.1, a listener for each part, loaded in turns.

The access log goes to a named pipe that a process drains, as `/dev/stdout` of a container does.

As fast as it goes, and at one rate for all: what does more for a request is slower, so that those around it wait more often, and
each time it has to wake them. At the same rate all wake as often, and the difference is what telemetry itself costs.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

from tests.bench.measure import WARM_UP_SECONDS, Measured, measure_once, turns
from tests.bench.results import Samples, Tell, key_of
from tests.bench.telemetry_world import TelemetryWorld, parts_of
from tests.support.process import ProxyCommand

#: In place of a part: what became of the log.
LOG = "log"


def measure_telemetry(
    commands: dict[str, ProxyCommand],
    directory: Path,
    *,
    repetitions: int,
    seconds: float,
    connections: int,
    tell: Tell,
    per_second: int = 0,
) -> Samples:
    """Competitor and part to its measurements; with `LOG` for the part the `lines_ratio`, of lines to requests.

    `per_second` 0: as fast as it goes.
    """
    with TelemetryWorld(directory / f"telemetry-{per_second}") as world:
        stages = {name: world.start(command) for name, command in commands.items()}
        places = {key_of(name, part): (stages[name], part) for name in stages for part in parts_of(name)}
        results = {key: Measured() for key in places}
        for stage, part in places.values():
            stage.load(part, WARM_UP_SECONDS, connections)
        for key in turns(list(places), repetitions):
            stage, part = places[key]
            measured = results[key]
            loading = partial(stage.load, part, seconds, connections, per_second)
            measure_once(stage.proxy, loading, 1000, measured)
            tell(
                f"telemetry {key:20} {measured.cost[-1]:.4f} CPU s per 1000, {measured.rate[-1] * 1000:.0f}/s"
            )
        logs = {key_of(name, LOG): {"lines_ratio": [stage.end()]} for name, stage in stages.items()}
    return {**{key: asdict(measured) for key, measured in results.items()}, **logs}
