"""The node's serving of clients: limits, malformed requests, slow and silent clients. The client is raw bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest

from kvnode.client import protocol as p
from kvnode.client.wire import decode_answer, framed
from kvnode.codec.framing import FrameDecoder, frame
from kvnode.codec.values import pack
from kvnode.core.path import Path
from kvnode.node.client_limits import ClientLimits
from kvnode.testing.inprocess import WAIT_S, eventually, running_node
from kvnode.testing.served import ServedNode
from kvnode.transport.base import Connection, ConnectionClosed
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio


class Raw:
    """A client that sends what the test wants."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.decoder = FrameDecoder()
        self.ready: list[bytes] = []

    def send(self, *messages: p.Message) -> None:
        for message in messages:
            assert self.connection.queue(framed(message))

    async def next(self) -> Any:
        while not self.ready:
            self.ready = self.decoder.feed(await self.connection.receive())
        return decode_answer(self.ready.pop(0))

    async def ask(self, message: p.Message) -> Any:
        self.send(message)
        return await self.next()

    async def to_end(self) -> list[Any]:
        got: list[Any] = []
        try:
            while True:
                got.append(await self.next())
        except ConnectionClosed:
            return got


HELLO = p.ClientHello(1, 1, "raw", "rawauthor")


@asynccontextmanager
async def raw_client(
    hello: p.ClientHello | None = HELLO, **limits: Any
) -> AsyncIterator[tuple[ServedNode, MemoryTransport, Raw]]:
    network = MemoryTransport()
    with anyio.fail_after(WAIT_S):
        async with running_node(ServedNode("n", limits=ClientLimits(**limits)), network) as node:
            assert isinstance(node, ServedNode)
            async with network.dial(node.address) as connection:
                client = Raw(connection)
                if hello is not None:
                    client.send(hello)
                    answer = await client.next()
                    assert isinstance(answer, p.ServerHello)
                yield node, network, client


async def test_the_hello_is_answered_with_who_we_are() -> None:
    async with raw_client(hello=None) as (node, _, client):
        hello = await client.ask(p.ClientHello(1, 9, "raw", auth=p.Auth("scram", b"x"), view=("a.#",), features=("f",)))
        assert isinstance(hello, p.ServerHello)
        assert (hello.protocol, hello.name, hello.session) == (1, "n", node.replica.session)
        assert hello.principal is None


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [
        (2, 3, "the client speaks protocol 2 to 3, the node 1 to 1: upgrade the node"),
        (0, 0, "the client speaks protocol 0 to 0, the node 1 to 1: upgrade the client"),
    ],
)
async def test_no_common_version_is_said_clearly(low: int, high: int, says: str) -> None:
    async with raw_client(hello=None) as (_, _, client):
        client.send(p.ClientHello(low, high))
        assert await client.to_end() == [p.Fail(0, "protocol_error", says)]


async def test_connections_are_bounded() -> None:
    async with raw_client(connections=1) as (node, network, client):
        async with network.dial(node.address) as second:
            other = Raw(second)
            other.send(HELLO)
            assert await other.to_end() == [p.Fail(0, "limit", "this node serves 1 clients already")]
        assert isinstance(await client.ask(p.Status(1)), p.Done)


