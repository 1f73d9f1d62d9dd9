"""Keeping a client's session connected: dialling, greeting, and dialling again, the same address or the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import anyio

from kvnode.codec.framing import FrameDecoder, FrameError
from kvnode.transport.address import Address
from kvnode.transport.base import Connection, ConnectionClosed, DialFailed, Transport

from . import protocol as p
from .errors import KvError, ProtocolError, unavailable
from .session import Session
from .wire import WireError, decode_answer, framed


class Connecting:
    """Connects `session`. `hello` opens each connection, `random` gives numbers of [0, 1) for the back-off."""

    def __init__(
        self,
        session: Session,
        addresses: Sequence[Address],
        transport: Transport,
        hello: p.ClientHello,
        random: Callable[[], float],
    ) -> None:
        self._session: Final = session
        self._addresses: Final = tuple(addresses)
        self._transport: Final = transport
        self._hello: Final = framed(hello)
        self._random: Final = random

    async def run(self) -> None:
        """Keep a connection, and the session's time limits, until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._session.keep_time)
            tasks.start_soon(self._session.send_late)
            await self._keep_connected()

    async def _keep_connected(self) -> None:
        session, options = self._session, self._session.options
        at = 0
        delay = options.backoff_first
        while True:
            before = session.connections
            await self._connect(self._addresses[at])
            if session.connections > before:  # it stood; a node that comes back is most likely where it was
                delay = options.backoff_first
            else:
                at = (at + 1) % len(self._addresses)
                if at == 0:
                    session.all_tried()
            if session.connections > before or at == 0:
                await anyio.sleep(delay * (1 + self._random()) / 2)
                delay = min(2 * delay, options.backoff_most)

    async def _connect(self, address: Address) -> None:
        """Dial, and stay connected until the end."""
        session = self._session
        try:
            async with self._transport.dial(address) as connection:
                try:
                    await self._converse(connection)
                except (KvError, FrameError, WireError) as err:
                    connection.close(str(err))
                    raise
        except DialFailed as err:
            session.failed(address, unavailable(str(err)))
        except KvError as err:
            session.failed(address, err)
        except (ConnectionClosed, FrameError, WireError) as err:
            if session.node is None:
                session.failed(address, _unfit(address, err))
        finally:
            session.down(address)

    async def _converse(self, connection: Connection) -> None:
        session = self._session
        decoder = FrameDecoder()
        connection.queue(self._hello)
        first, *others = await self._greeting(connection, decoder)
        session.up(connection, decode_answer(first))
        session.take(others)

        def take(data: bytes) -> bool:
            session.take(decoder.feed(data))
            return True

        await connection.deliver(take)

    async def _greeting(self, connection: Connection, decoder: FrameDecoder) -> list[bytes]:
        payloads: list[bytes] = []
        limit_s = self._session.options.hello_timeout
        with anyio.move_on_after(limit_s):
            while not payloads:
                payloads = decoder.feed(await connection.receive())
        if not payloads:
            raise unavailable(f"{connection.peer}: connected, but no answer in {limit_s:g} s")
        return payloads


def _unfit(address: Address, err: Exception) -> KvError:
    if isinstance(err, ConnectionClosed):
        return unavailable(f"{address}: {err} before it answered")
    return ProtocolError("protocol_error", f"{address}: {err}")
