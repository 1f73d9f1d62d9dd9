"""nats-server: three nodes, a JetStream KV bucket with three replicas."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nats
from nats.js.api import KeyValueConfig, StorageType

from bench.cluster import Cluster, until
from bench.server import Server
from bench.wires import Wires
from kvnode.testing.bench.store import value_of
from kvnode.testing.bench.timing import in_flight
from kvnode.testing.processes import free_port

BUCKET = "bench"
WIDTH = 100
"""A batch is so many puts in flight: there is no other."""
_CONFIG = """
server_name: {name}
listen: "127.0.0.1:{client}"
http: "127.0.0.1:{http}"
jetstream {{ store_dir: "{data}" }}
cluster {{
  name: bench
  listen: "127.0.0.1:{cluster}"
  cluster_advertise: "127.0.0.1:{peer}"
  no_advertise: true
  routes: [{routes}]
}}
"""


class NatsStore:
    """A client and its bucket."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    async def put(self, key: int, value: str | None = None) -> None:
        await self._bucket.put(f"k{key}", (value or value_of(key)).encode())

    async def put_batch(self, keys: Sequence[int]) -> None:
        await in_flight(lambda at: self.put(keys[at]), len(keys), WIDTH)

    async def get(self, key: int) -> str:
        return str((await self._bucket.get(f"k{key}")).value.decode())

    async def scan(self, count: int) -> int:
        watcher = await self._bucket.watchall()
        came = 0
        while await watcher.updates(timeout=60) is not None:
            came += 1
        await watcher.stop()
        return came

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[int]]:
        watcher = await self._bucket.watchall()
        while await watcher.updates(timeout=60) is not None:
            pass
        yield _keys(watcher)
        await watcher.stop()


async def _keys(watcher: Any) -> AsyncIterator[int]:
    while True:
        entry = await watcher.updates(timeout=60)
        yield int(entry.key[1:])


class Nats(Cluster):
    """Three nodes."""

    name = "nats"
    durability = "in memory of two of three nodes, written to disk lazily"
    debian = ("nats-server", "nats-server")

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        super().__init__(folder, wires)
        self._clients: list[int] = []
        self._https: list[int] = []

    async def start(self) -> None:
        binary = self.program()
        self._clients = [free_port() for _ in range(3)]
        self._https = [free_port() for _ in range(3)]
        clusters = [free_port() for _ in range(3)]
        peers = self._peer_ports(clusters)
        for node, name in enumerate("abc"):
            routes = ", ".join(f'"nats://127.0.0.1:{peers[other]}"' for other in range(3) if other != node)
            file = self.folder / f"{name}.conf"
            text = _CONFIG.format(
                name=name,
                client=self._clients[node],
                http=self._https[node],
                data=self.folder / name,
                cluster=clusters[node],
                peer=peers[node],
                routes=routes,
            )
            file.write_text(text)
            self.servers.append(Server(name, [binary, "-c", str(file)], self.folder, self._clients[node]))
        for server in self.servers:
            server.spawn()
        for server in self.servers:
            await server.accepts()
        await until(self._bucket_made)
        for node in range(3):
            await until(partial(self.holds, node, 0))

    async def _bucket_made(self) -> bool:
        config = KeyValueConfig(bucket=BUCKET, replicas=3, storage=StorageType.FILE)
        async with _connected(self._clients[0]) as client:
            await client.jetstream().create_key_value(config)
        return True

    @asynccontextmanager
    async def store(self, node: int) -> AsyncIterator[NatsStore]:
        async with _connected(self._clients[node]) as client:
            yield NatsStore(await client.jetstream(timeout=60).key_value(BUCKET))

    async def holds(self, node: int, count: int) -> bool:
        healthy = await self._asked(node, "healthz")
        told = await self._asked(node, "jsz?streams=1&accounts=1")
        stream = told["account_details"][0]["stream_detail"][0]
        return bool(
            healthy["status"] == "ok" and stream["cluster"].get("leader") and stream["state"]["messages"] >= count
        )

    async def _asked(self, node: int, what: str) -> Any:
        def ask() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._https[node]}/{what}", timeout=2) as answer:
                return json.load(answer)

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Any]:
    client = await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, error_cb=_quiet)
    try:
        yield client
    finally:
        await client.close()


async def _quiet(_: Exception) -> None:
    """Errors come from the calls, too."""
