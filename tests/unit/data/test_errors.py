"""Error records: unique per path, counted, resolved, acknowledged, taken over by the next run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvnode.core.path import Path
from kvnode.data.errors import (
    MAX_RECORDS,
    Acknowledgement,
    ErrorBook,
    ErrorRecord,
    Severity,
    acknowledgement_of,
)

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOP = Path(("onewire", "attic"))
ROOT = Path.parse("agent.onewire.attic")
A = ROOT / "a"
B = ROOT / "b"
AT_A = Path.parse("@.errors.onewire.attic.a")


def at(second: int) -> datetime:
    return T0 + timedelta(seconds=second)


def record(path: Path, code: str = "c", count: int = 1) -> ErrorRecord:
    return ErrorRecord("onewire/attic", path, code, "m", Severity.ERROR, count, at(0), at(0), at(1))


def test_a_record_counts_and_keeps_first_and_last():
    book = ErrorBook(TOP, ROOT)
    assert book.fail(A, "timeout", "no answer", at(0))
    assert not book.fail(A, "timeout", "no answer", at(7))
    assert book.take_changed() == {
        A: {
            "subsystem": "onewire/attic",
            "path": A,
            "code": "timeout",
            "message": "no answer",
            "severity": "error",
            "count": 2,
            "first": at(0),
            "opened": at(0),
            "last": at(7),
            "resolved": None,
        }
    }
    assert book.take_changed() == {}


def test_resolving_and_failing_again():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "timeout", "no answer", at(0))
    assert [r.path for r in book.open()] == [A]
    assert book.works(A, at(10))
    assert not book.works(A, at(11))
    assert book.open() == []
    assert book[A].resolved == at(10)
    assert book.fail(A, "timeout", "no answer", at(20))
    assert (book[A].count, book[A].first, book[A].opened, book[A].resolved) == (2, at(0), at(20), None)


def test_what_never_failed_leaves_no_record():
    book = ErrorBook(TOP, ROOT)
    assert not book.works(A, at(0))
    assert book.take_changed() == {}


def test_dropping_deletes_once():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "c", "m", at(0))
    book.drop(A)
    book.drop(B)
    assert book.take_changed() == {A: None}


def test_records_of_an_earlier_run_are_taken_over():
    old = ErrorBook(TOP, ROOT)
    old.fail(A, "timeout", "no answer", at(0))
    book = ErrorBook(TOP, ROOT)
    book.adopt(AT_A, old.take_changed()[A])
    assert book.take_changed() == {}
    assert book.works(A, at(100))
    assert book.take_changed()[A]["count"] == 1


def test_the_present_wins_over_an_earlier_run():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "new", "now", at(50))
    book.adopt(AT_A, record(A, code="old", count=9).value())
    assert book[A].code == "new"


def test_what_is_no_record_is_cleared_away():
    book = ErrorBook(TOP, ROOT)
    for value in (None, 3, {}, {"path": A}, {**record(A).value(), "count": "two"}):
        book.adopt(AT_A, value)
        assert book.take_changed() == {A: None}
        assert A not in book
    book.adopt(AT_A, record(B).value())
    assert book.take_changed() == {A: None}


def test_a_failed_write_is_taken_again():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "c", "m", at(0))
    book.not_written(book.take_changed())
    book.fail(A, "c", "m", at(1))
    changed = book.take_changed()
    assert changed[A] is not None
    assert changed[A]["count"] == 2


def test_the_number_of_records_is_bounded():
    book = ErrorBook(TOP, ROOT)
    for n in range(MAX_RECORDS + 50):
        assert book.fail(Path(("a", n)), "c", "m", at(n))
    assert len(book.paths()) == MAX_RECORDS
    assert len(book.take_changed()) == MAX_RECORDS
    book.works(Path(("a", 7)), at(5000))
    book.works(Path(("a", 3)), at(5001))
    book.take_changed()
    assert book.fail(A, "c", "the oldest resolved one makes room", at(6000))
    assert len(book.paths()) == MAX_RECORDS
    assert set(book.take_changed()) == {A, Path(("a", 7))}


@pytest.mark.parametrize("severity", Severity)
def test_severities_have_names(severity: Severity):
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "c", "m", at(0), severity)
    value = book.take_changed()[A]
    assert value is not None
    assert value["severity"] == severity.name.lower()
    assert ErrorRecord.from_value(value) == book[A]
    assert ErrorRecord.from_value({**value, "severity": severity.name}) is None


def test_a_record_reads_as_it_was_written():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "c", "m", at(0))
    book.works(A, at(1))
    value = book[A].value()
    assert ErrorRecord.from_value(value) == book[A]
    for key in value:
        if key != "resolved":
            assert ErrorRecord.from_value({k: v for k, v in value.items() if k != key}) is None
    assert ErrorRecord.from_value({**value, "resolved": "yes"}) is None


def test_places():
    book = ErrorBook(TOP, ROOT)
    assert book.place(A) == AT_A
    assert acknowledgement_of(AT_A) == Path.parse("@.acknowledged.onewire.attic.a")
    assert ErrorBook(Path(("node", "attic"))).place(Path(("store",))) == Path.parse("@.errors.node.attic.store")


def test_an_acknowledgement_is_about_one_trouble():
    book = ErrorBook(TOP, ROOT)
    book.fail(A, "c", "m", at(0))
    known = Acknowledgement(book[A].opened, "a new cable is ordered", "me", at(5))
    assert Acknowledgement.from_value(known.value()) == known
    book.fail(A, "c", "m", at(10))
    assert known.covers(book[A])
    book.works(A, at(20))
    assert not known.covers(book[A])
    book.fail(A, "c", "m", at(30))
    assert not known.covers(book[A])


@pytest.mark.parametrize("key", ["opened", "comment", "author", "at"])
def test_what_is_no_acknowledgement(key: str):
    value = Acknowledgement(at(0), "comment", "me", at(1)).value()
    assert Acknowledgement.from_value({**value, key: 3}) is None
    assert Acknowledgement.from_value("text") is None


class Mirror(RuleBasedStateMachine):
    """What was written, in the order it was taken, always equals the book, once all is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.book = ErrorBook(TOP, ROOT)
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
