"""Looking after a node from a client: fingerprints, what it holds and knows, its quarantine, its own diagnosis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from kvnode.core.entry import Siblings, Version, decode_record
from kvnode.core.messages import KeyRange
from kvnode.core.path import Path
from kvnode.core.ticks import Dot, Known

from . import inspect_protocol as ip
from . import protocol as p
from .errors import ProtocolError
from .history import History, history_of, since_ms
from .items import ABSENT, Sibling, value_of
from .session import Session
from .wire import AnyRequest, known_of, ranges_of

TIMEOUT_S: Final = 10.0
EXAMINE_TIMEOUT_S: Final = 30.0
"""An examination tries each peer's address and the disk."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SetAside:
    """A version in a node's quarantine: its number there, what it is, why it was set aside, and when."""

    number: int
    version: Sibling
    why: str
    when: datetime


class Inspection:
    """The calls on one node. Errors are those of :mod:`.errors`; ``too_old`` for a node that does not know them."""

    def __init__(self, session: Session) -> None:
        self._session: Final = session

    # -- the past ----------------------------------------------------------------------------------------------

    async def history(self, path: Path, *, limit: int = 100, since: datetime | None = None) -> History:
        """What is at `path`, and what was there, as far as the node kept it: at most `limit` versions, newest first,
        none written before `since`.
        """
        oldest = since_ms(since)
        told = await self._ask(lambda id: ip.History(id, path, limit, oldest), ip.Recalled)
        while told.more and told.past and len(told.past) < limit:
            left, before = limit - len(told.past), told.past[-1].place
            again = partial(ip.History, path=path, limit=left, since_ms=oldest, before=before)
            rest = await self._ask(again, ip.Recalled)
            told = msgspec.structs.replace(told, past=(*told.past, *rest.past), more=rest.more)
        return history_of(path, told)

    # -- comparing -------------------------------------------------------------------------------------------

    async def prints(
        self, path: Path, ranges: Sequence[KeyRange] = (), *, listed: Sequence[KeyRange] = (), split: bool = False
    ) -> ip.Told:
        """Fingerprints of key ranges within `path`; none: of all of it."""
        asked, lists = tuple(ranges), tuple(listed)
        return await self._ask(lambda id: ip.Prints(id, path, asked, lists, split), ip.Told)

    async def held(self, path: Path, keys: Sequence[bytes]) -> AsyncIterator[tuple[bytes, Siblings]]:
        """What the node holds at each of these keys within `path`, tombstones included; nothing: an empty tuple."""
        left = tuple(keys)
        while left:
            asked = left[: ip.MOST_KEYS]
            records = await self._ask(partial(ip.Held, path=path, keys=asked), list[bytes | None])
            if not records:
                raise ProtocolError("protocol_error", "the node answered with nothing")
            for key, record in zip(asked, records, strict=False):
                yield key, decode_record(record) if record is not None else ()
            left = left[len(records) :]

    async def lacks(self, changes: Known, wait_s: float = 0.0) -> Known:
        """What of these changes the node does not know, after at most `wait_s` to learn it."""
        ranges, wait_ms = ranges_of(changes), int(wait_s * 1000)
        found = await self._ask(lambda id: ip.Lacks(id, ranges, wait_ms), dict[str, tuple[int, ...]], extra_s=wait_s)
        return known_of(found)

    async def verify(self, path: Path, peer: str | None = None, wait_s: float = 0.0) -> list[ip.Verified]:
        """Have the node compare the subtree with its linked peers, or with one of them. Where they differ, they get
        `wait_s` to tell one another what is new.
        """
        wait_ms = int(wait_s * 1000)
        return await self._ask(
            lambda id: ip.Verify(id, path, peer, wait_ms), list[ip.Verified], extra_s=EXAMINE_TIMEOUT_S + wait_s
        )

    # -- the quarantine --------------------------------------------------------------------------------------

    async def quarantine(self) -> list[SetAside]:
        """All that is set aside, oldest first."""
        found: list[SetAside] = []
        after = 0
        while rows := await self._ask(partial(ip.Aside, after=after), list[ip.AsideRow]):
            found += map(_set_aside, rows)
            after = rows[-1].number
        return found

    async def set_aside(self, number: int) -> SetAside:
        """One of them. Raises NotFound."""
        rows = await self._ask(lambda id: ip.Aside(id, only=number), list[ip.AsideRow])
        return _set_aside(rows[0])

    async def restore(
        self,
        number: int,
        *,
        force: bool = False,
        ack: str = "disk",
        timeout: float = 5.0,  # noqa: ASYNC109  # the node needs to know it
    ) -> Dot | None:
        """Write a value that was set aside again, as a new change; gives its dot, None if the path has it already.
        Raises Refused (``occupied``: the path has another value now; ``expired``) unless `force`.
        """
        timeout_ms = int(timeout * 1000)
        dots = await self._ask(
            lambda id: ip.Restore(id, number, force, ack, timeout_ms), list[Dot], extra_s=timeout, again=False
        )
        return dots[0] if dots else None

    async def discard(self, numbers: Sequence[int] | None) -> int:
        """Take these out of the quarantine for good, or (None) all; gives how many there were."""
        which = None if numbers is None else tuple(numbers)
        return await self._ask(lambda id: ip.Discard(id, which), int, again=False)

    # -- diagnosis -------------------------------------------------------------------------------------------

    async def diagnose(self, *, bundle: bool = False) -> dict[str, Any]:
        """Have the node examine itself and its machine; with `bundle` the answer has all of a support bundle."""
        return await self._ask(lambda id: ip.Diagnose(id, bundle), dict[str, Any], extra_s=EXAMINE_TIMEOUT_S)

    async def _ask(
        self, make: Callable[[int], AnyRequest], kind: type[T], *, extra_s: float = 0.0, again: bool = True
    ) -> T:
        answer = await self._session.call(make(self._session.next_id()), TIMEOUT_S + extra_s, read=again)
        if not isinstance(answer, p.Done):
            raise ProtocolError("protocol_error", f"the node answered with {type(answer).__name__}")
        try:
            return msgspec.convert(answer.value, kind)
        except (msgspec.ValidationError, ValueError) as err:
            raise ProtocolError("protocol_error", f"the node's answer makes no sense: {err}") from None


def sibling_of(version: Version) -> Sibling:
    """A stored version as clients see versions; :data:`.items.ABSENT` in the place of a tombstone's value."""
    body = version.details
    value = ABSENT if version.is_tombstone else value_of(bytes(body.value))
    return Sibling(
        Path(body.path), value, version.dot, body.stamp, body.author, body.principal, body.expiry, body.lease
    )


def _set_aside(row: ip.AsideRow) -> SetAside:
    (version,) = decode_record(row.record)
    return SetAside(row.number, sibling_of(version), row.why, datetime.fromtimestamp(row.wall / 1000, UTC))
