"""Three real processes: one killed, one cut off, writes on both sides, healed: equal dumps, nothing lost."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from kvnode.client import Client, KvError, Unavailable, connect
from kvnode.core.ticks import Dot
from kvnode.testing.processes import NodeProcess, ProcessError, run_kv
from kvnode.testing.proxy import ProxyThread, proxy_thread

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

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


async def _rows(kv: Client) -> list[tuple[str, frozenset[Dot]]]:
    async with kv.tree() as rows:
        return [(str(row.path), row.dots) async for row in rows]


def equal_dumps(*nodes: NodeProcess) -> str:
    """Wait until all nodes have the same; gives the dump, which is byte-equal on each."""
    wait_for(lambda: len({str(ask(node, _rows)) for node in nodes}) == 1, "equal trees")
    first, *others = [node.dump() for node in nodes]
    for other in others:
        assert other == first
    return first


def values(dump: str) -> dict[str, list[Any]]:
    """The live values by path."""
    rows = [json.loads(line) for line in dump.splitlines()]
    return {row["path"]: [version["value"] for version in row["versions"]] for row in rows if "path" in row}


class Writer:
    """Writes ``w.NAME.nNUMBER`` to a node, over and over, from a thread; remembers what was acknowledged."""

    def __init__(self, node: NodeProcess) -> None:
        self.acknowledged: dict[str, int] = {}
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: anyio.run(self._write))

    async def _write(self) -> None:
        async with connect(self._node.address, author="writer", patient=True) as kv:
            number = 0
            while not self._stop.is_set():
                number += 1
                path = f"w.{self._node.name}.n{number % 500}"
                try:
                    await kv.set(path, number, timeout=1.0)
                except KvError:
                    self.acknowledged.pop(path, None)  # this may have been made, or not: either is right
                    await anyio.sleep(0.02)
                else:
                    self.acknowledged[path] = number

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, more: int = 50) -> None:
        """Until it has had some more success."""
        want = self._most() + more
        wait_for(lambda: self._most() >= want, "writes on " + self._node.name)

    def _most(self) -> int:
        return max(list(self.acknowledged.values()), default=0)


class Three:
    """Nodes a, b, c, each linked to each through a proxy: b dials a; c dials a and b."""

    def __init__(self, stack: ExitStack, folder: Path, backend: str) -> None:
        args = ("--backend", backend)
        self.a = NodeProcess("a", folder, args=args)
        self.b = NodeProcess("b", folder, args=args)
        self.c = NodeProcess("c", folder, args=args)
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


def on(*backends: str) -> pytest.MarkDecorator:
    """Which backends the nodes of a test run on. (Everything below the process is tested on each elsewhere.)"""
    return pytest.mark.parametrize("three", backends, indirect=True)


@pytest.fixture
def three(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Three]:
    with ExitStack() as stack:
        nodes = Three(stack, tmp_path, request.param)
        nodes.wait_linked()
        yield nodes


@on("asyncio", "trio")
def test_kill_one_cut_one_off_write_on_both_sides_heal(three: Three) -> None:
    a, b, c = three.all
    put(a, "room.temp", 20.0)
    put(a, "room.gone", 1)
    equal_dumps(a, b, c)
    with Writer(a) as on_a, Writer(b) as on_b, Writer(c) as on_c:
        for writer in (on_a, on_b, on_c):
            writer.wait()
        three.cut_off_c()
        put(a, "room.temp", 21.0)
        put(c, "room.temp", 22.0)
        ask(c, lambda kv: kv.delete("room.gone"))
        b.kill()
        on_a.wait()
        on_c.wait()
        b.start()
        on_b.wait()
        put(b, "room.after", "the crash")
        three.heal()
        three.wait_linked()
        on_a.wait()
    dump = equal_dumps(a, b, c)
    found = values(dump)
    assert sorted(found["room.temp"]) == [21.0, 22.0], "both sides' writes are there, as a conflict"
    assert "room.gone" not in found
    assert found["room.after"] == ["the crash"]
    for writer in (on_a, on_b, on_c):
        assert writer.acknowledged
        lost = {path: value for path, value in writer.acknowledged.items() if found.get(path) != [value]}
        assert not lost
    for node in three.all:
        assert status(node)["conflicts"] == 1
    put(b, "room.temp", 23.0)
    assert values(equal_dumps(a, b, c))["room.temp"] == [23.0]


@on("asyncio")
def test_levels_and_what_a_lost_node_does_to_them(three: Three) -> None:
    a, b, c = three.all
    put(a, "x", 1, ack="all")
    put(b, "x", 2, ack="peer:2")
    c.kill()
    put(a, "x", 3, ack="peer:1")
    done = a.kv("set", "x", "4", "--ack", "all", "--timeout", "0.5", check=False)
    assert done.returncode == 5, done.stderr
    assert "stands" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    c.start()
    assert values(equal_dumps(a, b, c))["x"] == [4]


@on("trio")
def test_a_frozen_link_is_noticed_and_heals(three: Three) -> None:
    a, b, c = three.all
    for name in ("ac", "bc"):
        three.between[name].freeze()
    wait_for(lambda: linked(c) == set() and linked(a) == {"b"}, "the silence to be noticed")
    put(a, "x", "a")
    put(c, "y", "c")
    three.heal()
    found = values(equal_dumps(a, b, c))
    assert (found["x"], found["y"]) == (["a"], ["c"])


@on("asyncio")
def test_a_process_that_hangs_for_a_while_comes_back(three: Three) -> None:
    a, b, c = three.all
    b.pause()
    try:
        put(a, "x", 1)
        wait_for(lambda: linked(a) == {"c"}, "the hanging node to be noticed")
    finally:
        b.resume()
    three.wait_linked()
    assert values(equal_dumps(a, b, c))["x"] == [1]


def test_the_chain_relays(tmp_path: Path) -> None:
    a = NodeProcess("a", tmp_path)
    b = NodeProcess("b", tmp_path, peers=[a.address])
    c = NodeProcess("c", tmp_path, peers=[b.address])
    with a, b, c:
        put(a, "x", 1)
        put(c, "y", 2)
        found = values(equal_dumps(a, b, c))
        assert (found["x"], found["y"]) == ([1], [2])
        ask(a, lambda kv: kv.delete("y"))
        assert "y" not in values(equal_dumps(a, b, c))
        put(a, "x", 3, ack="all")
        assert "c" not in linked(a)  # nodes of one machine keep the links they were given


# -- one process ---------------------------------------------------------------------------------------------


def test_sigterm_ends_a_node_in_order(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        with Writer(node) as writer:
            writer.wait()
            assert node.terminate() == 0
        node.start()
        found = values(node.dump())
        assert {path: [value] for path, value in writer.acknowledged.items()}.items() <= found.items()
    assert "error" not in node.read_log()


def test_ctrl_c_is_as_good(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        put(node, "x", 1)
        assert node.terminate(signal.SIGINT) == 0
        assert "Traceback" not in node.read_log()


def test_one_line_says_why_a_node_does_not_start(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        same_port = run_kv(*start(tmp_path / "other", node.address), check=False)
        assert same_port.returncode != 0
        assert same_port.stderr.splitlines() == [f"kv: cannot listen on {node.address}: address already in use"]
        same_store = run_kv(*start(node.data, "127.0.0.1:0"), check=False)
        assert same_store.returncode != 0
        (line,) = same_store.stderr.splitlines()
        assert "in use by process" in line
    outside = run_kv(*start(tmp_path / "out", "0.0.0.0:0"), check=False)
    assert outside.returncode == 2
    assert "--insecure" in outside.stderr


def start(data: Path, listen: str) -> list[str]:
    return ["node", "run", "--name", "x", "--data", str(data), "--listen", listen, "--socket", "none"]


def test_the_local_socket_is_private_and_goes_away(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    node = NodeProcess("a", tmp_path, args=["--socket", "auto"], env={"XDG_RUNTIME_DIR": str(runtime)})
    path = runtime / "kvnode" / "a.sock"
    with node:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        run_kv("set", "x", "1", "--node", f"unix:{path}")
        node.kill()
        assert path.exists(), "nobody could remove it"
        node.start()
        assert run_kv("get", "x", "--node", f"unix:{path}", "--format", "json").stdout == "1\n"
        node.terminate()
        assert not path.exists()


def test_a_node_without_a_place_for_its_socket_says_so_and_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    args = ["--socket", "auto", "--log-format", "text"]
    long_name = "n" * 60
    node = NodeProcess(long_name, tmp_path, args=args, env={"XDG_RUNTIME_DIR": str(tmp_path / ("d" * 80))})
    (tmp_path / ("d" * 80)).mkdir()
    with node:
        put(node, "x", 1)
        assert "no local socket" in node.read_log() or Path(f"/run/kvnode/{long_name}.sock").exists()


def test_strangers_do_no_harm(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        for data in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01\xc1",
            b"\0\0\0\x02\x91\x7f",
        ):
            with socket.create_connection(("127.0.0.1", node.port), timeout=10) as stranger:
                stranger.sendall(data)
                assert stranger.recv(100) in (b"",) or data.endswith(b"\x7f")
        put(node, "x", 1)


def test_a_dead_node_is_unavailable(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        node.kill()
        with pytest.raises(Unavailable):
            put(node, "x", 1)
        with pytest.raises(ProcessError):
            node.kv("get", "x")
