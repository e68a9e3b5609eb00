"""The same bootstrap given to Envoy and to this proxy: same answers, same requests upstream, same counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.interop.differences import BYTES, BYTES_TOLERANCE, FORWARDED, OUTCOMES, SERIES
from tests.interop.differential import Case, Run, Series, Surroundings, cases
from tests.support.envoy import require_envoy
from tests.support.process import sidecar_command

_CASES = {case.name: case for case in cases()}
_MINIMUM_BOOTSTRAPS = 12


@dataclass(frozen=True)
class Pair:
    envoy: Run
    ours: Run


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    created = Surroundings(tmp_path_factory.mktemp("differential"))
    yield created
    created.close()


@pytest.fixture(scope="module")
def pair_of(surroundings: Surroundings) -> Callable[[str], Pair]:
    """Runs a case with both proxies, once."""
    envoy = require_envoy()
    done: dict[str, Pair] = {}

    def pair(name: str) -> Pair:
        if name not in done:
            case: Case = _CASES[name]
            done[name] = Pair(surroundings.run(case, envoy), surroundings.run(case, sidecar_command()))
        return done[name]

    return pair


@pytest.mark.parametrize("name", _CASES)
def test_same_answers(pair_of: Callable[[str], Pair], name: str) -> None:
    pair = pair_of(name)
    assert len(pair.ours.outcomes) == len(pair.envoy.outcomes)
    different = {
        number: {"envoy": theirs, "ours": ours}
        for number, (theirs, ours) in enumerate(zip(pair.envoy.outcomes, pair.ours.outcomes, strict=True))
        if theirs != ours
    }
    assert set(different) == {number for case, number in OUTCOMES if case == name}, _lines(different)


@pytest.mark.parametrize("name", _CASES)
def test_same_requests_upstream(pair_of: Callable[[str], Pair], name: str) -> None:
    pair = pair_of(name)
    different = {
        number: {"envoy": theirs, "ours": ours}
        for number, (theirs, ours) in enumerate(zip(pair.envoy.forwarded, pair.ours.forwarded, strict=True))
        if theirs != ours
    }
    assert set(different) == {number for case, number in FORWARDED if case == name}, _lines(different)


@pytest.mark.parametrize("name", _CASES)
def test_same_series(pair_of: Callable[[str], Pair], name: str) -> None:
    pair = pair_of(name)
    theirs, ours = _compared(name, pair.envoy), _compared(name, pair.ours)
    problems = [f"missing {_text(key)} {value:g}" for key, value in sorted(theirs.items()) if key not in ours]
    problems += [
        f"surplus {_text(key)} {value:g}" for key, value in sorted(ours.items()) if key not in theirs
    ]
    problems += [
        f"value {_text(key)}: envoy {value:g}, ours {ours[key]:g}"
        for key, value in sorted(theirs.items())
        if key in ours and not _same_value(key[0], value, ours[key])
    ]
    assert not problems, "\n".join(problems)


def test_there_are_enough_bootstraps() -> None:
    assert len(_CASES) >= _MINIMUM_BOOTSTRAPS


def test_differences_name_existing_bootstraps() -> None:
    named = {name for name, _ in [*OUTCOMES, *FORWARDED]}
    named |= {entry.bootstrap for entry in SERIES if entry.bootstrap is not None}
    assert named <= set(_CASES)
    assert all(entry.reason for entry in SERIES)


def _compared(bootstrap: str, run: Run) -> dict[Series, float]:
    return {
        (name, labels): value
        for (name, labels), value in run.series.items()
        if not any(difference.covers(bootstrap, name, labels) for difference in SERIES)
    }


def _same_value(name: str, theirs: float, ours: float) -> bool:
    if BYTES.fullmatch(name):
        return abs(theirs - ours) <= max(2, theirs * BYTES_TOLERANCE)
    return theirs == ours


def _text(key: Series) -> str:
    return key[0] + "{" + ",".join(f'{name}="{value}"' for name, value in key[1]) + "}"


def _lines(different: Mapping[int, Mapping[str, object]]) -> str:
    return "\n".join(
        f"{number}:\n  envoy {pair['envoy']}\n  ours  {pair['ours']}" for number, pair in different.items()
    )
