"""What a system has to offer to be measured: three nodes, or as near as it gets, and its usual client."""

from __future__ import annotations

import asyncio
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final

from bench.server import Server, program
from bench.wires import Wires
from kvnode.testing.bench.store import Store

NODES: Final = 3
WAIT_S: Final = 120.0
POLL_S: Final = 0.01


class Cluster(ABC):
    """A system's processes: the first is where clients write, the last is "the other node".

    With `wires`, what its nodes say to one another passes through links that can be cut and that count bytes.
    """

    name: ClassVar[str]
    """In tables and on the command line."""
    durability: ClassVar[str]
    """Where an acknowledged write is, in a few words."""
    debian: ClassVar[tuple[str, str] | None] = None
    """The server's program and its Debian package, if there is one."""

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        self.folder: Final = folder
        self.wires: Final = wires
        self.servers: list[Server] = []

    @classmethod
    def program(cls) -> str:
        """The path of the server's program. Raises Missing."""
        assert cls.debian is not None
        return program(*cls.debian)

    @abstractmethod
    async def start(self) -> None:
        """Fill `servers`, start them, wait until they form a cluster."""

    @abstractmethod
    def store(self, node: int) -> AbstractAsyncContextManager[Store]:
        """A client of this node (-1 is the last one)."""

    @abstractmethod
    async def holds(self, node: int, count: int) -> bool:
        """Whether this node by itself holds so many keys and is in touch with the others. May raise any error of its
        client while the node starts.
        """

    def export(self, store: Store) -> Awaitable[int] | None:
        """Read all entries in a raw form, where the system has one; gives how many."""
        return None

    def kill(self) -> None:
        """End all processes."""
        for server in self.servers:
            server.kill()

    async def until_holds(self, node: int, count: int) -> float:
        """Wait until it does; gives for how many seconds."""
        began = time.perf_counter()
        await until(lambda: self.holds(node, count))
        return time.perf_counter() - began

    def _peer_ports(self, real: Sequence[int]) -> list[int]:
        """The ports by which nodes reach one another, given those at which they listen."""
        return list(real) if self.wires is None else self.wires.ports(real)


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `check` holds; what it raises, of whatever client, is "not yet". Raises TimeoutError."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    if await check():
                        return
                except Exception as exc:
                    last = exc
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise TimeoutError(f"waited in vain; the last error: {last!r}") from last


System = Callable[[Path, Wires | None], Cluster]


@asynccontextmanager
async def running(system: System, *, wired: bool = False) -> AsyncIterator[Cluster]:
    """A cluster in a folder of its own, started, and gone at the end."""
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as name:
        wires = Wires() if wired else None
        cluster = system(Path(name), wires)
        try:
            if wires is not None:
                await wires.start(NODES, lambda: [server.pid for server in cluster.servers])
            await cluster.start()
            yield cluster
        finally:
            cluster.kill()
            if wires is not None:
                await wires.close()
