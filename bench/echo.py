"""A message there and back between two processes on loopback, by several means: what no client of anything can beat."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, cast

import anyio
import uvloop
from anyio.abc import SocketAttribute

from kvnode.testing.bench.timing import cpu_s

MESSAGE: Final = b"x" * 100
WARM_UP: Final = 200
_UVLOOP: Final = {"use_uvloop": True}

Told = Callable[[int], None]


# -- blocking sockets ----------------------------------------------------------------------------------------


def _serve_raw(tell: Told) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tell(listener.getsockname()[1])
        connection, _ = listener.accept()
        _no_delay(connection)
        while data := connection.recv(65536):
            connection.sendall(data)


def _ask_raw(port: int, count: int) -> list[float]:
    took = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        _no_delay(connection)
        for _ in range(count):
            began = time.perf_counter()
            connection.sendall(MESSAGE)
            connection.recv(65536)
            took.append(time.perf_counter() - began)
    return took


def _no_delay(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# -- a protocol of uvloop ------------------------------------------------------------------------------------


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Ask(asyncio.Protocol):
    def __init__(self, count: int) -> None:
        self.left = count
        self.took: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.took.append(time.perf_counter() - self.began)
        self.left -= 1
        if self.left:
            self._send()
        else:
            self.transport.close()
            self.done.set_result(None)

    def _send(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(MESSAGE)


def _serve_protocol(tell: Told) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(main())


def _ask_protocol(port: int, count: int) -> list[float]:
    async def main() -> list[float]:
        _, asking = await asyncio.get_running_loop().create_connection(lambda: _Ask(count), "127.0.0.1", port)
        await asking.done
        return asking.took

    return uvloop.run(main())


# -- streams of anyio ----------------------------------------------------------------------------------------


async def _serve_stream(tell: Told) -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        tell(listener.extra(SocketAttribute.local_port))

        async def echo(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                async for data in stream:
                    await stream.send(data)

        await listener.serve(echo)


async def _ask_stream(port: int, count: int) -> list[float]:
    took = []
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        for _ in range(count):
            began = time.perf_counter()
            await stream.send(MESSAGE)
            await stream.receive()
            took.append(time.perf_counter() - began)
    return took


def _serve_uvloop(tell: Told) -> None:
    anyio.run(_serve_stream, tell, backend_options=_UVLOOP)


def _ask_uvloop(port: int, count: int) -> list[float]:
    return anyio.run(_ask_stream, port, count, backend_options=_UVLOOP)


def _serve_trio(tell: Told) -> None:
    anyio.run(_serve_stream, tell, backend="trio")


def _ask_trio(port: int, count: int) -> list[float]:
    return anyio.run(_ask_stream, port, count, backend="trio")


KINDS: Final[dict[str, tuple[Callable[[Told], None], Callable[[int, int], list[float]]]]] = {
    "blocking sockets": (_serve_raw, _ask_raw),
    "protocol of uvloop": (_serve_protocol, _ask_protocol),
    "anyio on uvloop": (_serve_uvloop, _ask_uvloop),
    "anyio on trio": (_serve_trio, _ask_trio),
}


def _child(kind: str, pipe: Connection) -> None:
    KINDS[kind][0](pipe.send)


def round_trip(kind: str, count: int) -> tuple[list[float], float]:
    """How long each of `count` messages took there and back, in seconds, and CPU seconds of both sides for each."""
    ours, theirs = multiprocessing.Pipe()
    process: Any = multiprocessing.get_context("spawn").Process(target=_child, args=(kind, theirs), daemon=True)
    process.start()
    try:
        port = ours.recv()
        before, own = cpu_s(process.pid), time.process_time()
        took = KINDS[kind][1](port, WARM_UP + count)
        cpu = cpu_s(process.pid) - before + time.process_time() - own
    finally:
        process.kill()
        process.join()
    return took[WARM_UP:], cpu / (WARM_UP + count)
