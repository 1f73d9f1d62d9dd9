"""A live mirror: a subtree held in memory, always as the node last told it.

::

    async with kv.mirror("home", type=float) as home:
        print(home["home.attic.temp"])
        await home.set("home.attic.set", 21.0)   # home["home.attic.set"] is 21.0 from here on
        async for update in home:
            print(update.path, update.value)

Values of different kinds have types by pattern, and several of them together make an object::

    async with kv.mirror("home", types={"home.+.temp": float, "home.+.lamp": Lamp}) as home:
        room = home.view("home.attic", Room)     # Room(temp=21.5, lamp=Lamp(on=True)): fields are elements

It is complete when its block is entered, survives broken connections as a watch does, and what it holds is bounded by
the subtree: of several changes of a path that nobody has read yet, the newest stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import anyio
import msgspec

from kvnode.core.path import Path, Pattern

from .errors import UNKNOWN, KvError, refused, unavailable
from .inbox import NewestInbox
from .items import ABSENT, NO_DOT, Absent, Change, Gap, Uptodate, Written
from .mirror import Item
from .session import Session
from .streams import Scope, WatchStream
from .wire import cost_of

if TYPE_CHECKING:
    from .api import Client

V = TypeVar("V")
W = TypeVar("W")
_PLAIN: Final = (bytes, datetime)
"""Types of values that are stored as they are, beside those of JSON."""


class Unfit(msgspec.Struct, frozen=True):
    """In the place of a value that is not of the mirror's type."""

    value: Any
    why: str


class Update(msgspec.Struct, Generic[V], frozen=True):
    """A change of a mirrored path. `value` is :data:`.items.ABSENT` if there is none any more."""

    path: Path
    value: V | Absent | Unfit
    reading: Change


class _Feed(WatchStream):
    """A watch whose items are taken in as they arrive; nothing waits."""

    def __init__(self, session: Session, scope: Scope, take: Callable[[Sequence[Item]], None]) -> None:
        super().__init__(session, scope, latest=True)
        self._take: Final = take

    def _put(self, items: Sequence[Item], rows: int, size: int) -> None:
        self._take(items)
        if rows:
            self._give_back(cost_of(rows, size))

    def _notice(self) -> None:
        """It has ended; :attr:`error` says why."""
        super()._notice()
        self._take(())

    @property
    def error(self) -> KvError | None:
        """Why it is over; None while it is not."""
        return self._error


