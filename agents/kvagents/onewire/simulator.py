"""A simulated owserver: the protocol of owserver over TCP, with emulated sensors behind it.

``python -m kvagents.onewire.simulator --port 4304`` serves sensors whose temperatures drift. It stands in for owserver
in demonstrations, and in tests, where it can also be told to misbehave (see :class:`Fault`).

The protocol: each message begins with six big-endian 32-bit integers: version (0), payload length, type (in a reply:
result, negative for an error), flags, size, offset. A reply with payload length -1 means "still working, keep waiting".
"""

from __future__ import annotations

import argparse
import enum
import signal
import struct
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import anyio
from anyio.abc import ByteSendStream, Listener, SocketAttribute, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream

from kvagents.onewire.chips import Sensor
from kvagents.onewire.chips_io import Switch8
from kvagents.onewire.model import Rom
from kvagents.onewire.simtree import NOT_A_DIRECTORY, OwError, SimulatedBus, drift, example_roms

HEADER: Final = struct.Struct(">6i")
MAX_PAYLOAD: Final = 65536
MAX_PERSISTENT: Final = 20
"""Clients beyond this number are served, but not granted a persistent connection, as owserver does it."""

NOP, READ, WRITE, DIR, PRESENCE, DIRALL, GET, DIRALLSLASH, GETSLASH = 1, 2, 3, 4, 6, 7, 8, 9, 10
ALL_ENTRIES: Final = 0x2
PERSISTENT: Final = 0x4
_NO_MESSAGE: Final = 42
_EMPTY: Final = 90
_BAD_MESSAGE: Final = 74


class Fault(enum.Enum):
    """How the server misbehaves, if at all. (To make it refuse connections, stop it.)"""

    NONE = "none"
    SILENT = "silent"
    """Takes connections and requests, answers nothing."""
    BUSY = "busy"
    """Says "still working" for ever."""
    GARBAGE = "garbage"
    """Answers with bytes that are no message."""
    CUT = "cut"
    """Closes the connection instead of answering."""


