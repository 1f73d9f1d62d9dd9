"""Who drives a bus: one of several instances of an agent, by a claim in the tree. Pure; ``keeper`` does the I/O.

A claim is an entry that its holder renews every third of its lease. Another instance stands by and takes over when the
claim is released, when the holder's process is known to be dead, or when it was not renewed for a whole lease - by the
clock of the one who waits, from when it saw the last renewal, so that no two clocks need agree. All writes are
compare-and-set.

Each new holder has a *fencing token* that is greater than any before: what it drives may refuse commands that come with
a lower one.

A tree that can be cut in two cannot keep two sides from claiming one bus, nor does this module pretend so: a
compare-and-set is atomic on one node only. Each bus declares what that means for it:

* ``safe``: two holders do no harm (both read a sensor). A holder goes on while its node is away.
* ``unsafe``: a holder that could not renew for a lease stops (its node is away, or with ``peer:N`` as level of
  acknowledgement, its node is alone). What still can happen is an overlap while both sides think they are whole.

After healing the claims stand side by side, the one with the greater token counts (with equal tokens, that of the
greater session), and the other's session stops: at once when it is told, at the latest when it next renews. See
:attr:`Terms.stop_within_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, Self

from kvnode.core.path import Path

CLAIMS: Final = Path(("@", "claims"))
WRITE_TIMEOUT_S: Final = 5.0

TwoHolders = Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a bus is claimed: the length of the lease, what two holders mean for it, and the level to which a renewal
    must be acknowledged.
    """

    lease_s: float = 30.0
    two_holders: TwoHolders = "safe"
    ack: str = "disk"

    @property
    def renew_s(self) -> float:
        """How often the holder renews its claim."""
        return self.lease_s / 3

    @property
    def stop_within_s(self) -> float:
        """After the tree is whole again, the one of two holders that lost has stopped within this time."""
        return self.renew_s + WRITE_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Claim:
    """The record. `session` is one process, or one run in it; `beat` counts its renewals, `renewed` is for people."""

    holder: str
    session: str
    token: int
    renewed: datetime
    lease_s: float
    beat: int = 0
    host: str = ""
    pid: int = 0
    released: bool = False

    def value(self) -> dict[str, Any]:
        """The claim as the value of an entry."""
        return {
            "holder": self.holder,
            "session": self.session,
            "token": self.token,
            "renewed": self.renewed,
            "beat": self.beat,
            "lease": self.lease_s,
            "host": self.host,
            "pid": self.pid,
            "released": self.released,
        }

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Read what :meth:`value` wrote; None for anything else."""
        if not isinstance(value, dict) or not isinstance(value.get("lease"), (int, float)):
            return None
        if not all(isinstance(value.get(key), kind) for key, kind in _FIELDS.items()):
            return None
        released = bool(value.get("released"))
        return cls(**{key: value[key] for key in _FIELDS}, lease_s=float(value["lease"]), released=released)

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Of several claims side by side the one of greatest rank counts."""
        return not self.released, self.token, self.session


_FIELDS: Final = {
    "holder": str,
    "session": str,
    "token": int,
    "renewed": datetime,
    "beat": int,
    "host": str,
    "pid": int,
}


class Claimant:
    """One session that wants the bus: told what the tree holds, it tells what to write, and whether it may drive.

    `now` is a monotonic clock in seconds. `is_dead` tells of a claim whether its process is known to be dead.
    """

    def __init__(self, mine: Claim, terms: Terms, is_dead: Callable[[Claim], bool] = lambda claim: False) -> None:
        self._mine = mine
        self._terms = terms
        self._is_dead = is_dead
        self._counts: Claim | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None
        self._highest = 0
        self.predecessor: str | None = None
        """The session that held the claim before this one took it."""

    @property
    def holder(self) -> Claim | None:
        """The claim that counts, as far as is known; None if the bus is free."""
        return self._counts if self._counts is not None and not self._counts.released else None

    @property
    def token(self) -> int:
        """The fencing token while this session holds the claim."""
        return self._mine.token

    def read(self, claims: Iterable[Claim], now: float) -> None:
        """Take in what stands in the tree: the claims side by side."""
        found = sorted(claims, key=lambda claim: claim.rank)
        counts = found[-1] if found else None
        self._highest = max([self._highest, *(claim.token for claim in found)])
        if counts != self._counts:
            self._seen_at = now
        self._counts = counts

    def may_drive(self, now: float) -> bool:
        """Whether this session drives the bus now."""
        if self._renewed_at is None or self.holder is None or self.holder.session != self._mine.session:
            return False
        return now < self.drives_until()

    def drives_until(self) -> float:
        """When :meth:`may_drive` ends by itself unless the claim is renewed; infinity if it does not."""
        if self._renewed_at is None or self._terms.two_holders == "safe":
            return math.inf
        return self._renewed_at + self._terms.lease_s

    def to_write(self, now: float, wall: datetime) -> Claim | None:
        """The claim to write now, if any: a renewal, or a new one where the bus is free."""
        holder = self.holder
        if holder is not None and holder.session == self._mine.session:
            is_due = self._renewed_at is None or now >= self._renewed_at + self._terms.renew_s
            return replace(self._mine, renewed=wall, beat=self._mine.beat + 1) if is_due else None
        if holder is not None and now < self._seen_at + holder.lease_s and not self._is_dead(holder):
            return None
        return replace(self._mine, token=self._highest + 1, renewed=wall)

    def wrote(self, claim: Claim, now: float) -> None:
        """The claim stands, acknowledged as the terms want it; `now` is when the write began."""
        if self._counts is not None and self._counts.session != claim.session:
            self.predecessor = self._counts.session
        self._mine = claim
        self._counts = claim
        self._seen_at = self._renewed_at = now
        self._highest = max(self._highest, claim.token)

    def released(self, wall: datetime) -> Claim | None:
        """The claim to write when this session ends of its own will; None if it holds none."""
        holder = self.holder
        if holder is None or holder.session != self._mine.session:
            return None
        return replace(self._mine, renewed=wall, released=True)

    def next_look(self, now: float) -> float:
        """When to look again at the latest."""
        holder = self.holder
        if holder is None:
            return now
        if holder.session != self._mine.session:
            return min(self._seen_at + holder.lease_s, now + self._terms.renew_s)
        return now if self._renewed_at is None else self._renewed_at + self._terms.renew_s
