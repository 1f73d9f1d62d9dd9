"""Links between whole nodes on a network in memory: dialling, healing, learning addresses, one link per pair."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from kvnode.codec.framing import frame
from kvnode.codec.peer import encode
from kvnode.core.messages import Hello, Ping
from kvnode.node import acks
from kvnode.node.acks import AckLevel
from kvnode.store.base import StoreFull
from kvnode.testing.inprocess import FAST_DIAL, FAST_LIVENESS, WAIT_S, TestNode, eventually, running_node
from kvnode.testing.proxy import proxy
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed
from kvnode.transport.memory import MemoryTransport
from kvnode.transport.tcp import TcpTransport

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def nodes(network: MemoryTransport, **seeds: Sequence[str]) -> AsyncIterator[list[TestNode]]:
    """Nodes by name, each with whom it dials."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running_node(TestNode(name), network, seeds=dials))
            for name, dials in seeds.items()
        ]


async def test_two_nodes_share_what_is_written() -> None:
    async with nodes(MemoryTransport(), a=[], b=["a"]) as (a, b):
        await a.set("x", 1)
        await b.until("x", 1)
        await b.set("x", 2)
        await a.until("x", 2)
        await b.set("x", None)
        await a.until("x", None)


async def test_what_was_there_before_the_link_is_shared() -> None:
    network = MemoryTransport(chunk_bytes=7)
    async with nodes(network, a=[]) as (a,):
        for number in range(300):
            await a.set(f"many.n{number}", number, acks.MEMORY)
        async with nodes(network, b=["a"]) as (b,):
            await b.until("many.n299", 299)
            await eventually(lambda: all(b.get(f"many.n{n}") == n for n in range(300)))


async def test_large_values_pass_the_window() -> None:
    async with nodes(MemoryTransport(), a=[]) as (a,):
        for number in range(40):
            await a.set(f"large.n{number}", "x" * 100_000, acks.MEMORY)
        network = MemoryTransport()
        async with (
            running_node(TestNode("b"), network) as b,
            running_node(TestNode("c"), network, seeds=["b"]) as c,
        ):
            for number in range(40):
                await b.set(f"large.n{number}", "x" * 100_000, acks.MEMORY)
            await eventually(lambda: sum(c.get(f"large.n{n}") is not None for n in range(40)) == 40)


async def test_levels_of_acknowledgement() -> None:
    async with nodes(MemoryTransport(), a=[], b=["a"], c=["a", "b"]) as (a, b, c):
        await a.until_linked("b", "c")
        await eventually(lambda: a.replica.members() == {"a", "b", "c"})
        wrote = await a.set("x", 1, AckLevel("peer", 2))
        assert all(n.replica.durable_here(wrote.dot) for n in (b, c))
        wrote = await b.set("x", 2, acks.ALL)
        assert all(n.replica.durable_here(wrote.dot) for n in (a, b, c))


async def test_peers_acknowledge_when_the_own_store_fails() -> None:
    async with nodes(MemoryTransport(), a=[], b=["a"]) as (a, b):
        await eventually(lambda: a.replica.members() == {"a", "b"})
        await a.set("x", 0)
        a.disk.failure = StoreFull("memory", "test")
        wrote = await a.set("x", 1, AckLevel("peer", 1))
        assert b.replica.durable_here(wrote.dot)


async def test_a_chain_relays() -> None:
    async with nodes(MemoryTransport(), a=[], b=["a"], c=["b"]) as (a, b, c):
        await b.until_linked("a", "c")
        await a.set("x", 1)
        await c.until("x", 1)
        await c.set("y", 2)
        await a.until("y", 2)
        assert a.linked() == {"b"}


async def test_a_cut_link_heals() -> None:
    network = MemoryTransport()
    async with nodes(network, a=[], b=["a"]) as (a, b):
        await b.until_linked("a")
        network.refused.add("a")
        network.cut("a")
        await b.until_linked()
        await a.set("x", "from a")
        await b.set("y", "from b")
        network.refused.clear()
        await b.until("x", "from a")
        await a.until("y", "from b")


async def test_both_sides_write_the_same_path_while_cut() -> None:
    network = MemoryTransport()
    async with nodes(network, a=[], b=["a"]) as (a, b):
        await a.set("x", 0)
        await b.until("x", 0)
        network.refused.add("a")
        network.cut()
        await b.until_linked()
        await a.set("x", "a")
        await b.set("x", "b")
        network.refused.clear()
        await eventually(lambda: a.driver.status()["conflicts"] == b.driver.status()["conflicts"] == 1)
        assert a.get("x") == b.get("x")


