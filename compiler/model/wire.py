"""Protobuf's wire format, as far as large fields are read and written without the rest of their message."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

Content = bytes | mmap.mmap
BYTES = 2
"""The wire type of messages, texts and bytes: their length, and then as many bytes."""
_VARINT = 0
_FIXED = {1: 8, 5: 4}
_LONGEST = 70
"""Bits of a number: ten bytes."""


class Field(NamedTuple):
    """One field of a message: its number and wire type, where its tag begins, and from where to where its value is."""

    number: int
    kind: int
    begin: int
    start: int
    stop: int


def fields(content: Content, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message that takes ``content[start:stop]``.

    Raises:
        DecodeError: it is no message, or ends within a field.
    """
    at = start
    while at < stop:
        begin, (tag, at) = at, _read_varint(content, at, stop)
        kind = tag & 7
        if kind == BYTES:
            size, at = _read_varint(content, at, stop)
        elif kind == _VARINT:
            size = _read_varint(content, at, stop)[1] - at
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise DecodeError(f"wire type {kind}, which no message of ONNX has")
        if at + size > stop:
            raise DecodeError("a field is longer than its message")
        yield Field(tag >> 3, kind, begin, at, at + size)
        at += size


def rewritten(content: Content, start: int, stop: int, rewrite: Callable[[Field], bytes | None]) -> bytes:
    """The message that takes ``content[start:stop]`` with other bytes for fields, tags included; None: as they are."""
    pieces: list[bytes] = []
    copied = start
    for field in fields(content, start, stop):
        new = rewrite(field)
        if new is not None:
            pieces += content[copied : field.begin], new
            copied = field.stop
    return b"".join([*pieces, content[copied:stop]])


def number_of(message: type[Message], field: str) -> int:
    """The number of a field of a kind of message."""
    return int(message.DESCRIPTOR.fields_by_name[field].number)


def prefix(message: type[Message], field: str, size: int) -> bytes:
    """Tag and length of a field of so many :data:`BYTES`."""
    return _varint(number_of(message, field) << 3 | BYTES) + _varint(size)


def _read_varint(content: Content, at: int, stop: int) -> tuple[int, int]:
    """A number, and where it ends."""
    number = shift = 0
    while at < stop and shift < _LONGEST:
        byte = content[at]
        number |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return number, at
    raise DecodeError("a number does not end")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
