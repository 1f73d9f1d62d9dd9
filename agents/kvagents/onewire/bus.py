"""The only I/O of this agent: calls to owserver, by pyownet, in worker threads.

What shaped this module:

* pyownet blocks and is not thread-safe: every call runs in a worker thread, one at a time per server.
* It waits 2 s for a silent server, but for ever for one that keeps saying "still working": each call carries a
  time limit. Its own factory ``proxy()`` makes calls without one, so the persistent proxy is built directly.
* A cancelled call is not abandoned (a thread that still uses the connection would break the next call): its
  socket is shut down instead, which ends it at once.
* An owserver that is asked to stop waits for persistent connections to end, so a :class:`Session` lasts for one
  poll and is closed after it. A session that finds its connection cut (the server was restarted) calls again once.
* Paths name the bus (``/uncached/bus.0/28.67452301EF00/...``): a device that is gone then gives an error at once,
  and no search over all buses.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint_if_cancelled
from pyownet import protocol

from kvagents.framework.errors import Failed
from kvagents.onewire.model import Rom, RomError, family_of

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 5.0
"""How long a server may keep saying that it is still working on one call."""

MAX_HUBS: Final = 4
"""Hubs behind hubs are followed this deep."""

# What pyownet raises when the peer's bytes make no sense, besides its own errors.
_GARBAGE: Final = (AssertionError, struct.error, UnicodeError, IndexError)
_CUT: Final = (errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.EBADF)


class ServerError(Failed):
    """owserver cannot be reached (``unreachable``), does not answer (``timeout``), went away (``closed``), or does not
    make sense (``protocol``).
    """


class DeviceError(Exception):
    """owserver works but a device gave no answer; `errno` is owserver's number."""

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


# owserver's own texts mislead (1 reads "command line parameters invalid"), so these are ours.
_MEANINGS: Final = {
    1: "owserver does not know this path",
    2: "the device does not answer",
    5: "input or output error on the bus",
    19: "the device is not there",
    22: "the device does not answer properly",
    95: "this cannot be written",
}


class _Proxy(protocol._PersistentProxy):  # type: ignore[misc]  # pyownet ships no types
    """pyownet's persistent proxy, which also remembers the connection in use so that it can be cut."""

    live: Any = None
    was_cut = False

    def _new_connection(self) -> Any:
        self.live = super()._new_connection()
        return self.live

    def cut(self) -> None:
        """End a call that another thread is waiting in."""
        self.was_cut = True
        if self.live is not None:
            with suppress(OSError):  # already closed: what we wanted
                self.live.socket.shutdown(socket.SHUT_RDWR)


