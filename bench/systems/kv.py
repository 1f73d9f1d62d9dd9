"""kvnode: three nodes, each linked to both others."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from bench.cluster import Cluster, until
from bench.server import Server
from bench.wires import Wires
from kvnode.client import connect
from kvnode.core.path import Path as KvPath
from kvnode.testing.bench.kv import KvStore
from kvnode.testing.bench.store import Store
from kvnode.testing.processes import free_port

ROOT: Final = KvPath.parse("bench")


@dataclass(frozen=True, slots=True)
class Access:
    """How nodes are run and reached: more arguments of ``kv node run``, more options of :func:`kvnode.client.connect`.

    Here is the place for encryption and users; the figures are then those of that kind of connection.
    """

    node_args: Sequence[str] = ()
    client_options: Mapping[str, Any] = field(default_factory=dict)


class Kv(Cluster):
    """Three nodes."""

    ack: ClassVar[str]
    access: ClassVar[Access] = Access()

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        super().__init__(folder, wires)
        self._ports: list[int] = []

    async def start(self) -> None:
        self._ports = [free_port() for _ in range(3)]
        peers = self._peer_ports(self._ports)
        for node, name in enumerate("abc"):
            self.servers.append(Server(name, self._command(node, name, peers), self.folder, self._ports[node]))
        for server in self.servers:
            await server.start()
        for node in range(3):
            await until(partial(self.holds, node, 0))

    def _command(self, node: int, name: str, peers: Sequence[int]) -> list[str]:
        own = ["--name", name, "--data", str(self.folder / name), "--listen", f"127.0.0.1:{self._ports[node]}"]
        own += ["--socket", "none", "--log-level", "warning", "--advertise", f"127.0.0.1:{peers[node]}"]
        dial = [word for other in range(node) for word in ("--peer", f"127.0.0.1:{peers[other]}")]
        return [sys.executable, "-m", "kvnode", "node", "run", *own, *dial, *self.access.node_args]

    def _address(self, node: int) -> str:
        return f"127.0.0.1:{self._ports[node]}"

    @asynccontextmanager
    async def store(self, node: int) -> AsyncIterator[KvStore]:
        async with connect(self._address(node), **self.access.client_options) as client:
            yield KvStore(client, ROOT, self.ack)

    def export(self, store: Store) -> Awaitable[int]:
        assert isinstance(store, KvStore)
        return store.export()

    async def holds(self, node: int, count: int) -> bool:
        status, first = await self._status(node), await self._status(0)
        linked = sum(peer["state"] == "linked" for peer in status["peers"])
        has = status["entries"] >= max(count, first["entries"]) and not status["store"]["pending"]
        return bool(has and status["current"] and linked >= len(self.servers) - 1)

    async def _status(self, node: int) -> dict[str, Any]:
        async with connect(self._address(node), timeout=1.0, **self.access.client_options) as client:
            return await client.status()


class KvDisk(Kv):
    """Acknowledged when the node has it on disk, the default."""

    name = "kvnode"
    durability = "on the node's disk"
    ack = "disk"


class KvMemory(Kv):
    """Acknowledged when the node has it in memory."""

    name = "kvnode-memory"
    durability = "none yet"
    ack = "memory"
