"""Real nodes for the measurements of this folder, and what they cost: CPU time of processes, bytes on links."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from kvnode.client import Client, connect
from kvnode.codec.framing import HEADER_BYTES, FrameDecoder
from kvnode.codec.peer import decode
from kvnode.testing.bench.timing import cpu_s
from kvnode.testing.processes import NodeProcess

VALUE: Final = "x" * 100
"""The workload's value."""
WAIT_S: Final = 120.0


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="kvnode-bench-") as name:
        yield Path(name)


@contextmanager
def mesh(count: int, where: Path, args: Sequence[str] = ()) -> Iterator[list[NodeProcess]]:
    """So many nodes, each of which dials those before it."""
    nodes: list[NodeProcess] = []
    with ExitStack() as stack:
        for number in range(count):
            node = NodeProcess(f"n{number}", where, peers=[n.address for n in nodes], args=args)
            nodes.append(stack.enter_context(node))
        yield nodes


async def until(check: Callable[[], Awaitable[bool]], pause_s: float = 0.01, wait_s: float = WAIT_S) -> None:
    """Wait until `check` holds. Raises TimeoutError."""
    async with asyncio.timeout(wait_s):
        while not await check():  # noqa: ASYNC110  # what other processes do, nobody tells
            await asyncio.sleep(pause_s)


async def until_linked(nodes: Sequence[NodeProcess], peers: int | None = None) -> None:
    """Wait until each node is linked to so many peers: to all others of these, by default."""
    wanted = len(nodes) - 1 if peers is None else peers
    for node in nodes:
        async with connect(node.address) as kv:

            async def linked(kv: Client = kv) -> bool:
                return sum(1 for row in (await kv.status())["peers"] if row["state"] == "linked") >= wanted

            await until(linked, 0.1)


async def until_entries(kv: Client, count: int) -> None:
    """Wait until a node holds at least so many entries, all of them on disk."""

    async def holds() -> bool:
        status = await kv.status()
        return bool(status["entries"] >= count and not status["store"]["pending"])

    await until(holds)


class Cost:
    """Wall time, and CPU time of this process and of nodes, from its making on."""

    def __init__(self, nodes: Sequence[NodeProcess]) -> None:
        self._pids: Final = [node.pid for node in nodes]
        self._cpu = [cpu_s(pid) for pid in self._pids]
        self._own, self._wall = time.process_time(), time.perf_counter()

    def told(self, what: str, count: int, unit: str) -> str:
        """One line: how long, how many a second, and CPU microseconds for each."""
        wall = time.perf_counter() - self._wall
        own = (time.process_time() - self._own) / count * 1e6
        nodes = ((cpu_s(pid) - before) / count * 1e6 for pid, before in zip(self._pids, self._cpu, strict=True))
        each = " ".join(f"{us:.1f}" for us in nodes)
        return f"{what:34s} {wall:7.2f} s {count / wall:9.0f} {unit}/s   CPU us: here {own:.1f}, nodes {each}"


class Tap:
    """Passes connections on to a node, and counts bytes by kind of message, each way. `cut` breaks them."""

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._open: set[asyncio.WriteTransport] = set()
        self._server: asyncio.Server | None = None
        self.there: Counter[str] = Counter()
        self.back: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.is_cut = False
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bytes(self) -> int:
        return self.there.total() + self.back.total()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break what is there, and what comes."""
        self.is_cut = True
        for transport in self._open:
            transport.abort()

    def heal(self) -> None:
        self.is_cut = False

    def clear(self) -> None:
        """Count anew."""
        for count in (self.there, self.back, self.messages):
            count.clear()

    async def _serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        if self.is_cut:
            near_out.transport.abort()
            return
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
        except OSError:
            near_out.transport.abort()
            return
        ends = {near_out.transport, far_out.transport}
        self._open |= ends
        try:
            await asyncio.gather(self._pass(near, far_out, self.there), self._pass(far, near_out, self.back))
        except asyncio.CancelledError:
            return  # the measurement is over
        finally:
            self._open -= ends
            for end in ends:
                end.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, count: Counter[str]) -> None:
        decoder = FrameDecoder()
        try:
            while data := await source.read(1 << 18):
                sink.write(data)
                for payload in decoder.feed(data):
                    kind = type(decode(payload).message).__name__
                    count[kind] += len(payload) + HEADER_BYTES
                    self.messages[kind] += 1
                await sink.drain()
        except OSError:
            return
        sink.close()


@asynccontextmanager
async def tap(node: NodeProcess) -> AsyncIterator[Tap]:
    """A tap in front of a node."""
    made = Tap(node.port)
    await made.start()
    try:
        yield made
    finally:
        made.cut()
