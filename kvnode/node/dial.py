"""Whom to dial, and when again: targets and back-off. Time and randomness are arguments.

How long is waited follows how long there has been no link: then a node is linked again soon after the network is back,
in proportion to the time that it was away, and dials one that is gone for good less and less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import anyio

from kvnode.transport.address import Address


@dataclass(frozen=True, slots=True)
class DialLimits:
    """Times in seconds."""

    first_s: float = 0.2
    """Pause after the first failure, doubled with each link that did not last."""
    share: float = 0.05
    """Pauses grow to this share of the time without a good link."""
    most_s: float = 30.0
    answer_least_s: float = 1.5
    answer_most_s: float = 10.0
    answer_share: float = 0.25
    """An attempt is given this share of the time without a good link, between the two: where packets get lost, the
    system tries again after 1, 3 and 7 s, so that a young attempt hears sooner of a network that is back."""
    stable_s: float = 10.0
    """A link that stood for so long was a good one: the next attempt comes at once, and failures count anew."""
    unfit_s: float = 60.0
    """Pause after an answer that redialling will not change (another cluster, this node itself)."""
    yield_s: float = 0.1
    """Both ends of a cut link redial; the one with the greater name waits up to this long, so that one link results."""
    learn_first_s: float = 15.0
    """A learned address is dialled so long after it was learned: whoever was told to dial goes first, so that the links
    follow the configuration as far as that leads."""
    learn_again_s: float = 60.0
    """The same after the loss of a link that came about in another way, and for a node on this machine."""
    look_s: float = 2.0
    """How often is looked whether others still lead to a node."""


class Backoff:
    """Delays between attempts: jittered, reset by a stable link. `random` gives 0 <= x < 1, `now_s` is monotonic."""

    def __init__(self, random: Callable[[], float], limits: DialLimits | None = None) -> None:
        self._random: Final = random
        self._limits: Final = limits or DialLimits()
        self._since: float | None = None
        self._flaps = 0

    def reset(self) -> None:
        """Failures so far count no more."""
        self._since = None
        self._flaps = 0

    def answer_within(self, now_s: float) -> float:
        """Seconds that an attempt may take to connect."""
        limits = self._limits
        return min(max(limits.answer_least_s, self._away_s(now_s) * limits.answer_share), limits.answer_most_s)

    def failed(self, now_s: float) -> float:
        """Seconds to wait after an attempt that led to no link, or to one that did not last: from half to all of what
        is due.
        """
        limits, away_s = self._limits, self._away_s(now_s)
        step = min(max(limits.first_s * 2.0 ** min(self._flaps, 30), away_s * limits.share), limits.most_s)
        return step * (0.5 + self._random() / 2)

    def lost(self, up_for_s: float, now_s: float, *, yielding: bool) -> float:
        """Seconds to wait after a link that stood for `up_for_s` was cut. `yielding`: the other end goes first."""
        if up_for_s < self._limits.stable_s:
            self._flaps += 1
            return self.failed(now_s)
        self.reset()
        return self._limits.yield_s * self._random() if yielding else 0.0

    def _away_s(self, now_s: float) -> float:
        """How long there has been no good link."""
        if self._since is None:
            self._since = now_s
        return now_s - self._since

    def unfit(self) -> float:
        """Seconds to wait after an answer that redialling will not change."""
        return self._limits.unfit_s * (0.5 + self._random() / 2)


@dataclass(slots=True, eq=False)
class Target:
    """Somebody to be linked to: a seed (one address, the name is learned) or a learned node (name and addresses).

    `state` and `error` are for people; `nudge` ends a pause.
    """

    addresses: tuple[Address, ...]
    backoff: Backoff
    name: str = ""
    learned: bool = False
    state: str = "waiting"
    error: str = ""
    nudge: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def is_local(self) -> bool:
        """Whether it is a learned node on this machine."""
        return self.learned and all(address.is_loopback for address in self.addresses)

    @property
    def text(self) -> str:
        """Its addresses for people."""
        return ", ".join(map(str, self.addresses))

    def wake(self) -> None:
        """End the pause, if there is one."""
        self.nudge.set()
        self.nudge = anyio.Event()
