"""A node hears that it was retired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from kvnode.core.effects import Notify
from kvnode.core.path import Path
from kvnode.node.retired import tell_when_retired
from tests.support.nets import Net

RECORD = "@.nodes.B"


class Told:
    """In the place of a driver: calls back, and keeps what is reported."""

    def __init__(self, name: str) -> None:
        self.replica = SimpleNamespace(name=name)
        self.reports: list[tuple[str, str]] = []
        self.joined = 0
        self._look: Callable[[Sequence[Notify]], None] = lambda changes: None
        tell_when_retired(self, self.join)  # type: ignore[arg-type]  # all that it needs of a driver

    def join(self) -> None:
        self.joined += 1

    def on_notify(self, look: Callable[[Sequence[Notify]], None]) -> None:
        self._look = look

    def report(self, kind: str, subject: str, text: str) -> None:
        self.reports.append((kind, text))

    def change(self, path: str, siblings: Any) -> None:
        other = Notify(Path.parse("x").key, siblings)
        self._look([other, Notify(Path.parse(path).key, siblings), other])


def retired() -> Net:
    net = Net("A", "B")
    net.link("A", "B")
    net.write("B", "x", 1)
    net.run()
    net.cut("A", "B")
    return net


def test_what_another_node_did_is_told_and_the_node_joins() -> None:
    net = retired()
    told, other = Told("B"), Told("A")
    told.change(RECORD, net.at("B", RECORD))
    assert not told.reports, "its record as it should be"
    assert net["A"].retire("B", net.now) is None
    for one in (told, other):
        one.change(RECORD, net.at("A", RECORD))
    ((kind, text),) = told.reports
    assert (kind, told.joined, other.reports) == ("retired", 1, [])
    assert text.startswith("this node was retired by A and becomes a member again.")
    assert "kv node retire B" in text
    told.change(RECORD, ())
    assert "retired by another one" in told.reports[-1][1]


def test_a_node_that_retired_itself_and_other_deletes_are_not_told() -> None:
    net = retired()
    assert net["B"].retire("B", net.now) is None
    told = Told("B")
    told.change(RECORD, net.at("B", RECORD))
    net.delete("B", "x")
    told.change("x", net.at("B", "x"))
    assert not told.reports