class Session:
    """Calls to one owserver over one connection. Methods raise :class:`ServerError` and :class:`DeviceError`."""

    def __init__(self, proxy: _Proxy, where: str, timeout_s: float) -> None:
        self._proxy = proxy
        self._where = where
        self._timeout_s = timeout_s
        self._limiter = anyio.CapacityLimiter(1)

    async def scan(self) -> dict[Rom, str]:
        """Search all buses: the devices found, each with the path of its bus, such as ``/bus.0``.

        What is behind a hub has a longer one, such as ``/bus.0/1F.0011223344AA/main``.
        """
        entries = await self._directory("/")
        buses = [("/" + entry.strip("/"), MAX_HUBS) for entry in entries if entry.startswith("/bus.")]
        found: dict[Rom, str] = {}
        while buses:
            bus, hubs_left = buses.pop(0)
            for rom in await self._roms(bus):
                found.setdefault(rom, bus)
                family = family_of(rom)
                if hubs_left and family is not None:
                    buses += [(f"{bus}/{rom}/{branch}", hubs_left - 1) for branch in family.branches]
        return found

    async def _roms(self, bus: str) -> list[Rom]:
        """The devices of a bus; none of one that has no such branch or whose hub just went away."""
        try:
            entries = await self._directory(f"/uncached{bus}")
        except DeviceError:
            if bus.count("/") == 1:
                raise
            return []
        return [rom for rom in map(_rom_of, entries) if rom is not None]

    async def alarms(self, bus: str) -> list[Rom]:
        """The devices of a bus that are in alarm: a conditional search, which takes as long as there are such."""
        return [rom for rom in map(_rom_of, await self._directory(f"/uncached{bus}/alarm")) if rom is not None]

    async def read(self, bus: str, rom: Rom, name: str) -> bytes:
        """An attribute of a device."""
        return await self._read(f"{bus}/{rom}/{name}")

    async def write(self, bus: str, rom: Rom, name: str, data: bytes) -> None:
        """Write an attribute of a device."""
        await self._write(f"{bus}/{rom}/{name}", data)

    async def convert(self, bus: str) -> None:
        """Start a temperature conversion in all sensors of a bus. Does not wait for its end."""
        await self._write(f"{bus}/simultaneous/temperature", b"1")

    async def measure(self, bus: str, rom: Rom, bits: int | None) -> bytes:
        """Make one sensor measure, wait for it, and read it: slow, but owserver powers the bus as it needs."""
        return await self._read(f"{bus}/{rom}/temperature{bits or ''}")

    async def _directory(self, path: str) -> list[str]:
        return await self._call(lambda: list(self._proxy.dir(path, bus=True, timeout=self._timeout_s)))

    async def _read(self, path: str) -> bytes:
        return await self._call(lambda: bytes(self._proxy.read(f"/uncached{path}", timeout=self._timeout_s)))

    async def _write(self, path: str, data: bytes) -> None:
        await self._call(lambda: self._proxy.write(path, data, timeout=self._timeout_s))

    async def _call(self, call: Callable[[], T]) -> T:
        done = False

        async def cut_when_cancelled() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                if not done:
                    self._proxy.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut_when_cancelled)
            outcome = await to_thread.run_sync(self._attempt, call, limiter=self._limiter)
            done = True
            tasks.cancel_scope.cancel()
        # A call that ended because it was cancelled is no error of the server.
        await checkpoint_if_cancelled()
        if isinstance(outcome, (ServerError, DeviceError)):
            raise outcome
        return outcome

    def _attempt(self, call: Callable[[], T]) -> T | ServerError | DeviceError:
        """Call, in a worker thread; errors are returned, because a task group would wrap them."""
        reused = self._proxy.conn is not None
        self._proxy.was_cut = False
        try:
            return call()
        except (protocol.Error, *_GARBAGE) as error:
            if not (reused and _is_cut(error)) or self._proxy.was_cut:
                return _translate(error, self._where)
        try:
            return call()
        except (protocol.Error, *_GARBAGE) as error:
            return _translate(error, self._where)

    async def close(self) -> None:
        """Close the connection, so that owserver can stop. Cancellation does not keep it open."""
        self._proxy.close_connection()


@asynccontextmanager
async def open_session(host: str, port: int, *, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[Session]:
    """A :class:`Session` with the owserver at `host` and `port`; the connection is made by the first call.

    Raises :class:`ServerError` when the name cannot be resolved.
    """
    where = f"owserver at [{host}]:{port}" if ":" in host else f"owserver at {host}:{port}"
    try:
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise ServerError("unreachable", f"{where}: the name {host!r} cannot be resolved ({error})") from None
    session = Session(await _first_that_answers(found, where), where, timeout_s)
    try:
        yield session
    finally:
        await session.close()


async def _first_that_answers(found: list[Any], where: str) -> _Proxy:
    """Try the addresses of a name in turn; with a single one the first call tells."""
    error: Exception = ServerError("unreachable", f"{where}: the name has no address")
    for family, _, _, _, address in found:
        proxy = _Proxy(family, address)
        if len(found) == 1:
            return proxy
        try:
            await to_thread.run_sync(proxy.ping)
        except (protocol.Error, *_GARBAGE) as failure:
            error = _translate(failure, where)
            continue
        return proxy
    raise error


def _rom_of(entry: str) -> Rom | None:
    try:
        return Rom.parse(entry.strip("/").rpartition("/")[2])
    except RomError:
        return None


def _is_cut(error: BaseException) -> bool:
    """Whether the connection was closed under us, as a restart of the server does."""
    if isinstance(error, protocol.ShortRead):
        return True
    return isinstance(error, protocol.ConnError) and error.errno in _CUT


def _translate(error: BaseException, where: str) -> ServerError | DeviceError:
    if isinstance(error, protocol.OwnetError):
        number = error.errno or 0
        path = error.filename or ""
        return DeviceError(f"{path}: {_MEANINGS.get(number, f'owserver error {number}')}", number)
    if isinstance(error, protocol.OwnetTimeout) or isinstance(error.__context__, TimeoutError):
        return ServerError("timeout", f"{where} does not answer in time")
    if isinstance(error, protocol.ConnError):
        return ServerError("unreachable", f"{where}: {error.strerror or error}")
    if isinstance(error, protocol.ShortRead):
        return ServerError("closed", f"{where} closed the connection")
    return ServerError("protocol", f"{where} does not speak the owserver protocol ({type(error).__name__})")
