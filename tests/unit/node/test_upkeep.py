"""Backup and compact on a running node: between commits, off the event loop, to whoever asked."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
import pytest

from kvnode.client import BackupStream, Refused, Unavailable, connect
from kvnode.client import protocol as p
from kvnode.core.effects import Persist
from kvnode.node.errors import Stopping
from kvnode.node.writer import Writer
from kvnode.store.base import StoreError, StoreFull
from kvnode.store.check import check
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.inprocess import eventually
from kvnode.testing.served import ScriptedNode, scripted, served_client
from kvnode.testing.store_contract import read_all
from kvnode.transport.memory import MemoryTransport

pytestmark = pytest.mark.anyio


class GatedStore:
    """A store on a thread that says what is done to it, each thing only when it is let."""

    blocking = True

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.done: list[str] = []
        self.failure: StoreError | None = None
        self.file = io.BytesIO(b"copy")

    def _step(self, what: str) -> None:
        self.begun.release()
        assert self.gate.acquire(timeout=20)
        self.done.append(what)

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        return False

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        self._step(f"commit up to {batches[-1].token}")
        if self.failure is not None:
            raise self.failure

    def backup(self) -> BinaryIO:
        self._step("backup")
        return self.file

    def compact(self) -> tuple[int, int]:
        self._step("compact")
        self.failure = None
        return 2, 1


def persist(token: int) -> Persist:
    return Persist(token, {b"%d" % token: b""}, {})


class Running:
    """A writer on a gated store."""

    def __init__(self) -> None:
        self.store = GatedStore()
        self.durable: list[int] = []
        self.failures: list[str | None] = []
        self.writer = Writer(self.store, self.durable.append, self.failures.append)

    async def begun(self) -> None:
        await anyio.to_thread.run_sync(lambda: self.store.begun.acquire(timeout=20))

    def let(self, steps: int = 1) -> None:
        self.store.gate.release(steps)


async def test_a_backup_waits_for_what_is_pending_and_holds_up_what_follows() -> None:
    run = Running()
    got: list[BinaryIO] = []

    async def backup() -> None:
        got.append(await run.writer.backup())

    async with anyio.create_task_group() as tasks:
        run.writer.add(persist(1))
        tasks.start_soon(run.writer.run)
        await run.begun()
        run.writer.add(persist(2))
        tasks.start_soon(backup)
        await eventually(lambda: len(run.writer._jobs) == 1)
        run.let()
        await run.begun()  # the backup
        run.writer.add(persist(3))
        assert got == []
        run.let()
        await run.begun()
        assert got == [run.store.file]
        run.let(2)
        run.writer.end()
    assert run.store.done == ["commit up to 1", "backup", "commit up to 3"]
    assert run.durable == [1, 3]


async def test_a_store_that_has_failed_is_tried_again_after_upkeep_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Compacting may have made the room that was lacking."""
    monkeypatch.setattr("kvnode.node.writer.RETRY_FIRST_S", 1000.0)
    run = Running()
    run.store.failure = StoreFull("x", "a test says so")
    run.let(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.writer.run)
        run.writer.add(persist(1))
        await eventually(lambda: run.writer.failure is not None)
        assert await run.writer.compact() == (2, 1)
        await eventually(lambda: run.durable == [1])
        run.writer.end()
    assert run.failures == [str(StoreFull("x", "a test says so")), None]


async def test_a_caller_that_is_cancelled_still_gets_what_it_must_close() -> None:
    run = Running()
    got: list[BinaryIO] = []

    async def backup() -> None:
        got.append(await run.writer.backup())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.writer.run)
        async with anyio.create_task_group() as callers:
            callers.start_soon(backup)
            await run.begun()
            callers.cancel_scope.cancel()
            run.let()
        assert got == [run.store.file]
        run.writer.end()


async def test_nothing_is_begun_at_the_end() -> None:
    run = Running()
    run.writer.end()
    with pytest.raises(Stopping):
        await run.writer.backup()


async def test_errors_of_upkeep_are_the_callers() -> None:
    run = Running()

    def fails() -> tuple[int, int]:
        raise StoreFull("x", "a test says so")

    run.store.compact = fails  # type: ignore[method-assign]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.writer.run)
        with pytest.raises(StoreFull):
            await run.writer.compact()
        run.writer.add(persist(1))
        run.let()
        await eventually(lambda: run.durable == [1])
        run.writer.end()
    assert run.writer.failure is None


# -- asked by a client ---------------------------------------------------------------------------------------------


async def read(stream: BackupStream) -> bytes:
    async with stream as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_client_gets_a_store_of_what_is_acknowledged(tmp_path: Path) -> None:
    async with served_client() as (_, kv):
        for number in range(300):
            await kv.set(f"home.n{number}", "x" * 1000)
        stream = kv.backup()
        data = await read(stream)
        await kv.set("home.late", 1)
    assert stream.size == len(data) > 300_000
    (tmp_path / FILE_NAME).write_bytes(data)
    report = check(str(tmp_path / FILE_NAME))
    assert (report.findings, report.entries) == ((), 301), "and the record of the node"
    store = SqliteStore(tmp_path)
    assert len(read_all(store.load()).rows) == 301
    store.close()


async def test_a_client_has_a_store_compacted() -> None:
    async with served_client() as (_, kv):
        assert await kv.compact() == (0, 0)


async def test_a_reader_that_goes_away_leaves_no_open_file(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_client() as (node, kv):
        file = io.BytesIO(bytes(50 << 20))
        monkeypatch.setattr(node.store, "backup", lambda: file)
        async with kv.backup() as chunks:
            await anext(chunks)
        await eventually(lambda: file.closed)
        whole = io.BytesIO(b"all of it")
        monkeypatch.setattr(node.store, "backup", lambda: whole)
        assert await read(kv.backup()) == b"all of it"
        await eventually(lambda: whole.closed)


@pytest.mark.interpreted
async def test_a_backup_that_comes_too_late_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads it any more when it is there."""
    gate, file = anyio.Event(), io.BytesIO(b"x")

    async def late() -> BinaryIO:
        await gate.wait()
        return file

    async with served_client() as (node, kv):
        monkeypatch.setattr(node.driver.store, "backup", late)
        async with kv.backup():
            await kv.status()  # the node has the request before it
        await kv.status()
        gate.set()
        await eventually(lambda: file.closed)


@pytest.mark.parametrize("what", ["backup", "compact"])
async def test_a_store_that_cannot_is_told_to_the_client(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def fails() -> None:
        raise StoreFull("/x/kv.sqlite", "a test says so")

    async with served_client() as (node, kv):
        monkeypatch.setattr(node.store, what, fails)
        with pytest.raises(Refused, match="no room left") as error:
            await (read(kv.backup()) if what == "backup" else kv.compact())
        assert error.value.code == "store_full"
        await kv.set("x", 1)


async def test_half_a_backup_is_no_backup() -> None:
    network = MemoryTransport()

    async def breaks(node: ScriptedNode) -> None:
        node.welcome()
        request = await node.next()
        node.send(p.Chunk(request.id, b"half"))
        node.connection.close("gone")

    async with scripted(network, "memory:n", breaks), connect("memory:n", transport=network) as kv:
        with pytest.raises(Unavailable, match="broke during the backup"):
            await read(kv.backup())
