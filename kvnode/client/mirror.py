"""What a watcher has been told, so that it can go on where it was, on this node or another. Pure.

Per path the mirror holds the live dots that it passed on. Besides it keeps the *context*: a set of dots of which it
knows that every path shows at least their effect (a marker's context, and the dots delivered since). On a new
connection the node first waits until it knows the whole context, so no reading can go back; then it sends what has
a dot outside the context. An entry whose delete was forgotten meanwhile leaves no such trace: therefore the node adds
a fingerprint of all readings, and where it differs the mirror asks for everything and passes on the differences.

Everything is compared with what was passed on before, so nothing comes twice, whatever is sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvnode.core.path import Path, path_key
from kvnode.core.ticks import Known, Ticks

from .items import Change, Gap, Uptodate, change_of, gone
from .protocol import CONFLICT, DELTA, EXPIRED, GAP, RESET, Begin, Marker, Ranges, Row, Sib
from .wire import known_of, ranges_of, reading_print

Item = Change | Uptodate | Gap
Dots = tuple[tuple[str, int], ...]

_FOLD_ABOVE = 4_096
"""Delivered dots are added to the context when they are more than this."""


class Told(NamedTuple):
    """What marks a reading besides its live dots: flags, or a value joined from several."""

    flags: int
    joined: bytes | None


_PLAIN = Told(0, None)
_MARKS = CONFLICT | EXPIRED


class Mirror:
    """The state of one watch. Feed it what the node sends; it gives the items to pass on, in order."""

    def __init__(self) -> None:
        self._dots: dict[bytes, Dots] = {}
        self._odd: dict[bytes, Told] = {}
        self._context = Known()
        self._delivered: list[tuple[str, int]] = []
        self._names: dict[str, str] = {}
        self._mirrored = False
        self._pass: int | None = None
        self._todo: list[bytes] = []
        self._at = 0
        self._announce = True

    def __len__(self) -> int:
        """The number of entries that have a value."""
        return len(self._dots)

    def request(self) -> tuple[Ranges | None, bool]:
        """The context to resume with (None: begin anew) and whether all of it is mirrored. Ends an unfinished pass."""
        self._end_pass()
        self._fold()
        if not self._context.map:
            return None, False
        return ranges_of(self._context), self._mirrored

    def fingerprint(self) -> int:
        """The xor over all entries of :func:`.wire.reading_print`."""
        out = 0
        for key, dots in self._dots.items():
            out ^= reading_print(key, dots)
        return out

    # -- what the node sends ---------------------------------------------------------------------------------

    def begin(self, message: Begin) -> list[Item]:
        """A pass begins."""
        self._end_pass()
        self._pass = message.kind
        if message.kind == DELTA:
            return []
        self._todo = sorted(self._dots)
        if message.kind == RESET:
            self._context = Known()
            self._delivered.clear()
            self._mirrored = False
        if message.kind not in (GAP, RESET):
            return []
        self._announce = True
        return [Gap(message.reason)]

    def rows(self, rows: Sequence[Row]) -> list[Item]:
        """Rows of a pass, or changes."""
        items: list[Item] = []
        for row in rows:
            siblings = row.siblings
            key = path_key(siblings[0].body.path if siblings else row.path or ())
            if self._todo:
                self._skip_to(key, items)
            if len(siblings) == 1 and row.live and not row.flags & _MARKS and row.value is None:
                is_news = self._is_plain_news(key, siblings[0])
            else:
                is_news = self._is_news(key, row, self._take(row))
            if is_news:
                items.append(change_of(row))
        if len(self._delivered) > _FOLD_ABOVE and self._pass is None:
            self._fold()
        return items

    def marker(self, message: Marker) -> tuple[list[Item], bool]:
        """The end of a pass, or a refreshed context. Says also whether to ask for everything (a Resync)."""
        items: list[Item] = []
        if self._todo:
            self._skip_to(None, items)
        context = known_of(message.context)
        if message.whole:
            self._context = context
        else:
            for inc, ticks in context.map.items():
                self._context.union(inc, ticks)
        self._fold()
        if self._pass is None:
            return items, False
        self._end_pass()
        if message.fingerprint is not None and message.fingerprint != self.fingerprint():
            self._mirrored = False
            return items, True
        self._mirrored = True
        if self._announce:
            self._announce = False
            items.append(Uptodate())
        return items, False

    # -- parts -----------------------------------------------------------------------------------------------

    def _end_pass(self) -> None:
        self._pass = None
        self._todo = []
        self._at = 0

    def _skip_to(self, key: bytes | None, items: list[Item]) -> None:
        """The pass has come to `key` (None: its end): entries before it that it left out are gone."""
        todo = self._todo
        while self._at < len(todo) and (key is None or todo[self._at] < key):
            left_out = todo[self._at]
            self._at += 1
            if self._dots.pop(left_out, None) is not None:
                self._odd.pop(left_out, None)
                items.append(gone(Path.from_key(left_out)))
        if self._at < len(todo) and todo[self._at] == key:
            self._at += 1

    def _take(self, row: Row) -> Dots:
        """Note all dots of a row as delivered; gives the live ones, the winner first, the others in order."""
        names = self._names
        dots = tuple([(names.setdefault(s.inc, s.inc), s.tick) for s in row.siblings])
        self._delivered += dots
        if len(dots) == 1:
            return dots if row.live else ()
        return (*dots[:1], *sorted(dots[1 : row.live])) if row.live else ()

    def _is_plain_news(self, key: bytes, only: Sib) -> bool:
        """The same as :meth:`_take` and :meth:`_is_news` for what is most frequent: one version, which has a value."""
        dot = (self._names.setdefault(only.inc, only.inc), only.tick)
        self._delivered.append(dot)
        dots = (dot,)
        if self._dots.get(key) == dots and key not in self._odd:
            return False
        self._dots[key] = dots
        if self._odd:
            self._odd.pop(key, None)
        return True

    def _is_news(self, key: bytes, row: Row, dots: Dots) -> bool:
        """Whether the row reads differently from what was passed on; takes note of it."""
        if not dots:
            self._odd.pop(key, None)
            return self._dots.pop(key, None) is not None
        told = _PLAIN
        if row.flags & _MARKS or row.value is not None:
            told = Told(row.flags & _MARKS, row.value)
        if self._dots.get(key) == dots and self._odd.get(key, _PLAIN) == told:
            return False
        self._dots[key] = dots
        if told == _PLAIN:
            self._odd.pop(key, None)
        else:
            self._odd[key] = told
        return True

    def _fold(self) -> None:
        """Add the delivered dots to the context."""
        delivered: dict[str, list[int]] = {}
        for inc, tick in self._delivered:
            delivered.setdefault(inc, []).append(tick)
        for inc, ticks in delivered.items():
            self._context.union(inc, Ticks.of_sorted(sorted(set(ticks))))
        self._delivered.clear()
