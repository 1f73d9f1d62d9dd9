"""Real nodes as processes: asking them, waiting for them, and a load whose every acknowledgement is remembered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio

from kvnode.cli.dump import dump_row
from kvnode.cli.render import canonical_json
from kvnode.client import Client, KvError, connect
from kvnode.testing.processes import NodeProcess
from kvnode.testing.proxy import ProxyThread, proxy_thread

WAIT_S = 60.0
T = TypeVar("T")


def wait_for(check: Callable[[], bool], what: str) -> None:
    """Poll what only a request can tell."""
    until = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < until, f"not in time: {what}"
        time.sleep(0.05)


def ask(node: NodeProcess, question: Callable[[Client], Awaitable[T]]) -> T:
    """One request, without the cost of a command."""

    async def main() -> T:
        async with connect(node.address, author="test") as kv:
            return await question(kv)

    return anyio.run(main)


def put(node: NodeProcess, path: str, value: Any, ack: str = "disk") -> None:
    ask(node, lambda kv: kv.set(path, value, ack=ack, timeout=30))


def status(node: NodeProcess) -> dict[str, Any]:
    return ask(node, lambda kv: kv.status())


def linked(node: NodeProcess) -> set[str]:
    return {peer["name"] for peer in status(node)["peers"] if peer["state"] == "linked"}


async def _dump(kv: Client) -> str:
    rows, lines, now_ms = kv.dump(), [], time.time_ns() // 1_000_000
    async with rows:
        async for row in rows:
            if (line := dump_row(row.key, row.record, now_ms)) is not None:
                lines.append(canonical_json(line))
    return "\n".join(lines)


def dump_of(node: NodeProcess) -> str:
    """What ``kv dump`` prints, without the cost of a command."""
    return ask(node, _dump)


def equal_dumps(*nodes: NodeProcess) -> str:
    """Wait until all nodes have the same; gives the dump, which is byte-equal on each."""
    found: set[str] = set()

    def are_equal() -> bool:
        found.clear()
        found.update(map(dump_of, nodes))
        return len(found) == 1

    wait_for(are_equal, "equal dumps")
    return found.pop()


def values(dump: str) -> dict[str, list[Any]]:
    """The live values by path."""
    rows = [json.loads(line) for line in dump.splitlines()]
    return {row["path"]: [version["value"] for version in row["versions"]] for row in rows if "path" in row}


class Writer:
    """Writes ``w.NAME.nNUMBER`` to a node, over and over, and deletes some; remembers what was acknowledged.

    `pause_s` between two writes leaves the processor to the nodes and to other tests.
    """

    def __init__(self, node: NodeProcess, pause_s: float = 0.005) -> None:
        self._pause_s = pause_s
        self.acknowledged: dict[str, int | None] = {}
        self._node = node
        self._count = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: anyio.run(self._write))

    async def _write(self) -> None:
        async with connect(self._node.address, author="writer", patient=True) as kv:
            number = 0
            while not self._stop.is_set():
                number += 1
                path = f"w.{self._node.name}.n{number % 500}"
                value = None if number % 7 == 0 else number
                try:
                    await (kv.delete(path, timeout=1.0) if value is None else kv.set(path, value, timeout=1.0))
                except KvError:
                    self.acknowledged.pop(path, None)  # this may have been made, or not: either is right
                    await anyio.sleep(0.02)
                else:
                    self.acknowledged[path] = value
                    self._count += 1
                await anyio.sleep(self._pause_s)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, more: int = 20) -> None:
        """Until it has had some more success."""
        want = self._count + more
        wait_for(lambda: self._count >= want, "writes on " + self._node.name)

    def check(self, found: Mapping[str, list[Any]]) -> None:
        """Nothing acknowledged is lost, nothing deleted is back; `found` as :func:`values` gives it."""
        assert self.acknowledged
        expected = {path: [] if value is None else [value] for path, value in self.acknowledged.items()}
        wrong = {path: (value, found.get(path)) for path, value in expected.items() if found.get(path, []) != value}
        assert not wrong


class Three:
    """Nodes a, b, c, each linked to each through a proxy: b dials a; c dials a and b."""

    def __init__(
        self, stack: ExitStack, folder: Path, backend: str = "asyncio", env: Mapping[str, str] | None = None
    ) -> None:
        args = ("--backend", backend)
        self.a = NodeProcess("a", folder, args=args, env=env)
        self.b = NodeProcess("b", folder, args=args, env=env)
        self.c = NodeProcess("c", folder, args=args, env=env)
        self.between: dict[str, ProxyThread] = {
            "ab": stack.enter_context(proxy_thread(self.a.port)),
            "ac": stack.enter_context(proxy_thread(self.a.port)),
            "bc": stack.enter_context(proxy_thread(self.b.port)),
        }
        self.b.peers = (self.between["ab"].address,)
        self.c.peers = (self.between["ac"].address, self.between["bc"].address)
        with ThreadPoolExecutor() as threads:
            list(threads.map(stack.enter_context, self.all))

    @property
    def all(self) -> tuple[NodeProcess, NodeProcess, NodeProcess]:
        return self.a, self.b, self.c

    def wait_linked(self) -> None:
        for node in self.all:
            others = {other.name for other in self.all} - {node.name}
            wait_for(partial(self._has_links, node, others), f"links of {node.name}")

    def _has_links(self, node: NodeProcess, others: set[str]) -> bool:
        return linked(node) == others

    def cut_off_c(self) -> None:
        for name in ("ac", "bc"):
            self.between[name].cut()
        wait_for(lambda: linked(self.c) == set(), "c to be alone")

    def heal(self) -> None:
        for one in self.between.values():
            one.heal()
