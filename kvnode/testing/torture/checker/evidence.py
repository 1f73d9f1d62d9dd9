"""What a history and the dumps at its end say, ordered for questions about single paths and dots."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from kvnode.testing.torture.history import Fail, Fault, Info, Invoke, Mark, Ok, Record, Seen, Stands, Watching

DURABLE_HERE: Final = frozenset({"disk", "all"})
"""Ack levels after which the node that took the write has it on its disk."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write, or the attempt. `end` is infinite if no answer came, `made` tells that it certainly was made, `acked`
    that its ack level was reached. A `value` of None deletes.
    """

    op: int
    node: str
    path: str
    value: str | None
    start: int
    end: float = inf
    dot: str = ""
    ack: str = "disk"
    made: bool = False
    acked: bool = False
    expect: frozenset[str] | None = None

    @property
    def order(self) -> tuple[str, int]:
        """The run of a node that it belongs to, and its number there."""
        run, _, number = self.dot.rpartition(":")
        return run, int(number or 0)

    def __str__(self) -> str:
        what = "the delete" if self.value is None else f"{self.value!r}"
        return f"{what} ({self.dot or 'dot unknown'}, {self.ack} on {self.node}, operation {self.op})"


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of one path: the dots that lived there on `node` at some time from `start` to `end`."""

    node: str
    path: str
    start: int
    end: int
    live: frozenset[str]
    stale: bool = False


@dataclass(slots=True)
class Watch:
    """A watch and what it was told, in order."""

    number: int
    node: str
    scope: str
    latest: bool
    items: list[Seen | Mark] = field(default_factory=list)

    def covers(self, path: str) -> bool:
        """Whether a path is at or below its scope."""
        return path == self.scope or path.startswith(f"{self.scope}.")


class Evidence:
    """See the module's text."""

    def __init__(self, records: Iterable[Record], dumps: Mapping[str, str]) -> None:
        self.dumps: Final = dumps
        self.writes: dict[str, list[Write]] = defaultdict(list)
        """By path, in the order of their beginnings; refused ones are left out."""
        self.reads: dict[str, list[Read]] = defaultdict(list)
        """By path, in the order of their ends."""
        self.watches: dict[int, Watch] = {}
        self.kills: dict[str, list[int]] = defaultdict(list)
        self.cuts: list[tuple[int, frozenset[tuple[str, str]]]] = []
        self.named: set[tuple[str, str, str]] = set()
        """All (dot, path, value) that anybody was shown or told."""
        self._open: dict[int, Invoke] = {}
        for record in records:
            self._take(record)
        for invoke in self._open.values():
            self._end(invoke, inf)
        self.finals: Final = {node: dict(parse_dump(text)) for node, text in dumps.items()}
        for final in self.finals.values():
            self.named |= {(dot, path, value) for path, live in final.items() for dot, value in live.items()}
        self._learn_dots()

    # -- reading it in ---------------------------------------------------------------------------------------

    def _take(self, record: Record) -> None:
        match record:
            case Invoke():
                self._open[record.op] = record
            case Ok() | Stands():
                self._done(self._open.pop(record.op), record)
            case Info():
                self._end(self._open.pop(record.op), inf)
            case Fail():
                del self._open[record.op]
            case Watching():
                self.watches[record.watch] = Watch(record.watch, record.node, record.scope, record.latest)
            case Mark():
                self.watches[record.watch].items.append(record)
            case Seen():
                self.watches[record.watch].items.append(record)
                self._name(record.path, record.live)
            case Fault(what="kill"):
                self.kills[record.node].append(record.at)
            case Fault(what="cuts"):
                self.cuts.append((record.at, frozenset(record.cuts)))

    def _done(self, invoke: Invoke, answer: Ok | Stands) -> None:
        if invoke.writes:
            self._end(invoke, answer.at, answer.dots, acked=isinstance(answer, Ok))
        elif isinstance(answer, Ok):
            self._name(invoke.path, answer.live)
            live = frozenset(answer.live)
            self.reads[invoke.path].append(Read(invoke.node, invoke.path, invoke.at, answer.at, live, answer.stale))

    def _end(self, invoke: Invoke, end: float, dots: tuple[str, ...] = (), *, acked: bool = False) -> None:
        for at, write in enumerate(invoke.writes):
            dot = dots[at] if dots else ""
            found = Write(
                op=invoke.op,
                node=invoke.node,
                path=write.path,
                value=write.value,
                start=invoke.at,
                end=end,
                dot=dot,
                ack=invoke.ack,
                made=bool(dot),
                acked=acked,
                expect=None if write.expect is None else frozenset(write.expect),
            )
            self.writes[write.path].append(found)
            if dot:
                self._name(write.path, {dot: write.value})

    def _name(self, path: str, live: Mapping[str, str | None]) -> None:
        self.named |= {(dot, path, "" if value is None else value) for dot, value in live.items()}

    def _learn_dots(self) -> None:
        """A write without an answer was made if somebody saw its value."""
        dots = {(path, value): dot for dot, path, value in self.named}
        self.by_dot: dict[str, Write] = {}
        for path, writes in self.writes.items():
            for at, write in enumerate(writes):
                if not write.dot and write.value is not None and (path, write.value) in dots:
                    writes[at] = write = replace(write, dot=dots[path, write.value], made=True)
                if write.dot:
                    self.by_dot[write.dot] = write
            writes.sort(key=lambda each: each.start)

    # -- asking ----------------------------------------------------------------------------------------------

    def killed(self, node: str, since: float, until: float) -> bool:
        """Whether the node was killed in this time, ends included."""
        kills = self.kills[node]
        at = bisect_left(kills, since)
        return at < len(kills) and kills[at] <= until

    def different_finals(self) -> Iterator[tuple[str, Mapping[str, Mapping[str, str]]]]:
        """The dumps, each content once, with a node that has it."""
        seen: set[str] = set()
        for node, text in self.dumps.items():
            if text not in seen:
                seen.add(text)
                yield node, self.finals[node]

    def held(self, write: Write) -> bool:
        """Whether the write is safe from all kills of the run: on a disk, or in a memory that lives."""
        if not write.made:
            return False
        if write.acked and write.ack != "memory":
            return True
        return not self.killed(write.node, write.start, inf)


def parse_dump(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The paths of a dump, but for the system's own tree, with value by dot."""
    for line in text.splitlines():
        row = json.loads(line)
        if row["path"] != "@" and not row["path"].startswith("@."):
            yield row["path"], {version["dot"]: version["value"] for version in row["versions"]}
