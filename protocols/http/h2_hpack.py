"""HPACK (RFC 7541): field blocks to fields and back, for one direction of one connection each.

Lean where the `hpack` library is general: a field is a plain tuple, a table is a list, strings in Huffman code are remembered.
The static table, the Huffman code and its decoder for strings not seen before are that library's; it is also the judge in
the tests.

Writing, no string is Huffman-coded (a choice of the writer, section 5.2), and what changes with every message or is secret
stays out of the table.
"""

from __future__ import annotations

from typing import Final

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from protocols.errors import LocalProtocolError
from protocols.http import names
from protocols.http.h2_fields import PSEUDO_PATH, Field, check_for_writing
from protocols.http.head_lines import NOT_REMEMBERED, intern

DEFAULT_TABLE_SIZE: Final = 4096
#: What an entry costs besides its octets (section 4.1).
_ENTRY_OVERHEAD: Final = 32
#: No string of a block is longer, so no integer needs more octets behind its prefix.
_MAX_INTEGER_OCTETS: Final = 5

_STATIC: Final[tuple[Field, ...]] = tuple(
    (intern(bytes(name)), intern(bytes(value))) for name, value in HeaderTable.STATIC_TABLE
)
_STATIC_SIZE: Final = len(_STATIC)
_STATIC_FIELDS: Final = {field: bytes((0x80 | at,)) for at, field in enumerate(_STATIC, 1)}
_STATIC_NAMES: Final = {field[0]: at for at, field in reversed(tuple(enumerate(_STATIC, 1)))}

#: Different in most messages: an entry in the table would only drive out others.
_NOT_INDEXED: Final = frozenset(
    (
        PSEUDO_PATH,
        names.CONTENT_LENGTH,
        names.X_REQUEST_ID,
        b"age",
        b"etag",
        b"grpc-timeout",
        b"if-modified-since",
        b"if-none-match",
        b"last-modified",
        b"traceparent",
        b"tracestate",
        b"x-b3-parentspanid",
        b"x-b3-spanid",
        b"x-b3-traceid",
        names.LOCATION,
    )
)
#: Not to be guessed from the size of a block (section 7.1.3).
_NEVER_INDEXED: Final = frozenset(
    (names.AUTHORIZATION, names.COOKIE, names.PROXY_AUTHORIZATION, names.SET_COOKIE)
)


class HpackError(Exception):
    """The block cannot be decoded: the connection's compression state is lost (COMPRESSION_ERROR)."""


class _Huffman(dict[bytes, bytes]):
    """Huffman-coded strings decoded before. Bounded; secrets are not kept in it."""

    def __missing__(self, coded: bytes) -> bytes:
        try:
            text = intern(decode_huffman(coded))
        except HPACKDecodingError as error:
            raise HpackError(str(error)) from None
        if len(coded) <= _REMEMBERED_BYTES:
            if len(self) >= _REMEMBERED_STRINGS:
                self.clear()
            self[coded] = text
        return text


class _Forgetful(_Huffman):
    """Decodes and keeps nothing."""

    def __setitem__(self, coded: bytes, text: bytes) -> None:
        return


_REMEMBERED_STRINGS = 4096
_REMEMBERED_BYTES: Final = 1024
_huffman: Final = _Huffman()
_forgetful: Final = _Forgetful()


def _read_integer(block: bytes, pos: int, prefix: int) -> tuple[int, int]:
    """The rest of an integer whose prefix (all ones, value `prefix`) was read; and where it ends (section 5.1)."""
    value, shift = prefix, 0
    while True:
        octet = block[pos]
        pos += 1
        value += (octet & 0x7F) << shift
        if not octet & 0x80:
            return value, pos
        shift += 7
        if shift >= 7 * _MAX_INTEGER_OCTETS:
            raise HpackError("an integer that is too long")


def _integer(value: int, prefix: int, pattern: int) -> bytes:
    """An integer whose prefix holds values below `prefix`, with the bits of `pattern` in front (section 5.1)."""
    if value < prefix:
        return bytes((pattern | value,))
    octets = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 0x80:
        octets.append(0x80 | (value & 0x7F))
        value >>= 7
    octets.append(value)
    return bytes(octets)


