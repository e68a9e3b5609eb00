"""`traceparent` and `tracestate`: what is understood, what counts as nothing, what is handed on."""

from __future__ import annotations

import pytest

from protocols.http.headers import Headers
from protocols.tracing import w3c
from protocols.tracing.span import SpanContext
from tests.support.spans import place

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def extract(*values: str, state: tuple[str, ...] = ()) -> SpanContext | None:
    fields = [(b"traceparent", value.encode()) for value in values]
    return w3c.extract(Headers([*fields, *((b"tracestate", each.encode()) for each in state)]))


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("03", True), ("fe", False)])
def test_the_flag_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    assert extract(f"00-{TRACE}-{SPAN}-{flags}") == place(TRACE, SPAN, "", sampled)


def test_nothing_came() -> None:
    assert extract() is None


@pytest.mark.parametrize("rest", ["", "-", "-what.ever"])
def test_versions_of_the_future_may_say_more(rest: str) -> None:
    assert extract(f"cc-{TRACE}-{SPAN}-01{rest}") == place(TRACE, SPAN, "", True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"0-{TRACE}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_breaks_the_rules_counts_as_nothing(value: str) -> None:
    assert extract(value, state=("a=b",)) is None


def test_twice_counts_as_nothing() -> None:
    assert extract(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01") is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (("a=b",), "a=b"),
        (("a=b", "c=d"), "a=b,c=d"),
        (("a=b, c=d",), "a=b, c=d"),
        (("tenant@vendor=1,x/y*z=~!",), "tenant@vendor=1,x/y*z=~!"),
        (("",), ""),
        (("bad state",), ""),
        (("A=b",), ""),
        (("a=b,c",), ""),
        (("a=" + "v" * 257,), ""),
        ((",".join(f"k{number}=v" for number in range(32)),), ",".join(f"k{n}=v" for n in range(32))),
        ((",".join(f"k{number}=v" for number in range(33)),), ""),
    ],
)
def test_state_is_kept_whole_or_not_at_all(state: tuple[str, ...], kept: str) -> None:
    found = extract(f"00-{TRACE}-{SPAN}-01", state=state)
    assert found is not None
    assert found.state.decode() == kept


def test_inject() -> None:
    headers = Headers([(b"traceparent", b"old"), (b"tracestate", b"old")])
    w3c.inject(headers, place(TRACE, SPAN, "", True, "a=b"))
    assert dict(headers.items()) == {
        b"traceparent": f"00-{TRACE}-{SPAN}-01".encode(),
        b"tracestate": b"a=b",
    }


def test_inject_without_state_takes_away_what_is_of_another_trace() -> None:
    headers = Headers([(b"tracestate", b"old")])
    w3c.inject(headers, place(SPAN, SPAN, "", False))
    assert dict(headers.items()) == {b"traceparent": f"00-{'0' * 16}{SPAN}-{SPAN}-00".encode()}
