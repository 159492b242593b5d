"""Protobuf's wire format, as far as large fields are read and written without the rest of their message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from google.protobuf.message import DecodeError, Message

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


def fields(file: IO[bytes], start: int, stop: int) -> Iterator[Field]:
    """The fields of the message that a file has from ``start`` to ``stop``, of which values are not read.

    Raises:
        DecodeError: it is no message, or ends within a field.
    """
    at = start
    while at < stop:
        file.seek(at)
        begin, (tag, at) = at, _read_varint(file, at, stop)
        kind = tag & 7
        if kind == BYTES:
            size, at = _read_varint(file, at, stop)
        elif kind == _VARINT:
            size = _read_varint(file, at, stop)[1] - at
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise DecodeError(f"wire type {kind}, which no message of ONNX has")
        if at + size > stop:
            raise DecodeError("a field is longer than its message")
        yield Field(tag >> 3, kind, begin, at, at + size)
        at += size


def rewritten(file: IO[bytes], start: int, stop: int, rewrite: Callable[[Field], bytes | None]) -> bytes:
    """The message from ``start`` to ``stop`` with other bytes for fields, tags included; None: as they are."""
    pieces: list[bytes] = []
    copied = start
    for field in fields(file, start, stop):
        new = rewrite(field)
        if new is not None:
            pieces += piece(file, copied, field.begin), new
            copied = field.stop
    return b"".join([*pieces, piece(file, copied, stop)])


def piece(file: IO[bytes], start: int, stop: int) -> bytes:
    """The bytes of a file from ``start`` to ``stop``."""
    file.seek(start)
    return file.read(stop - start)


def number_of(message: type[Message], field: str) -> int:
    """The number of a field of a kind of message."""
    return int(message.DESCRIPTOR.fields_by_name[field].number)


def prefix(message: type[Message], field: str, size: int) -> bytes:
    """Tag and length of a field of so many :data:`BYTES`."""
    return _varint(number_of(message, field) << 3 | BYTES) + _varint(size)


def _read_varint(file: IO[bytes], at: int, stop: int) -> tuple[int, int]:
    """The number at ``at``, where the file is, and where it ends."""
    number = shift = 0
    while at < stop and shift < _LONGEST and (byte := file.read(1)):
        number |= (byte[0] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte[0] < 0x80:
            return number, at
    raise DecodeError("a number does not end")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
