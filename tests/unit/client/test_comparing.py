"""Comparing a subtree on two nodes: what differs, why, and what that costs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest

from kvnode.client import Client, connect, session
from kvnode.client.comparing import Comparison, Difference, compare, differences
from kvnode.client.errors import Refused
from kvnode.client.inspect_protocol import Held
from kvnode.client.items import ABSENT
from kvnode.client.protocol import Message
from kvnode.client.session import Session
from kvnode.core.path import ROOT, Path
from kvnode.core.replica import Replica
from kvnode.node.inspecting import Inspector
from kvnode.node.loading import take_in
from kvnode.testing.inprocess import running_node
from kvnode.testing.served import FAST, ServedNode
from kvnode.transport.memory import MemoryTransport
from tests.support.strangers import version

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def two(*entries: str) -> AsyncIterator[tuple[ServedNode, ServedNode, Client, Client]]:
    """Two nodes that are not linked and hold the same entries, with a client of each. For one more member, who is away,
    they remember deletes, and what a write took the place of.
    """
    network = MemoryTransport()
    async with AsyncExitStack() as stack:
        nodes = [ServedNode("a"), ServedNode("b")]
        for node in nodes:
            await stack.enter_async_context(running_node(node, network, advertise=False))
            versions = [(version(path, tick, tick),) for tick, path in enumerate(entries, 1)]
            versions.append((version("@.nodes.away", 1_000, {"inc": ""}),))
            await node.driver.call(lambda replica, now, versions=versions: take_in(replica, versions, now))
        clients = [
            await stack.enter_async_context(connect(str(node.address), transport=network, options=FAST))
            for node in nodes
        ]
        yield nodes[0], nodes[1], clients[0], clients[1]


async def diff(one: Client, other: Client, path: str = ":", most: int = 100) -> tuple[Comparison, list[Difference]]:
    where = Path.parse(path)
    found = await compare(one.inspection, other.inspection, where, most)
    rows = [row async for row in differences(one.inspection, other.inspection, where, found)]
    return found, rows


async def test_equal_trees() -> None:
    async with two("x", "y.z") as (_, _, a, b):
        found, rows = await diff(a, b)
        assert (found.keys, found.more, found.same_knowledge, rows) == ([], False, True, [])


async def test_what_one_has_not_heard_of_is_told_apart() -> None:
    async with two("x", "y") as (_, _, a, b):
        await a.set("x", 5)
        await b.delete("y")
        found, rows = await diff(a, b)
        assert not found.same_knowledge
        by_path = {str(row.path): row for row in rows if row.path[0] != "@"}
        x, y = by_path["x"], by_path["y"]
        assert [[v.value for v in side] for side in x.versions] == [[5], [1]]
        assert x.unheard == (False, True)
        assert [[v.value for v in side] for side in y.versions] == [[2], [ABSENT]]
        assert y.unheard == (True, False)
        assert not any(row.diverged for row in rows)


async def test_a_difference_between_nodes_that_know_the_same_is_told() -> None:
    async with two("x", "y") as (node, _, a, b):
        (held,) = node.replica.tree.get(Path.parse("x").key)

        def lose(replica: Replica) -> None:
            replica.state.tree.put(held.key, ())

        await node.driver.call(lambda replica, now: lose(replica))
        found, (row,) = await diff(a, b)
        assert found.same_knowledge
        assert row.unheard == (False, False)
        assert row.diverged
        assert row.versions[0] == ()


async def test_only_the_subtree_is_looked_at() -> None:
    async with two("x.a", "y.a") as (_, _, a, b):
        await a.set("y.b", 1)
        assert (await diff(a, b, "x"))[1] == []
        assert [str(row.path) for row in (await diff(a, b, "y"))[1]] == ["y.b"]


async def test_nothing_outside_the_subtree_is_answered() -> None:
    async with two("x.a", "y.a") as (_, _, a, _):
        x, outside = Path.parse("x"), Path.parse("y.a").key
        for ranges in ([(b"", b"\xff")], [(outside, outside + b"\0")], [(x.key, x.key)]):
            with pytest.raises(Refused) as refused:
                await a.inspection.prints(x, ranges)
            assert refused.value.code == "bad_request"
            with pytest.raises(Refused):
                await a.inspection.prints(x, listed=ranges)
        with pytest.raises(Refused):
            _ = [row async for row in a.inspection.held(x, [outside])]
        with pytest.raises(Refused):
            await a.inspection.prints(x, [(x.key, x.key + b"\0")] * 5_000)


async def test_more_than_is_wanted() -> None:
    async with two() as (_, _, a, b):
        for n in range(30):
            await a.set(f"x{n}", n)
        found, rows = await diff(a, b, most=5)
        assert found.more
        assert len(rows) == 5


async def test_what_has_become_equal_meanwhile_is_left_out() -> None:
    async with two("x") as (node, other, a, b):
        await a.set("x", 2)
        found = await compare(a.inspection, b.inspection, Path.parse("x"))
        records = [node.replica.tree.get(Path.parse("x").key)]
        await other.driver.call(lambda replica, now: take_in(replica, records, now))
        assert [row async for row in differences(a.inspection, b.inspection, Path.parse("x"), found)] == []


async def test_many_large_differences_come_in_parts() -> None:
    async with two() as (node, _, a, b):
        for n in range(20):
            await a.set(f"x.n{n}", "v" * 20_000)
        _, rows = await diff(a, b, "x")
        assert len(rows) == 20
        keys = tuple(row.path.key for row in rows)
        assert len(await Inspector(node.driver).held(Held(1, ("x",), keys), "")) < 10


async def test_waiting_for_what_is_on_its_way() -> None:
    async with two() as (_, other, a, b):
        written = await a.set("x", 1)
        known = other.replica.known.copy()
        known.add(written.dot.inc, written.dot.tick)
        lacking = await b.inspection.lacks(known)
        assert list(lacking.map) == [written.dot.inc]
        async with anyio.create_task_group() as tasks:

            async def wait() -> None:
                assert not (await b.inspection.lacks(known, wait_s=20)).map

            tasks.start_soon(wait)
            async with a.dump(ROOT) as rows:
                await b.load([row.record async for row in rows])


class Wire:
    """Counts the bytes of what clients send and get."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        take, frame = Session.take, session.framed

        def counted_take(client: Session, payloads: Sequence[bytes]) -> None:
            self.bytes += sum(map(len, payloads))
            take(client, payloads)

        def counted_frame(message: Message) -> bytes:
            data = frame(message)
            self.bytes += len(data)
            return data

        monkeypatch.setattr(Session, "take", counted_take)
        monkeypatch.setattr(session, "framed", counted_frame)


@pytest.mark.interpreted
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # bytes are the same on all
async def test_the_cost_of_one_difference_among_ten_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of both nodes in both directions; the entries themselves take some 800 000."""
    wire = Wire(monkeypatch)
    async with two(*(f"home.room{n % 40}.sensor{n}" for n in range(10_000))) as (_, _, a, b):
        await a.set("home.room7.sensor4007", "changed")
        wire.bytes = 0
        _, rows = await diff(a, b, "home")
        assert [str(row.path) for row in rows] == ["home.room7.sensor4007"]
        assert wire.bytes < 9_000
        wire.bytes = 0
        assert (await diff(a, b, "home.room8"))[1] == []
        assert wire.bytes < 2_000