@pytest.mark.parametrize(
    ("payload", "id", "code"),
    [
        (b"\x92\x7f\x05", 5, "too_old"),
        (b"\x92\x42\x05", 5, "bad_request"),
        (b"\x93\x42\x05\xa1x", 5, "bad_request"),
        (b"\xc1", 0, "bad_request"),
        (b"", 0, "bad_request"),
        (b"\x91" * 100_000, 0, "bad_request"),
        (msgspec.msgpack.encode([67, 5, [[["a"], b"\xc1", None, None]], "disk", 5000, None]), 5, "bad_value"),
        (msgspec.msgpack.encode([67, 5, [[["a\0"], b"\x01", None, None]], "disk", 5000, None]), 5, "bad_path"),
        (msgspec.msgpack.encode([67, 5, [[[1 << 63], b"\x01", None, None]], "disk", 5000, None]), 5, "bad_path"),
        (msgspec.msgpack.encode([67, 5, [], "disk", 5000, None]), 5, "bad_request"),
        (msgspec.msgpack.encode([67, 5, [[["a"], b"\x01", None, None]], "disc", 5000, None]), 5, "bad_request"),
        (msgspec.msgpack.encode([68, 5, ["a"] * 65, None, None, 1]), 5, "bad_path"),
        (msgspec.msgpack.encode([69, 5, [], "a..b", None, False, 1]), 5, "bad_path"),
        (msgspec.msgpack.encode([69, 5, [], None, None, False, 1, {"no~inc": [1, 2]}]), 5, "bad_request"),
        (msgspec.msgpack.encode([69, 5, [], None, None, False, 1, {"n~0123456789abcdef": [2, 1]}]), 5, "bad_request"),
        (msgspec.msgpack.encode([69, 0, [], None, None, False, 1]), 0, "bad_request"),
        (msgspec.msgpack.encode([70, 5, ["a"], b"\xc1"]), 5, "bad_value"),
        (msgspec.msgpack.encode([76, 5, [b"\xc1"]]), 5, "bad_value"),
    ],
)
async def test_what_is_no_request_is_refused_and_harms_nothing(payload: bytes, id: int, code: str) -> None:
    async with raw_client() as (_, _, client):
        assert client.connection.queue(frame(payload))
        refused = await client.next()
        assert isinstance(refused, p.Fail)
        assert (refused.id, refused.code) == (id, code)
        assert "\n" not in refused.message
        assert isinstance(await client.ask(p.Ping(9)), p.Pong)


async def test_a_frame_beyond_the_bound_ends_the_connection() -> None:
    async with raw_client() as (_, _, client):
        assert client.connection.queue(b"\x7f\xff\xff\xff")
        (failed,) = await client.to_end()
        assert failed == p.Fail(0, "protocol_error", "a frame of 2147483647 bytes was announced; the limit is 8388608")


async def test_streams_are_bounded_and_their_ids_unique() -> None:
    async with raw_client(streams=2) as (_, _, client):
        client.send(p.Events(1, (), None, None, 1), p.Events(2, (), None, None, 1))
        assert (await client.ask(p.Events(3, (), None, None, 1))).code == "limit"
        client.send(p.Cancel(1), p.Cancel(1), p.Cancel(77))
        assert (await client.ask(p.Events(2, (), None, None, 1))).code == "bad_request"
        client.send(p.Events(3, (), None, None, 1))
        assert isinstance(await client.ask(p.Ping(9)), p.Pong)


async def test_a_stream_sends_no_more_than_its_credits() -> None:
    async with raw_client() as (node, _, client):
        for n in range(5):
            await node.set(f"x.:{n}", n)
        rows = await client.ask(p.Tree(1, ("x",), None, None, 2))
        assert len(rows.rows) == 2
        assert isinstance(await client.ask(p.Ping(8)), p.Pong)
        client.send(p.Grant(1, -5), p.Grant(1, 0))
        assert isinstance(await client.ask(p.Ping(9)), p.Pong)
        rows = await client.ask(p.Grant(1, 2))
        assert len(rows.rows) == 2
        rows = await client.ask(p.Grant(1, 1 << 60))
        assert len(rows.rows) == 1
        assert await client.next() == p.Done(1, None)
        client.send(p.Grant(1, 5))  # for a stream that is over
        assert isinstance(await client.ask(p.Ping(9)), p.Pong)


