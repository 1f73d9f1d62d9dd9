"""Whether a disk is quick enough for the event loop to wait for it. Pure.

To hand a commit to a thread and hear of its end takes three wake-ups, each of which waits for a processor: longer than
a good disk takes to sync. So the event loop itself commits, as Redis does, where that costs it no more than an
ordinary turn of computing. Where the disk is slow (an SD card takes a hundred times as long), it is the thread's.

It is a leaky bucket: what a commit takes goes in, and with each one :data:`ALLOWED_S` flows out. When it is empty the
event loop commits, until it runs over. So in the mean a commit holds the event loop up no longer than that, and a disk
that was stuck is trusted again after the more good commits, the longer it was stuck. A commit on the thread counts for
less: it holds nobody up, and may have taken long because the event loop was busy.
"""

from __future__ import annotations

from typing import Final

ALLOWED_S: Final = 0.001
"""So long may a commit take, in the mean."""
HOLDS_S: Final = 0.005
"""With more in it the bucket runs over."""
UNPROVEN_S: Final = 0.02
"""In the bucket at first: some twenty quick commits empty it."""
MOST_S: Final = 0.25
"""No more goes into the bucket: a disk that was stuck is trusted again after some hundred quick commits."""
MOST_ON_THREAD_S: Final = 2 * ALLOWED_S
"""A commit on the thread counts for no more: it is how many are slow that tells of the disk."""

SLOW_S: Final = 0.002
SLOW_IN_A_ROW: Final = 8
"""A disk is slow if so many small commits, one after the other, took so long each. (On a busy machine some do in any
case, but hardly all of them.)
"""


class Pace:
    """See the module's text."""

    __slots__ = ("_level_s", "_slow", "is_quick")

    def __init__(self) -> None:
        self._level_s = UNPROVEN_S
        self._slow = 0
        self.is_quick = False
        """Whether the next commit may be waited for on the event loop."""

    @property
    def is_slow(self) -> bool:
        """Whether the disk is slow, so that CPU time is little beside its sync. At first it is neither of both."""
        return self._slow >= SLOW_IN_A_ROW

    def held_up(self, seconds: float) -> None:
        """A commit has held the event loop up for so long."""
        self._count(seconds)
        self._fill(seconds)

    def _count(self, seconds: float) -> None:
        self._slow = self._slow + 1 if seconds >= SLOW_S else 0

    def _fill(self, seconds: float) -> None:
        self._level_s = min(max(self._level_s + seconds - ALLOWED_S, 0.0), MOST_S)
        self.is_quick = self._level_s <= (HOLDS_S if self.is_quick else 0.0)

    def took_on_thread(self, seconds: float) -> None:
        """A commit has taken the thread so long."""
        self._count(seconds)
        self._fill(min(seconds, MOST_ON_THREAD_S))

    def failed(self) -> None:
        """A commit has failed: what a failing disk does next, and how long that takes, is the thread's to find out."""
        self._level_s, self.is_quick = MOST_S, False
