"""From entries to servers and devices, and what is said about entries that cannot be right."""

from __future__ import annotations

from typing import Any

import pytest

from kvagents.framework.check import Checker, resolved
from kvagents.framework.config import Config, Plan
from kvagents.framework.filter import Filter
from kvagents.onewire.config import DevicePlan, ServerPlan, Settings, parse_server, plan
from kvagents.onewire.model import Rom
from kvnode.core.path import Path
from kvnode.data.schemas import read_schema

ROOT = Path.parse("agent.onewire.attic")
ID = "28.67452301EF00"
ROM = Rom.parse(ID)
PINS = ("sensed.A", "sensed.B", "PIO.A", "PIO.B")
CHECKER = Checker("agent-onewire")


def planned(entries: dict[str, Any]) -> Plan[ServerPlan]:
    """Plan for entries given by what comes after the root; the empty text is the root itself."""
    return plan(Config(ROOT, {Path.parse(f"{ROOT}.{k}") if k else ROOT: v for k, v in entries.items()}), CHECKER)


def problems(entries: dict[str, Any]) -> list[str]:
    return [str(p) for p in planned(entries).problems]


def test_the_smallest_configuration_reads_all_sensors():
    found = planned({"": {"dest": "home.sensors"}})
    assert found.problems == ()
    assert found.bindings == {ROOT: ServerPlan("127.0.0.1", 4304, base=Path.parse("home.sensors"))}


def test_an_automatic_device_goes_below_the_base_under_its_id():
    server = planned({"": {"dest": "home", "interval": 9}}).bindings[ROOT]
    (device,) = server.automatic(ROOT, ROM)
    assert device == DevicePlan(ROOT / ID, ROM, Path(("home", ID)), Settings(interval_s=9))
    assert str(device.dest) == "home.28:.67452301EF00"
    assert server.automatic(ROOT, Rom.parse("01.67452301EF00")) == []
    pins = server.automatic(ROOT, Rom.parse("3A.67452301EF00"))
    assert [str(p.dest) for p in pins] == [f"home.3A:.67452301EF00.{q}" for q in PINS]
    assert [str(p.path)[len(str(ROOT)) + 1 :] for p in pins] == [f"3A:.67452301EF00.{q}" for q in PINS]


def test_a_switch_in_all_its_parts():
    found = planned(
        {
            "": {"dest": "home"},
            "io": {"device": "3A.67452301EF00", "dest": "home.io"},
            "io.pump": {
                "attr": "PIO.B",
                "dest": "home.pump.now",
                "src": "home.pump.set",
                "state": "home.pump.is",
                "table": {"true": "on", "false": "off"},
                "fail_safe": "off",
            },
        }
    )
    assert found.problems == ()
    (server,) = found.bindings.values()
    by_name = {d.quantity.name: d for d in server.devices}
    assert {name: str(d.dest) for name, d in by_name.items()} == {
        "sensed.A": "home.io.sensed.A",
        "sensed.B": "home.io.sensed.B",
        "PIO.A": "home.io.PIO.A",
        "PIO.B": "home.pump.now",
    }
    pump = by_name["PIO.B"].output
    assert pump is not None
    assert (str(pump.src), str(pump.state), pump.rules.fail_safe) == ("home.pump.set", "home.pump.is", "off")
    assert pump.converter.to_device("on") is True
    assert by_name["PIO.B"].converter.to_tree(False) == "off"
    assert by_name["PIO.A"].output is None


def test_commands_for_all_pins_of_a_switch():
    found = planned({"": {}, "3A:.67452301EF00": {"src": "home.set", "state": "home.is"}})
    assert found.problems == ()
    (server,) = found.bindings.values()
    outputs = {d.quantity.name: str(d.output.src) for d in server.devices if d.output is not None}
    assert outputs == {"PIO.A": "home.set.PIO.A", "PIO.B": "home.set.PIO.B"}


