"""mosquitto: two brokers, of which the second bridges to the first; QoS 1, every message retained.

There is no reading of one topic but to subscribe to it, and no durability but a file that is written at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from bench.cluster import Cluster
from bench.server import Server
from bench.wires import Wires
from kvnode.testing.bench.store import value_of
from kvnode.testing.bench.timing import in_flight
from kvnode.testing.processes import free_port

WIDTH = 100
"""A batch is so many messages in flight: there is no other."""
_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {data}/
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 1000
"""
_BRIDGE = """
connection up
address 127.0.0.1:{peer}
topic # both 1
cleansession false
bridge_max_packet_size 0
restart_timeout 1
"""


class MosquittoStore:
    """A client; what comes is handed to whoever waits for its topic."""

    def __init__(self, client: aiomqtt.Client, port: int) -> None:
        self._client = client
        self._port = port
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._reader = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._client.messages:
            waiting = self._waiting.pop(str(message.topic), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(_text(message))

    async def put(self, key: int, value: str | None = None) -> None:
        await self._client.publish(f"bench/k{key}", value or value_of(key), qos=1, retain=True)

    async def put_batch(self, keys: Sequence[int]) -> None:
        await in_flight(lambda at: self.put(keys[at]), len(keys), WIDTH)

    async def get(self, key: int) -> str:
        topic = f"bench/k{key}"
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[topic] = waiting
        await self._client.subscribe(topic, qos=0)
        value = await waiting
        await self._client.unsubscribe(topic)
        return value

    async def scan(self, count: int) -> int:
        came = 0
        async with _connected(self._port) as client:
            await client.subscribe("bench/#", qos=0)
            async for _ in client.messages:
                came += 1
                if came == count:
                    break
        return came

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[AsyncIterator[int]]:
        async with _connected(self._port) as client:
            await client.subscribe("bench/#", qos=1)
            yield _keys(client)


def _text(message: aiomqtt.Message) -> str:
    assert isinstance(message.payload, bytes)
    return message.payload.decode()


async def _keys(client: aiomqtt.Client) -> AsyncIterator[int]:
    async for message in client.messages:
        if not message.retain:
            yield int(str(message.topic).rpartition("k")[2])


class Mosquitto(Cluster):
    """Two brokers."""

    name = "mosquitto"
    durability = "in memory of one broker"
    debian = ("mosquitto", "mosquitto")

    def __init__(self, folder: Path, wires: Wires | None) -> None:
        super().__init__(folder, wires)
        self._ports: list[int] = []

    async def start(self) -> None:
        binary = self.program()
        self._ports = [free_port() for _ in range(2)]
        first = self._peer_ports(self._ports)[0]
        for node, port in enumerate(self._ports):
            data = self.folder / f"data{node}"
            data.mkdir()
            data.chmod(0o777)  # run as root, it changes to a user of its own
            file = self.folder / f"{node}.conf"
            file.write_text(_CONFIG.format(port=port, data=data) + (_BRIDGE.format(peer=first) if node else ""))
            self.servers.append(Server("ab"[node], [binary, "-c", str(file)], self.folder, port))
        self.folder.chmod(0o755)
        for server in self.servers:
            await server.start()
        async with self.store(0) as near:
            await near.put(0)
        await self.until_holds(-1, 1)

    @asynccontextmanager
    async def store(self, node: int) -> AsyncIterator[MosquittoStore]:
        async with _connected(self._ports[node]) as client:
            store = MosquittoStore(client, self._ports[node])
            try:
                yield store
            finally:
                await store.close()

    async def holds(self, node: int, count: int) -> bool:
        async with asyncio.timeout(60), self.store(node) as store:
            return await store.scan(count) >= count


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[aiomqtt.Client]:
    client = aiomqtt.Client("127.0.0.1", port, timeout=60, max_inflight_messages=1000, max_queued_outgoing_messages=0)
    client.pending_calls_threshold = 10_000
    async with client:
        yield client
