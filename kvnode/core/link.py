"""One link to a peer, as the replica sees it: what was said in its hello, and the estimates that hang on it (R9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .effects import LinkId
from .entry import Run, Version
from .messages import AckState, KeyRange, Process
from .path import Pattern
from .ticks import Dot, Incarnation, Known, Ticks


@dataclass(slots=True)
class Sending:
    """A difference session towards the peer (R4): keys still to send, and what was frozen at its start."""

    keys: deque[bytes]
    ranges: dict[Incarnation, Ticks]
    incs: tuple[Incarnation, ...]
    settle: bool


@dataclass(slots=True)
class Walk:
    """A settle with the peer (R5): ranges still to compare, paths still to ask; one question is under way."""

    ranges: list[KeyRange]
    paths: list[bytes] = field(default_factory=list)
    named: dict[bytes, tuple[Dot, ...]] = field(default_factory=dict)
    """The paths of the question under way, with the dots that it named."""
    awaiting: int = 0
    """Paths asked for and not yet answered."""
    again: bool = False
    """Something may have changed behind the walk."""
    whole: bool = True
    """The walk covers all that this node holds, so its end is that of a session."""


@dataclass(slots=True)
class Telling:
    """What the peer has yet to hear about one process's acknowledgements (None is all of it), and when."""

    changed: set[Incarnation] | None
    due: int


@dataclass(slots=True)
class Awaited:
    """A tick that the peer is to get from others, and since when."""

    tick: int
    since: int


@dataclass(slots=True)
class Told:
    """What the peer has heard of one process."""

    known: dict[Incarnation, Ticks] = field(default_factory=dict)
    marks: tuple[Incarnation, ...] | None = None
    links: tuple[Process, ...] | None = None
    links_at: int = 0


@dataclass(slots=True)
class Link:
    """State of a link. `dialled`: this side opened it. `est` is None until the peer's digest is resolved."""

    id: LinkId
    dialled: bool
    since: int
    name: str = ""
    session: int = 0
    features: frozenset[str] = frozenset()
    view: tuple[Pattern, ...] | None = None
    partial: bool = False
    marks: frozenset[Incarnation] = frozenset()
    listed: tuple[Process, ...] | None = None
    links: frozenset[Process] = frozenset()
    """The peer's own links, as they were told (None: not yet), and as a set."""
    near: frozenset[str] = frozenset()
    """The names among `links`; until these are told, those that the process was linked to when it was last heard of.
    What is left to others because of a guess comes late at worst. So acknowledgements and events do not go by it.
    """
    greeted_at: int = 0
    rivals: bool = False
    """There are, or were, links to another process of the same name."""
    said: Known = field(default_factory=Known)
    """`known` as our hello or last digest told it."""
    est: Known | None = None
    base: Known = field(default_factory=Known)
    """The peer's known as its digest told it: what its first acknowledgements refer to."""
    resolving: Known | None = None
    """The estimate while buckets of the peer's digest are still asked for."""
    asks: int = 0
    """Questions for buckets that the peer has yet to answer."""
    late_answers: int = 0
    """So many of these are about a digest that another one has replaced."""
    seq_out: int = 0
    seq_in: int = 0
    window: int = 0
    sending: Sending | None = None
    outbox: list[Version] = field(default_factory=list)
    prompt: bool = False
    """The writer of something in `outbox` waits for acknowledgements."""
    dirty: dict[Incarnation, None] = field(default_factory=dict)
    """known minus est lies within these incarnations, but for what the running session covers."""
    awaited: dict[Incarnation, Awaited] = field(default_factory=dict)
    """Incarnations of which others send what the peer lacks, those that wait longest first (see lazy.py)."""
    ack_lag_ms: int = 0
    """How long the peer takes to acknowledge what others send it, smoothed."""
    held: bool = False
    """The peer's digest said that it catches up from somebody else."""
    hold_at: int | None = None
    """Until then its session is held back."""
    holding: bool = False
    """Our digest said so."""
    fed_at: int | None = None
    """When the session towards us last brought something, or was asked for; None if none is under way."""
    stale: bool = False
    """The peer is partial and may hold what a verdict took away here: no range tells it, so it has to compare."""
    lazy_at: int | None = None
    owes_digest: bool = False
    """Our digest goes out when the peer's has come."""
    owes_exact: bool = False
    """The peer could not resolve our digest: it gets one with exactly what differs."""
    digests_in: int = 0
    digests_out: int = 0
    durable: Known = field(default_factory=Known)
    """What the peer holds durably, by its own word on this link."""
    refused: set[Incarnation] = field(default_factory=set)
    """Closed incarnations of which something was refused (R3) since the last digest."""
    taint: int = -1
    """A version was refused (R3) when this many digests had gone out: ranges of sessions up to there are void."""
    end_sent: bool = False
    end_got: bool = False
    """Whether the session behind the last digest is complete, in either direction."""
    walk: Walk | None = None
    asked: set[bytes] = field(default_factory=set)
    """Keys whose tombstones the peer was asked for lately."""
    doubted: set[Dot] = field(default_factory=set)
    """Versions from this peer that a partial replica held back until an answer says that they count (unsure.py)."""
    unsure: dict[bytes, bool] = field(default_factory=dict)
    """Keys where another peer's verdict took something away from a partial replica: what it superseded may be on its
    way here. And whether this peer was asked since.
    """
    settled: bool = False
    introduced: bool = False
    """The estimate was resolved once, so acknowledgements are told from there on."""
    tell: dict[Process, Telling] = field(default_factory=dict)
    told: dict[Process, Told] = field(default_factory=dict)
    """What the peer has heard of each process: an acknowledgement carries what is more, or new."""
    early_acks: list[AckState] = field(default_factory=list)
    """Acknowledgements that came before the digest they refer to was resolved."""
    ack_at: int | None = None
    hurry: int | None = None
    """Until a transaction with this token, or a later one, is stored the peer has a writer that waits for it."""
    check_at: int = 0
    checks: int = 0
    mismatches: int = 0
    compared: tuple[int, str] | None = None
    """Wall clock and result of the last comparison: ``equal``, ``behind`` (one of the two has yet to hear of
    something), or ``different`` though both know the same.
    """
    equal_at: int | None = None
    """Wall clock of the last one that found both trees equal."""
    differing: int = 0
    """Comparisons in a row that found them different though both sides know the same."""

    @property
    def ready(self) -> bool:
        """Whether the hello came."""
        return bool(self.name)

    def has_now(self, version: Version) -> None:
        """The peer has this version, or gets it now; so it knows the dots that its vector names, too."""
        if self.est is not None:
            self.est.add(version.inc, version.tick)
            for inc, tick in version.extra.vector.items():
                self.est.add(inc, tick)

    def have_now(self, versions: Sequence[Version], run: Run | None) -> None:
        """The same for many versions, which are that run, if they are one."""
        if run is None or self.est is None or not self.est.extend(*run):
            for version in versions:
                self.has_now(version)

    def linked_to(self, processes: tuple[Process, ...]) -> frozenset[Process]:
        """The peer's own links are these; gives those that are no longer among them."""
        if processes == self.listed:  # nearly always the same object
            return frozenset()
        had, self.links, self.listed = self.links, frozenset(processes), processes
        self.near = frozenset(name for name, _ in processes)
        return had - self.links

    def sees(self, path: tuple[str | int, ...]) -> bool:
        """Whether the peer's view has this path."""
        return self.view is None or any(p.matches(path) for p in self.view)