class HpackDecoder:
    """Reads the blocks of a peer. `max_table_size` is what our SETTINGS allow its table."""

    __slots__ = ("_entries", "_limit", "_max_table_size", "_must_shrink", "_size", "_table_size")

    def __init__(self, max_table_size: int = DEFAULT_TABLE_SIZE) -> None:
        self._entries: list[Field] = []  # the newest is at the end
        self._size = 0
        self._table_size = DEFAULT_TABLE_SIZE
        self._max_table_size = max_table_size
        #: before our SETTINGS are acknowledged the peer may still use the default
        self._limit = max(max_table_size, DEFAULT_TABLE_SIZE)
        self._must_shrink = False  # the next block has to begin with a size update

    def on_settings_acknowledged(self) -> None:
        """The peer knows our limit: a table that is larger is given up first (RFC 9113 section 4.3.1)."""
        self._limit = self._max_table_size
        self._must_shrink = self._table_size > self._limit

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a whole block, in order; not judged. Raises HpackError."""
        if self._must_shrink:
            if not block or block[0] & 0xE0 != 0x20:
                raise HpackError("no size update where one is due")
            self._must_shrink = False
        fields: list[Field] = []
        append = fields.append
        entries = self._entries
        pos, end = 0, len(block)
        try:
            while pos < end:
                octet = block[pos]
                pos += 1
                if octet >= 0x80:
                    index = octet & 0x7F
                    if index == 0x7F:
                        index, pos = _read_integer(block, pos, 0x7F)
                    append(
                        self._field(index) if index > _STATIC_SIZE else _STATIC[index - 1 if index else 99]
                    )
                elif octet >= 0x40:
                    field, pos = self._read_literal(block, pos, octet & 0x3F, 0x3F)
                    append(field)
                    entries.append(field)
                    self._size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
                    if self._size > self._table_size:
                        self._evict()
                elif octet < 0x20:
                    field, pos = self._read_literal(block, pos, octet & 0x0F, 0x0F)
                    append(field)
                else:
                    if fields:
                        raise HpackError("a size update behind a field")
                    pos = self._read_size_update(block, pos, octet & 0x1F)
        except IndexError:
            raise HpackError("a block that is cut off, or an index without an entry") from None
        return fields

    def _field(self, index: int) -> Field:
        """An entry of the dynamic table; the newest is the first."""
        entries = self._entries
        at = len(entries) - (index - _STATIC_SIZE)
        if at < 0:
            raise HpackError("an index without an entry")
        return entries[at]

    def _read_literal(self, block: bytes, pos: int, index: int, prefix: int) -> tuple[Field, int]:
        if index == prefix:
            index, pos = _read_integer(block, pos, prefix)
        if index:
            name = _STATIC[index - 1][0] if index <= _STATIC_SIZE else self._field(index)[0]
        else:
            name, pos = self._read_string(block, pos, True)
            name = intern(name)
        value, pos = self._read_string(block, pos, name not in NOT_REMEMBERED)
        return (name, value), pos

    def _read_string(self, block: bytes, pos: int, remember: bool) -> tuple[bytes, int]:
        octet = block[pos]
        pos += 1
        size = octet & 0x7F
        if size == 0x7F:
            size, pos = _read_integer(block, pos, 0x7F)
        end = pos + size
        if end > len(block):
            raise HpackError("a string longer than its block")
        text = block[pos:end]
        if octet >= 0x80:
            text = (_huffman if remember else _forgetful)[text]
        return text, end

    def _read_size_update(self, block: bytes, pos: int, size: int) -> int:
        if size == 0x1F:
            size, pos = _read_integer(block, pos, 0x1F)
        if size > self._limit:
            raise HpackError("a table larger than allowed")
        self._table_size = size
        self._evict()
        return pos

    def _evict(self) -> None:
        entries, at = self._entries, 0
        while self._size > self._table_size:
            name, value = entries[at]
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD
            at += 1
        del entries[:at]


class HpackEncoder:
    """Writes our blocks. Every field is judged by `check_for_writing` when it is not in a table yet."""

    __slots__ = ("_fields", "_inserted", "_least", "_order", "_resized", "_size", "_table_size")

    def __init__(self) -> None:
        self._fields: dict[Field, int] = {}  # to its number, counted from 1 as they were inserted
        self._order: list[Field] = []  # the oldest is first
        self._inserted = 0
        self._size = 0
        self._table_size = DEFAULT_TABLE_SIZE
        self._resized = False  # the peer is to be told in front of the next block
        self._least = DEFAULT_TABLE_SIZE  # the smallest size that it was not told of

    def set_max_table_size(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE; more than the default is not used."""
        size = min(size, DEFAULT_TABLE_SIZE)
        if size != self._table_size:
            self._table_size = size
            self._least = min(size, self._least)
            self._resized = True
            self._evict()

    def encode(self, fields: list[Field]) -> bytes:
        """One block. Raises LocalProtocolError for a field that may not be written."""
        try:
            return self._encode(fields)
        except LocalProtocolError:
            self._empty_tables()
            raise

    def _empty_tables(self) -> None:
        """The peer did not see what was inserted for a block that was never written: begin anew on both sides."""
        self._fields.clear()
        self._order.clear()
        self._size = 0
        self._least, self._resized = 0, True

    def _size_updates(self) -> list[bytes]:
        """For the front of a block: the size of the table, behind the smallest that it had (RFC 7541 section 4.2)."""
        size, least = self._table_size, self._least
        self._least, self._resized = DEFAULT_TABLE_SIZE, False
        updates = [_integer(size, 0x1F, 0x20)]
        return updates if least == size else [_integer(least, 0x1F, 0x20), *updates]

    def _encode(self, fields: list[Field]) -> bytes:
        parts = self._size_updates() if self._resized else []
        static, table = _STATIC_FIELDS, self._fields
        newest = _STATIC_SIZE + 1 + self._inserted  # the index of entry number n is `newest - n`
        for field in fields:
            code = static.get(field)
            if code is None:
                number = table.get(field)
                if number is not None:
                    index = newest - number
                    code = _INDEXED[index] if index < 0x7F else _integer(index, 0x7F, 0x80)
                else:
                    code = self._literal(field)
                    newest = _STATIC_SIZE + 1 + self._inserted
            parts.append(code)
        return b"".join(parts)

    def _literal(self, field: Field) -> bytes:
        known = _literals.get(field)
        if known is not None:
            return known
        check_for_writing(field)
        name, value = field
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        if name in _NEVER_INDEXED:
            prefix, pattern = 0x0F, 0x10
        elif name in _NOT_INDEXED or 4 * size > 3 * self._table_size:
            prefix, pattern = 0x0F, 0x00
        else:
            prefix, pattern = 0x3F, 0x40
        index = _STATIC_NAMES.get(name)
        if index is not None:
            head = _integer(index, prefix, pattern)
        else:
            head = b"%c%b%b" % (pattern, _integer(len(name), 0x7F, 0), name)
        code = b"%b%b%b" % (head, _integer(len(value), 0x7F, 0), value)
        if pattern == 0x40:
            self._insert(field, size)
        elif size <= _REMEMBERED_LITERAL_BYTES and name in _NOT_INDEXED and name not in NOT_REMEMBERED:
            if len(_literals) >= _REMEMBERED_STRINGS:
                _literals.clear()
            _literals[field] = code
        return code

    def _insert(self, field: Field, size: int) -> None:
        self._inserted += 1
        self._fields[field] = self._inserted
        self._order.append(field)
        self._size += size
        if self._size > self._table_size:
            self._evict()

    def _evict(self) -> None:
        at = 0
        while self._size > self._table_size:
            name, value = field = self._order[at]
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD
            del self._fields[field]
            at += 1
        del self._order[:at]


#: Fields that are written the same on every connection, since they go to no table: paths, lengths. Bounded.
_literals: Final[dict[Field, bytes]] = {}
_REMEMBERED_LITERAL_BYTES: Final = 256
_INDEXED: Final = tuple(bytes((0x80 | index,)) for index in range(0x7F))
