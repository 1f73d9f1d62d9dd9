"""Back-off, and what records tell about addresses."""

from __future__ import annotations

import random

import pytest

from kvnode.codec.values import pack
from kvnode.core.entry import Version, body_of
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, incarnation
from kvnode.core.tree import Tree
from kvnode.node.dial import Backoff, DialLimits
from kvnode.node.discovery import MAX_ADDRESSES, MAX_NODES, is_wildcard, learned, own_addresses
from kvnode.transport.address import Address, parse_address

LIMITS = DialLimits()


def backoff(value: float | None = None) -> Backoff:
    rng = random.Random(1)
    return Backoff(rng.random if value is None else lambda: value, LIMITS)


def test_pauses_grow_with_the_time_without_a_link_up_to_the_bound() -> None:
    slowest = backoff(0.999999)
    assert slowest.failed(100.0) == pytest.approx(LIMITS.first_s, rel=1e-3)
    assert slowest.failed(103.0) == pytest.approx(LIMITS.first_s, rel=1e-3)
    assert slowest.failed(110.0) == pytest.approx(10 * LIMITS.share, rel=1e-3)
    assert slowest.failed(220.0) == pytest.approx(120 * LIMITS.share, rel=1e-3)
    assert slowest.failed(1e6) == pytest.approx(LIMITS.most_s, rel=1e-3)


@pytest.mark.parametrize("away_s", [1.0, 6.0, 30.0, 300.0])
def test_a_network_that_is_back_is_noticed_in_proportion_to_its_absence(away_s: float) -> None:
    one, now = backoff(), 0.0
    attempts = 0
    while now <= away_s:
        now += one.failed(now)
        attempts += 1
    assert now - away_s <= max(LIMITS.first_s, away_s * LIMITS.share)
    assert attempts < 200


def test_delays_are_jittered_and_never_below_half() -> None:
    one = backoff()
    one.failed(0.0)
    delays = [one.failed(1e6) for _ in range(100)]
    assert min(delays) >= LIMITS.most_s / 2
    assert len(set(delays)) > 90


def test_an_attempt_is_given_longer_the_longer_there_was_no_link() -> None:
    one = backoff()
    assert one.answer_within(50.0) == LIMITS.answer_least_s
    assert one.answer_within(50.0 + 5 / LIMITS.answer_share) == pytest.approx(5)
    assert one.answer_within(1e6) == LIMITS.answer_most_s
    one.reset()
    assert one.answer_within(2e6) == LIMITS.answer_least_s


def test_a_stable_link_that_is_cut_is_redialled_at_once() -> None:
    one = backoff()
    one.failed(0.0)
    one.failed(100.0)
    assert one.lost(LIMITS.stable_s, 200.0, yielding=False) == 0
    assert one.lost(LIMITS.stable_s, 200.0, yielding=True) <= LIMITS.yield_s
    assert one.failed(300.0) <= LIMITS.first_s


def test_a_link_that_flaps_backs_off() -> None:
    one = backoff(0.5)
    delays = [one.lost(0.1, 0.0, yielding=False) for _ in range(10)]
    assert delays == sorted(delays)
    assert delays[-1] > 10


def test_an_unfit_peer_is_asked_rarely() -> None:
    assert LIMITS.unfit_s / 2 <= backoff().unfit() <= LIMITS.unfit_s


# -- records -------------------------------------------------------------------------------------------------


def record(tree: Tree, name: str, value: object, tick: int = 1, stamp: int = 1) -> None:
    path = Path(("@", "nodes", name))
    data = None if value is None else pack(value)
    version = Version.make(Dot(incarnation(name, tick), tick), {}, body_of(path, stamp, data))
    tree.put(path.key, (*tree.get(path.key), version))


def test_addresses_come_from_the_records_of_others() -> None:
    tree = Tree()
    record(tree, "a", {"addresses": ["own.example:1"]})
    record(tree, "b", {"addresses": ["192.168.1.2:27590", "[fe80::1]:27590"], "inc": "b~0"})
    record(tree, "gone", None)
    record(tree, "silent", {"inc": "x"})
    assert learned(tree, "a", loopback=True) == {
        "b": (parse_address("192.168.1.2:27590"), parse_address("[fe80::1]:27590"))
    }


@pytest.mark.parametrize(
    "value",
    [
        "text",
        {"addresses": "192.168.1.2:27590"},
        {"addresses": [1, None, "no port", "host:99999", "host:0", "unix:/etc/passwd", "memory:x", ""]},
    ],
)
def test_records_that_make_no_sense_are_passed_over(value: object) -> None:
    tree = Tree()
    record(tree, "b", value)
    assert learned(tree, "a", loopback=True) == {}


def test_loopback_addresses_are_for_those_on_loopback() -> None:
    tree = Tree()
    record(tree, "b", {"addresses": ["127.0.0.1:27591", "attic.lan:27590"]})
    record(tree, "c", {"addresses": ["[::1]:27592"]})
    assert learned(tree, "a", loopback=False) == {"b": (parse_address("attic.lan:27590"),)}
    assert set(learned(tree, "a", loopback=True)) == {"b", "c"}


def test_of_two_records_the_newer_comes_first() -> None:
    tree = Tree()
    record(tree, "b", {"addresses": ["old:1", "both:1"]}, tick=1, stamp=1)
    record(tree, "b", {"addresses": ["new:1", "both:1"]}, tick=2, stamp=2)
    assert [str(a) for a in learned(tree, "a", loopback=True)["b"]] == ["new:1", "both:1", "old:1"]


def test_what_is_learned_is_bounded() -> None:
    tree = Tree()
    for number in range(MAX_NODES + 50):
        record(tree, f"n{number:04}", {"addresses": [f"h{n}:1" for n in range(50)]})
    found = learned(tree, "a", loopback=True)
    assert len(found) == MAX_NODES
    assert {len(addresses) for addresses in found.values()} == {MAX_ADDRESSES}


# -- own addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "hosts", "announced"),
    [
        ("127.0.0.1:27590", ["127.0.0.1"], ["127.0.0.1:27590"]),
        ("[::1]:27590", [], ["[::1]:27590"]),
        ("192.168.1.2:27590", ["10.0.0.1"], ["192.168.1.2:27590"]),
        ("attic.lan:27590", [], ["attic.lan:27590"]),
        ("0.0.0.0:27590", ["127.0.0.1", "192.168.1.2", "10.0.0.1"], ["10.0.0.1:27590", "192.168.1.2:27590"]),
        ("[::]:27590", ["fe80::1%eth0", "2001:db8::5", "::1"], ["[2001:db8::5]:27590"]),
    ],
)
def test_what_a_node_announces(listen: str, hosts: list[str], announced: list[str]) -> None:
    assert own_addresses(parse_address(listen), hosts) == announced


def test_wildcards() -> None:
    assert is_wildcard(Address("tcp", "0.0.0.0", 1))
    assert is_wildcard(Address("tcp", "::", 1))
    assert not is_wildcard(Address("tcp", "127.0.0.1", 1))
    assert not is_wildcard(Address("tcp", "host", 1))
