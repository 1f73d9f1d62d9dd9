"""The driver: proposals and their ack levels, the order of effects, a failing store, the end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from kvnode.codec.values import pack
from kvnode.core.effects import Change, Loaded, Now, Persist
from kvnode.core.messages import Hello, Message
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from kvnode.node import acks
from kvnode.node.acks import AckLevel, parse_ack
from kvnode.node.driver import Driver
from kvnode.node.errors import AckTimeout, NodeError, Overloaded, RefusedError, Stopping, StoreUnavailable
from kvnode.node.pending import PendingWrite
from kvnode.node.writer import MERGE_ABOVE, merged
from kvnode.store.base import StoreFull
from kvnode.store.memory import MemoryStore
from kvnode.testing.inprocess import WAIT_S, TestNode, eventually, running_node

pytestmark = pytest.mark.anyio

PATH = Path.parse("home.attic.temp")


def change(value: Any, path: Path = PATH, **more: Any) -> Change:
    return Change(path, pack(value), **more)


async def test_a_write_is_read_back_and_stored() -> None:
    async with running_node(TestNode("a")) as node:
        wrote = await node.set("home.attic.temp", 21.5)
        assert node.get("home.attic.temp") == 21.5
        assert PATH.key in node.disk.rows
        await eventually(lambda: node.replica.durable_here(wrote.dot))  # the writer hears of it first


async def test_a_restart_finds_what_was_acknowledged() -> None:
    async with running_node(TestNode("a")) as node:
        first = await node.set("x", 1)
    async with running_node(TestNode("a", disk=node.disk, seed=1)) as again:
        assert again.get("x") == 1
        second = await again.set("x", 2)
        assert second.dot.inc != first.dot.inc


async def test_a_refusal_comes_as_error_with_the_present_dots() -> None:
    async with running_node(TestNode("a")) as node:
        wrote = await node.set("home.attic.temp", 1)
        with pytest.raises(RefusedError) as caught:
            await node.driver.propose([change(2, expect=frozenset())])
        assert caught.value.code == "cas_failed"
        assert caught.value.dots == {wrote.dot}
        assert node.get("home.attic.temp") == 1


async def test_callbacks_are_called_in_the_turn_and_can_be_removed() -> None:
    seen: list[bytes] = []
    async with running_node(TestNode("a")) as node:
        remove = node.driver.on_notify(lambda changes: seen.extend(change.key for change in changes))
        await node.set("x", 1, acks.MEMORY)
        assert Path(("x",)).key in seen
        remove()
        before = len(seen)
        await node.set("x", 2)
        assert len(seen) == before


async def test_events_reach_the_callbacks() -> None:
    events = []
    async with running_node(TestNode("a")) as node:
        node.driver.on_deliver(events.append)
        await node.driver.call(lambda replica, now: replica.send_event(PATH, pack("hot"), "me", now))
    assert [(e.path, e.author) for e in events] == [(PATH, "me")]


# -- ack levels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["memory", "disk", "all", "peer:1", "peer:1000"])
def test_levels_in_their_text_form(text: str) -> None:
    assert str(parse_ack(text)) == text


@pytest.mark.parametrize("text", ["", "peer", "peer:", "peer:0", "peer:-1", "peer:1001", "disc", "peer:²"])
def test_texts_that_are_no_levels(text: str) -> None:
    with pytest.raises(ValueError, match="ack level"):
        parse_ack(text)


async def test_a_time_out_says_that_the_write_stands() -> None:
    async with running_node(TestNode("a")) as node:
        with pytest.raises(AckTimeout) as caught:
            await node.set("x", 1, AckLevel("peer", 1), timeout_s=0.5)
        (dot,) = caught.value.dots
        assert node.get("x") == 1
        assert node.replica.known.has(*dot)


async def test_all_needs_only_the_members() -> None:
    async with running_node(TestNode("a")) as node:
        await node.set("x", 1, acks.ALL)
        assert node.replica.members() == {"a"}


# -- the store -----------------------------------------------------------------------------------------------


class SlowStore:
    """Blocks in commit until told; counts. (A real store on a thread, without a disk.)"""

    blocking = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[Persist]] = []

    def load(self) -> Loaded:
        return Loaded()

    def is_brief(self, batches: Sequence[Persist]) -> bool:
        return False

    def commit(self, batches: Sequence[Persist], *, dense: bool = False) -> None:
        self.begun.set()
        assert self.go.wait(10)
        self.batches.append(list(batches))

    def close(self) -> None:
        pass


def replica(name: str = "a") -> Replica:
    return Replica(name, session=1, random_bits=lambda bits: 7, now=Now(0, 0))


async def test_commits_gather_while_one_is_under_way() -> None:
    store = SlowStore()
    driver = Driver(replica(), store)
    done: list[int] = []

    async def write(number: int) -> None:
        await driver.propose([change(number)], acks.DISK)
        done.append(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        tasks.start_soon(write, 0)
        await anyio.to_thread.run_sync(store.begun.wait)
        for number in range(1, 20):
            tasks.start_soon(write, number)
        await driver.propose([change("memory does not wait for the disk")], acks.MEMORY)
        assert done == []
        store.go.set()
        await eventually(lambda: len(done) == 20)
        driver.stop()
    assert len(store.batches) < 10, "one commit for many writes"
    tokens = [p.token for batch in store.batches for p in batch]
    assert tokens == sorted(tokens)


async def test_a_stop_waits_for_the_commit_that_is_under_way_and_answers_it() -> None:
    store = SlowStore()
    driver = Driver(replica(), store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)

        async def write() -> None:
            await driver.propose([change(1)], acks.DISK)

        tasks.start_soon(write)
        await anyio.to_thread.run_sync(store.begun.wait)
        driver.stop()
        with pytest.raises(Stopping):
            await driver.propose([change(2)])
        with pytest.raises(Stopping):
            await driver.call(lambda replica, now: None)
        store.go.set()
    assert store.batches


async def test_a_failing_store_refuses_disk_and_goes_on_otherwise() -> None:
    async with running_node(TestNode("a")) as node:
        await node.set("x", 0)
        node.disk.failure = StoreFull("memory", "test")
        with pytest.raises(StoreUnavailable) as caught:
            await node.set("x", 1)
        assert caught.value.dots, "this write was made before the failure showed"
        with pytest.raises(StoreUnavailable) as caught:
            await node.set("x", 2)
        assert not caught.value.dots, "and this one was not made"
        await node.set("y", 3, acks.MEMORY)
        assert (node.get("x"), node.get("y")) == (1, 3)
        status = node.driver.status()
        assert status["store"]["state"] == "failing"
        assert [r["kind"] for r in status["reports"]] == ["store_failed"]

        node.disk.failure = None
        await eventually(lambda: node.driver.store.failure is None)
        await node.set("x", 4)
        assert node.driver.status()["reports"] == []
        assert Path(("y",)).key in node.disk.rows


def test_merged_transactions_leave_the_store_as_the_single_ones() -> None:
    batch = [
        Persist(1, {b"a": b"1", b"b": b"1"}, {}, {"m": b"1"}, {1: b"1", 2: b"2"}),
        Persist(2, {b"a": None}, {}, {}),
        Persist(3, {b"c": b"3"}, {}, {"m": b"3"}, {1: None}),
    ]
    whole = merged(batch)
    assert whole.token == 3
    assert dict(whole.rows) == {b"a": None, b"b": b"1", b"c": b"3"}
    assert dict(whole.meta) == {"m": b"3"}
    assert dict(whole.quarantine) == {1: None, 2: b"2"}
    assert merged(batch[:1]) == batch[0]
    assert MERGE_ABOVE > 1


# -- waiting -------------------------------------------------------------------------------------------------


async def test_wait_known() -> None:
    async with running_node(TestNode("a")) as node, running_node(TestNode("b")) as other:
        await other.set("x", 1)
        known = other.replica.known
        assert await other.driver.wait_known(known, 1)
        assert not await node.driver.wait_known(known, 0.02)


class Answers:
    """Hears of the ends of writes."""

    def __init__(self) -> None:
        self.errors: list[NodeError | None] = []

    def write(self, driver: Driver, value: Any, ack: AckLevel = acks.DISK, timeout_ms: int = 60_000) -> PendingWrite:
        due = driver.now().mono + timeout_ms
        write = PendingWrite([change(value)], ack, due, lambda write: self.errors.append(write.error))
        driver.submit(write)
        return write


async def test_a_write_that_the_driver_comes_to_too_late_is_not_made() -> None:
    driver, answers = Driver(replica(), SlowStore()), Answers()
    answers.write(driver, 1, acks.MEMORY, timeout_ms=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        await driver.call(lambda replica, now: None)
        assert not driver.replica.tree.at(PATH)
        driver.stop()
    (error,) = answers.errors
    assert isinstance(error, Overloaded)


async def test_a_write_that_is_abandoned_before_its_turn_is_not_made() -> None:
    async with running_node(TestNode("a")) as node:
        answers = Answers()
        abandoned = answers.write(node.driver, 1)
        kept = answers.write(node.driver, 2)
        node.driver.abandon(abandoned)
        await eventually(lambda: kept.answered)
        assert not abandoned.wrote
        assert node.get("home.attic.temp") == 2
        assert answers.errors == [None]


async def test_a_write_that_is_abandoned_while_it_waits_stands_and_is_not_answered() -> None:
    store = SlowStore()
    driver, answers = Driver(replica(), store), Answers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        write = answers.write(driver, 1)
        await anyio.to_thread.run_sync(store.begun.wait)
        driver.abandon(write)
        driver.abandon(write)
        store.go.set()
        await driver.propose([change(2)])
        assert write.wrote
        driver.stop()
    assert answers.errors == []


async def test_a_cancelled_proposal_is_given_up() -> None:
    async with running_node(TestNode("a")) as node:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(node.set, "x", 1, AckLevel("peer", 1))
                await eventually(lambda: node.driver.waiting == 1)
                scope.cancel()
        assert node.driver.waiting == 0
        assert node.get("x") == 1


async def test_a_failing_store_answers_those_who_wait_and_a_stop_the_rest() -> None:
    async with running_node(TestNode("a")) as node:
        answers = Answers()
        await node.set("x", 0)
        node.disk.failure = StoreFull("memory", "test")
        answers.write(node.driver, 1)
        answers.write(node.driver, 2, AckLevel("peer", 1))
        await eventually(lambda: bool(answers.errors))
        (failed,) = answers.errors
        assert isinstance(failed, StoreUnavailable)
        assert failed.dots
        node.driver.stop()
        await eventually(lambda: len(answers.errors) == 2)
        late = answers.errors[1]
        assert isinstance(late, AckTimeout)
        assert late.dots
        answers.write(node.driver, 3)
        assert isinstance(answers.errors[2], Stopping)


async def test_a_cancelled_driver_answers_all() -> None:
    store, answers = MemoryStore(), Answers()
    store.load()
    driver = Driver(replica(), store)
    async with anyio.create_task_group() as tasks:
        await tasks.start(driver.run)
        answers.write(driver, 1, AckLevel("peer", 1))
        await eventually(lambda: driver.waiting == 1)
        driver.abandon(answers.write(driver, 2))
        answers.write(driver, 3)
        tasks.cancel_scope.cancel()
    assert len(answers.errors) == 2, "whether it had its turn or not"
    assert any(isinstance(error, AckTimeout) for error in answers.errors)
    assert driver.waiting == 0


@pytest.mark.interpreted
async def test_whoever_takes_writes_from_outside_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.node.driver.MAX_WAITING", 2)
    store = SlowStore()
    driver, answers = Driver(replica(), store), Answers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(driver.run)
        for number in range(2):
            answers.write(driver, number)
        await driver.call(lambda replica, now: None)
        assert driver.is_full
        with pytest.raises(Overloaded):
            await driver.propose([change(3)])
        store.go.set()
        with anyio.fail_after(WAIT_S):
            while driver.is_full:
                await driver.room()
        assert answers.errors == [None, None]
        driver.stop()
    await driver.room()  # there is all the room that will ever be


# -- links ---------------------------------------------------------------------------------------------------


class Recorder:
    """A port that remembers."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    def send(self, seq: int, message: Message) -> None:
        self.log.append((seq, message))

    def flush(self) -> None:
        self.log.append("flush")

    def close(self, why: str, fatal: bool) -> None:
        self.log.append(("close", fatal))


async def test_a_link_is_greeted_and_given_up() -> None:
    async with running_node(TestNode("a")) as node:
        port = Recorder()
        link = node.driver.link(port, dialled=True)
        await node.driver.call(lambda replica, now: None)
        (seq, hello), flushed = port.log
        assert (seq, type(hello), flushed) == (0, Hello, "flush")
        node.driver.received(link, 0, hello)
        await node.driver.call(lambda replica, now: None)
        assert port.log[-1] == ("close", True), "it is the node itself"
        node.driver.unlink(link)
        await node.driver.call(lambda replica, now: None)
        assert not node.replica.links
