"""Scrubbing: damage on disk is found and mended from memory, damage in memory is told and spreads nowhere."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath

import anyio
import pytest
from msgspec import structs

from kvnode.codec.values import pack
from kvnode.core.effects import Change, Now
from kvnode.core.entry import Version
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.core.tree import KEY_END
from kvnode.node import acks, scrubbing
from kvnode.node.driver import Driver
from kvnode.node.scrubbing import Scrubber
from kvnode.store.base import StoreDamaged, StoreFull
from kvnode.store.sqlite import SqliteStore
from kvnode.testing.inprocess import eventually
from tests.support.strangers import version

pytestmark = pytest.mark.anyio
COUNT = 220
PATH = Path.parse("room1.n7")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAUSE_S", "REST_S", "SETTLE_S"):
        monkeypatch.setattr(scrubbing, name, 0.001)


class Bench:
    """A driver on a real store, with entries in it."""

    def __init__(self, folder: FilePath) -> None:
        self.store = SqliteStore(folder)
        bits = iter(range(10**6))
        self.replica = Replica(
            "a", session=1, random_bits=lambda n: next(bits), now=Now(0, 0), loaded=self.store.load()
        )
        self.driver = Driver(self.replica, self.store)
        self.scrubber = Scrubber(self.driver)

    async def write(self, path: Path, value: object) -> None:
        await self.driver.propose([Change(path, pack(value))], acks.DISK, 20)

    def raw(self, statement: str, *args: bytes) -> None:
        """As a failing disk would."""
        db = self.store._db
        assert isinstance(db, sqlite3.Connection)
        assert db.execute(statement, args).rowcount == 1

    def stored(self, key: bytes) -> bytes | None:
        return dict(self.store.read_back(key, 1)).get(key)

    def kinds(self) -> list[tuple[str, str]]:
        return [(row.kind, row.subject) for row in self.driver.reports]

    @property
    def faults(self) -> tuple[int, int]:
        return self.driver.counters["store_faults"], self.driver.counters["memory_faults"]


@asynccontextmanager
async def bench(folder: FilePath) -> AsyncIterator[Bench]:
    made = Bench(folder)
    async with anyio.create_task_group() as tasks:
        await tasks.start(made.driver.run)
        changes = [Change(Path((f"room{n % 3}", f"n{n}")), pack(n)) for n in range(COUNT)]
        await made.driver.propose(changes, acks.DISK, 20)
        yield made
        made.driver.stop()
    made.store.close()


async def test_what_is_sound_is_left_alone(tmp_path: FilePath) -> None:
    async with bench(tmp_path) as b:
        commits = b.driver.store.commits
        await b.scrubber.round()
        assert b.faults == (0, 0)
        assert b.driver.store.commits == commits
        assert b.driver.counters["scrubbed_rows"] == len(b.replica.tree)
        assert b.driver.counters["scrub_rounds"] == 1
        assert b.kinds() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET record = x'00' || record WHERE key = ?",
        "UPDATE rows SET record = CAST(record AS TEXT) WHERE key = ?",
        "UPDATE rows SET sum = sum + 1 WHERE key = ?",
        "DELETE FROM rows WHERE key = ?",
    ],
)
async def test_damage_on_disk_is_mended_from_memory(tmp_path: FilePath, statement: str) -> None:
    async with bench(tmp_path) as b:
        b.raw(statement, PATH.key)
        await b.scrubber.round()
        assert b.faults == (1, 0)
        assert b.kinds() == [("store_damaged", str(PATH))]
        await b.write(Path.parse("z"), 1)
        assert b.stored(PATH.key) == b.replica.state.record(PATH.key)
        await b.scrubber.round()
        assert b.faults == (1, 0)


async def test_an_older_state_of_a_record_is_mended(tmp_path: FilePath) -> None:
    """As after a write that the disk lost: sound by its checksum."""
    async with bench(tmp_path) as b:
        before = b.store._db.execute("SELECT record, sum FROM rows WHERE key = ?", (PATH.key,)).fetchone()  # type: ignore[union-attr]
        await b.write(PATH, "new")
        b.raw("UPDATE rows SET record = ?, sum = ? WHERE key = ?", *before, PATH.key)
        await b.scrubber.round()
        await b.write(Path.parse("z"), 1)
        assert b.faults == (1, 0)
        assert b.stored(PATH.key) == b.replica.state.record(PATH.key)


async def test_a_row_of_what_is_gone_is_removed(tmp_path: FilePath) -> None:
    async with bench(tmp_path) as b:
        gone = Path.parse("room1.gone").key
        row = b.store._db.execute("SELECT record, sum FROM rows WHERE key = ?", (PATH.key,)).fetchone()  # type: ignore[union-attr]
        b.raw("INSERT INTO rows VALUES (?, ?, ?)", gone, *row)
        await b.scrubber.round()
        await b.write(Path.parse("z"), 1)
        assert b.faults == (1, 0)
        assert b.stored(gone) is None


@pytest.mark.parametrize("readable", [True, False])
async def test_damage_in_memory_is_told_and_not_written(tmp_path: FilePath, readable: bool) -> None:
    """A bit of a body flips: the record on disk is the good one."""
    async with bench(tmp_path) as b:
        good = b.stored(PATH.key)
        (held,) = b.replica.tree.get(PATH.key)
        assert b.replica.tree.print_of_all, "the fingerprint is taken of the good one"
        flipped = structs.replace(held.details, author="~")
        held.body = Version.make(held.dot, {}, flipped).body if readable else b"\xc1" + held.body
        await b.scrubber.round()
        store_faults, memory_faults = b.faults
        assert store_faults == 0
        assert memory_faults == 2, "the entry, and the fingerprint of the tree"
        assert {kind for kind, _ in b.kinds()} == {"memory_damaged"}
        assert b.stored(PATH.key) == good


async def test_what_is_being_written_is_not_damaged(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "LOOKS", 2)
    async with bench(tmp_path) as b:
        stop = anyio.Event()

        async def write() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                await b.driver.propose([Change(Path((f"room{n % 3}", f"n{n % COUNT}")), pack(n))], acks.MEMORY, 20)
                await anyio.sleep(0.001)  # without, hundreds are in each commit, and each look waits for one

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await b.scrubber.round()
            stop.set()
        assert b.faults == (0, 0)


async def test_what_cannot_be_written_is_not_damaged(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full: it holds what was acknowledged, memory is ahead of it."""
    async with bench(tmp_path) as b:

        def full(batches: object, *, dense: bool) -> None:
            raise StoreFull("kv.sqlite", "no room")

        monkeypatch.setattr(b.store, "commit", full)
        await b.driver.propose([Change(PATH, pack("new"))], acks.MEMORY, 20)
        await eventually(lambda: b.driver.store.failure is not None)
        await b.scrubber.round()
        assert b.faults == (0, 0)
        monkeypatch.undo()


