"""onewire scan and bind: a plug-in within kv."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from kvagents.onewire.chips_io import Switch2
from kvagents.onewire.model import Rom
from kvnode.core.path import Path
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient, reading
from tests.integration.onewire_counterparts import COLD, WARM, Counterpart, simulated

Kv = Callable[..., Result]

SWITCH = Rom.parse("3A.67452301EF11")
UNKNOWN = Rom.parse("01.67452301EF12")


@pytest.fixture
def bus() -> Iterator[Counterpart]:
    with simulated() as counterpart:
        assert counterpart.plug is not None
        counterpart.plug(Switch2(SWITCH))  # type: ignore[arg-type]  # made for thermometers
        unknown = Switch2(UNKNOWN)
        counterpart.plug(unknown)  # type: ignore[arg-type]
        yield counterpart


def test_scan(kv: Kv, bus: Counterpart) -> None:
    rows = {row["device"]: row for row in kv("onewire", "scan", "--server", bus.address, "--format", "json").json}
    assert rows[str(WARM)] == {
        "device": "28.67452301EF00",
        "bus": "/bus.0",
        "family": "28",
        "type": "DS18B20",
        "reads": ["temperature"],
        "sets": [],
        "path": "28:.67452301EF00",
        "entry": {"dest": "home.sensors.28:.67452301EF00"},
    }
    assert (rows[str(SWITCH)]["reads"], rows[str(SWITCH)]["sets"]) == (
        ["sensed.A", "sensed.B", "PIO.A", "PIO.B"],
        ["PIO.A", "PIO.B"],
    )
    assert (rows[str(UNKNOWN)]["type"], rows[str(UNKNOWN)]["entry"]) == ("unknown", None)
    lines = kv("onewire", "scan", "--server", bus.address, "--dest", "cellar").out.splitlines()
    assert lines[0].split() == ["DEVICE", "BUS", "TYPE", "READS", "SETS", "ENTRY"]
    assert any(line.split()[-1] == f"cellar.{Path([str(COLD)])}" for line in lines)
    bus.kill()
    gone = kv("onewire", "scan", "--server", bus.address)
    assert gone.code == 3
    assert gone.err == f"kv: owserver at {bus.address}: Connection refused; --server names another one\n"
    assert kv("onewire", "scan", "--server", "ow.lan:port").code == 2


def test_bind(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("agent.onewire.house", {"server": "ow.lan"}))
    done = kv("onewire", "bind", "house", "28.67452301EF00", "home.attic.temp", "--interval", "2", "--format", "jsonl")
    assert done.lines == [
        {
            "path": "agent.onewire.house.28:.67452301EF00",
            "value": {"dest": "home.attic.temp", "interval": 2.0},
        }
    ]
    assert fake.entries[Path.parse("agent.onewire.house.28:.67452301EF00")].value["dest"] == "home.attic.temp"
    assert kv("onewire", "bind", "house", "28.67452301EF01", "home.cellar", "--name", "cellar.wine").err == ""
    assert fake.entries[Path.parse("agent.onewire.house.cellar.wine")].value == {
        "dest": "home.cellar",
        "device": "28.67452301EF01",
    }
    kv("onewire", "bind", "house", "3A.67452301EF11", "h.on", "--attr", "PIO.B", "--src", "h.set")
    assert fake.entries[Path.parse("agent.onewire.house.3A:.67452301EF11.PIO:.B")].value == {
        "dest": "h.on",
        "device": "3A.67452301EF11",
        "attr": "PIO.B",
        "src": "h.set",
    }
    again = kv("onewire", "bind", "house", "28.67452301EF00", "home.attic.air")
    assert again.code == 0
    assert fake.calls[-1][3]["expect"], "what was there was read before"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("28.67452301EF", "home.x"), "is no 1-Wire device id"),
        (("3A.67452301EF11", "home.x", "--attr", "PIO.7"), "has no 'PIO.7'"),
        (("3A.67452301EF11", "home.x", "--attr", "sensed.A", "--src", "s"), "cannot be set"),
        (("01.67452301EF00", "home.x"), "devices of family 01 cannot be read"),
        (("28.67452301EF00", "home.taken"), "home.taken is the dest of agent.onewire.house"),
        (("28.67452301EF00", "home.x", "--interval", "0"), "expected seconds, from 0.1 to 86400"),
    ],
)
def test_what_would_be_wrong_is_not_written(kv: Kv, fake: FakeClient, args: tuple[str, ...], complaint: str) -> None:
    fake.put(reading("agent.onewire.house.a", {"device": "10.67452301EF01", "dest": "home.taken"}))
    done = kv("onewire", "bind", "house", *args)
    assert done.code == 2
    assert complaint in done.err
    assert not any(call[0] == "set" for call in fake.calls)
