"""The emulated sensors and the bus master on which a real owserver is put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom, crc8
from kvagents.onewire.testing.ha7e import Ha7e

DS18B20 = Rom.parse("28.67452301EF00")
DS18S20 = Rom.parse("10.67452301EF01")
READ = b"\xbe" + b"\xff" * 9


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def measured(rom: Rom, celsius: float) -> bytes:
    clock = Clock()
    sensor = Sensor(rom, lambda: celsius, clock)
    sensor.command(b"\x44")
    clock.now = 1.0
    return sensor.command(READ)[1:]


# The table "temperature / data relationship" of the DS18B20 data sheet.
@pytest.mark.parametrize(
    ("celsius", "register"),
    [(125.0, 0x07D0), (85.0, 0x0550), (25.0625, 0x0191), (0.0, 0x0000), (-0.5, 0xFFF8), (-55.0, 0xFC90)],
)
def test_ds18b20_registers(celsius: float, register: int):
    pad = measured(DS18B20, celsius)
    assert int.from_bytes(pad[:2], "little") == register
    assert crc8(pad) == 0


@given(st.integers(-55 * 16, 125 * 16))
def test_ds18s20_gives_sixteenths_by_the_formula_of_its_data_sheet(sixteenths: int):
    pad = measured(DS18S20, sixteenths / 16)
    raw = int.from_bytes(pad[:2], "little", signed=True)
    assert (raw >> 1) - 0.25 + (pad[7] - pad[6]) / pad[7] == sixteenths / 16
    assert 0 <= pad[6] <= 255
    assert crc8(pad) == 0


def test_a_conversion_takes_its_time_and_then_only_shows():
    clock = Clock()
    sensor = Sensor(DS18B20, lambda: 21.5, clock)
    sensor.command(b"\x44")
    clock.now = 0.74
    assert sensor.poll() == 0
    assert sensor.celsius == 85.0
    clock.now = 0.75
    assert sensor.poll() == 0xFF
    assert sensor.celsius == 21.5


def test_precision_survives_a_loss_of_power_only_when_copied():
    sensor = Sensor(DS18B20, lambda: 21.5, Clock())
    sensor.command(bytes.fromhex("4E4B461F"))
    assert sensor.bits == 9
    sensor.power_on()
    assert sensor.bits == 12
    sensor.command(bytes.fromhex("4E4B463F"))
    sensor.command(b"\x48")
    sensor.power_on()
    assert sensor.bits == 10


def test_the_adapter_lists_and_addresses():
    adapter = Ha7e([Sensor(DS18B20, lambda: 20.0, Clock()), Sensor(DS18S20, lambda: 20.0, Clock())])
    assert adapter.receive(b"R") == b"\r"
    assert adapter.receive(b"S") == b"E601EF0123456710\r"
    assert adapter.receive(b"s") == b"5D00EF0123456728\r"
    assert adapter.receive(b"s") == b"\r"
    assert adapter.receive(b"A5D00EF0123456728\r") == b"5D00EF0123456728\r"
    assert adapter.receive(b"W0ABEFFFFFFFFFFFFFFFFFF\r")[:6] == b"BE5005"
    adapter.unplug(DS18B20)
    assert adapter.receive(b"M") == b"5D00EF0123456728\r"
    assert adapter.receive(b"W0ABEFFFFFFFFFFFFFFFFFF\r") == b"BE" + b"FF" * 9 + b"\r"


def test_the_adapter_takes_commands_in_pieces():
    adapter = Ha7e([Sensor(DS18B20, lambda: 20.0, Clock())])
    answers = [adapter.receive(bytes([byte])) for byte in b"RA5D00EF0123456728\rW02B4FF\r"]
    assert b"".join(answers) == b"\r5D00EF0123456728\rB4FF\r"


def test_only_alarmed_devices_answer_the_conditional_search():
    clock = Clock()
    warm = Sensor(DS18B20, lambda: 72.0, clock)
    cold = Sensor(DS18S20, lambda: 20.0, clock)
    for sensor in (warm, cold):
        sensor.command(b"\x44")
    clock.now = 1.0
    adapter = Ha7e([warm, cold])
    assert adapter.receive(b"C") == b"E601EF0123456710\r"
    assert adapter.receive(b"c") == b"\r"


def test_a_dead_adapter_swallows():
    adapter = Ha7e([Sensor(DS18B20, lambda: 20.0, Clock())])
    adapter.dead = True
    assert adapter.receive(b"R") == b""
