"""Ids, readings, what is believed and what is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.onewire.model import (
    FAMILIES,
    ReadingError,
    Rom,
    RomError,
    What,
    crc8,
    crc16,
    is_power_on_value,
    is_readable,
    parse_temperature,
    parse_value,
)

roms = st.builds(Rom, st.integers(0, 255), st.binary(min_size=6, max_size=6))


def test_crc_of_the_data_sheet():
    # Maxim application note 27 works this example: ROM 02 1C B8 01 00 00 00 has checksum A2.
    assert crc8(bytes.fromhex("021CB801000000")) == 0xA2
    assert crc8(bytes.fromhex("021CB801000000A2")) == 0


@pytest.mark.parametrize(
    "text", ["28.67452301EF00", "28.67452301ef00", "28.67452301EF00.5D", "2867452301EF005D", "2867452301ef005d"]
)
def test_an_id_in_all_its_forms(text: str):
    rom = Rom.parse(text)
    assert str(rom) == "28.67452301EF00"
    assert rom.wire.hex() == "2867452301ef005d"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("28.67452301EF", "no 1-Wire device id"),
        ("", "no 1-Wire device id"),
        ("28.67452301EF00\n", "no 1-Wire device id"),
        ("28.67452301EF00.00", "should be 5D"),
        ("cellar", "looks like 28.67452301EF00"),
    ],
)
def test_what_is_no_id(text: str, complaint: str):
    with pytest.raises(RomError, match=complaint):
        Rom.parse(text)


@given(roms)
def test_an_id_survives_its_text(rom: Rom):
    assert Rom.parse(str(rom)) == rom
    assert Rom.parse(rom.wire.hex()) == rom
    assert crc8(rom.wire) == 0


def test_what_can_be_read():
    assert is_readable(Rom.parse("10.67452301EF00"))
    assert is_readable(Rom.parse("29.67452301EF00"))
    assert not is_readable(Rom.parse("1F.67452301EF00")), "a hub has branches only"
    assert not is_readable(Rom.parse("01.67452301EF00"))


def test_families_and_their_quantities():
    switch = FAMILIES[0x29]
    assert [q.name for q in switch.quantities if q.writable] == [f"PIO.{n}" for n in range(8)]
    assert switch.quantity("latch.7") is not None
    assert switch.quantity("PIO.8") is None
    hub_bit = FAMILIES[0xEF].quantity("hub/branch.2")
    assert hub_bit is not None
    assert str(hub_bit.below) == "hub.branch.2"
    assert all(code == family.code for code, family in FAMILIES.items())


@pytest.mark.parametrize(
    ("what", "raw", "value"),
    [
        (What.SWITCH, b"1", True),
        (What.SWITCH, b" 0", False),
        (What.COUNT, b"     4294967295", 4294967295),
        (What.HUMIDITY, b"   45.25", 45.25),
        (What.VOLTAGE, b"4.98", 4.98),
        (What.TEMPERATURE, b"21.5", 21.5),
    ],
)
def test_values_of_all_kinds(what: What, raw: bytes, value: object):
    got = parse_value(what, raw)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("what", "raw"),
    [
        (What.SWITCH, b"2"),
        (What.SWITCH, b""),
        (What.COUNT, b"-1"),
        (What.COUNT, b"1.5"),
        (What.HUMIDITY, b"300"),
        (What.HUMIDITY, b"nan"),
        (What.VOLTAGE, b"wet"),
        (What.TEMPERATURE, b"300"),
    ],
)
def test_what_cannot_be_true(what: What, raw: bytes):
    with pytest.raises(ReadingError):
        parse_value(what, raw)


def test_crc16_of_the_data_sheet():
    # Maxim application note 27: the CRC16 of "123456789" with this polynomial and a start of 0 is BB3D.
    assert crc16(b"123456789") == 0xBB3D


@pytest.mark.parametrize(
    ("raw", "value"), [(b"     21.4375", 21.4375), (b"          -0", 0.0), (b"-55", -55.0), (b"125", 125.0)]
)
def test_readings(raw: bytes, value: float):
    assert parse_temperature(raw) == value
    assert str(parse_temperature(raw)) == str(value)


@pytest.mark.parametrize("raw", [b"", b"abc", b"nan", b"inf", b"-55.0625", b"127.9375", b"\xff\xff", b"1 2"])
def test_what_is_no_reading(raw: bytes):
    with pytest.raises(ReadingError):
        parse_temperature(raw)


def test_the_power_on_value_is_believed_only_near_85():
    assert is_power_on_value(85.0, None)
    assert is_power_on_value(85.0, 21.0)
    assert not is_power_on_value(85.0, 84.5)
    assert not is_power_on_value(84.9375, None)
    assert not is_power_on_value(21.0, 85.0)
