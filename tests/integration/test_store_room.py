"""A node whose disk is full says so, goes on without it, and recovers by itself; a read-only one is named."""

from __future__ import annotations

import resource
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from kvnode.client import Client, NotFound, StoreUnavailable
from kvnode.testing.processes import NodeProcess, ProcessError, free_port
from tests.support.nodes import ask, dump_of, linked, put, status, values, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

TROUBLE = "@.errors.node.a.store_failed"
LARGE = "x" * 700_000


class Disk(Protocol):
    """The disk of one node."""

    said: str
    """What the system says when it is full."""

    def fill(self, node: NodeProcess) -> None:
        """It takes no more."""

    def make_room(self, node: NodeProcess) -> None:
        """It takes some again."""


class SmallDisk:
    """A file system of its own, with another file on it that takes all the room. Needs the right to mount."""

    said = "no room left ("

    def __init__(self, place: Path) -> None:
        self.ballast = place / "ballast"

    def fill(self, node: NodeProcess) -> None:
        with self.ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    def make_room(self, node: NodeProcess) -> None:
        self.ballast.unlink()

    def set_read_only(self, yes: bool) -> None:
        """While no node runs there."""
        how = f"remount,{'ro' if yes else 'rw'}"
        subprocess.run(["mount", "-o", how, str(self.ballast.parent)], check=True)


class LimitedFiles:
    """No file of the process may become longer. Works for everybody."""

    said = "no room left ("

    def __init__(self, place: Path) -> None:
        pass

    def fill(self, node: NodeProcess) -> None:
        self._limit(node, 60_000)

    def make_room(self, node: NodeProcess) -> None:
        self._limit(node, resource.RLIM_INFINITY)

    def _limit(self, node: NodeProcess, size: int) -> None:
        _, most = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, most))


def _mount(place: Path) -> bool:
    """Mount a file system of 3 MB; False if this process may not."""
    if not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def disk_at(place: Path) -> Iterator[Disk]:
    """The best full disk that can be had here."""
    place.mkdir()
    if not _mount(place):
        yield LimitedFiles(place)
        return
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


async def _value(kv: Client, path: str) -> Any:
    try:
        return (await kv.get(path)).value
    except NotFound:
        return None


def value(node: NodeProcess, path: str) -> Any:
    return ask(node, lambda kv: _value(kv, path))


def fetch(address: str, name: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}/{name}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


def refused(node: NodeProcess, path: str, new: Any) -> str:
    """The error of a write that wants the disk."""
    with pytest.raises(StoreUnavailable) as error:
        put(node, path, new)
    return str(error.value)


def until_it_fails(node: NodeProcess) -> str:
    """Write until the disk takes no more; room that the store has already is used up first."""
    for number in range(20):
        try:
            put(node, f"fill.n{number}", LARGE)
        except StoreUnavailable as err:
            return str(err)
    raise AssertionError("the disk does not get full")


def test_a_node_goes_on_while_its_disk_is_full(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    a = NodeProcess("a", tmp_path, args=["--http", address])
    b = NodeProcess("b", tmp_path, peers=[a.address])
    with disk_at(a.data) as disk, a, b:
        wait_for(lambda: linked(b) == {"a"}, "the link")
        put(a, "before", 1, ack="all")
        disk.fill(a)
        assert disk.said in until_it_fails(a)
        said = refused(a, "x", 1)
        assert said.startswith("not written: the store of this node fails: ")
        assert str(a.data) in said

        assert value(a, "before") == 1
        put(a, "in-memory", 1, ack="memory")
        put(a, "at-a-peer", 1, ack="peer:1")
        assert value(b, "in-memory") == 1
        put(b, "from-b", 1)
        wait_for(lambda: value(a, "from-b") == 1, "a change of b at a")

        assert status(a)["store"]["state"] == "failing"
        code, reason = fetch(address, "readyz")
        assert code == 503
        assert reason.startswith("the store does not take writes: ")
        assert fetch(address, "healthz")[0] == 200
        assert "kvnode_store_healthy 0" in fetch(address, "metrics")[1].splitlines()
        assert "the store fails" in a.read_log()
        wait_for(lambda: value(b, TROUBLE) is not None, "the record at b")
        record = value(b, TROUBLE)
        assert (record["severity"], record["resolved"]) == ("critical", None)

        disk.make_room(a)
        wait_for(lambda: status(a)["store"]["state"] == "ok", "the recovery")
        put(a, "x", 2, ack="all")
        assert fetch(address, "readyz")[0] == 200
        wait_for(lambda: value(b, TROUBLE)["resolved"] is not None, "the end of the trouble at b")
        a.kill()
        a.start()
        found = values(dump_of(a))
        assert {path: found[path] for path in ("before", "in-memory", "at-a-peer", "from-b", "x")} == {
            "before": [1], "in-memory": [1], "at-a-peer": [1], "from-b": [1], "x": [2],
        }  # fmt: skip
        assert not status(a)["store"]["doubted"]

        a.terminate()
        if isinstance(disk, SmallDisk):
            check_read_only(disk, a)


def check_read_only(disk: SmallDisk, node: NodeProcess) -> None:
    """One line says why the node does not start; directories without permission are in test_store_damage.py."""
    disk.set_read_only(True)
    with pytest.raises(ProcessError, match=r"kv\.sqlite: cannot be written \("):
        node.start()
    disk.set_read_only(False)
    node.start()
    assert values(dump_of(node))["x"] == [2]
    node.kill()
