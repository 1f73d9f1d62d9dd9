"""What programs against the client rely on: names, codes, values."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

import kvnode.client
from kvnode.client import ABSENT, MISSING, Absent, Change, Reading, Written, errors
from kvnode.client import protocol as p
from kvnode.client.items import change_of, reading_of
from kvnode.core.entry import Body
from kvnode.core.path import Path
from kvnode.core.ticks import Dot

NAMES = {
    "ABSENT", "Absent", "AckTimeout", "Address", "AddressError", "BackupStream", "CasFailed", "Change", "Child",
    "Client", "Closed", "DEFAULT_PORT", "Del", "DumpRow", "DumpStream", "EventItem", "EventStream", "Expect", "Gap",
    "History", "Item", "KvError", "LiveMirror", "MISSING", "NotFound", "OMITTED", "Omitted", "Options",
    "ProtocolError", "Put", "Reading", "Recorded", "Refused", "Sibling", "StoreUnavailable", "TreeStream",
    "Unavailable", "Undecodable", "Unfit", "Update", "Uptodate", "WatchStream", "Written", "connect", "errors",
    "parse_address",
}  # fmt: skip
CALLS = {
    "backup", "batch", "children", "compact", "conflicts", "delete", "dump", "events", "gc_explain", "get",
    "history", "inspection", "is_connected", "load", "mirror", "node", "retire", "send", "set", "status", "tree",
    "undo", "watch",
}  # fmt: skip
INC = "attic~0123456789abcdef"


def test_the_names_are_pinned() -> None:
    assert set(kvnode.client.__all__) == NAMES
    assert all(hasattr(kvnode.client, name) for name in NAMES)
    assert {name for name in dir(kvnode.client.Client) if name[0] != "_"} == CALLS


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_found", errors.NotFound),
        ("cas_failed", errors.CasFailed),
        ("ack_timeout", errors.AckTimeout),
        ("store_unavailable", errors.StoreUnavailable),
        ("unavailable", errors.Unavailable),
        ("timeout", errors.Unavailable),
        ("stopping", errors.Unavailable),
        ("overloaded", errors.Unavailable),
        ("closed", errors.Closed),
        ("protocol_error", errors.ProtocolError),
        ("too_large", errors.Refused),
        ("of_a_later_version", errors.Refused),
    ],
)
def test_codes_and_classes(code: str, kind: type[errors.KvError]) -> None:
    err = errors.error(code, "text", {"dots": [[INC, 3]]})
    assert type(err) is kind
    assert isinstance(err, errors.KvError)
    assert (err.code, err.message, str(err)) == (code, "text", "text")
    assert err.dots == (Dot(INC, 3),)
    assert errors.error(code, "text").dots == ()


def test_every_code_is_in_the_table_of_the_docs() -> None:
    assert errors.__doc__ is not None
    assert all(f"``{code}``" in errors.__doc__ for code in errors._CLASSES)


def test_absent_and_missing_are_one() -> None:
    assert ABSENT is MISSING is Absent.ABSENT
    assert not ABSENT
    assert repr(ABSENT) == "ABSENT"


def _row(live: int, *ticks: int, flags: int = 0, value: bytes | None = None) -> p.Row:
    sibs = tuple(
        p.Sib(INC, t, Body(("home", 3), t * 1000 << 16, 0, msgspec.Raw(bytes([t])), "me", "who", 99)) for t in ticks
    )
    return p.Row(sibs, live, flags, value, None if sibs else ("home", 3))


def test_a_reading_of_one_version() -> None:
    reading = reading_of(_row(1, 5))
    assert type(reading) is Reading
    assert (reading.path, reading.value, reading.dot, reading.stamp) == (Path(("home", 3)), 5, Dot(INC, 5), 5000 << 16)
    assert (reading.author, reading.principal, reading.expiry, reading.node, reading.tick) == (
        "me",
        "who",
        99,
        "attic",
        5,
    )
    assert reading.time == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
    assert (reading.conflict, reading.cut, reading.stale, reading.deleted) == (False, False, False, False)
    assert reading.dots == {Dot(INC, 5)}
    (only,) = reading.siblings
    assert (only.value, only.dot, only.author) == (5, Dot(INC, 5), "me")
    with pytest.raises(AttributeError):
        reading.value = 6  # type: ignore[misc]  # it is frozen


def test_a_reading_of_several_versions() -> None:
    reading = reading_of(_row(2, 5, 3, 4, flags=p.CONFLICT | p.STALE | p.CUT))
    assert (reading.value, reading.conflict, reading.stale, reading.cut) == (5, True, True, True)
    assert reading.dots == {Dot(INC, 5), Dot(INC, 3)}
    assert [(s.tick, s.value, s.deleted) for s in reading.siblings] == [(5, 5, False), (3, 3, False), (4, ABSENT, True)]


def test_a_joined_reading_shows_what_was_joined() -> None:
    reading = reading_of(_row(2, 5, 3, flags=p.CONFLICT, value=b"\x92\x03\x05"))
    assert reading.value == [3, 5]
    assert [s.value for s in reading.siblings] == [5, 3]


def test_a_change_to_no_value() -> None:
    deleted = change_of(_row(0, 5))
    assert type(deleted) is Change
    assert (deleted.value, deleted.deleted, deleted.tick, deleted.dots) == (MISSING, True, 5, frozenset())
    gone = change_of(_row(0))
    assert (gone.path, gone.value, gone.node, gone.tick) == (Path(("home", 3)), MISSING, "", 0)


def test_a_write_tells_its_time() -> None:
    assert Written(Dot(INC, 1), 5000 << 16).time == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
