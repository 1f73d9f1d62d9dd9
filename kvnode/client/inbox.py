"""Items of a stream that wait to be read, and what each message of them has cost. Pure.

A message costs credits, which go back to the node once all of its items have been read. In a :class:`NewestInbox` an
item takes the place of one with the same key that waits: so what waits is bounded by the number of keys, and slow
readers see the newest state of each instead of all that happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, Protocol, TypeVar

T = TypeVar("T")


class Waiting(Protocol[T]):
    """What a stream puts its items into."""

    held: int
    """Credits of the messages that are not all read."""

    def __len__(self) -> int: ...

    def put(self, items: Sequence[T], cost: int) -> None:
        """Take in the items of one message."""

    def take(self) -> T:
        """The oldest item. Raises IndexError if there is none."""

    def clear(self) -> None:
        """Forget all of it."""


class Inbox(Generic[T]):
    """All items, in order. `paid` gets the credits of each message whose items are all read."""

    def __init__(self, paid: Callable[[int], None]) -> None:
        self._paid: Final = paid
        self._items: Final[deque[T]] = deque()
        self._messages: Final[deque[tuple[int, int]]] = deque()
        """Of each message behind the oldest: how many items, and what it cost."""
        self._left = 0
        self._cost = 0
        self.held = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[T], cost: int) -> None:
        """See :class:`Waiting`."""
        if not items:
            if cost:
                self._paid(cost)
            return
        self.held += cost
        self._items.extend(items)
        if self._left:
            self._messages.append((len(items), cost))
        else:
            self._left, self._cost = len(items), cost

    def take(self) -> T:
        """See :class:`Waiting`."""
        item = self._items.popleft()
        self._left -= 1
        if not self._left:
            cost = self._cost
            if self._messages:
                self._left, self._cost = self._messages.popleft()
            self.held -= cost
            self._paid(cost)
        return item

    def clear(self) -> None:
        """See :class:`Waiting`."""
        self._items.clear()
        self._messages.clear()
        self._left = 0


class _Message:
    """The items of one message that have not been read, and what it cost."""

    __slots__ = ("cost", "left")

    def __init__(self, left: int, cost: int) -> None:
        self.left = left
        self.cost = cost


class _Kept(Generic[T]):
    __slots__ = ("item", "key", "message")

    def __init__(self, item: T, key: Hashable | None, message: _Message) -> None:
        self.item = item
        self.key = key
        self.message = message


class NewestInbox(Generic[T]):
    """The newest item of each key. `paid` gets the credits of each message whose items are all read or replaced; `key`
    gives None for items that are never replaced.
    """

    def __init__(self, paid: Callable[[int], None], key: Callable[[T], Hashable | None]) -> None:
        self._paid: Final = paid
        self._key: Final = key
        self._waiting: deque[_Kept[T]] = deque()
        self._by_key: dict[Hashable, _Kept[T]] = {}
        self.held = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, items: Sequence[T], cost: int) -> None:
        """See :class:`Waiting`."""
        self.held += cost
        message = _Message(len(items), cost)
        for item in items:
            self._add(item, message)
        if not items and cost:
            self._pay(message)

    def take(self) -> T:
        """See :class:`Waiting`."""
        first = self._waiting.popleft()
        if first.key is not None:
            del self._by_key[first.key]
        self._done(first.message)
        return first.item

    def clear(self) -> None:
        """See :class:`Waiting`."""
        self._waiting.clear()
        self._by_key.clear()

    def _add(self, item: T, message: _Message) -> None:
        key = self._key(item)
        there = None if key is None else self._by_key.get(key)
        if there is not None:
            there.item, replaced = item, there.message
            there.message = message
            self._done(replaced)
            return
        waiting = _Kept(item, key, message)
        self._waiting.append(waiting)
        if key is not None:
            self._by_key[key] = waiting

    def _done(self, message: _Message) -> None:
        message.left -= 1
        if not message.left:
            self._pay(message)

    def _pay(self, message: _Message) -> None:
        self.held -= message.cost
        self._paid(message.cost)