@pytest.mark.interpreted
async def test_a_watch_without_credits_gets_a_gap_when_it_has_them_again() -> None:
    async with raw_client() as (node, _, client):
        watch = await client.ask(p.Watch(1, ("x",), None, None, False, 1))
        assert watch == p.Begin(1, p.FULL)
        assert isinstance(await client.next(), p.Marker)
        (watching,) = node.clients.watches.of(Path(("x",)).key, ())
        watching._max_queue = watching._room = 3  # type: ignore[misc]  # a queue that is quickly full
        for n in range(6):
            await node.set("x", n)
        assert [row.siblings[0].tick for row in (await client.next()).rows] == [2]
        gap = await client.next()
        assert gap == p.Begin(1, p.GAP, "the watcher was too slow: more than 3 changes were waiting")
        client.send(p.Grant(1, 10))
        assert [bytes(row.siblings[0].body.value) for row in (await client.next()).rows] == [pack(5)]
        assert isinstance(await client.next(), p.Marker)


async def test_a_client_that_does_not_read_is_paused_and_harms_nobody() -> None:
    async with raw_client(output_bytes=10_000, drained_bytes=5_000) as (node, network, client):
        await node.set("big", "x" * 100_000)
        key = Path(("big",)).key
        for id in range(1, 400):
            client.send(p.Get(id, key))
        async with network.dial(node.address) as connection:
            other = Raw(connection)
            other.send(HELLO)
            await other.next()
            assert isinstance(await other.ask(p.Get(1, key)), p.Got)
        got = [await client.next() for _ in range(1, 400)]
        assert [answer.id for answer in got] == list(range(1, 400))


async def test_more_writes_than_may_wait_are_taken_in_order() -> None:
    async with raw_client(writes=2) as (node, _, client):
        for id in range(1, 101):
            client.send(p.Batch(id, (p.Op(("x",), pack(id)),), "memory", 5000))
        got = [await client.next() for _ in range(100)]
        assert [answer.id for answer in got] == list(range(1, 101))
        assert [answer.writes[0][1] for answer in got] == list(range(2, 102))
        assert node.get("x") == 100


async def test_a_cancelled_write_that_waits_is_not_made() -> None:
    async with raw_client() as (node, _, client):
        client.send(p.Batch(1, (p.Op(("x",), pack(1)),), "peer:1", 300))
        client.send(p.Batch(2, (p.Op(("y",), pack(2)),), "memory", 5000), p.Cancel(2))
        client.send(p.Batch(3, (p.Op(("z",), pack(3)),), "memory", 5000))
        assert (await client.next()).id == 3
        late = await client.next()
        assert (late.id, late.code) == (1, "ack_timeout")
        assert late.fields["dots"][0][1] == 2
        assert (node.get("x"), node.get("y"), node.get("z")) == (1, None, 3)


async def test_a_client_that_waits_too_much_is_paused_and_no_id_waits_twice() -> None:
    async with raw_client(writes=2) as (_, _, client):
        wait = {"ack": "peer:1", "timeout_ms": 300}
        client.send(*(p.Batch(id, (p.Op(("x",), pack(id)),), **wait) for id in (1, 2)), p.Ping(3))
        assert [(await client.next()).id for _ in range(3)] == [1, 2, 3]
        client.send(*(p.Batch(4, (p.Op(("x",), pack(4)),), **wait) for _ in range(2)))
        refused, late = [await client.next() for _ in range(2)]
        assert (refused.id, refused.code) == (4, "bad_request")
        assert (late.id, late.code) == (4, "ack_timeout")


async def test_writes_of_a_client_that_is_gone_are_given_up() -> None:
    async with raw_client() as (node, _, client):
        client.send(p.Batch(1, (p.Op(("x",), pack(1)),), "peer:1", 60_000))
        await eventually(lambda: node.get("x") == 1)
        assert node.driver.waiting == 1
        client.connection.close()
        await eventually(lambda: node.driver.waiting == 0)


async def test_the_answer_to_a_cancelled_write_is_dropped() -> None:
    async with raw_client() as (node, _, client):
        client.send(p.Batch(1, (p.Op(("x",), pack(1)),), "peer:1", 200), p.Ping(2))
        assert await client.next() == p.Pong(2)
        client.send(p.Cancel(1), p.Batch(3, (p.Op(("x",), pack(1)),), "peer:1", 300))
        assert (await client.next()).id == 3
        assert node.get("x") == 1


