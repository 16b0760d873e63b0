from __future__ import annotations

import struct

import pytest

from testbed.kernel import shaper_messages
from testbed.kernel.attributes import attributes
from testbed.kernel.tc_options import Decoder, is_own_table

TCA_OPTIONS, OPTIONS_AT = 2, 36  # after the headers of netlink and of traffic control


def options(message: bytes) -> bytes:
    return attributes(bytes(message), OPTIONS_AT)[TCA_OPTIONS]


@pytest.mark.parametrize("rate", [1, 10_000_000, 2**32 - 1, 2**32, 50_000_000_000])
def test_a_class_decodes_to_what_was_encoded(rate: int) -> None:
    small = min(rate, 2**32 - 1)
    message = shaper_messages.htb_class().fill(
        1, 0x10010, 0x10001, small, small, 11, 12, 13, 5, rate, rate
    )
    contract, odd = Decoder().htb_class(options(message))
    assert contract == (rate * 8, rate * 8, 11, 12, 13, 5)
    assert odd == ()


def test_overhead_and_link_layer_are_odd() -> None:
    message = shaper_messages.htb_class().fill(1, 2, 3, 4, 4, 5, 6, 7, 0, 4, 4)
    changed = bytearray(options(message))
    struct.pack_into("=BBH", changed, 4, 0, 2, 14)  # cell_log, link layer ATM, overhead
    _, odd = Decoder().htb_class(bytes(changed))
    assert odd == ("overhead 14, least packet 0", "link layer 2")


def u32(keys: list[tuple[int, int, int]]) -> bytes:
    flat = [number for key in keys for number in key]
    return options(shaper_messages.u32(len(keys)).fill(1, 2, 3, 4, 0x10020, *flat))


def test_filters_decode_to_what_was_encoded() -> None:
    both = Decoder().u32(u32([(0x00FC0000, 0x00B80000, 0), (0xFFFFFF00, 0x0A400100, 12)]))
    assert both[:6] == (0xB8, 0xFC, 0x0A400100, 0xFFFFFF00, 0x10020, None)
    assert both.odd == ()
    everything = Decoder().u32(u32([]))
    assert everything[:6] == (0, 0, 0, 0, 0x10020, None)


@pytest.mark.parametrize(
    "key",
    [(0xFF000000, 0x45000000, 0), (0xFFFF0000, 0, 4), (0xFFFFFFFF, 0x0A000001, 16)],
    ids=["version", "identification", "destination"],
)
def test_matches_that_no_plan_asks_for_are_odd(key: tuple[int, int, int]) -> None:
    assert len(Decoder().u32(u32([key])).odd) == 1


def test_a_redirect_is_decoded() -> None:
    match = Decoder().u32(options(shaper_messages.redirect().fill(1, 2, 777)))
    assert (match.target, match.odd) == (777, ())


def test_a_mirror_is_no_redirect() -> None:
    message = bytearray(options(shaper_messages.redirect().fill(1, 2, 777)))
    at = message.index(struct.pack("=II", 1, 777))  # eaction, device
    struct.pack_into("=I", message, at, 2)  # TCA_EGRESS_MIRROR
    match = Decoder().u32(bytes(message))
    assert match.target is None
    assert match.odd == ("an action that is no plain redirect",)


def test_equal_options_are_decoded_once() -> None:
    decoder = Decoder()
    assert decoder.u32(u32([])) is decoder.u32(u32([]))


def test_the_table_of_a_classifier_is_told_from_others() -> None:
    own = struct.pack("=HHI", 8, 4, 1)
    assert is_own_table(own)
    assert not is_own_table(struct.pack("=HHI", 8, 4, 256))
    assert not is_own_table(u32([]))
