"""The links between the nodes of a cluster under test: they can be cut, and they count bytes.

Each node has one port at which the others reach it. Who it is that connects there is found out by looking whose process
owns the other end of the connection: with some systems all nodes reach a node by the same advertised address.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1 << 18


class Wires:
    """Started before the nodes are; they get their :meth:`ports` when their own are known."""

    def __init__(self) -> None:
        self.bytes = 0
        """What has passed, in both directions, on links of the node that gets cut off."""
        self._pids: Callable[[], Sequence[int]] = tuple
        self._real: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._ports: list[int] = []
        self._open: dict[asyncio.WriteTransport, frozenset[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._off: int | None = None

    def ports(self, real: Sequence[int]) -> list[int]:
        """A port in front of each of these."""
        self._real = list(real)
        return self._ports

    async def start(self, count: int, pids: Callable[[], Sequence[int]]) -> None:
        """Listen, for so many nodes, whose processes `pids` tells, 0 for one that does not run."""
        self._pids = pids
        for node in range(count):
            server = await asyncio.start_server(self._accept(node), "127.0.0.1", 0, limit=_CHUNK_BYTES)
            self._servers.append(server)
            self._ports.append(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Break everything."""
        for server in self._servers:
            server.close()
        for transport in list(self._open):
            transport.abort()
        await asyncio.gather(*self._tasks)

    def cut(self, node: int) -> None:
        """Break the links of this node, and refuse new ones."""
        self._off = node
        for transport, ends in list(self._open.items()):
            if node in ends:
                transport.abort()

    def heal(self) -> None:
        """Let all pass; what passes from now on for the node that was cut off is counted anew."""
        self._off = None
        self.bytes = 0

    # -- passing on ------------------------------------------------------------------------------------------

    def _accept(self, target: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._serve(target, near, near_out))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _serve(self, target: int, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        source = self._source(near_out.get_extra_info("peername")[1])
        ends = frozenset({source, target})
        if self._off in ends:
            near_out.transport.abort()
            return
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self._real[target], limit=_CHUNK_BYTES)
        except OSError:
            near_out.transport.abort()
            return
        await self._join(ends, (near, near_out), (far, far_out))

    async def _join(
        self,
        ends: frozenset[int],
        one: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        other: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        transports = (one[1].transport, other[1].transport)
        self._open |= dict.fromkeys(transports, ends)
        counted = len(self._real) - 1 in ends
        try:
            await asyncio.gather(self._pass(one[0], other[1], counted), self._pass(other[0], one[1], counted))
        finally:
            for transport in transports:
                del self._open[transport]
                transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: bool) -> None:
        try:
            while data := await source.read(_CHUNK_BYTES):
                sink.write(data)
                self.bytes += len(data) if counted else 0
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()

    def _source(self, port: int) -> int:
        """Which node's process connected from this port; -1 if it is none."""
        inode = _inode_of(port)
        owned = (node for node, pid in enumerate(self._pids()) if pid and inode in _sockets_of(pid))
        return next(owned, -1) if inode else -1


def _inode_of(port: int) -> str:
    """The socket whose own end is this loopback port."""
    local = f"0100007F:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[9] != "0":
            return fields[9]
    return ""


def _sockets_of(pid: int) -> set[str]:
    return set(_socket_inodes(Path(f"/proc/{pid}/fd")))


def _socket_inodes(folder: Path) -> Iterable[str]:
    for name in os.listdir(folder):
        try:
            target = os.readlink(folder / name)
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
