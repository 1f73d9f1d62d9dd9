from __future__ import annotations

import asyncio
import os
import socket
import struct
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute

from kvnode.testing.inprocess import WAIT_S
from kvnode.testing.transport_contract import echo, served
from kvnode.transport.address import Address
from kvnode.transport.asyncio_stream import MAX_UNREAD_BYTES, AsyncioConnection, connection_over
from kvnode.transport.base import Connection, ConnectionClosed, DialFailed, ListenFailed, StreamConnection, running
from kvnode.transport.memory import MemoryStream, MemoryTransport, memory_pair
from kvnode.transport.signals import on_asyncio
from kvnode.transport.tcp import TcpTransport

pytestmark = pytest.mark.anyio


class Counting(MemoryStream):
    writes = 0

    async def send(self, item: bytes) -> None:
        self.writes += 1
        await super().send(item)


async def test_what_is_queued_in_one_turn_leaves_in_one_write() -> None:
    near, far = memory_pair()
    counting = Counting(near._in, near._out, 1 << 20)
    async with running(StreamConnection(counting, "x")) as connection:
        for n in range(1000):
            assert connection.queue(b"%04d" % n)
        await connection.drained(0)
        assert counting.writes == 1
        assert len(await far.receive()) == 4000


async def test_a_cut_cable_ends_receive_and_queue() -> None:
    network = MemoryTransport()
    address = Address("memory", path="a")
    async with served(network, address, echo), network.dial(address) as connection:
        await connection.send(b"x")
        assert await connection.receive() == b"x"
        assert network.cut("b") == 0
        assert network.cut("a") == 1
        with pytest.raises(ConnectionClosed, match="broken"):
            await connection.receive()
        assert not connection.queue(b"y")
    network.refused.add("a")
    with pytest.raises(DialFailed, match="memory:a: connection refused"):
        async with network.dial(address):
            pass


async def test_a_handler_that_fails_is_logged_and_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def faulty(connection: Connection) -> None:
        if await connection.receive() == b"fail":
            raise LookupError("a bug")
        await echo(connection)

    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), faulty) as listener,
        transport.dial(listener.address) as bad,
        transport.dial(listener.address) as good,
    ):
        await good.send(b"go on")
        await bad.send(b"fail")
        with pytest.raises(ConnectionClosed):
            await bad.receive()
        await good.send(b"x")
        assert await good.receive() == b"x"
    assert "a bug" in caplog.text


async def test_both_ends_switch_nagle_off() -> None:
    seen: list[int] = []

    def no_delay(connection: Connection) -> int:
        raw = connection.attribute(SocketAttribute.raw_socket)
        return raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def look(connection: Connection) -> None:
        seen.append(no_delay(connection))
        assert connection.peer.startswith("127.0.0.1:")
        await echo(connection)

    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), look) as listener,
        transport.dial(listener.address) as connection,
    ):
        await connection.send(b"x")
        await connection.receive()
        assert no_delay(connection)
    assert seen
    assert all(seen)


async def test_on_asyncio_connections_go_without_streams_between() -> None:
    """Should anyio change what it keeps of a socket, all would still work, and cost twice as much."""
    kinds: list[type[Connection]] = []

    async def look(connection: Connection) -> None:
        kinds.append(type(connection))
        await echo(connection)

    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), look) as listener,
        transport.dial(listener.address) as connection,
    ):
        await connection.send(b"x")
        assert await connection.receive() == b"x"
        kinds.append(type(connection))
    assert set(kinds) == {AsyncioConnection if on_asyncio() else StreamConnection}


async def test_what_came_before_anybody_looked_is_received_and_reading_ahead_is_bounded() -> None:
    sent = 64 * MAX_UNREAD_BYTES
    go = anyio.Event()
    got: list[int] = []
    left = anyio.Event()

    async def late(connection: Connection) -> None:
        await go.wait()
        while sum(got) < sent:
            got.append(len(await connection.receive()))
        left.set()

    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), late) as listener,
        transport.dial(listener.address) as connection,
    ):
        for _ in range(sent // 65_536):
            await connection.send(bytes(65_536))
        with anyio.move_on_after(0.1) as scope:
            await connection.drained(0)
        assert scope.cancelled_caught, "the other side has not taken all of it"
        go.set()
        await connection.drained(0)
        await left.wait()
    assert sum(got) == sent
    assert max(got) <= 2 * MAX_UNREAD_BYTES + 65_536


async def send_for_ever(connection: Connection) -> None:
    while True:
        await connection.send(bytes(65_536))
        await connection.drained(0)


async def test_a_reset_is_told_to_a_writer_whom_nobody_reads_for() -> None:
    async def reset(connection: Connection) -> None:
        await connection.receive()
        raw = connection.attribute(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), reset) as listener,
        transport.dial(listener.address) as connection,
    ):
        with pytest.raises(ConnectionClosed):
            await send_for_ever(connection)
        assert connection.is_closed
        assert not connection.queue(b"x")


