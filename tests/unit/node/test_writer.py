"""Where the writer commits: on the event loop or on its thread."""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO

import anyio
import pytest

from kvnode.core.effects import Persist
from kvnode.node.config import Compress
from kvnode.node.pace import ALLOWED_S, SLOW_IN_A_ROW
from kvnode.node.writer import LINGER_S, MERGE_ABOVE, Writer
from kvnode.store.base import StoreError, StoreIOError
from kvnode.testing.inprocess import eventually

pytestmark = pytest.mark.anyio

QUICK_S, SLOW_S = ALLOWED_S / 5, 50 * ALLOWED_S
PROVEN = 50
"""So many quick commits prove a disk."""


class Disk:
    """A store that says on which thread it commits. Each commit takes `takes_s`, by a clock that only it moves."""

    blocking = True

    def __init__(self) -> None:
        self.takes_s = QUICK_S
        self.brief = True
        self.failure: StoreError | None = None
        self.threads: list[int] = []
        self.dense: list[bool] = []
        self.committed = 0
        """The token of the last commit that was tried."""
        self.backed_up_behind: list[int] = []
        self.now_s = 0.0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.busy = threading.Lock()

    def clock(self) -> float:
        return self.now_s

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        return self.brief

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        assert self.busy.acquire(blocking=False), "one at a time"
        self.busy.release()
        self.threads.append(threading.get_ident())
        self.dense.append(dense)
        self.committed = batches[-1].token
        self.now_s += self.takes_s
        if self.failure is not None:
            raise self.failure

    def backup(self) -> BinaryIO:
        with self.busy:
            self.backed_up_behind.append(self.committed)
            self.threads.append(threading.get_ident())
            assert self.may_go_on.wait(10)
            return io.BytesIO()


class Running:
    """A writer on such a disk."""

    def __init__(self, compress: Compress) -> None:
        self.disk = Disk()
        self.durable: list[int] = []
        self.writer = Writer(self.disk, self.durable.append, lambda why: None, clock=self.disk.clock, compress=compress)
        self._token = 0

    def add(self) -> int:
        self._token += 1
        self.writer.add(Persist(self._token, {b"%d" % self._token: b""}, {}))
        return self._token

    async def commits(self, count: int) -> list[bool]:
        """So many commits, one after the other; whether each was made here."""
        before = len(self.disk.threads)
        for _ in range(count):
            self.add()
            self.writer.hurry()
            await eventually(lambda: self.durable[-1:] == [self._token])
        return [thread == threading.get_ident() for thread in self.disk.threads[before:]]


@asynccontextmanager
async def running(compress: Compress = "auto") -> AsyncIterator[Running]:
    run = Running(compress)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run.writer.run)
        await anyio.wait_all_tasks_blocked()
        try:
            yield run
        finally:
            run.writer.end()


async def test_a_disk_that_has_proved_quick_is_waited_for_here() -> None:
    async with running() as run:
        here = await run.commits(PROVEN)
        assert not any(here[:10])
        assert all(here[-10:])
        assert here == sorted(here), "no going back"


@pytest.mark.interpreted
async def test_what_nobody_waits_for_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.writer.LINGER_S", 10 * LINGER_S)  # so that a busy machine gets through the loop
    async with running() as run:
        for _ in range(MERGE_ABOVE):
            last = run.add()
            await anyio.lowlevel.checkpoint()
        assert run.durable == []
        await eventually(lambda: run.durable == [last])


async def test_it_gathers_on_a_thread_even_if_the_disk_is_quick() -> None:
    async with running() as run:
        assert (await run.commits(PROVEN))[-1]
        last = run.add()
        await eventually(lambda: run.durable[-1] == last)
        assert run.disk.threads[-1] != threading.get_ident()


async def test_it_goes_along_with_what_somebody_waits_for() -> None:
    async with running() as run:
        run.writer.hurry()  # there is nothing yet to hurry with
        run.add()
        run.add()
        await anyio.lowlevel.checkpoint()
        assert run.durable == []
        last = run.add()
        run.writer.hurry()
        await eventually(lambda: run.durable == [last])
        assert len(run.disk.threads) == 1


@pytest.mark.interpreted
async def test_no_more_gathers_than_is_merged_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.writer.LINGER_S", 3600.0)
    async with running() as run:
        for _ in range(MERGE_ABOVE + 1):
            last = run.add()
        with anyio.fail_after(10):
            while run.durable != [last]:  # the thread's answer comes through the event loop
                await anyio.lowlevel.checkpoint()


async def test_the_end_and_jobs_do_not_wait_until_something_has_gathered() -> None:
    async with running() as run:
        first = run.add()
        (await run.writer.backup()).close()
        assert run.durable == [first]
        last = run.add()
    assert run.durable == [first, last]


async def test_a_slow_disk_is_the_threads() -> None:
    async with running() as run:
        run.disk.takes_s = 2 * ALLOWED_S
        assert not any(await run.commits(PROVEN))


