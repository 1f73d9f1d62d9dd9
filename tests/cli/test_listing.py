"""list, tree, watch, events: what scripts and people read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvnode.client import ABSENT, OMITTED, EventItem, Gap, Undecodable, Uptodate, errors
from kvnode.client.items import gone
from kvnode.core.path import Path
from tests.cli.conftest import Result
from tests.cli.fake import FakeClient, change, reading, sibling

Kv = Callable[..., Result]

ROW = {"node": "a", "tick": 1, "time": "2026-01-01T00:00:00.123Z", "author": "kv"}


def _house(fake: FakeClient) -> FakeClient:
    return fake.put(
        reading("home.attic.temp", 21.5),
        reading("home.attic", "top"),
        reading("home.cellar.temp", 12, conflict=True, others=(sibling("home.cellar.temp", 13),)),
        reading("knx.:1.:2", True),
    )


def test_list_for_people(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    lines = kv("list").out.splitlines()
    assert lines[0].split() == ["PATH", "VALUE", "AGE", "NODE", "AUTHOR"]
    assert [line.split()[0] for line in lines[1:]] == ["home.attic", "home.attic.temp", "home.cellar.temp", "knx.:1.:2"]
    assert "12 (!)" in lines[3]
    assert "(!)" not in lines[1]


def test_list_for_programs(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    rows = kv("list", "home", "--format", "jsonl").lines
    assert rows[0] == {"path": "home.attic", "value": "top", **ROW, "conflict": False}
    assert [r["conflict"] for r in rows] == [False, False, True]
    assert kv("list", "home", "--format", "json").json == rows
    assert kv("list", "nothing", "--format", "json").json == []
    assert kv("list", "nothing") == Result(0, "", "")


@pytest.mark.parametrize("command", ["list", "tree"])
def test_people_who_know_other_wildcards_and_separators_are_told(kv: Kv, fake: FakeClient, command: str) -> None:
    _house(fake)
    for path in ("home.#", "home.*.temp", "nowhere.+"):
        told = f"no values at or below {path}: wildcards go into --pattern, as in --pattern home.+.temp\n"
        assert kv(command, path) == Result(0, told, "")
    told = "no values at or below home/attic: dots separate the elements of a path, as in home.attic\n"
    assert kv(command, "home/attic") == Result(0, told, "")
    fake.put(reading("what.+", 1), reading("a/b", 2))
    assert "no values" not in kv(command, "what.+").out + kv(command, "a/b").out
    assert kv("list", "home.#", "--format", "jsonl") == Result(0, "", "")


def test_pattern_and_depth_go_to_the_node(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    assert [r["path"] for r in kv("list", "--pattern", "home.+.temp", "--format", "jsonl").lines] == [
        "home.attic.temp",
        "home.cellar.temp",
    ]
    assert [r["path"] for r in kv("list", "home", "--depth", "1", "--format", "jsonl").lines] == ["home.attic"]


def test_tree(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    lines = [line.partition("  (")[0] for line in kv("tree").out.splitlines()]
    assert lines == [
        "home",
        "  attic = top",
        "    temp = 21.5",
        "  cellar",
        "    temp = 12 (!)",
        "knx",
        "  :1",
        "    :2 = true",
    ]
    assert kv("tree", "home", "--format", "json").json == {
        "path": "home",
        "below": [
            {"element": "attic", "value": "top", "below": [{"element": "temp", "value": 21.5}]},
            {"element": "cellar", "below": [{"element": "temp", "value": 12, "conflict": True}]},
        ],
    }


def test_what_only_other_software_can_read(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", Undecodable(b"\xc1", "no value")))
    assert kv("get", "x", "--format", "json").json == {"$msgpack": "wQ=="}
    assert "$msgpack" in kv("list").out


# -- watch ---------------------------------------------------------------------------------------------------


def test_watch_for_programs(kv: Kv, fake: FakeClient) -> None:
    fake.items = [
        change("home.temp", 21.5),
        Uptodate(),
        change("home.temp", ABSENT, 2),
        Gap("too slow"),
        gone(Path.parse("home.door")),
        change("home.temp", None, 3),
    ]
    done = kv("watch", "home", "--format", "jsonl", "--count", "3")
    assert done.code == 0
    assert done.out.splitlines()[1] == '{"uptodate": true}'
    assert done.lines == [
        {"path": "home.temp", "value": 21.5, **ROW},
        {"uptodate": True},
        {"path": "home.temp", **ROW, "tick": 2},
        {"gap": "too slow"},
        {"path": "home.door", "node": None, "tick": None, "time": None, "author": None},
        {"path": "home.temp", "value": None, **ROW, "tick": 3},
    ]
    assert kv("watch", "home", "--format", "json", "--count", "3").out == done.out


def test_watch_for_people(kv: Kv, fake: FakeClient) -> None:
    fake.items = [
        change("home.temp", 21.5),
        Uptodate(),
        change("home.temp", ABSENT, 2),
        Gap("slow"),
        change("x", "\x1b"),
    ]
    lines = kv("watch", "--count", "2").out.splitlines()
    assert lines[0].endswith("  home.temp = 21.5  (a, kv)")
    assert lines[1] == "-- up to date --"
    assert lines[2].endswith("  home.temp deleted  (a, kv)")
    assert lines[3] == "-- gap: slow --"
    assert lines[4].endswith('  x = "\\u001b"  (a, kv)')


def test_watch_as_yaml_is_a_row_of_documents(kv: Kv, fake: FakeClient) -> None:
    fake.items = [Uptodate()]
    assert kv("watch", "--snapshot", "--format", "yaml").out == "---\nuptodate: true\n"


def test_snapshot_ends_at_the_marker(kv: Kv, fake: FakeClient) -> None:
    fake.items = [change("x", 1), Uptodate(), change("x", 2, 2)]
    assert len(kv("watch", "--snapshot", "--format", "jsonl").lines) == 2


def test_a_watch_tells_of_other_wildcards_and_separators_on_standard_error(kv: Kv, fake: FakeClient) -> None:
    fake.items = [Uptodate(), change("home.#", 1)]

    def told(path: str, *more: str) -> str:
        done = kv("watch", path, "--snapshot", *more)
        assert done.code == 0
        return done.err

    for path in ("home.#", "home.*.temp", "nowhere.+"):
        where = f"kv: no values at or below {path}"
        assert told(path) == f"{where}: wildcards go into --pattern, as in --pattern home.+.temp\n"
    where = "kv: no values at or below home/attic"
    assert told("home/attic") == f"{where}: dots separate the elements of a path, as in home.attic\n"
    assert told("home.#", "--format", "jsonl") == told("home") == told("#", "--pattern", "home.#") == ""
    fake.items = [change("home.#", 1), Uptodate()]
    assert told("home.#") == ""


def test_options_of_a_watch_go_to_the_node(kv: Kv, fake: FakeClient) -> None:
    fake.items = [Uptodate()]
    kv("watch", "home", "--pattern", "home.#", "--depth", "3", "--latest", "--snapshot")
    name, path, options = fake.calls[-1]
    assert (name, str(path)) == ("watch", "home")
    assert (options["pattern"].text, options["depth"], options["latest"]) == ("home.#", 3, True)


def test_keys_only(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("home.x", 1))
    row = {"path": "home.x", "node": "a", "tick": 1, "time": "2026-01-01T00:00:00.123Z", "author": "kv"}
    assert kv("list", "--keys", "--format", "jsonl").lines == [row | {"conflict": False}]
    assert kv("list", "--keys").out.splitlines()[0].split() == ["PATH", "AGE", "NODE", "AUTHOR"]
    fake.items = [change("home.x", OMITTED), Uptodate(), change("home.x", ABSENT, 2)]
    watched = ("watch", "--keys", "--count", "1")
    assert kv(*watched, "--format", "jsonl").lines == [row, {"uptodate": True}, row | {"tick": 2, "deleted": True}]
    assert fake.calls[-1][2]["keys"] is True
    assert kv(*watched).out.splitlines()[0].endswith("home.x written  (a, kv)")


def test_a_watch_that_the_node_ends_is_an_error(kv: Kv, fake: FakeClient) -> None:
    fake.items = [Uptodate()]
    assert kv("watch") == Result(3, "-- up to date --\n", "kv: the watch ended: the node closed it\n")


# -- events --------------------------------------------------------------------------------------------------


def test_events(kv: Kv, fake: FakeClient) -> None:
    fake.event_items = [EventItem(Path.parse("home.bell"), "pressed", "kv", "a", 7)]
    assert kv("event", "watch", "home", "--count", "1").out == "home.bell : pressed  (a, kv)\n"
    assert kv("event", "watch", "--count", "1", "--format", "jsonl").lines == [
        {"path": "home.bell", "value": "pressed", "node": "a", "seq": 7, "author": "kv"}
    ]
    assert kv("event", "send", "home.bell", "on") == Result(0, "", "")
    assert fake.calls[-1] == ("send", Path.parse("home.bell"), "on")


def test_a_watch_of_events_tells_of_other_wildcards_and_separators(kv: Kv) -> None:
    told = "kv: home.# is taken as it stands: wildcards go into --pattern, as in --pattern home.+.temp\n"
    assert kv("event", "watch", "home.#").err.startswith(told)
    told = "kv: home/bell is taken as it stands: dots separate the elements of a path, as in home.attic\n"
    assert kv("event", "watch", "home/bell").err.startswith(told)
    assert kv("event", "watch", "home.#", "--format", "jsonl").err.count("\n") == 1
    assert kv("event", "watch", "--pattern", "home.#").err.count("\n") == 1


# -- the node ------------------------------------------------------------------------------------------------

STATUS = {
    "node": "a",
    "cluster": "kvnode",
    "current": True,
    "peers": [
        {"name": "b", "address": "h:1", "state": "linked", "lag": 0},
        {"name": "c", "address": "", "state": "unlinked", "lag": None, "error": "refused\x1b"},
    ],
    "entries": 3,
    "conflicts": 1,
    "tombstones": 2,
    "quarantine": 0,
    "store": {"state": "failing", "error": "disk full"},
    "reports": [{"kind": "skew", "subject": "b", "text": "its clock is ahead", "count": 3, "first": 0, "last": 0}],
}


def test_status(kv: Kv, fake: FakeClient) -> None:
    fake.answer = STATUS
    assert kv("status", "--format", "json").json == STATUS
    assert kv("node", "status", "--format", "json").json == STATUS
    out = kv("status").out
    assert "node a of cluster kvnode: current\n3 entries, 1 conflict, 2 tombstones, 0 quarantined\n" in out
    assert "store failing: disk full\n" in out
    fake.answer = {**STATUS, "entries": 1, "tombstones": 1, "quarantine": 1}
    assert "\n1 entry, 1 conflict, 1 tombstone, 1 quarantined\n" in kv("status").out
    fake.answer = {**STATUS, "store": {"state": "ok", "doubted": True}}
    assert "store ok; it lost something that no peer has made up for yet\n" in kv("status").out
    assert "\x1b" not in out
    rows = [line.split() for line in out.splitlines()]
    assert ["b", "linked", "0", "h:1"] in rows
    assert ["c", "unlinked", "?", "-", "refused\\x1b"] in rows
    assert "its clock is ahead (3 times)" in out


def test_status_of_an_older_or_newer_node(kv: Kv, fake: FakeClient) -> None:
    fake.answer = {"node": "a", "news": 1}
    assert kv("status").code == 0
    assert kv("status", "--format", "json").json == fake.answer


def test_gc_explains(kv: Kv, fake: FakeClient) -> None:
    fake.answer = {"gc": ["b has not acknowledged"]}
    assert kv("gc", "--explain", "x") == Result(0, "b has not acknowledged\n", "")
    assert kv("gc", "--explain", "x", "--format", "json").json == {
        "path": "x",
        "explanation": ["b has not acknowledged"],
    }
    fake.answer = {"gc": []}
    assert kv("gc", "--explain", "x").out == "nothing is kept for x: it was forgotten, or never deleted\n"
    assert kv("gc").code == 2


def test_retire(kv: Kv, fake: FakeClient) -> None:
    assert kv("node", "retire", "b") == Result(0, "b is retired\n", "")
    assert fake.calls == [("retire", "b")]
    assert kv("node", "retire", "no name").code == 2
    fake.fails = errors.error("not_found", "no member is called 'b'")
    assert kv("node", "retire", "b") == Result(1, "", "kv: no member is called 'b'\n")
    fake.fails = errors.error("still_linked", "'b' is linked right now")
    assert kv("node", "retire", "b").code == 4