async def test_what_is_reset_before_it_is_taken_over_is_a_closed_connection() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, await anyio.connect_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port)) as stream:
        await stream.aclose()
        async with running(connection_over(stream, "x")) as connection:
            with pytest.raises(ConnectionClosed):
                await connection.receive()
            assert not connection.queue(b"x")
            await connection.finish()


async def test_a_name_is_resolved() -> None:
    transport = TcpTransport()
    async with (
        served(transport, Address("tcp", "127.0.0.1", 0), echo) as listener,
        transport.dial(Address("tcp", "localhost", listener.address.port)) as connection,
    ):
        await connection.send(b"x")
        assert await connection.receive() == b"x"
    with pytest.raises(DialFailed, match=r"no-such-host\.invalid:1: "):
        async with transport.dial(Address("tcp", "no-such-host.invalid", 1)):
            pass


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    """A listening socket whose backlog is full leaves the next one waiting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        address = Address("tcp", "127.0.0.1", silent.getsockname()[1])
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        with pytest.raises(DialFailed, match=r"no answer within 0\.2 s"):
            async with TcpTransport(dial_timeout_s=0.2).dial(address):
                pass
        for filler in fillers:
            filler.close()


async def test_a_unix_socket_is_the_owners_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    transport = TcpTransport()
    async with served(transport, Address("unix", path=str(path)), echo) as listener:
        assert path.stat().st_mode & 0o777 == 0o600
        async with transport.dial(listener.address) as connection:
            assert connection.peer == f"unix:{path}"
            assert isinstance(connection, AsyncioConnection) == on_asyncio()
    assert not path.exists()


async def test_a_receive_that_is_cancelled_as_something_comes_leaves_no_error(tmp_path: Path) -> None:
    if not on_asyncio():
        return  # what is tested is asyncio's order of callbacks
    loop = asyncio.get_running_loop()
    errors: list[str] = []
    received: list[bytes] = []
    loop.set_exception_handler(lambda loop, context: errors.append(context["message"]))
    scope = anyio.CancelScope()

    async def receive() -> None:
        with scope:
            received.append(await connection.receive())

    path = os.fspath(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        async with TcpTransport().dial(Address("unix", path=path)) as connection, anyio.create_task_group() as tasks:
            near, _ = listening.accept()
            with near:
                tasks.start_soon(receive)
                await anyio.wait_all_tasks_blocked()
                near.send(b"x")
                loop.call_soon(scope.cancel)  # runs in the next turn, ahead of what that turn finds to be readable
                await anyio.wait_all_tasks_blocked()
                assert scope.cancel_called
                assert received or await connection.receive() == b"x"  # uvloop reads first
    assert errors == []


async def test_a_dead_process_socket_is_replaced_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    transport = TcpTransport()
    async with (
        served(transport, Address("unix", path=str(path)), echo) as listener,
        transport.dial(listener.address) as connection,
    ):
        await connection.send(b"x")
        assert await connection.receive() == b"x"
    path.write_text("mine")
    with pytest.raises(ListenFailed, match="no socket"):
        await transport.listen(Address("unix", path=str(path)))
    assert path.read_text() == "mine"


async def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(ListenFailed, match=r"192\.0\.2\.1:0: "):
        await TcpTransport().listen(Address("tcp", "192.0.2.1", 0))


async def test_a_closed_connection_frees_its_writer() -> None:
    """A writer that is stuck in a write ends with the connection, at once."""
    near, far = memory_pair(capacity=10)
    with anyio.fail_after(WAIT_S):
        async with running(StreamConnection(near, "x")) as connection:
            connection.queue(b"x" * 100)
            await anyio.wait_all_tasks_blocked()
            connection.queue(b"x" * 100)
            await anyio.wait_all_tasks_blocked()
            assert connection.queued_bytes == 100
    assert connection.queued_bytes == 0
    assert connection.why == "closed here"
    assert await far.receive(1000) == b"x" * 100
