"""Agents of different names on one bus: one drives it, the others say that they stand by. In virtual time."""

from __future__ import annotations

import platform
from typing import Any

import anyio
import pytest
import trio.testing

from kvagents.framework.buses import local_bus, network_bus
from kvagents.framework.claim import Claim, Terms
from kvagents.framework.keeper import Process
from kvnode.client import ABSENT
from kvnode.core.path import Path
from tests.unit.kvagents.fake_kv import FakeKv
from tests.unit.kvagents.toy import Toy, running

pytestmark = pytest.mark.anyio

ONE, TWO = Process("one", 1), Process("two", 1)
BUS = "@.buses.bus.x"
UNSAFE = Terms(lease_s=30, two_holders="unsafe")


@pytest.fixture
def anyio_backend() -> Any:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


def tree() -> FakeKv:
    return FakeKv(
        {"agent.toy.t.a": {"says": "bus x"}, "agent.toy.u.b": {"says": "bus x"}, "agent.toy.u.c": {"says": "hi"}}
    )


def runs(toy: Toy, name: str) -> bool:
    return [what for _, what, who in toy.log if who == name][-1:] == ["start"]


async def test_the_second_agent_stands_by_says_so_and_takes_over():
    kv, toy, other = tree(), Toy(), Toy()
    async with running(kv, toy, process=ONE):
        await anyio.sleep(1)
        async with running(kv, other, "u", process=TWO):
            await anyio.sleep(1.5)
            assert kv.at("@.errors.toy.u.b") is None, "it may only take a moment"
            await anyio.sleep(1)
            assert (runs(toy, "a"), runs(other, "b"), runs(other, "c")) == (True, False, True)
            record = kv.at("@.errors.toy.u.b")
            assert (record["code"], record["message"]) == ("claimed", "standing by: bus.x is driven by toy/t")
            await anyio.sleep(100)
            assert kv.at("@.errors.toy.u.b")["count"] == 1
            kv.put("agent.toy.t.a", {"says": "bus y"})
            await anyio.sleep(1)
            assert (runs(toy, "a"), runs(other, "b")) == (True, True)
            assert toy.tokens[-1] == 1
            assert other.tokens == [1, 2], "that of the agent, that of the bus"
            await anyio.sleep(6)
            assert kv.at("@.errors.toy.u.b")["resolved"] is not None
        assert kv.at(BUS)["released"]
    assert kv.at("@.buses.bus.y")["released"]


async def test_bindings_of_one_agent_share_a_bus_and_give_it_up_with_the_last():
    kv, toy = FakeKv({"agent.toy.t.a": {"says": "bus x"}, "agent.toy.t.b": {"says": "bus x"}}), Toy()
    async with running(kv, toy):
        await anyio.sleep(1)
        assert runs(toy, "a")
        assert runs(toy, "b")
        kv.put("agent.toy.t.a", ABSENT)
        await anyio.sleep(1)
        assert runs(toy, "b")
        assert not kv.at(BUS)["released"]
        kv.put("agent.toy.t.b", ABSENT)
        await anyio.sleep(1)
        assert kv.at(BUS)["released"]


async def test_two_agents_of_one_process_respect_each_other():
    kv, toy, other = tree(), Toy(), Toy()
    async with running(kv, toy), running(kv, other, "u"):
        await anyio.sleep(100)
        assert runs(toy, "a") != runs(other, "b")
        assert kv.at(BUS)["token"] == 1


async def test_another_instance_has_the_buses_of_a_dead_one_together_with_its_claim():
    kv, toy, other = tree(), Toy(), Toy()
    async with running(kv, other, process=TWO):
        await anyio.sleep(1)
        assert runs(other, "a")
        claims = {path: kv.at(path) for path in ("@.claims.toy.t", BUS)}
    # As a machine leaves them that loses its power:
    for path, claim in claims.items():
        kv.put(path, claim)
    async with running(kv, toy, process=ONE):
        await anyio.sleep(29)
        assert not runs(toy, "a")
        await anyio.sleep(2)
        assert runs(toy, "a"), "one lease after the last sign of life, not two"


@pytest.mark.parametrize(("terms", "goes_on"), [(Terms(), True), (UNSAFE, False)])
async def test_without_a_node_a_bus_is_driven_on_only_where_two_do_no_harm(terms: Terms, goes_on: bool):
    kv, toy = tree(), Toy()
    async with running(kv, toy, terms=terms):
        await anyio.sleep(1)
        kv.away = True
        await anyio.sleep(32)
        assert runs(toy, "a") is goes_on
        kv.away = False
        await anyio.sleep(10)
        assert runs(toy, "a")


async def test_one_that_loses_the_bus_stops_and_stands_by():
    kv, toy = tree(), Toy()
    async with running(kv, toy):
        await anyio.sleep(1)
        mine = kv.at(BUS)
        kv.put(BUS, {**mine, "session": "other", "host": "other", "token": 9, "holder": "toy/u"})
        await anyio.sleep(3)
        assert not runs(toy, "a")
        assert kv.at("@.errors.toy.t.a")["message"] == "standing by: bus.x is driven by toy/u"
        other = Claim.from_value(kv.at(BUS))
        assert other is not None
        kv.put(BUS, {**other.value(), "released": True})
        await anyio.sleep(1)
        assert runs(toy, "a")
        assert kv.at(BUS)["token"] == 10


async def test_a_kind_that_cannot_name_its_bus_breaks_nothing_else(monkeypatch: pytest.MonkeyPatch):
    kv, toy = tree(), Toy()

    def broken(spec: str) -> Path | None:
        raise ZeroDivisionError("in bus")

    monkeypatch.setattr(toy, "bus", broken)
    async with running(kv, toy):
        await anyio.sleep(1)
        assert kv.at("@.errors.toy.t")["message"] == "agent.toy.t: ZeroDivisionError: in bus"
        monkeypatch.undo()
        kv.put("agent.toy.t.a", {"says": "bus z"})
        await anyio.sleep(1)
        assert runs(toy, "a")


def test_the_names_of_buses():
    here = platform.node().lower()
    assert network_bus("Attic.LAN.", 4304) == Path(("tcp", "attic.lan", 4304))
    for name in ("localhost", "127.0.0.1", "127.1.2.3", "::1", here.upper()):
        assert network_bus(name, 1) == Path(("tcp", here, 1)), "not that of another machine"
    assert network_bus("10.0.0.1", 1) == Path(("tcp", "10.0.0.1", 1))
    assert local_bus("/dev/../dev/null") == Path(("device", here, "/dev/null"))