async def test_a_restarted_node_is_linked_again() -> None:
    network = MemoryTransport()
    async with nodes(network, a=["b"]) as (a,):
        async with running_node(TestNode("b"), network) as b:
            await b.set("x", 1)
            await a.until("x", 1)
        await a.until_linked()
        async with running_node(TestNode("b", disk=b.disk, seed=1), network) as b:
            await b.set("x", 2)
            await a.until("x", 2)


async def test_two_that_dial_each_other_keep_one_link() -> None:
    network = MemoryTransport()
    async with nodes(network, a=["b"], b=["a"]) as (a, b):
        await a.set("x", 1)
        await b.until("x", 1)
        await eventually(lambda: len(a.replica.links) == len(b.replica.links) == 1)
        (link,) = a.replica.links
        await b.set("y", 1)
        await a.until("y", 1)
        assert [row.state for row in a.peers.rows() if row.name == "b"] == ["linked"]
        assert list(a.replica.links) == [link], "the link that stayed was left alone"


async def test_a_node_does_not_link_to_itself() -> None:
    network = MemoryTransport()
    async with nodes(network, a=["a"], b=["a"]) as (a, b):
        await b.until_linked("a")
        await eventually(lambda: any("itself" in row.error for row in a.peers.rows()))
        assert a.linked() == {"b"}


async def test_another_cluster_is_an_error_that_people_see() -> None:
    network = MemoryTransport()
    async with (
        nodes(network, a=[]) as (a,),
        running_node(TestNode("b", cluster="other"), network, seeds=["a"]) as b,
    ):
        await eventually(lambda: any("cluster" in row.error for row in b.peers.rows()))
        await eventually(lambda: not a.linked())


# -- discovery -----------------------------------------------------------------------------------------------


async def test_an_attempt_whose_packets_got_lost_is_made_anew_and_a_link_may_stand_for_longer() -> None:
    network = MemoryTransport()
    attempts = 0

    class Lossy:
        """The first attempt gets no answer."""

        @asynccontextmanager
        async def dial(self, address: Address) -> AsyncIterator[Connection]:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                await anyio.sleep_forever()
            async with network.dial(address) as connection:
                yield connection

        listen = network.listen

    limit_s = 0.1
    hasty = replace(FAST_DIAL, answer_least_s=limit_s, answer_share=1.0)
    async with (
        running_node(TestNode("a"), network) as a,
        running_node(TestNode("b"), Lossy(), seeds=["a"], dial=hasty) as b,
    ):
        await b.until_linked("a")
        linked_at, made = anyio.current_time(), attempts
        while anyio.current_time() < linked_at + 20 * limit_s:
            await a.set("x", anyio.current_time(), AckLevel("peer", 1))
        assert attempts == made


async def announce(node: TestNode, *addresses: str) -> None:
    await node.driver.call(lambda replica, now: replica.set_addresses(addresses, now))


async def test_addresses_are_learned_from_the_records() -> None:
    network = MemoryTransport()

    class Named:
        """Dials names by the hosts of TCP addresses, which is what records hold."""

        def dial(self, address: Address) -> AbstractAsyncContextManager[Connection]:
            return network.dial(address if address.kind == "memory" else Address("memory", path=address.host))

        listen = network.listen

    async with (
        running_node(TestNode("a"), Named(), advertise=False) as a,
        running_node(TestNode("b"), Named(), seeds=["a"], discover=True, advertise=False) as b,
        running_node(TestNode("c"), Named(), seeds=["a"], discover=True, advertise=False) as c,
    ):
        await announce(c, "c:27590")
        await announce(b, "nowhere:1", "b:27590")
        await c.until_linked("a", "b")
        network.refused.add("a")
        network.cut("a")
        await eventually(lambda: not a.linked())
        await b.set("x", 1)
        await c.until("x", 1)
        assert b.linked() == {"c"}


async def test_nodes_of_one_machine_find_each_other_only_when_nobody_leads_there() -> None:
    patient = replace(FAST_DIAL, learn_again_s=1.5)  # links are told with a second's delay
    async with AsyncExitStack() as stack:

        async def start(name: str, *seeds: str) -> TestNode:
            node = running_node(
                TestNode(name), TcpTransport(), listen="127.0.0.1:0", seeds=seeds, discover=True, dial=patient
            )
            return await stack.enter_async_context(node)

        a = await start("a")
        b = await start("b")
        c = await start("c", str(a.address))
        async with AsyncExitStack() as bridge:
            seeds = [str(a.address), str(b.address)]
            d = await bridge.enter_async_context(
                running_node(TestNode("d"), TcpTransport(), listen="127.0.0.1:0", seeds=seeds)
            )
            await d.until_linked("a", "b")
            await announce(b, str(b.address))
            await c.set("x", 1)
            await b.until("x", 1)
            await anyio.sleep(2 * patient.learn_again_s)  # as long as it would take
            assert c.linked() == {"a"}
        await eventually(lambda: "b" in c.linked() | a.linked())
        await c.set("x", 2)
        await b.until("x", 2)


