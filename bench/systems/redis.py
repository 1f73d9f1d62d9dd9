"""redis: one primary, two replicas, with an append-only file. A watcher at a replica is told keys only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from bench.cluster import Cluster, until
from bench.server import Server
from bench.wires import Wires
from kvnode.testing.bench.store import value_of
from kvnode.testing.processes import free_port

_EVENTS = "__keyspace@0__:"
_PAGE = 1_000


class RedisStore:
    """A client with its pool of connections."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put(self, key: int, value: str | None = None) -> None:
        await self._client.set(f"bench.k{key}", value or value_of(key))

    async def put_batch(self, keys: Sequence[int]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.set(f"bench.k{key}", value_of(key))
            await pipe.execute()

    async def get(self, key: int) -> str:
        found = await self._client.get(f"bench.k{key}")
        return str(found.decode())

    async def scan(self, count: int) -> int:
        cursor, came = 0, 0
        while True:
            cursor, keys = await self._client.scan(cursor, count=_PAGE)
            came += len(await self._client.mget(keys)) if keys else 0
            if not cursor:
                return came

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[int]]:
        async with self._client.pubsub() as events:
            await events.psubscribe(f"{_EVENTS}bench.*")
            while (await events.get_message(timeout=None))["type"] != "psubscribe":
                pass
            yield _keys(events)


async def _keys(events: PubSub) -> AsyncIterator[int]:
    async for message in events.listen():
        yield int(message["channel"].rpartition(b"k")[2])


class Redis7(Cluster):
    """One primary, two replicas."""

    debian = ("redis-server", "redis-server")
    fsync: ClassVar[str]

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        super().__init__(folder, wires)
        self._ports: list[int] = []

    async def start(self) -> None:
        binary = self.program()
        self._ports = [free_port() for _ in range(3)]
        primary = self._peer_ports(self._ports)[0]
        for node, port in enumerate(self._ports):
            data = self.folder / f"data{node}"
            data.mkdir()
            command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data), "--save", ""]
            command += ["--appendonly", "yes", "--appendfsync", self.fsync, "--notify-keyspace-events", "KA"]
            command += ["--repl-diskless-sync-delay", "0"]
            command += ["--replicaof", "127.0.0.1", str(primary)] if node else []
            self.servers.append(Server("abc"[node], command, self.folder, port))
        for server in self.servers:
            await server.start()
        for node in range(3):
            await until(partial(self.holds, node, 0))

    @asynccontextmanager
    async def store(self, node: int) -> AsyncIterator[RedisStore]:
        async with Redis(port=self._ports[node]) as client:
            yield RedisStore(client)

    async def holds(self, node: int, count: int) -> bool:
        async with Redis(port=self._ports[node]) as client:
            about = await client.info("replication")
            linked = about["role"] == "master" or about["master_link_status"] == "up"
            return bool(linked and await client.dbsize() >= count)


class RedisEverysec(Redis7):
    name = "redis-everysec"
    durability = "on the primary's disk within a second"
    fsync = "everysec"


class RedisAlways(Redis7):
    name = "redis-always"
    durability = "on the primary's disk"
    fsync = "always"
