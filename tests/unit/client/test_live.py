"""The live mirror: complete at once, typed, its own writes visible, whole again after a broken connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
import msgspec
import pytest

from kvnode.client import ABSENT, Client, Closed, Put, Refused, Unavailable, Unfit, connect
from kvnode.client import protocol as p
from kvnode.core.path import Path
from kvnode.testing.inprocess import eventually, running_node
from kvnode.testing.served import FAST, ScriptedNode, ServedNode, scripted, served_client
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio


@dataclass
class Lamp:
    on: bool
    level: int = 100


class Event(msgspec.Struct):
    time: datetime
    data: bytes


class Room(msgspec.Struct):
    temp: float
    lamp: Lamp


class Range(msgspec.Struct):
    low: float
    high: float


async def test_it_is_complete_when_it_is_entered() -> None:
    async with served_client() as (_, kv):
        await kv.batch([Put(f"home.:{n}", n) for n in range(300)])
        await kv.set("elsewhere", 1)
        async with kv.mirror("home") as home:
            assert len(home) == 300
            assert [(path[-1], value) for path, value in home.items()] == [(n, n) for n in range(300)]
            assert ("home.:7" in home, "elsewhere" in home, home.get("elsewhere", 5)) == (True, False, 5)
            assert home.reading("home.:7").node == "a"
            with pytest.raises(KeyError):
                home["home.none"]


@pytest.mark.parametrize("ack", ["memory", "disk"])
async def test_its_own_writes_are_visible_when_they_return(ack: str) -> None:
    async with served_client() as (_, kv), kv.mirror("home") as home:
        for n in range(50):
            await home.set("home.x", n, ack=ack)
            assert home["home.x"] == n
        await home.set("home.x", 49, if_changed=True)
        await home.delete("home.x", ack=ack)
        assert "home.x" not in home
        await home.set("home.x", 1, ack=ack)
        assert home["home.x"] == 1


async def test_writes_of_many_tasks_at_one_path_all_return() -> None:
    async with served_client() as (_, kv), kv.mirror("x") as mirror:

        async def write(n: int) -> None:
            await mirror.set("x", n)
            if n % 3 == 0:
                await mirror.delete("x")

        async with anyio.create_task_group() as tasks:
            for n in range(30):
                tasks.start_soon(write, n)
        reading = await kv.get("x") if "x" in mirror else None
        assert (reading and reading.value) == mirror.get("x")


async def test_values_have_the_type_that_was_asked_for() -> None:
    async with served_client() as (_, kv):
        await kv.set("lamps.hall", {"on": True, "level": 40})
        await kv.set("lamps.broken", "bright")
        async with kv.mirror("lamps", type=Lamp) as lamps:
            assert lamps["lamps.hall"] == Lamp(True, 40)
            await lamps.set("lamps.stairs", Lamp(False))
            assert lamps["lamps.stairs"] == Lamp(False)
            assert (await kv.get("lamps.stairs")).value == {"on": False, "level": 100}
            with pytest.raises(Refused, match=r"lamps\.broken: expected `object`, got `str`"):
                lamps["lamps.broken"]
            assert [value for _, value in lamps.items() if isinstance(value, Unfit)] == [
                Unfit("bright", "expected `object`, got `str`")
            ]
        async with kv.mirror(type=Range) as ranges:
            await ranges.set("limits.x", Range(1, 2))
            assert ranges["limits.x"] == Range(1, 2)
        async with kv.mirror("limits", type=float) as numbers:
            await numbers.set("limits.y", 3)
            assert isinstance(numbers["limits.y"], float)


async def test_what_is_not_of_the_type_is_not_written() -> None:
    async with served_client() as (_, kv), kv.mirror("home", type=float) as home:
        with pytest.raises(Refused, match=r"home\.x: expected `float`, got `str`"):
            await home.set("home.x", "warm")  # type: ignore[arg-type]  # that is the point
        with pytest.raises(Refused, match=r"home\.x: "):
            await home.set("home.x", object())  # type: ignore[arg-type]
        assert "home.x" not in home
    async with served_client() as (_, kv), kv.mirror("at", type=Event) as events:
        event = Event(datetime(2026, 1, 1, tzinfo=UTC), b"\x00")
        await events.set("at.x", event)
        assert events["at.x"] == event
        assert (await kv.get("at.x")).value == {"time": event.time, "data": b"\x00"}, "times stay times"
    async with served_client() as (_, kv), kv.mirror("way", type=Path) as ways:
        await ways.set("way.x", Path.parse("a.b"))
        assert ways["way.x"] == (await kv.get("way.x")).value == Path.parse("a.b")
        assert isinstance((await kv.get("way.x")).value, Path)


async def test_types_by_pattern() -> None:
    types = {"home.#": str, "home.+.temp": float, "home.attic.temp": int, "home.+.lamp": Lamp}
    async with served_client() as (_, kv), kv.mirror(types=types) as tree:
        await kv.batch([Put("home.cellar.temp", 9), Put("home.attic.temp", 21), Put("home.note", "x"), Put("y", [1])])
        await tree.set("home.cellar.lamp", Lamp(True))
        await tree.set("home.hall.temp", 3)
        assert tree["home.cellar.temp"] == 9.0
        assert isinstance(tree["home.cellar.temp"], float)
        assert isinstance(tree["home.attic.temp"], int)
        assert tree["home.cellar.lamp"] == Lamp(True)
        assert (tree["home.note"], tree["y"]) == ("x", [1])
        with pytest.raises(Refused, match="expected `float`, got `str`"):
            await tree.set("home.hall.temp", "cold")


async def test_a_subtree_as_an_object() -> None:
    async with served_client() as (_, kv), kv.mirror("home") as home:
        await home.set("home.attic.temp", 21)
        with pytest.raises(Refused, match=r"home\.attic: object missing required field `lamp`"):
            home.view("home.attic", Room)
        await home.set("home.attic.lamp", {"on": True})
        assert home.view("home.attic", Room) == Room(21.0, Lamp(True))
        await home.delete("home.attic.lamp")
        await home.set("home.attic.lamp.level", 40)
        await home.set("home.attic.lamp.on", False)
        await home.set("home.attic", "its own value does not matter")
        assert home.view("home.attic", Room) == Room(21.0, Lamp(False, 40)), "in one entry or several"
        assert home.view("home.attic.temp", float) == 21.0
        assert home.view("home", dict[str, Room]) == {"attic": Room(21.0, Lamp(False, 40))}
        await home.set("home.attic.lamp", True)
        assert home.view("home.attic", Room).lamp == Lamp(False, 40), "what is below goes before"
        await home.set("home.attic.temp", "warm")
        with pytest.raises(Refused, match=r"home\.attic: expected `float`, got `str` - at `\$.temp`"):
            home.view("home.attic", Room)


async def test_changes_come_one_by_one_and_a_slow_reader_sees_the_newest() -> None:
    async with served_client() as (_, kv), kv.mirror("home") as home:
        for n in range(20):
            await kv.set("home.x", n)
        await home.set("home.y", 1)
        updates = aiter(home)
        assert [((await anext(updates)).path[-1]) for _ in range(2)] == ["x", "y"]
        assert home["home.x"] == 19
        await kv.delete("home.x")
        update = await anext(updates)
        assert (update.path, update.value) == (Path.parse("home.x"), ABSENT)


async def test_what_it_does_not_cover_is_not_written_through_it() -> None:
    async with served_client() as (_, kv):
        async with kv.mirror("home", pattern="home.+.temp", depth=2) as home:
            for path in ("other.x.temp", "home.x.level", "home", "home.x.temp.more"):
                with pytest.raises(Refused, match="is outside of this mirror"):
                    await home.set(path, 1)
            await home.set("home.x.temp", 1)
        with pytest.raises(Closed):
            await anext(aiter(home))


@asynccontextmanager
async def _client_of(network: MemoryTransport, *addresses: str) -> AsyncIterator[Client]:
    async with connect(list(addresses), transport=network, options=FAST) as kv:
        yield kv


async def test_it_is_whole_again_after_its_node_was_lost() -> None:
    network = MemoryTransport()
    async with running_node(ServedNode("b"), network) as b, running_node(ServedNode("a"), network, seeds=["b"]) as a:
        await a.until_linked("b")
        async with _client_of(network, str(a.address), str(b.address)) as kv, kv.mirror("home") as home:
            await home.set("home.x", 1, ack="peer:1")
            await home.set("home.gone", 1, ack="peer:1")
            assert kv.node == "a"
            network.refused = {"a"}
            network.cut("a")
            await b.set("home.x", 2)
            await b.set("home.gone", None)
            await eventually(lambda: home.get("home.x") == 2 and "home.gone" not in home)
            await home.set("home.x", 3, idempotent=True)
            assert (home["home.x"], kv.node) == (3, "b")


async def test_a_node_that_never_tells_of_a_write() -> None:
    network = MemoryTransport()

    async def mute(node: ScriptedNode) -> None:
        node.welcome()
        watch = await node.next()
        node.send(p.Begin(watch.id, p.FULL), p.Marker(watch.id, {}, True))
        batch = await node.next()
        node.send(p.Wrote(batch.id, (("z~0123456789abcdef", 1, 1 << 16),)))
        await node.idle()

    async with scripted(network, "memory:mute", mute), _client_of(network, "memory:mute") as kv, kv.mirror() as mirror:
        with pytest.raises(Unavailable, match="the write stands as z~0123456789abcdef:1, but the mirror"):
            await mirror.set("x", 1, timeout=0.2)


async def test_an_entry_that_is_gone_counts_only_after_the_answer() -> None:
    """A delete from before, which arrives while the write is on its way, must not end the wait for the write."""
    network = MemoryTransport()
    dot = ("z~0123456789abcdef", 5)

    async def late(node: ScriptedNode) -> None:
        node.welcome()
        watch = await node.next()
        node.send(p.Begin(watch.id, p.FULL), p.Marker(watch.id, {}, True))
        batch = await node.next()
        gone = p.Row((), 0, 0, None, ("x",))
        body = p.Body(("x",), 9 << 16, 0, msgspec.Raw(b"\x07"))
        node.send(p.Rows(watch.id, (p.Row((p.Sib("z~0123456789abcdef", 1, body),), 1),)), p.Rows(watch.id, (gone,)))
        node.send(p.Wrote(batch.id, ((*dot, 9 << 16),)))
        await anyio.sleep(0.05)  # time for a client that does not wait to go on
        node.send(p.Rows(watch.id, (p.Row((p.Sib(*dot, body),), 1),)))
        await node.idle()

    async with scripted(network, "memory:late", late), _client_of(network, "memory:late") as kv, kv.mirror() as mirror:
        await mirror.set("x", 7)
        assert mirror.reading("x").dot == dot


async def test_a_delete_waits_until_the_mirror_shows_it() -> None:
    network = MemoryTransport()
    inc = "z~0123456789abcdef"

    async def slow(node: ScriptedNode) -> None:
        node.welcome()
        watch = await node.next()
        value = p.Sib(inc, 1, p.Body(("x",), 1 << 16, 0, msgspec.Raw(b"\x07")))
        node.send(p.Begin(watch.id, p.FULL), p.Rows(watch.id, (p.Row((value,), 1),)), p.Marker(watch.id, {}, True))
        batch = await node.next()
        node.send(p.Wrote(batch.id, ((inc, 2, 2 << 16),)))
        await anyio.sleep(0.05)  # time for a client that does not wait to go on
        node.send(p.Rows(watch.id, (p.Row((), 0, 0, None, ("x",)),)))
        await node.idle()

    async with scripted(network, "memory:slow", slow), _client_of(network, "memory:slow") as kv, kv.mirror() as mirror:
        assert mirror["x"] == 7
        await mirror.delete("x")
        assert "x" not in mirror
