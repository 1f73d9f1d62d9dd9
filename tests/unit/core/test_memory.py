"""What a key takes in memory, by the count of what Python gives out: measured here with 100 bytes of value."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest

from kvnode.codec import peer
from kvnode.core.effects import Change, Now, Persist, Refused
from kvnode.core.messages import Digest, Hello, Versions
from kvnode.core.path import Path
from kvnode.core.replica import Replica
from tests.support.replicas import WALL, enc

COUNT = 4_000
BATCH = 200
MOST_BYTES = 450
"""About 425 are needed. They were 500 to 750 when live dots were in a table, all versions had all fields, and one that
came from a peer had a key of its own.
"""
NOW = Now(0, WALL)
VALUE = enc("x" * 100)


def replica(name: str) -> Replica:
    return Replica(name, session=ord(name), random_bits=random.Random(name).getrandbits, now=NOW)


def settle(node: Replica) -> None:
    for effect in node.take_effects():
        if isinstance(effect, Persist):
            node.persisted(effect.token, NOW)


def write(node: Replica, first: int) -> None:
    changes = [Change(Path(("memory", f"key{n}")), bytes(bytearray(VALUE)), "me") for n in range(first, first + BATCH)]
    assert not isinstance(node.propose(changes, NOW), Refused)


def rounds(times: int) -> list[int]:
    return [first for _ in range(times) for first in range(0, COUNT, BATCH)]


def grown(do: Callable[[], None]) -> float:
    """Bytes a key that stay after `do`."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[0] / COUNT
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("times", [1, 3])
def test_a_key_that_is_written_here(times: int) -> None:
    node = replica("A")

    def fill() -> None:
        for first in rounds(times):
            write(node, first)
            settle(node)

    assert grown(fill) < MOST_BYTES
    assert len(node.tree) == COUNT + 1, "the record of the node, too"


@pytest.mark.parametrize("times", [1, 3])
def test_a_key_that_comes_from_a_peer(times: int) -> None:
    writer, node = replica("A"), replica("B")
    node.linked(1, NOW)
    node.receive(1, 0, Hello(1, 1, "kvnode", "A", 1, None, (), (), None, 0, ()), NOW)
    node.receive(1, 1, Digest({}, 0), NOW)
    settle(node)
    payloads = []
    for seq, first in enumerate(rounds(times), 2):
        write(writer, first)
        settle(writer)
        keys = [Path(("memory", f"key{n}")).key for n in range(first, first + BATCH)]
        payloads.append(peer.encode(seq, Versions(tuple(writer.tree.get(key)[0] for key in keys))))

    def fill() -> None:
        for payload in payloads:
            framed = peer.decode(payload)
            node.receive(1, framed.seq, framed.message, NOW)
            settle(node)

    assert grown(fill) < MOST_BYTES
    assert len(node.tree) == COUNT
