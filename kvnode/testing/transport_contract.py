"""What every transport must do, as a list of checks: run each with a transport and an address to listen on.

A test module parametrizes over :data:`CONTRACT` and awaits ``check(transport, address)``; the checks raise
AssertionError. They need no particular test framework.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
import anyio.lowlevel

from kvnode.codec.framing import FrameDecoder, frame
from kvnode.transport.address import Address
from kvnode.transport.base import (
    MAX_QUEUED_BYTES,
    Connection,
    ConnectionClosed,
    DialFailed,
    Handler,
    Listener,
    ListenFailed,
    Transport,
)
from kvnode.transport.tasks import background_tasks

Check = Callable[[Transport, Address], Awaitable[None]]

TIMEOUT_S: Final = 20.0


@asynccontextmanager
async def served(transport: Transport, address: Address, handler: Handler, limit: int = 100) -> AsyncIterator[Listener]:
    """Serve `handler` while the block runs."""
    listener = await transport.listen(address)
    async with background_tasks() as tasks:
        tasks.start_soon(partial(listener.serve, handler, max_connections=limit))
        try:
            with anyio.fail_after(TIMEOUT_S):
                yield listener
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()


async def frames(connection: Connection, count: int) -> list[bytes]:
    """The next payloads."""
    decoder = FrameDecoder()
    got: list[bytes] = []
    while len(got) < count:
        got += decoder.feed(await connection.receive())
    return got


async def echo(connection: Connection) -> None:
    """Send everything back."""
    while True:
        await connection.send(await connection.receive())


async def read_to_end(connection: Connection) -> bytes:
    """Everything until the other side is done."""
    parts: list[bytes] = []
    try:
        while True:
            parts.append(await connection.receive())
    except ConnectionClosed:
        return b"".join(parts)


async def carries_frames_both_ways(transport: Transport, address: Address) -> None:
    """Payloads of any size come back whole and in order."""
    payloads = [bytes([n % 256]) * (n * 37 % 5000) for n in range(300)]
    async with served(transport, address, echo) as listener, transport.dial(listener.address) as connection:
        for payload in payloads:
            await connection.send(frame(payload))
        assert await frames(connection, len(payloads)) == payloads
        assert connection.queued_bytes == 0


async def carries_a_large_frame(transport: Transport, address: Address) -> None:
    """A frame larger than every buffer below."""
    payload = bytes(range(256)) * 20_000
    async with served(transport, address, echo) as listener, transport.dial(listener.address) as connection:
        await connection.send(frame(payload))
        assert (await frames(connection, 1))[0] == payload


async def bounds_its_queue(transport: Transport, address: Address) -> None:
    """A reader that does not read makes queue() say no, at the bound; reading makes room again."""
    go_on = anyio.Event()
    got = 0

    async def slow(connection: Connection) -> None:
        nonlocal got
        await go_on.wait()
        while True:
            got += len(await connection.receive())

    async with served(transport, address, slow) as listener, transport.dial(listener.address) as connection:
        block = bytes(1 << 20)
        sent = 0
        while connection.queue(block):
            sent += len(block)
            await anyio.lowlevel.checkpoint()
            assert connection.queued_bytes <= MAX_QUEUED_BYTES
            assert sent < 100 << 20, "the queue has no bound"
        assert not connection.is_closed
        go_on.set()
        await connection.drained(0)
        assert connection.queue(block)
        await connection.drained(0)
        sent += len(block)
        while got < sent:
            await anyio.lowlevel.checkpoint()


async def a_waiting_sender_can_be_cancelled(transport: Transport, address: Address) -> None:
    """A sender that is cancelled while it waits for room leaves nothing of its frame."""
    go_on = anyio.Event()
    got: list[bytes] = []

    async def slow(connection: Connection) -> None:
        await go_on.wait()
        got.append(await read_to_end(connection))

    block = bytes(1 << 20)
    async with served(transport, address, slow) as listener:
        sent = 0
        async with transport.dial(listener.address) as connection:
            cancelled = False
            while not cancelled:
                with anyio.move_on_after(0.1) as scope:
                    await connection.send(block)
                    sent += len(block)
                cancelled = scope.cancelled_caught
                assert sent < 100 << 20, "the queue has no bound"
            go_on.set()
            await connection.drained(0)  # finish() waits a bounded time only
            await connection.finish()
        while not got:
            await anyio.lowlevel.checkpoint()
    assert got[0] == bytes(sent)


async def finish_delivers_what_is_queued(transport: Transport, address: Address) -> None:
    """An orderly close loses nothing, though the other side wrote something that is never read."""
    got: list[bytes] = []

    async def reader(connection: Connection) -> None:
        await connection.send(b"never read")
        got.append(await read_to_end(connection))

    async with served(transport, address, reader) as listener:
        async with transport.dial(listener.address) as connection:
            for _ in range(50):
                assert connection.queue(b"x" * 10_000)
            await connection.finish("done")
            assert connection.why == "done"
            assert not connection.queue(b"more")
        while not got:
            await anyio.lowlevel.checkpoint()
    assert got == [b"x" * 500_000]


async def close_ends_both_sides(transport: Transport, address: Address) -> None:
    """close() wakes this side's receive() and the other side's, and everybody who waits to send."""
    ended = anyio.Event()

    async def reader(connection: Connection) -> None:
        await read_to_end(connection)
        assert connection.is_closed
        ended.set()

    async with served(transport, address, reader) as listener, transport.dial(listener.address) as connection:
        woken: list[str] = []

        async def receive() -> None:
            try:
                await connection.receive()
            except ConnectionClosed as err:
                woken.append(str(err))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.wait_all_tasks_blocked()
            connection.close("enough")
        assert woken == ["enough"]
        assert not connection.queue(b"x")
        for call in (connection.receive(), connection.send(b"x"), connection.drained(0)):
            try:
                await call
            except ConnectionClosed as err:
                assert "enough" in str(err)
            else:
                raise AssertionError("a closed connection took a call")
        await ended.wait()


async def delivers_until_no_more_is_wanted(transport: Transport, address: Address) -> None:
    """What comes goes to the taker until it gives False; the rest is kept for the next one, and nothing is lost."""
    payloads = [bytes([n % 256]) * 50 for n in range(200)]
    got: list[bytes] = []
    decoder = FrameDecoder()
    calls = 0

    def take(data: bytes) -> bool:
        nonlocal calls
        calls += 1
        got.extend(decoder.feed(data))
        return False

    async with served(transport, address, echo) as listener, transport.dial(listener.address) as connection:
        while len(got) < len(payloads):
            sent, called = len(got), calls
            for payload in payloads[sent : sent + 20]:
                connection.queue(frame(payload))
                connection.push()
            while len(got) < sent + 20:
                await connection.deliver(take)
                called += 1
                assert calls == called  # once each time
        connection.queue(frame(b"behind"))
        connection.push()
        assert await frames(connection, 1) == [b"behind"]
    assert got == payloads


async def delivering_ends_with_the_connection(transport: Transport, address: Address) -> None:
    """What the taker raises comes out, and the connection stands; the end of the connection raises ConnectionClosed."""
    ended = anyio.Event()

    def fail(data: bytes) -> bool:
        raise ValueError(bytes(data))

    async def reader(connection: Connection) -> None:
        try:
            await connection.deliver(lambda _: True)
        except ConnectionClosed:
            ended.set()

    async with served(transport, address, echo) as listener, transport.dial(listener.address) as connection:
        connection.queue(b"x")
        try:
            await connection.deliver(fail)
        except ValueError as err:
            assert err.args == (b"x",)
        else:
            raise AssertionError("what the taker raised is lost")
        await connection.send(b"y")
        assert await connection.receive() == b"y"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader, connection)
            await anyio.wait_all_tasks_blocked()
            connection.close("enough")
            await ended.wait()
    ended = anyio.Event()
    async with served(transport, address, reader) as listener:
        async with transport.dial(listener.address):
            pass
        await ended.wait()


async def enough_is_told_even_at_the_end(transport: Transport, address: Address) -> None:
    """Who wanted no more is told so, even if the connection ends at the same moment: there may be work left to do."""
    got: list[bytes] = []

    def take(data: bytes) -> bool:
        got.append(data)
        return False

    async def say_one_thing(connection: Connection) -> None:
        connection.queue(b"all")
        await connection.finish()

    async with served(transport, address, say_one_thing) as listener, transport.dial(listener.address) as connection:
        await connection.deliver(take)
        assert got == [b"all"]
        try:
            await connection.deliver(take)
        except ConnectionClosed:
            return
        raise AssertionError("nothing tells of the end")


async def a_cancelled_taker_takes_nothing(transport: Transport, address: Address) -> None:
    """What comes after a deliver() was cancelled is for the next one."""

    def never(data: bytes) -> bool:
        raise AssertionError("it was cancelled")

    async with served(transport, address, echo) as listener, transport.dial(listener.address) as connection:
        with anyio.move_on_after(0.01):
            await connection.deliver(never)
        await connection.send(b"later")
        got = b""
        while len(got) < 5:
            got += await connection.receive()
        assert got == b"later"


async def nobody_there(transport: Transport, address: Address) -> None:
    """Dialling where nobody listens fails with one line that names the address."""
    async with served(transport, address, echo) as listener:
        gone = listener.address
    try:
        async with transport.dial(gone):
            raise AssertionError("somebody answered")
    except DialFailed as err:
        assert str(gone) in str(err)
        assert "\n" not in str(err)


async def listening_twice_fails(transport: Transport, address: Address) -> None:
    """A second listener is refused, and the first goes on."""
    async with served(transport, address, echo) as listener:
        try:
            await transport.listen(listener.address)
        except ListenFailed as err:
            assert str(listener.address) in str(err)
        else:
            raise AssertionError("two listen on one address")
        async with transport.dial(listener.address) as connection:
            await connection.send(b"still")
            assert await connection.receive() == b"still"


async def the_address_is_free_again(transport: Transport, address: Address) -> None:
    """After closing, one can listen there again."""
    async with served(transport, address, echo) as listener:
        again = listener.address
        async with transport.dial(again) as connection:
            await connection.send(b"x")
            await connection.receive()
    async with served(transport, again, echo), transport.dial(again) as connection:
        await connection.send(b"y")
        assert await connection.receive() == b"y"


async def connections_are_bounded(transport: Transport, address: Address) -> None:
    """Beyond the limit a connection is closed; when one ends there is room again."""
    async with served(transport, address, echo, limit=1) as listener:
        async with transport.dial(listener.address) as first:
            await first.send(b"a")
            assert await first.receive() == b"a"
            async with transport.dial(listener.address) as second:
                assert await read_to_end(second) == b""
        while True:
            async with transport.dial(listener.address) as third:
                third.queue(b"b")
                if await next_bytes(third) == b"b":
                    return


async def next_bytes(connection: Connection) -> bytes:
    """The next bytes, or none at the end."""
    try:
        return await connection.receive()
    except ConnectionClosed:
        return b""


async def the_body_error_comes_out(transport: Transport, address: Address) -> None:
    """What the block around a connection raises is not wrapped in a group."""
    async with served(transport, address, echo) as listener:
        try:
            async with transport.dial(listener.address):
                raise LookupError("mine")
        except LookupError as err:
            assert str(err) == "mine"


CONTRACT: Final[tuple[Check, ...]] = (
    carries_frames_both_ways,
    carries_a_large_frame,
    bounds_its_queue,
    a_waiting_sender_can_be_cancelled,
    finish_delivers_what_is_queued,
    close_ends_both_sides,
    delivers_until_no_more_is_wanted,
    delivering_ends_with_the_connection,
    enough_is_told_even_at_the_end,
    a_cancelled_taker_takes_nothing,
    nobody_there,
    listening_twice_fails,
    the_address_is_free_again,
    connections_are_bounded,
    the_body_error_comes_out,
)
"""All checks."""
