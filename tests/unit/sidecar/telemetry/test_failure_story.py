"""Stories for people: what they say, and that every kind has one for whatever is known."""

from __future__ import annotations

import pytest

from sidecar.stream_info import ConnectionFacts
from sidecar.telemetry.failure_story import seconds, tell, tls_words
from sidecar.telemetry.failures import Attempt, Failure
from stats.failure_family import KINDS

_FACTS = ConnectionFacts("upstream", "FIN", 0, 0, 15, 500, 700)
_IDLE = Attempt(
    "10.0.0.3:8080",
    "connection_termination",
    reused=True,
    sent=True,
    idle_ns=60_000_000_000,
    age_ns=61_200_000_000,
    connection=_FACTS,
)


def test_story_of_a_closed_idle_connection() -> None:
    failure = Failure(
        kind="upstream_closed",
        hop="upstream",
        attempts=[_IDLE],
        why_not_retried="the route has no retry policy",
    )
    assert tell(failure) == (
        "the upstream 10.0.0.3:8080 closed an idle connection (age 61.2 s, idle 60.0 s, 14 requests before) with FIN "
        "before the first response byte; the request was sent on it once; not retried, because the route has no retry "
        "policy"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attempts", [[], [_IDLE], [Attempt("", "connect_failure")] * 3])
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "TCP", "TLS"])
def test_every_kind_is_told_in_one_line(kind: str, attempts: list[Attempt], protocol: str) -> None:
    for hop in ("upstream", "downstream", "proxy"):
        story = tell(Failure(kind=kind, hop=hop, attempts=list(attempts), protocol=protocol))
        assert len(story) > 15
        assert "\n" not in story
        assert "None" not in story


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (4_000_000, "0.004 s"),
        (61_240_000_000, "61.2 s"),
        (900 * 10**9, "15 min"),
        (11_100 * 10**9, "3 h 5 min"),
    ],
)
def test_ages_for_people(ns: int, shown: str) -> None:
    assert seconds(ns) == shown


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "TLS_error:|1:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
            "does not speak TLS",
        ),
        ("TLS_error:|1:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end", "plain HTTP"),
        ("TLS_error:|x:CERTIFICATE_VERIFY_FAILED:certificate has expired:TLS_error_end", "has expired"),
        ("TLS_error:|SSLV3_ALERT_UNKNOWN_CA:TLS_error_end", "does not trust the CA of our certificate"),
        ("", "no reason is known"),
    ],
)
def test_tls_failures_in_other_words(text: str, words: str) -> None:
    assert words in tls_words(text)
    assert "TLS_error" not in tls_words(text)