async def test_both_sides_say_in_a_line_why_a_peer_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    network = MemoryTransport()
    with caplog.at_level("WARNING", logger="kvnode.node.peers"):
        async with (
            running_node(TestNode("a"), network) as a,
            running_node(TestNode("b", cluster="elsewhere"), network, seeds=["a"]) as b,
        ):
            await eventually(lambda: len(unfit(caplog)) >= 2)
            assert not a.linked()
            assert b.peers is not None
            await eventually(lambda: b.peers is not None and "'elsewhere'" in b.peers.rows()[0].error)
    assert unfit(caplog) >= {
        ("b", "it belongs to cluster 'elsewhere', this node to 'kvnode'"),
        ("a", "it belongs to cluster 'kvnode', this node to 'elsewhere'"),
    }


def unfit(caplog: pytest.LogCaptureFixture) -> set[tuple[str, str]]:
    return {(vars(r)["peer"], vars(r)["why"]) for r in caplog.records if r.getMessage() == "peer unfit"}


# -- liveness ------------------------------------------------------------------------------------------------


async def test_a_silent_link_is_found_and_replaced() -> None:
    tcp = TcpTransport()
    async with (
        running_node(TestNode("a"), tcp, listen="127.0.0.1:0") as a,
        proxy(a.address.port) as between,
        running_node(TestNode("b"), tcp, listen="127.0.0.1:0", seeds=[between.address]) as b,
    ):
        await b.until_linked("a")
        (number,) = b.replica.links
        between.freeze()
        await eventually(lambda: number not in b.replica.links)
        assert between.connections, "nobody told the node"
        await a.set("x", 1)
        between.heal()
        await b.until("x", 1)
        await eventually(lambda: len(a.replica.links) == 1)


async def test_a_silent_link_in_use_is_found_long_before_one_at_rest() -> None:
    tcp = TcpTransport()
    calm = replace(FAST_LIVENESS, idle_ms=600_000)
    async with (
        running_node(TestNode("a"), tcp, listen="127.0.0.1:0", liveness=calm) as a,
        proxy(a.address.port) as between,
        running_node(TestNode("b"), tcp, listen="127.0.0.1:0", seeds=[between.address], liveness=calm) as b,
    ):
        await b.set("x", 0, AckLevel("peer", 1))
        (number,) = b.replica.links
        between.freeze()
        await b.set("x", 1)
        await eventually(lambda: number not in b.replica.links)


async def test_a_cut_between_real_sockets_heals() -> None:
    tcp = TcpTransport()
    async with (
        running_node(TestNode("a"), tcp, listen="127.0.0.1:0") as a,
        proxy(a.address.port) as between,
        running_node(TestNode("b"), tcp, listen="127.0.0.1:0", seeds=[between.address]) as b,
    ):
        await b.until_linked("a")
        between.cut()
        await b.until_linked()
        await a.until_linked()
        await a.set("x", 1)
        between.heal()
        await b.until("x", 1)


async def test_a_quiet_link_stays() -> None:
    async with nodes(MemoryTransport(), a=[], b=["a"]) as (_, b):
        await b.until_linked("a")
        (number,) = b.replica.links
        await anyio.sleep(0.5)  # several idle times
        assert list(b.replica.links) == [number]


# -- bad company ---------------------------------------------------------------------------------------------


async def read_all(connection: Connection) -> None:
    try:
        while True:
            await connection.receive()
    except ConnectionClosed:
        return


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(b"\xc1"),
        frame(encode(0, Ping(1))) + frame(b"nonsense"),
        frame(encode(0, Hello(1, 1, "kvnode", "b", 77, None, (), (), None, 0, ()))) + frame(encode(5, Ping(1))[:-1]),
    ],
)
async def test_nonsense_ends_the_connection_only(data: bytes) -> None:
    network = MemoryTransport()
    async with nodes(network, a=[]) as (a,):
        async with network.dial(Address("memory", path="a")) as connection:
            await connection.send(data)
            with anyio.fail_after(WAIT_S):
                await read_all(connection)
        await eventually(lambda: not a.replica.links)
        await a.set("x", 1)