async def test_authors() -> None:
    async with raw_client() as (node, _, client):
        await client.ask(p.Batch(1, (p.Op(("x",), pack(1)),), "disk", 5000))
        await client.ask(p.Batch(2, (p.Op(("y",), pack(1)),), "disk", 5000, "special"))
        authors = {path: node.replica.tree.at((path,))[0].details.author for path in "xy"}
        assert authors == {"x": "rawauthor", "y": "special"}


async def test_a_silent_client_is_let_go() -> None:
    async with raw_client(idle_s=0.05) as (node, _, client):
        client.send(p.Watch(1, (), None, None, False, 10))
        await eventually(lambda: len(node.clients.watches) == 0 and not node.clients._sessions)
        assert client.connection.is_closed or await client.to_end()


async def test_a_resume_that_is_cancelled_while_it_waits() -> None:
    async with raw_client() as (node, _, client):
        ahead = {"z~0123456789abcdef": (1, 100)}
        client.send(p.Watch(1, (), None, None, False, 10, ahead, True, 50), p.Cancel(1))
        client.send(p.Watch(2, (), None, None, False, 10, ahead, True, 100))
        begin = await client.next()
        assert (begin.id, begin.kind) == (2, p.RESET)
        assert len(node.clients.watches) == 1


async def test_a_node_in_doubt_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a node has yet to catch up (R5), its readings are marked stale, and a watch says it, too."""
    async with raw_client(current_poll_s=0.01) as (node, _, client):
        await node.set("x", 1)
        monkeypatch.setattr(node.replica.state, "behind", True)
        got = await client.ask(p.Get(1, Path(("x",)).key))
        assert got.row.flags & p.STALE
        begin = await client.ask(p.Watch(2, (), None, None, False, 10, None, False, 50))
        assert (begin.kind, begin.reason.split(" (")[0]) == (
            p.RESET,
            "the node has yet to catch up with its peers after its store was in doubt",
        )
        client.send(p.Cancel(2), p.Watch(3, (), None, None, False, 10, None, False, 5000))
        monkeypatch.setattr(node.replica.state, "behind", False)
        while True:
            message = await client.next()
            if message.id == 3:
                assert message == p.Begin(3, p.FULL)
                break


async def test_events_that_nobody_takes_are_dropped_and_counted() -> None:
    async with raw_client() as (_, _, client):
        client.send(p.Events(1, (), None, None, 0))
        for id in range(2, 1_203):
            client.send(p.SendEvent(id, ("e",), pack(id)))
        for _ in range(2, 1_203):
            assert isinstance(await client.next(), p.Done)
        first = await client.ask(p.Grant(1, 10))
        assert isinstance(first, p.EventRows)
        assert first.lost == 201
        assert first.events[0].value == pack(203)
        assert len(first.events) == 10


async def test_errors_of_the_node_come_with_their_fields() -> None:
    async with raw_client() as (node, _, client):
        await node.set("x", 1)
        failed = await client.ask(p.Batch(1, (p.Op(("x",), pack(1), ()),), "disk", 100))
        assert (failed.code, failed.fields["path"]) == ("cas_failed", "x")
        assert failed.fields["dots"] == [list(node.replica.tree.at(("x",))[0].dot)]
        late = await client.ask(p.Batch(2, (p.Op(("x",), pack(1)),), "peer:3", 30))
        assert (late.code, late.fields["level"], late.fields["missing"]) == ("ack_timeout", "peer:3", [])
        node.driver.stop()
        await eventually(lambda: node.driver._ended)
        stopped = await client.ask(p.Batch(3, (p.Op(("x",), pack(1)),), "disk", 100))
        assert stopped.code == "stopping"
        assert (await client.ask(p.SendEvent(4, ("x",), pack(1)))).code == "stopping"
