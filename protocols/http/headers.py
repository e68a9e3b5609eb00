"""The header map of one message: lower-case bytes names, bytes values, pseudo-headers as attributes."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final


class Headers:
    """Ordered map of header fields, built for the data path: one dict look-up to read or to miss a name.

    Names are lower-case `bytes` (callers guarantee it), values are `bytes` as received, without surrounding white
    space. A repeated name keeps the place of its first line, and all its values in order. `host` is never a field:
    it is `authority`, empty also when the host was; `lacks_host` says that a request named none. The pseudo-headers of RFC 9113 section 8.3 are attributes; on a request `method`, `path` and
    (unless missing on the wire) `authority` are set, on a response `status`; trailers have none.

    `first` has the first value of each name; others only read it, where a call for each name would cost too much.
    """

    __slots__ = (
        "_more",
        "authority",
        "first",
        "lacks_host",
        "method",
        "path",
        "protocol",
        "scheme",
        "status",
    )

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] | dict[bytes, bytes] = ()) -> None:
        """`fields`: lines in order; a dict has no repeated names and is theirs from now on."""
        self.method: bytes = b""
        self.path: bytes = b""
        self.authority: bytes = b""
        self.scheme: bytes = b""
        self.protocol: bytes = b""  # :protocol of an extended CONNECT (RFC 8441)
        self.status: int = 0
        self.lacks_host = False
        self._more: dict[bytes, list[bytes]] | None = None  # repeated names: all values in order
        if isinstance(fields, dict):
            self.first: dict[bytes, bytes] = fields
            return
        pairs = fields if isinstance(fields, list) else list(fields)
        self.first = dict(pairs)
        if len(self.first) != len(pairs):
            self.first = {}
            for name, value in pairs:
                self.add(name, value)

    @classmethod
    def request(
        cls,
        method: bytes,
        path: bytes,
        authority: bytes,
        fields: Iterable[tuple[bytes, bytes]] = (),
        scheme: bytes = b"http",
    ) -> Headers:
        headers = cls(fields)
        headers.method, headers.path, headers.authority, headers.scheme = method, path, authority, scheme
        return headers

    @classmethod
    def response(cls, status: int, fields: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
        headers = cls(fields)
        headers.status = status
        return headers

    def get(self, name: bytes) -> bytes | None:
        """The first value, or None."""
        return self.first.get(name)

    def get_all(self, name: bytes) -> list[bytes]:
        """All values in order; empty if there is none. The list is the caller's."""
        if self._more is not None and name in self._more:
            return list(self._more[name])
        value = self.first.get(name)
        return [] if value is None else [value]

    def joined(self, name: bytes) -> bytes | None:
        """All values joined by a comma (RFC 9110 section 5.3), as matchers must judge them; None if there is none."""
        if self._more is not None and name in self._more:
            return b",".join(self._more[name])
        return self.first.get(name)

    def add(self, name: bytes, value: bytes) -> None:
        """Append one line."""
        first = self.first
        if name not in first:
            first[name] = value
            return
        if self._more is None:
            self._more = {}
        self._more.setdefault(name, [first[name]]).append(value)

    def set(self, name: bytes, value: bytes) -> None:
        """Replace all lines of that name by one."""
        self.first[name] = value
        if self._more is not None:
            self._more.pop(name, None)

    def remove(self, name: bytes) -> bool:
        """Drop all lines of that name; whether there was one."""
        first = self.first
        if name not in first:  # mostly so, and compiled code looks `pop` up by name
            return False
        del first[name]
        if self._more is not None:
            self._more.pop(name, None)
        return True

    def __contains__(self, name: bytes) -> bool:
        return name in self.first

    def names(self) -> builtins.set[bytes]:
        """The names present, as a set of the caller's own."""
        return set(self.first)

    def intersection(self, names: frozenset[bytes]) -> builtins.set[bytes]:
        """Which of `names` are present: one set operation for many questions."""
        return self.first.keys() & names

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Whether at least one of `names` is present: the cheapest way to ask for many."""
        return not names.isdisjoint(self.first)

    @property
    def has_repeats(self) -> bool:
        """Whether `first` is not all that there is."""
        return self._more is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every line, as it is to be written."""
        if self._more is None:
            return iter(self.first.items())
        return self._items_with_repeats(self._more)

    def _items_with_repeats(self, more: dict[bytes, list[bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for name, value in self.first.items():
            values = more.get(name)
            if values is None:
                yield name, value
            else:
                for each in values:
                    yield name, each

    def __len__(self) -> int:
        """Number of lines."""
        if self._more is None:
            return len(self.first)
        return len(self.first) + sum(len(values) - 1 for values in self._more.values())

    def size_bytes(self) -> int:
        """Envoy's header byte size: names and values, pseudo-headers included, no separators."""
        size = sum(len(name) + len(value) for name, value in self.items())
        if self.method:
            size += len(b":method") + len(self.method)
        if self.path:
            size += len(b":path") + len(self.path)
        if self.authority:
            size += len(b":authority") + len(self.authority)
        if self.scheme:
            size += len(b":scheme") + len(self.scheme)
        if self.status:
            size += len(b":status") + 3
        return size

    def copy(self) -> Headers:
        other = Headers()
        other.method, other.path, other.authority = self.method, self.path, self.authority
        other.scheme, other.protocol, other.status = self.scheme, self.protocol, self.status
        other.lacks_host = self.lacks_host
        other.first = dict(self.first)
        if self._more is not None:
            other._more = {name: list(values) for name, values in self._more.items()}
        return other

    def __repr__(self) -> str:
        pseudo = [
            f":{name}={value!r}"
            for name in ("method", "scheme", "authority", "path", "protocol", "status")
            if (value := getattr(self, name))
        ]
        return f"Headers({', '.join(pseudo + [f'{n!r}: {v!r}' for n, v in self.items()])})"


#: What is no field and held as an attribute, by the name under which rules and formats ask for it.
PSEUDO_ATTRIBUTES: Final[Mapping[bytes, str]] = {
    b":method": "method",
    b":path": "path",
    b":authority": "authority",
    b"host": "authority",
    b":scheme": "scheme",
    b":protocol": "protocol",
}
#: Reads what is no field; empty means that there is none.
PSEUDO_HEADERS: Final[Mapping[bytes, Callable[[Headers], bytes]]] = {
    **{name: attrgetter(attribute) for name, attribute in PSEUDO_ATTRIBUTES.items()},
    b":status": lambda headers: b"%d" % headers.status if headers.status else b"",
}