def test_devices_inherit_and_override():
    found = planned(
        {
            "": {"server": "ow.lan", "interval": 10, "precision": 12, "delta": 0.1, "heartbeat": 60, "rescan": 7},
            "28:.67452301EF00": {"dest": "home.attic.temp", "precision": 9},
            "cellar": {"dest": "home.cellar", "interval": 60},
            "cellar.10:.67452301EF01": {},
            "cellar.wine": {"device": "28.67452301EF02", "dest": Path.parse("home.wine")},
        }
    )
    assert found.problems == ()
    (server,) = found.bindings.values()
    assert (server.host, server.port, server.rescan_s, server.base) == ("ow.lan", 4304, 7, None)
    by_name = {str(d.dest): (d.rom, d.settings) for d in server.devices}
    limit = Filter(0.1, 60)
    assert by_name == {
        "home.attic.temp": (ROM, Settings(10, 9, limit)),
        "home.cellar.10:.67452301EF01": (Rom.parse("10.67452301EF01"), Settings(60, 12, limit)),
        "home.wine": (Rom.parse("28.67452301EF02"), Settings(60, 12, limit)),
    }


def test_several_servers():
    found = planned(
        {
            "": {"interval": 10},
            "a": {"server": "a.lan", "dest": "home.a"},
            "b": {"server": "[::1]:4305"},
            "b.28:.67452301EF00": {"dest": "home.b"},
        }
    )
    assert found.problems == ()
    assert {str(p): (s.host, s.port, len(s.devices)) for p, s in found.bindings.items()} == {
        "agent.onewire.attic.a": ("a.lan", 4304, 0),
        "agent.onewire.attic.b": ("::1", 4305, 1),
    }
    assert all(s.settings.interval_s == 10 for s in found.bindings.values())


def test_a_device_may_name_its_own_server():
    found = planned({"": {"dest": "home"}, "x": {"server": "x.lan", "device": ID, "dest": "home.x"}})
    assert found.problems == ()
    (server,) = found.bindings.values()
    assert (server.host, server.base) == ("x.lan", None)
    assert [d.dest for d in server.devices] == [Path.parse("home.x")]


def test_what_is_left_out():
    found = planned({"": {"dest": "home"}, "28:.67452301EF00": {"enabled": False}})
    assert found.problems == ()
    (server,) = found.bindings.values()
    assert server.devices == ()
    assert server.automatic(ROOT, ROM) == []
    assert len(server.automatic(ROOT, Rom.parse("28.67452301EF09"))) == 1
    assert planned({"": {"dest": "home", "enabled": False}}).bindings == {}


def test_equal_entries_give_equal_plans():
    entries = {"": {"dest": "home", "server": "ow.lan:1"}, "28:.67452301EF00": {"dest": "a.b"}}
    assert planned(entries) == planned(dict(reversed(entries.items())))


