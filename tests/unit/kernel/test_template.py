from __future__ import annotations

import struct

import pytest

from testbed.kernel import messages, shaper_messages
from testbed.kernel.template import Template, address, device_name, integer, mac


def test_filling_in_gives_what_encoding_gives() -> None:
    def encode(index: int, flag: int, wide: int) -> bytes:
        return struct.pack("=IxBxxxQ", index, flag, wide)

    template = Template(encode, [integer("index"), integer("flag", "=B"), integer("wide", "=Q")])
    for values in ((0, 0, 0), (2**32 - 1, 255, 2**64 - 1), (7, 1, 2**40)):
        assert template.fill(*values) == encode(*values)


def test_messages_of_one_template_are_apart() -> None:
    template = Template(lambda number: struct.pack("=I", number), [integer("number")])
    first, second = template.fill(1), template.fill(2)
    assert (first, second) == (struct.pack("=I", 1), struct.pack("=I", 2))


@pytest.mark.parametrize(
    "encode",
    [
        lambda number: b"constant",
        lambda number: struct.pack("=II", number, number),
        lambda number: struct.pack(">I", number),
        lambda number: str(number).encode(),
        lambda number: bytes([number & 255]),
    ],
    ids=["nowhere", "twice", "byte order", "other length", "other size"],
)
def test_a_field_that_is_not_in_one_place_is_refused(encode: object) -> None:
    with pytest.raises(ValueError, match="number"):
        Template(encode, [integer("number")])  # type: ignore[arg-type]


def test_a_wrong_number_of_values_is_refused() -> None:
    template = Template(lambda number: struct.pack("=I", number), [integer("number")])
    with pytest.raises(ValueError):
        template.fill()
    with pytest.raises(ValueError):
        template.fill(1, 2)


def test_names_and_addresses_are_filled_in_as_bytes() -> None:
    def encode(name: bytes, ether: bytes, ip: bytes) -> bytes:
        return name + b"\0" + ether + ip

    template = Template(encode, [device_name("name"), mac("ether"), address("ip")])
    made = template.fill(b"pe0", b"\x02\0\x0a\0\0\1", b"\x0a\0\0\1")
    assert made == b"pe0".ljust(16, b"\0") + b"\x02\0\x0a\0\0\1" + b"\x0a\0\0\1"


@pytest.mark.parametrize(
    "make",
    [
        messages.veth, messages.ifb, messages.bridge, messages.master, messages.port, messages.up,
        messages.get_link,
        messages.ipv4_address, messages.route, messages.rule, messages.neighbour,
        messages.fdb_entry, shaper_messages.htb, shaper_messages.htb_class,
        shaper_messages.leaf_queue, shaper_messages.clsact, shaper_messages.redirect,
        lambda: shaper_messages.u32(0), lambda: shaper_messages.u32(1),
        lambda: shaper_messages.u32(2),
    ],
)  # fmt: skip
def test_every_message_states_its_length_and_can_follow_another(make: object) -> None:
    template = make()  # type: ignore[operator]
    blank = template._blank
    assert struct.unpack_from("=I", blank) == (len(blank),)
    assert len(blank) % 4 == 0
