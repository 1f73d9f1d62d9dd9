"""Comparing with linked peers: equal, behind, diverged, and who cannot be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from kvnode.client import Client, Put, connect
from kvnode.client.errors import NotFound
from kvnode.client.inspect_protocol import Verified
from kvnode.core.compare import Narrowing
from kvnode.core.effects import Now
from kvnode.core.messages import PrintAsk, PrintTell
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.tree import KEY_END
from kvnode.node import acks, verifying
from kvnode.node.links import Link
from kvnode.node.loading import take_in
from kvnode.store.base import StoreFull
from kvnode.testing.inprocess import WAIT_S, eventually, running_node
from kvnode.testing.served import FAST, ServedNode
from kvnode.transport.memory import MemoryTransport
from tests.support.strangers import version

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "SETTLED_S", 0.01)


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[ServedNode, ServedNode, Client]]:
    """Two linked nodes that know the same, and a client of the first."""
    network = MemoryTransport()
    async with (
        running_node(ServedNode("b"), network) as b,
        running_node(ServedNode("a"), network, seeds=["b"]) as a,
        connect(str(a.address), transport=network, options=FAST) as kv,
    ):
        await a.until_linked("b")
        await kv.batch([Put(f"room{n % 3}.n{n}", n) for n in range(60)], ack="memory")
        await kv.set("last", 1, ack="peer:1", timeout=WAIT_S)
        assert isinstance(a, ServedNode)
        assert isinstance(b, ServedNode)
        yield a, b, kv


async def lose(node: ServedNode, path: str) -> None:
    """As a fault of memory or software would: the tree lacks a value, and the node does not know."""

    def forget(replica: Replica, now: Now) -> None:
        replica.state.tree.put(Path.parse(path).key, ())

    await node.driver.call(forget)


async def verify(kv: Client, path: str = ":", wait_s: float = 20, peer: str | None = None) -> list[Verified]:
    return await kv.inspection.verify(Path.parse(path), peer, wait_s)


async def test_equal() -> None:
    async with cluster() as (_, _, kv):
        assert await verify(kv) == [Verified("b", "equal")]
        assert await verify(kv, "room1", peer="b") == [Verified("b", "equal")]


async def test_the_status_tells_of_the_comparison_at_the_end_of_each_session() -> None:
    network = MemoryTransport()
    async with running_node(ServedNode("b"), network), running_node(ServedNode("a"), network, seeds=["b"]) as a:
        await a.until_linked("b")
        await eventually(lambda: a.driver.status()["peers"][0]["equal_at"] is not None)
        (peer,) = a.driver.status()["peers"]
        assert (peer["comparison"], peer["diverged"]) == ("equal", False)
        assert peer["compared_at"] == peer["equal_at"]


@pytest.mark.parametrize("at", ["a", "b"])
async def test_a_difference_though_both_know_the_same_is_named(at: str) -> None:
    async with cluster() as (a, b, kv):
        await lose(a if at == "a" else b, "room1.n4")
        (found,) = await verify(kv)
        assert (found.peer, found.result, found.count) == ("b", "diverged", 1)
        assert found.paths == (("room1", "n4"),)
        assert (found.we_lack, found.they_lack) == (0, 0)
        assert (await verify(kv, "room1"))[0].result == "diverged"
        assert (await verify(kv, "room2"))[0].result == "equal"


async def test_what_is_on_its_way_is_no_divergence() -> None:
    """The peer's disk fails: it does not acknowledge, so it may still lack what explains the difference."""
    async with cluster() as (_, b, kv):
        b.disk.failure = StoreFull("b", "no room")
        await kv.set("room1.n4", "new", ack="memory")
        await lose(b, "room1.n7")
        await eventually(lambda: b.get("room1.n4") == "new")
        (found,) = await verify(kv, wait_s=0.2)
        assert (found.result, found.paths, found.they_lack) == ("behind", (("room1", "n7"),), 1)
        b.disk.failure = None
        assert (await verify(kv))[0].result == "diverged"


