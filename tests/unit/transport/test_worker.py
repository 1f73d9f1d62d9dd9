from __future__ import annotations

import gc
import threading
import weakref

import anyio
import anyio.lowlevel
import pytest

from kvnode.testing.inprocess import WAIT_S, eventually
from kvnode.transport.worker import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def worker() -> Worker:
    return Worker("test worker")


async def test_results_and_errors_come_back_and_the_event_loop_goes_on(worker: Worker) -> None:
    go = threading.Event()
    here = threading.get_ident()
    found: list[object] = []

    async def wait() -> None:
        found.append(await worker.run(lambda: (go.wait(WAIT_S), threading.get_ident() != here)))

    with anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.lowlevel.checkpoint()
            go.set()
    assert found == [(True, True)]
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: "and goes on") == "and goes on"
    worker.close()


async def test_one_thing_is_done_after_the_other(worker: Worker) -> None:
    log: list[int] = []
    busy = threading.Lock()

    def do(number: int) -> None:
        assert busy.acquire(blocking=False)
        log.append(number)
        busy.release()

    async def ask(number: int) -> None:
        await worker.run(lambda: do(number))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(ask, number)
    assert sorted(log) == list(range(50))
    worker.close()


async def test_who_is_cancelled_waits_for_what_was_begun(worker: Worker) -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    def do() -> None:
        begun.set()
        assert go.wait(WAIT_S)
        done.set()

    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            await worker.run(do)

        tasks.start_soon(ask)
        await eventually(begun.is_set)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.lowlevel.checkpoint()
        assert not done.is_set()
        go.set()
    assert done.is_set()
    worker.close()


async def test_it_ends_and_may_begin_again(worker: Worker) -> None:
    before = threading.active_count()
    await worker.run(lambda: None)
    worker.close()
    worker.close()
    await eventually(lambda: not any(t.name == "test worker" for t in threading.enumerate()))
    assert await worker.run(threading.active_count) <= before + 1
    worker.close()


async def test_it_keeps_nothing_alive_while_it_waits(worker: Worker) -> None:
    class Large:
        pass

    async def use() -> weakref.ref[Large]:
        large = Large()
        await worker.run(lambda: large)
        return weakref.ref(large)

    gone = await use()

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    await eventually(is_gone)
    worker.close()