class SimulatedOwserver:
    """Serves a :class:`SimulatedBus`; `fault` may be changed at any time.

    `keep_alive_s` is how often a slow call says that it is still going on.
    """

    def __init__(self, bus: SimulatedBus, *, keep_alive_s: float = 1.0) -> None:
        self.bus = bus
        self.fault = Fault.NONE
        self.keep_alive_s = keep_alive_s
        self.requests = 0
        self.clients = 0
        self._persistent = 0

    async def serve(
        self, host: str = "127.0.0.1", port: int = 0, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; reports the port. Raises OSError when it cannot have it."""
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
        task_status.started(listener.extra(SocketAttribute.local_port))
        await self.serve_on(listener)

    async def serve_on(self, listener: Listener[SocketStream]) -> None:
        """Serve those who come to `listener`, until cancelled."""
        async with listener:
            await listener.serve(self._client)

    async def _client(self, stream: SocketStream) -> None:
        self.clients += 1
        granted = False
        try:
            async with stream:
                source = BufferedByteReceiveStream(stream)
                while True:
                    header, payload = await _receive(source)
                    persistent = bool(header[3] & PERSISTENT) and (granted or self._persistent < MAX_PERSISTENT)
                    self._persistent += persistent and not granted
                    granted = granted or persistent
                    await self._answer(stream, header, payload, persistent)
                    if not persistent:
                        return
        except (anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client left
        except _BadMessage:
            pass  # owserver closes the connection without a word, and so do we
        finally:
            self._persistent -= granted
            self.clients -= 1

    async def _answer(self, stream: SocketStream, header: tuple[int, ...], payload: bytes, persistent: bool) -> None:
        self.requests += 1
        flags = header[3] if persistent else header[3] & ~PERSISTENT
        reply = _Reply(stream, flags)
        match self.fault:
            case Fault.SILENT:
                await anyio.sleep_forever()
            case Fault.BUSY:
                while True:
                    await reply.still_working()
                    await anyio.sleep(self.keep_alive_s)
            case Fault.GARBAGE:
                await stream.send(b"HTTP/1.0 400 this is no owserver\r\n\r\n")
            case Fault.CUT:
                raise _BadMessage
            case Fault.NONE:
                await self._execute(reply, header, payload)

    async def _execute(self, reply: _Reply, header: tuple[int, ...], payload: bytes) -> None:
        _, _, kind, flags, size, offset = header
        if kind == NOP:
            return await reply.send(0)
        if kind not in (READ, WRITE, DIR, PRESENCE, DIRALL, GET, DIRALLSLASH, GETSLASH):
            return await reply.send(-_NO_MESSAGE)
        if not payload:
            return await reply.send(-_BAD_MESSAGE)
        raw_path, _, data = payload.partition(b"\0")
        path = raw_path.decode("ascii", "replace")
        try:
            if path and not path.startswith("/"):
                raise OwError(1)
            if kind in (GET, GETSLASH):
                kind = self._either(kind, path)
            if kind == READ:
                await self._read(reply, path, size, offset)
            elif kind == WRITE:
                self.bus.write(path, data[:size] if size else data)
                await reply.send(0, size=size)
            elif kind == PRESENCE:
                await reply.send(0, self.bus.present(path), size=0)
            else:
                await self._directory(reply, kind, path, flags)
        except OwError as error:
            await reply.send(-error.errno)

    def _either(self, kind: int, path: str) -> int:
        """A ``get`` lists a directory and reads anything else."""
        try:
            self.bus.directory(path)
        except OwError as error:
            if error.errno == NOT_A_DIRECTORY:
                return READ
            raise
        return DIRALL if kind == GET else DIRALLSLASH

    async def _read(self, reply: _Reply, path: str, size: int, offset: int) -> None:
        if size <= 0:
            raise OwError(_EMPTY)
        wait_s = self.bus.wait_s(path)
        while wait_s > 0:
            await anyio.sleep(min(wait_s, self.keep_alive_s))
            wait_s -= self.keep_alive_s
            if wait_s > 0:
                await reply.still_working()
        data = self.bus.read(path)[max(offset, 0) :][:size]
        await reply.send(len(data), data, offset=offset)

    async def _directory(self, reply: _Reply, kind: int, path: str, flags: int) -> None:
        entries = self.bus.directory(path, all_entries=bool(flags & ALL_ENTRIES))
        if kind != DIRALLSLASH:
            entries = [e.rstrip("/") for e in entries]
        if kind == DIR:
            for entry in entries:
                await reply.send(0, entry.encode() + b"\0", size=len(entry))
            return await reply.send(0)
        text = ",".join(entries).encode()
        await reply.send(0, text + b"\0" if text else b"", size=len(text))


class _BadMessage(Exception):
    """A request that owserver would not answer."""


async def _receive(source: BufferedByteReceiveStream) -> tuple[tuple[int, ...], bytes]:
    header = HEADER.unpack(await source.receive_exactly(HEADER.size))
    if not 0 <= header[1] <= MAX_PAYLOAD:
        raise _BadMessage
    return header, await source.receive_exactly(header[1]) if header[1] else b""


class _Reply:
    """Sends the messages of one answer."""

    def __init__(self, stream: ByteSendStream, flags: int) -> None:
        self._stream = stream
        self._flags = flags

    async def send(self, result: int, payload: bytes = b"", *, size: int | None = None, offset: int = 0) -> None:
        size = len(payload) if size is None else size
        await self._stream.send(HEADER.pack(0, len(payload), result, self._flags, size, offset) + payload)

    async def still_working(self) -> None:
        await self._stream.send(HEADER.pack(0, -1, 0, self._flags, 0, 0))


# -- as a program --------------------------------------------------------------------------------------------


def example_bus(count: int, seed: int, switches: int = 0) -> SimulatedBus:
    """A bus with `count` sensors whose temperatures drift with the wall clock, repeatably for a `seed`.

    The switches, of eight pins each, have nothing at their pins.
    """
    sensors = (Sensor(rom, drift(seed, rom, time.time), time.monotonic) for rom in example_roms(count))
    pins = (Switch8(Rom(0x29, bytes((0x67, 0x45, 0x23, 0x01, 0xEF, n)))) for n in range(switches))
    return SimulatedBus([*sensors, *pins])


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kvagents.onewire.simulator", description="A simulated owserver.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4304, help="TCP port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--sensors", type=int, default=3, metavar="N", help="number of sensors (default: %(default)s)")
    parser.add_argument(
        "--switches", type=int, default=0, metavar="N", help="number of switches (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="makes other temperatures (default: %(default)s)")
    args = parser.parse_args(argv)
    if not 1 <= args.sensors <= 200:
        parser.error("--sensors takes 1 to 200")
    if not 0 <= args.switches <= 200:
        parser.error("--switches takes 0 to 200")
    bus = example_bus(args.sensors, args.seed, args.switches)
    try:
        anyio.run(partial(_run, SimulatedOwserver(bus), args.host, args.port))
    except OSError as error:
        sys.stderr.write(f"cannot listen on {args.host}:{args.port}: {error.strerror or error}\n")
        return 1
    return 0


async def _run(server: SimulatedOwserver, host: str, port: int) -> None:
    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve_on, listener)
            port = listener.extra(SocketAttribute.local_port)
            roms = " ".join(str(rom) for rom in server.bus.sensors)
            sys.stdout.write(f"simulated owserver on {host}:{port}: {roms}\n")
            sys.stdout.flush()
            async for _ in signals:
                tasks.cancel_scope.cancel()
                return


if __name__ == "__main__":
    sys.exit(main())