async def test_a_difference_that_is_repaired_meanwhile_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster() as (a, b, kv):
        held = b.replica.tree.get(Path.parse("room1.n4").key)
        await lose(b, "room1.n4")
        assert a.peers is not None
        walk = a.peers.verifier._walk

        async def walk_and_repair(link: Link, low: bytes) -> Narrowing | None:
            found = await walk(link, low)
            await b.driver.call(lambda replica, now: replica.state.tree.put(held[0].key, held))
            return found

        monkeypatch.setattr(a.peers.verifier, "_walk", walk_and_repair)
        assert (await verify(kv))[0].result == "equal"


async def test_a_change_between_the_looks_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster() as (a, b, kv):
        await lose(b, "room1.n4")
        stop = anyio.Event()

        async def write() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                await a.set("room2.n5", n, ack=acks.MEMORY)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            (found,) = await verify(kv)
            stop.set()
        assert found.result == "diverged", "writes elsewhere do not hide it"
        assert ("room1", "n4") in found.paths


@pytest.mark.parametrize(("last", "result"), [([], "equal"), ([(1, 4)], "diverged")])
async def test_only_the_same_difference_twice_is_one(
    monkeypatch: pytest.MonkeyPatch, last: list[tuple[int, int]], result: str
) -> None:
    """The same key may differ in another way each time: then something was on its way again."""
    looks = [[(1, 2)], [(1, 3)], [(1, 4)], last]
    async with cluster() as (a, _, kv):
        assert a.peers is not None

        async def walk(*_: object) -> Narrowing:
            made = Narrowing(b"", KEY_END, 10)
            made.differing.update((Path.parse("k").key, prints) for prints in looks.pop(0))
            return made

        monkeypatch.setattr(a.peers.verifier, "_walk", walk)
        (found,) = await verify(kv)
        assert (found.result, looks) == (result, [])


async def test_who_is_not_linked_is_listed() -> None:
    async with cluster() as (a, _, kv):
        record = version("@.nodes.c", 1, {"inc": ""})
        await a.driver.call(lambda replica, now: take_in(replica, [(record,)], now))
        results = {row.peer: row.result for row in await verify(kv)}
        assert results == {"b": "equal", "c": "unlinked"}
        assert await verify(kv, peer="c") == [Verified("c", "unlinked")]
        with pytest.raises(NotFound, match="nobody"):
            await verify(kv, peer="nobody")


async def test_a_peer_that_does_not_answer_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "ANSWER_S", 0.05)
    async with cluster() as (_, b, kv):
        assert b.peers is not None
        monkeypatch.setattr(b.peers.verifier, "received", lambda link, message: None)
        assert await verify(kv) == [Verified("b", "silent")]


async def test_only_the_subtree_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster() as (_, b, kv):
        await lose(b, "room1.n4")
        assert b.peers is not None
        asked: list[PrintAsk] = []
        received = b.peers.verifier.received

        def spy(link: object, message: PrintAsk | PrintTell) -> None:
            if isinstance(message, PrintAsk):
                asked.append(message)
            received(link, message)  # type: ignore[arg-type]

        monkeypatch.setattr(b.peers.verifier, "received", spy)
        await verify(kv, "room1")
        low = Path.parse("room1").key
        assert asked
        assert all(a.startswith(low) for message in asked for a, _ in message.ranges)


async def test_a_question_that_is_too_large_costs_the_link() -> None:
    async with cluster() as (a, _, _):
        assert a.peers is not None
        (link,) = a.peers._links.values()
        link.tell(PrintAsk(((b"", b"\xff"),) * 1_000))
        await eventually(lambda: bool(link.connection.why))


async def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    async with cluster() as (a, b, kv):
        assert a.peers is not None
        assert b.peers is not None
        (link,) = b.peers._links.values()
        link.tell(PrintTell(((b"", b"\xff"),), (), ()))
        assert await verify(kv) == [Verified("b", "equal")]
