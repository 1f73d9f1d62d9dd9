"""The laws of kvnode (docs/explanation/replication.md) as questions to the evidence. Each gives what breaks it."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any, Final

from kvnode.testing.torture.history import Mark, Seen

from .causality import Causality
from .evidence import Evidence, Read, Watch, Write

EQUAL_IN_STATUS: Final = ("cluster", "members", "entries", "conflicts", "current")
"""What quiet, connected nodes must say alike of themselves. Tombstones are forgotten in each node's own time."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken law, where, and the evidence in a line."""

    law: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.law}: {self.where}: {self.text}"


def nothing_vanishes(evidence: Evidence, causality: Causality) -> Iterator[Violation]:
    """Law 3: an acknowledged write is there in the end, or was replaced by one that can have known it."""
    for path, writes in evidence.writes.items():
        deletes = [write for write in writes if write.value is None]
        for node, final in evidence.different_finals():
            live = final.get(path, {})
            heirs = [found for dot in live if (found := evidence.by_dot.get(dot))] + deletes
            for write in writes:
                if write.value is None or write.dot in live or not evidence.held(write):
                    continue
                if not any(causality.possibly(heir, write) for heir in heirs):
                    yield Violation("vanished", path, f"{write} is not on {node}, and nothing there can have known it")


def nothing_returns(evidence: Evidence, causality: Causality) -> Iterator[Violation]:
    """Law 4: what lives in the end was not replaced by a write that is safe."""
    for node, final in evidence.different_finals():
        for dot in (dot for live in final.values() for dot in live):
            write = evidence.by_dot.get(dot)
            if write is None:
                continue
            for other in evidence.writes[write.path]:
                if evidence.held(other) and causality.certainly(other, write):
                    yield Violation("returned", write.path, f"{write} lives on {node}, but {other} replaced it")


