"""``kv verify``: comparing a subtree with that of the linked peers, over the links that there are.

The questions are those of settle (:mod:`kvnode.core.settle`), but they travel on the level of the link, as pings do:
the replica sees nothing of them, and nothing is repaired by them. A node of an older version ignores them.

Two trees differ all the time while changes are on their way. A difference counts as *diverged* only if the same keys
have the same two fingerprints as before, after both nodes have come to know all that either of them knew then: what
was on its way must have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import anyio

from kvnode.client import inspect_protocol as ip
from kvnode.codec.framing import FrameError
from kvnode.core.compare import Narrowing
from kvnode.core.effects import LinkId
from kvnode.core.messages import KeyRange, Message, PrintAsk, PrintTell
from kvnode.core.path import Path, key_range_end
from kvnode.core.ticks import Known

from .driver import Driver
from .links import Link
from .requests import RequestError, lacking, obtainable

MOST_PATHS: Final = 1_000
"""Paths that differ of which one comparison tells."""
MOST_AT_ONCE: Final = 8
"""Comparisons under way; further ones wait."""
ANSWER_S: Final = 5.0
"""A peer that does not answer a question in this time is silent."""
WALK_S: Final = 20.0
"""Bound of narrowing a difference down, whatever the peer answers."""
SETTLED_S: Final = 1.0
"""A difference between nodes that know the same is looked at again after this time: it may be being repaired."""
LOOK_S: Final = 0.05
"""How often the acknowledgements of a peer are looked at; nothing tells of them."""
VERIFY_MESSAGES: Final = (PrintAsk, PrintTell)
"""What belongs here when it comes on the level of a link."""


@dataclass(slots=True)
class _Question:
    """A question to a peer, and its answer."""

    asked: anyio.Event = field(default_factory=anyio.Event)
    answer: PrintTell | None = None


class Verifier:
    """Asks and answers for one node. `links` gives those that stand."""

    def __init__(self, driver: Driver, links: Callable[[], Iterable[Link]]) -> None:
        self._driver: Final = driver
        self._links: Final = links
        self._limit: Final = anyio.CapacityLimiter(MOST_AT_ONCE)
        self._waiting: dict[tuple[LinkId, tuple[KeyRange, ...]], list[_Question]] = {}

    # -- the link's side -------------------------------------------------------------------------------------

    def received(self, link: Link, message: Message) -> None:
        """One of :data:`VERIFY_MESSAGES` came on the level of a link."""
        if isinstance(message, PrintAsk):
            self._answer(link, message)
        elif isinstance(message, PrintTell):
            questions = self._waiting.get((link.id, message.asked))
            if questions:
                question = questions.pop(0)
                question.answer = message
                question.asked.set()

    def _answer(self, link: Link, message: PrintAsk) -> None:
        replica = self._driver.replica
        known_link = replica.links.get(link.id)
        if known_link is None or not known_link.ready:
            return
        try:
            link.tell(replica.settle.tell(known_link, message.ranges))
        except (ValueError, FrameError) as err:
            link.connection.close(str(err))

    async def _ask(self, link: Link, ranges: tuple[KeyRange, ...]) -> PrintTell | None:
        """The peer's answer; None if it does not come."""
        question = _Question()
        waiting = self._waiting.setdefault((link.id, ranges), [])
        waiting.append(question)
        link.tell(PrintAsk(ranges))
        try:
            with anyio.move_on_after(ANSWER_S):
                await question.asked.wait()
        finally:
            if question in waiting:
                waiting.remove(question)
            if not waiting:
                self._waiting.pop((link.id, ranges), None)
        return question.answer

    # -- verifying -------------------------------------------------------------------------------------------

    async def verify(self, request: ip.Verify, low: bytes, wait_s: float) -> list[ip.Verified]:
        """Compare what is below the key `low` with all linked peers, or with the one that the request names; members
        that are not linked are listed too. Raises RequestError for a name that is none.
        """
        links = {link.name: link for link in self._links() if link.name}
        members = self._driver.replica.members() - {self._driver.replica.name}
        names = sorted(members | links.keys()) if request.peer is None else [request.peer]
        if request.peer is not None and request.peer not in members | links.keys():
            raise RequestError("not_found", f"no member or peer is called {request.peer!r}")
        found: dict[str, ip.Verified] = {name: ip.Verified(name, ip.UNLINKED) for name in names}

        async def compare(name: str) -> None:
            async with self._limit:
                found[name] = await self._compare(links[name], low, wait_s)

        async with anyio.create_task_group() as tasks:
            for name in names:
                if name in links:
                    tasks.start_soon(compare, name)
        return [found[name] for name in names]

    async def _compare(self, link: Link, low: bytes, wait_s: float) -> ip.Verified:
        """Walk, wait until nothing that was known then is on its way, walk again; as often as the time allows."""
        until = anyio.current_time() + wait_s
        before = await self._walk(link, low)
        while before is not None and before.differing:
            arrived = await self._everything_arrived(link, until)
            await anyio.sleep(max(min(SETTLED_S, until - anyio.current_time()), 0))
            after = await self._walk(link, low)
            if after is None:
                break
            still = [key for key, prints in after.differing.items() if before.differing.get(key) == prints]
            if arrived and still:
                return self._verified(link, ip.DIVERGED, still, more=after.more)
            if after.differing and anyio.current_time() >= until:
                return self._verified(link, ip.BEHIND, list(after.differing), more=after.more)
            before = after
        if before is None or before.differing:
            return self._verified(link, ip.SILENT, [])
        return self._verified(link, ip.EQUAL, [])

    async def _walk(self, link: Link, low: bytes) -> Narrowing | None:
        """Narrow the difference down; None if the peer does not answer."""
        walk = Narrowing(low, key_range_end(low), MOST_PATHS)
        tree = self._driver.replica.tree
        with anyio.move_on_after(WALK_S):
            while ranges := walk.question():
                told = await self._ask(link, ranges)
                if told is None:
                    return None
                walk.parts((a, b, tree.print_of(a, b), theirs) for a, b, theirs in told.parts)
                for a, b, listed in told.leaves:
                    walk.leaf(dict(tree.prints(a, b)), dict(listed))
            return walk
        return None

    async def _everything_arrived(self, link: Link, until: float) -> bool:
        """Wait until either node knows what the other one knows now; False if `until` comes first."""
        replica = self._driver.replica
        ours, theirs = replica.known.copy(), self._known_of(link)
        if theirs is None:
            return False
        left_s = max(until - anyio.current_time(), 0)
        if not await self._driver.wait_known(obtainable(theirs, replica), left_s):
            return False
        while self._they_lack(link, ours):
            if anyio.current_time() >= until:
                return False
            await anyio.sleep(LOOK_S)
        return replica.is_current

    def _known_of(self, link: Link) -> Known | None:
        """What the peer has acknowledged."""
        held = self._driver.replica.acks.processes.current(link.name)
        return None if held is None else held.known.copy()

    def _they_lack(self, link: Link, ours: Known) -> int:
        theirs = self._known_of(link)
        return _count(lacking(obtainable(ours, self._driver.replica), Known() if theirs is None else theirs))

    def _verified(self, link: Link, result: str, keys: list[bytes], *, more: bool = False) -> ip.Verified:
        replica = self._driver.replica
        theirs = self._known_of(link)
        we_lack = 0 if theirs is None else _count(lacking(obtainable(theirs, replica), replica.known))
        paths = tuple(Path.from_key(key) for key in keys)
        return ip.Verified(link.name, result, paths, len(keys) + more, we_lack, self._they_lack(link, replica.known))


def _count(known: Known) -> int:
    return sum(len(ticks) for ticks in known.map.values())
