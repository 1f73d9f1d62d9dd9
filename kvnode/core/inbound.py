"""What comes from peers: who may speak, which part hears it, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from . import marks
from .acks import Acks
from .effects import Acked, LinkId, Now
from .events import Events
from .forget import Forget
from .greeting import misfit, preferred
from .identity import Identity
from .intake import Intake
from .link import Link
from .messages import (
    Ack,
    AckState,
    Check,
    Digest,
    DigestAsk,
    DigestBuckets,
    DigestParts,
    End,
    Event,
    Hello,
    Message,
    MoreLinks,
    PathAsk,
    PathTell,
    PrintAsk,
    PrintTell,
    Versions,
)
from .path import Pattern
from .settle import Settle
from .state import State
from .sync import Sync
from .ticks import check_name, name_of
from .unsure import Unsure


class Parts(NamedTuple):
    """The parts of a replica that hear what peers say."""

    acks: Acks
    sync: Sync
    settle: Settle
    forget: Forget
    identity: Identity
    events: Events


class Cut(Protocol):
    """Ends a link, and says why."""

    def __call__(self, link: Link, why: str, now: Now, *, fatal: bool = False) -> None:
        """With `fatal` the peer cannot become one by trying again."""


class Inbound:
    """Hands messages to `parts`; `cut` ends a link whose peer does not keep to the protocol."""

    def __init__(
        self, state: State, links: dict[LinkId, Link], parts: Parts, intake: Intake, cluster: str, cut: Cut
    ) -> None:
        self._state: Final = state
        self._links: Final = links
        self._acks: Final = parts.acks
        self._sync: Final = parts.sync
        self._settle: Final = parts.settle
        self._forget: Final = parts.forget
        self._identity: Final = parts.identity
        whole = state.view is None
        self._hear: Final = intake.take_all if whole else Unsure(state, links, parts.settle, intake.take).hear_all
        self._cluster: Final = cluster
        self._cut: Final = cut
        self._handlers: Final[dict[type[Message], Callable[[Link, Any, Now], None]]] = {
            Versions: self._on_versions,
            Ack: self._on_ack,
            MoreLinks: parts.acks.on_more_links,
            End: parts.sync.on_end,
            Event: parts.events.receive,
            Check: self._on_check,
            Digest: parts.sync.digests.on_digest,
            DigestAsk: parts.sync.digests.on_ask,
            DigestBuckets: parts.sync.digests.on_buckets,
            DigestParts: parts.sync.digests.on_parts,
            PrintAsk: parts.settle.answer_prints,
            PrintTell: parts.settle.on_prints,
            PathAsk: parts.settle.answer_paths,
            PathTell: parts.settle.on_paths,
        }

    def dispatch(self, link: Link, message: Message, now: Now) -> None:
        """One message of a peer, in order. Raises ValueError for a malformed one."""
        if isinstance(message, Hello):
            self._on_hello(link, message, now)
            return
        if not link.ready:
            self._cut(link, "the first message was not a hello", now)
            return
        if link.rivals:
            self._acks.heard(link, now)
        handler = self._handlers.get(type(message))
        if handler is not None:  # else one of a newer minor version, or of the link layer (R11)
            handler(link, message, now)
        self._after(link, now)

    def _after(self, link: Link, now: Now) -> None:
        """What follows from any message: the estimate may have been resolved by it."""
        if link.est is not None and not link.introduced:
            link.introduced = True
            for inc in list(self._state.counters):
                self._identity.claimed(inc, link.est[inc].highest, now)
            self._acks.introduce(link, now)
            self._acks.grown((), now)
        if link.est is not None and link.early_acks:
            early, link.early_acks = link.early_acks, []
            self._on_ack(link, Ack(tuple(early)), now)

    def _on_hello(self, link: Link, hello: Hello, now: Now) -> None:
        problem = "a second hello" if link.ready else misfit(hello, self._cluster, self._state.session)
        if problem:
            self._cut(link, problem, now, fatal=True)
            return
        link.name, link.session = check_name(hello.name), hello.session
        link.features, link.greeted_at = frozenset(hello.features), now.mono
        link.marks = frozenset(hello.marks)
        if hello.view is not None:
            link.partial, link.view = True, tuple(Pattern(text) for text in hello.view)
        if self._redundant(link, now):
            return
        if self._state.behind and not link.partial:
            self._state.rejoining = True
        held = self._acks.processes.greeted(link, now)
        if hello.links:  # 0.1
            link.linked_to(hello.links)
        elif not link.partial:  # nothing may come late there
            link.near = frozenset(name for name, _ in held.links)
        self._sync.digests.greeted(link, now, equal=hello.known_hash == link.said.hash())
        self._after(link, now)

    def _redundant(self, link: Link, now: Now) -> bool:
        """Two links to one process: both ends keep the one dialled by the smaller name, else the newer one."""
        for other in list(self._links.values()):
            if other is link or other.name != link.name:
                continue
            if other.session != link.session:
                link.rivals = other.rivals = True
                continue
            marks.hit("redundant-link")
            keep = preferred(self._state.name, other, link)
            drop = link if keep is other else other
            self._cut(drop, f"a second link to {link.name}", now)
            if drop is link:
                return True
        return False

    # -- versions, comparisons, acknowledgements ---------------------------------------------------------------

    def _on_versions(self, link: Link, message: Versions, now: Now) -> None:
        if link.fed_at is not None:
            link.fed_at = now.mono
        self._hear(link, message.versions, now)
        if message.prompt:
            self._sync.hurry()
            self._acks.hurry(link, now)
            self._state.hurried = True

    def _on_check(self, link: Link, message: Check, now: Now) -> None:
        """Compare (R5). A difference in known alone is anti-entropy's: if it stays on a quiet link, start anew."""
        if link.partial:
            return
        if self._state.view is not None:
            if message.settle or not link.settled or self._state.behind or self._settle.own_tombstones():
                self._settle.begin(link)
            return
        equal = self._settle.compared(link, message, now)
        if message.settle:
            self._settle.complete(link) if equal else self._settle.begin(link)
        elif message.known_hash == self._state.known.hash():
            link.mismatches = 0
            if not equal:
                self._settle.begin(link)
        elif link.sending is None and not (link.dirty or link.awaited or self._sync.digests.is_fed(link, now)):
            link.mismatches += 1
            if link.mismatches >= 2:
                link.mismatches = 0
                self._sync.digests.send_digest(link, now)

    def _on_ack(self, link: Link, message: Ack, now: Now) -> None:
        if link.est is None:
            if len(link.early_acks) + len(message.states) > self._state.limits.early_acks:
                raise ValueError("too many acknowledgements before the digest")
            link.early_acks += message.states
            return
        was_behind = self._state.behind
        news = [self._acks.receive(link, state, now) for state in message.states]
        for state in message.states:
            for inc in state.known.keys() & self._state.counters.keys():
                self._identity.claimed(inc, max(state.known[inc], default=1) - 1, now)
        if self._state.behind and not was_behind:
            self._rejoin(now)
        if any(_shows_progress(link, state) for state in message.states):
            self._sync.lazy.acknowledged(link, now)
        self._sync.retry(link, now)
        if any(news):
            self._state.note(Acked())
            self._forget.soon(now)

    def _rejoin(self, now: Now) -> None:
        """The store turned out to be an old one while links stand: begin anew on all of them."""
        for link in self._links.values():
            if link.est is not None and not link.partial:
                self._sync.digests.send_digest(link, now)


def _shows_progress(link: Link, state: AckState) -> bool:
    """Whether the peer says itself that it holds more of what others wrote."""
    own = (state.name, state.session) == (link.name, link.session)
    return own and any(name_of(inc) != link.name for inc in state.known)
