"""Scenario files: short traces that people can read, played on real replicas with the simulator's deterministic time.

One command a line, ``#`` begins a comment; a scenario ends with its last line and then all laws of a quiet cluster are
checked, unless it says ``leave unchecked``. The commands (compare the test data of etcd's raft):

====================================  ===============================================================================
``nodes A B C``                       full replicas, each a member; ``node S view p.#`` is a partial one
``mesh A B C``, ``chain A B C``       links among them; ``link A B`` one
``write A x 1``                       a client writes; ``delete A x``; ``refused A x 1 if absent`` a failing CAS
``volatile A v.#``                    mark a pattern
``sync``, ``run 500``                 let five seconds pass, or so many milliseconds
``cut A B``, ``heal A B``             no connection, connections again; ``cut A``: all of A's links
``hold A->B x``, ``release A->B``     keep back every message from the first one on that carries path x
``renew A->B``                        A gives its connection to B up and dials again; B does not hear of the end
``disk A holds``, ``disk A syncs``    nothing reaches the disk for now
``crash A``, ``crash A silently``     lose what is not synced; silently: peers do not hear of it
``stop A``, ``start A``               a clean stop; a start
``backup A``, ``restore A``           copy the store aside; crash and come back with the copy
``wipe A``                            crash and come back with an empty store
``snapshot A``, ``rewind A``          copy memory and store of a virtual machine; go on from there
``year``                              a year passes on all clocks
``clone A A2``                        start a second host on a copy of A's store (link it yourself)
``damage A x``                        stop A, lose the record of x, start it
``retire B A``                        at B: remove A for good; a retired host that is down stays down
``expect A x = 1``                    what A shows; ``= 1 | 2``: siblings, newest first; ``= absent``; A may be ``all``
``expect A tombstone x``              A still keeps the delete; ``expect no tombstones``, ``expect no vectors``
``expect A vector x``                 A has not stripped it yet
``expect equal``                      dumps and known of all full replicas
``expect report A KIND``              A reported this; ``expect knows A n of B``: A knows exactly n ticks of B
``expect aside x``                    a value of x is in somebody's quarantine or report
====================================  ===============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from kvnode.core.effects import Change, Refused
from kvnode.core.entry import Siblings
from kvnode.core.messages import Message, PathTell, Versions
from kvnode.core.path import Path
from kvnode.core.policy import live
from kvnode.core.ticks import name_of

from . import hoststeps, laws
from .clientsteps import propose
from .disk import Disk
from .healing import heal
from .host import Host, Process
from .net import Connection
from .plan import Plan
from .run import come_to_rest
from .world import World

_SYNC_MS: Final = 5_000
_HEARD_MS: Final = 200
"""After this time every peer has heard that a connection is gone."""
_FOREVER: Final = 1_000_000_000


class ScenarioError(Exception):
    """A line that cannot be played, or an expectation that does not hold."""


class _Stage(World):
    """A world whose messages can be held back."""

    def __init__(self) -> None:
        super().__init__(Plan(0, (), (), (), "scenario"))
        self.holds: dict[tuple[str, str], bytes] = {}

    def about_to_send(self, conn: Connection, side: int, message: Message) -> None:
        """Hold the pipe from the first message on that carries the path."""
        key = self.holds.get((conn.ends[side].label, conn.ends[1 - side].label))
        if key is not None and key in _keys(message):
            conn.pipes[side].held = True


def _keys(message: Message) -> set[bytes]:
    if isinstance(message, Versions):
        return {v.key for v in message.versions}
    if isinstance(message, PathTell):
        return {key for key, _, _ in message.paths}
    return set()


def play(text: str) -> str | None:
    """Play a scenario; None if all that it expects is so, else the line and what was found."""
    player = _Player()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#" if not line.lstrip().startswith(("node ", "volatile ")) else "\0")[0].split()
        if not words:
            continue
        try:
            player.do(words)
        except ScenarioError as error:
            return f"line {number}: {line.strip()}: {error}"
    return player.end()


class _Player:
    """Plays one scenario."""

    def __init__(self) -> None:
        self.world: Final = _Stage()
        self.checked = True
        self._commands: Final[dict[str, Callable[..., None]]] = {
            name.removeprefix("_do_"): getattr(self, name) for name in dir(self) if name.startswith("_do_")
        }

    def do(self, words: list[str]) -> None:
        """One line."""
        command = self._commands.get(words[0])
        if command is None:
            raise ScenarioError("no such command")
        try:
            command(*words[1:])
        except TypeError as error:
            raise ScenarioError(f"wrong arguments: {error}") from error
        if self.world.brokens:
            raise ScenarioError("; ".join(map(str, self.world.brokens)))

    def end(self) -> str | None:
        """The laws at the end."""
        if self.checked:
            heal(self.world)
            come_to_rest(self.world)
            laws.check(self.world)
        return "at the end: " + "; ".join(map(str, self.world.brokens)) if self.world.brokens else None

    def _host(self, label: str) -> Host:
        host = self.world.hosts.get(label)
        if host is None:
            raise ScenarioError(f"there is no node {label}")
        return host

    def _process(self, label: str) -> Process:
        process = self._host(label).process
        if process is None:
            raise ScenarioError(f"{label} is down")
        return process

    # -- the cluster -----------------------------------------------------------------------------------------

    def _do_nodes(self, *labels: str) -> None:
        for label in labels:
            self._add(Host(label, label, Disk(), 0, 0, announces=True))
        self.world.run_until(self.world.now + 10)

    def _do_node(self, label: str, word: str, *patterns: str) -> None:
        self._add(Host(label, label, Disk(), 0, 0, view=(*patterns, "@.#"), announces=True))

    def _add(self, host: Host) -> None:
        self.world.hosts[host.label] = host
        self.world.start(host)

    def _do_link(self, a: str, b: str) -> None:
        self.world.add_edge(a, b)

    def _do_mesh(self, *labels: str) -> None:
        for i, a in enumerate(labels):
            for b in labels[i + 1 :]:
                self.world.add_edge(a, b)
        self._do_sync()

    def _do_chain(self, *labels: str) -> None:
        for a, b in zip(labels, labels[1:], strict=False):
            self.world.add_edge(a, b)
        self._do_sync()

    def _do_leave(self, word: str) -> None:
        self.checked = False

    # -- time ------------------------------------------------------------------------------------------------

    def _do_sync(self) -> None:
        self.world.run_until(self.world.now + _SYNC_MS)

    def _do_run(self, duration: str) -> None:
        self.world.run_until(self.world.now + int(duration))

    # -- clients ---------------------------------------------------------------------------------------------

    def _do_write(self, label: str, path: str, value: str) -> None:
        self._process(label)
        propose(self.world, label, [Change(Path.parse(path), msgspec.msgpack.encode(value), "client")], "disk")

    def _do_delete(self, label: str, path: str) -> None:
        self._process(label)
        propose(self.world, label, [Change(Path.parse(path), None, "client")], "disk")

    def _do_refused(self, label: str, path: str, value: str, *words: str) -> None:
        process = self._process(label)
        change = Change(Path.parse(path), msgspec.msgpack.encode(value), "client", frozenset())
        if not isinstance(process.replica.propose([change], process.now()), Refused):
            raise ScenarioError("it was taken")

    def _do_volatile(self, label: str, pattern: str) -> None:
        value = msgspec.msgpack.encode({"pattern": pattern})
        propose(self.world, label, [Change(Path(("@", "volatile", "v")), value, "admin")], "disk")

    def _do_retire(self, by: str, name: str) -> None:
        process = self._process(by)
        self.world.retired.add(name)
        refused = process.replica.retire(name, process.now())
        process.feed(lambda replica, now: None)
        if refused:
            raise ScenarioError(refused.detail)
        host = self._host(name)
        host.retired = host.process is None

    # -- the network -----------------------------------------------------------------------------------------

    def _edges(self, a: str, b: str | None) -> list[tuple[str, str]]:
        edges = [pair for pair in self.world.edges if a in pair and (b is None or b in pair)]
        if not edges:
            raise ScenarioError("there is no such link")
        return edges

    def _do_cut(self, a: str, b: str | None = None) -> None:
        self.world.take_down(self._edges(a, b), _FOREVER)
        self.world.run_until(self.world.now + _HEARD_MS)

    def _do_heal(self, a: str, b: str | None = None) -> None:
        for pair in self._edges(a, b):
            self.world.edges[pair].down = 0
            self.world.dial_later(self.world.edges[pair])

    def _do_hold(self, arrow: str, path: str) -> None:
        a, _, b = arrow.partition("->")
        self.world.holds[a, b] = Path.parse(path).key

    def _do_release(self, arrow: str) -> None:
        a, _, b = arrow.partition("->")
        self.world.holds.pop((a, b), None)
        for conn in list(self.world.all_conns):
            side = 0 if conn.ends[0].label == a else 1
            if {conn.ends[0].label, conn.ends[1].label} == {a, b}:
                conn.pipes[side].held = False
                conn.flush(side)
        self.world.run_until(self.world.now + 100)

    def _do_renew(self, arrow: str) -> None:
        a, _, b = arrow.partition("->")
        self.world.holds.pop((a, b), None)
        process = self._process(a)
        for link, (conn, side) in list(process.links.items()):
            if conn.ends[1 - side].label == b:
                conn.abandon(side)
                process.unlinked(link)

    # -- hosts -----------------------------------------------------------------------------------------------

    def _do_disk(self, label: str, what: str) -> None:
        host = self._host(label)
        host.disk_held = what == "holds"
        if host.process is not None and not host.disk_held:
            host.process.release_disk()

    def _do_crash(self, label: str, how: str = "") -> None:
        self._process(label)
        host = self._host(label)
        self.world.crash(host, 0, silently=how == "silently")
        host.disk_held = False
        self.world.run_until(self.world.now + _HEARD_MS)

    def _do_stop(self, label: str) -> None:
        self._process(label)
        self.world.crash(self._host(label), len(self._host(label).disk.staged))
        self.world.run_until(self.world.now + _HEARD_MS)

    def _do_start(self, label: str) -> None:
        host = self._host(label)
        host.retired = False
        self.world.start(host)

    def _do_backup(self, label: str) -> None:
        self._host(label).backup = self._host(label).disk.image()

    def _do_restore(self, label: str) -> None:
        host = self._host(label)
        self.world.crash(host, 0)
        host.disk = Disk(host.backup)
        host.disk.rewound = True
        self.world.destroyed()
        self.world.start(host)

    def _do_wipe(self, label: str) -> None:
        self._host(label)
        hoststeps.STEPS["wipe"](self.world, label, 0)

    def _do_snapshot(self, label: str) -> None:
        self._process(label)
        hoststeps.STEPS["snapshot"](self.world, label)

    def _do_rewind(self, label: str) -> None:
        self._process(label)
        hoststeps.STEPS["rewind"](self.world, label)

    def _do_year(self) -> None:
        hoststeps.STEPS["year"](self.world)

    def _do_clone(self, label: str, twin: str) -> None:
        host = self._host(label)
        self.world.cloned.add(host.name)
        self._add(Host(twin, host.name, Disk(host.disk.image()), 0, 0, announces=True))

    def _do_damage(self, label: str, path: str) -> None:
        host = self._host(label)
        self._do_stop(label)
        self.world.doubted = True
        host.disk.lose_row(Path.parse(path).key)
        self.world.destroyed()
        self.world.start(host)

    # -- expectations ----------------------------------------------------------------------------------------

    def _do_expect(self, *words: str) -> None:
        match words:
            case ("equal",):
                self._equal()
            case ("no", "tombstones"):
                self._none("forget")
            case ("no", "vectors"):
                self._none("strip")
            case ("report", label, kind):
                if not any(who == label and r.kind == kind for who, r in self.world.watch.reports):
                    raise ScenarioError(
                        f"reported: {sorted({r.kind for w, r in self.world.watch.reports if w == label})}"
                    )
            case ("aside", path):
                self._aside(path)
            case ("knows", label, count, "of", name):
                self._knows(label, int(count), name)
            case (label, "tombstone", path):
                if not any(v.is_tombstone for v in self._siblings(label, path)):
                    raise ScenarioError(f"it has {self._siblings(label, path)}")
            case (label, "vector", path):
                if not any(v.vector for v in self._siblings(label, path)):
                    raise ScenarioError(f"it has {self._siblings(label, path)}")
            case (label, path, "=", *values):
                self._reads(label, path, [v for v in values if v != "|"])
            case _:
                raise ScenarioError("no such expectation")

    def _siblings(self, label: str, path: str) -> Siblings:
        return self._process(label).replica.tree.at(Path.parse(path))

    def _reads(self, label: str, path: str, expected: list[str]) -> None:
        labels = [p.label for p in self.world.processes()] if label == "all" else [label]
        for one in labels:
            process = self._process(one)
            shown = sorted(live(self._siblings(one, path), process.now().wall), key=lambda v: v.order, reverse=True)
            values = [str(msgspec.msgpack.decode(v.details.value)) for v in shown]
            if (values or ["absent"]) != expected:
                raise ScenarioError(f"{one} has {' | '.join(values) or 'nothing'}")

    def _equal(self) -> None:
        found = [text for law, text in laws.unsettled(self.world) if law in ("convergence", "partial")]
        if found:
            raise ScenarioError("; ".join(found))

    def _none(self, law: str) -> None:
        found = [text for got, text in laws.unsettled(self.world) if got == law]
        if found:
            raise ScenarioError("; ".join(found))

    def _aside(self, path: str) -> None:
        key = Path.parse(path).key
        aside = [q for p in self.world.processes() for q in p.replica.state.quarantine if q.key == key]
        if not aside:
            raise ScenarioError("nobody set it aside")

    def _knows(self, label: str, count: int, name: str) -> None:
        known = self._process(label).replica.known.map
        found = sum(len(ticks) for inc, ticks in known.items() if name_of(inc) == name)
        if found != count:
            raise ScenarioError(f"it knows {found}: {known}")