def nodes_agree(evidence: Evidence, statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[Violation]:
    """Law 2: at the quiet end all dumps are equal, byte for byte, and all nodes say the same of themselves."""
    first, *others = evidence.dumps
    for node in others:
        if evidence.dumps[node] != evidence.dumps[first]:
            yield Violation("disagreement", f"{first} and {node}", _difference(evidence, first, node))
    for name, said in different_words(statuses).items():
        yield Violation("disagreement", "status", f"{name}: {said}")


def different_words(statuses: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What nodes say differently of themselves, by node."""
    said = {name: {node: status.get(name) for node, status in statuses.items()} for name in EQUAL_IN_STATUS}
    return {name: words for name, words in said.items() if len({repr(word) for word in words.values()}) > 1}


def _difference(evidence: Evidence, one: str, other: str) -> str:
    mine, theirs = set(evidence.dumps[one].splitlines()), set(evidence.dumps[other].splitlines())
    example = min(mine ^ theirs, default="the order of lines")
    return f"{len(mine - theirs)} lines only on {one}, {len(theirs - mine)} only on {other}, such as {example}"


def names_are_unique(evidence: Evidence) -> Iterator[Violation]:
    """Law 6: a dot names one change, and one change has one dot."""
    changes: dict[str, set[tuple[str, str]]] = defaultdict(set)
    dots: dict[str, set[str]] = defaultdict(set)
    for dot, path, value in evidence.named:
        changes[dot].add((path, value))
        if value:
            dots[value].add(dot)
    for dot, named in changes.items():
        if len(named) > 1:
            yield Violation("two changes of one name", dot, f"it names {sorted(named)}")
    for value, names in dots.items():
        if len(names) > 1:
            yield Violation("two names of one change", repr(value), f"it has the dots {sorted(names)}")


def values_were_written(evidence: Evidence) -> Iterator[Violation]:
    """Nobody sees a value that no client wrote to that path."""
    written = {(path, write.value) for path, writes in evidence.writes.items() for write in writes}
    for dot, path, value in evidence.named:
        if value and (path, value) not in written:
            yield Violation("from nowhere", path, f"{value!r} ({dot}) was written by nobody")


# -- reading on one node -------------------------------------------------------------------------------------


def reads_go_forward(evidence: Evidence, causality: Causality) -> Iterator[Violation]:
    """On one node, while it lives: what is replaced is not read again, and what was written there is seen."""
    for path, reads in evidence.reads.items():
        by_node: dict[str, list[Read]] = defaultdict(list)
        for read in reads:
            if not read.stale:
                by_node[read.node].append(read)
        for node, own in by_node.items():
            yield from _no_step_back(evidence, node, own)
            writes = sorted((w for w in evidence.writes[path] if w.node == node and w.made), key=lambda w: w.end)
            deletes = [w for w in evidence.writes[path] if w.value is None]
            for read in own:
                yield from _sees_own(evidence, causality, read, writes, deletes)


def _no_step_back(evidence: Evidence, node: str, reads: list[Read]) -> Iterator[Violation]:
    gone: dict[str, int] = {}
    before: Read | None = None
    for read in reads:
        if before is not None and evidence.killed(node, before.start, read.end):
            gone.clear()
            before = None
        for dot in sorted(read.live & gone.keys()):
            if gone[dot] < read.start:
                yield Violation("step back", read.path, f"{node} shows {dot} again, which it had no longer")
        if before is not None and before.end < read.start:
            gone |= {dot: read.end for dot in before.live - read.live if dot not in gone}
        before = read


def _sees_own(
    evidence: Evidence, causality: Causality, read: Read, writes: list[Write], deletes: list[Write]
) -> Iterator[Violation]:
    """Compare a reading with the write that this run of its node answered last before it."""
    at = bisect_left(writes, float(read.start), key=lambda w: w.end) - 1
    if at < 0 or evidence.killed(read.node, writes[at].start, read.end):
        return
    last = writes[at]
    live = [write for dot in read.live if (write := evidence.by_dot.get(dot))]
    for write in live:
        if causality.certainly(last, write):
            yield Violation("read of the past", read.path, f"{read.node} shows {write}, but {last} replaced it")
    heirs = [heir for heir in (*live, *deletes) if heir.start < read.end]
    if len(live) < len(read.live):
        return  # something that nobody wrote, or under a wrong name: other laws say so
    if last.value is not None and last.dot not in read.live and not any(causality.possibly(h, last) for h in heirs):
        yield Violation("read of the past", read.path, f"{read.node} does not show {last}")


def conditions_were_kept(evidence: Evidence, causality: Causality) -> Iterator[Violation]:
    """Compare-and-set is atomic on its node: nothing came between what was expected and the write."""
    for writes in evidence.writes.values():
        runs: dict[str, list[Write]] = defaultdict(list)
        claims: dict[str, list[Write]] = defaultdict(list)
        for write in writes:
            if write.made:
                runs[write.order[0]].append(write)
                for dot in write.expect or ():
                    claims[dot].append(write)
        for run in runs.values():
            run.sort(key=lambda w: w.order)
            for last, write in pairwise(run):
                if write.expect is not None:
                    yield from _between(evidence, causality, write, last, write.expect)
        for dot, rivals in claims.items():
            for one, other in combinations(rivals, 2):
                if causality.certainly(other, one) or causality.certainly(one, other):
                    yield Violation("condition", one.path, f"{one} and {other} both replaced {dot}")


def _between(
    evidence: Evidence, causality: Causality, write: Write, last: Write, expect: frozenset[str]
) -> Iterator[Violation]:
    """A compare-and-set against the last write before it in the same run of its node."""
    expected = [found for dot in expect if (found := evidence.by_dot.get(dot))]
    for each in expected:
        if each is not last and causality.certainly(last, each):
            yield Violation("condition", write.path, f"{write} expected {each}, which {last} had replaced")
    if last.value is None or last.dot in expect or len(expected) < len(expect):
        return
    deletes = [w for w in evidence.writes[write.path] if w.value is None and w.start < write.end]
    if not any(causality.possibly(heir, last) for heir in (*expected, *deletes)):
        yield Violation("condition", write.path, f"{write} was made over {last}, which it did not expect")


# -- watches -------------------------------------------------------------------------------------------------


def watches_are_true(evidence: Evidence) -> Iterator[Violation]:
    """Law 5: no step back at a path, nothing left out, and the final value at the end; or a gap is told."""
    for watch in evidence.watches.values():
        gone: dict[str, set[str]] = defaultdict(set)
        live: dict[str, frozenset[str]] = {}
        fresh: set[str] = set()
        for item in watch.items:
            if isinstance(item, Seen):
                now = frozenset(item.live)
                for dot in sorted(now & gone[item.path]):
                    yield Violation("watch", item.path, f"watch {watch.number} shows {dot} again")
                if item.path in fresh:
                    gone[item.path] |= live[item.path] - now
                fresh.add(item.path)
                live[item.path] = now
            elif item.what == "gap":  # from here on, what was shown before says nothing of what comes
                gone.clear()
                fresh.clear()
            elif item.what == "final":
                yield from _ends_right(evidence, watch, live)
        if not watch.latest:
            yield from _leaves_nothing_out(evidence, watch)


def _ends_right(evidence: Evidence, watch: Watch, live: Mapping[str, frozenset[str]]) -> Iterator[Violation]:
    final = {path: frozenset(found) for path, found in evidence.finals[watch.node].items() if watch.covers(path)}
    shown = {path: dots for path, dots in live.items() if dots}
    for path in sorted(final.keys() | shown.keys()):
        if final.get(path) != shown.get(path):
            ends, holds = sorted(shown.get(path, ())), sorted(final.get(path, ()))
            yield Violation("watch", path, f"watch {watch.number} ends with {ends}, {watch.node} with {holds}")


def _leaves_nothing_out(evidence: Evidence, watch: Watch) -> Iterator[Violation]:
    """Of each run of its own node: the writes between two that the watch was told of, while it was not interrupted."""
    told = {run: (min(ticks), max(ticks), ticks) for run, ticks in _told(evidence, watch).items()}
    for path, writes in evidence.writes.items():
        if not watch.covers(path):
            continue
        for write in writes:
            run, tick = write.order
            first, last, ticks = told.get(run, (0, 0, set()))
            if write.value is not None and first < tick < last and tick not in ticks:
                yield Violation("watch", path, f"watch {watch.number} was not told of {write}")


def _told(evidence: Evidence, watch: Watch) -> dict[str, set[int]]:
    """The live dots from the end of the snapshot to the first interruption, as numbers by run."""
    told: dict[str, set[int]] = defaultdict(set)
    since: int | None = None
    for item in watch.items:
        if isinstance(item, Mark):
            if since is not None:
                break
            since = item.at if item.what == "uptodate" else None
        elif since is not None:
            if evidence.killed(watch.node, since, item.at):
                break
            for dot in item.live:
                run, _, number = dot.rpartition(":")
                if run.partition("~")[0] == watch.node:
                    told[run].add(int(number))
    return told
