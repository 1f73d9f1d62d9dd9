"""Parts of the simulator: what it breaks must be broken as told, and its checks must see what is wrong."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from kvnode.client.mirror import Mirror
from kvnode.codec import peer
from kvnode.core.effects import Persist
from kvnode.core.entry import Version, body_of, encode_record
from kvnode.core.greeting import misfit
from kvnode.core.messages import Ack, AckState, Check, Digest, Hello, Message
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Ticks
from kvnode.node.watching import WatchStream
from kvnode.testing.sim import parse, run_plan
from kvnode.testing.sim.disk import Disk
from kvnode.testing.sim.releases import TOO_NEW, Dialect

INC = "A~0123456789abcdef"
HELLO = Hello(1, 1, "kvnode", "A", 7, None, (), ("behind",), None, 5, ())
MESSAGES: list[Message] = [
    HELLO,
    Digest({INC: (1, 3)}, 9),
    Ack((AckState("A", 7, 1, {INC: (1, 3)}, None, None), AckState("B", 8, 2, {}, (), (), True, 40))),
    Check(1, 2, True),
]

# -- releases --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", [-1, 0, 1])
def test_other_releases_say_the_same(release: int) -> None:
    """What they say is understood, and the numbers of a link stay without gaps."""
    dialect = Dialect(release)
    said = [wire for seq in range(20) for wire in dialect.say(seq, MESSAGES[seq % 3 + 1])]
    heard = [peer.decode(payload) for _, payload in said]
    assert [framed.seq for framed in heard] == [number for number, _ in said] == list(range(len(said)))
    known = [framed.message for framed in heard if type(framed.message) is not Message]
    assert known == [MESSAGES[seq % 3 + 1] for seq in range(20)]
    assert (len(said) > 20) == (release > 0)


@pytest.mark.parametrize(("release", "fits"), [(-1, True), (0, True), (1, True), (TOO_NEW, False)])
def test_who_is_too_new_gets_no_link(release: int, fits: bool) -> None:
    (_, payload), *_ = Dialect(release).say(0, HELLO)
    hello = peer.decode(payload).message
    assert isinstance(hello, Hello)
    assert (misfit(hello, "kvnode", 8) is None) == fits
    assert hello.features == {-1: (), 0: ("behind",)}.get(release, ("behind", "unheard-of"))


# -- disks -----------------------------------------------------------------------------------------------------


def _persist(token: int) -> Persist:
    """Tick `token` of one incarnation, at a path of its own."""
    path = Path(("x", token))
    body = body_of(path, token, msgspec.msgpack.encode(token), "", None, None)
    record = encode_record((Version.make(Dot(INC, token), {}, body),))
    return Persist(token, {path.key: record}, {INC: Ticks.upto(token)})


def _disk(*tokens: int) -> Disk:
    disk = Disk()
    disk.stage(_persist(1))
    disk.sync(1)
    for token in tokens:
        disk.stage(_persist(token))
    return disk


def test_a_crash_keeps_what_had_reached_the_disk() -> None:
    disk = _disk(2, 3, 4)
    disk.crash(2)
    assert len(disk.rows) == 3
    assert disk.knows(Dot(INC, 3))
    assert not disk.knows(Dot(INC, 4))


def test_a_disk_that_tells_of_errors_may_have_stored_all_the_same() -> None:
    disk = _disk(2, 3, 4)
    disk.reach(2)
    disk.reach(1)
    assert len(disk.rows) == 3
    disk.crash(0)
    assert disk.knows(Dot(INC, 3))
    assert not disk.knows(Dot(INC, 4))


@pytest.mark.parametrize("flipped", [False, True])
def test_a_torn_transaction_is_noticed(flipped: bool) -> None:
    rows = set()
    for seed in range(20):
        disk = _disk(2, 3)
        disk.tear(Random(seed), flipped=flipped)
        disk.crash(0)
        assert disk.load().doubts
        assert not disk.knows(Dot(INC, 1))
        assert Disk(disk.image()).load().doubts
        rows.add(len(disk.rows))
    assert rows == ({1} if flipped else {1, 2})


# -- watching clients ------------------------------------------------------------------------------------------

WATCHING = parse(
    """
    seed 1 limits tiny
    host A sync 5
    host B sync 5
    edges A-B
    1000 write A x disk
    1001 write A y disk
    1100 watch 0 A all
    2000 write A x disk
    2500 delete A y disk
    3000 watch 0 B all
    3500 write B x disk
    """
)


def test_a_watching_client_is_told_all() -> None:
    report = run_plan(WATCHING, keep_trace=True)
    assert report.ok
    assert sum(" told 0 " in line for line in report.trace) >= 5


def test_a_change_that_is_told_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mirror, "_is_news", lambda self, key, row, dots: True)
    _breaks("told twice")


def test_a_change_that_is_not_told_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchStream, "notify", lambda self, key, siblings: None)
    _breaks("was told")


@pytest.mark.interpreted
def test_a_marker_before_its_time_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchStream, "_send_rows", lambda self, rows, emit: len(list(rows)))
    _breaks("got a marker before")


def _breaks(text: str) -> None:
    broken = run_plan(WATCHING).broken
    assert any(b.law == "watcher" and text in b.text for b in broken), broken
