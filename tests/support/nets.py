"""Small nets that several tests of the core begin with, and what was sent in them."""

from __future__ import annotations

from typing import Any

from kvnode.core.messages import Message, Versions
from kvnode.core.ticks import Dot
from tests.support.replicas import Net


def horizon() -> tuple[Net, Dot]:
    """A and B are members. C and D (no members, so nobody waits for them) were away when `x` was deleted and the delete
    was forgotten.
    """
    net = Net("A", "B")
    net.start("C", member=False)
    net.start("D", member=False)
    net.link("A", "B", "C")
    net.link("B", "D")
    net.run()
    dot = net.write("A", "x", 1)
    net.run()
    for label in "CD":
        assert net.read(label, "x") == 1
        net.cut("B", label)
    net.delete("A", "x")
    net.run()
    assert net.at("A", "x") == net.at("B", "x") == ()
    return net, dot


def quarantined(net: Net, label: str) -> list[Dot]:
    return [q.version.dot for q in net[label].state.quarantine]


def linked_pair(**options: Any) -> Net:
    net = Net("A", "B", **options)
    net.link("A", "B")
    net.run()
    net.log.clear()
    return net


def relink(net: Net) -> None:
    net.log.clear()
    net.link("A", "B")
    net.run(1_000)


def kinds(net: Net, source: str, target: str) -> list[type[Message]]:
    return [type(m) for a, b, m in net.log if (a, b) == (source, target)]


def dots_sent(net: Net, source: str, target: str) -> list[Dot]:
    return [v.dot for m in net.sent(Versions, source, target) for v in m.versions]
