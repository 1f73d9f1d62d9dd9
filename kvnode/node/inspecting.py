"""Requests for looking after a node (see :mod:`kvnode.client.inspect_protocol`): each has a function that answers it.

What takes long is bounded by the request's own time limit; what gives much is cut at about one frame, and the client
asks for the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from kvnode.client import inspect_protocol as ip
from kvnode.client.protocol import Compact, Message
from kvnode.client.wire import WireError, known_of
from kvnode.core.entry import encode_record
from kvnode.core.messages import KeyRange
from kvnode.core.path import key_range_end, path_key
from kvnode.core.settle import MOST_RANGES, tell_prints
from kvnode.store.base import StoreError

from .driver import Driver
from .history import Recall
from .requests import RequestError, checked_path, lacking, obtainable
from .setaside import SetAside
from .streams import FRAME_BYTES

MOST_WAIT_MS: Final = 60_000
"""Longest that a request may have the node wait for what it does not know yet."""

Answer = Callable[[Any, str], Awaitable[Any]]
"""Answers a request of an author; raises RequestError or NodeError."""
Examine = Callable[[bool], Awaitable[Any]]
"""Examines the node; True: with all that belongs into a support bundle."""


class Inspector:
    """Answers the requests. `verify` compares with peers, `examine` is the node's doctor; without them (in tests) these
    are refused.
    """

    def __init__(
        self,
        driver: Driver,
        *,
        verify: Callable[[ip.Verify, bytes, float], Awaitable[list[ip.Verified]]] | None = None,
        examine: Examine | None = None,
    ) -> None:
        self._driver: Final = driver
        self._verify: Final = verify
        self._examine: Final = examine
        aside = SetAside(driver)
        self.answers: Final[Mapping[type[Message], Answer]] = {
            ip.History: Recall(driver).answer,
            ip.Prints: self.prints,
            ip.Held: self.held,
            ip.Lacks: self.lacks,
            ip.Verify: self.verify,
            ip.Aside: aside.list,
            ip.Restore: aside.restore,
            ip.Discard: aside.discard,
            ip.Diagnose: self.diagnose,
            Compact: self.compact,
        }

    async def prints(self, request: ip.Prints, author: str) -> ip.Told:
        """See :class:`~kvnode.client.inspect_protocol.Prints`."""
        replica = self._driver.replica
        low = path_key(checked_path(request.path))
        whole = (low, key_range_end(low))
        asked = request.ranges or (() if request.listed else (whole,))
        for ranges in (asked, request.listed):
            if len(ranges) > 8 * MOST_RANGES or not all(_is_within(r, whole) for r in ranges):
                raise RequestError("bad_request", "too many ranges, or one that is not within the path")
        tree, known = replica.tree, replica.known.hash()
        leaves = tuple((a, b, tuple(tree.prints(a, b))) for a, b in request.listed)
        if request.split:
            told = tell_prints(tree, asked, replica.limits)
            return ip.Told(known, told.parts, (*leaves, *told.leaves))
        return ip.Told(known, tuple((a, b, tree.print_of(a, b)) for a, b in asked), leaves)

    async def held(self, request: ip.Held, author: str) -> list[bytes | None]:
        """See :class:`~kvnode.client.inspect_protocol.Held`."""
        low = path_key(checked_path(request.path))
        high = key_range_end(low)
        if len(request.keys) > ip.MOST_KEYS or not all(low <= key < high for key in request.keys):
            raise RequestError("bad_request", f"more than {ip.MOST_KEYS} keys, or one that is not within the path")
        records: list[bytes | None] = []
        size = 0
        for key in request.keys:
            siblings = self._driver.replica.tree.get(key)
            record = encode_record(siblings) if siblings else None
            records.append(record)
            size += len(record or b"")
            if size >= FRAME_BYTES:
                break
        return records

    async def lacks(self, request: ip.Lacks, author: str) -> dict[str, tuple[int, ...]]:
        """See :class:`~kvnode.client.inspect_protocol.Lacks`."""
        try:
            changes = known_of(request.changes)
        except WireError as err:
            raise RequestError("bad_request", str(err)) from None
        replica = self._driver.replica
        await self._driver.wait_known(obtainable(changes, replica), wait_s(request.wait_ms))
        return {inc: ticks.bounds for inc, ticks in lacking(changes, replica.known).map.items()}

    async def verify(self, request: ip.Verify, author: str) -> list[ip.Verified]:
        """See :class:`~kvnode.client.inspect_protocol.Verify`."""
        if self._verify is None:
            raise RequestError("unavailable", "this node has no peers to compare with")
        return await self._verify(request, path_key(checked_path(request.path)), wait_s(request.wait_ms))

    async def diagnose(self, request: ip.Diagnose, author: str) -> Any:
        """See :class:`~kvnode.client.inspect_protocol.Diagnose`."""
        if self._examine is None:
            raise RequestError("unavailable", "this node cannot examine itself")
        return await self._examine(request.bundle)

    async def compact(self, request: Compact, author: str) -> tuple[int, int]:
        """See :class:`~kvnode.client.protocol.Compact`."""
        try:
            return await self._driver.store.compact()
        except StoreError as err:
            raise RequestError(err.code, str(err)) from None


def _is_within(inner: KeyRange, outer: KeyRange) -> bool:
    return outer[0] <= inner[0] < inner[1] <= outer[1]


def wait_s(wait_ms: int) -> float:
    """The time to wait, within its bound, in seconds."""
    return min(max(wait_ms, 0), MOST_WAIT_MS) / 1000
