"""Streams over broken connections and lost nodes, with whole nodes that replicate."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from kvnode.client import (
    ABSENT,
    Change,
    Client,
    EventItem,
    Gap,
    Put,
    Reading,
    Unavailable,
    Uptodate,
    WatchStream,
    connect,
)
from kvnode.client import protocol as p
from kvnode.core.entry import Body
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from kvnode.testing.inprocess import WAIT_S, eventually, running_node
from kvnode.testing.served import FAST, ScriptedNode, ServedNode, scripted, served_client
from kvnode.transport.memory import MemoryTransport
from kvnode.transport.tasks import background_tasks

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pair(network: MemoryTransport) -> AsyncIterator[tuple[ServedNode, ServedNode]]:
    """Two linked nodes."""
    a, b = ServedNode("a"), ServedNode("b")
    async with running_node(a, network), running_node(b, network, seeds=["a"]):
        await a.until_linked("b")
        yield a, b


class Judge:
    """Follows a watch and says what is wrong with it."""

    def __init__(self) -> None:
        self.readings: dict[Path, Change] = {}
        self.past: dict[Path, set[Dot]] = {}
        self.markers = 0
        self.gaps: list[str] = []

    async def follow(self, changes: WatchStream) -> None:
        async for item in changes:
            match item:
                case Uptodate():
                    self.markers += 1
                case Gap(reason):
                    self.gaps.append(reason)
                case Change():
                    self._change(item)

    def _change(self, change: Change) -> None:
        old = self.readings.get(change.path)
        before = old.dots if old else frozenset()
        assert (change.dots, change.conflict) != (before, old.conflict if old else False), f"{change} came twice"
        past = self.past.setdefault(change.path, set())
        assert not change.dots & past, f"{change} went back"
        past |= before - change.dots
        if change.deleted:
            del self.readings[change.path]
        else:
            self.readings[change.path] = change

    def values(self) -> dict[str, Any]:
        return {str(path): change.value for path, change in self.readings.items()}


def values_at(node: ServedNode, *prefix: str) -> dict[str, Any]:
    return {
        str(path): node.get(str(path))
        for path in (Path.from_key(key) for key, _ in node.replica.tree.scan(prefix))
        if node.get(str(path)) is not None
    }


@pytest.mark.parametrize("seed", range(3))
async def test_a_watch_wanders_between_two_nodes(seed: int) -> None:
    """Writes on both nodes, connections cut at random, one node not to be reached now and then."""
    rng = random.Random(seed)
    network = MemoryTransport()
    judge = Judge()
    with anyio.fail_after(60):
        async with (
            pair(network) as nodes,
            connect(
                ["memory:a", "memory:b"], transport=network, options=FAST, random=rng.random, patient=True
            ) as client,
            client.watch("w") as changes,
            background_tasks() as tasks,
        ):
            tasks.start_soon(judge.follow, changes)
            for step in range(120):
                node = nodes[rng.randrange(2)]
                await node.set(f"w.:{rng.randrange(8)}", None if rng.random() < 0.2 else step)
                if rng.random() < 0.2:
                    _disturb(network, rng, client.node)
            network.refused.clear()
            await nodes[0].set("w.end", True)
            await nodes[1].until("w.end", True)
            await eventually(lambda: values_at(nodes[0], "w") == values_at(nodes[1], "w") == judge.values())
    assert judge.gaps == []
    assert judge.markers == 1


def _disturb(network: MemoryTransport, rng: random.Random, connected_to: str) -> None:
    """Cut what there is; perhaps make the present node refuse, so that the client goes to the other one."""
    network.refused = {connected_to} if connected_to and rng.random() < 0.5 else set()
    network.cut(connected_to or None)


async def test_a_delete_forgotten_while_away_is_told() -> None:
    network = MemoryTransport()
    judge = Judge()
    async with (
        pair(network) as (a, b),
        connect(["memory:a", "memory:b"], transport=network, options=FAST) as client,
        client.watch("w") as changes,
        background_tasks() as tasks,
    ):
        tasks.start_soon(judge.follow, changes)
        await a.set("w.x", 1)
        await a.set("w.y", 2)
        await b.until("w.y", 2)
        await eventually(lambda: len(judge.readings) == 2)
        network.refused = {"a", "b"}
        network.cut()
        await eventually(lambda: not client.is_connected)
        await b.set("w.x", None)
        network.refused = set()
        await a.until_linked("b")
        key = Path.parse("w.x").key
        await eventually(lambda: not a.replica.tree.get(key) and not b.replica.tree.get(key))
        await eventually(lambda: judge.values() == {"w.y": 2})
    assert (judge.gaps, judge.markers) == ([], 1)


@asynccontextmanager
async def also_on(network: MemoryTransport, *nodes: ServedNode) -> AsyncIterator[None]:
    """Let the nodes listen on another network too, so that clients and peers can be cut apart."""
    async with background_tasks() as tasks:
        for node in nodes:
            listener = await network.listen(node.address)
            tasks.start_soon(listener.serve, node._accept)
        yield


async def test_a_resume_waits_for_a_node_that_is_a_little_behind() -> None:
    peers, clients = MemoryTransport(), MemoryTransport()
    judge = Judge()
    with anyio.fail_after(WAIT_S):
        async with (
            pair(peers) as (a, b),
            also_on(clients, a, b),
            connect(["memory:a", "memory:b"], transport=clients, options=FAST) as client,
            client.watch("w") as changes,
            background_tasks() as tasks,
        ):
            tasks.start_soon(judge.follow, changes)
            await a.set("w.x", 0)
            await b.until("w.x", 0)
            peers.refused = {"a", "b"}
            peers.cut()
            await a.set("w.x", 1)
            await b.set("w.y", 2)
            await eventually(lambda: judge.values() == {"w.x": 1})
            clients.refused = {"a"}
            clients.cut()
            await eventually(lambda: client.node == "b")
            await client.status()
            assert judge.values() == {"w.x": 1}, "b may say nothing yet: it does not know w.x = 1"
            peers.refused = set()
            await eventually(lambda: judge.values() == {"w.x": 1, "w.y": 2})
    assert (judge.gaps, judge.markers) == ([], 1)


async def test_volatile_values_of_a_run_that_is_over_are_not_waited_for() -> None:
    """A node that restarts has lost them, and nobody else has them: the watch goes on at once, and says so."""
    network = MemoryTransport()
    judge = Judge()
    first = ServedNode("a")
    with anyio.fail_after(WAIT_S):
        async with (
            connect("memory:a", transport=network, options=FAST, patient=True) as client,
            client.watch("w") as changes,
            background_tasks() as tasks,
        ):
            tasks.start_soon(judge.follow, changes)
            async with running_node(first, network):
                await client.set("@.volatile.w", {"pattern": "w.v"})
                await client.set("w.v", 1)
                await client.set("w.d", 2)
                await eventually(lambda: judge.values() == {"w.v": 1, "w.d": 2})
            async with running_node(ServedNode("a", disk=first.disk, seed=1), network) as again:
                await eventually(lambda: judge.values() == {"w.d": 2})
                await again.set("w.d", 3)
                await eventually(lambda: judge.values() == {"w.d": 3})
    assert (judge.gaps, judge.markers) == ([], 1)


async def test_a_node_too_far_behind_is_a_marked_gap() -> None:
    """Two nodes that are not linked at all: the second can never know what the first one said."""
    network = MemoryTransport()
    a, b = ServedNode("a"), ServedNode("b")
    async with running_node(a, network), running_node(b, network):
        await a.set("w.x", 1)
        await b.set("w.y", 2)
        async with (
            connect(["memory:a", "memory:b"], transport=network, options=FAST) as client,
            client.watch("w", wait_s=0.05) as changes,
        ):
            assert [type(await anext(changes)) for _ in range(2)] == [Change, Uptodate]
            network.refused = {"a"}
            network.cut("a")
            with anyio.fail_after(WAIT_S):
                gap, *items = [await anext(changes) for _ in range(4)]
    assert isinstance(gap, Gap)
    assert "does not know all that was seen before" in gap.reason
    shown = [(str(c.path), c.value) for c in items[:2] if isinstance(c, Change)]
    assert shown == [("w.x", ABSENT), ("w.y", 2)]
    assert isinstance(items[2], Uptodate)


async def test_a_tree_goes_on_where_it_was() -> None:
    network = MemoryTransport()
    async with served_client("a", network=network) as (_, kv):
        await kv.batch([Put(f"t.:{n}", n) for n in range(5_000)], timeout=WAIT_S)
        got: list[Any] = []
        async with kv.tree("t") as rows:
            async for reading in rows:
                assert isinstance(reading, Reading)
                got.append(reading.value)
                if reading.value in (10, 3_000, 4_900):
                    network.cut()
                    await eventually(lambda: kv._session.connections > 1)
        assert got == list(range(5_000))


async def test_a_dump_does_not_survive_a_broken_connection() -> None:
    network = MemoryTransport()
    async with served_client("a", network=network) as (_, kv):
        await kv.batch([Put(f"t.:{n}", n) for n in range(5_000)], timeout=WAIT_S)
        async with kv.dump("t") as rows:
            await anext(rows)
            network.cut()
            with pytest.raises(Unavailable, match="broke during the dump"):
                [row async for row in rows]


async def test_events_go_on_and_say_that_they_were_interrupted() -> None:
    network = MemoryTransport()
    async with served_client("a", network=network) as (_, kv), kv.events() as events:
        await kv.status()
        await kv.send("e", 1)
        first = await anext(events)
        network.cut()
        await eventually(lambda: kv._session.connections == 2)
        await kv.status()
        await kv.send("e", 2)
        second = await anext(events)
        assert isinstance(first, EventItem)
        assert (first.value, second.value) == (1, 2)
        assert events.interruptions == 1


async def test_a_stream_that_the_node_refuses_ends_with_the_error() -> None:
    async def refuse(node: ScriptedNode) -> None:
        node.welcome()
        request = await node.next()
        node.send(p.Fail(request.id, "limit", "too many"))
        await node.idle()

    network = MemoryTransport()
    async with (
        scripted(network, "memory:n", refuse),
        connect("memory:n", transport=network) as client,
        client.watch() as changes,
    ):
        with pytest.raises(Exception, match="too many") as caught:
            await anext(changes)
        assert getattr(caught.value, "code", "") == "limit"


async def test_credits_are_given_back_as_items_are_consumed() -> None:
    """The node sees the window first, and then grants of what the consumer has taken."""
    seen: list[Any] = []

    async def note(node: ScriptedNode) -> None:
        node.welcome()
        request = await node.next()
        seen.append(request)
        node.send(p.Begin(request.id, p.FULL))
        body = Body(("x",), 1, 0, msgspec.Raw(b"\x01"))
        for tick in range(1, 3 * 4096 + 1):
            node.send(p.Rows(request.id, (p.Row((p.Sib("n~0123456789abcdef", tick, body),), 1),)))
        while True:
            seen.append(await node.next())

    network = MemoryTransport()
    async with (
        scripted(network, "memory:n", note),
        connect("memory:n", transport=network) as client,
        client.watch() as changes,
    ):
        for _ in range(2 * 4096 + 100):
            await anext(changes)
        await client_idle(client)
    assert seen[0].credits == 4096
    assert [request.credits for request in seen[1:] if isinstance(request, p.Grant)] == [2048] * 4


async def client_idle(client: Client) -> None:
    """Let what the client has queued reach the other side."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    await anyio.wait_all_tasks_blocked()
    assert client.is_connected
