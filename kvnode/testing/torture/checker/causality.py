"""Which write came after which: what is certain, and what is possible. Both err on the side of the nodes.

A write replaces what its node held at that moment. The history does not show what a node held, but bounds it:

* *Certainly held* is what the node itself took before, or showed to a client before, unless it was killed in between.
* *Possibly held* is what can have reached the node by then, through any other nodes, over the links that were open at
  the time: earliest arrival in a network that changes (after the temporal paths of Bui-Xuan, Ferreira, Jarry, 2003).

The first accuses: what is certainly replaced must not be seen again. The second defends: a write that is nowhere to be
seen must have been replaced by something that possibly knew it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from .evidence import DURABLE_HERE, Evidence, Write

Interval = tuple[float, float]


class Reach:
    """How early news can arrive, given which directions were blocked when."""

    def __init__(self, nodes: Iterable[str], cuts: Iterable[tuple[int, frozenset[tuple[str, str]]]]) -> None:
        self._nodes: Final = tuple(nodes)
        self._blocked: Final = _intervals(cuts)

    def arrivals(self, source: str, at: float) -> dict[str, float]:
        """For each node the earliest time at which it can know what `source` knew at `at`."""
        found: dict[str, float] = {}
        queue = [(at, source)]
        while queue:
            time, node = heapq.heappop(queue)
            if node in found:
                continue
            found[node] = time
            for other in self._nodes:
                if other not in found:
                    heapq.heappush(queue, (self._next_open(node, other, time), other))
        return found

    def _next_open(self, source: str, sink: str, at: float) -> float:
        intervals = self._blocked.get((source, sink), [])
        index = bisect_right(intervals, at, key=lambda interval: interval[0]) - 1
        return max(at, intervals[index][1]) if index >= 0 else at


def _intervals(cuts: Iterable[tuple[int, frozenset[tuple[str, str]]]]) -> dict[tuple[str, str], list[Interval]]:
    """Per direction when it was blocked, in order; a cut that never ended is open to infinity."""
    out: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    since: dict[tuple[str, str], float] = {}
    for at, blocked in cuts:
        for pair in since.keys() - blocked:
            out[pair].append((since.pop(pair), at))
        for pair in blocked - since.keys():
            since[pair] = at
    for pair, start in since.items():
        out[pair].append((start, float("inf")))
    return out


class Causality:
    """See the module's text."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence: Final = evidence
        self._reach: Final = Reach(evidence.dumps, evidence.cuts)
        self._arrivals: dict[int, dict[str, float]] = {}
        self._shown: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for reads in evidence.reads.values():
            for read in reads:
                if not read.stale:
                    for dot in read.live:
                        self._shown[read.node, dot].append((read.end, read.start))
        for times in self._shown.values():
            times.sort()

    def certainly(self, later: Write, earlier: Write) -> bool:
        """Whether `later` certainly replaced `earlier`, if that was not replaced already."""
        if not (later.made and earlier.made) or later.path != earlier.path:
            return False
        if later.dot and earlier.dot and later.order[0] == earlier.order[0]:
            return later.order[1] > earlier.order[1]
        if later.expect is not None and earlier.dot in later.expect:
            return True
        return self._took_before(later, earlier) or self._showed_before(later, earlier)

    def _took_before(self, later: Write, earlier: Write) -> bool:
        if later.node != earlier.node or earlier.end >= later.start:
            return False
        if earlier.acked and earlier.ack in DURABLE_HERE:
            return True
        return not self._evidence.killed(later.node, earlier.start, later.end)

    def _showed_before(self, later: Write, earlier: Write) -> bool:
        times = self._shown.get((later.node, earlier.dot))
        if not earlier.dot or not times:
            return False
        at = bisect_left(times, (later.start, 0)) - 1
        return at >= 0 and not self._evidence.killed(later.node, times[at][1], later.end)

    def possibly(self, later: Write, earlier: Write) -> bool:
        """Whether `later`, directly or over others, can have replaced `earlier`. A compare-and-set replaced what it
        expected, so it is as good as its expectations.
        """
        todo = [later]
        seen: set[str] = set()
        while todo:
            heir = todo.pop()
            if not self._in_time(heir, earlier):
                continue
            if heir.expect is None or earlier.dot in heir.expect:
                return True
            for dot in heir.expect - seen:
                write = self._evidence.by_dot.get(dot)
                if write is None:
                    return True
                todo.append(write)
            seen |= heir.expect
        return False

    def _in_time(self, later: Write, earlier: Write) -> bool:
        """Whether the node of `later` can have known `earlier`."""
        if later is earlier or later.end <= earlier.start:
            return False
        if later.dot and earlier.dot and later.order[0] == earlier.order[0]:
            return later.order[1] > earlier.order[1]
        return self._arrival(earlier, later.node) <= later.end

    def _arrival(self, write: Write, node: str) -> float:
        """When `node` can have known a write."""
        found = self._arrivals.get(write.op)
        if found is None:
            found = self._arrivals[write.op] = self._reach.arrivals(write.node, write.start)
        return found.get(node, write.start)
