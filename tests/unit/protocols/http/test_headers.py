from __future__ import annotations

from protocols.http.headers import Headers

REPEATED = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"a", b"4")]


def test_repeated_names_keep_the_place_of_the_first() -> None:
    headers = Headers(REPEATED)
    assert list(headers.items()) == [(b"a", b"1"), (b"a", b"3"), (b"a", b"4"), (b"b", b"2")]
    assert headers.get(b"a") == b"1"
    assert headers.get_all(b"a") == [b"1", b"3", b"4"]
    assert headers.joined(b"a") == b"1,3,4"
    assert len(headers) == 4


def test_missing_names() -> None:
    headers = Headers()
    assert headers.get(b"a") is None
    assert headers.joined(b"a") is None
    assert headers.get_all(b"a") == []
    assert not headers.remove(b"a")
    assert b"a" not in headers


def test_changes() -> None:
    headers = Headers(REPEATED)
    headers.set(b"a", b"5")
    assert headers.get_all(b"a") == [b"5"]
    headers.add(b"a", b"6")
    assert headers.joined(b"a") == b"5,6"
    assert headers.remove(b"a")
    assert list(headers.items()) == [(b"b", b"2")]


def test_a_copy_is_apart() -> None:
    headers = Headers.request(b"GET", b"/p", b"a.example", REPEATED)
    other = headers.copy()
    other.add(b"a", b"5")
    other.path = b"/q"
    assert headers.joined(b"a") == b"1,3,4"
    assert (headers.path, other.method, other.authority) == (b"/p", b"GET", b"a.example")


def test_questions_about_names() -> None:
    headers = Headers(REPEATED)
    assert headers.names() == {b"a", b"b"}
    assert headers.intersection(frozenset((b"b", b"c"))) == {b"b"}
    assert headers.has_any(frozenset((b"b", b"c")))
    assert not headers.has_any(frozenset((b"c",)))
    assert headers.has_repeats
    assert not Headers({b"a": b"1"}).has_repeats


def test_a_dict_is_taken_over() -> None:
    headers = Headers({b"a": b"1"})
    headers.add(b"a", b"2")
    assert headers.get_all(b"a") == [b"1", b"2"]
    assert (headers.method, headers.status) == (b"", 0)


def test_size_is_that_of_envoy() -> None:
    headers = Headers.request(b"GET", b"/p", b"h", [(b"a", b"12")])
    pairs = [
        (b":method", b"GET"),
        (b":path", b"/p"),
        (b":authority", b"h"),
        (b":scheme", b"http"),
        (b"a", b"12"),
    ]
    assert headers.size_bytes() == sum(len(name) + len(value) for name, value in pairs)
