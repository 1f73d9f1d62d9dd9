"""The faults that may be drawn: each gives the steps of one of its kind.

The list is Jepsen's and FoundationDB's, with what happens to small machines in houses: cards that are copied, set back
and replaced, clocks that start in 1970, nodes that come back from a drawer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .draw import Draw
from .plan import Step, connected

_DAY_MS: Final = 86_400_000
_LIVENESS_MS: Final = 60_000
"""A process that stands still for so long is given up by its peers."""


def _edges(kind: str, longest: int) -> Callable[[Draw], list[Step]]:
    return lambda d: [Step(d.at(), kind, (*d.edge(), d.duration(longest)))]


def _hosts(kind: str, longest: int) -> Callable[[Draw], list[Step]]:
    return lambda d: [Step(d.at(), kind, (d.name(), d.duration(longest)))]


# -- the network -----------------------------------------------------------------------------------------------


def _shatter(draw: Draw) -> list[Step]:
    """Up to five partitions, each of which edits one path."""
    rng, at, path = draw.rng, draw.at(), draw.path()
    names = rng.sample(draw.names, len(draw.names))
    count = min(rng.choice((3, 5)), len(names))
    groups = [sorted(names[i::count]) for i in range(count)]
    duration = draw.duration(9_000) + 200
    edits = [Step(at + rng.randint(1, duration), "write", (rng.choice(group), path, "disk")) for group in groups]
    return [Step(at, "shatter", (duration, *map(",".join, groups))), *edits]


def _web(draw: Draw) -> list[Step]:
    """Who hears whom is not transitive: edges go down at random, but all hosts still hang together."""
    at, left, steps = draw.at(), list(draw.edges), []
    for edge in draw.rng.sample(draw.edges, len(draw.edges)):
        rest = [e for e in left if e != edge]
        if connected(draw.names, rest):
            left = rest
            steps.append(Step(at, "cut", (*edge, draw.duration(12_000))))
    return steps


def _swizzle(draw: Draw) -> list[Step]:
    """Links are clogged one by one, and unclogged in another order (FoundationDB's swizzle-clogging)."""
    rng, at = draw.rng, draw.at()
    chosen = rng.sample(draw.edges, rng.randint(1, min(len(draw.edges), 8)))
    gap, last = rng.choice((20, 200, 900)), 0
    ends = rng.sample(range(len(chosen)), len(chosen))
    steps = []
    for i, edge in enumerate(chosen):
        last = (len(chosen) + ends[i] + 1) * gap
        steps.append(Step(at + i * gap, "clog", (*edge, last - i * gap)))
    return steps


def _backlog(draw: Draw) -> list[Step]:
    """A host is cut off, much is written meanwhile, and it reads slowly when it is back; then it is cut off again."""
    rng, at = draw.rng, draw.rng.randint(100, max(draw.span // 2, 101))
    name = draw.name()
    writer = rng.choice([n for n in draw.full if n != name] or draw.full)
    writes = [
        Step(at + 100 + 10 * i, "batch", (writer, "memory", f"q.b{i % 7}", f"q.c{i}", f"q.b{i}")) for i in range(12)
    ]
    slow = Step(at + 1_000, "sluggish", (name, rng.choice((50, 400, 1_500)), 18_000))
    again = [Step(at + rng.randint(3_000, 12_000), rng.choice(("reset", "twin")), (n, name)) for n in draw.near(name)]
    return [Step(at, "split", (1_000, name)), *writes, slow, *again[:2]]


def _flood(draw: Draw) -> list[Step]:
    """Many events, and somebody who reads them slowly."""
    rng, at, name = draw.rng, draw.at(), draw.name()
    sender = rng.choice(draw.near(name))
    slow = Step(at, "sluggish", (name, rng.choice((50, 400)), 4_000))
    return [slow, *(Step(at + 5 + 3 * i, "event", (sender, draw.path())) for i in range(rng.choice((5, 30))))]


# -- hosts -----------------------------------------------------------------------------------------------------


def _recrash(draw: Draw) -> list[Step]:
    """One host crashes again and again: many incarnations."""
    at, name = draw.at(), draw.name()
    return [Step(at + i * draw.rng.randint(100, 1500), "crash", (name, 50)) for i in range(draw.rng.randint(2, 6))]


def _holes(draw: Draw) -> list[Step]:
    """Ticks that nobody can fill: a host writes while its disk is slow and one of its links is slower than another,
    then it crashes.
    """
    rng, at, name = draw.rng, draw.at(), draw.name()
    near = draw.near(name)
    slow = [Step(at, "slow", (name, n, 5000, 2000)) for n in near if rng.random() < 0.6]
    writes = [Step(at + 20 + 7 * i, "write", (name, draw.path(), "disk")) for i in range(rng.randint(2, 5))]
    cut = [Step(at + rng.randint(20, 60), "reset", (name, rng.choice(near)))]
    crash = Step(at + rng.randint(60, 900), "crash", (name, draw.duration(2_000)))
    return [Step(at, "disk", (name, 9000, 3000)), *slow, *writes, *cut, crash]


def _tear(draw: Draw) -> list[Step]:
    """A power cut tears the transaction that was being written, or flips bits of it; the disk was slow before that."""
    rng, at, name = draw.rng, draw.at(), draw.name()
    writes = [Step(at + 10 + 9 * i, "write", (name, draw.path(), "disk")) for i in range(rng.randint(0, 4))]
    how = rng.choice(("torn", "flipped"))
    return [Step(at, "disk", (name, 2_000, 500)), *writes, Step(at + 60, "tear", (name, draw.duration(4_000), how))]


def _failing(draw: Draw) -> list[Step]:
    """The store takes nothing for a while: disk full, errors at sync, mounted read-only. Perhaps it crashes then."""
    rng, at, name = draw.rng, draw.at(), draw.name()
    duration = draw.duration(9_000)
    crash = [Step(at + rng.randint(1, duration), "crash", (name, draw.duration(2_000)))] if rng.random() < 0.3 else []
    return [Step(at, "failing", (name, rng.choice(("full", "io", "readonly")), duration)), *crash]


def _clock(draw: Draw) -> list[Step]:
    """A clock steps by anything between seconds and a year, either way."""
    rng = draw.rng
    step = rng.choice((3_000, 50_000, _DAY_MS, 365 * _DAY_MS))
    return [Step(draw.at(), "clock", (draw.name(), rng.choice((-1, 1)) * step))]


def _restore(draw: Draw) -> list[Step]:
    name = draw.name()
    first, second = sorted((draw.at(), draw.at()))
    return [Step(first, "backup", (name,)), Step(second, "restore", (name, draw.duration(3_000)))]


def _rewind(draw: Draw) -> list[Step]:
    """A virtual machine goes back to a snapshot, its memory included, and writes before it has met anybody."""
    rng, name, first = draw.rng, draw.name(), draw.at()
    back = first + rng.randint(50, 6_000)
    before, after = (draw.path(), draw.path()) if rng.random() < 0.5 else (draw.paths[0], draw.paths[0])
    return [
        Step(first, "snapshot", (name,)),
        Step(first + 10, "write", (name, before, "disk")),
        Step(back, "rewind", (name,)),
        Step(back + rng.choice((0, 1, 2_000)), "write", (name, after, "disk")),
    ]


def _clone(draw: Draw) -> list[Step]:
    """A store is copied and started a second time; then both write, also to one path."""
    at, name, duration = draw.at(), draw.name(), draw.duration(8_000)
    twin = Step(at, "clone", (name, duration, draw.name(), draw.name()))
    first, last = draw.paths[0], draw.paths[-1]
    where = [(f"{name}+", first), (name, first), (f"{name}+", last), (name, last)]
    return [twin, *(Step(at + (i + 1) * duration // 6, "write", (*w, "disk")) for i, w in enumerate(where))]


def _move(draw: Draw) -> list[Step]:
    name = draw.name()
    others = [n for n in draw.names if n != name]
    peers = draw.rng.sample(others, min(len(others), 2))
    return [Step(draw.at(), "move", (name, draw.duration(3_000), *peers))]


def _retire(draw: Draw) -> list[Step]:
    """A node is retired while it is down, or while it is alive somewhere else; perhaps it comes back."""
    name = draw.name()
    by = draw.rng.choice([n for n in draw.full if n != name] or draw.full)
    at = draw.at()
    if by == name:
        return []
    if draw.rng.random() < 0.6:
        down = draw.rng.choice((3_000, 3_000, 10_000_000))
        return [Step(at, "crash", (name, down)), Step(at + draw.rng.randint(10, 2500), "retire", (by, name))]
    return [
        Step(at, "split", (draw.duration(9_000), name)),
        Step(at + draw.rng.randint(10, 4000), "retire", (by, name)),
    ]


def _drawer(draw: Draw) -> list[Step]:
    """A node lies in a drawer for a year. Perhaps it is retired meanwhile; much is deleted; then it is switched on."""
    rng, at, name = draw.rng, draw.at(), draw.name()
    others = [n for n in draw.full if n != name] or draw.full
    steps = [Step(at, rng.choice(("crash", "stop")), (name, 12_000)), Step(at + 4_000, "year")]
    if rng.random() < 0.6:
        steps.append(Step(at + 500, "retire", (rng.choice(others), name)))
    deletes = rng.sample(draw.paths, min(len(draw.paths), 4))
    return steps + [Step(at + 1_000 + 50 * i, "delete", (rng.choice(others), p, "disk")) for i, p in enumerate(deletes)]


def _upgrade(draw: Draw) -> list[Step]:
    """A host is started with another release: an older, a newer, or one that is too new for the others; then back."""
    at, name = draw.at(), draw.name()
    back = at + draw.rng.randint(500, 8_000)
    return [Step(at, "release", (name, draw.rng.choice((-1, 1, 2)), 100)), Step(back, "release", (name, 0, 100))]


FAULTS: Final[dict[str, Callable[[Draw], list[Step]]]] = {
    "cut": _edges("cut", 12_000),
    "oneway": _edges("oneway", 12_000),
    "split": lambda d: [Step(d.at(), "split", (d.duration(12_000), *d.some()))],
    "bridge": lambda d: [Step(d.at(), "bridge", (d.duration(12_000), d.name(), *d.some()))],
    "shatter": _shatter,
    "web": _web,
    "noise": lambda d: [Step(d.at(), "noise", (d.duration(6_000), *(d.rng.choice((0, 2, 10, 50)) for _ in range(3))))],
    "slow": lambda d: [Step(d.at(), "slow", (*d.edge(), d.rng.choice((300, 2000, 5000)), d.duration(8_000)))],
    "sluggish": lambda d: [Step(d.at(), "sluggish", (d.name(), d.rng.choice((20, 300)), d.duration(8_000)))],
    "clog": _edges("clog", 6_000),
    "swizzle": _swizzle,
    "reset": lambda d: [Step(d.at(), "reset", d.edge())],
    "stale": _edges("stale", 4_000),
    "twin": lambda d: [Step(d.at(), "twin", d.edge())],
    "backlog": _backlog,
    "flood": _flood,
    "crash": _hosts("crash", 8_000),
    "vanish": _hosts("vanish", 8_000),
    "recrash": _recrash,
    "stop": _hosts("stop", 8_000),
    "tear": _tear,
    "failing": _failing,
    "disk": lambda d: [Step(d.at(), "disk", (d.name(), d.rng.choice((500, 2000, 9000)), d.duration(12_000)))],
    "pause": lambda d: [
        Step(d.at(), "pause", (d.name(), d.rng.choice((d.duration(9_000), d.duration(9_000), _LIVENESS_MS))))
    ],
    "clock": _clock,
    "epoch": lambda d: [Step(d.at(), "epoch", (d.name(), d.duration(2_000), d.duration(6_000)))],
    "restore": _restore,
    "rewind": _rewind,
    "wipe": _hosts("wipe", 3_000),
    "move": _move,
    "clone": _clone,
    "damage": lambda d: [Step(d.at(), "damage", (d.name(), d.rng.randint(0, 5), d.duration(1_000)))],
    "doubt": _hosts("doubt", 1_000),
    "retire": _retire,
    "drawer": _drawer,
    "upgrade": _upgrade,
    "holes": _holes,
}
"""By kind: how it is drawn."""

WEIGHTS: Final = {
    "crash": 8,
    "noise": 6,
    "split": 6,
    "cut": 6,
    "backlog": 2,
    "clone": 2,
    "retire": 2,
    "drawer": 2,
    "twin": 2,
    "wipe": 2,
    "rewind": 2,
    "damage": 2,
    "doubt": 2,
    "clock": 3,
    "epoch": 2,
}
"""How likely they are; 4 if nothing is said."""