async def test_a_store_that_cannot_be_read_is_reported(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench(tmp_path) as b:

        def broken(low: bytes, limit: int) -> list[tuple[bytes, bytes | None]]:
            raise StoreDamaged("kv.sqlite", "database disk image is malformed")

        monkeypatch.setattr(b.store, "read_back", broken)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(b.scrubber.run)
            await eventually(lambda: bool(b.kinds()))
            tasks.cancel_scope.cancel()
        assert b.kinds() == [("store_damaged", "store")]


def test_the_fingerprint_of_each_chunk_is_checked() -> None:
    replica = Replica("a", session=1, random_bits=lambda n: 1, now=Now(0, 0))
    versions: list[Version] = []
    for n in range(3_000):
        v = version(f"n{n}", n + 1)
        versions.append(v)
        replica.tree.put(v.key, (v,))
    assert checked(replica) == (True, 3_000 // 512)
    versions[1_700].body = versions[0].body
    assert not checked(replica)[0]


def checked(replica: Replica) -> tuple[bool, int]:
    """Whether all chunks are sound; and how many there are, at least."""
    low: bytes | None = b""
    sound, chunks = True, 0
    while low is not None:
        assert low < KEY_END
        good, low = replica.tree.check(low)
        sound, chunks = sound and good, chunks + 1
    return sound, min(chunks, 3_000 // 512)