async def test_a_commit_that_takes_long_sends_those_behind_it_to_the_thread() -> None:
    async with running() as run:
        await run.commits(PROVEN)
        run.disk.takes_s = SLOW_S
        assert await run.commits(5) == [True, False, False, False, False]
        run.disk.takes_s = QUICK_S
        here = await run.commits(200)
        assert not any(here[:20])
        assert all(here[-10:])


async def test_what_is_more_than_a_small_write_is_the_threads() -> None:
    async with running() as run:
        await run.commits(PROVEN)
        run.disk.brief = False
        run.disk.takes_s = SLOW_S
        assert await run.commits(2) == [False, False]
        run.disk.brief = True
        run.disk.takes_s = QUICK_S
        assert await run.commits(1) == [True], "that took long, and tells nothing of a small write"
        await run.writer.backup()
        assert run.disk.threads[-1] != threading.get_ident()


async def test_a_job_finds_what_was_pending_on_the_disk() -> None:
    async with running() as run:
        assert (await run.commits(PROVEN))[-1]
        await eventually(lambda: not run.writer._lingers)  # its task is the first to hear of what comes
        token = run.add()
        run.writer.hurry()  # the event loop is about to commit that
        (await run.writer.backup()).close()
        assert run.durable[-1] == token
        assert run.disk.backed_up_behind == [token]


async def test_nothing_is_committed_while_a_job_is_done() -> None:
    async with running() as run, anyio.create_task_group() as tasks:
        assert (await run.commits(PROVEN))[-1]
        run.disk.may_go_on.clear()
        before = len(run.disk.threads)
        tasks.start_soon(run.writer.backup)
        await eventually(lambda: len(run.disk.threads) > before)
        token = run.add()
        run.writer.hurry()
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        assert run.durable[-1] < token
        run.disk.may_go_on.set()
        await eventually(lambda: run.durable[-1] == token)


@pytest.mark.interpreted
async def test_after_a_failure_the_thread_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.writer.RETRY_FIRST_S", 0.001)
    async with running() as run:
        await run.commits(PROVEN)
        run.disk.failure = StoreIOError("x", "a test says so")
        before = len(run.disk.threads)
        token = run.add()
        run.writer.hurry()
        await eventually(lambda: run.writer.failures > 1)
        run.disk.failure = None
        await eventually(lambda: run.durable[-1] == token)
        first, *others = (thread == threading.get_ident() for thread in run.disk.threads[before:])
        assert first
        assert not any(others)
        assert await run.commits(1) == [False]


# -- dense commits -----------------------------------------------------------------------------------------------


async def test_commits_are_not_dense_before_the_disk_has_proved_slow() -> None:
    async with running() as run:
        await run.commits(PROVEN)
        assert not any(run.disk.dense)


async def test_on_a_slow_disk_commits_are_dense() -> None:
    async with running() as run:
        run.disk.takes_s = SLOW_S
        await run.commits(SLOW_IN_A_ROW)
        assert not any(run.disk.dense)
        await run.commits(2)
        run.disk.brief = False
        await run.commits(2)
        assert run.disk.dense[SLOW_IN_A_ROW:] == [True] * 4


async def test_on_a_quick_disk_those_of_the_thread_are_not_dense_either() -> None:
    async with running() as run:
        await run.commits(PROVEN)
        last = run.add()  # nobody waits for it
        await eventually(lambda: run.durable[-1] == last)
        run.disk.brief = False
        assert await run.commits(2) == [False, False]
        assert run.disk.dense[-3:] == [False, False, False]


async def test_a_commit_that_takes_long_now_and_then_makes_no_slow_disk() -> None:
    async with running() as run:
        for _ in range(SLOW_IN_A_ROW):
            run.disk.takes_s = SLOW_S
            await run.commits(SLOW_IN_A_ROW - 1)
            run.disk.takes_s = QUICK_S
            await run.commits(1)
        assert not any(run.disk.dense)


async def test_when_the_disk_becomes_slow_those_behind_are_dense_until_it_is_quick_again() -> None:
    async with running() as run:
        await run.commits(PROVEN)
        run.disk.takes_s = SLOW_S
        await run.commits(SLOW_IN_A_ROW + 1)
        run.disk.takes_s = QUICK_S
        await run.commits(2)
        assert run.disk.dense[-4:] == [False, True, True, False]


@pytest.mark.parametrize("compress", ["always", "never"])
async def test_commits_are_dense_always_or_never_if_it_is_told_so(compress: Compress) -> None:
    async with running(compress) as run:
        here = await run.commits(PROVEN)
        assert here[-1]
        run.disk.brief = False
        await run.commits(1)
        run.disk.brief = True
        run.disk.takes_s = SLOW_S
        await run.commits(3)
        assert set(run.disk.dense) == {compress == "always"}
