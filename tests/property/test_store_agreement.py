"""The SQLite store, the one with a log in front of it, and the memory store do the same as a dictionary, whatever is
committed, refused, closed, crashed, compacted and damaged in between.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvnode.core.effects import Persist
from kvnode.core.ticks import Ticks
from kvnode.store.base import StoreFull
from kvnode.store.logged import LoggedStore
from kvnode.store.memory import MemoryDisk, MemoryStore
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import Held, read_all, refused
from tests.support.stores import files_limited

keys = st.sampled_from([b"", b"\0", b"a", b"a\0", b"b", b"\xff"]) | st.binary(max_size=3)
records = st.binary(max_size=8) | st.sampled_from([b"x" * 900, b"y" * 5000])
incs = st.sampled_from(["a~0000000000000000", "b~0000000000000001", "b~0000000000000001v"])
ticks = st.sets(st.integers(1, 30)).map(lambda of: Ticks.of(*of))
batches = st.tuples(
    st.integers(1, 1000),
    st.dictionaries(keys, st.none() | records, max_size=4),
    st.dictionaries(incs, st.none() | ticks, max_size=2),
    st.dictionaries(st.sampled_from(["name", "ä", ""]), records, max_size=1),
    st.dictionaries(st.integers(1, 3), st.none() | records, max_size=1),
).map(lambda parts: Persist(*parts))
groups = st.lists(batches, max_size=3)


class Model:
    """What a store is: four dictionaries, and whether something is in doubt."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.known: dict[str, Ticks] = {}
        self.meta: dict[str, bytes] = {}
        self.quarantine: dict[int, bytes] = {}
        self.doubts = 0

    def apply(self, group: list[Persist]) -> None:
        for batch in group:
            for key, record in batch.rows.items():
                self.rows.pop(key, None)
                if record is not None:
                    self.rows[key] = record
            for inc, ticks in batch.known.items():
                self.known.pop(inc, None)
                if ticks is not None:
                    self.known[inc] = ticks
            for number, record in batch.quarantine.items():
                self.quarantine.pop(number, None)
                if record is not None:
                    self.quarantine[number] = record
            self.meta.update(batch.meta)
            if batch.rows or batch.known or batch.meta or batch.quarantine:
                self.doubts = 0


class Agreement(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.base = Path(tempfile.mkdtemp(prefix="agreement"))
        self.lives = 0
        self.disk = MemoryDisk()
        self.model = Model()
        self.open(self.base / "0")

    def open(self, directory: Path) -> None:
        self.directory = directory
        self.sqlite = SqliteStore(directory / "sqlite")
        self.logged = LoggedStore(directory / "logged", log_bytes=400)
        self.memory = MemoryStore(self.disk)
        self.compare()

    def compare(self) -> None:
        model = self.model
        for store in (self.sqlite, self.logged, self.memory):
            found = read_all(store.load())
            assert found == Held(model.rows, model.known, model.meta, found.doubts, model.quarantine)
            assert len(found.doubts) == model.doubts

    @rule(group=groups, dense=st.booleans())
    def commit(self, group: list[Persist], dense: bool = False) -> None:
        self.sqlite.commit(group, dense=dense)
        self.logged.commit(group, dense=dense)
        self.memory.commit(group, dense=dense)
        self.model.apply(group)

    @rule(group=groups)
    def fail(self, group: list[Persist]) -> None:
        """No room: nothing of it is stored."""
        group = [*group, Persist(1, {b"large": bytes(1 << 20)}, {})]
        assert self.sqlite._db is not None
        self.sqlite._db.execute("PRAGMA max_page_count = 1")
        refused(StoreFull, lambda: self.sqlite.commit(group))
        self.sqlite._db.execute("PRAGMA max_page_count = 1000000")
        self.fail_logged(group)
        self.disk.failure = StoreFull("memory", "no room")
        refused(StoreFull, lambda: self.memory.commit(group))
        self.disk.failure = None

    def fail_logged(self, group: list[Persist]) -> None:
        """Neither the log nor the snapshot takes it."""
        self.wait()
        db = self.logged._snapshot._db
        assert db is not None
        db.execute("PRAGMA max_page_count = 1")
        with files_limited(300_000):
            refused(StoreFull, lambda: self.logged.commit(group))
        db.execute("PRAGMA max_page_count = 1000000")

    def wait(self) -> None:
        """Until nothing is on its way into the snapshot."""
        assert self.logged._log is not None
        self.logged._wait(self.logged._log)

    @rule()
    def compact(self) -> None:
        self.sqlite.compact()
        self.logged.compact()

    @rule(low=keys, limit=st.integers(1, 5))
    def read_back(self, low: bytes, limit: int) -> None:
        rows = sorted((key, record) for key, record in self.model.rows.items() if key >= low)[:limit]
        assert self.logged.read_back(low, limit) == rows or self.model.doubts

    @rule(group=groups, lost=groups)
    def crash(self, group: list[Persist], lost: list[Persist]) -> None:
        """The process ends without closing: what is committed is there, what was staged or begun is not."""
        self.commit(group)
        for batch in lost:
            self.memory.stage(batch)
        assert self.sqlite._db is not None
        self.sqlite._db.execute("BEGIN")
        self.sqlite._db.execute("DELETE FROM rows")
        self.lives += 1
        copy = self.base / str(self.lives)
        self.wait()  # the files are copied one after the other
        shutil.copytree(self.directory, copy)
        self.memory.crash()
        self.sqlite.close()
        self.logged.close()
        shutil.rmtree(self.directory)
        self.open(copy)

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open(self.directory)

    def close(self) -> None:
        self.sqlite.close()
        self.logged.close()
        self.memory.close()

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """A record goes bad while nobody has the store open."""
        key = data.draw(st.sampled_from(sorted(self.model.rows)))
        self.close()
        for kind in ("sqlite", "logged"):
            with closing(sqlite3.connect(self.directory / kind / FILE_NAME)) as db, db:
                db.execute("UPDATE rows SET record = x'00' || record WHERE key = ?", (key,))
        self.disk.damage_row(key)
        del self.model.rows[key]
        self.model.doubts += 1
        self.open(self.directory)

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "model"):
            self.compare()

    def teardown(self) -> None:
        if hasattr(self, "base"):
            self.close()
            shutil.rmtree(self.base)


TestAgreement = Agreement.TestCase
# Every step opens files: fewer of them than the profile says, in proportion to it.
TestAgreement.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=12)