class LiveMirror(Generic[V]):
    """See the module's text. Made by :meth:`Client.mirror`; to be used as ``async with``. Paths are whole paths."""

    def __init__(
        self, client: Client, session: Session, scope: Scope, type: type[V] | None, types: Mapping[Pattern, Any]
    ) -> None:
        self._client: Final = client
        self._scope: Final = scope
        self._pattern: Final = None if scope.pattern is None else Pattern(scope.pattern)
        self._type: Final = type
        self._types: Final = sorted(types.items(), key=lambda item: item[0].fixed, reverse=True)
        self._feed: Final = _Feed(session, scope, self._take)
        self._values: dict[Path, V | Unfit] = {}
        self._readings: dict[Path, Change] = {}
        self._updates: Final[NewestInbox[Update[V]]] = NewestInbox(lambda cost: None, lambda update: update.path)
        self._followed: dict[Path, int] = {}
        self._last: dict[Path, Change] = {}
        self._complete = False
        self._changed = anyio.Event()

    async def __aenter__(self) -> LiveMirror[V]:
        await self._feed.__aenter__()
        try:
            while not self._complete:
                await self._next_change()
        except BaseException:
            await self._feed.aclose()
            raise
        self._updates.clear()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._feed.aclose()
        self._updates.clear()

    # -- reading ---------------------------------------------------------------------------------------------

    def __getitem__(self, path: Path | str) -> V:
        """The value at a path. Raises KeyError if there is none, Refused if it is not of the mirror's type."""
        found = self._values[_path_of(path)]
        if isinstance(found, Unfit):
            raise refused("bad_value", f"{path}: {found.why}")
        return found

    def get(self, path: Path | str, default: V | None = None) -> V | None:
        """The value at a path, or `default`. Raises Refused if it is not of the mirror's type."""
        try:
            return self[path]
        except KeyError:
            return default

    def reading(self, path: Path | str) -> Change:
        """Who wrote the value at a path, when, and so on. Raises KeyError if there is none."""
        return self._readings[_path_of(path)]

    def view(self, path: Path | str, type: type[W]) -> W:
        """What is at and below `path` now as one object of `type`, whose fields are named like the elements. A field
        that is a class itself has what is further below. Raises Refused (``bad_value``) if something is not of its
        type, or missing.
        """
        top = _path_of(path)
        tree: dict[Any, Any] = {}
        for where, reading in self._readings.items():
            if where.is_below(top) and where != top:
                _put(tree, where[len(top) :], reading.value)
        own = self._readings.get(top)
        found = own.value if own is not None and not tree else tree
        try:
            return msgspec.convert(found, type)
        except msgspec.ValidationError as err:
            raise refused("bad_value", f"{top}: {_lowered(err)}") from None

    def __contains__(self, path: Path | str) -> bool:
        return _path_of(path) in self._values

    def __len__(self) -> int:
        return len(self._values)

    def paths(self) -> list[Path]:
        """The paths that have a value now, in path order."""
        return sorted(self._values, key=lambda path: path.key)

    def items(self) -> Iterator[tuple[Path, V | Unfit]]:
        """Paths and values of now, in path order."""
        return iter([(path, self._values[path]) for path in self.paths()])

    # -- changes ---------------------------------------------------------------------------------------------

    def __aiter__(self) -> LiveMirror[V]:
        return self

    async def __anext__(self) -> Update[V]:
        while not len(self._updates):
            await self._next_change()
        return self._updates.take()

    # -- writing ---------------------------------------------------------------------------------------------

    async def set(self, path: Path | str, value: V, **options: Any) -> Written:
        """Write a value, see :meth:`Client.set` for the options; when this returns the mirror shows it, or what
        somebody wrote after it. Raises Refused for a path that the mirror does not cover or a value that is not of the
        path's type, Unavailable if it does not hear of the write within `timeout`, and what :meth:`Client.set` raises.
        """
        where = self._covered(path)
        plain = self._plain(where, value)
        with self._following(where):
            return await self._seen(where, await self._client.set(where, plain, **options), options)

    async def delete(self, path: Path | str, **options: Any) -> Written:
        """Delete a value; otherwise like :meth:`set`."""
        where = self._covered(path)
        with self._following(where):
            written = await self._client.delete(where, **options)
            return written if where not in self else await self._seen(where, written, options)

    def _type_at(self, path: Path) -> Any:
        """The type of values at a path, None for any: of several patterns the one with most fixed elements decides."""
        return next((type for pattern, type in self._types if pattern.matches(path)), self._type)

    def _plain(self, path: Path, value: Any) -> Any:
        """A value as it is stored. Raises Refused if it would not come back as what it is."""
        type = self._type_at(path)
        if type is None:
            return value
        try:
            plain = value if isinstance(value, Path) else msgspec.to_builtins(value, builtin_types=_PLAIN)
            msgspec.convert(plain, type)
        except (msgspec.ValidationError, TypeError) as err:
            raise refused("bad_value", f"{path}: {_lowered(err)}") from None
        return plain

    def _covered(self, path: Path | str) -> Path:
        where = _path_of(path)
        scope = self._scope
        too_deep = scope.depth is not None and len(where) - len(scope.path) > scope.depth
        if not where.is_below(scope.path) or too_deep or not (self._pattern is None or self._pattern.matches(where)):
            raise refused("bad_path", f"{where} is outside of this mirror")
        return where

    @contextmanager
    def _following(self, path: Path) -> Iterator[None]:
        """Meanwhile the last change of this path is kept, deletes too: it may come before the answer to a write."""
        self._followed[path] = self._followed.get(path, 0) + 1
        try:
            yield
        finally:
            self._followed[path] -= 1
            if not self._followed[path]:
                del self._followed[path]
                self._last.pop(path, None)

    async def _seen(self, path: Path, written: Written, options: dict[str, Any]) -> Written:
        """Wait until the mirror shows a write, or something newer."""
        before = self._last.get(path)
        with anyio.move_on_after(options.get("timeout", 5.0)) as scope:
            while not self._shows(path, written, before):
                await self._next_change()
        if scope.cancelled_caught:
            raise unavailable(f"the write stands as {written.dot}, but the mirror did not hear of it in time", UNKNOWN)
        return written

    def _shows(self, path: Path, written: Written, before: Change | None) -> bool:
        """`before` is the last change that came before the answer. An entry that is simply gone does not say whether it
        knew the write: it did if it came after the answer, since the node sends both in order.
        """
        change = self._last.get(path) or self._readings.get(path)
        if change is None:
            return False
        if change.dot == NO_DOT:
            return change is not before
        return change.stamp > written.stamp or any(s.dot == written.dot for s in change.siblings)

    # -- the stream's side -----------------------------------------------------------------------------------

    async def _next_change(self) -> None:
        if self._feed.error is not None:
            raise self._feed.error
        await self._changed.wait()

    def _take(self, items: Sequence[Item]) -> None:
        for item in items:
            match item:
                case Change():
                    self._apply(item)
                case Uptodate():
                    self._complete = True
                case Gap():
                    pass
        self._changed.set()
        self._changed = anyio.Event()

    def _apply(self, change: Change) -> None:
        path = change.path
        if path in self._followed:
            self._last[path] = change
        if change.deleted:
            self._values.pop(path, None)
            self._readings.pop(path, None)
            self._updates.put([Update(path, ABSENT, change)], 0)
            return
        value = self._convert(path, change.value)
        self._values[path] = value
        self._readings[path] = change
        self._updates.put([Update(path, value, change)], 0)

    def _convert(self, path: Path, value: Any) -> V | Unfit:
        type = self._type_at(path)
        if type is None:
            return cast("V", value)
        try:
            return cast("V", msgspec.convert(value, type))
        except msgspec.ValidationError as err:
            return Unfit(value, _lowered(err))


def _lowered(err: Exception) -> str:
    return str(err)[:1].lower() + str(err)[1:]


def _put(tree: dict[Any, Any], path: Sequence[str | int], value: Any) -> None:
    """Enter a value below its elements; what is below an entry goes before the entry's own value."""
    for element in path[:-1]:
        below = tree.get(element)
        if not isinstance(below, _Below):
            tree[element] = below = _Below()
        tree = below
    if not isinstance(tree.get(path[-1]), _Below):
        tree[path[-1]] = value


class _Below(dict[Any, Any]):
    """What is below a path, as opposed to a map that is the value there."""


def _path_of(path: Path | str) -> Path:
    return path if isinstance(path, Path) else Path.parse(path)