# -- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"": {"dest": "h", "interval": "fast"}}, "interval: expected seconds, from 0.1 to 86400, not 'fast'"),
        ({"": {"dest": "h", "interval": 0}}, "interval: expected seconds, from 0.1 to 86400, not 0"),
        ({"": {"dest": "h", "interval": float("nan")}}, "interval: expected seconds, from 0.1 to 86400, not nan"),
        ({"": {"dest": "h", "interval": True}}, "interval: expected seconds, from 0.1 to 86400, not True"),
        ({"": {"dest": "h", "precision": 13}}, "precision: expected 9, 10, 11 or 12, not 13"),
        ({"": {"dest": "h", "server": 7}}, "server: expected HOST, HOST:PORT or [IPV6]:PORT, such as 127.0.0.1:4304"),
        ({"": {"dest": "h", "server": "a:99999"}}, "server: expected HOST, HOST:PORT or [IPV6]:PORT"),
        ({"": {"dest": ""}}, "dest: expected a path, such as home.attic.temp, not ''"),
        ({"": {"dest": "a..b"}}, "dest: empty element in 'a..b'"),
        ({"": {"destination": "h"}}, "destination: unknown key; known are alarm, attr, command_age,"),
        ({"": "text"}, "agent.onewire.attic: expected a map of attributes, not 'text'"),
        ({"": None}, "agent.onewire.attic: expected a map of attributes, not None"),
        ({"": {}}, "dest: there is nothing to read"),
        ({"": {"server": "a"}}, "dest: there is nothing to read"),
        ({"": {}, "28:.67452301EF00": {}}, "28:.67452301EF00: dest: there is no path to write to"),
        ({"": {"dest": "h"}, "28:.67452301EF": {}}, "28:.67452301EF: '28.67452301EF' is no 1-Wire device id"),
        (
            {"": {"dest": "h"}, "x": {"device": "28.67452301EF00.00"}},
            "x: device: '28.67452301EF00.00' ends with",
        ),
        ({"": {"dest": "h"}, "x": {"device": "nonsense"}}, "x: device: expected a 1-Wire device id, such as"),
        (
            {"": {"dest": "h"}, "01:.67452301EF00": {}},
            "devices of family 01 cannot be read; known are 05 (DS2405), 10",
        ),
        ({"": {"dest": "h"}, "x": {"attr": "PIO.A"}}, "x: attr: there is no device to which this belongs"),
        (
            {"": {"dest": "h"}, "x": {"device": "3A.67452301EF00", "attr": "PIO.7"}},
            "x: attr: a DS2413 has no 'PIO.7'; it has sensed.A, sensed.B, PIO.A, PIO.B",
        ),
        (
            {"": {"dest": "h"}, "x": {"device": "3A.67452301EF00", "attr": "sensed.A", "src": "s"}},
            "x: src: sensed.A of a DS2413 cannot be set",
        ),
        ({"": {"dest": "h"}, "x": {"device": ID, "expr": "value +"}}, "x: expr: 'value +' is no expression"),
        ({"": {"dest": "h"}, "x": {"device": ID, "low": 1.5}}, "x: low: expected whole degrees"),
        ({"": {"dest": "h", "alarm": 0}}, "alarm: expected seconds, from 0.05 to 86400, not 0"),
        ({"": {"dest": "h"}, "x": {"interval": 5}}, "x: this entry is neither a device nor a server"),
        ({"": {"dest": "h"}, "x": {"device": ID}, "y": {"device": ID}}, f"y: {ID} temperature is configured at"),
        (
            {"": {}, "x": {"device": ID, "dest": "a"}, "y": {"device": "28.67452301EF01", "dest": "a"}},
            "y: dest: a is the dest of agent.onewire.attic.x already",
        ),
    ],
)
def test_each_mistake_is_one_line_that_names_path_and_key(entries: dict[str, Any], complaint: str):
    found = problems(entries)
    assert len(found) == 1
    assert found[0].startswith("agent.onewire.attic")
    assert complaint in found[0]
    assert "\n" not in found[0]


def test_nothing_configured_is_said_with_an_example():
    (problem,) = planned({}).problems
    assert problem.code == "not_configured"
    assert '"server"' in problem.message


def test_a_mistake_in_one_device_leaves_the_others():
    found = planned({"": {"dest": "h"}, "28:.67452301EF00": {"precision": 99}, "28:.67452301EF01": {"dest": "x"}})
    assert [str(p.path) for p in found.problems] == ["agent.onewire.attic.28:.67452301EF00"]
    (server,) = found.bindings.values()
    assert [d.dest for d in server.devices] == [Path.parse("x")]


def test_a_mistake_above_stops_what_inherits_it_and_is_told_once():
    found = planned({"": {"dest": "h", "interval": "fast"}, "28:.67452301EF00": {"dest": "x"}})
    assert len(found.problems) == 1
    assert found.bindings == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ow", ("ow", 4304)), ("ow:1", ("ow", 1)), ("[::1]", ("::1", 4304)), ("[fe80::1%eth0]:7", ("fe80::1%eth0", 7))],
)
def test_server_addresses(text: str, expected: tuple[str, int]):
    assert parse_server(text) == expected


def test_the_schema_gives_the_defaults_that_the_code_uses():
    properties = read_schema("agent-onewire")["properties"]
    server = planned({"": {"dest": "h"}}).bindings[ROOT]
    assert parse_server(properties["server"]["default"]) == (server.host, server.port)
    assert properties["interval"]["default"] == server.settings.interval_s
    assert properties["rescan"]["default"] == server.rescan_s
    shared = resolved(read_schema("agent-onewire"))["properties"]
    assert shared["delta"]["default"] == server.settings.filter.delta
    assert shared["heartbeat"]["default"] == server.settings.filter.heartbeat_s
    for name, rules in shared.items():
        assert rules["description"].endswith("."), name
        assert rules["x-expected"], name
