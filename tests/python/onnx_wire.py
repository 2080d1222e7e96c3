"""Protobuf's wire format written out by hand, so that forms which protobuf's own writer never gives
can be made."""

import struct
from collections.abc import Callable

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

PACKABLE = {
    Field.TYPE_INT64,
    Field.TYPE_INT32,
    Field.TYPE_UINT64,
    Field.TYPE_FLOAT,
    Field.TYPE_DOUBLE,
    Field.TYPE_ENUM,
}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def overlong(value: int) -> bytes:
    """The same varint with needless bytes of zeros after it."""
    plain = bytearray(varint(value))
    while len(plain) < 10:
        plain[-1] |= 128
        plain.append(0)
    return bytes(plain)


def record(number: int, payload: bytes) -> bytes:
    return varint(number * 8 + 2) + varint(len(payload)) + payload


def scalar(
    field: Field, value: int | float, integer: Callable[[int], bytes]
) -> tuple[int, bytes]:
    """The wire type of a number and its bytes, those of an integer by `integer`."""
    if field.type == Field.TYPE_FLOAT:
        return 5, struct.pack("<f", value)
    if field.type == Field.TYPE_DOUBLE:
        return 1, struct.pack("<d", value)
    return 0, integer(value)


def serialize(message: Message, variant: str) -> bytes:
    """`message` in a wire form: 'unpacked', 'packed', 'split' (packed fields in many records, one
    value each), 'reversed' (fields in falling order), 'overlong' (varints of ten bytes)."""
    integer = overlong if variant == "overlong" else varint
    parts: list[bytes] = []
    for field, value in message.ListFields():
        out = b""
        values = value if field.is_repeated else [value]
        if field.type == Field.TYPE_MESSAGE:
            for entry in values:
                out += record(field.number, serialize(entry, variant))
        elif field.type == Field.TYPE_STRING:
            for entry in values:
                out += record(field.number, entry.encode())
        elif field.type == Field.TYPE_BYTES:
            for entry in values:
                out += record(field.number, entry)
        elif field.is_repeated and field.type in PACKABLE and variant in ("packed", "overlong"):
            packed = b"".join(scalar(field, entry, integer)[1] for entry in values)
            out += record(field.number, packed)
        elif field.is_repeated and variant == "split":
            for entry in values:
                out += record(field.number, scalar(field, entry, integer)[1])
        else:
            for entry in values:
                kind, payload = scalar(field, entry, integer)
                out += varint(field.number * 8 + kind) + payload
        parts.append(out)
    if variant == "reversed":
        parts.reverse()
    return b"".join(parts)
