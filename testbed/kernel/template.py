"""Netlink messages that are encoded once and filled in many times.

A cluster takes tens of thousands of messages, and all of one shape differ in a few fixed places
only.  So a shape is encoded once, the places are found, and each message is a copy with these
bytes replaced.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from testbed.errors import KernelError

Value: TypeAlias = int | bytes
# The index of no device and part of no other field; checked wherever it is put in.
STAND_IN_INDEX = 0x7ABADBAD
_INDEX = struct.Struct("=I")
_STAND_IN = _INDEX.pack(STAND_IN_INDEX)


class Field(NamedTuple):
    """A place in a message that differs between messages of one shape.

    Args:
        name: the argument of the encoder.
        format: struct format of the value that is filled in, byte order included.
        samples: two values that differ in every byte.
    """

    name: str
    format: str
    samples: tuple[Value, Value]


def integer(name: str, format: str = "=I") -> Field:
    """A field that holds an integer."""
    size_bytes = struct.calcsize(format)
    # No byte is like another, or the wrong byte order would not be noticed.
    low, high = (int.from_bytes(range(first, first + size_bytes), "big") for first in (0x21, 0x41))
    return Field(name, format, (low, high))


def address(name: str) -> Field:
    """A field that holds an IPv4 address: four bytes."""
    return Field(name, "4s", (bytes([33, 34, 35, 36]), bytes([65, 66, 67, 68])))


def mac(name: str) -> Field:
    """A field that holds an Ethernet address: six bytes."""
    return Field(name, "6s", (bytes(range(0x20, 0x26)), bytes(range(0x40, 0x46))))


def device_name(name: str) -> Field:
    """A field that holds an interface name: at most 15 bytes, the rest is zero."""
    return Field(name, "15s", (b"a" * 15, b"b" * 15))


class Template:
    """One shape of message.

    The place of a field is where the encodings of its two samples differ, which needs no
    knowledge of the layout; that filling in gives what the encoder gives is then checked.

    Args:
        encode: makes a message of keyword arguments, one for each field.
        fields: what differs, in the order in which `fill` takes the values.

    Raises:
        ValueError: the encoder does not put a field into one place of fixed size.
    """

    def __init__(self, encode: Callable[..., bytes], fields: Sequence[Field]) -> None:
        samples = {field.name: field.samples[0] for field in fields}
        self._blank = encode(**samples)
        self._places = []
        for field in fields:
            other = encode(**samples | {field.name: field.samples[1]})
            packer, offset = struct.Struct(field.format), _difference(self._blank, other, field)
            for value, expected in zip(field.samples, (self._blank, other), strict=True):
                filled = bytearray(self._blank)
                packer.pack_into(filled, offset, value)
                if filled != expected:
                    raise ValueError(f"field {field.name} is not encoded as {field.format}")
            self._places.append((packer.pack_into, offset))

    def fill(self, *values: Value) -> bytearray:
        """A message; one value for each field, in their order."""
        message = bytearray(self._blank)
        for (pack_into, offset), value in zip(self._places, values, strict=True):
            pack_into(message, offset, value)
        return message


def check_stand_ins(batch: bytes | bytearray, count: int) -> None:
    """Whether `for_device` will do what it says.

    Args:
        batch: messages that were filled with `STAND_IN_INDEX`.
        count: how many they are.

    Raises:
        KernelError: another field looks like the stand-in.
    """
    if batch.count(_STAND_IN) != count:
        raise KernelError("a parameter looks like the stand-in for a device's index")


def for_device(batch: bytes, ifindex: int) -> bytes:
    """Messages that were filled with `STAND_IN_INDEX`, for one device."""
    return batch.replace(_STAND_IN, _INDEX.pack(ifindex))


def _difference(one: bytes, other: bytes, field: Field) -> int:
    """Where two messages differ: one run of bytes of the field's size."""
    size_bytes = struct.calcsize(field.format)
    at = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
    if len(one) != len(other) or not at or at != list(range(at[0], at[0] + size_bytes)):
        raise ValueError(f"field {field.name} is not in one place of {size_bytes} bytes")
    return at[0]
