"""The simulated owserver answers, byte for byte, like the real one on the same bus."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom
from tests.integration.onewire_counterparts import COLD, WARM, Counterpart, real, simulated

pytestmark = [pytest.mark.integration, pytest.mark.owserver]

HEADER = struct.Struct(">6i")
NOP, READ, WRITE, DIR, PRESENCE, DIRALL, GET, DIRALLSLASH, GETSLASH = 1, 2, 3, 4, 6, 7, 8, 9, 10
OWNET, ALL, PERSISTENT = 0x100, 0x2, 0x4
ANSWER_S = 30.0
CONVERSION_S = 0.75
Answer = tuple[int, int, int, int, bytes]


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Counterpart, Counterpart]]:
    with ExitStack() as stack:
        yield stack.enter_context(real()), stack.enter_context(simulated())


def ask(
    server: Counterpart, kind: int, payload: bytes = b"", *, flags: int = OWNET, size: int = 0, offset: int = 0
) -> list[Answer]:
    """All messages of one answer, without those that only say "still working"; the offset is not compared."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_S) as line:
        line.sendall(HEADER.pack(0, len(payload), kind, flags, size, offset) + payload)
        stream = line.makefile("rb")
        answers: list[Answer] = []
        while head := stream.read(HEADER.size):
            version, length, result, got_flags, got_size, _ = HEADER.unpack(head)
            if length >= 0:
                answers.append((version, result, got_flags, got_size, stream.read(length)))
            if flags & PERSISTENT and length >= 0:
                break
        return answers


def sensor(attribute: str) -> bytes:
    return f"/uncached/{WARM}/{attribute}\0".encode()


REQUESTS = {
    "nop": (NOP, b"", {}),
    "nop persistent": (NOP, b"", {"flags": OWNET | PERSISTENT}),
    "type 0": (0, b"/\0", {}),
    "type 5": (5, b"/\0", {}),
    "type 77": (77, b"/\0", {}),
    "root": (DIRALL, b"/\0", {}),
    "root with slashes": (DIRALLSLASH, b"/\0", {}),
    "root with all": (DIRALLSLASH, b"/\0", {"flags": OWNET | ALL}),
    "root by messages": (DIR, b"/\0", {}),
    "root by get": (GET, b"/\0", {}),
    "root by get with slashes": (GETSLASH, b"/\0", {}),
    "empty path": (DIRALL, b"\0", {}),
    "no payload": (DIRALL, b"", {}),
    "path without slash": (DIRALL, b"nonsense\0", {}),
    "uncached": (DIRALL, b"/uncached\0", {}),
    "bus": (DIRALL, b"/bus.0\0", {}),
    "uncached bus": (DIRALLSLASH, b"/uncached/bus.0\0", {"flags": OWNET | ALL}),
    "no such bus": (DIRALL, b"/bus.7\0", {}),
    "no such directory": (DIRALL, b"/foo\0", {}),
    "directory of an attribute": (DIRALL, sensor("type"), {}),
    "alarm": (DIRALL, b"/uncached/alarm\0", {}),
    "presence": (PRESENCE, f"/{WARM}\0".encode(), {}),
    "absence": (PRESENCE, b"/28.000000000099\0", {}),
    "presence of no device": (PRESENCE, b"/simultaneous\0", {}),
    "type": (READ, sensor("type"), {"size": 100}),
    "address": (READ, sensor("address"), {"size": 100}),
    "family": (READ, sensor("family"), {"size": 100}),
    "id": (READ, sensor("id"), {"size": 100}),
    "crc8": (READ, sensor("crc8"), {"size": 100}),
    "power": (READ, sensor("power"), {"size": 100}),
    "tempres": (READ, sensor("tempres"), {"size": 100}),
    "temphigh": (READ, sensor("temphigh"), {"size": 100}),
    "templow": (READ, sensor("templow"), {"size": 100}),
    "temperature": (READ, sensor("temperature"), {"size": 100}),
    "temperature of a DS18S20": (READ, f"/uncached/{COLD}/temperature\0".encode(), {"size": 100}),
    "latesttemp": (READ, sensor("latesttemp"), {"size": 100}),
    "read by get": (GET, sensor("type"), {"size": 100}),
    "a part": (READ, sensor("type"), {"size": 3, "offset": 2}),
    "the end": (READ, sensor("type"), {"size": 100, "offset": 5}),
    "nothing": (READ, sensor("type"), {"size": 0}),
    "unknown attribute": (READ, sensor("nonsense"), {"size": 100}),
    "unknown device": (READ, b"/28.000000000099/type\0", {"size": 100}),
    "read a directory": (READ, b"/uncached\0", {"size": 100}),
    "version": (READ, b"/system/configuration/version\0", {"size": 100}),
    "start a conversion": (WRITE, b"/simultaneous/temperature\0001", {"size": 1}),
    "start it by nonsense": (WRITE, b"/simultaneous/temperature\0x", {"size": 1}),
    "write what is read-only": (WRITE, sensor("type") + b"1", {"size": 1}),
    "write what is unknown": (WRITE, sensor("nonsense") + b"1", {"size": 1}),
    "write nonsense": (WRITE, sensor("tempres") + b"x", {"size": 1}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_equal_answers(both: tuple[Counterpart, Counterpart], name: str):
    kind, payload, more = REQUESTS[name]
    expected, got = (ask(server, kind, payload, **more) for server in both)
    assert got == expected


def test_precision_and_limits_are_written_alike(both: tuple[Counterpart, Counterpart]):
    told: list[list[bytes]] = []
    for server in both:
        rows: list[bytes] = []
        for attribute, value in (("tempres", b"10"), ("temphigh", b"30"), ("templow", b"-5"), ("tempres", b"12")):
            ask(server, WRITE, sensor(attribute) + value, size=len(value))
            rows += [ask(server, READ, sensor(a), size=100)[0][4] for a in ("tempres", "temphigh", "templow")]
            rows.append(ask(server, READ, sensor("temperature"), size=100)[0][4])
            rows.append(ask(server, DIRALL, b"/uncached/alarm\0")[0][4])
        told.append(rows)
    assert told[0] == told[1]


@pytest.mark.parametrize(("payload", "announced"), [(b"", -5), (b"", 1_000_000)])
def test_a_bad_header_closes_the_connection(both: tuple[Counterpart, Counterpart], payload: bytes, announced: int):
    for server in both:
        with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_S) as line:
            line.sendall(HEADER.pack(0, announced, READ, OWNET, 0, 0) + payload)
            assert line.recv(100) == b""


def test_a_conversion_is_waited_for_by_the_client(both: tuple[Counterpart, Counterpart]):
    """Starting one returns at once on both, though a sensor takes longer than we wait for an answer."""
    slow = Rom.parse("28.67452301EF99")
    for server in both:
        assert server.plug is not None
        assert server.unplug is not None
        server.plug(Sensor(slow, lambda: 1.0, time.monotonic, speed=CONVERSION_S / (2 * ANSWER_S)))
        ask(server, WRITE, b"/simultaneous/temperature\0001", size=1)
        server.unplug(slow)
