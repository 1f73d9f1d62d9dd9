"""The checker of the torture: each law has a history that breaks it, beside the one next to it that does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kvnode.testing.processes import environment
from kvnode.testing.torture.history import History, read_history
from tests.support.tale import Tale, dump

Told = Callable[[Tale], set[str]]


def good(name: str, told: Told) -> object:
    return pytest.param(told, set(), id=name)


def bad(name: str, law: str, told: Told, *also: str) -> object:
    """`also` are laws that break in consequence."""
    return pytest.param(told, {law, *also}, id=name)


VANISHED = [
    bad("acknowledged and gone", "vanished", lambda t: t.write("a~1:1", "x", 0, 1).broken()),
    good("there", lambda t: t.write("a~1:1", "x", 0, 1).broken({"x": ["a~1:1"]})),
    good("refused and gone", lambda t: t.write("a~1:1", "x", 0, 1, answer="fail").broken()),
    good("unknown and gone", lambda t: t.write("a~1:1", "x", 0, 1, answer="info").broken()),
    good("deleted", lambda t: t.write("a~1:1", "x", 0, 1).delete("b~1:1", "x", 2, 3).broken()),
    good("perhaps deleted", lambda t: t.write("a~1:1", "x", 0, 1).delete("b~1:1", "x", 2, 3, answer="info").broken()),
    bad("deleted before", "vanished", lambda t: t.delete("b~1:1", "x", 0, 1).write("a~1:1", "x", 2, 3).broken()),
    bad(
        "deleted in the same run before",
        "vanished",
        lambda t: t.delete("a~1:1", "x", 0, 5).write("a~1:2", "x", 0, 5).broken(),
    ),
    good("replaced", lambda t: t.write("a~1:1", "x", 0, 1).write("b~1:1", "x", 2, 3).broken({"x": ["b~1:1"]})),
    bad(
        "only at another path",
        "vanished",
        lambda t: t.write("a~1:1", "x", 0, 1).write("b~1:1", "y", 2, 3).broken({"y": ["b~1:1"]}),
    ),
    bad(
        "replaced by one that was cut off",
        "vanished",
        lambda t: t.cut(0, "ab", "ba").write("a~1:1", "x", 1, 2).write("b~1:1", "x", 3, 4).broken({"x": ["b~1:1"]}),
    ),
    bad(
        "replaced by one that cannot hear",
        "vanished",
        lambda t: t.cut(0, "ab").write("a~1:1", "x", 1, 2).write("b~1:1", "x", 3, 4).broken({"x": ["b~1:1"]}),
    ),
    good(
        "replaced by one that hears",
        lambda t: t.cut(0, "ba").write("a~1:1", "x", 1, 2).write("b~1:1", "x", 3, 4).broken({"x": ["b~1:1"]}),
    ),
    good(
        "replaced after healing",
        lambda t: (
            t.cut(0, "ab", "ba").write("a~1:1", "x", 1, 2).cut(3).write("b~1:1", "x", 3, 5).broken({"x": ["b~1:1"]})
        ),
    ),
    bad(
        "its heir expected something else",
        "vanished",
        lambda t: (
            t.write("b~1:1", "x", 0, 1)
            .write("a~1:1", "x", 2, 3)
            .write("b~1:2", "x", 4, 5, expect=["b~1:1"])
            .broken({"x": ["b~1:2"]})
        ),
    ),
    good(
        "its heir expected its heir",
        lambda t: (
            t.write("a~1:1", "x", 0, 1)
            .write("b~1:1", "x", 2, 3, expect=["a~1:1"])
            .write("a~1:2", "x", 4, 5, expect=["b~1:1"])
            .broken({"x": ["a~1:2"]})
        ),
    ),
    bad("in a memory that lives", "vanished", lambda t: t.write("a~1:1", "x", 0, 1, ack="memory").broken()),
    good("in a memory that died", lambda t: t.write("a~1:1", "x", 0, 1, ack="memory").kill("a", 2).broken()),
    bad("on a disk, killed", "vanished", lambda t: t.write("a~1:1", "x", 0, 1).kill("a", 2).broken()),
    bad(
        "on a peer's disk, killed",
        "vanished",
        lambda t: t.write("a~1:1", "x", 0, 1, ack="peer:1").kill("a", 2).broken(),
    ),
    bad("it stands, they said", "vanished", lambda t: t.write("a~1:1", "x", 0, 1, ack="all", answer="stands").broken()),
    good(
        "it stood until the kill",
        lambda t: t.write("a~1:1", "x", 0, 1, ack="all", answer="stands").kill("a", 2).broken(),
    ),
]

RETURNED = [
    bad(
        "replaced in the same run",
        "returned",
        lambda t: t.write("a~1:1", "x", 0, 1).delete("a~1:2", "x", 2, 3).broken({"x": ["a~1:1"]}),
    ),
    bad(
        "replaced by a condition",
        "returned",
        lambda t: t.write("a~1:1", "x", 0, 1).delete("b~1:1", "x", 2, 3, expect=["a~1:1"]).broken({"x": ["a~1:1"]}),
    ),
    bad(
        "replaced after a restart",
        "returned",
        lambda t: t.write("a~1:1", "x", 0, 1).kill("a", 2).delete("a~2:1", "x", 3, 4).broken({"x": ["a~1:1"]}),
    ),
    good(
        "lost before it could be replaced",
        lambda t: (
            t.write("a~1:1", "x", 0, 1, ack="memory").kill("a", 2).delete("a~2:1", "x", 3, 4).broken({"x": ["a~1:1"]})
        ),
    ),
    bad(
        "deleted where it had been seen",
        "returned",
        lambda t: (
            t.write("a~1:1", "x", 0, 1)
            .read("b", "x", 2, 3, "a~1:1")
            .delete("b~1:1", "x", 4, 5)
            .broken({"x": ["a~1:1"]})
        ),
    ),
    good(
        "seen only in an earlier run",
        lambda t: (
            t.write("a~1:1", "x", 0, 1)
            .read("b", "x", 2, 3, "a~1:1")
            .kill("b", 4)
            .delete("b~1:1", "x", 5, 6)
            .broken({"x": ["a~1:1"]})
        ),
    ),
    good(
        "the delete did not know it",
        lambda t: t.write("a~1:1", "x", 0, 1).delete("b~1:1", "x", 2, 3).broken({"x": ["a~1:1"]}),
    ),
    good(
        "the delete was lost",
        lambda t: (
            t.write("a~1:1", "x", 0, 1).delete("a~1:2", "x", 2, 3, ack="memory").kill("a", 4).broken({"x": ["a~1:1"]})
        ),
    ),
]

READS = [
    bad(
        "back again",
        "step back",
        lambda t: (
            t.write("b~1:1", "x", 0, 1)
            .read("a", "x", 2, 3, "b~1:1")
            .read("a", "x", 4, 5)
            .read("a", "x", 6, 7, "b~1:1")
            .broken({"x": ["b~1:1"]})
        ),
    ),
    good(
        "back after a kill",
        lambda t: (
            t.write("b~1:1", "x", 0, 1)
            .read("a", "x", 2, 3, "b~1:1")
            .read("a", "x", 4, 5)
            .kill("a", 6)
            .read("a", "x", 7, 8, "b~1:1")
            .broken({"x": ["b~1:1"]})
        ),
    ),
    good(
        "at the same time",
        lambda t: (
            t.write("b~1:1", "x", 0, 1)
            .read("a", "x", 2, 5, "b~1:1")
            .read("a", "x", 4, 5)
            .read("a", "x", 4, 7, "b~1:1")
            .broken({"x": ["b~1:1"]})
        ),
    ),
    bad(
        "the old value after a write",
        "read of the past",
        lambda t: (
            t.write("a~1:1", "x", 0, 1).write("a~1:2", "x", 2, 3).read("a", "x", 4, 5, "a~1:1").broken({"x": ["a~1:2"]})
        ),
    ),
    bad(
        "own write unseen",
        "read of the past",
        lambda t: t.write("a~1:1", "x", 0, 1).read("a", "x", 2, 3).broken({"x": ["a~1:1"]}),
    ),
    good(
        "own write unseen after a kill",
        lambda t: t.write("a~1:1", "x", 0, 1, ack="memory").kill("a", 2).read("a", "x", 3, 4).broken({"x": ["a~1:1"]}),
    ),
    good(
        "own write deleted elsewhere",
        lambda t: t.write("a~1:1", "x", 0, 1).delete("b~1:1", "x", 2, 9).read("a", "x", 3, 4).broken(),
    ),
    good(
        "beside a sibling",
        lambda t: (
            t.write("b~1:1", "x", 0, 1)
            .write("a~1:1", "x", 2, 3)
            .read("a", "x", 4, 5, "a~1:1", "b~1:1")
            .broken({"x": ["a~1:1", "b~1:1"]})
        ),
    ),
]

CONDITIONS = [
    good(
        "a chain",
        lambda t: (
            t.write("a~1:1", "x", 0, 1, expect=[]).write("a~1:2", "x", 2, 3, expect=["a~1:1"]).broken({"x": ["a~1:2"]})
        ),
    ),
    bad(
        "something came between",
        "condition",
        lambda t: (
            t.write("a~1:1", "x", 0, 9)
            .write("a~1:2", "x", 0, 9)
            .write("a~1:3", "x", 0, 9, expect=["a~1:1"])
            .broken({"x": ["a~1:3"]})
        ),
        "vanished",
    ),
    bad(
        "there was something",
        "condition",
        lambda t: t.write("a~1:1", "x", 0, 1).write("a~1:2", "x", 2, 3, expect=[]).broken({"x": ["a~1:2"]}),
        "vanished",
    ),
    good(
        "there may have been nothing",
        lambda t: (
            t.write("a~1:1", "x", 0, 1)
            .delete("b~1:1", "x", 1, 2)
            .write("a~1:2", "x", 3, 4, expect=[])
            .broken({"x": ["a~1:2"]})
        ),
    ),
    bad(
        "two took the same on one node",
        "condition",
        lambda t: (
            (
                t.write("b~1:1", "x", 0, 1)
                .write("a~1:1", "x", 2, 3, expect=["b~1:1"])
                .kill("a", 4)
                .write("a~2:1", "x", 5, 6, expect=["b~1:1"])
                .broken({"x": ["a~2:1", "a~1:1"]})
            )
            - {"returned"}
        ),
    ),
    good(
        "two took the same on two nodes",
        lambda t: (
            t.write("a~1:1", "x", 0, 1)
            .write("a~1:2", "x", 2, 3, expect=["a~1:1"])
            .write("b~1:1", "x", 2, 3, expect=["a~1:1"])
            .broken({"x": ["a~1:2", "b~1:1"]})
        ),
    ),
]

TWO = {"x": ["b~1:2"]}


def two_writes(tale: Tale) -> Tale:
    return tale.write("b~1:1", "x", 0, 1).write("b~1:2", "x", 2, 3)


WATCHES = [
    good("in order", lambda t: two_writes(t).watch("b", "x", ("x", "b~1:1"), ("x", "b~1:2"), "final").broken(TWO)),
    bad(
        "back",
        "watch",
        lambda t: two_writes(t).watch("a", "x", ("x", "b~1:2"), ("x", "b~1:1"), ("x", "b~1:2")).broken(TWO),
    ),
    good(
        "back after a gap",
        lambda t: (
            two_writes(t).watch("a", "x", ("x", "b~1:1"), ("x", ""), "gap", ("x", "b~1:1"), ("x", "b~1:2")).broken(TWO)
        ),
    ),
    bad("ends early", "watch", lambda t: two_writes(t).watch("a", "x", ("x", "b~1:1"), "final").broken(TWO)),
    bad(
        "ends with what is gone",
        "watch",
        lambda t: (
            two_writes(t)
            .watch("a", "x", ("x", "b~1:2"), "final")
            .broken(dumps={"a": "", "b": dump({"x": {"b~1:2": "b~1:2"}})})
        ),
        "disagreement",
        "vanished",
    ),
    bad("ends without", "watch", lambda t: two_writes(t).watch("a", "x", "uptodate", "final").broken(TWO)),
    good("not of its scope", lambda t: two_writes(t).watch("a", "xx", "uptodate", "final").broken(TWO)),
]


def three_writes(tale: Tale) -> Tale:
    return two_writes(tale).write("b~1:3", "x", 4, 5).write("b~1:4", "x", 6, 7)


FOUR = {"x": ["b~1:4"]}
LEFT_OUT = ("uptodate", ("x", "b~1:1"), ("x", "b~1:2"), ("x", "b~1:4"))
WATCHES += [
    bad("left out", "watch", lambda t: three_writes(t).watch("b", "x", *LEFT_OUT).broken(FOUR)),
    good("left out of the latest", lambda t: three_writes(t).watch("b", "x", *LEFT_OUT, latest=True).broken(FOUR)),
    good("left out elsewhere", lambda t: three_writes(t).watch("a", "x", *LEFT_OUT).broken(FOUR)),
    good(
        "left out in a gap", lambda t: three_writes(t).watch("b", "x", *LEFT_OUT[:3], "gap", LEFT_OUT[3]).broken(FOUR)
    ),
    good("left out in a kill", lambda t: three_writes(t).watch("b", "x", *LEFT_OUT).kill("b", 35).broken(FOUR)),
    good("left out of the snapshot", lambda t: three_writes(t).watch("b", "x", *LEFT_OUT[1:], "uptodate").broken(FOUR)),
]

NAMES = [
    bad(
        "one dot, two values",
        "two changes of one name",
        lambda t: (
            t.write("a~1:1", "x", 0, 1, value="v")
            .write("a~2:1", "x", 0, 1, value="w", answer="info")
            .read("b", "x", 2, 3, live={"a~1:1": "w"})
            .broken(dumps=dict.fromkeys("ab", dump({"x": {"a~1:1": "v"}})))
        ),
    ),
    bad(
        "one dot, two paths",
        "two changes of one name",
        lambda t: (
            (
                t.write("a~1:1", "x", 0, 1, value="v")
                .write("a~1:1", "y", 0, 1, value="w")
                .broken(dumps=dict.fromkeys("ab", dump({"x": {"a~1:1": "v"}, "y": {"a~1:1": "w"}})))
            )
            - {"vanished"}
        ),
    ),
    bad(
        "one value, two dots",
        "two names of one change",
        lambda t: (
            t.write("a~1:1", "x", 0, 1, value="v")
            .read("a", "x", 2, 3, live={"a~1:1": "v"})
            .broken(dumps=dict.fromkeys("ab", dump({"x": {"a~1:1": "v", "b~1:1": "v"}})))
        ),
    ),
    bad("read, but never written", "from nowhere", lambda t: t.read("a", "x", 0, 1, "a~1:1").broken()),
    bad("dumped, but never written", "from nowhere", lambda t: t.broken({"x": ["a~1:1"]})),
    bad("watched, but never written", "from nowhere", lambda t: t.watch("a", "x", ("x", "a~1:1")).broken()),
    good(
        "asked for, never answered, read",
        lambda t: t.write("a~1:1", "x", 0, 1, answer="info").broken({"x": ["a~1:1"]}),
    ),
    good("the system's own tree", lambda t: t.broken({"@.nodes.a": ["a~1:1"]})),
]

AGREEMENT = [
    bad(
        "other bytes",
        "disagreement",
        lambda t: t.write("a~1:1", "x", 0, 1, answer="info").broken(
            dumps={"a": "", "b": dump({"x": {"a~1:1": "a~1:1"}})}
        ),
        "vanished",
    ),
    bad("other order", "disagreement", lambda t: t.broken(dumps={"a": '{"path":"@"}\n', "b": '{"path": "@"}\n'})),
    bad("other counts", "disagreement", lambda t: t.broken(statuses={"a": {"entries": 1}, "b": {"entries": 2}})),
    good("same counts", lambda t: t.broken(statuses={"a": {"entries": 1, "lag": 1}, "b": {"entries": 1, "lag": 2}})),
]

ALL = VANISHED + RETURNED + READS + CONDITIONS + WATCHES + NAMES + AGREEMENT


@pytest.mark.parametrize(("told", "laws"), ALL)
def test_history(told: Told, laws: set[str]) -> None:
    assert told(Tale("a", "b")) == laws


def test_news_travels_over_others_and_cuts_that_change() -> None:
    """From a to c there was a way, but only over b, and only one after the other."""

    def ends(c_writes_at: int) -> set[str]:
        tale = Tale("a", "b", "c").cut(0, "ab", "ac", "bc").write("a~1:1", "x", 1, 2).cut(10, "ac", "bc")
        tale.cut(20, "ab", "ac").cut(30, "ac", "bc", "ab")
        return tale.write("c~1:1", "x", c_writes_at, c_writes_at + 1).broken({"x": ["c~1:1"]})

    assert ends(15) == {"vanished"}
    assert ends(25) == set()


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = Tale().write("a~1:1", "x", 0, 1, expect=[]).delete("a~1:2", "y", 2, 3).kill("a", 4).cut(5, "ab").records
    records += Tale().watch("a", "x", "uptodate", ("x", "a~1:1"), start=6).read("a", "x", 7, 8).records
    with History(tmp_path / "history", clock=lambda: 0) as history:
        for record in records:
            history.add(record)
    assert list(read_history(tmp_path / "history")) == records
    assert history.counts["invoke"] == 3


def test_the_checker_shares_no_code_with_what_it_judges() -> None:
    program = "import sys, kvnode.testing.torture.checker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    ours = {name for name in done.stdout.split() if name.startswith("kvnode")}
    allowed = ("kvnode", "kvnode.testing", "kvnode.testing.torture")
    assert {name for name in ours if not name.startswith("kvnode.testing.torture.")} == set(allowed)
    assert {name.split(".")[3] for name in ours if name.count(".") > 2} == {"checker", "history"}
