"""Error records: unique per path, counted, resolved, taken over by the next run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvagents.framework.errors import MAX_RECORDS, ErrorBook, ErrorRecord
from kvnode.core.path import Path

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
A = Path.parse("agent.onewire.attic.a")
B = Path.parse("agent.onewire.attic.b")


def at(second: int) -> datetime:
    return T0 + timedelta(seconds=second)


def test_a_record_counts_and_keeps_first_and_last():
    book = ErrorBook("onewire/attic")
    assert book.fail(A, "timeout", "no answer", at(0))
    assert not book.fail(A, "timeout", "no answer", at(7))
    assert book.take_changed() == {
        A: {
            "agent": "onewire/attic",
            "path": A,
            "code": "timeout",
            "message": "no answer",
            "severity": "error",
            "count": 2,
            "first": at(0),
            "last": at(7),
            "resolved": None,
        }
    }
    assert book.take_changed() == {}


def test_resolving_and_failing_again():
    book = ErrorBook("x/y")
    book.fail(A, "timeout", "no answer", at(0))
    assert [r.path for r in book.open()] == [A]
    assert book.works(A, at(10))
    assert not book.works(A, at(11))
    assert book.open() == []
    assert book[A].resolved == at(10)
    assert book.fail(A, "timeout", "no answer", at(20))
    assert (book[A].count, book[A].first, book[A].resolved) == (2, at(0), None)


def test_what_never_failed_leaves_no_record():
    book = ErrorBook("x/y")
    assert not book.works(A, at(0))
    assert book.take_changed() == {}


def test_dropping_deletes_once():
    book = ErrorBook("x/y")
    book.fail(A, "c", "m", at(0))
    book.drop(A)
    book.drop(B)
    assert book.take_changed() == {A: None}


def test_records_of_an_earlier_run_are_taken_over():
    old = ErrorBook("x/y")
    old.fail(A, "timeout", "no answer", at(0))
    book = ErrorBook("x/y")
    book.adopt(A, old.take_changed()[A])
    assert book.take_changed() == {}
    assert book.works(A, at(100))
    assert book.take_changed()[A]["count"] == 1


def test_the_present_wins_over_an_earlier_run():
    book = ErrorBook("x/y")
    book.fail(A, "new", "now", at(50))
    book.adopt(A, ErrorRecord("x/y", A, "old", "then", 9, at(0), at(1)).value())
    assert book[A].code == "new"


def test_what_is_no_record_is_cleared_away():
    book = ErrorBook("x/y")
    for value in (None, 3, {}, {"path": A}, {**ErrorRecord("x", A, "c", "m", 1, at(0), at(1)).value(), "count": "two"}):
        book.adopt(A, value)
        assert book.take_changed() == {A: None}
        assert A not in book
    book.adopt(A, ErrorRecord("x", B, "c", "m", 1, at(0), at(1)).value())
    assert book.take_changed() == {A: None}


def test_a_failed_write_is_taken_again():
    book = ErrorBook("x/y")
    book.fail(A, "c", "m", at(0))
    book.not_written(book.take_changed())
    book.fail(A, "c", "m", at(1))
    changed = book.take_changed()
    assert changed[A] is not None
    assert changed[A]["count"] == 2


def test_the_number_of_records_is_bounded():
    book = ErrorBook("x/y")
    for n in range(MAX_RECORDS + 50):
        assert book.fail(Path(("a", n)), "c", "m", at(n))
    assert len(book.paths()) == MAX_RECORDS
    assert len(book.take_changed()) == MAX_RECORDS


class Mirror(RuleBasedStateMachine):
    """What was written, in the order it was taken, always equals the book, once all is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ErrorBook("x/y")
        self.tree: dict[Path, object] = {}
        self.second = 0

    paths = st.sampled_from([A, B])

    @rule(path=paths, code=st.sampled_from(["c", "d"]))
    def fail(self, path: Path, code: str) -> None:
        self.second += 1
        self.book.fail(path, code, "m", at(self.second))

    @rule(path=paths)
    def works(self, path: Path) -> None:
        self.second += 1
        self.book.works(path, at(self.second))

    @rule(path=paths)
    def drop(self, path: Path) -> None:
        self.book.drop(path)

    @rule()
    def write_fails(self) -> None:
        self.book.not_written(self.book.take_changed())

    @rule()
    def write(self) -> None:
        for path, value in self.book.take_changed().items():
            if value is None:
                self.tree.pop(path, None)
            else:
                self.tree[path] = value
        assert self.tree == {p: self.book[p].value() for p in self.book.paths()}

    @invariant()
    def first_is_not_after_last(self) -> None:
        assert all(self.book[p].first <= self.book[p].last for p in self.book.paths())


TestMirror = Mirror.TestCase
TestMirror.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
