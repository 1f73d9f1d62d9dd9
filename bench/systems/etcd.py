"""etcd: three nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aetcd
from aetcd import rpc
from aetcd.utils import prefix_range_end

from bench.cluster import Cluster, until
from bench.server import Server
from bench.wires import Wires
from kvnode.testing.bench.store import value_of
from kvnode.testing.processes import free_port

PREFIX = b"bench/"
MOST_OPS = 128
"""In one transaction, as the server is set up by default."""
OPTIONS = {"grpc.max_receive_message_length": -1}


def _key(key: int) -> bytes:
    return PREFIX + b"k%d" % key


class EtcdStore:
    """A client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self, key: int, value: str | None = None) -> None:
        await self._client.put(_key(key), (value or value_of(key)).encode())

    async def put_batch(self, keys: Sequence[int]) -> None:
        put = self._client.transactions.put
        for start in range(0, len(keys), MOST_OPS):
            puts = [put(_key(key), value_of(key).encode()) for key in keys[start : start + MOST_OPS]]
            await self._client.transaction(compare=[], success=puts, failure=[])

    async def get(self, key: int) -> str:
        return str((await self._client.get(_key(key))).value.decode())

    async def scan(self, count: int) -> int:
        return sum(1 for _ in await self._client.get_prefix(PREFIX))

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[int]]:
        events = await self._client.watch_prefix(PREFIX)
        yield _keys(events)
        await events.cancel()


async def _keys(events: Any) -> AsyncIterator[int]:
    async for event in events:
        yield int(event.kv.key[len(PREFIX) + 1 :])


class Etcd(Cluster):
    """Three nodes."""

    name = "etcd"
    durability = "on the disks of two of three nodes"
    debian = ("etcd", "etcd-server")

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        super().__init__(folder, wires)
        self._clients: list[int] = []

    async def start(self) -> None:
        binary = self.program()
        self._clients = [free_port() for _ in range(3)]
        own = [free_port() for _ in range(3)]
        peers = self._peer_ports(own)
        everyone = ",".join(f"{name}=http://127.0.0.1:{port}" for name, port in zip("abc", peers, strict=True))
        for node, name in enumerate("abc"):
            client = f"http://127.0.0.1:{self._clients[node]}"
            command = [binary, "--name", name, "--data-dir", str(self.folder / name), "--log-level", "error"]
            command += ["--listen-client-urls", client, "--advertise-client-urls", client]
            command += ["--listen-peer-urls", f"http://127.0.0.1:{own[node]}"]
            command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peers[node]}"]
            command += ["--initial-cluster", everyone, "--initial-cluster-state", "new"]
            self.servers.append(Server(name, command, self.folder, self._clients[node]))
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            await server.accepts()
        for node in range(3):
            await until(partial(self._leads, node))

    async def _leads(self, node: int) -> bool:
        async with _client(self._clients[node]) as client:
            await client.put(b"started", b"")
        return True

    @asynccontextmanager
    async def store(self, node: int) -> AsyncIterator[EtcdStore]:
        async with _client(self._clients[node]) as client:
            yield EtcdStore(client)

    async def holds(self, node: int, count: int) -> bool:
        async with _client(self._clients[node], call_limit_s=1) as client:
            request = rpc.RangeRequest(
                key=PREFIX, range_end=prefix_range_end(PREFIX), serializable=True, count_only=True
            )
            return bool((await client.kvstub.Range(request, timeout=1)).count >= count)


@asynccontextmanager
async def _client(port: int, call_limit_s: int = 60) -> AsyncIterator[Any]:
    async with aetcd.Client(host="127.0.0.1", port=port, timeout=call_limit_s, options=OPTIONS) as client:
        yield client
