"""The quarantine as clients see it: listing, restoring, discarding what was set aside (R5)."""

from __future__ import annotations

from typing import Final

from kvnode.client import inspect_protocol as ip
from kvnode.core.effects import Change, Now
from kvnode.core.entry import Version, encode_record
from kvnode.core.path import Path
from kvnode.core.policy import live
from kvnode.core.quarantine import Quarantined
from kvnode.core.replica import Replica
from kvnode.core.ticks import Dot

from .acks import parse_ack
from .driver import Driver
from .requests import RequestError
from .streams import FRAME_BYTES

MOST_TIMEOUT_MS: Final = 3_600_000


class SetAside:
    """Answers the requests about the quarantine of the node that `driver` drives."""

    def __init__(self, driver: Driver) -> None:
        self._driver: Final = driver

    async def list(self, request: ip.Aside, author: str) -> list[ip.AsideRow]:
        """See :class:`~kvnode.client.inspect_protocol.Aside`."""
        if request.only is not None:
            return [_row(self._find(request.only))]
        rows: list[ip.AsideRow] = []
        size = 0
        for held in self._driver.replica.state.quarantine:
            if held.number <= request.after:
                continue
            rows.append(_row(held))
            size += len(rows[-1].record) + len(held.why)
            if size >= FRAME_BYTES:
                break
        return rows

    async def restore(self, request: ip.Restore, author: str) -> tuple[Dot, ...]:
        """See :class:`~kvnode.client.inspect_protocol.Restore`. What is there now is the write's condition, so nothing
        that comes in between is written over.
        """
        try:
            ack = parse_ack(request.ack)
        except ValueError as err:
            raise RequestError("bad_request", str(err)) from None
        held = self._find(request.number)
        wall = self._driver.now().wall
        present = live(self._driver.replica.tree.get(held.key), wall)
        _check(held.version, present, wall, force=request.force)
        if not request.force and present:  # it reads as the value already: there is nothing to write
            await self._driver.call(lambda replica, now: _remove(replica, now, (held.number,)))
            self._resolved(held)
            return ()
        by = author if request.author is None else request.author
        change = _change(held.version, frozenset(v.dot for v in present), by, wall)
        timeout_s = min(max(request.timeout_ms, 0), MOST_TIMEOUT_MS) / 1000
        (wrote,) = await self._driver.propose([change], ack, timeout_s)
        await self._driver.call(lambda replica, now: _remove(replica, now, (held.number,)))
        self._resolved(held)
        return (wrote.dot,)

    async def discard(self, request: ip.Discard, author: str) -> int:
        """See :class:`~kvnode.client.inspect_protocol.Discard`."""
        quarantine = self._driver.replica.state.quarantine
        held = [q for q in quarantine if request.numbers is None or q.number in set(request.numbers)]
        numbers = tuple(q.number for q in held)
        await self._driver.call(lambda replica, now: _remove(replica, now, numbers))
        for row in held:
            self._resolved(row)
        return len(held)

    def _find(self, number: int) -> Quarantined:
        held = self._driver.replica.state.quarantine.get(number)
        if held is None:
            raise RequestError("not_found", f"nothing is set aside under the number {number}")
        return held

    def _resolved(self, held: Quarantined) -> None:
        """People have dealt with it."""
        self._driver.report("quarantine", str(held.version.dot), "dealt with", resolved=True)


def _row(held: Quarantined) -> ip.AsideRow:
    return ip.AsideRow(held.number, encode_record((held.version,)), held.why, held.wall)


def _check(version: Version, present: tuple[Version, ...], wall: int, *, force: bool) -> None:
    """Raises RequestError if restoring would do harm or nothing, and is not forced."""
    if force:
        return
    path = Path.from_key(version.key)
    if version.is_gone(wall):
        raise RequestError("expired", f"the value at {path} has expired meanwhile; --force restores it for good")
    value = bytes(version.details.value)
    others = [v for v in present if bytes(v.details.value) != value]
    if others:
        dots = ", ".join(str(v.dot) for v in others)
        raise RequestError("occupied", f"{path} has another value now ({dots}); --force writes over it")


def _change(version: Version, expect: frozenset[Dot], author: str, wall: int) -> Change:
    body = version.details
    expiry = body.expiry if body.expiry is not None and body.expiry > wall else None
    return Change(Path(body.path), bytes(body.value), author, expect, expiry)


def _remove(replica: Replica, now: Now, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        replica.state.quarantine.remove(number)
