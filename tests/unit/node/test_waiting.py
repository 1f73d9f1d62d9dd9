"""Writes that wait for their ack level: by tokens, by others' acknowledgements, by time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kvnode.core.effects import Wrote
from kvnode.core.ticks import Dot
from kvnode.node import acks
from kvnode.node.acks import AckLevel
from kvnode.node.errors import AckTimeout, StoreUnavailable
from kvnode.node.pending import PendingWrite
from kvnode.node.waiting import SLACK, Waiting

PEER = AckLevel("peer", 1)


@dataclass
class Cluster:
    """What a replica would tell of who holds what; node `a` looks."""

    name: str = "a"
    held: dict[str, set[int]] = field(default_factory=lambda: {"a": set(), "b": set()})

    def durable_here(self, dot: Dot) -> bool:
        return dot.tick in self.held["a"]

    def ackers(self, dot: Dot) -> set[str]:
        return {name for name, ticks in self.held.items() if dot.tick in ticks}

    def members(self) -> set[str]:
        return set(self.held)


class Bench:
    """Writes that wait, and the log of what was answered."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.waiting = Waiting(self.cluster)
        self.log: list[tuple[int, str]] = []

    def write(self, *ticks: int, level: AckLevel = acks.DISK, due: int = 1_000) -> PendingWrite:
        def done(write: PendingWrite) -> None:
            error = write.error
            missing = ",".join(error.missing) if isinstance(error, AckTimeout) else ""
            self.log.append((ticks[0], type(error).__name__ + missing if error else "done"))

        write = PendingWrite([], level, due, done)
        write.wrote = [Wrote(Dot("a~1", tick), tick) for tick in ticks]
        return write

    def made(self, token: int, *writes: PendingWrite) -> None:
        self.waiting.add(writes, token)


def test_a_commit_answers_what_it_stored_and_nothing_else() -> None:
    bench = Bench()
    bench.made(1, bench.write(1), bench.write(2))
    bench.made(2, bench.write(3))
    bench.made(3, bench.write(4), bench.write(5, level=acks.MEMORY))
    assert bench.log == [(5, "done")], "memory does not wait"
    bench.waiting.stored(2)
    assert bench.log == [(5, "done"), (1, "done"), (2, "done"), (3, "done")]
    assert len(bench.waiting) == 1
    bench.waiting.stored(9)
    assert bench.log[4:] == [(4, "done")]
    assert bench.waiting.next_due is None


def test_what_is_durable_already_does_not_wait() -> None:
    bench = Bench()
    bench.cluster.held["a"] = {1}
    bench.made(0, bench.write(1), bench.write(1, 2))
    assert bench.log == [(1, "done")]
    assert len(bench.waiting) == 1


def test_others_are_waited_for_by_those_who_asked() -> None:
    bench = Bench()
    bench.made(1, bench.write(1, level=PEER), bench.write(2, level=acks.ALL), bench.write(3))
    bench.cluster.held["b"] = {1, 2}
    bench.waiting.look()
    assert bench.log == [(1, "done")]
    bench.cluster.held["a"] = {1, 2, 3}
    bench.waiting.stored(1)
    assert bench.log[1:] == [(3, "done")]
    bench.waiting.look()
    assert bench.log[2:] == [(2, "done")]


def test_time_outs_come_by_time_and_tell_who_is_missing() -> None:
    bench = Bench()
    bench.made(1, bench.write(1, due=30), bench.write(2, level=acks.ALL, due=10), bench.write(3, level=PEER, due=20))
    assert bench.waiting.next_due == 10
    bench.waiting.expire(9)
    assert not bench.log
    bench.waiting.expire(20)
    assert bench.log == [(2, "AckTimeouta,b"), (3, "AckTimeoutb")]
    assert bench.waiting.next_due == 30
    bench.waiting.stored(1)
    assert bench.waiting.next_due is None
    bench.waiting.expire(1_000)
    assert bench.log[2:] == [(1, "done")]


def test_time_outs_of_all_lengths_come_in_their_order() -> None:
    bench = Bench()
    dues = [50, 10, 60, 20, 20, 70, 5, 65, 71]
    bench.made(1, *(bench.write(at, due=due, level=PEER) for at, due in enumerate(dues)))
    seen: list[int] = []
    while (due := bench.waiting.next_due) is not None:
        bench.waiting.expire(due)
        seen += [dues[number] for number, _ in bench.log[len(seen) :]]
    assert seen == sorted(dues)


def test_a_failing_store_answers_those_who_need_it() -> None:
    bench = Bench()
    bench.made(1, bench.write(1), bench.write(2, level=acks.ALL), bench.write(3, level=PEER))
    bench.waiting.failing("no room")
    assert bench.log == [(1, StoreUnavailable.__name__), (2, StoreUnavailable.__name__)]
    bench.waiting.stored(1)
    assert len(bench.waiting) == 1


def test_what_was_given_up_is_never_answered() -> None:
    bench = Bench()
    gone, never_made = bench.write(1, due=5), bench.write(2)
    bench.made(1, gone)
    bench.waiting.forget(gone)
    bench.waiting.forget(gone)
    bench.waiting.forget(never_made)
    assert len(bench.waiting) == 0
    bench.waiting.expire(10)
    bench.waiting.stored(1)
    bench.waiting.end()
    assert bench.log == []


def test_an_answer_may_give_up_another_write() -> None:
    bench = Bench()
    other = bench.write(2)
    first = PendingWrite([], acks.DISK, 1_000, lambda _: bench.waiting.forget(other))
    first.wrote = [Wrote(Dot("a~1", 1), 1)]
    bench.made(1, first, other)
    bench.waiting.stored(1)
    assert first.answered
    assert bench.log == []


def test_the_end_tells_all() -> None:
    bench = Bench()
    bench.made(1, bench.write(1), bench.write(2, level=PEER))
    bench.waiting.end()
    assert [what for _, what in bench.log] == ["AckTimeout", "AckTimeout"]
    assert len(bench.waiting) == 0


@pytest.mark.parametrize("step", [1, -1], ids=["later and later", "sooner and sooner"])
def test_what_is_left_of_answered_writes_is_bounded(step: int) -> None:
    """One write that is due first keeps all others behind it, a disk that hangs all transactions."""
    bench = Bench()
    bench.made(1, bench.write(1, level=PEER, due=1))
    for number in range(10 * SLACK):
        write = bench.write(2, due=100_000 + step * number)
        bench.made(number + 2, write)
        bench.waiting.forget(write)
    assert len(bench.waiting) == 1
    assert len(bench.waiting._times) + len(bench.waiting._in_order) <= SLACK + 4
    assert len(bench.waiting._on_disk) <= SLACK + 4
    bench.waiting.expire(1)
    assert bench.log == [(1, "AckTimeoutb")]
